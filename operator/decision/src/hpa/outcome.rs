//! What one sync comes to: the replicas to write, what the status of the object says, and what to remember. Values
//! only; writes nothing.

use std::borrow::Cow;

use jiff::Timestamp;

use super::{Spec, State};

/// What one sync comes to. When [`rescale`](Self::rescale) is set, write [`desired`](Self::desired) to the target's scale
/// and then call [`written`](Self::written) or [`refused`](Self::refused), before `next` and the conditions are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The replicas the target should have; what it has if there is nothing to write.
    pub desired: i32,
    /// Why the target must be written. `None`: nothing to write.
    pub rescale: Option<Rescale>,
    /// `status.desiredReplicas`, or `None` if it stays as it was (the metrics could not be used, or the write failed).
    pub status_desired: Option<i32>,
    /// The conditions this sync has set.
    pub conditions: Conditions,
    /// For each metric of the spec what it proposed; empty if the metrics were not looked at.
    pub metrics: Vec<Result<Proposal, MetricError>>,
    /// The metric that won: an index into `metrics`.
    pub decisive: Option<usize>,
    /// What the next sync must be given.
    pub next: State,
}

/// Why the target must be written; the text is the one of the event `SuccessfulRescale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rescale {
    /// There are more replicas than `maxReplicas`.
    AboveMax,
    /// There are fewer replicas than `minReplicas`.
    BelowMin,
    /// A metric asks for more: its index.
    MetricAboveTarget(usize),
    /// No metric needs what there is.
    AllBelowTarget,
    /// The metrics ask for what there is; a recent recommendation or a limit moves it nevertheless.
    Limits,
}

/// The conditions of the object that a sync sets. `None`: this sync said nothing about it, and what it said before stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditions {
    /// `AbleToScale`.
    pub able_to_scale: Option<Condition>,
    /// `ScalingActive`.
    pub scaling_active: Option<Condition>,
    /// `ScalingLimited`.
    pub scaling_limited: Option<Condition>,
}

/// One condition. Its transition time moves when `holds` changes, not when the reason does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Status `True` or `False`.
    pub holds: bool,
    /// The reason.
    pub reason: Reason,
    /// The sentence.
    pub message: Cow<'static, str>,
}

/// The reasons Kubernetes gives in the conditions of an autoscaler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Kubernetes' own words, and all there is to say")]
pub enum Reason {
    SucceededGetScale,
    FailedGetScale,
    SucceededRescale,
    FailedUpdateScale,
    ReadyForNewScale,
    ScaleUpStabilized,
    ScaleDownStabilized,
    ValidMetricFound,
    ScalingDisabled,
    InvalidSelector,
    AmbiguousSelector,
    FailedGetExternalMetric,
    FailedGetObjectMetric,
    FailedGetPodsMetric,
    FailedGetResourceMetric,
    FailedGetContainerResourceMetric,
    InvalidMetricSourceType,
    DesiredWithinRange,
    TooFewReplicas,
    TooManyReplicas,
    ScaleUpLimit,
    ScaleDownLimit,
}

/// What one metric asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposal {
    /// The replicas.
    pub replicas: i32,
    /// What `status.currentMetrics` shows.
    pub current: Current,
}

/// What `status.currentMetrics` shows of one metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Current {
    /// `value`, in thousandths.
    pub value: Option<i64>,
    /// `averageValue`, in thousandths.
    pub average_value: Option<i64>,
    /// `averageUtilization`, in percent.
    pub average_utilization: Option<i32>,
}

/// Why a metric proposes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetricError {
    /// The metrics API answered with an error.
    #[error("no metric from the api: {0}")]
    NoAnswer(String),
    /// The metrics API answered with an empty list.
    #[error("the metrics api returned no values")]
    NoValues,
    /// The answer does not belong to the kind of the metric.
    #[error("the reading is of another kind than the metric")]
    WrongReading,
    /// The kind of target does not belong to the kind of the metric.
    #[error("the target must be of a type that this kind of metric can have")]
    WrongTarget,
    /// The selector selects nothing.
    #[error("the selector of the target matches no pods")]
    NoPods,
    /// Per-pod figures without a list of pods.
    #[error("this kind of metric needs the list of pods, not their number")]
    PodsOnlyCounted,
    /// No pod can be used: no figures, or unready, or ending.
    #[error("none of the pods has a usable figure; they may be unready")]
    NoUsablePods,
    /// A pod does not say what it requests.
    #[error("pod {pod}: no request for {resource}; set resources.requests")]
    MissingRequest {
        /// The pod.
        pod: String,
        /// The resource.
        resource: String,
    },
    /// The pods request nothing.
    #[error("the pods with a figure request nothing of the resource; set resources.requests")]
    NothingRequested,
}

