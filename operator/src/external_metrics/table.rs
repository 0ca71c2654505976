//! What is served: one plain, serialisable table from scaled object to metric values, kept by the reconciler and read
//! by the server. It never asks a source, and never holds a value longer than the value says it is good.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;
use windlass_crd::Group;
use windlass_decision::HpaAnswer;

use super::selector::{self, SelectorError};
use crate::key::ObjectKey;

/// One external metric of one scaled object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedMetric {
    /// The name the HPA asks by, such as `s0-rabbitmq-orders`.
    pub metric_name: String,
    /// The newest usable figure; `None` when there is none, and the HPA must get an error.
    pub value: Option<ServedValue>,
    /// What is wrong with the trigger, for a person; said when no value can be served. Never holds a secret.
    pub trouble: Option<String>,
}

/// A figure and how long it is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedValue {
    /// Thousandths, as `resource.Quantity` counts. A negative figure is never served.
    pub milli: i64,
    /// When the source answered.
    pub at: Timestamp,
    /// From when on the figure must no longer be served.
    pub fresh_until: Timestamp,
}

impl ServedValue {
    /// Fresh until its time, and not from a future further away than it is good for: that would be a clock set back, and
    /// a figure that could be served for as long as it was set back by.
    fn is_fresh(&self, now: Timestamp) -> bool {
        let good_for = self.fresh_until.duration_since(self.at);
        now < self.fresh_until && self.at.duration_since(now) <= good_for
    }
}

/// All metrics of one scaled object, as [`ServedTable::snapshot`] gives and [`ServedTable::restore`] takes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedObject {
    /// Group of the scaled object.
    pub group: Group,
    /// Namespace of the scaled object.
    pub namespace: String,
    /// Name of the scaled object.
    pub name: String,
    /// Its metrics.
    pub metrics: Vec<ServedMetric>,
}

/// A scaled object that was answered for while its answer was being waited for.
pub type Answered = ObjectKey;

/// Who asks for a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// The HPA controller.
    Hpa,
    /// Anybody else.
    Other,
}

/// Why a metric is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The label selector names no object.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// Nothing is served for an object of that name.
    #[error("no scaled object {namespace}/{name} is served")]
    UnknownObject {
        /// Namespace asked for.
        namespace: String,
        /// Name asked for.
        name: String,
    },
    /// The object has no such metric.
    #[error("scaled object {namespace}/{name} has no metric {metric}")]
    UnknownMetric {
        /// Namespace asked for.
        namespace: String,
        /// Name asked for.
        name: String,
        /// Metric asked for.
        metric: String,
    },
    /// The metric is known, but there is no figure that may be believed now.
    #[error("no fresh reading of trigger {metric}: {reason}")]
    NoFreshReading {
        /// The metric.
        metric: String,
        /// What is wrong with it.
        reason: String,
    },
}

const GROUPS: [Group; 2] = [Group::Windlass, Group::Keda];
const NEVER: i64 = i64::MIN;
const AWAIT_ANY: u8 = 0b01;
const AWAIT_HPA: u8 = 0b10;

/// One object: the metrics, when they were last answered, and which answers somebody waits for. What a lookup changes is
/// atomic, so that lookups need no more than the read lock.
#[derive(Debug)]
struct Entry {
    metrics: Vec<ServedMetric>,
    /// Microseconds since the epoch.
    any: AtomicI64,
    by_hpa: AtomicI64,
    awaited: AtomicU8,
}

/// Namespace, then name, for each group: so that a lookup borrows them and allocates nothing.
#[derive(Debug, Default)]
struct Objects {
    own: HashMap<String, HashMap<String, Entry>>,
    keda: HashMap<String, HashMap<String, Entry>>,
}

impl Objects {
    const fn of(&self, group: Group) -> &HashMap<String, HashMap<String, Entry>> {
        match group {
            Group::Windlass => &self.own,
            Group::Keda => &self.keda,
        }
    }

    const fn of_mut(&mut self, group: Group) -> &mut HashMap<String, HashMap<String, Entry>> {
        match group {
            Group::Windlass => &mut self.own,
            Group::Keda => &mut self.keda,
        }
    }

    fn get(&self, group: Group, namespace: &str, name: &str) -> Option<&Entry> {
        self.of(group).get(namespace)?.get(name)
    }
}

/// The table. Share it by `Arc`.
#[derive(Debug)]
pub struct ServedTable {
    objects: RwLock<Objects>,
    answers: Option<UnboundedSender<Answered>>,
}

impl ServedTable {
    /// An empty table. `answers` hears of the answers armed by [`Self::watch_answer`].
    #[must_use]
    pub fn new(answers: Option<UnboundedSender<Answered>>) -> Arc<Self> {
        Arc::new(Self { objects: RwLock::default(), answers })
    }

    /// Sets all metrics of one object, in place of what was there. What is known of its answers stays.
    pub fn set(&self, key: &ObjectKey, metrics: Vec<ServedMetric>) {
        let mut objects = self.write();
        let objects = objects.of_mut(key.group);
        if let Some(entry) = objects.get_mut(&*key.namespace).and_then(|names| names.get_mut(&*key.name)) {
            entry.metrics = metrics;
            return;
        }
        let entry =
            Entry { metrics, any: AtomicI64::new(NEVER), by_hpa: AtomicI64::new(NEVER), awaited: AtomicU8::new(0) };
        objects.entry(key.namespace.to_string()).or_default().insert(key.name.to_string(), entry);
    }

    /// Forgets one object.
    pub fn remove(&self, key: &ObjectKey) {
        let mut objects = self.write();
        let objects = objects.of_mut(key.group);
        if let Some(names) = objects.get_mut(&*key.namespace) {
            names.remove(&*key.name);
            if names.is_empty() {
                objects.remove(&*key.namespace);
            }
        }
    }

