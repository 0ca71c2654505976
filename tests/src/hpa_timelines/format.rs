//! The file that both implementations read: one timeline a line. `tests/cluster/hpa/timeline_test.go` is its twin. Only
//! shapes; generates and judges nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The syncs of one autoscaler are this far apart, in milliseconds.
pub const SYNC_MS: i64 = 15_000;

/// One life of an autoscaler: what it sees, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// Its number among those of one seed.
    pub id: u64,
    /// How many syncs it is watched for.
    pub syncs: usize,
    /// What happens, in order. What happens at 0 is there before the controller.
    pub events: Vec<Event>,
}

/// One thing changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since the start.
    pub at: i64,
    /// What changes.
    #[serde(flatten)]
    pub change: Change,
}

/// What changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The autoscaler is created or edited.
    Hpa(Hpa),
    /// Somebody else writes `spec.replicas`.
    Replicas(i32),
    /// `status.replicas`.
    StatusReplicas(i32),
    /// A pod, as it is from now on.
    Pod(SimPod),
    /// A pod is no more.
    Gone(String),
    /// The API of a metric answers differently from now on.
    Metric(MetricEvent),
    /// Whether the scale has a selector.
    Selector(bool),
    /// Whether the scale can be read.
    ScaleReads(bool),
    /// So many of the next writes meet a conflict.
    Conflicts(u32),
    /// Whether writes are accepted.
    Writes(bool),
}

/// The spec of the autoscaler, as a person writes it: the API server's defaults are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hpa {
    /// `minReplicas`.
    pub min: i32,
    /// `maxReplicas`.
    pub max: i32,
    /// `metrics`.
    pub metrics: Vec<Metric>,
    /// `behavior`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behaviour: Option<Behaviour>,
}

/// One metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metric {
    /// Where it comes from.
    pub source: Source,
    /// `cpu` or `memory` for a resource, else empty.
    pub resource: String,
    /// What kind of target it has.
    pub target: Target,
    /// The target: thousandths, or percent for utilization.
    pub amount: i64,
}

/// Where a metric comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "Kubernetes' own words")]
pub enum Source {
    External,
    Object,
    Pods,
    Resource,
    Container,
}

impl Source {
    /// Whether there is one figure for each pod.
    #[must_use]
    pub const fn is_per_pod(self) -> bool {
        !matches!(self, Self::External | Self::Object)
    }
}

/// What kind of target a metric has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "Kubernetes' own words")]
pub enum Target {
    Value,
    Average,
    Utilization,
}

/// `behavior`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Behaviour {
    /// `scaleUp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up: Option<Rules>,
    /// `scaleDown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down: Option<Rules>,
}

/// The rules of one direction; what is `None` is filled in by the defaults of either implementation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rules {
    /// `stabilizationWindowSeconds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u32>,
    /// `selectPolicy`: `Max`, `Min` or `Disabled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub select: Option<String>,
    /// `policies`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<Policy>>,
    /// `tolerance` in thousandths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<u32>,
}

/// One policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// `Pods` or `Percent`.
    pub kind: String,
    /// How many.
    pub value: i32,
    /// Seconds.
    pub period: u32,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimPod {
    /// Its name.
    pub name: String,
    /// `status.phase`.
    pub phase: String,
    /// The condition `Ready`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<Readiness>,
    /// `status.startTime`, milliseconds since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<i64>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its containers.
    pub containers: Vec<Container>,
}

/// The condition `Ready`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// `lastTransitionTime`, milliseconds since the start.
    pub since: i64,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its name; the one that container metrics ask about is [`MAIN`].
    pub name: String,
    /// What it requests, in thousandths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<i64>,
    /// What it requests, in thousandths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<i64>,
}

/// The container that container metrics ask about.
pub const MAIN: &str = "main";

/// The API of a metric answers differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricEvent {
    /// The metric's place in the spec.
    pub index: usize,
    /// The answer.
    #[serde(flatten)]
    pub answer: Answer,
}

/// What the API of a metric answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// An error.
    Error(String),
    /// The values of an external metric, in thousandths.
    Values(Vec<i64>),
    /// The value of an object metric, in thousandths.
    Object(i64),
    /// A figure for each pod.
    Pods(Vec<PodFigure>),
}

/// The figure of one pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodFigure {
    /// Its name.
    pub pod: String,
    /// Thousandths.
    pub milli: i64,
    /// When it was measured, milliseconds since the start.
    pub at: i64,
    /// Over how many milliseconds.
    pub window: i64,
}

/// What the other side says about one timeline.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Rows {
    /// The timeline.
    pub id: u64,
    /// Its syncs.
    pub rows: Vec<Row>,
}

/// One sync.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Row {
    /// When it had read the scale and the last metric, nanoseconds since the start.
    pub at: i64,
    /// The replicas it read.
    pub before: i32,
    /// The replicas it left.
    pub replicas: i32,
    /// When it wrote them, if it did.
    pub wrote: Option<i64>,
    /// The status it wrote, if it did.
    pub status: Option<Status>,
}

/// The status of the autoscaler.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Status {
    /// `currentReplicas`.
    pub current: i32,
    /// `desiredReplicas`.
    pub desired: i32,
    /// `lastScaleTime`, nanoseconds since the start.
    pub last_scale: Option<i64>,
    /// Type to status and reason, such as `True ReadyForNewScale`.
    pub conditions: BTreeMap<String, String>,
    /// `currentMetrics`; `None` for a metric that has no figure.
    pub metrics: Vec<Option<Figure>>,
}

/// What `currentMetrics` says of one metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct Figure {
    /// `value`, thousandths.
    pub value: Option<i64>,
    /// `averageValue`, thousandths.
    pub average: Option<i64>,
    /// `averageUtilization`, percent.
    pub utilization: Option<i32>,
}
