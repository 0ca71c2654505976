//! Certificates the operator makes itself: the leader keeps them in a Secret and tells the aggregator the CA; every
//! replica serves what the Secret holds. Only the leader writes, and only what differs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::ObjectMeta;
use kube::{Api, Client};
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use windlass_decision::Clock;

use super::bundle::{Bundle, BundleError, serving_names};
use super::follow::{FollowError, follow, read};
use super::plan::{Plan, plan, wait};
use super::serving::ServingCertificate;
use crate::apply::writer::{WriteError, Writer};
use crate::leadership::Leadership;

/// The Secret that holds the serving certificate and its CA.
pub const SECRET: &str = "windlass-serving";
/// The metrics Service, by whose names the certificate is asked for.
pub const SERVICE: &str = "windlass-metrics";
/// The APIService whose `caBundle` is kept.
pub const API_SERVICE: &str = "v1beta1.external.metrics.k8s.io";

/// How often everything is looked at again, so that a Secret or APIService made anew is put right.
const CHECK: Duration = Duration::from_secs(15);
const RETRY: Duration = Duration::from_secs(2);
/// More steps in a row than any plan needs; a sign that somebody else writes the same Secret.
const MAX_STEPS: usize = 8;

/// Why the certificates are not in order.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// Something could not be read.
    #[error("{what} cannot be read: {reason}")]
    Read {
        /// What.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// Something could not be written.
    #[error("{what} cannot be written: {source}")]
    Write {
        /// What.
        what: &'static str,
        /// Why.
        source: WriteError,
    },
    /// A certificate could not be made or judged.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// There is no APIService to tell the CA to.
    #[error("APIService {API_SERVICE} is missing: apply deploy/manifests")]
    NoApiService,
    /// The external metrics API is served by somebody else.
    #[error("APIService {API_SERVICE} belongs to the Service {0}; it is left alone")]
    ForeignApiService(String),
    /// Somebody else keeps changing the Secret.
    #[error("Secret {SECRET} does not come to rest")]
    Restless,
}

/// Serves what the Secret holds until `shutdown`. For every replica, leader or not.
pub async fn follow_secret(
    client: Client,
    namespace: String,
    serving: Arc<ServingCertificate>,
    shutdown: CancellationToken,
) {
    let api: Api<Secret> = Api::namespaced(client, &namespace);
    follow(&api, SECRET, &shutdown, |secret| take(&serving, secret)).await;
}

fn take(serving: &ServingCertificate, secret: Option<Secret>) {
    let data = secret.and_then(|secret| secret.data).unwrap_or_default();
    let (Some(chain), Some(key)) = (data.get("tls.crt"), data.get("tls.key")) else { return };
    if chain.0.is_empty() || key.0.is_empty() {
        // The manifests may bring an empty Secret, for the leader to fill.
        return;
    }
    match serving.set_pem(&chain.0, &key.0) {
        Ok(true) => tracing::info!(secret = SECRET, "serving certificate loaded"),
        Ok(false) => {}
        Err(error) => tracing::warn!(secret = SECRET, error = %error, "serving certificate cannot be used"),
    }
}

/// Keeps the Secret and the APIService in order while this process leads.
#[derive(Debug)]
pub struct Manager {
    /// Must be fenced by `leadership`.
    pub writer: Writer,
    /// Only the leader does anything.
    pub leadership: Leadership,
    /// Namespace of the Secret and the Service.
    pub namespace: String,
    /// Which replica this is; said in a comment of the `caBundle`, see [`Manager::settle`].
    pub identity: String,
    /// Says when a renewal is due.
    pub clock: Arc<dyn Clock>,
    /// Served at once, without waiting for the Secret to come round.
    pub serving: Arc<ServingCertificate>,
}

