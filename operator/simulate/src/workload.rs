//! What the replicas do with what arrives: how fast one works, how long it takes to start, what late means. Settings only;
//! `load` computes with them.

use std::time::Duration;

/// How arrivals are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// Messages wait in a queue until they are served; the figure that triggers read is the backlog: what waits and what
    /// is being served.
    Queue,
    /// Requests are served as they come; what is beyond the capacity waits for at most the time-out and is lost then. The
    /// figure that triggers read is the rate of arrivals.
    Request {
        /// How long a request waits before it is lost; 0 loses at once what cannot be served.
        timeout: Duration,
    },
}

/// How much of a replica may be missing where the capacity is called enough, so that 3.0000000001 replicas of work are 3.
pub(crate) const ENOUGH: f64 = 1e-6;

/// The workload that is scaled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Workload {
    /// How arrivals are served.
    pub model: Model,
    /// What one ready replica serves per second.
    pub service_rate: f64,
    /// From the creation of a replica until it is ready.
    pub startup: Duration,
    /// The longest acceptable wait.
    pub slo: Duration,
}

impl Workload {
    /// The least replicas that keep up with `rate` arrivals per second.
    #[must_use]
    pub fn needed(&self, rate: f64) -> u32 {
        (rate / self.service_rate - ENOUGH).ceil().max(if rate > 0.0 { 1.0 } else { 0.0 }) as u32
    }
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidWorkload {
    /// Nothing would ever be served.
    #[error("service rate: {0} must be a number above 0, at least 0.000001 and at most a thousand million")]
    ServiceRate(f64),
}

impl Workload {
    /// Checks the settings.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn checked(self) -> Result<Self, InvalidWorkload> {
        let usable = (1e-6..=1e9).contains(&self.service_rate);
        if usable { Ok(self) } else { Err(InvalidWorkload::ServiceRate(self.service_rate)) }
    }
}
