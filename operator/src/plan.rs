//! From a decision to what must be done: side effects as data. Pure; `apply` carries them out.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::api::ApiResource;
use serde_json::Value;
use windlass_crd::{Condition, Group, ScaledObjectStatus, Target, Validated, condition_type as types};
use windlass_decision::{Decision, Verdict};

use crate::hpa;
use crate::key::ObjectKey;
use crate::mutant::{self, Mutant};
use crate::seen::{SeenHpa, SeenObject, SeenTarget};

/// One thing to do. Every write that the operator makes for an object is one of these.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Write the HPA by server-side apply.
    ApplyHpa {
        /// Its name.
        name: String,
        /// The body.
        body: Value,
        /// Whether an HPA of that name was seen to be ours, or may be taken over; if not, it is looked at first.
        known: bool,
    },
    /// Delete an HPA: it has another name now, or scaling is paused.
    DeleteHpa {
        /// Its name.
        name: String,
        /// Its uid, so that nothing else of that name is deleted.
        uid: String,
    },
    /// Write the replicas of the target.
    Scale(Box<Scale>),
    /// Write the status by server-side apply.
    Status {
        /// The status.
        status: Box<ScaledObjectStatus>,
        /// Only if the object still is at this version.
        only_at: Option<u64>,
        /// The status that it takes the place of.
        before: Box<ScaledObjectStatus>,
    },
    /// Write labels and finalizers of the object itself.
    Mark(Mark),
    /// Tell the people what the status says anew; not told where the status is not written.
    Event(Note),
    /// Tell the people something that no status says.
    Tell(Note),
}

/// A write of the object's own metadata, which holds only if it still is as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The object as it was seen.
    pub version: u64,
    /// Labels to add.
    pub labels: BTreeMap<String, String>,
    /// All its finalizers from now on.
    pub finalizers: Vec<String>,
}

/// A write of replicas.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    /// The resource of the target.
    pub resource: ApiResource,
    /// What is scaled.
    pub target: Target,
    /// The target as it was seen: the write holds only if it is still the same.
    pub seen: SeenTarget,
    /// The new replicas.
    pub to: u32,
    /// The verdict behind it; `None` where the object is being deleted.
    pub verdict: Option<Verdict>,
    /// Why, for a person.
    pub why: String,
}

/// A Kubernetes Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Whether it is a warning.
    pub warning: bool,
    /// KEDA's reason.
    pub reason: &'static str,
    /// The text.
    pub message: String,
}

/// What is known when a plan is made.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'a> {
    /// The object's name.
    pub key: &'a ObjectKey,
    /// The object.
    pub object: &'a SeenObject,
    /// Its spec, understood.
    pub valid: &'a Validated,
    /// Its target.
    pub target: &'a SeenTarget,
    /// The target's resource.
    pub resource: &'a ApiResource,
    /// Its HPA.
    pub hpa: Option<&'a SeenHpa>,
    /// HPAs of this object under other names: those it had before.
    pub old_hpas: &'a [Arc<SeenHpa>],
    /// Whether the HPA has to be compared: something changed since it was last found right.
    pub check_hpa: bool,
    /// Whether the HPA is to be written whatever it says.
    pub rewrite_hpa: bool,
    /// Its status as it is.
    pub status: &'a ScaledObjectStatus,
    /// Its status as it should be, if there is something to say.
    pub wanted: Option<&'a ScaledObjectStatus>,
}

