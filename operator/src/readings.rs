//! The newest reading of every trigger, put here by the reading loops and taken from here by decisions. A figure that
//! cannot be a count is turned into a failure at this door, so that nothing behind it ever sees one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use windlass_decision::{Activity, Failure, FailureKind, Outcome, Reading, Sample};
use windlass_sources::poller::{Sink, SubscriptionKey};

use crate::key::ObjectKey;
use crate::mutant::{self, Mutant};
use crate::queue::Queue;
use crate::telemetry::{ReadOutcome, Telemetry};

/// See the module.
#[derive(Debug)]
pub struct Readings {
    objects: Mutex<BTreeMap<SubscriptionKey, Entry>>,
    queue: Arc<Queue>,
    telemetry: Telemetry,
}

#[derive(Debug)]
struct Entry {
    key: ObjectKey,
    metrics: Vec<String>,
    readings: Vec<Reading>,
}

impl Readings {
    /// Marks the object of each reading in `queue`.
    #[must_use]
    pub fn new(queue: Arc<Queue>, telemetry: Telemetry) -> Arc<Self> {
        Arc::new(Self { objects: Mutex::default(), queue, telemetry })
    }

    /// Expects readings of these metrics for `key`, read every `intervals` until told otherwise. What was known of it is
    /// forgotten.
    pub fn expect(&self, key: &ObjectKey, metrics: Vec<String>, intervals: Vec<Duration>) {
        let readings = intervals.into_iter().map(|interval| Reading { interval, ..Reading::default() }).collect();
        let entry = Entry { key: key.clone(), metrics, readings };
        self.lock().insert(subscription_key(key), entry);
    }

    /// Expects nothing more for `key`.
    pub fn forget(&self, key: &ObjectKey) {
        self.lock().remove(&subscription_key(key));
    }

    /// The readings of all triggers of `key`.
    #[must_use]
    pub fn of(&self, key: &ObjectKey) -> Option<Vec<Reading>> {
        self.lock().get(&subscription_key(key)).map(|entry| entry.readings.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<SubscriptionKey, Entry>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Readings {
    fn reading(&self, subscriber: &SubscriptionKey, trigger: usize, outcome: Outcome, interval: Duration) {
        let mut objects = self.lock();
        let Some(entry) = objects.get_mut(subscriber) else { return };
        let (Some(reading), Some(metric)) = (entry.readings.get_mut(trigger), entry.metrics.get(trigger)) else {
            return;
        };
        let outcome = checked(outcome);
        let kind = match &outcome {
            Outcome::Ok(_) => ReadOutcome::Ok,
            Outcome::Failed(_) => ReadOutcome::Failed,
            Outcome::Absent(_) => ReadOutcome::Absent,
        };
        self.telemetry.reading(&entry.key.namespace, &entry.key.name, metric, kind);
        reading.interval = interval;
        if let Outcome::Ok(sample) = &outcome {
            reading.last_ok = Some(*sample);
        }
        reading.latest = Some(outcome);
        self.queue.mark(&entry.key);
    }
}

/// The name under which an object subscribes.
#[must_use]
pub fn subscription_key(key: &ObjectKey) -> SubscriptionKey {
    SubscriptionKey::new(&key.namespace, &key.name)
}

fn checked(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Ok(sample) => match sample.checked() {
            Ok(sample) => Outcome::Ok(sample),
            Err(message) => {
                Outcome::Failed(Failure { kind: FailureKind::BadAnswer, message, field: None, at: sample.at })
            }
        },
        Outcome::Failed(failure) | Outcome::Absent(failure) if mutant::is(Mutant::ZeroOnError) => {
            Outcome::Ok(Sample { value: 0.0, activity: Activity::Number(0.0), limit: None, at: failure.at })
        }
        other => other,
    }
}