impl Outcome {
    pub(super) fn unmoved(replicas: i32, next: State) -> Self {
        let able = Condition::new(true, Reason::SucceededGetScale, "the target's scale could be read");
        Self {
            desired: replicas,
            rescale: None,
            status_desired: Some(replicas),
            conditions: Conditions { able_to_scale: Some(able), ..Conditions::default() },
            metrics: Vec::new(),
            decisive: None,
            next,
        }
    }

    pub(super) fn rescale_to(&mut self, replicas: i32, reason: Rescale) {
        self.desired = replicas;
        self.status_desired = Some(replicas);
        self.rescale = Some(reason);
    }

    /// After the scale was written: remembers the event for the policies and the time for the status. Without something
    /// to write, does nothing. `observed_replicas` are those the sync saw, also when a conflict was tried again.
    pub fn written(&mut self, spec: &Spec, observed_replicas: i32, now: Timestamp) {
        if self.rescale.is_none() {
            return;
        }
        self.next.scaled(spec.behaviour.as_ref(), observed_replicas, self.desired, now);
        let message = format!("the target was scaled to {}", self.desired);
        self.conditions.able_to_scale = Some(Condition::new(true, Reason::SucceededRescale, message));
    }

    /// After the scale could not be written: no event is remembered, `desiredReplicas` of the status stays. Without
    /// something to write, does nothing.
    pub fn refused(&mut self, why: &str) {
        if self.rescale.is_none() {
            return;
        }
        self.status_desired = None;
        let message = format!("the target's scale could not be written: {why}");
        self.conditions.able_to_scale = Some(Condition::new(false, Reason::FailedUpdateScale, message));
    }

    /// What the controller sets when it could not even read the target's scale. It then makes no sync and remembers
    /// nothing.
    #[must_use]
    pub fn scale_unknown(why: &str) -> Conditions {
        let message = format!("the target's scale could not be read: {why}");
        Conditions {
            able_to_scale: Some(Condition::new(false, Reason::FailedGetScale, message)),
            ..Conditions::default()
        }
    }
}

impl Condition {
    pub(super) fn new(holds: bool, reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { holds, reason, message: message.into() }
    }
}

impl Reason {
    /// As the object's status has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SucceededGetScale => "SucceededGetScale",
            Self::FailedGetScale => "FailedGetScale",
            Self::SucceededRescale => "SucceededRescale",
            Self::FailedUpdateScale => "FailedUpdateScale",
            Self::ReadyForNewScale => "ReadyForNewScale",
            Self::ScaleUpStabilized => "ScaleUpStabilized",
            Self::ScaleDownStabilized => "ScaleDownStabilized",
            Self::ValidMetricFound => "ValidMetricFound",
            Self::ScalingDisabled => "ScalingDisabled",
            Self::InvalidSelector => "InvalidSelector",
            Self::AmbiguousSelector => "AmbiguousSelector",
            Self::FailedGetExternalMetric => "FailedGetExternalMetric",
            Self::FailedGetObjectMetric => "FailedGetObjectMetric",
            Self::FailedGetPodsMetric => "FailedGetPodsMetric",
            Self::FailedGetResourceMetric => "FailedGetResourceMetric",
            Self::FailedGetContainerResourceMetric => "FailedGetContainerResourceMetric",
            Self::InvalidMetricSourceType => "InvalidMetricSourceType",
            Self::DesiredWithinRange => "DesiredWithinRange",
            Self::TooFewReplicas => "TooFewReplicas",
            Self::TooManyReplicas => "TooManyReplicas",
            Self::ScaleUpLimit => "ScaleUpLimit",
            Self::ScaleDownLimit => "ScaleDownLimit",
        }
    }
}

impl Rescale {
    /// The reason as the event `SuccessfulRescale` words it, for people and programs that know it; empty for
    /// [`Rescale::Limits`], as Kubernetes leaves it.
    #[must_use]
    pub fn describe(self, spec: &Spec) -> String {
        match self {
            Self::AboveMax => "Current number of replicas above Spec.MaxReplicas".to_owned(),
            Self::BelowMin => "Current number of replicas below Spec.MinReplicas".to_owned(),
            Self::MetricAboveTarget(index) => {
                format!("{} above target", spec.metrics.get(index).map(ToString::to_string).unwrap_or_default())
            }
            Self::AllBelowTarget => "All metrics below target".to_owned(),
            Self::Limits => String::new(),
        }
    }
}
