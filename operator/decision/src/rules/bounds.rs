//! Bounds: always last, so that they always hold.

use crate::{Bounds, Reason, Rule, Step};

/// Moves `replicas` of an active object into its bounds, and says so if that changed it.
pub(crate) fn apply(replicas: u32, bounds: Bounds, trail: &mut Vec<Step>) -> u32 {
    said(replicas, bounds.clamp_active(replicas), bounds, trail)
}

/// What an object whose count must not move is said to want: its count, or the nearest that it may have.
pub(crate) fn keep(current: u32, bounds: Bounds, trail: &mut Vec<Step>) -> u32 {
    let kept = match bounds.resting() {
        Some(resting) if current <= resting => resting,
        _ => current.clamp(bounds.min, bounds.max),
    };
    said(current, kept, bounds, trail)
}

fn said(before: u32, after: u32, bounds: Bounds, trail: &mut Vec<Step>) -> u32 {
    if after != before {
        let reason = Reason::Bounded { min: bounds.active_min(), max: bounds.max };
        trail.push(Step { rule: Rule::Bounds, before, after, reason });
    }
    after
}
