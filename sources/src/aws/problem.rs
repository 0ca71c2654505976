//! Why AWS gave no credential, as a sentence for a person. No word of an answer is repeated: AWS's own messages may hold parts of a
//! signed request.

use std::error::Error;
use std::io;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::result::ConnectorError;
use windlass_decision::FailureKind;

use super::Credential;
use crate::cause::chain;

/// What is said where a credential does not come in time.
pub(crate) fn late(credential: &Credential) -> String {
    format!("{credential} was not had in time; check the network of the operator's pod")
}

/// Why no credential was had, if that is what the error is about.
pub(crate) fn not_had(credential: &Credential, error: &(dyn Error + 'static)) -> Option<(FailureKind, String)> {
    let all: Vec<_> = chain(error).collect();
    // The innermost one is the cause: a role is taken on with the credential of somebody else.
    let index = all.iter().rposition(|error| error.is::<CredentialsError>())?;
    let innermost = all.get(index)?.downcast_ref::<CredentialsError>()?;
    let within = all.get(index..).unwrap_or_default();
    let transport = within.iter().rev().find_map(|error| error.downcast_ref::<ConnectorError>());
    let too_late = || (FailureKind::Timeout, late(credential));
    let told = match innermost {
        CredentialsError::CredentialsNotLoaded(_) => (
            FailureKind::Unauthorised,
            "the operator has no AWS identity of its own; give its service account a role (IRSA or EKS Pod Identity), or give \
             keys by a TriggerAuthentication"
                .to_owned(),
        ),
        CredentialsError::ProviderTimedOut(_) => too_late(),
        _ => match transport {
            Some(transport) if transport.is_timeout() => too_late(),
            Some(transport) => {
                let why = Cause::of(transport).why;
                let fix = "check DNS and network policies of the operator's pod";
                let message = format!("{credential} was not had: its issuer cannot be reached: {why}; {fix}");
                (FailureKind::Unreachable, message)
            }
            None => {
                let fix = "check that it exists, whom its trust policy allows, and the external id";
                (FailureKind::Unauthorised, format!("AWS does not hand out {credential}; {fix}"))
            }
        },
    };
    Some(told)
}

/// The innermost reason of an error, which is the system's, never the server's.
pub(crate) struct Cause {
    pub(crate) why: String,
    pub(crate) io: bool,
    pub(crate) tls: bool,
}

impl Cause {
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Self { why: String::new(), io: false, tls: false };
        for error in chain(error) {
            cause.tls |= error.is::<rustls::Error>();
            cause.io |= error.is::<io::Error>();
            cause.why = error.to_string();
        }
        cause
    }
}