/// What must be done, in order.
#[must_use]
pub fn plan(decision: &Decision, at: Snapshot<'_>) -> Vec<Effect> {
    let each_poll = Some(at.status).filter(|_| mutant::is(Mutant::StatusEachPoll));
    let status = at.wanted.filter(|wanted| *wanted != at.status).or(each_poll);
    let scale = decision.verdict.write().filter(|to| *to != at.target.replicas).map(|to| Scale {
        resource: at.resource.clone(),
        target: at.valid.target.clone(),
        seen: at.target.clone(),
        to,
        verdict: Some(decision.verdict),
        why: decision.sentence(&at.valid.config, at.target.replicas),
    });
    // The first activation of all is written down before it is made: were it forgotten by a crash in between, the object
    // would count as never active, and an empty queue would send it to rest without a cooldown.
    let first_ever = scale.is_some() && at.status.last_active_time.is_none() && !tells_activation(at.status);
    let status_written = status.map(|wanted| written(at.object, at.status, wanted));
    let scaled = scale.map(|scale| Effect::Scale(Box::new(scale)));
    let mut effects = Vec::new();
    if matches!(decision.verdict, Verdict::Paused(_)) {
        // First of all, so that it does not move what is brought to the number of the pause.
        effects.extend(deleted(at.hpa.into_iter().chain(at.old_hpas.iter().map(|old| &**old))));
        effects.extend(scaled.into_iter().chain(status_written));
    } else if first_ever {
        effects.extend(status_written.into_iter().chain(scaled).chain(hpa_effects(at)));
    } else {
        effects.extend(scaled.into_iter().chain(hpa_effects(at)).chain(status_written));
    }
    if let Some(wanted) = status {
        effects.extend(ready_note(at.status, wanted).map(Effect::Event));
        effects.extend(pause_note(at.status, wanted).map(Effect::Event));
        effects.extend(fallback_note(at.status, wanted).map(Effect::Event));
    }
    effects
}

/// Whether the status of an object that was never active tells that it had no replicas when it was taken on, so that
/// replicas alone are the sign of an activation.
#[must_use]
pub fn tells_activation(status: &ScaledObjectStatus) -> bool {
    status.original_replica_count == Some(0)
}

fn hpa_effects(at: Snapshot<'_>) -> impl Iterator<Item = Effect> {
    let body = at.check_hpa.then(|| hpa::desired(at.key, at.object, at.valid));
    let differs = body.filter(|body| at.rewrite_hpa || !at.hpa.is_some_and(|seen| hpa::is_current(body, seen)));
    let known = at.hpa.is_some() || windlass_crd::transfers_hpa(&at.object.annotations);
    let applied = differs.map(|body| Effect::ApplyHpa { name: at.valid.hpa_name.clone(), body, known });
    let old = at.old_hpas.iter().filter(move |_| at.check_hpa).map(|old| &**old);
    applied.into_iter().chain(deleted(old))
}

/// Deletes each of these HPAs.
pub fn deletions(hpas: &[Arc<SeenHpa>]) -> impl Iterator<Item = Effect> {
    deleted(hpas.iter().map(|hpa| &**hpa))
}

fn deleted<'a>(hpas: impl Iterator<Item = &'a SeenHpa>) -> impl Iterator<Item = Effect> {
    hpas.map(|hpa| Effect::DeleteHpa { name: hpa.meta.name.clone().unwrap_or_default(), uid: hpa.uid.clone() })
}

/// What the object must carry and does not: KEDA's label and finalizer, or ours where something is to be undone.
#[must_use]
pub fn marks(key: &ObjectKey, object: &SeenObject, valid: &Validated) -> Option<Effect> {
    let group = key.group;
    let lacks_label =
        group.always_marks() && object.labels.get(group.name_label()).is_none_or(|name| **name != *key.name);
    let must_wait = group.always_marks() || valid.restores;
    if object.waits_for(group) == must_wait && !lacks_label {
        return None;
    }
    let own = must_wait.then(|| group.finalizer().to_owned());
    let finalizers = others_finalizers(group, object).chain(own).collect();
    let label = lacks_label.then(|| (group.name_label().to_owned(), key.name.to_string()));
    Some(Effect::Mark(Mark { version: object.version, labels: label.into_iter().collect(), finalizers }))
}

fn others_finalizers(group: Group, object: &SeenObject) -> impl Iterator<Item = String> {
    object.finalizers.iter().filter(move |name| *name != group.finalizer()).cloned()
}

/// Lets an object go.
#[must_use]
pub fn without_finalizer(group: Group, object: &SeenObject) -> Effect {
    let finalizers = others_finalizers(group, object).collect();
    Effect::Mark(Mark { version: object.version, labels: BTreeMap::new(), finalizers })
}

/// What must be done for an object that cannot be scaled: say so.
#[must_use]
pub fn refuse(object: &SeenObject, before: &ScaledObjectStatus, wanted: &ScaledObjectStatus) -> Vec<Effect> {
    if before == wanted {
        return Vec::new();
    }
    let note = ready_note(before, wanted).map(Effect::Event);
    std::iter::once(written(object, before, wanted)).chain(note).collect()
}

