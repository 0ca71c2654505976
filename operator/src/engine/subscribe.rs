//! From a spec to what is read for it, and back to nothing.

use std::sync::Arc;
use std::time::Duration;

use windlass_crd::{Inputs, ScaledObjectSpec, Target, Validated, ValidatedTrigger, target, validate};
use windlass_decision::State;
use windlass_sources::poller::{Interval, Subscription};
use windlass_sources::{ConfigError, Zone};

use crate::engine::Engine;
use crate::engine::memory::{GivenBasis, Memory, Resolved};
use crate::givens::{Resolution, refers};
use crate::key::ObjectKey;
use crate::mutant::{self, Mutant};
use crate::readings::subscription_key;
use crate::seen::SeenObject;
use crate::telemetry::{ObjectSeries, TriggerName};
use crate::world::Looked;

/// When to look again for what has not been listed yet: that there is none of it is told by nobody.
const NOT_YET: Duration = Duration::from_millis(200);
/// When to look again for what is not there: a variable in the target's environment, perhaps.
const MISSING: Duration = Duration::from_secs(5);

impl Engine {
    /// Reads the spec where it or what it refers to has changed, and subscribes to what it asks for.
    pub(super) fn keep_understood(&self, key: &ObjectKey, object: &SeenObject, memory: &mut Memory) {
        let is_new = memory.generation != Some(object.generation);
        if !is_new && memory.given.is_none() {
            return;
        }
        let Ok(spec) = &object.spec else {
            let why = object.spec.as_ref().err().cloned().unwrap_or_default();
            memory.given = None;
            self.givens.forget(key);
            let error = ConfigError { field: "spec".into(), problem: why, fix: "correct it".into() };
            return self.understand(key, object, (None, Err(vec![error])), memory);
        };
        let Some(given) = self.given(key, spec, is_new, memory) else {
            // Not heard of yet, or nothing new.
            if memory.recheck.is_none() && matches!(memory.valid, Some(Err(_))) {
                memory.recheck = Some(MISSING);
            }
            return;
        };
        let mut spec = spec.clone();
        if mutant::is(Mutant::NoCooldown) {
            spec.cooldown_period = Some(0);
        }
        let valid = given.and_then(|given| {
            let inputs = Inputs { group: key.group, namespace: &key.namespace, given: &given, settings: self.settings };
            validate(&key.name, &spec, inputs)
        });
        if valid.is_err() && memory.given.is_some() {
            // What is not understood is not told of its target's changes.
            memory.recheck = Some(MISSING);
        }
        self.understand(key, object, (Some(target(&spec)), valid), memory);
    }

    /// What the triggers are given from elsewhere; `None` where that is not known yet, or is what it was.
    fn given(&self, key: &ObjectKey, spec: &ScaledObjectSpec, is_new: bool, memory: &mut Memory) -> Option<Resolved> {
        if !refers(spec) {
            memory.given = None;
            self.givens.forget(key);
            return Some(Ok(Vec::new()));
        }
        let containers = match self.world.peek(&key.namespace, &target(spec)) {
            Looked::NotYet => {
                memory.recheck = Some(NOT_YET);
                return None;
            }
            Looked::Found(seen, _) => seen.containers.clone(),
            Looked::Missing | Looked::UnknownKind(_) => None,
        };
        let basis = GivenBasis { revision: self.givens.revision(), containers };
        if !is_new && memory.given.as_ref().is_some_and(|(before, _)| *before == basis) {
            return None;
        }
        let given = match self.givens.resolve(key, spec, basis.containers.as_ref()) {
            Resolution::NotYet => {
                memory.recheck = Some(NOT_YET);
                return None;
            }
            Resolution::Given(given) => Ok(given),
            Resolution::Wrong(errors) => Err(errors),
        };
        let same = memory.given.replace((basis, given.clone())).is_some_and(|(_, before)| before == given);
        (is_new || !same).then_some(given)
    }

