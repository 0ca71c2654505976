//! What the simulated controllers can be told. Values only.

use std::time::Duration;

use windlass_decision::hpa::Controller;

use super::duration::Spread;

/// The settings of the simulated cluster. The default is a small, healthy cluster with Kubernetes' own defaults.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a pod takes from being created to being ready, where it has no annotation `kubesim/ready-ms`.
    pub ready: Spread,
    /// The share of that time in which it is not even running (scheduling, pulling the image), 0 to 1.
    pub pending_share: f64,
    /// How long a pod of a Job works once it is ready, where it has no annotation `kubesim/run-ms`.
    pub run: Spread,
    /// How long the workload controllers take to react. What changes in that time is answered together, so it also bounds
    /// how often they write.
    pub reaction: Duration,
    /// The node that pods are said to run on.
    pub node: String,
    /// The HPA controller: its sync period, stabilisation, tolerance and readiness delays.
    pub hpa: Controller,
    /// How many HPAs are synced at the same time (`--concurrent-horizontal-pod-autoscaler-syncs`, 5). With as many that
    /// wait for a hanging metrics server, all others wait too, as in the real controller.
    pub hpa_workers: usize,
    /// How long the HPA controller waits for one metric. The real one sets no limit itself; the API server ends the request
    /// after 60 s (`--request-timeout`).
    pub metric_timeout: Duration,
    /// Whether the HPA controller records Events.
    pub events: bool,
    /// How long a Job waits before it replaces its first failed pod; doubled at each failure up to ten minutes.
    pub job_backoff: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ready: Spread::millis(3000),
            pending_share: 0.3,
            run: Spread::millis(10_000),
            reaction: Duration::from_millis(20),
            node: "node-0".to_owned(),
            hpa: Controller::default(),
            hpa_workers: 5,
            metric_timeout: Duration::from_secs(60),
            events: true,
            job_backoff: Duration::from_secs(10),
        }
    }
}
