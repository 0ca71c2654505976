//! The newest reading of every trigger, put here by the reading loops and taken from here by decisions. A figure that
//! cannot be a count is turned into a failure at this door, so that nothing behind it ever sees one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use windlass_decision::{Activity, Failure, FailureKind, Outcome, Reading, Sample};
use windlass_sources::poller::{Interval, Sink, SubscriptionKey, Timing};

use crate::key::ObjectKey;
use crate::mutant::{self, Mutant};
use crate::queue::Queue;
use crate::telemetry::{ObjectSeries, ReadOutcome};

/// See the module.
#[derive(Debug)]
pub struct Readings {
    objects: Mutex<BTreeMap<SubscriptionKey, Entry>>,
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Entry {
    key: ObjectKey,
    series: Arc<ObjectSeries>,
    readings: Vec<Reading>,
    counts: Vec<Count>,
}

/// Counts the failures of one trigger, one after the other. A reading that is taken more often than a person asked for
/// must not bring a fallback sooner, and one that is taken less often after failures not later: at most one failure is
/// counted for each interval that a person wrote, else for each ten seconds.
#[derive(Debug, Clone, Copy)]
struct Count {
    unit: Duration,
    failing_since: Option<Instant>,
}

impl Count {
    /// What an object that names no interval counts by.
    const DEFAULT: Duration = Duration::from_secs(10);

    fn failed(&mut self) -> u32 {
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        let units = since.elapsed().as_millis() / self.unit.as_millis().max(1);
        u32::try_from(units).unwrap_or(u32::MAX).saturating_add(1)
    }
}

impl Readings {
    /// Marks the object of each reading in `queue`.
    #[must_use]
    pub fn new(queue: Arc<Queue>) -> Arc<Self> {
        Arc::new(Self { objects: Mutex::default(), queue })
    }

    /// Expects readings for `key`, of one trigger for each interval, read every so often until told otherwise, and counts them
    /// in `series`. What was known of it is forgotten.
    pub fn expect(&self, key: &ObjectKey, series: Arc<ObjectSeries>, intervals: &[Interval]) {
        let reading = |interval: &Interval| Reading { interval: interval.duration(), ..Reading::default() };
        let count = |interval: &Interval| Count {
            unit: if let Interval::Written(written) = interval { *written } else { Count::DEFAULT },
            failing_since: None,
        };
        let readings = intervals.iter().map(reading).collect();
        let counts = intervals.iter().map(count).collect();
        let entry = Entry { key: key.clone(), series, readings, counts };
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
    fn reading(&self, subscriber: &SubscriptionKey, trigger: usize, outcome: Outcome, timing: Timing) {
        let mut objects = self.lock();
        let Some(entry) = objects.get_mut(subscriber) else { return };
        let places = (entry.readings.get_mut(trigger), entry.counts.get_mut(trigger));
        let (Some(reading), Some(count)) = places else { return };
        let outcome = checked(outcome);
        let kind = match &outcome {
            Outcome::Ok(_) => ReadOutcome::Ok,
            Outcome::Failed(_) => ReadOutcome::Failed,
            Outcome::Absent(_) => ReadOutcome::Absent,
        };
        entry.series.read(trigger, kind, timing.asked);
        reading.interval = timing.interval;
        if let Outcome::Ok(sample) = &outcome {
            reading.last_ok = Some(*sample);
            count.failing_since = None;
            reading.failures = 0;
        } else {
            reading.failures = count.failed();
        }
        reading.latest = Some(outcome);
        self.queue.mark(&entry.key);
    }
}

/// The name under which an object subscribes.
#[must_use]
pub fn subscription_key(key: &ObjectKey) -> SubscriptionKey {
    SubscriptionKey::from(key.to_string().as_str())
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
