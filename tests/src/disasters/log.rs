//! What a run leaves behind: who wrote what and when, what was scaled, what was read. Plain records for the oracles and
//! for the trace.

use std::fmt;
use std::time::Duration;

/// The records of one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Log {
    /// Names of the replicas of the operator.
    pub replicas: Vec<String>,
    /// Writes of the operator's replicas that reached the API server, in order.
    pub writes: Vec<Write>,
    /// Changes of the replicas of Deployments, in order.
    pub scaled: Vec<Scaled>,
    /// Good readings, in order.
    pub reads: Vec<SeenRead>,
    /// Who held the Lease from when on.
    pub holders: Vec<(Duration, String)>,
    /// Panics, and replicas that ended although nobody asked.
    pub ended: Vec<(Duration, String)>,
    /// The objects at the end, a line each, without times and versions.
    pub end_state: String,
    /// When the run ended.
    pub ends_at: Duration,
    /// Everything that the API server was asked and everything that moved, a line each.
    pub trace: String,
}

/// A write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// When it was done, since the start.
    pub at: Duration,
    /// Which replica.
    pub replica: String,
    /// `create`, `patch`, ...
    pub verb: String,
    /// Plural, with the subresource.
    pub resource: String,
    /// Name.
    pub name: String,
    /// HTTP status.
    pub code: u16,
}

/// A change of replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scaled {
    /// When, since the start.
    pub at: Duration,
    /// Name of the Deployment, which is that of the scaled object.
    pub object: String,
    /// Before.
    pub from: u32,
    /// After.
    pub to: u32,
    /// Who.
    pub by: Author,
}

/// Who scaled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Author {
    /// A replica of the operator.
    Replica(String),
    /// The HPA controller.
    Hpa,
    /// Somebody else.
    Other,
}

/// A good reading.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenRead {
    /// When it was answered, since the start.
    pub at: Duration,
    /// Name of the queue, which is that of the scaled object.
    pub object: String,
    /// What the queue held.
    pub value: f64,
    /// The password it was asked with.
    pub password: String,
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.3} s: {} {} {} {} -> {}",
            self.at.as_secs_f64(),
            self.replica,
            self.verb,
            self.resource,
            self.name,
            self.code
        )
    }
}

impl fmt::Display for Scaled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match &self.by {
            Author::Replica(name) => name,
            Author::Hpa => "the HPA",
            Author::Other => "somebody",
        };
        write!(f, "{:.3} s: {} {} -> {} by {by}", self.at.as_secs_f64(), self.object, self.from, self.to)
    }
}
