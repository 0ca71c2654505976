//! What a scaled object asks for, checked once: later code never sees a value outside these bounds.

use std::time::Duration;

use crate::served::to_milli;
use crate::{Activity, Fallback, Sample};

/// A checked configuration. Built by [`Config::new`] only.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    triggers: Vec<Trigger>,
    bounds: Bounds,
    cooldown: Duration,
    initial_cooldown: Duration,
    scale_up: ScaleUp,
    startup_limit: Duration,
    fallback: Option<Fallback>,
}

/// The replica bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// `minReplicaCount`.
    pub min: u32,
    /// `maxReplicaCount`.
    pub max: u32,
    /// `idleReplicaCount`: what an inactive object is scaled to, if not to `min`.
    pub idle: Option<u32>,
}

/// What decides about one trigger.
#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    /// The name in the HPA, for example `s0-rabbitmq-orders`.
    pub metric_name: String,
    /// How a value becomes replicas.
    pub kind: TargetKind,
    /// The value that one replica is for (`AverageValue`) or that the whole should have (`Value`); above 0.
    pub target: f64,
    /// Active when the activity figure is greater than this.
    pub activation: f64,
}

impl Trigger {
    /// Whether a reading says that there is work: its activity is greater than the activation value, or the source has
    /// decided so itself.
    #[must_use]
    pub fn is_active(&self, sample: &Sample) -> bool {
        match sample.activity {
            Activity::Number(figure) => figure > self.activation,
            Activity::Decided(active) => active,
        }
    }

    /// The target in thousandths, at least 1: the figure that the HPA must be given, so that it and the decision divide
    /// by the same number.
    #[must_use]
    pub fn target_milli(&self) -> i64 {
        to_milli(self.target).max(1)
    }
}

/// The HPA's metric target types for external metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetKind {
    /// replicas = ceil(value / target).
    #[default]
    AverageValue,
    /// replicas = ceil(value / target x ready replicas).
    Value,
}

/// The user's `behavior.scaleUp`: it limits the activation write as it limits the HPA.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScaleUp {
    /// `stabilizationWindowSeconds`.
    pub stabilisation: Duration,
    /// `policies`; empty means that the user gave none.
    pub policies: Vec<ScalingPolicy>,
    /// `selectPolicy`.
    pub select: SelectPolicy,
}

/// One scale-up policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScalingPolicy {
    /// Pods or percent.
    pub kind: PolicyKind,
    /// How many, at least 1.
    pub value: u32,
}

/// What a policy counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyKind {
    /// Added replicas.
    Pods,
    /// Added percent of the replicas at the start of the period.
    Percent,
}

/// Which policy wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SelectPolicy {
    /// The one that allows most.
    #[default]
    Max,
    /// The one that allows least.
    Min,
    /// No scaling up at all.
    Disabled,
}

/// Why a configuration cannot be used; names the field of the object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    /// No trigger.
    #[error("spec.triggers: at least one trigger is needed")]
    NoTriggers,
    /// A bound is above the next.
    #[error("spec.minReplicaCount: {min} is greater than maxReplicaCount {max}; lower the one or raise the other")]
    MinAboveMax {
        /// `minReplicaCount`.
        min: u32,
        /// `maxReplicaCount`.
        max: u32,
    },
    /// No replica is ever allowed.
    #[error("spec.maxReplicaCount: must be at least 1")]
    MaxIsZero,
    /// The idle count is not below the minimum.
    #[error("spec.idleReplicaCount: {idle} must be less than minReplicaCount {min}")]
    IdleNotBelowMin {
        /// `idleReplicaCount`.
        idle: u32,
        /// `minReplicaCount`.
        min: u32,
    },
    /// A target that divides nothing.
    #[error("spec.triggers[{trigger}]: the target {target} must be a number above 0")]
    BadTarget {
        /// Index of the trigger.
        trigger: usize,
        /// What was given.
        target: String,
    },
    /// An activation value that is no number.
    #[error("spec.triggers[{trigger}]: the activation value {activation} must be a number of at least 0")]
    BadActivation {
        /// Index of the trigger.
        trigger: usize,
        /// What was given.
        activation: String,
    },
}

