//! Turning answers and errors into outcomes with a sentence for a person. Never repeats a credential or an answer's body.

use windlass_decision::{Activity, Clock, Failure, FailureKind, Outcome, Sample};

use super::config::Connection;
use crate::http;

/// Why something was not read, without a time yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) kind: FailureKind,
    pub(super) field: Option<&'static str>,
    pub(super) message: String,
}

impl From<http::Problem> for Problem {
    fn from(problem: http::Problem) -> Self {
        Self::new(problem.kind, problem.field, problem.message)
    }
}

impl From<Problem> for http::Problem {
    fn from(problem: Problem) -> Self {
        Self::new(problem.kind, problem.field.unwrap_or("metadata.host"), problem.message)
    }
}

impl Problem {
    pub(super) fn new(kind: FailureKind, field: &'static str, message: impl Into<String>) -> Self {
        Self { kind, field: Some(field), message: message.into() }
    }

    /// The broker cannot be reached; `why` is what the system says.
    pub(super) fn unreachable(connection: &Connection, why: &str) -> Self {
        let message = format!(
            "cannot reach the broker at {}: {why}; check the host, its port and network policies",
            connection.endpoint
        );
        Self::new(FailureKind::Unreachable, "metadata.host", message)
    }

    /// No answer in time.
    pub(super) fn timeout(connection: &Connection) -> Self {
        let message =
            format!("the broker at {} did not answer in time; check its load and the network", connection.endpoint);
        Self::new(FailureKind::Timeout, "metadata.host", message)
    }

    /// TLS could not be established.
    pub(super) fn tls(connection: &Connection, why: &str) -> Self {
        let message = format!(
            "no TLS with the broker at {}: {why}; give the authority of its certificate as ca, and use the port that speaks TLS",
            connection.endpoint
        );
        Self::new(FailureKind::Tls, "metadata.ca", message)
    }

    /// The address is not one that may be connected to.
    pub(super) fn denied(connection: &Connection, denied: http::Denied) -> Self {
        Self::new(FailureKind::Unreachable, "metadata.host", denied.sentence(&connection.endpoint))
    }

    /// Wrong user or password.
    pub(super) fn credentials(connection: &Connection) -> Self {
        let user = connection.username.as_deref().unwrap_or("guest");
        let message = format!(
            "the broker refused the credentials of user {user:?}; check user and password in host, or in the Secret they come from \
             (the user guest may connect from the broker's own host only)"
        );
        Self::new(FailureKind::Unauthorised, "metadata.host", message)
    }

    pub(super) fn failed(self, clock: &dyn Clock) -> Outcome {
        Outcome::Failed(self.at(clock))
    }

    pub(super) fn absent(self, clock: &dyn Clock) -> Outcome {
        Outcome::Absent(self.at(clock))
    }

    fn at(self, clock: &dyn Clock) -> Failure {
        Failure { kind: self.kind, message: self.message, field: self.field, at: clock.now() }
    }
}

/// The queue is not in the virtual host; `said` is the broker's own sentence, where there is one.
pub(super) fn no_such_queue(queue: &str, vhost: &str, said: &str) -> Problem {
    let said = if said.is_empty() { String::new() } else { format!(" (the broker says: {said})") };
    let message = format!(
        "there is no queue {queue:?} in the virtual host {vhost:?}{said}; declare it, or correct queueName or vhostName"
    );
    Problem::new(FailureKind::NotFound, "metadata.queueName", message)
}

/// A good sample, or a failure if the figures cannot be counts.
pub(super) fn measured(value: f64, activity: Activity, clock: &dyn Clock) -> Outcome {
    match (Sample { value, activity, limit: None, at: clock.now() }).checked() {
        Ok(sample) => Outcome::Ok(sample),
        Err(why) => Problem::new(FailureKind::BadAnswer, "metadata.queueName", why).failed(clock),
    }
}

/// The first 200 characters of what the broker says, without line breaks.
pub(super) fn shortened(said: &str) -> String {
    said.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
