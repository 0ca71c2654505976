//! One look at one object: what is seen becomes an observation, the observation a decision, the decision a plan.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::ApiResource;
use tokio::time::Instant;
use windlass_crd::{Group, ScaledObjectStatus, Target, Validated};
use windlass_decision::{Decision, FailureKind, Hand, Observation, State, decide, in_fallback};

use crate::engine::Engine;
use crate::engine::memory::{Basis, Memory};
use crate::engine::told::{beyond, measure, moved};
use crate::engine::trouble::Refusal;
use crate::external_metrics::{ServedMetric, ServedValue};
use crate::keda::Sign;
use crate::key::ObjectKey;
use crate::plan::{self, Effect, Note, Snapshot, plan, refuse};
use crate::seen::{SeenHpa, SeenObject, SeenTarget};
use crate::status;
use crate::world::Looked;

/// The least time between two writes of an object's status that are not part of a scaling.
const STATUS_PACE: Duration = Duration::from_secs(1);

/// How long until it is looked again whether KEDA still runs.
const STAND_BACK: Duration = Duration::from_secs(1);

/// Why there is no target to scale.
enum NoTarget {
    /// It is not there.
    Absent(String),
    /// Another object scales it.
    AnothersOwn(String),
}

/// What a decision was made from and what it was.
pub(super) struct Seen<'a> {
    pub key: &'a ObjectKey,
    pub object: &'a SeenObject,
    pub valid: &'a Validated,
    pub target: SeenTarget,
    pub resource: ApiResource,
    pub observation: Observation,
    pub decision: Decision,
    pub now: Timestamp,
}

impl Engine {
    /// Looks at one object; `Some` if there is something to do.
    pub(super) fn look(&self, key: &ObjectKey, objects: &mut BTreeMap<ObjectKey, Memory>) -> Option<Vec<Effect>> {
        let seen = self.world.objects.get(key);
        let Some(object) = seen.filter(|object| !object.deleting || object.waits_for(key.group)) else {
            if let Some(memory) = objects.remove(key) {
                self.forget(key, &memory);
            }
            return None;
        };
        let memory = objects.entry(key.clone()).or_default();
        if memory.uid != object.uid {
            // Deleted and made anew under the same name.
            if !memory.uid.is_empty() {
                self.forget(key, memory);
            }
            *memory = Memory::of(&object.uid, Some(self.telemetry.object(key)));
        }
        memory.believe(&object);
        memory.recheck = None;
        self.keep_understood(key, &object, memory);
        let effects = match (memory.valid.clone(), &object.hand) {
            _ if let Some(sign) = self.kedas_own(key) => self.stand_back(key, &sign, memory),
            _ if object.deleting => self.farewell(key, &object, memory),
            (_, Err(problem)) => {
                self.table.set(key, Vec::new());
                self.refused(key, &object, (Refusal::Annotation, problem), memory)
            }
            (Some(Ok(valid)), Ok(hand)) => self.decide(key, &object, &valid, *hand, memory),
            (Some(Err(errors)), _) => self.refused(key, &object, (Refusal::Spec, &status::problems(&errors)), memory),
            (None, _) => Vec::new(),
        };
        if let Some(delay) = memory.recheck {
            self.queue.mark_within(key, delay);
        }
        (!effects.is_empty()).then_some(effects)
    }

