//! Activation: whether there is work at all, and what 0 becomes.
//!
//! A trigger is active when its activity is **greater than** its activation value; the object is active when any trigger
//! is. Only a good, fresh outcome speaks for either side.

use jiff::Timestamp;

use crate::reason::FirstStep;
use crate::rules::bounds;
use crate::rules::demand::Demand;
use crate::{Bounds, Config, Observation, PolicyKind, Reason, Rule, ScaleUp, SelectPolicy, Step};

/// What the readings together say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Activity {
    /// Some trigger has work.
    Active {
        /// Why.
        reason: Reason,
    },
    /// Every trigger is good, fresh and has no work.
    Quiet,
    /// No trigger has work, but not all could be read: nothing may move.
    Blind {
        /// Why.
        reason: Reason,
    },
}

impl Activity {
    /// Whether every trigger was good, fresh and not active.
    pub(crate) const fn is_quiet(&self) -> bool {
        matches!(self, Self::Quiet)
    }
}

/// Judges the readings.
pub(crate) fn judge(observation: &Observation, config: &Config, now: Timestamp) -> Activity {
    let mut good = 0;
    for (index, (trigger, reading)) in config.triggers().iter().zip(&observation.triggers).enumerate() {
        let Some(sample) = reading.good(now) else { continue };
        good += 1;
        if trigger.is_active(sample) {
            return Activity::Active { reason: Reason::Active { trigger: index } };
        }
    }
    if observation.hand.forces_activation {
        return Activity::Active { reason: Reason::Forced };
    }
    if config.triggers().is_empty() {
        return Activity::Active { reason: Reason::ResourceMetricsOnly };
    }
    match config.triggers().len() - good {
        0 => Activity::Quiet,
        _ if good == 0 => Activity::Blind { reason: Reason::NoReading },
        missing => Activity::Blind { reason: Reason::PartialReading { missing } },
    }
}

/// Whether an active object must be brought up by us rather than by the HPA: from 0, which the HPA does not leave, and
/// from an idle count (KEDA concepts, "Scaling deployments": activation phase).
pub(crate) fn must_activate(current: u32, bounds: Bounds) -> bool {
    current == 0 || (bounds.idle.is_some() && current < bounds.min)
}

/// The replicas that an activation writes: the demand in one step where the HPA can hold it, limited by the user's
/// scale-up policy and the bounds.
pub(crate) fn first_write(
    demand: &Demand,
    config: &Config,
    current: u32,
    reason: Reason,
    trail: &mut Vec<Step>,
) -> u32 {
    let limits = config.bounds();
    let start = limits.active_min();
    let wanted = demand.replicas.max(start);
    trail.push(Step { rule: Rule::Activation, before: demand.replicas, after: wanted, reason });

    let scale_up = config.scale_up();
    let holdable = demand.average.max(start);
    let (after, reason) = if scale_up.select == SelectPolicy::Disabled {
        (start, Reason::FirstStepOnly { because: FirstStep::ScaleUpDisabled })
    } else if !scale_up.stabilisation.is_zero() {
        (start, Reason::FirstStepOnly { because: FirstStep::StabilisationWindow })
    } else {
        match allowed_from(current, start, scale_up).filter(|allowed| *allowed < holdable) {
            Some(allowed) => (allowed, Reason::PolicyLimits { allowed }),
            None => (holdable, Reason::FirstStepOnly { because: FirstStep::ValueTarget }),
        }
    };
    // A Value trigger counts ready pods, of which there are none from 0, so that it is said even where nothing is cut.
    if after < wanted || (demand.has_value_target && holdable == start) {
        trail.push(Step { rule: Rule::ScaleUpPolicy, before: wanted, after, reason });
    }
    bounds::apply(after, limits, trail)
}

/// What the user's policies allow in one step, and never less than `start`, to which the HPA itself goes without a
/// policy. Pods count from the replicas that are there, percent from `start`, as 0 grows by no percentage.
///
/// `None` if the user gave none, and then the HPA's own default (the larger of 4 pods and 100 % each 15 s) is not
/// applied: a first write is one step, not a ladder.
fn allowed_from(current: u32, start: u32, scale_up: &ScaleUp) -> Option<u32> {
    let allowed = scale_up.policies.iter().map(|policy| match policy.kind {
        PolicyKind::Pods => current.saturating_add(policy.value).max(start),
        // Rounded up, as the HPA does (`calculateScaleUpLimitWithScalingRules`).
        PolicyKind::Percent => {
            let grown = (u64::from(start) * (100 + u64::from(policy.value))).div_ceil(100);
            u32::try_from(grown).unwrap_or(u32::MAX)
        }
    });
    match scale_up.select {
        SelectPolicy::Min => allowed.min(),
        SelectPolicy::Max | SelectPolicy::Disabled => allowed.max(),
    }
}
