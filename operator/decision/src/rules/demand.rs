//! Demand: what the readings ask for, by the arithmetic of the HPA, so that both come to the same number.
//!
//! `AverageValue`: ceil(value / target). `Value`: ceil(value / target x ready replicas). Several triggers: the largest.
//! See "Algorithm details" of <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/>; the order of
//! the operations is that of `replica_calculator.go` (`GetExternalPerPodMetricReplicas`, `GetExternalMetricReplicas`).
//! Values and targets are compared in thousandths, as the HPA sees them. The HPA's tolerance is not applied: within it
//! the HPA leaves the count where it is.

use jiff::Timestamp;

use crate::served::to_milli;
use crate::{Config, Observation, Reason, Rule, Sample, Step, TargetKind, Trigger};

/// What all usable readings together ask for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Demand {
    /// The largest of what the triggers ask for, before bounds.
    pub replicas: u32,
    /// The largest that the HPA can be held to from 0: `AverageValue` triggers only.
    pub average: u32,
    /// Whether a `Value` trigger takes part.
    pub has_value_target: bool,
    reason: Reason,
}

impl Demand {
    /// The step of this rule.
    pub(crate) fn step(&self, current: u32) -> Step {
        Step { rule: Rule::Demand, before: current, after: self.replicas, reason: self.reason.clone() }
    }
}

/// Finds the most that the usable readings ask for.
pub(crate) fn apply(observation: &Observation, config: &Config, now: Timestamp) -> Demand {
    let mut demand = Demand { replicas: 0, average: 0, has_value_target: false, reason: Reason::NoReading };
    for (index, (trigger, reading)) in config.triggers().iter().zip(&observation.triggers).enumerate() {
        let Some(sample) = reading.usable(now) else { continue };
        let replicas = asks_for(trigger, sample, observation.ready, config);
        match trigger.kind {
            TargetKind::AverageValue => demand.average = demand.average.max(replicas),
            TargetKind::Value => demand.has_value_target = true,
        }
        if replicas > demand.replicas || demand.reason == Reason::NoReading {
            demand.replicas = replicas.max(demand.replicas);
            demand.reason =
                Reason::TriggerAsks { trigger: index, value: sample.value, target: trigger.target, replicas };
        }
    }
    demand
}

/// The value as it is served, in thousandths: capped where the source knows how many replicas can have work at once, and
/// where the count would not fit the 32 bits that the HPA has for it: not every path of it checks, and an overflow turns a
/// huge reading into the minimum.
pub(crate) fn milli(trigger: &Trigger, sample: &Sample, ready: u32, config: &Config) -> i64 {
    let pods = match trigger.kind {
        TargetKind::AverageValue => 1,
        TargetKind::Value => ready.max(config.bounds().max).max(1),
    };
    let holdable = (i32::MAX.unsigned_abs() / pods).max(1);
    let most = sample.limit.map_or(holdable, |limit| limit.min(holdable));
    to_milli(sample.value).min(for_replicas(trigger, most))
}

/// The value, in thousandths, at which an `AverageValue` trigger asks for just `replicas`; saturates.
pub(crate) fn for_replicas(trigger: &Trigger, replicas: u32) -> i64 {
    trigger.target_milli().saturating_mul(i64::from(replicas))
}

/// What one reading asks for, before bounds; saturates.
fn asks_for(trigger: &Trigger, sample: &Sample, ready: u32, config: &Config) -> u32 {
    let ratio = milli(trigger, sample, ready, config) as f64 / trigger.target_milli() as f64;
    let replicas = match trigger.kind {
        TargetKind::AverageValue => ratio.ceil(),
        TargetKind::Value => (ratio * f64::from(ready)).ceil(),
    };
    // `as` saturates, and there is no NaN here: both figures are finite and the target is at least 1.
    replicas as u32
}
