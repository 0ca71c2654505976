//! What the autoscaler is asked for (`HorizontalPodAutoscalerSpec`) and the settings of the controller (the flags of
//! kube-controller-manager). Plain values; never parses Kubernetes objects and never validates: the API server does.

use std::time::Duration;

use super::Reason;
use crate::{PolicyKind, SelectPolicy};

/// The settings of the controller that all its objects share; the default is what kube-controller-manager has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Controller {
    /// `--horizontal-pod-autoscaler-sync-period`: the time between two syncs of one object. [`super::sync`] does not use
    /// it; whoever calls it does.
    pub sync_period: Duration,
    /// `--horizontal-pod-autoscaler-downscale-stabilization`: for how long a recommendation holds replicas up, unless
    /// the object says it itself.
    pub downscale_stabilisation: Duration,
    /// `--horizontal-pod-autoscaler-tolerance`: how far usage / target may be from 1 before anything moves.
    pub tolerance: f64,
    /// `--horizontal-pod-autoscaler-cpu-initialization-period`: how long after its start a pod's CPU readings may be
    /// left out.
    pub cpu_initialisation: Duration,
    /// `--horizontal-pod-autoscaler-initial-readiness-delay`: a pod that became unready this soon after its start was
    /// never ready.
    pub initial_readiness: Duration,
}

impl Default for Controller {
    fn default() -> Self {
        Self {
            sync_period: Duration::from_secs(15),
            downscale_stabilisation: Duration::from_secs(300),
            tolerance: 0.1,
            cpu_initialisation: Duration::from_secs(300),
            initial_readiness: Duration::from_secs(30),
        }
    }
}

/// What one autoscaler is asked for. The defaults of the API server are expected to be filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// `minReplicas`; the API server's default is 1.
    pub min: i32,
    /// `maxReplicas`.
    pub max: i32,
    /// `metrics`. The API server never stores an empty list; with one, nothing moves.
    pub metrics: Vec<Metric>,
    /// `behavior`. `None` means the older rules: at most twice the replicas (or 4) a sync, and one window for scaling
    /// down.
    pub behaviour: Option<Behaviour>,
}

/// One entry of `metrics`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// Where the figures come from.
    pub source: Source,
    /// What they are held against.
    pub target: Target,
}

impl Metric {
    /// The reason of `ScalingActive` when this metric cannot be used; also the reason of the warning event.
    #[must_use]
    pub const fn failure(&self) -> Reason {
        match self.source {
            Source::External { .. } => Reason::FailedGetExternalMetric,
            Source::Object { .. } => Reason::FailedGetObjectMetric,
            Source::Pods { .. } => Reason::FailedGetPodsMetric,
            Source::Resource { .. } => Reason::FailedGetResourceMetric,
            Source::ContainerResource { .. } => Reason::FailedGetContainerResourceMetric,
        }
    }
}

/// Where the figures of a metric come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A metric of something outside the cluster.
    External {
        /// Its name.
        name: String,
    },
    /// A metric of one object of the cluster.
    Object {
        /// Its name.
        name: String,
    },
    /// A metric that every pod of the target has.
    Pods {
        /// Its name.
        name: String,
    },
    /// What the pods use of a resource, all containers together.
    Resource {
        /// `cpu`, `memory`, ...
        resource: String,
    },
    /// What one container of every pod uses of a resource.
    ContainerResource {
        /// `cpu`, `memory`, ...
        resource: String,
        /// The name of the container.
        container: String,
    },
}

/// What a metric is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `value`, in thousandths: the figure as a whole; only ready pods count as serving it.
    Value(i64),
    /// `averageValue`, in thousandths: the figure divided by the pods.
    AverageValue(i64),
    /// `averageUtilization`, in percent of what the pods request.
    Utilization(i32),
}

/// `behavior`: how fast replicas may move.
#[derive(Debug, Clone, PartialEq)]
pub struct Behaviour {
    /// `scaleUp`.
    pub scale_up: Rules,
    /// `scaleDown`.
    pub scale_down: Rules,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { scale_up: Rules::scale_up(), scale_down: Rules::scale_down() }
    }
}

/// The rules of one direction.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// `stabilizationWindowSeconds`, in seconds. `None` is possible for scaling down only and means the controller's own
    /// window; for scaling up it counts as 0.
    pub stabilisation: Option<u32>,
    /// `selectPolicy`.
    pub select: SelectPolicy,
    /// `policies`.
    pub policies: Vec<Policy>,
    /// `tolerance`: a number of at least 0. `None` means the controller's own. A quantity such as `50m` is its digits
    /// times a power of ten in floating point: 50.0 * 1e-3.
    pub tolerance: Option<f64>,
}

impl Rules {
    /// What the API server fills in for `behavior.scaleUp`: no window, and the greater of 4 pods and 100 % in 15 s.
    #[must_use]
    pub fn scale_up() -> Self {
        Self {
            stabilisation: Some(0),
            select: SelectPolicy::Max,
            policies: vec![
                Policy { kind: PolicyKind::Pods, value: 4, period: 15 },
                Policy { kind: PolicyKind::Percent, value: 100, period: 15 },
            ],
            tolerance: None,
        }
    }

    /// What the API server fills in for `behavior.scaleDown`: the controller's window, and 100 % in 15 s.
    #[must_use]
    pub fn scale_down() -> Self {
        Self {
            stabilisation: None,
            select: SelectPolicy::Max,
            policies: vec![Policy { kind: PolicyKind::Percent, value: 100, period: 15 }],
            tolerance: None,
        }
    }
}

/// One policy: at most `value` in `period`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What `value` counts.
    pub kind: PolicyKind,
    /// How many pods or percent.
    pub value: i32,
    /// `periodSeconds`, in seconds.
    pub period: u32,
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let utilization =
            if matches!(self.target, Target::Utilization(_)) { " utilization (percentage of request)" } else { "" };
        match &self.source {
            Source::External { name } => write!(f, "external metric {name}"),
            Source::Object { name } => write!(f, "object metric {name}"),
            Source::Pods { name } => write!(f, "pods metric {name}"),
            Source::Resource { resource } => write!(f, "{resource} resource{utilization}"),
            Source::ContainerResource { resource, .. } => write!(f, "{resource} container resource{utilization}"),
        }
    }
}
