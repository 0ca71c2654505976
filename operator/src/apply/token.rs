//! Asks for tokens of ServiceAccounts. It keeps none, and no error or log line of it has one.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use windlass_sources::Secret;

use crate::apply::writer::{WriteError, Writer};

/// How long a token is asked for, as KEDA asks. The API server may give it for another time.
const LIFETIME: Duration = Duration::from_secs(3600);

/// A token, and how long it is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The token.
    pub token: Secret,
    /// How long it is good, as the API server says; by no clock of another machine.
    pub lifetime: Duration,
}

/// A token of a ServiceAccount for the API server's own audience.
///
/// # Errors
/// Why there is none, in words that stay the same while the cause does.
pub async fn request(writer: &Writer, namespace: &str, name: &str) -> Result<Token, String> {
    // It becomes part of a path of the API server.
    if !is_name(name) {
        return Err("it is no name of a ServiceAccount".to_owned());
    }
    let api: Api<ServiceAccount> = Api::namespaced(writer.client().clone(), namespace);
    let seconds = i64::try_from(LIFETIME.as_secs()).ok();
    let spec = TokenRequestSpec { expiration_seconds: seconds, ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let answer = writer.create_token(&api, name, &request).await.map_err(|error| why(&error))?;
    let token = answer.status.map(|status| status.token).filter(|token| !token.is_empty());
    let token = Secret::new(token.ok_or_else(|| "the API server answered without a token".to_owned())?);
    let seconds = answer.spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Ok(Token { token, lifetime: seconds.filter(|seconds| *seconds > 0).map_or(LIFETIME, Duration::from_secs) })
}

fn why(error: &WriteError) -> String {
    match error {
        WriteError::Api(kube::Error::Api(_)) | WriteError::NotLeader => error.to_string(),
        WriteError::Deadline(_) => "the API server did not answer in time".to_owned(),
        // Nothing more: an answer that cannot be read has the token in it.
        WriteError::Api(_) => "the API server could not be asked, or its answer could not be read".to_owned(),
    }
}

/// Whether it is a DNS subdomain (RFC 1123), as each object's name is.
fn is_name(name: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let sound =
        |part: &str| !part.is_empty() && part.bytes().all(allowed) && !part.starts_with('-') && !part.ends_with('-');
    name.len() <= 253 && name.split('.').all(sound)
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn a_name_leads_to_no_other_path() {
        assert!(["default", "my-reader.v2", "7"].into_iter().all(is_name));
        let bad = ["", ".", "..", "../x", "a/b", "a%2Fb", "a?b", "A", "a b", "-a", "a-", "a..b", "a\n"];
        assert!(!bad.into_iter().any(is_name) && !is_name(&"a".repeat(254)));
    }
}
