//! What a person has asked for by hand wins over every other rule: a pause, whole or in one direction.
//!
//! KEDA, "Pausing autoscaling" (concepts, "Scaling deployments"): a whole pause leaves no HPA behind and may name the
//! replicas; a pause in one direction keeps the HPA, whose behaviour for that direction is disabled, and stops what the
//! operator itself would do in it.

use jiff::Timestamp;

use crate::decide::Verdict;
use crate::{Cooldown, Decision, Observation, Pause, Reason, Rule, State, Step};

/// The decision while scaling is paused. The cooldown neither runs nor starts anew: what was seen before still counts
/// afterwards, and the time in between does not.
pub(crate) fn paused(pause: Pause, observation: &Observation, state: &State, now: Timestamp) -> Decision {
    let current = observation.replicas;
    let desired = match pause {
        Pause::AsItIs => current,
        Pause::At(replicas) => replicas,
    };
    let trail = vec![Step { rule: Rule::Hand, before: current, after: desired, reason: Reason::Paused }];
    let cooldown = Cooldown { last: Some(now), last_was_quiet: false, ..state.cooldown };
    Decision {
        desired,
        verdict: Verdict::Paused(desired),
        trail,
        served: Vec::new(),
        // The HPA that comes afterwards is a new one, which takes the replicas it finds as asked for.
        next: State { cooldown, hold: None, unserved_since: None },
        wake_after: None,
    }
}

/// Takes back a write in a direction that is paused.
pub(crate) fn hold_back(
    (verdict, desired): (Verdict, u32),
    observation: &Observation,
    trail: &mut Vec<Step>,
) -> (Verdict, u32) {
    let (hand, current) = (observation.hand, observation.replicas);
    let (instead, reason) = match verdict {
        Verdict::Activate(to) if hand.scale_out_paused && to > current => (Verdict::Active, Reason::ScaleOutPaused),
        Verdict::RaiseToMinimum(_) if hand.scale_out_paused => (Verdict::Resting, Reason::ScaleOutPaused),
        Verdict::Deactivate(_) if hand.scale_in_paused => (Verdict::Resting, Reason::ScaleInPaused),
        _ => return (verdict, desired),
    };
    trail.push(Step { rule: Rule::Hand, before: desired, after: current, reason });
    (instead, current)
}
