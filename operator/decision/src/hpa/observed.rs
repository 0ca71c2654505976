//! What one sync sees: the scale of the target, its pods and the answers of the metrics APIs. Borrowed, so that a
//! caller with a thousand pods copies nothing; never says what follows from it.

use std::time::Duration;

use jiff::Timestamp;

/// What one sync sees.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// `spec.replicas` of the target's scale.
    pub spec_replicas: i32,
    /// `status.replicas` of the target's scale.
    pub status_replicas: i32,
    /// What the selector of the target's scale is worth.
    pub selector: Selector,
    /// The pods under that selector.
    pub pods: Pods<'a>,
    /// One answer for each metric of the spec, in its order; an error's text where there was none. Missing answers
    /// count as errors.
    pub metrics: &'a [Result<Reading<'a>, &'a str>],
}

/// What the selector of the target's scale is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Selector {
    /// It selects pods that no other autoscaler controls.
    #[default]
    Good,
    /// It is empty or cannot be read.
    Invalid,
    /// Some of its pods are controlled by another autoscaler too.
    Ambiguous,
}

/// The pods of the target.
#[derive(Debug, Clone, Copy)]
pub enum Pods<'a> {
    /// Every pod.
    Listed(&'a [Pod<'a>]),
    /// How many there are: enough for external and object metrics, which need no more, and cheap for a simulation.
    Counted {
        /// All of them.
        all: u32,
        /// Those that run and are ready.
        ready: u32,
    },
}

/// One pod.
#[derive(Debug, Clone, Copy)]
pub struct Pod<'a> {
    /// Its name, unique in the list.
    pub name: &'a str,
    /// `status.phase`.
    pub phase: Phase,
    /// The condition `Ready`, if there is one.
    pub ready: Option<Ready>,
    /// `status.startTime`.
    pub started: Option<Timestamp>,
    /// Whether it has a `deletionTimestamp`.
    pub deleting: bool,
    /// What it requests, for each resource a metric of the spec asks about.
    pub requests: &'a [Request<'a>],
}

impl Pod<'_> {
    pub(super) fn runs_and_is_ready(&self) -> bool {
        self.phase == Phase::Running && self.ready.is_some_and(|ready| ready.status == Some(true))
    }
}

/// `status.phase` of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not all containers have started.
    Pending,
    /// It runs.
    Running,
    /// It has ended well.
    Succeeded,
    /// It has ended badly.
    Failed,
    /// Nobody knows.
    Unknown,
}

/// The condition `Ready` of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// `True`, `False`, or `None` for `Unknown`.
    pub status: Option<bool>,
    /// `lastTransitionTime`.
    pub since: Timestamp,
}

/// What a pod requests of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// `cpu`, `memory`, ...
    pub resource: &'a str,
    /// One container, or `None` for the pod as a whole: the request of the pod itself if it has any, else the sum of its
    /// containers (restartable init containers included). Leave it out if one of these has no request: Kubernetes then
    /// refuses to calculate.
    pub container: Option<&'a str>,
    /// Thousandths of the unit.
    pub milli: i64,
}

/// The answer of a metrics API to one metric.
#[derive(Debug, Clone, Copy)]
pub enum Reading<'a> {
    /// External: every value under the name and the selector, in thousandths; they are added.
    External(&'a [i64]),
    /// Object: the value, in thousandths.
    Object(i64),
    /// Pods, resource, container resource: one value for each pod. A pod some of whose containers have no figure is left
    /// out of a resource metric. The order does not matter; of two values of one pod, the later one counts.
    PerPod(&'a [PodValue<'a>]),
}

/// The figure of one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodValue<'a> {
    /// The name of the pod.
    pub pod: &'a str,
    /// Thousandths of the unit.
    pub milli: i64,
    /// When it was measured (the end of the window).
    pub at: Timestamp,
    /// Over how long it was measured.
    pub window: Duration,
}
