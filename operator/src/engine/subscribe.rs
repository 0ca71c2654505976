//! From a spec to what is read for it, and back to nothing.

use std::sync::Arc;

use windlass_crd::{Validated, validate};
use windlass_decision::State;
use windlass_sources::ConfigError;
use windlass_sources::poller::{Interval, Subscription};

use crate::engine::Engine;
use crate::engine::memory::Memory;
use crate::key::ObjectKey;
use crate::mutant::{self, Mutant};
use crate::readings::subscription_key;
use crate::world::SeenObject;

impl Engine {
    /// Reads a new spec, and subscribes to what it asks for.
    pub(super) fn understand(&self, key: &ObjectKey, object: &SeenObject, memory: &mut Memory) {
        let before = memory.valid.take().and_then(Result::ok);
        memory.generation = Some(object.generation);
        memory.hpa_right_at = None;
        memory.hpa_trouble = None;
        memory.retry = None;
        let mut seen = object.spec.clone();
        if mutant::is(Mutant::NoCooldown)
            && let Ok(spec) = &mut seen
        {
            spec.cooldown_period = Some(0);
        }
        let spec = seen.as_ref().map_err(|error| {
            vec![ConfigError { field: "spec".into(), problem: error.clone(), fix: "correct it".into() }]
        });
        let valid = spec.and_then(|spec| validate(&key.name, spec, &self.settings)).map(Arc::new).map_err(Arc::from);
        if let Some(old) = &before
            && valid.as_ref().ok().map(|new: &Arc<Validated>| &new.target) != Some(&old.target)
        {
            self.world.release(key, &old.target);
            memory.forget_target();
        }
        match &valid {
            Ok(new) => {
                let reads_the_same = before
                    .is_some_and(|old| old.triggers == new.triggers && old.config.triggers() == new.config.triggers());
                if !reads_the_same {
                    memory.state = State::default();
                    self.subscribe(key, new);
                }
            }
            Err(_) => self.unsubscribe(key),
        }
        memory.valid = Some(valid);
    }

    fn subscribe(&self, key: &ObjectKey, valid: &Validated) {
        let names: Vec<_> = valid.config.triggers().iter().map(|trigger| trigger.metric_name.clone()).collect();
        let kept: Vec<_> = names.iter().map(String::as_str).collect();
        self.telemetry.keep_triggers(&key.namespace, &key.name, &kept);
        let intervals = valid.triggers.iter().map(|t| t.interval.unwrap_or(t.parsed.default_interval)).collect();
        self.readings.expect(key, names, intervals);
        let subscriptions = valid.triggers.iter().map(|trigger| Subscription {
            connection: trigger.parsed.connection.clone(),
            query: trigger.parsed.query.clone(),
            interval: trigger.interval.map_or(Interval::Default(trigger.parsed.default_interval), Interval::Written),
        });
        self.poller.set(subscription_key(key), subscriptions.collect());
    }

    fn unsubscribe(&self, key: &ObjectKey) {
        self.poller.remove(&subscription_key(key));
        self.readings.forget(key);
        self.table.remove(&key.namespace, &key.name);
    }

    /// The object is gone.
    pub(super) fn forget(&self, key: &ObjectKey, memory: &Memory) {
        self.unsubscribe(key);
        self.queue.cancel_timer(key);
        self.telemetry.forget(&key.namespace, &key.name);
        if let Some(Ok(valid)) = &memory.valid {
            self.world.release(key, &valid.target);
        }
        tracing::info!(object = %key, "object forgotten");
    }
}