    fn understand(
        &self,
        key: &ObjectKey,
        object: &SeenObject,
        (scales, valid): (Option<Target>, Result<Validated, Vec<ConfigError>>),
        memory: &mut Memory,
    ) {
        let before = memory.valid.take().and_then(Result::ok);
        let is_new = memory.generation.replace(object.generation) != Some(object.generation);
        memory.remarked &= !is_new;
        memory.hpa_right_at = None;
        memory.hpa_trouble = None;
        memory.status_right_at = None;
        memory.retry = None;
        let valid = valid.map(Arc::new).map_err(Arc::from);
        // A mistake in the spec gives the target to nobody else; that it scales another one does.
        if memory.held.is_some() && memory.held != scales {
            memory.held.take().iter().for_each(|old| self.world.release(key, old));
            memory.forget_target();
        }
        if valid.is_ok() {
            memory.held = scales;
        }
        match &valid {
            Ok(new) => {
                // With other credentials for the same figures, what is known of them is still true.
                let same_figures = before.as_ref().is_some_and(|old| asks_the_same(old, new, is_new));
                if !same_figures {
                    memory.state = State::default();
                }
                let series = memory.series.get_or_insert_with(|| self.telemetry.object(key));
                series.has(&new.types, names(object, new));
                if !same_figures || before.is_none_or(|old| old.triggers != new.triggers) {
                    self.subscribe(key, new, series, same_figures);
                }
            }
            Err(_) => {
                self.unsubscribe(key);
                memory.series.iter().for_each(|series| series.has(&[], Vec::new()));
            }
        }
        memory.valid = Some(valid);
    }

    fn subscribe(&self, key: &ObjectKey, valid: &Validated, series: &Arc<ObjectSeries>, same_figures: bool) {
        let interval =
            |written: Option<Duration>, default| written.map_or(Interval::Default(default), Interval::Written);
        let intervals: Vec<_> =
            valid.triggers.iter().map(|t| interval(t.interval, t.parsed.default_interval)).collect();
        if !same_figures {
            self.readings.expect(key, series.clone(), &intervals);
        }
        let has_rules = self.source_zones.contains(&*key.namespace);
        let zone = if has_rules { Zone::of(&key.namespace) } else { Zone::default() };
        let subscriptions = valid.triggers.iter().zip(intervals).map(|(trigger, interval)| Subscription {
            zone: zone.clone(),
            connection: trigger.parsed.connection.clone(),
            query: trigger.parsed.query.clone(),
            interval,
        });
        self.poller.set(subscription_key(key), subscriptions.collect());
    }

    /// Nothing is read for the object any more, and who asks for its metrics gets an error.
    pub(super) fn unsubscribe(&self, key: &ObjectKey) {
        self.poller.remove(&subscription_key(key));
        self.readings.forget(key);
        self.table.set(key, Vec::new());
    }

    /// The object is gone.
    pub(super) fn forget(&self, key: &ObjectKey, memory: &Memory) {
        self.unsubscribe(key);
        self.table.remove(key);
        self.givens.forget(key);
        self.queue.cancel_timer(key);
        self.telemetry.forget(key);
        memory.held.iter().for_each(|target| self.world.release(key, target));
        tracing::info!(object = %key, "object forgotten");
    }
}

/// What the triggers that are read are called.
fn names(object: &SeenObject, valid: &Validated) -> Vec<TriggerName> {
    let written = |index: usize| object.spec.as_ref().ok()?.triggers.get(index)?.name.clone();
    let triggers = valid.triggers.iter().zip(valid.config.triggers());
    triggers
        .map(|(read, decided)| TriggerName {
            metric: decided.metric_name.clone(),
            kind: read.kind.clone(),
            name: written(read.index).filter(|name| !name.is_empty()),
            index: read.index,
        })
        .collect()
}

/// Whether the very same figures are asked for as often as before. Where the object itself has not changed, another
/// connection is a rotated credential.
fn asks_the_same(old: &Validated, new: &Validated, is_new: bool) -> bool {
    let same = |(old, new): (&ValidatedTrigger, &ValidatedTrigger)| {
        let connection = !is_new || old.parsed.connection == new.parsed.connection;
        old.parsed.query == new.parsed.query && old.interval == new.interval && connection
    };
    old.config.triggers() == new.config.triggers() && old.triggers.iter().zip(&new.triggers).all(same)
}
