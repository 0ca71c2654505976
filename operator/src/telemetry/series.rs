//! The figures of each scaled object and of its triggers, from the object's first look until it is gone. Who counts holds on to
//! the object's series, so that a reading costs one lock and no look-up. How they are named and labelled is not known here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use windlass_sources::poller::Asked;

use crate::key::ObjectKey;

/// Upper bounds of the buckets for the time of a reading, in seconds. Few, since each trigger has its own.
pub(super) const READ_SECONDS: [f64; 5] = [0.005, 0.025, 0.1, 0.5, 2.5];

/// How a reading of a source ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOutcome {
    /// A value.
    Ok,
    /// The upstream could not be asked, or answered an error.
    Failed,
    /// The upstream answered that what was asked for is not there.
    Absent,
}

/// What a trigger is called in labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerName {
    /// Its metric, such as `s0-rabbitmq-orders`.
    pub metric: String,
    /// Its type, such as `rabbitmq`.
    pub kind: String,
    /// The name that the object gives it, if it does.
    pub name: Option<String>,
    /// Its place in the spec.
    pub index: usize,
}

/// The series of all scaled objects.
#[derive(Debug, Default)]
pub(super) struct Objects(Mutex<BTreeMap<ObjectKey, Arc<ObjectSeries>>>);

impl Objects {
    pub fn of(&self, key: &ObjectKey) -> Arc<ObjectSeries> {
        let mut objects = lock(&self.0);
        let made = || Arc::new(ObjectSeries { key: key.clone(), figures: Mutex::default() });
        objects.entry(key.clone()).or_insert_with(made).clone()
    }

    pub fn forget(&self, key: &ObjectKey) {
        lock(&self.0).remove(key);
    }

    pub fn clear(&self) {
        lock(&self.0).clear();
    }

    /// In the order of their keys.
    pub fn all(&self) -> Vec<Arc<ObjectSeries>> {
        lock(&self.0).values().cloned().collect()
    }
}

/// The series of one scaled object.
#[derive(Debug)]
pub struct ObjectSeries {
    pub(super) key: ObjectKey,
    figures: Mutex<Figures>,
}

#[derive(Debug, Default)]
pub(super) struct Figures {
    pub paused: bool,
    pub errors: u64,
    /// How much later than it was due the newest reading began.
    pub late: Option<Duration>,
    /// Replicas of the target as last seen, and as last decided.
    pub replicas: Option<(u32, u32)>,
    /// The types of all triggers, of those too that nobody reads here.
    pub types: Vec<String>,
    /// The triggers that are read.
    pub triggers: Vec<TriggerFigures>,
}

#[derive(Debug)]
pub(super) struct TriggerFigures {
    pub name: TriggerName,
    pub value: Option<f64>,
    pub active: Option<bool>,
    pub errors: u64,
    pub absent: u64,
    pub latency: Latency,
}

/// How long readings took.
#[derive(Debug, Default)]
pub(super) struct Latency {
    pub last: Option<f64>,
    pub sum: f64,
    pub count: u64,
    /// One for each of [`READ_SECONDS`], and one for what is above them all.
    pub buckets: [u64; READ_SECONDS.len() + 1],
}

impl Latency {
    fn observe(&mut self, seconds: f64) {
        self.last = Some(seconds);
        self.sum += seconds;
        self.count += 1;
        let bucket = READ_SECONDS.iter().position(|most| seconds <= *most).unwrap_or(READ_SECONDS.len());
        if let Some(bucket) = self.buckets.get_mut(bucket) {
            *bucket += 1;
        }
    }
}

impl ObjectSeries {
    /// The object has these triggers, of which `read` are read here. Those that it had already keep their figures; what it has
    /// no more goes.
    pub fn has(&self, types: &[String], read: Vec<TriggerName>) {
        let mut figures = self.figures();
        let mut before = std::mem::take(&mut figures.triggers);
        let kept = |name: TriggerName| match before.iter().position(|old| old.name == name) {
            Some(place) => before.swap_remove(place),
            None => {
                TriggerFigures { name, value: None, active: None, errors: 0, absent: 0, latency: Latency::default() }
            }
        };
        figures.triggers = read.into_iter().map(kept).collect();
        figures.types = types.to_vec();
    }

    /// A trigger was read, or told its figure by itself.
    pub fn read(&self, trigger: usize, outcome: ReadOutcome, asked: Option<Asked>) {
        let mut figures = self.figures();
        let Some(of_trigger) = figures.triggers.get_mut(trigger) else { return };
        if let Some(asked) = asked {
            of_trigger.latency.observe(asked.took.as_secs_f64());
        }
        let failed = u64::from(outcome != ReadOutcome::Ok);
        of_trigger.errors += failed;
        of_trigger.absent += u64::from(outcome == ReadOutcome::Absent);
        figures.errors += failed;
        if let Some(asked) = asked {
            figures.late = Some(asked.late);
        }
    }

    /// The object cannot be scaled, which had not been so before.
    pub fn refused(&self) {
        self.figures().errors += 1;
    }

    /// Nothing is decided about the object.
    pub fn undecided(&self) {
        let mut figures = self.figures();
        figures.replicas = None;
        for trigger in &mut figures.triggers {
            (trigger.value, trigger.active) = (None, None);
        }
    }

    /// The object was decided about. `values` are the triggers' figures that may be used, and whether they say that there is
    /// work; nothing where the newest reading does not tell.
    pub fn decided(
        &self,
        (current, desired): (u32, u32),
        paused: bool,
        values: impl Iterator<Item = (Option<f64>, Option<bool>)>,
    ) {
        let mut figures = self.figures();
        figures.replicas = Some((current, desired));
        figures.paused = paused;
        for (trigger, (value, active)) in figures.triggers.iter_mut().zip(values) {
            (trigger.value, trigger.active) = (value, active);
        }
    }

    pub(super) fn figures(&self) -> MutexGuard<'_, Figures> {
        lock(&self.figures)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