/// The write of a status. An object that tells nothing is a new one, or it is seen as it was long ago: to write over what it
/// tells by now would lose when it was last active, and send it to rest without a cooldown.
fn written(object: &SeenObject, before: &ScaledObjectStatus, wanted: &ScaledObjectStatus) -> Effect {
    let is_new = before.original_replica_count.is_none();
    Effect::Status {
        status: Box::new(wanted.clone()),
        only_at: is_new.then_some(object.version),
        before: Box::new(before.clone()),
    }
}

/// The condition of one type.
fn said<'a>(status: &'a ScaledObjectStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

/// The event of a change of `Ready`: one for each change of state, none for a change of words.
fn ready_note(before: &ScaledObjectStatus, after: &ScaledObjectStatus) -> Option<Note> {
    let new = said(after, types::READY)?;
    let changed = said(before, types::READY).is_none_or(|old| {
        (&old.status, &old.reason) != (&new.status, &new.reason)
            || (new.status == "False" && old.observed_generation != new.observed_generation)
    });
    let reason = match (new.status.as_str(), new.reason.as_str()) {
        ("True", _) => "ScaledObjectReady",
        (_, "ScaledObjectCheckFailed") => "ScaledObjectCheckFailed",
        _ => "KEDAScalerFailed",
    };
    changed.then(|| Note { warning: new.status != "True", reason, message: new.message.clone() })
}

/// The event of a fallback that begins or ends.
fn fallback_note(before: &ScaledObjectStatus, after: &ScaledObjectStatus) -> Option<Note> {
    let new = said(after, types::FALLBACK)?;
    let was = said(before, types::FALLBACK).is_some_and(|old| old.status == "True");
    let is = new.status == "True";
    let reason = if is { "ScaledObjectFallbackActivated" } else { "ScaledObjectFallbackDeactivated" };
    (was != is).then(|| Note { warning: is, reason, message: new.message.clone() })
}

/// The event of a pause that begins or ends, or is another one now.
fn pause_note(before: &ScaledObjectStatus, after: &ScaledObjectStatus) -> Option<Note> {
    let (old, new) = (said(before, types::PAUSED), said(after, types::PAUSED)?);
    let was_paused = old.is_some_and(|old| old.status == "True");
    let reason = if new.status == "True" { "ScaledObjectPaused" } else { "ScaledObjectUnpaused" };
    let changed =
        was_paused != (new.status == "True") || (was_paused && old.is_some_and(|old| old.message != new.message));
    changed.then(|| Note { warning: false, reason, message: new.message.clone() })
}

impl Scale {
    /// The event of a write that was made.
    #[must_use]
    pub fn done_note(&self, key: &ObjectKey, from: u32) -> Note {
        let reason = match self.verdict {
            Some(Verdict::Deactivate(_)) => "KEDAScaleTargetDeactivated",
            Some(Verdict::Paused(_)) => "ScaledObjectPaused",
            Some(_) => "KEDAScaleTargetActivated",
            None => "ScaledObjectDeleted",
        };
        Note {
            warning: false,
            reason,
            message: format!("Scaled {} from {from} to {}: {}", self.what(key), self.to, self.why),
        }
    }

    /// The event of a write that failed.
    #[must_use]
    pub fn failed_note(&self, key: &ObjectKey, error: &str) -> Note {
        let reason = match self.verdict {
            _ if self.to < self.seen.replicas => "KEDAScaleTargetDeactivationFailed",
            Some(_) => "KEDAScaleTargetActivationFailed",
            None => "ScaledObjectUpdateFailed",
        };
        Note { warning: true, reason, message: format!("Could not scale {} to {}: {error}", self.what(key), self.to) }
    }

    fn what(&self, key: &ObjectKey) -> String {
        target_name(key, &self.target)
    }
}

/// The target of `key` in events.
pub fn target_name(key: &ObjectKey, target: &Target) -> String {
    format!("{}.{} {}/{}", target.api_version(), target.kind, key.namespace, target.name)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "plan_property.rs"]
mod property;