    fn decide(
        &self,
        key: &ObjectKey,
        object: &SeenObject,
        valid: &Validated,
        hand: Hand,
        memory: &mut Memory,
    ) -> Vec<Effect> {
        let (target, resource) = match self.find_target(key, object, valid, memory) {
            Ok(Some(found)) => found,
            Ok(None) => return Vec::new(),
            Err(problem) => {
                // Nothing is served, so that the HPA gets an error and moves nothing.
                self.table.set(key, Vec::new());
                return match problem {
                    NoTarget::Absent(problem) => self.refused(key, object, (Refusal::NoTarget, &problem), memory),
                    NoTarget::AnothersOwn(problem) => {
                        // Two HPAs of one target would both stand still.
                        let mut effects = self.refused(key, object, (Refusal::AnothersTarget, &problem), memory);
                        if !memory.busy && !memory.is_waiting() {
                            effects.extend(plan::deletions(&self.world.hpas_of(key, &object.uid)));
                        }
                        effects
                    }
                };
            }
        };
        (memory.stood_back, memory.refusal) = (false, None);
        let Some(triggers) = self.readings.of(key) else { return Vec::new() };
        let now = self.clock.now();
        let observation = Observation {
            triggers,
            replicas: target.replicas,
            ready: target.ready,
            created_at: object.created_at,
            last_active_time: last_active(memory.current_status(object), target.replicas, now),
            hpa_answer: self.table.answered(key),
            since_last: memory.decided_at.replace(Instant::now()).map(|at| at.elapsed()),
            hand,
        };
        if status::failing(&observation, now).iter().any(|(_, kind)| *kind == FailureKind::Unauthorised) {
            self.givens.doubt(key);
        }
        let started = Instant::now();
        let decision = decide(&observation, &valid.config, &memory.state, now);
        self.telemetry.decision(decision.verdict, started.elapsed());
        let seen = Seen { key, object, valid, target, resource, observation, decision, now };
        self.serve(&seen, memory);
        measure(&seen, memory);
        if let Some(delay) = seen.decision.wake_after {
            // A recheck that is wanted sooner is noted after this.
            self.queue.mark_in(key, delay);
        }
        memory.state = seen.decision.next.clone();
        if memory.busy {
            memory.again = true;
            return Vec::new();
        }
        if memory.is_waiting() { Vec::new() } else { self.plan(&seen, memory) }
    }

    /// The sign that an object is KEDA's own, which itself runs; `None` if it is ours.
    fn kedas_own(&self, key: &ObjectKey) -> Option<Sign> {
        if key.group == Group::Keda { self.world.keda.sign(self.clock.now()) } else { None }
    }

    /// KEDA itself runs, or may: nothing of this object is ours to write.
    fn stand_back(&self, key: &ObjectKey, sign: &Sign, memory: &mut Memory) -> Vec<Effect> {
        self.table.set(key, Vec::new());
        memory.series.iter().for_each(|series| series.undecided());
        // What KEDA does meanwhile is not seen, so that nothing from before may count afterwards.
        memory.state = State::default();
        memory.decided_at = None;
        memory.refusal = None;
        memory.unread.clear();
        if let Some(Ok(valid)) = &memory.valid {
            // So that no object of ours takes the same target.
            let _ = self.world.target(key, &valid.target);
        }
        memory.recheck = Some(STAND_BACK);
        if memory.busy || std::mem::replace(&mut memory.stood_back, true) {
            return Vec::new();
        }
        vec![Effect::Tell(Note { warning: false, reason: "KEDAScalersStopped", message: sign.to_string() })]
    }

    /// The target, `None` while it is not known yet, or why there is none to scale.
    fn find_target(
        &self,
        key: &ObjectKey,
        object: &SeenObject,
        valid: &Validated,
        memory: &mut Memory,
    ) -> Result<Option<(SeenTarget, ApiResource)>, NoTarget> {
        let target = &valid.target;
        let found = match self.world.target(key, target) {
            Looked::Found(seen, resource) => (memory.newest_target(&seen), resource),
            Looked::NotYet => return Ok(None),
            Looked::Missing => {
                let what = format!("{}.{} {}/{}", target.api_version(), target.kind, key.namespace, target.name);
                let problem = format!("spec.scaleTargetRef: {what} is not there; create it or correct the reference");
                return Err(NoTarget::Absent(problem));
            }
            Looked::UnknownKind(why) => {
                let problem = format!("spec.scaleTargetRef: no such kind ({why}); correct apiVersion and kind");
                return Err(NoTarget::Absent(problem));
            }
        };
        match self.owner(key, object, target) {
            None => Ok(Some(found)),
            Some(owner) => Err(NoTarget::AnothersOwn(format!(
                "spec.scaleTargetRef: {} is already managed by the ScaledObject {:?}; remove one of the two",
                target.name, &*owner.name
            ))),
        }
    }