impl Manager {
    /// Runs until `shutdown`; errors are logged and tried again.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut said = String::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.leadership.gained() => {}
            }
            let pause = match self.settle().await {
                Ok(pause) => {
                    said.clear();
                    pause
                }
                Err(error) => {
                    let text = error.to_string();
                    if text != said {
                        tracing::warn!(error = text, "serving certificate is not in order");
                        said = text;
                    }
                    RETRY
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.leadership.lost() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Puts everything in order once. Returns how long to wait before looking again.
    ///
    /// The `caBundle` names this replica in a comment and since when it leads, so that it changes when another takes
    /// over, and never back to what it was. The API server keeps connections by CA (`tlsConfigKey` in client-go's `transport/cache.go`): for a changed one it makes new ones,
    /// which go to the new leader. Those to an old leader that is frozen or cut off stay open, and without this every
    /// question would hang in them until HTTP/2 health checks give them up, 45 s after the last answer.
    ///
    /// # Errors
    /// See [`ManageError`]; a conflict with another writer is no error, but read again.
    pub async fn settle(&self) -> Result<Duration, ManageError> {
        let names = serving_names(SERVICE, &self.namespace);
        let api: Api<Secret> = Api::namespaced(self.writer.client().clone(), &self.namespace);
        for _ in 0..MAX_STEPS {
            let secret = read(&api, SECRET).await.map_err(|error| reading("Secret windlass-serving", &error))?;
            let exists = secret.as_ref().and_then(|secret| usable(secret, &names));
            let now = self.clock.now();
            let step = plan(exists.as_ref().map(|(_, facts)| facts), now);
            let new = match (step, exists) {
                (Plan::Keep { until }, Some((bundle, _))) => {
                    self.serve(&bundle.data())?;
                    self.publish_ca(&bundle).await?;
                    return Ok(wait(now, until, CHECK));
                }
                (Plan::Keep { .. } | Plan::Create, _) | (_, None) => Bundle::create(&names, now)?,
                (Plan::AddCa, Some((bundle, _))) => bundle.add_ca(now)?,
                (Plan::IssueLeaf, Some((bundle, _))) => {
                    // Whoever verifies must know the CA before anything is served that it has signed.
                    self.publish_ca(&bundle).await?;
                    bundle.issue_leaf(&names, now)?
                }
                (Plan::DropOldCas, Some((bundle, _))) => bundle.drop_old_cas(),
            };
            match self.write_secret(&api, secret, &new).await {
                Ok(()) => tracing::info!(secret = SECRET, step = ?step, "serving certificate renewed"),
                Err(error) if error.is_conflict() || error.is_not_found() => {}
                Err(source) => return Err(ManageError::Write { what: "Secret windlass-serving", source }),
            }
        }
        Err(ManageError::Restless)
    }

    fn serve(&self, data: &BTreeMap<String, ByteString>) -> Result<(), BundleError> {
        let bytes = |key| data.get(key).map(|bytes| bytes.0.as_slice()).unwrap_or_default();
        self.serving.set_pem(bytes("tls.crt"), bytes("tls.key")).map(|_| ()).map_err(BundleError::Leaf)
    }

    async fn write_secret(&self, api: &Api<Secret>, existing: Option<Secret>, new: &Bundle) -> Result<(), WriteError> {
        match existing {
            Some(mut secret) => {
                secret.data.get_or_insert_default().extend(new.data());
                self.writer.replace(api, SECRET, &secret).await?;
            }
            None => {
                let secret = Secret {
                    metadata: ObjectMeta {
                        name: Some(SECRET.to_owned()),
                        namespace: Some(self.namespace.clone()),
                        labels: Some(BTreeMap::from([("app.kubernetes.io/name".to_owned(), "windlass".to_owned())])),
                        ..ObjectMeta::default()
                    },
                    type_: Some("kubernetes.io/tls".to_owned()),
                    data: Some(new.data()),
                    ..Secret::default()
                };
                self.writer.create(api, &secret).await?;
            }
        }
        Ok(())
    }

    /// Tells the aggregator the CAs, if it does not know them and the API is this operator's.
    async fn publish_ca(&self, bundle: &Bundle) -> Result<(), ManageError> {
        const WHAT: &str = "APIService v1beta1.external.metrics.k8s.io";
        let api: Api<APIService> = Api::all(self.writer.client().clone());
        let cas = bundle.ca_bundle();
        for _ in 0..MAX_STEPS {
            let found = read(&api, API_SERVICE).await.map_err(|error| reading(WHAT, &error))?;
            let found = found.ok_or(ManageError::NoApiService)?;
            let spec = found.spec.unwrap_or_default();
            let owner = spec.service.unwrap_or_default();
            if owner.name.as_deref() != Some(SERVICE) || owner.namespace.as_deref() != Some(&self.namespace) {
                let name = |part: Option<String>| part.unwrap_or_else(|| "-".to_owned());
                return Err(ManageError::ForeignApiService(format!("{}/{}", name(owner.namespace), name(owner.name))));
            }
            let is_insecure = spec.insecure_skip_tls_verify == Some(true);
            if spec.ca_bundle.is_some_and(|told| names(&told.0, &self.identity, &cas)) && !is_insecure {
                return Ok(());
            }
            let wanted = ByteString(marked(&self.identity, self.clock.now(), &cas).into_bytes());
            let patch = json!({
                "metadata": {"resourceVersion": found.metadata.resource_version},
                "spec": {"caBundle": wanted, "insecureSkipTLSVerify": false},
            });
            match self.writer.merge("APIService", &api, API_SERVICE, &patch).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_conflict() => {}
                Err(source) => return Err(ManageError::Write { what: WHAT, source }),
            }
        }
        Err(ManageError::Restless)
    }
}

/// The first line of what the aggregator is told, up to the time; text outside of the blocks is no part of PEM (RFC 7468,
/// section 2).
fn mark(identity: &str) -> String {
    // A block begins with hyphens.
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    let identity: String = identity.chars().map(plain).collect();
    format!("# served by {} since ", identity.trim_start_matches('-'))
}

/// `cas` after a line that names the replica and the time.
fn marked(identity: &str, since: Timestamp, cas: &str) -> String {
    format!("{}{since}\n{cas}", mark(identity))
}

/// Whether `told` names this replica, whatever the time, and has these `cas`.
fn names(told: &[u8], identity: &str, cas: &str) -> bool {
    let after_line = |told: &[u8]| told.iter().position(|byte| *byte == b'\n').map(|end| told[end + 1..].to_vec());
    told.starts_with(mark(identity).as_bytes()) && after_line(told).is_some_and(|rest| rest == cas.as_bytes())
}

fn usable(secret: &Secret, names: &[String]) -> Option<(Bundle, super::plan::Facts)> {
    let data = secret.data.as_ref()?;
    if data.values().all(|value| value.0.is_empty()) {
        return None;
    }
    let judged = Bundle::parse(data).and_then(|bundle| bundle.facts(names).map(|facts| (bundle, facts)));
    judged
        .inspect_err(|error| tracing::warn!(secret = SECRET, error = %error, "secret is not usable, a new one is made"))
        .ok()
}

fn reading(what: &'static str, error: &FollowError) -> ManageError {
    ManageError::Read { what, reason: error.to_string() }
}

#[cfg(test)]
#[path = "managed_tests.rs"]
mod tests;
