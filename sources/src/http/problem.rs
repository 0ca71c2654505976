//! Words for what goes wrong with a server that is asked over HTTP. They name the field and say what to do; they hold the class of
//! a status, and never what the server says.

use std::fmt::Display;

use reqwest::StatusCode;
use windlass_decision::{Clock, Failure, FailureKind, Outcome, Sample};

use super::client::Trouble;
use super::policy::Denied;

/// Why something was not read, without a time yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) kind: FailureKind,
    pub(crate) field: &'static str,
    pub(crate) message: String,
}

/// Why a query has no figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoFigure {
    /// The server could not be asked, or did not answer as it should.
    Failed(Problem),
    /// The server says that there is none.
    Absent(Problem),
}

impl From<Problem> for NoFigure {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

/// A server, as it is called in messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<P> {
    /// What it is, for example "Prometheus".
    pub(crate) what: &'static str,
    /// Where it is, without anything secret.
    pub(crate) place: P,
    /// The field that names it.
    pub(crate) field: &'static str,
}

impl Denied {
    /// A sentence about `place`.
    pub(crate) fn sentence(self, place: impl Display) -> String {
        format!(
            "the address of {place} is not allowed: it is {self}; name another host, or have whoever runs the operator allow it"
        )
    }
}

impl Problem {
    pub(crate) fn new(kind: FailureKind, field: &'static str, message: impl Into<String>) -> Self {
        Self { kind, field, message: message.into() }
    }

    fn at(self, clock: &dyn Clock) -> Failure {
        Failure { kind: self.kind, message: self.message, field: Some(self.field), at: clock.now() }
    }
}

impl NoFigure {
    /// As the outcome of a query.
    pub(crate) fn outcome(self, clock: &dyn Clock) -> Outcome {
        match self {
            Self::Failed(problem) => Outcome::Failed(problem.at(clock)),
            Self::Absent(problem) => Outcome::Absent(problem.at(clock)),
        }
    }
}

impl<P: Display> Site<P> {
    /// What became of a request that has no answer.
    pub(crate) fn trouble(&self, trouble: Trouble) -> Problem {
        let Self { what, place, field } = self;
        match trouble {
            Trouble::Denied(denied) => Problem::new(FailureKind::Unreachable, field, denied.sentence(place)),
            Trouble::Unusable => {
                let message = format!("{what} at {place} cannot be asked: its address or a header cannot be used");
                Problem::new(FailureKind::BadAnswer, field, message)
            }
            Trouble::Timeout => {
                let message = format!(
                    "{what} at {place} did not answer in time; check its load and the network, or raise timeout"
                );
                Problem::new(FailureKind::Timeout, field, message)
            }
            Trouble::Tls(why) => {
                let message = format!(
                    "no TLS with {what} at {place}: {why}; give the authority of its certificate as ca, and use the port that speaks TLS"
                );
                Problem::new(FailureKind::Tls, "metadata.ca", message)
            }
            Trouble::Unreachable(why) => {
                let message =
                    format!("cannot reach {what} at {place}: {why}; check the host, its port and network policies");
                Problem::new(FailureKind::Unreachable, field, message)
            }
            Trouble::TooLarge(limit) => self.bad(&format!("its answer is larger than {} MiB", limit >> 20)),
        }
    }

    /// What an answer without success means.
    pub(crate) fn status(&self, status: StatusCode, authenticated: bool) -> NoFigure {
        let Self { what, place, field } = self;
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let message = if authenticated {
                    format!(
                        "{what} at {place} refuses the credentials; check those that authModes names, and what they may read"
                    )
                } else {
                    format!("{what} at {place} wants credentials; give them by authModes")
                };
                Problem::new(FailureKind::Unauthorised, "metadata.authModes", message).into()
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                let message = format!("{what} at {place} has nothing under this path; correct the path of the address");
                NoFigure::Absent(Problem::new(FailureKind::NotFound, field, message))
            }
            status if status.is_redirection() => {
                self.bad("it redirects, which is not followed; write the final address").into()
            }
            status => self.bad(&format!("it answers with a status {}xx", status.as_u16() / 100)).into(),
        }
    }

    /// An answer that is not what it should be.
    pub(crate) fn bad(&self, problem: &str) -> Problem {
        let Self { what, place, field } = self;
        Problem::new(FailureKind::BadAnswer, field, format!("{what} at {place}: {problem}; check the address"))
    }
}

/// A figure as an outcome. What is below 0 counts as 0, as in KEDA (its `scaler.go`); what is no number or too large is a
/// failure.
pub(crate) fn measured(value: f64, field: &'static str, clock: &dyn Clock) -> Outcome {
    // Not max(): it would turn NaN into 0.
    let value = if value < 0.0 { 0.0 } else { value };
    let activity = windlass_decision::Activity::Number(value);
    match (Sample { value, activity, limit: None, at: clock.now() }).checked() {
        Ok(sample) => Outcome::Ok(sample),
        Err(why) => NoFigure::Failed(Problem::new(FailureKind::BadAnswer, field, why)).outcome(clock),
    }
}
