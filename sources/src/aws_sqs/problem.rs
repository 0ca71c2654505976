//! Why something was not read, as a sentence for a person. Of an answer only the status and the error's code are looked at,
//! and no word of it is ever repeated: whoever names the endpoint could have it say anything, and AWS's own messages may hold
//! parts of a signed request.

use std::error::Error;

use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use windlass_decision::{Clock, Failure, FailureKind, Outcome};

use super::config::{Connection, Queue};
use crate::aws::{Cause, late, not_had};
use crate::cause::chain;
use crate::http::Denied;

/// Why something was not read, without a time yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) kind: FailureKind,
    pub(super) field: &'static str,
    pub(super) message: String,
    /// Whether it is the credential's, so that asking for other queues would be in vain.
    pub(super) of_credential: bool,
}

/// Why a query has no figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoFigure {
    /// The service could not be asked, or did not answer as it should.
    Failed(Problem),
    /// The service says that there is none.
    Absent(Problem),
}

impl NoFigure {
    pub(super) fn outcome(self, clock: &dyn Clock) -> Outcome {
        let failure =
            |Problem { kind, field, message, .. }| Failure { kind, message, field: Some(field), at: clock.now() };
        match self {
            Self::Failed(problem) => Outcome::Failed(failure(problem)),
            Self::Absent(problem) => Outcome::Absent(failure(problem)),
        }
    }

    /// The problem, if it is the credential's.
    pub(super) fn of_credential(&self) -> Option<&Problem> {
        match self {
            Self::Failed(problem) => Some(problem).filter(|problem| problem.of_credential),
            Self::Absent(_) => None,
        }
    }

    pub(super) fn is_timeout(&self) -> bool {
        matches!(self, Self::Failed(Problem { kind: FailureKind::Timeout, .. }))
    }
}

impl From<Problem> for NoFigure {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

impl Problem {
    fn new(kind: FailureKind, field: &'static str, message: String) -> Self {
        Self { kind, field, message, of_credential: false }
    }

    fn of_credential(kind: FailureKind, connection: &Connection, message: String) -> Self {
        Self { of_credential: true, ..Self::new(kind, connection.credential.field(), message) }
    }

    /// No answer in time; `identity` says that not even a credential was had by then.
    pub(super) fn timeout(connection: &Connection, identity: bool) -> Self {
        if identity {
            return Self::of_credential(FailureKind::Timeout, connection, late(&connection.credential));
        }
        let endpoint = &connection.endpoint;
        let message = format!("SQS at {endpoint} did not answer in time; check the address, its load and the network");
        Self::new(FailureKind::Timeout, "metadata.awsEndpoint", message)
    }

    /// An answer that is not what SQS says.
    pub(super) fn bad_answer(connection: &Connection, what: &str) -> Self {
        let endpoint = &connection.endpoint;
        let message =
            format!("SQS at {endpoint} answers wrongly: {what}; check that awsEndpoint is the address of SQS");
        Self::new(FailureKind::BadAnswer, "metadata.awsEndpoint", message)
    }

    /// The network policy keeps the source from the address.
    fn denied(connection: &Connection, denied: Denied) -> Self {
        let endpoint = &connection.endpoint;
        let message = format!(
            "SQS at {endpoint} is not asked: its address is {denied}; correct awsEndpoint, or have whoever runs the operator \
             allow that network"
        );
        Self::new(FailureKind::Unreachable, "metadata.awsEndpoint", message)
    }

    fn unreachable(connection: &Connection, why: &str) -> Self {
        let endpoint = &connection.endpoint;
        let message =
            format!("cannot reach SQS at {endpoint}: {why}; check awsRegion and awsEndpoint, DNS and network policies");
        Self::new(FailureKind::Unreachable, "metadata.awsEndpoint", message)
    }
}

/// What an error of the service means, by its code. The names differ between the protocols that AWS has had, and between
/// servers that stand in for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    NoQueue,
    Elsewhere,
    WrongKey,
    WrongSignature,
    Expired,
    Denied,
    /// Refused without a reason that can be read, by a proxy for instance.
    Refused,
    Throttled,
    Fault,
    Unknown,
}

fn meaning(code: &str, status: u16) -> Meaning {
    match code {
        "QueueDoesNotExist" | "AWS.SimpleQueueService.NonExistentQueue" => Meaning::NoQueue,
        "InvalidAddress" | "InvalidAddressException" => Meaning::Elsewhere,
        "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "UnrecognizedClientException"
        | "InvalidSecurity"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "AuthFailure" => Meaning::WrongKey,
        "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "InvalidSignature"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "RequestExpired"
        | "RequestTimeTooSkewed" => Meaning::WrongSignature,
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => Meaning::Expired,
        "AccessDenied" | "AccessDeniedException" | "NotAuthorized" | "OptInRequired" | "UnauthorizedOperation" => {
            Meaning::Denied
        }
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded"
        | "OverLimit"
        | "SlowDown" => Meaning::Throttled,
        _ => match status {
            401 | 403 => Meaning::Refused,
            429 => Meaning::Throttled,
            500.. => Meaning::Fault,
            _ => Meaning::Unknown,
        },
    }
}

