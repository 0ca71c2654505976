//! Turning a credential of the configuration into one that signs: keys as they are, the operator's own identity, a role taken
//! on by either. It asks AWS when a request is to be signed, not before, and never logs what it is given.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, Result, SharedCredentialsProvider, future};

use futures::FutureExt;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;
use windlass_decision::FailureKind;

use super::credential::{Base, Credential, Keys, Role};
use super::problem::not_had;
use crate::token::Token;

/// How AWS's own logs name the sessions.
const SESSION: &str = "windlass";
/// Where IRSA leaves the pod's token.
const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
/// A credential that never ends is looked for anew after so long.
const ENDLESS: Duration = Duration::from_hours(1);
/// A credential that ends sooner than this is not used any more.
const RENEWED_BEFORE: Duration = Duration::from_secs(60);

/// Gives a credential.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    source: SharedCredentialsProvider,
    /// How many callers wait for it.
    waiting: Arc<AtomicUsize>,
}

impl Identity {
    /// Prepares the credential; asks nobody yet. `region` is whose token service is asked.
    pub(crate) async fn of(credential: &Credential, region: &str) -> Self {
        let region = Region::new(region.to_owned());
        let base = match &credential.base {
            Base::Keys(keys) => SharedCredentialsProvider::new(given(keys)),
            Base::Operator => SharedCredentialsProvider::new(own(&region).await),
        };
        let source = match &credential.role {
            None => base,
            Some(role) => {
                let assumed = assume(role, &region, base).await;
                // What the pod's token may take on directly needs no role of the pod's own. It carries no external id.
                let direct = credential.base == Base::Operator && role.external_id.is_none();
                match direct.then(|| by_token(role, &region)).flatten() {
                    Some(by_token) => SharedCredentialsProvider::new(Either(by_token, assumed)),
                    None => SharedCredentialsProvider::new(assumed),
                }
            }
        };
        Self { source, waiting: Arc::default() }
    }

    /// Whether somebody waits for the credential right now.
    pub(crate) fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

impl ProvideCredentials for Identity {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            let _waiting = Waiting::begin(&self.waiting);
            self.source.provide_credentials().await
        })
    }
}

/// The credential of one upstream that signs for itself, kept until it ends.
#[derive(Debug, Default)]
pub(crate) struct Keeper(Token<Credentials, (FailureKind, String)>);

impl Keeper {
    /// The credential, within `time`; or what kind of failure it is that there is none, and a sentence about it.
    pub(crate) async fn get(
        &self,
        credential: &Credential,
        region: &str,
        now: SystemTime,
        time: Duration,
    ) -> std::result::Result<Credentials, (FailureKind, String)> {
        let whose = credential.clone();
        let late = move || (FailureKind::Timeout, super::problem::late(&whose));
        let (credential, region) = (credential.clone(), region.to_owned());
        let ask = || async move {
            let given = Identity::of(&credential, &region).await.provide_credentials().await.map_err(|error| {
                let other = || (FailureKind::Unauthorised, format!("AWS does not hand out {credential}"));
                not_had(&credential, &error).unwrap_or_else(other)
            })?;
            let lasts = given.expiry().map_or(ENDLESS, |end| end.duration_since(now).unwrap_or_default());
            Ok((given, lasts.saturating_sub(RENEWED_BEFORE)))
        };
        // The SDK logs what it is answered, and that may hold a credential.
        self.0.get(time, || ask().with_subscriber(NoSubscriber::default()).boxed(), late).await
    }

    /// It was refused. Says whether another one may be given now.
    pub(crate) fn refused(&self, credentials: &Credentials) -> bool {
        self.0.refused(credentials)
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn given(keys: &Keys) -> Credentials {
    let token = keys.session_token.as_ref().map(|token| token.expose().to_owned());
    Credentials::new(keys.access_key_id.expose(), keys.secret_access_key.expose(), token, None, "windlass")
}

async fn own(region: &Region) -> DefaultCredentialsChain {
    DefaultCredentialsChain::builder().region(region.clone()).configure(provider_config(region)).build().await
}

fn provider_config(region: &Region) -> ProviderConfig {
    ProviderConfig::without_region()
        .with_behavior_version(Some(BehaviorVersion::latest()))
        .with_region(Some(region.clone()))
        .with_retry_config(RetryConfig::disabled())
}

async fn assume(role: &Role, region: &Region, base: SharedCredentialsProvider) -> AssumeRoleProvider {
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(region.clone())
        .credentials_provider(base.clone())
        .retry_config(RetryConfig::disabled())
        .load()
        .await;
    let mut assume = AssumeRoleProvider::builder(&role.arn).session_name(SESSION).configure(&config);
    if let Some(external_id) = &role.external_id {
        assume = assume.external_id(external_id);
    }
    assume.build_from_provider(base).await
}

fn by_token(role: &Role, region: &Region) -> Option<WebIdentityTokenCredentialsProvider> {
    let web_identity_token_file = std::env::var_os(TOKEN_FILE).filter(|file| !file.is_empty())?.into();
    let configuration =
        StaticConfiguration { web_identity_token_file, role_arn: role.arn.clone(), session_name: SESSION.to_owned() };
    Some(
        WebIdentityTokenCredentialsProvider::builder()
            .configure(&provider_config(region))
            .static_configuration(configuration)
            .build(),
    )
}

/// A role by the pod's token, else by the pod's own role. The error is that of the second.
#[derive(Debug)]
struct Either(WebIdentityTokenCredentialsProvider, AssumeRoleProvider);

impl Either {
    async fn credentials(&self) -> Result {
        match self.0.provide_credentials().await {
            Ok(credentials) => Ok(credentials),
            Err(_) => self.1.provide_credentials().await,
        }
    }
}

impl ProvideCredentials for Either {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}