    /// Forgets everything, answers too: for a replica that leads no more.
    pub fn clear(&self) {
        *self.write() = Objects::default();
    }

    /// The value of `metric` of the object that the (percent-decoded) label `selector` names, good at `now`. Notes the
    /// answer. A successful lookup allocates nothing.
    ///
    /// # Errors
    /// See [`LookupError`]; the HPA must see each of them as an error, never as 0 and never as an empty list.
    pub fn lookup(
        &self,
        namespace: &str,
        metric: &str,
        selector: &str,
        asker: Asker,
        now: Timestamp,
    ) -> Result<ServedValue, LookupError> {
        let (label, name) = selector::object_name(selector)?;
        let objects = self.read();
        let own = || objects.get(Group::Windlass, namespace, name).map(|entry| (Group::Windlass, entry));
        let found = match label {
            Group::Windlass => own(),
            // An own object where no object of KEDA's group has that name: an HPA that was made by KEDA may still ask.
            Group::Keda => objects.get(Group::Keda, namespace, name).map(|entry| (Group::Keda, entry)).or_else(own),
        };
        let Some((group, entry)) = found else {
            return Err(LookupError::UnknownObject { namespace: namespace.to_owned(), name: name.to_owned() });
        };
        let Some(served) = entry.metrics.iter().find(|served| served.metric_name.eq_ignore_ascii_case(metric)) else {
            return Err(LookupError::UnknownMetric {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                metric: metric.to_owned(),
            });
        };
        let value = served.good_at(now)?;
        if entry.note(asker, now)
            && let Some(answers) = &self.answers
        {
            // A receiver that is gone waits for nothing.
            let _ = answers.send(ObjectKey::of(group, namespace, name));
        }
        Ok(value)
    }

    /// When metrics of this object were last answered with a value; `None` if they never were.
    #[must_use]
    pub fn answered(&self, key: &ObjectKey) -> Option<HpaAnswer> {
        let objects = self.read();
        let entry = objects.get(key.group, &key.namespace, &key.name)?;
        let by_hpa = time_of(entry.by_hpa.load(Ordering::Acquire));
        Some(HpaAnswer { any: time_of(entry.any.load(Ordering::Acquire))?, by_hpa })
    }

    /// From now on the first answer to anybody, and the first to the HPA, are told to the receiver given to
    /// [`Self::new`]: one message if the HPA is the first to ask, two if somebody else is. Returns whether the object is
    /// served at all.
    pub fn watch_answer(&self, key: &ObjectKey) -> bool {
        let objects = self.read();
        let entry = objects.get(key.group, &key.namespace, &key.name);
        if let Some(entry) = entry {
            entry.awaited.store(AWAIT_ANY | AWAIT_HPA, Ordering::Release);
        }
        entry.is_some()
    }

    /// The number of objects served.
    #[must_use]
    pub fn len(&self) -> usize {
        let objects = self.read();
        GROUPS.iter().flat_map(|group| objects.of(*group).values()).map(HashMap::len).sum()
    }

    /// Whether nothing is served.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of everything that is served, ordered by namespace and name.
    #[must_use]
    pub fn snapshot(&self) -> Vec<ServedObject> {
        let objects = self.read();
        let mut all = Vec::new();
        for group in GROUPS {
            for (namespace, names) in objects.of(group) {
                all.extend(names.iter().map(|(name, entry)| ServedObject {
                    group,
                    namespace: namespace.clone(),
                    name: name.clone(),
                    metrics: entry.metrics.clone(),
                }));
            }
        }
        drop(objects);
        all.sort_by(|a, b| (&a.namespace, &a.name, a.group).cmp(&(&b.namespace, &b.name, b.group)));
        all
    }

    /// Sets every object of a snapshot, beside what is there.
    pub fn restore(&self, snapshot: Vec<ServedObject>) {
        for object in snapshot {
            self.set(&ObjectKey::of(object.group, &object.namespace, &object.name), object.metrics);
        }
    }

    // Nothing that holds the lock can panic half-way through a change, so a poisoned lock guards a whole table.
    fn read(&self) -> RwLockReadGuard<'_, Objects> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Objects> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServedMetric {
    fn good_at(&self, now: Timestamp) -> Result<ServedValue, LookupError> {
        let reason = match &self.value {
            Some(value) if value.milli >= 0 && value.is_fresh(now) => return Ok(*value),
            Some(value) if value.milli < 0 => "the figure is negative".to_owned(),
            Some(value) => {
                let trouble = self.trouble.as_deref().unwrap_or("no newer one has come");
                format!("the last good one is of {:.0}; {trouble}", value.at)
            }
            None => self.trouble.clone().unwrap_or_else(|| "it has not been read yet".to_owned()),
        };
        Err(LookupError::NoFreshReading { metric: self.metric_name.clone(), reason })
    }
}

impl Entry {
    /// Notes an answer; returns whether somebody waits for it.
    fn note(&self, asker: Asker, now: Timestamp) -> bool {
        let at = now.as_microsecond();
        self.any.store(at, Ordering::Release);
        let mut satisfied = AWAIT_ANY;
        if asker == Asker::Hpa {
            self.by_hpa.store(at, Ordering::Release);
            satisfied |= AWAIT_HPA;
        }
        // The plain load keeps the usual case, nobody waits, free of writes to a shared cache line.
        self.awaited.load(Ordering::Acquire) & satisfied != 0
            && self.awaited.fetch_and(!satisfied, Ordering::AcqRel) & satisfied != 0
    }
}

fn time_of(microseconds: i64) -> Option<Timestamp> {
    if microseconds == NEVER { None } else { Timestamp::from_microsecond(microseconds).ok() }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
