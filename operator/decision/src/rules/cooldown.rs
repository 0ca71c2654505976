//! Cooldown: when an object without work goes to rest.
//!
//! The clock adds the time between two consecutive decisions only if both saw every trigger good, fresh and not active
//! and the gap is at most the fresh window. So an outage pauses it, work resets it, and a restart starts it anew.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::decide::Verdict;
use crate::rules::activation::Activity;
use crate::rules::bounds;
use crate::{Config, Cooldown, Observation, Reason, Rule, Step, fresh_window};

/// The clock after this decision.
pub(crate) fn advance(clock: &Cooldown, observation: &Observation, activity: &Activity, now: Timestamp) -> Cooldown {
    let quiet = match activity {
        Activity::Active { .. } => Duration::ZERO,
        Activity::Blind { .. } => clock.quiet,
        Activity::Quiet => clock.quiet.saturating_add(counted_gap(clock, observation, now)),
    };
    let seen_active = clock.seen_active || matches!(activity, Activity::Active { .. });
    Cooldown { quiet, last: Some(now), last_was_quiet: activity.is_quiet(), seen_active }
}

/// The time since the previous decision, or nothing if that one was not quiet, lies too far back, or lies ahead of now.
fn counted_gap(clock: &Cooldown, observation: &Observation, now: Timestamp) -> Duration {
    let window = observation.triggers.iter().map(|reading| fresh_window(reading.interval)).min().unwrap_or_default();
    clock
        .last
        .filter(|_| clock.last_was_quiet)
        .and_then(|last| Duration::try_from(now.duration_since(last)).ok())
        .filter(|gap| *gap <= window)
        .map(|gap| observation.since_last.map_or(gap, |steady| gap.min(steady)))
        .unwrap_or_default()
}

/// What becomes of an object without work that asks for `demand`, and what it is said to want. The conditions are those
/// of KEDA (concepts, "Scaling deployments"): to rest only after the cooldown, never below a minimum without idle count.
pub(crate) fn rest(
    observation: &Observation,
    config: &Config,
    clock: &Cooldown,
    demand: u32,
    now: Timestamp,
    trail: &mut Vec<Step>,
) -> (Verdict, u32) {
    let bounds = config.bounds();
    let current = observation.replicas;
    let rest = bounds.resting().unwrap_or(bounds.min);
    trail.push(Step { rule: Rule::Activation, before: demand, after: rest, reason: Reason::Inactive });
    let mut step = |after, reason| trail.push(Step { rule: Rule::Cooldown, before: rest, after, reason });
    // While the HPA owns the count it goes on following the metric.
    let followed = demand.max(bounds.active_min());

    if current < rest {
        step(rest, Reason::KeepsMinimum { min: rest });
        return (Verdict::RaiseToMinimum(rest), rest);
    }
    match bounds.resting() {
        Some(resting) if current > resting => match may_rest(observation, config, clock, now) {
            Ok(reason) => {
                step(resting, reason);
                (Verdict::Deactivate(resting), resting)
            }
            Err(reason) => {
                step(followed, reason);
                (Verdict::CoolingDown, bounds::apply(followed, bounds, trail))
            }
        },
        Some(resting) => (Verdict::Resting, resting),
        None => {
            step(followed, Reason::KeepsMinimum { min: bounds.min });
            (Verdict::Resting, bounds::apply(followed, bounds, trail))
        }
    }
}

/// Whether an object above its rest may go there: `Ok` and `Err` both say why.
fn may_rest(observation: &Observation, config: &Config, clock: &Cooldown, now: Timestamp) -> Result<Reason, Reason> {
    if never_active(observation, clock) {
        let age = Duration::try_from(now.duration_since(observation.created_at)).unwrap_or_default();
        return match config.initial_cooldown().checked_sub(age).filter(|left| !left.is_zero()) {
            Some(left) => Err(Reason::InitialCooldown { left: left.as_secs().max(1) }),
            None => Ok(Reason::NeverActive),
        };
    }
    if clock.quiet >= config.cooldown() {
        Ok(Reason::CooledDown)
    } else {
        Err(Reason::CoolingDown { quiet: clock.quiet.as_secs(), needed: config.cooldown().as_secs() })
    }
}

/// When the cooldown or initial cooldown ends if all stays quiet, so that it is not waited for longer than needed.
pub(crate) fn ends(observation: &Observation, config: &Config, clock: &Cooldown, now: Timestamp) -> Option<Timestamp> {
    if never_active(observation, clock) {
        let initial = SignedDuration::try_from(config.initial_cooldown()).ok()?;
        return observation.created_at.checked_add(initial).ok();
    }
    let left = SignedDuration::try_from(config.cooldown().checked_sub(clock.quiet)?).ok()?;
    now.checked_add(left).ok()
}

/// Whether there is nothing to cool down from: no activation was ever recorded, and no work was seen since.
fn never_active(observation: &Observation, clock: &Cooldown) -> bool {
    observation.last_active_time.is_none() && !clock.seen_active
}