impl Config {
    /// Checks and keeps a configuration.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn new(
        triggers: Vec<Trigger>,
        bounds: Bounds,
        cooldown: Duration,
        initial_cooldown: Duration,
        scale_up: ScaleUp,
        startup_limit: Duration,
    ) -> Result<Self, InvalidConfig> {
        if triggers.is_empty() {
            return Err(InvalidConfig::NoTriggers);
        }
        Self::with_any_triggers(triggers, bounds, cooldown, initial_cooldown, scale_up, startup_limit)
    }

    /// The same for an object that has metrics only which the HPA reads by itself: it is always active.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn for_resource_metrics(
        bounds: Bounds,
        scale_up: ScaleUp,
        startup_limit: Duration,
    ) -> Result<Self, InvalidConfig> {
        Self::with_any_triggers(Vec::new(), bounds, Duration::ZERO, Duration::ZERO, scale_up, startup_limit)
    }

    fn with_any_triggers(
        triggers: Vec<Trigger>,
        bounds: Bounds,
        cooldown: Duration,
        initial_cooldown: Duration,
        scale_up: ScaleUp,
        startup_limit: Duration,
    ) -> Result<Self, InvalidConfig> {
        let Bounds { min, max, idle } = bounds;
        if max == 0 {
            return Err(InvalidConfig::MaxIsZero);
        }
        if min > max {
            return Err(InvalidConfig::MinAboveMax { min, max });
        }
        if let Some(idle) = idle.filter(|idle| *idle >= min) {
            return Err(InvalidConfig::IdleNotBelowMin { idle, min });
        }
        for (index, trigger) in triggers.iter().enumerate() {
            if !(trigger.target.is_finite() && trigger.target > 0.0) {
                return Err(InvalidConfig::BadTarget { trigger: index, target: trigger.target.to_string() });
            }
            if !(trigger.activation.is_finite() && trigger.activation >= 0.0) {
                return Err(InvalidConfig::BadActivation {
                    trigger: index,
                    activation: trigger.activation.to_string(),
                });
            }
        }
        Ok(Self { triggers, bounds, cooldown, initial_cooldown, scale_up, startup_limit, fallback: None })
    }

    /// The same configuration with a fallback.
    #[must_use]
    pub fn with_fallback(self, fallback: Option<Fallback>) -> Self {
        Self { fallback, ..self }
    }

    /// `fallback`.
    #[must_use]
    pub const fn fallback(&self) -> Option<Fallback> {
        self.fallback
    }

    /// The triggers, in the order of the object.
    #[must_use]
    pub fn triggers(&self) -> &[Trigger] {
        &self.triggers
    }

    /// The replica bounds.
    #[must_use]
    pub const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// `cooldownPeriod`.
    #[must_use]
    pub const fn cooldown(&self) -> Duration {
        self.cooldown
    }

    /// `initialCooldownPeriod`.
    #[must_use]
    pub const fn initial_cooldown(&self) -> Duration {
        self.initial_cooldown
    }

    /// The user's scale-up behaviour.
    #[must_use]
    pub const fn scale_up(&self) -> &ScaleUp {
        &self.scale_up
    }

    /// How long an activation waits for its pods before the HPA may follow the metric down.
    #[must_use]
    pub const fn startup_limit(&self) -> Duration {
        self.startup_limit
    }
}

impl Bounds {
    /// The least replicas of an active object: the HPA's `minReplicas`.
    #[must_use]
    pub fn active_min(self) -> u32 {
        self.min.max(1)
    }

    /// `replicas` moved into the bounds of an active object.
    #[must_use]
    pub fn clamp_active(self, replicas: u32) -> u32 {
        replicas.clamp(self.active_min(), self.max)
    }

    /// Where an inactive object rests, or `None` if it may never go below its minimum.
    #[must_use]
    pub const fn resting(self) -> Option<u32> {
        match (self.idle, self.min) {
            (Some(idle), _) => Some(idle),
            (None, 0) => Some(0),
            (None, _) => None,
        }
    }
}
