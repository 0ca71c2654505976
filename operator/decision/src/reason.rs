//! Why: one enum that the API, events, conditions and metrics all read. The whole sentence for a person is made in
//! `sentence`; nothing else puts reasons into words.

use std::fmt;

use serde::Serialize;

/// One rule of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Rule {
    /// What is taken in the place of a source that cannot be read.
    Fallback,
    /// What the readings ask for.
    Demand,
    /// Whether there is work, and what 0 becomes.
    Activation,
    /// The user's scale-up policy, as far as it limits the activation.
    ScaleUpPolicy,
    /// How long to wait before going to rest.
    Cooldown,
    /// What a person has asked for by hand.
    Hand,
    /// Minimum and maximum, after all but what a person has asked for.
    Bounds,
}

/// What one rule did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// The rule.
    pub rule: Rule,
    /// Replicas before it.
    pub before: u32,
    /// Replicas after it.
    pub after: u32,
    /// Why.
    pub reason: Reason,
}

/// Why a rule did what it did. `Display` is one clause for a person.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub enum Reason {
    /// One trigger asks for the most.
    TriggerAsks {
        /// Index of the trigger.
        trigger: usize,
        /// Its value.
        value: f64,
        /// Its target.
        target: f64,
        /// What it asks for.
        replicas: u32,
    },
    /// No trigger has a usable reading.
    NoReading,
    /// Some triggers have no usable reading and none of the others is active.
    PartialReading {
        /// How many have none.
        missing: usize,
    },
    /// A trigger is above its activation value.
    Active {
        /// Index of the first active trigger.
        trigger: usize,
    },
    /// Every trigger is at or below its activation value.
    Inactive,
    /// The HPA could not hold a jump to the demand, so only the minimum is set.
    FirstStepOnly {
        /// What stands in the way.
        because: FirstStep,
    },
    /// The user's scale-up policy allows fewer in one step.
    PolicyLimits {
        /// What it allows.
        allowed: u32,
    },
    /// The cooldown has not passed.
    CoolingDown {
        /// Seconds of good, quiet readings so far.
        quiet: u64,
        /// Seconds needed.
        needed: u64,
    },
    /// A new object is left alone for a while.
    InitialCooldown {
        /// Seconds until it ends.
        left: u64,
    },
    /// The cooldown has passed.
    CooledDown,
    /// The object never was active, so there is nothing to cool down from.
    NeverActive,
    /// The object must not go below its minimum.
    KeepsMinimum {
        /// `minReplicaCount`.
        min: u32,
    },
    /// A trigger has failed too often, and the fallback is taken in its place.
    Fallback {
        /// Index of the trigger.
        trigger: usize,
        /// What the fallback asks for.
        replicas: u32,
    },
    /// The object has no trigger of its own, only metrics that the HPA reads by itself.
    ResourceMetricsOnly,
    /// A person has the object count as active.
    Forced,
    /// A person has paused scaling.
    Paused,
    /// A person has paused the taking away of replicas.
    ScaleInPaused,
    /// A person has paused the adding of replicas.
    ScaleOutPaused,
    /// The bounds cut the figure.
    Bounded {
        /// The least of an active object.
        min: u32,
        /// The most.
        max: u32,
    },
}

/// Why an activation sets the minimum only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum FirstStep {
    /// `metricType: Value` counts ready pods, of which there are none right after the jump.
    ValueTarget,
    /// A scale-up stabilisation window.
    StabilisationWindow,
    /// `selectPolicy: Disabled`.
    ScaleUpDisabled,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TriggerAsks { trigger, value, target, replicas } => {
                write!(f, "trigger {trigger} reads {value} at a target of {target}, which asks for {replicas}")
            }
            Self::NoReading => f.write_str("no trigger has a usable reading, so nothing moves"),
            Self::PartialReading { missing } => {
                write!(f, "{missing} trigger(s) have no usable reading and no other is active, so nothing moves")
            }
            Self::Active { trigger } => write!(f, "trigger {trigger} is above its activation value"),
            Self::Inactive => f.write_str("every trigger is at or below its activation value"),
            Self::FirstStepOnly { because } => write!(f, "only the first step is set at once, because of {because}"),
            Self::PolicyLimits { allowed } => write!(f, "the scale-up policy allows {allowed} in one step"),
            Self::CoolingDown { quiet, needed } => write!(f, "cooling down: quiet for {quiet} s of {needed} s"),
            Self::InitialCooldown { left } => write!(f, "the initial cooldown ends in {left} s"),
            Self::CooledDown => f.write_str("the cooldown has passed"),
            Self::NeverActive => f.write_str("it was never active"),
            Self::KeepsMinimum { min } => write!(f, "the minimum is {min}"),
            Self::Fallback { trigger, replicas } => {
                write!(f, "trigger {trigger} cannot be read, and the fallback asks for {replicas}")
            }
            Self::ResourceMetricsOnly => f.write_str("the HPA scales by cpu or memory alone, which is always active"),
            Self::Forced => f.write_str("activation is forced by hand"),
            Self::Paused => f.write_str("scaling is paused by hand"),
            Self::ScaleInPaused => f.write_str("scaling in is paused by hand"),
            Self::ScaleOutPaused => f.write_str("scaling out is paused by hand"),
            Self::Bounded { min, max } => write!(f, "the bounds are {min} to {max}"),
        }
    }
}

impl fmt::Display for FirstStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ValueTarget => "metricType Value",
            Self::StabilisationWindow => "the scale-up stabilisation window",
            Self::ScaleUpDisabled => "selectPolicy Disabled",
        })
    }
}
