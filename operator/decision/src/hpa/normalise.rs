//! From what the metrics ask for to what may be written: stabilisation, limits of speed, bounds. Never looks at a metric.

use std::time::Duration;

use jiff::Timestamp;

use super::state::{ago, changed_within};
use super::{Behaviour, Condition, Controller, Policy, Reason, Rules, Spec, State};
use crate::{PolicyKind, SelectPolicy};

/// What may be written, and what is said about it.
#[derive(Debug)]
pub(super) struct Normalised {
    pub(super) replicas: i32,
    pub(super) able_to_scale: Condition,
    pub(super) scaling_limited: Condition,
}

/// Moves `asked` into windows, limits and bounds, and remembers it.
pub(super) fn normalise(
    spec: &Spec,
    controller: &Controller,
    current: i32,
    asked: i32,
    state: &mut State,
    now: Timestamp,
) -> Normalised {
    let (stable, replicas, limit, window) = match &spec.behaviour {
        None => {
            let stable = stabilise_down(controller, asked, state, now);
            let (replicas, limit) = limit(spec, current, stable);
            (stable, replicas, limit, Reason::ScaleDownStabilized)
        }
        Some(behaviour) => {
            let stable = stabilise(behaviour, controller, current, asked, state, now);
            let (replicas, limit) = limit_by_policies(spec, behaviour, current, stable, state, now);
            let window = if asked >= current { Reason::ScaleUpStabilized } else { Reason::ScaleDownStabilized };
            (stable, replicas, limit, window)
        }
    };
    Normalised {
        replicas,
        able_to_scale: match (stable == asked, window) {
            (true, _) => Condition::new(true, Reason::ReadyForNewScale, "no earlier recommendation stands in the way"),
            (false, Reason::ScaleUpStabilized) => {
                Condition::new(true, window, "an earlier, lower recommendation still holds replicas down")
            }
            (false, _) => Condition::new(true, window, "an earlier, higher recommendation still holds replicas up"),
        },
        scaling_limited: Condition::new(replicas != stable, limit, sentence(limit)),
    }
}

const fn sentence(limit: Reason) -> &'static str {
    match limit {
        Reason::TooFewReplicas => "the metrics ask for less than minReplicas",
        Reason::TooManyReplicas => "the metrics ask for more than maxReplicas",
        Reason::ScaleUpLimit => "replicas may not grow faster",
        Reason::ScaleDownLimit => "replicas may not shrink faster",
        _ => "the replicas asked for are allowed",
    }
}

/// Without behaviour: the highest recommendation of the controller's window, and replicas can even rise by it.
fn stabilise_down(controller: &Controller, asked: i32, state: &mut State, now: Timestamp) -> i32 {
    let cutoff = ago(now, controller.downscale_stabilisation);
    let recent = state.recommendations.iter().filter(|earlier| earlier.at >= cutoff);
    let stable = recent.map(|earlier| earlier.replicas).fold(asked, i32::max);
    state.recommend(asked, now, |earlier| earlier.at < cutoff);
    stable
}

/// With behaviour: what the target has, moved as little as the recommendations of both windows allow.
fn stabilise(
    behaviour: &Behaviour,
    controller: &Controller,
    current: i32,
    asked: i32,
    state: &mut State,
    now: Timestamp,
) -> i32 {
    let seconds = |seconds: u32| ago(now, Duration::from_secs(seconds.into()));
    let up_cutoff = seconds(behaviour.scale_up.stabilisation.unwrap_or(0));
    let down_cutoff = match behaviour.scale_down.stabilisation {
        Some(window) => seconds(window),
        // The field is whole seconds, so the controller's own window is cut to whole seconds here and only here.
        None => ago(now, Duration::from_secs(controller.downscale_stabilisation.as_secs())),
    };
    let (mut least, mut most) = (asked, asked);
    for earlier in &state.recommendations {
        if earlier.at > up_cutoff {
            least = least.min(earlier.replicas);
        }
        if earlier.at > down_cutoff {
            most = most.max(earlier.replicas);
        }
    }
    state.recommend(asked, now, |earlier| earlier.at < up_cutoff && earlier.at < down_cutoff);
    // Not clamp(): `least` never exceeds `most`, but only because both start from what is asked for.
    current.max(least).min(most)
}

/// Without behaviour: at most twice what there is (or 4), then the bounds.
fn limit(spec: &Spec, current: i32, stable: i32) -> (i32, Reason) {
    let fastest = current.saturating_mul(2).max(4);
    let (most, reason) =
        if spec.max > fastest { (fastest, Reason::ScaleUpLimit) } else { (spec.max, Reason::TooManyReplicas) };
    if stable < spec.min {
        (spec.min, Reason::TooFewReplicas)
    } else if stable > most {
        (most, reason)
    } else {
        (stable, Reason::DesiredWithinRange)
    }
}

/// With behaviour: the policies of the direction of the move, then its bound.
fn limit_by_policies(
    spec: &Spec,
    behaviour: &Behaviour,
    current: i32,
    stable: i32,
    state: &State,
    now: Timestamp,
) -> (i32, Reason) {
    if stable > current {
        let fastest = fastest(&behaviour.scale_up, Direction::Up, current, state, now).max(current);
        let (most, reason) =
            if spec.max > fastest { (fastest, Reason::ScaleUpLimit) } else { (spec.max, Reason::TooManyReplicas) };
        if stable > most {
            return (most, reason);
        }
    } else if stable < current {
        let fastest = fastest(&behaviour.scale_down, Direction::Down, current, state, now).min(current);
        let (least, reason) =
            if spec.min < fastest { (fastest, Reason::ScaleDownLimit) } else { (spec.min, Reason::TooFewReplicas) };
        if stable < least {
            return (least, reason);
        }
    }
    (stable, Reason::DesiredWithinRange)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// The replicas that are furthest away among those the policies allow.
fn fastest(rules: &Rules, direction: Direction, current: i32, state: &State, now: Timestamp) -> i32 {
    let allowed = rules.policies.iter().map(|policy| {
        let added = changed_within(&state.scale_up, policy.period, now);
        let removed = changed_within(&state.scale_down, policy.period, now);
        reach(policy, direction, current.saturating_sub(added).saturating_add(removed))
    });
    // The greatest change is the greatest number on the way up and the least number on the way down.
    let furthest = match (rules.select, direction) {
        (SelectPolicy::Disabled, _) => Some(current),
        (SelectPolicy::Max, Direction::Up) | (SelectPolicy::Min, Direction::Down) => allowed.max(),
        (SelectPolicy::Min, Direction::Up) | (SelectPolicy::Max, Direction::Down) => allowed.min(),
    };
    furthest.unwrap_or(current)
}

/// Where one policy allows to go, counted from the replicas at the start of its period.
fn reach(policy: &Policy, direction: Direction, start: i32) -> i32 {
    let share = f64::from(policy.value) / 100.0;
    match (policy.kind, direction) {
        (PolicyKind::Pods, Direction::Up) => start.saturating_add(policy.value),
        (PolicyKind::Pods, Direction::Down) => start.saturating_sub(policy.value),
        // Rounded up, or a small target could never grow; cut on the way down, in the same direction as the move.
        (PolicyKind::Percent, Direction::Up) => (f64::from(start) * (1.0 + share)).ceil() as i32,
        (PolicyKind::Percent, Direction::Down) => (f64::from(start) * (1.0 - share)) as i32,
    }
}