/// Why `action` on `queue` gave nothing.
pub(super) fn explain<E>(
    connection: &Connection,
    queue: &Queue,
    action: &str,
    error: &SdkError<E, HttpResponse>,
) -> NoFigure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let Some(denied) = chain(error).find_map(|error| error.downcast_ref::<Denied>()) {
        return Problem::denied(connection, *denied).into();
    }
    if let Some((kind, message)) = not_had(&connection.credential, error) {
        return Problem::of_credential(kind, connection, message).into();
    }
    let cause = Cause::of(error);
    match error {
        SdkError::ServiceError(answer) => {
            let (code, status) = (answer.err().code().unwrap_or_default(), answer.raw().status().as_u16());
            said(connection, queue, action, code, status)
        }
        SdkError::TimeoutError(_) => Problem::timeout(connection, false).into(),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => Problem::timeout(connection, false).into(),
        SdkError::DispatchFailure(_) | SdkError::ResponseError(_) if cause.tls => {
            let endpoint = &connection.endpoint;
            let message = format!(
                "no TLS with SQS at {endpoint}: {}; check that awsEndpoint speaks TLS and that the operator trusts its authority",
                cause.why
            );
            Problem::new(FailureKind::Tls, "metadata.awsEndpoint", message).into()
        }
        SdkError::DispatchFailure(failure) if failure.is_io() || cause.io || failure.as_other().is_some() => {
            Problem::unreachable(connection, &cause.why).into()
        }
        SdkError::ResponseError(_) if cause.io => Problem::unreachable(connection, &cause.why).into(),
        SdkError::ResponseError(answer) => {
            let what = format!("status {}, and something that cannot be read", answer.raw().status().as_u16());
            Problem::bad_answer(connection, &what).into()
        }
        SdkError::DispatchFailure(_) => Problem::bad_answer(connection, "it does not speak HTTP").into(),
        _ => {
            let message = "the request could not be made; check awsRegion, awsEndpoint and the credentials".to_owned();
            Problem::new(FailureKind::BadAnswer, "metadata.awsEndpoint", message).into()
        }
    }
}

/// The service answered with an error.
fn said(connection: &Connection, queue: &Queue, action: &str, code: &str, status: u16) -> NoFigure {
    let (name, who, endpoint) = (&queue.name, &connection.credential, &connection.endpoint);
    let unauthorised = |message: String| Problem::of_credential(FailureKind::Unauthorised, connection, message).into();
    match meaning(code, status) {
        Meaning::NoQueue => {
            let fix = match queue.url {
                Some(_) => "create it, or correct queueURL or awsRegion",
                None => "create it, correct queueURL or awsRegion, or write the whole URL if it is another account's",
            };
            let message = format!("there is no queue {name:?} at {endpoint}, or {who} may not see it; {fix}");
            NoFigure::Absent(Problem::new(FailureKind::NotFound, "metadata.queueURL", message))
        }
        Meaning::Elsewhere => {
            let message =
                format!("SQS at {endpoint} does not serve the URL of queue {name:?}; correct queueURL or awsRegion");
            Problem::new(FailureKind::BadAnswer, "metadata.queueURL", message).into()
        }
        Meaning::WrongKey => unauthorised(format!(
            "AWS does not know {who}; check that it exists and is active, and that awsSessionToken goes with it if it is a session's"
        )),
        Meaning::WrongSignature => unauthorised(format!(
            "AWS does not accept the signature of {who}; check awsSecretAccessKey, and the clock of the operator's node"
        )),
        Meaning::Expired => {
            let fix = "give new keys and a new awsSessionToken, or a role that is renewed by itself";
            unauthorised(format!("the session of {who} has expired; {fix}"))
        }
        Meaning::Denied => {
            let message = format!("{who} may not call {action} on queue {name:?}; allow sqs:{action} in its policy");
            let field = connection.credential.field();
            Problem::new(FailureKind::Unauthorised, field, message).into()
        }
        Meaning::Refused => {
            let message = format!(
                "SQS at {endpoint} refuses {who} for queue {name:?} (status {status}); check the credentials, and that they may call sqs:{action}"
            );
            Problem::new(FailureKind::Unauthorised, connection.credential.field(), message).into()
        }
        Meaning::Throttled => {
            let message = format!(
                "SQS throttles requests of this account; raise pollingInterval, or have the service quota raised (queue {name:?})"
            );
            Problem::new(FailureKind::BadAnswer, "metadata.queueURL", message).into()
        }
        Meaning::Fault => {
            let message = format!("SQS at {endpoint} has a fault of its own (status {status}); it is asked again");
            Problem::new(FailureKind::BadAnswer, "metadata.awsEndpoint", message).into()
        }
        Meaning::Unknown => Problem::bad_answer(connection, &format!("an error with status {status}")).into(),
    }
}

#[cfg(test)]
#[path = "problem_tests.rs"]
mod tests;