    /// The scaled object that was there first, if another scales the same target. Of two that were made within one second,
    /// the one that is served already stays.
    pub(super) fn owner(&self, key: &ObjectKey, object: &SeenObject, target: &Target) -> Option<ObjectKey> {
        let rivals = self.world.rivals(key, target);
        // What KEDA itself scales is not ours, whoever was first.
        if let Some(kedas) = rivals.iter().find(|rival| self.kedas_own(rival).is_some()) {
            return Some(kedas.clone());
        }
        let is_older = |rival: &ObjectKey| {
            self.world.objects.get(rival).is_some_and(|other| {
                let place = |object: &SeenObject| (object.created_at, object.status.original_replica_count.is_none());
                !other.deleting && (place(&other), rival) < (place(object), key)
            })
        };
        rivals.into_iter().filter(is_older).min()
    }

    fn plan(&self, seen: &Seen<'_>, memory: &mut Memory) -> Vec<Effect> {
        let Seen { key, object, valid, target, resource, observation, decision, now } = seen;
        // One of another object under the same name is not this one's: it must not be compared, let alone overwritten.
        let found = self.world.hpas.get(&ObjectKey::of(key.group, &key.namespace, &valid.hpa_name));
        let ours = found.filter(|hpa| hpa.owner(key.group) == Some(&*key.name) && !memory.has_deleted(hpa));
        let basis = basis(seen, ours.as_deref(), memory);
        memory.unread.clone_from(&basis.failing);
        let settled = memory.status_right_at.as_ref() == Some(&basis);
        let current = memory.current_status(object).clone();
        let is_heard = status::is_heard(observation) || decision.verdict.write().is_some();
        let paced = decision.verdict.write().is_none() && memory.status_at.is_some_and(|at| at.elapsed() < STATUS_PACE);
        let wanted = (!settled && is_heard).then(|| {
            let hpa_trouble = memory.hpa_trouble.as_ref().map(|(trouble, _)| trouble.as_str());
            let generation = memory.generation.unwrap_or(object.generation);
            let plural = &resource.plural;
            let hpa = ours.as_deref().filter(|_| observation.hand.pause.is_none());
            let said = status::Decided { valid, observation, decision, plural, hpa_trouble, hpa, generation };
            let whole = status::decided(&current, said, memory.failing == basis.failing, *now);
            self.world.keda.fitted(key.group, whole)
        });
        let changed = wanted.as_ref().is_some_and(|wanted| *wanted != current);
        if changed && paced {
            self.queue.mark_in(key, STATUS_PACE);
        } else if wanted.is_some() {
            memory.failing.clone_from(&basis.failing);
            memory.status_right_at = (!changed).then_some(basis);
        }

        if observation.hand.pause.is_some() {
            // It is to be gone: what was written before the pause must not be believed to be there.
            memory.forget_hpa();
        }
        let hpa = memory.newest_hpa(ours);
        let right_at = hpa.as_ref().map(|hpa| (hpa.version, object.version));
        let in_trouble = memory.hpa_trouble.as_ref().is_some_and(|(_, until)| *until > Instant::now());
        let mut old_hpas = self.world.hpas_of(key, &object.uid);
        old_hpas.retain(|hpa| hpa.meta.name.as_ref() != Some(&valid.hpa_name) && !memory.has_deleted(hpa));
        let check_hpa = !in_trouble && (right_at.is_none() || memory.hpa_right_at != right_at || !old_hpas.is_empty());
        let copied = (&object.labels, &object.annotations);
        // What the object does not carry any more is on the HPA still, and looks like somebody else's there.
        let rewrite_hpa = check_hpa && memory.copied.as_ref().is_some_and(|(labels, notes)| (labels, notes) != copied);
        if check_hpa {
            memory.copied = Some((object.labels.clone(), object.annotations.clone()));
        }
        let effects = plan(
            decision,
            Snapshot {
                key,
                object,
                valid,
                target,
                resource,
                hpa: hpa.as_deref(),
                old_hpas: &old_hpas,
                check_hpa,
                rewrite_hpa,
                status: &current,
                wanted: wanted.as_ref().filter(|_| changed && !paced),
            },
        );
        let mut effects = effects;
        if !valid.remarks.is_empty() && !std::mem::replace(&mut memory.remarked, true) {
            let message = status::problems(&valid.remarks);
            effects.push(Effect::Tell(Note { warning: true, reason: "KEDAScalerInfo", message }));
        }
        effects.extend(moved(seen, memory).into_iter().chain(beyond(seen, memory)).map(Effect::Tell));
        if effects.is_empty() && memory.may_mark() {
            // Last of all, once nothing else is to be written: each of them is bound to the object's version.
            effects.extend(plan::marks(key, object, valid));
            if effects.is_empty() {
                memory.mark_retry = None;
            }
        }
        let is_wrong = |effect: &Effect| matches!(effect, Effect::ApplyHpa { .. } | Effect::DeleteHpa { .. });
        if check_hpa && !effects.iter().any(is_wrong) {
            memory.hpa_right_at = right_at;
            if memory.hpa_is_right() {
                // What was said about it is over, whoever put it right: a write may succeed although nobody hears of it.
                self.queue.mark(key);
            }
        }
        effects
    }

