//! What is shown to a broker that takes tokens (`OAUTHBEARER`: RFC 7628, KIP-255), and where it comes from: a token server, or a
//! signature of an identity of AWS. It speaks with no broker.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use url::Url;
use windlass_decision::{Clock, FailureKind};

use super::kerberos::{Kerberos, Tickets};
use super::login::Iam;
use super::outcome::Problem;
use crate::Secret;
use crate::aws::{self, Keeper};
use crate::http::{NetworkPolicy, NoFigure, OAuth, Tokens};

/// How long a signature is good. MSK takes none that is good for longer.
const SIGNED_FOR: Duration = Duration::from_secs(900);

/// The tokens of one cluster's triggers, kept between its connections.
#[derive(Debug)]
pub(super) struct Wallet {
    network: Arc<NetworkPolicy>,
    clock: Arc<dyn Clock>,
    handed_out: Tokens,
    keeper: Keeper,
    tickets: OnceLock<Tickets>,
}

impl Wallet {
    pub(super) fn new(network: Arc<NetworkPolicy>, clock: Arc<dyn Clock>) -> Self {
        let (handed_out, keeper, tickets) = Default::default();
        Self { network, clock, handed_out, keeper, tickets }
    }

    /// A token of a server, as a header `Authorization` would hold it, within `time`.
    pub(super) async fn handed_out(&self, oauth: &OAuth, time: Duration) -> Result<Secret, Problem> {
        self.handed_out.header(oauth, &self.network, time).await.map_err(|none| {
            let (NoFigure::Failed(problem) | NoFigure::Absent(problem)) = none;
            Problem::of_login(problem.kind, problem.field, problem.message)
        })
    }

    /// The same, signed by an identity of AWS. What it was signed by is given too.
    pub(super) async fn signed(&self, iam: &Iam, time: Duration) -> Result<(Secret, Credentials), Problem> {
        let now = SystemTime::from(self.clock.now());
        let problem = |(kind, message): (FailureKind, String)| Problem::of_login(kind, iam.credential.field(), message);
        let credentials = self.keeper.get(&iam.credential, &iam.region, now, time).await.map_err(problem)?;
        let token = signed(&credentials, iam, now).ok_or_else(|| {
            let message = format!("no token could be signed by {}; check its keys", iam.credential);
            problem((FailureKind::BadAnswer, message))
        })?;
        Ok((Secret::new(format!("Bearer {token}")), credentials))
    }

    /// The tickets of a login by Kerberos: that of this cluster's triggers, which have one login.
    pub(super) fn tickets(&self, login: &Kerberos) -> &Tickets {
        let new = || Tickets::new(login.clone(), Arc::clone(&self.network), Arc::clone(&self.clock));
        self.tickets.get_or_init(new)
    }

    /// A broker did not take it. Says whether another one may be had now.
    pub(super) fn refused(&self, shown: &Shown) -> bool {
        match shown {
            Shown::Token(header) => self.handed_out.refused(header),
            Shown::Signature(credentials) => self.keeper.refused(credentials),
        }
    }
}

/// What a login was by: a token of a server, or a signature by these.
#[derive(Debug)]
pub(super) enum Shown {
    Token(Secret),
    Signature(Credentials),
}

/// A token as MSK takes it: the URL of a request for leave to connect, signed (Signature Version 4, in the query string) and never
/// sent. <https://docs.aws.amazon.com/msk/latest/developerguide/iam-access-control.html>
fn signed(credential: &Credentials, iam: &Iam, now: SystemTime) -> Option<String> {
    let region = iam.region.as_str();
    let url = format!("https://kafka.{region}.amazonaws.com/?{}", aws::encoded([("Action", "kafka-cluster:Connect")]));
    let scope = aws::Scope { region, service: "kafka-cluster", now };
    let signed = scope.url(credential, &Url::parse(&url).ok()?, SIGNED_FOR)?;
    Some(URL_SAFE_NO_PAD.encode(format!("{signed}&User-Agent=windlass")))
}

/// The first token of the mechanism, and the only one where it is taken.
pub(super) fn first(header: &Secret, extensions: &[(String, Secret)]) -> Vec<u8> {
    let mut text = format!("n,,\x01auth={}", header.expose());
    for (name, value) in extensions {
        text.extend(["\x01", name, "=", value.expose()]);
    }
    (text + "\x01\x01").into_bytes()
}

/// What is answered to a broker that says why it takes no token, so that it ends the login (RFC 7628, section 3.2.3).
pub(super) const UNDERSTOOD: &[u8] = b"\x01";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::aws::{Base, Credential, Keys};

    #[test]
    fn a_token_and_what_is_said_besides() {
        let header = Secret::new("Bearer t0ken");
        assert_eq!(first(&header, &[]), b"n,,\x01auth=Bearer t0ken\x01\x01");
        let extensions = [("a".to_owned(), Secret::new("1")), ("b".to_owned(), Secret::new("2"))];
        assert_eq!(first(&header, &extensions), b"n,,\x01auth=Bearer t0ken\x01a=1\x01b=2\x01\x01");
    }

    /// That a broker takes it is a test of its own; here what it holds.
    #[test]
    fn a_signature_is_a_request_for_leave_to_connect() {
        let keys =
            Keys { access_key_id: Secret::new("AKID"), secret_access_key: Secret::new("mine"), session_token: None };
        let credential = Credential { base: Base::Keys(keys), role: None };
        let iam = Iam { region: "eu-west-1".to_owned(), credential };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let of = |token: Option<&str>| {
            let credentials = Credentials::new("AKID", "mine", token.map(str::to_owned), None, "test");
            let token = signed(&credentials, &iam, now).expect("signed");
            let url = String::from_utf8(URL_SAFE_NO_PAD.decode(token).expect("base64")).expect("text");
            let url = Url::parse(&url).expect("a URL");
            assert_eq!((url.host_str(), url.path()), (Some("kafka.eu-west-1.amazonaws.com"), "/"));
            url.query_pairs().into_owned().collect::<BTreeMap<String, String>>()
        };
        let query = of(None);
        let wanted = [
            ("Action", "kafka-cluster:Connect"),
            ("User-Agent", "windlass"),
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", "AKID/20231114/eu-west-1/kafka-cluster/aws4_request"),
            ("X-Amz-Date", "20231114T221320Z"),
            ("X-Amz-Expires", "900"),
            ("X-Amz-SignedHeaders", "host"),
        ];
        for (name, value) in wanted {
            assert_eq!(query[name], value);
        }
        assert_eq!((query.len(), query["X-Amz-Signature"].len()), (8, 64));
        assert_eq!(of(Some("a/b+c="))["X-Amz-Security-Token"], "a/b+c=");
    }
}
