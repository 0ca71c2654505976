//! What people are told of a look: figures for whoever scrapes them, moves of the target that others have made, and a demand
//! beyond the maximum. It words what was decided and decides nothing.

use windlass_decision::Rule;

use crate::apply::writer::FIELD_MANAGER;
use crate::engine::look::Seen;
use crate::engine::memory::Memory;
use crate::engine::moves::{Move, Telling};
use crate::plan::{Note, target_name};

/// What the HPA controller is called where it has written.
const HPA_MANAGER: &str = "kube-controller-manager";

/// Keeps what was seen and decided for whoever scrapes it.
pub(super) fn measure(seen: &Seen<'_>, memory: &Memory) {
    let Seen { valid, observation, decision, now, .. } = seen;
    let Some(series) = &memory.series else { return };
    let triggers = valid.config.triggers().iter().zip(&observation.triggers);
    let values = triggers.map(|(trigger, reading)| {
        let value = reading.usable(*now).map(|sample| sample.value);
        (value, reading.good(*now).map(|sample| trigger.is_active(sample)))
    });
    series.decided((observation.replicas, decision.desired), observation.hand.pause.is_some(), values);
}

/// What is to be told of moves that others have made.
pub(super) fn moved(seen: &Seen<'_>, memory: &mut Memory) -> Option<Note> {
    let Seen { key, valid, target, decision, .. } = seen;
    let Move { from, to, count, out } = match memory.moves.see(target) {
        Telling::Nothing => return None,
        Telling::In(delay) => {
            memory.recheck = Some(memory.recheck.map_or(delay, |other| other.min(delay)));
            return None;
        }
        Telling::Of(told) => told,
    };
    let why = decision.sentence(&valid.config, target.replicas);
    let by = match target.scaled_by.as_deref() {
        Some(HPA_MANAGER) => format!(" by the HPA: {why}"),
        // It is not told who it was.
        None | Some(FIELD_MANAGER) => format!(": {why}"),
        Some(other) => format!(" by {other} ({why})"),
    };
    let moves = if count > 1 { format!(" in {count} moves") } else { String::new() };
    let what = target_name(key, &valid.target);
    let reason = if out { "ScaledOut" } else { "ScaledIn" };
    Some(Note { warning: false, reason, message: format!("Scaled {what} from {from} to {to}{moves}{by}") })
}

/// What is to be told of a demand beyond the maximum.
pub(super) fn beyond(seen: &Seen<'_>, memory: &mut Memory) -> Option<Note> {
    let Seen { object, valid, target, decision, .. } = seen;
    let wanted = decision.trail.iter().find(|step| step.rule == Rule::Demand)?.after;
    let max = valid.config.bounds().max;
    // An object that has been at its maximum when it was first seen was told of before, by whoever brought it there.
    let is_old = target.replicas >= max && object.status.last_active_time.is_some();
    if !memory.moves.wants(wanted, max, is_old) {
        return None;
    }
    let why = decision.sentence(&valid.config, target.replicas);
    let message = format!("The triggers ask for {wanted} replicas and maxReplicaCount is {max}: {why}");
    Some(Note { warning: true, reason: "MaxReplicasReached", message })
}