    fn serve(&self, seen: &Seen<'_>, memory: &Memory) {
        let Seen { key, valid, observation, decision, now, .. } = seen;
        let triggers = valid.config.triggers().iter().zip(&observation.triggers);
        let mut metrics: Vec<_> = triggers
            .map(|(trigger, reading)| ServedMetric {
                metric_name: trigger.metric_name.clone(),
                value: None,
                trouble: reading.failing(*now).map(|failure| failure.message.clone()),
            })
            .collect();
        for served in &decision.served {
            if let Some(metric) = metrics.get_mut(served.trigger) {
                metric.value =
                    Some(ServedValue { milli: served.milli, at: served.at, fresh_until: served.fresh_until });
            }
        }
        self.table.set(key, metrics);
        if decision.next.hold.is_some() && memory.state.hold != decision.next.hold {
            self.table.watch_answer(key);
        }
    }

    fn refused(
        &self,
        key: &ObjectKey,
        object: &SeenObject,
        (refusal, problem): (Refusal, &str),
        memory: &mut Memory,
    ) -> Vec<Effect> {
        memory.refusal = Some(refusal);
        memory.series.iter().for_each(|series| series.undecided());
        if memory.busy {
            memory.again = true;
            return Vec::new();
        }
        if memory.is_waiting() {
            return Vec::new();
        }
        memory.status_right_at = None;
        let current = memory.current_status(object);
        let wanted = status::refused(object, current, problem, self.clock.now());
        let effects = refuse(object, current, &self.world.keda.fitted(key.group, wanted));
        if !effects.is_empty() && memory.status_at.is_some_and(|at| at.elapsed() < STATUS_PACE) {
            self.queue.mark_in(key, STATUS_PACE);
            return Vec::new();
        }
        if let Some(series) = memory.series.as_ref().filter(|_| effects.iter().any(|it| matches!(it, Effect::Event(_))))
        {
            series.refused();
        }
        effects
    }
}

/// When the object was last activated. One that was taken on without replicas and has some now was activated although
/// nothing says so: a crash came between the two writes. It counts as activated just now, so that it rests after a
/// cooldown and not at once.
fn last_active(status: &ScaledObjectStatus, replicas: u32, now: Timestamp) -> Option<Timestamp> {
    let written = status.last_active_time.as_ref().map(|time| time.0);
    written.or_else(|| (plan::tells_activation(status) && replicas > 0).then_some(now))
}

fn basis(seen: &Seen<'_>, hpa: Option<&SeenHpa>, memory: &Memory) -> Basis {
    let bit = |index: usize| 1_u64.checked_shl(u32::try_from(index).unwrap_or(u32::MAX)).unwrap_or(0);
    let Seen { object, valid, observation, decision, now, .. } = seen;
    let mut basis = Basis {
        verdict: decision.verdict.as_str(),
        failing: status::failing(observation, *now),
        usable: 0,
        active: 0,
        generation: object.generation,
        version: memory.status_version(object),
        trouble: memory.hpa_trouble.is_some(),
        hpa_active: hpa.and_then(|hpa| hpa.scaling_active.clone()),
        fallback: in_fallback(observation, &valid.config).fold(0, |bits, index| bits | bit(index)),
    };
    for (index, (trigger, reading)) in valid.config.triggers().iter().zip(&observation.triggers).enumerate() {
        basis.usable |= if reading.usable(*now).is_some() { bit(index) } else { 0 };
        let active = reading.good(*now).is_some_and(|sample| trigger.is_active(sample));
        basis.active |= if active { bit(index) } else { 0 };
    }
    basis
}
