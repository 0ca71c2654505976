//! What was seen: one reading per trigger and the target's replicas. This module judges freshness and validity of a
//! reading; it never decides.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Hand;

/// The largest value that is believed to be a count: an external metric is a 64-bit number of thousandths, so anything
/// above overflows in the HPA (kubernetes `resource.Quantity`, `MilliValue`).
pub const MAX_VALUE: f64 = 9.2e15;

/// Everything one decision is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// One reading per trigger, in the order of [`crate::Config::triggers`].
    pub triggers: Vec<Reading>,
    /// `spec.replicas` of the target.
    pub replicas: u32,
    /// `status.readyReplicas` of the target.
    pub ready: u32,
    /// When the scaled object was created.
    pub created_at: Timestamp,
    /// The persisted time of the last activation; `None` if it was never active.
    pub last_active_time: Option<Timestamp>,
    /// The last time the external metrics of this object were asked for.
    pub hpa_answer: Option<HpaAnswer>,
    /// The time since the previous decision by a clock that cannot be set, if it is known. The wall clock may have been
    /// stepped since then; no more than this is counted as quiet.
    pub since_last: Option<Duration>,
    /// What a person has asked for by hand.
    pub hand: Hand,
}

/// The last answers given out by the external metrics server for one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HpaAnswer {
    /// When anybody was last answered.
    pub any: Timestamp,
    /// When the HPA controller itself was last answered.
    pub by_hpa: Option<Timestamp>,
}

/// What is known of one trigger.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// The newest outcome; `None` before the first.
    pub latest: Option<Outcome>,
    /// The newest good sample, which may be older than `latest`.
    pub last_ok: Option<Sample>,
    /// How often this trigger is read at present.
    pub interval: Duration,
    /// How often it has failed since it last was good, as a fallback counts it.
    pub failures: u32,
}

/// The answer to one query: a reading is good, failed or absent, and nothing else. Only `Ok` can activate or deactivate.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The source gave a figure.
    Ok(Sample),
    /// The source could not be read.
    Failed(Failure),
    /// The source answered that the queue or key is not there, or has no figure yet. It moves nothing.
    Absent(Failure),
}

/// One good reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The figure that is compared with the target.
    pub value: f64,
    /// The figure or the verdict that says whether there is work at all.
    pub activity: Activity,
    /// The most replicas that can have work at once (for example the number of partitions), if the source knows it.
    pub limit: Option<u32>,
    /// When the source answered.
    pub at: Timestamp,
}

/// How a source says that there is work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activity {
    /// A figure; active when it is **greater than** the trigger's activation value.
    Number(f64),
    /// The source has decided by itself.
    Decided(bool),
}

/// Why a source gave no figure. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure it was.
    pub kind: FailureKind,
    /// What happened and how to mend it, for a person.
    pub message: String,
    /// The metadata field to look at, if one is to blame.
    pub field: Option<&'static str>,
    /// When it happened.
    pub at: Timestamp,
}

/// Kinds of failure, coarse enough that a flapping detail is not a change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FailureKind {
    /// No connection: refused, reset, name not found.
    Unreachable,
    /// No answer within the deadline.
    Timeout,
    /// Credentials were refused, or do not allow the query.
    Unauthorised,
    /// TLS could not be established.
    Tls,
    /// The server answered with an error or with something that is not a figure.
    BadAnswer,
    /// The queue, topic or key is not there.
    NotFound,
}

impl FailureKind {
    /// A short name for metrics and reasons.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Unauthorised => "unauthorised",
            Self::Tls => "tls",
            Self::BadAnswer => "bad_answer",
            Self::NotFound => "not_found",
        }
    }
}

/// How long a reading taken every `interval` may be used: three intervals, at least ten seconds. Saturates.
#[must_use]
pub fn fresh_window(interval: Duration) -> Duration {
    interval.saturating_mul(3).max(Duration::from_secs(10))
}

impl Sample {
    /// Whether its figures can be counts: finite, not negative and not above [`MAX_VALUE`]. A sample that is none of this
    /// is neither good nor usable, whoever let it in.
    #[must_use]
    pub fn is_count(&self) -> bool {
        self.bad_figure().is_none()
    }

    fn bad_figure(&self) -> Option<f64> {
        let activity = if let Activity::Number(figure) = self.activity { Some(figure) } else { None };
        // NaN is in no range.
        [Some(self.value), activity].into_iter().flatten().find(|figure| !(0.0..=MAX_VALUE).contains(figure))
    }

    /// `Err` with the reason if the figures cannot be counts: not finite, negative, or larger than [`MAX_VALUE`].
    ///
    /// # Errors
    /// A sentence for a person.
    pub fn checked(self) -> Result<Self, String> {
        match self.bad_figure() {
            Some(bad) => Err(format!("the source answered {bad}, which is not a count; the reading is not used")),
            None => Ok(self),
        }
    }
}

impl Reading {
    /// The newest outcome if it is good and fresh at `now`: the only thing that can activate or deactivate.
    #[must_use]
    pub fn good(&self, now: Timestamp) -> Option<&Sample> {
        match &self.latest {
            Some(Outcome::Ok(sample)) if self.may_be_used(sample, now) => Some(sample),
            _ => None,
        }
    }

    /// The newest good sample while it is fresh, even if a later reading failed: what the HPA may be told.
    #[must_use]
    pub fn usable(&self, now: Timestamp) -> Option<&Sample> {
        self.good(now).or_else(|| self.last_ok.as_ref().filter(|sample| self.may_be_used(sample, now)))
    }

    /// The failure to report: the newest outcome is a failure and no good sample is usable any more.
    #[must_use]
    pub fn failing(&self, now: Timestamp) -> Option<&Failure> {
        match &self.latest {
            Some(Outcome::Failed(failure) | Outcome::Absent(failure)) if self.usable(now).is_none() => Some(failure),
            _ => None,
        }
    }

    /// When `sample` stops being fresh: from this moment on it must not be used.
    #[must_use]
    pub fn fresh_until(&self, sample: &Sample) -> Timestamp {
        sample.at.saturating_add(self.window()).unwrap_or(Timestamp::MAX)
    }

    fn window(&self) -> SignedDuration {
        SignedDuration::try_from(fresh_window(self.interval)).unwrap_or(SignedDuration::MAX)
    }

    fn may_be_used(&self, sample: &Sample, now: Timestamp) -> bool {
        // A sample from the near future means that the clock was stepped back a little: it is as good as new. One from
        // further ahead has an age that nobody knows: a dead source's last word must not live for an hour because of it.
        let not_from_another_clock = sample.at.duration_since(now) <= self.window();
        not_from_another_clock && now < self.fresh_until(sample) && sample.is_count()
    }
}
