//! Fallback: a trigger that has failed too often is taken to read what the fallback is worth, so that everything after
//! this rule goes on as if the source had answered.
//!
//! In KEDA (`pkg/fallback`) the HPA is told target x replicas for an `AverageValue`, and that by the ready replicas for a
//! `Value`, which has no fallback while none is ready. A fallback of 0 replicas says that there is no work.

use jiff::Timestamp;

use crate::rules::demand;
use crate::{Activity, Config, Observation, Outcome, Reason, Rule, Sample, Step, TargetKind};

/// The triggers of an object for which its fallback is in force, in order.
pub fn in_fallback<'a>(observation: &'a Observation, config: &'a Config) -> impl Iterator<Item = usize> + 'a {
    let fallback = config.fallback();
    let triggers = config.triggers().iter().zip(&observation.triggers).enumerate();
    triggers.filter_map(move |(index, (trigger, reading))| {
        let fails = matches!(reading.latest, Some(Outcome::Failed(_) | Outcome::Absent(_)));
        let too_often = fails && reading.failures > fallback?.failure_threshold;
        let can_be_told = trigger.kind == TargetKind::AverageValue || observation.ready > 0;
        (too_often && can_be_told).then_some(index)
    })
}

/// What is seen once each trigger in fallback reads what the fallback is worth; `None` where none is.
pub(crate) fn apply(
    observation: &Observation,
    config: &Config,
    now: Timestamp,
    trail: &mut Vec<Step>,
) -> Option<Observation> {
    let fallback = config.fallback()?;
    let mut substituted: Option<Observation> = None;
    for index in in_fallback(observation, config) {
        let current = observation.replicas;
        let replicas = fallback.asks_for(current);
        let trigger = config.triggers().get(index)?;
        // In thousandths, as the HPA divides them, and rounded down: up, it would be one replica too many.
        let whole = demand::for_replicas(trigger, replicas);
        let milli = match trigger.kind {
            TargetKind::AverageValue => whole,
            TargetKind::Value => whole / i64::from(observation.ready.max(1)),
        };
        let value = milli as f64 / 1000.0;
        let sample = Sample { value, activity: Activity::Decided(replicas > 0), limit: None, at: now };
        let seen = substituted.get_or_insert_with(|| observation.clone());
        let reading = seen.triggers.get_mut(index)?;
        (reading.latest, reading.last_ok) = (Some(Outcome::Ok(sample)), Some(sample));
        let reason = Reason::Fallback { trigger: index, replicas };
        // It moves nothing by itself: what the reading then asks for is the next rule's.
        trail.push(Step { rule: Rule::Fallback, before: current, after: current, reason });
    }
    substituted
}
