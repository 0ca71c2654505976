//! Every queue of the simulated world by name: what a simulated broker reads, what a test pushes to, what usage is derived
//! from. A queue is moved to the present when it is looked at or changed; no task runs for it. Knows no Kubernetes objects:
//! it is told how many pods of a target are ready.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::arrivals::{ArrivalProcess, mix, mix_text};
use super::rate::InvalidRate;
use super::workload::{Figures, Service, Workload};

/// The name of a queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueueKey {
    /// The broker it is on, as its source names it.
    pub broker: String,
    /// The virtual host; empty where the broker has none.
    pub vhost: String,
    /// Its own name.
    pub queue: String,
}

impl QueueKey {
    /// A name out of its parts.
    #[must_use]
    pub fn new(broker: &str, vhost: &str, queue: &str) -> Self {
        Self { broker: broker.to_owned(), vhost: vhost.to_owned(), queue: queue.to_owned() }
    }
}

impl std::fmt::Display for QueueKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.broker, self.vhost, self.queue)
    }
}

/// The object whose pods work on a queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TargetKey {
    /// Its namespace.
    pub namespace: String,
    /// `Deployment`, `StatefulSet`, ...
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl TargetKey {
    /// A name out of its parts.
    #[must_use]
    pub fn new(namespace: &str, kind: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), kind: kind.to_owned(), name: name.to_owned() }
    }
}

/// Why something cannot be done with a queue.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LoadError {
    /// The name is not known.
    #[error("queue {0} is not known: add it first")]
    Unknown(QueueKey),
    /// The name is taken.
    #[error("queue {0} is already there: use another name, or change its arrivals")]
    Exists(QueueKey),
    /// A figure cannot be used.
    #[error("queue {key}: {source}")]
    Invalid {
        /// The queue.
        key: QueueKey,
        /// What is wrong with it.
        source: InvalidRate,
    },
}

/// Every queue, on tokio's clock. Clones share the same queues.
#[derive(Debug, Clone)]
pub struct Loads {
    inner: Arc<Mutex<Inner>>,
    start: Instant,
    seed: u64,
}

#[derive(Debug, Default)]
struct Inner {
    queues: BTreeMap<QueueKey, Entry>,
    /// The ready pods of every target that was ever told of, so that a queue added later knows them.
    pods: BTreeMap<TargetKey, u32>,
    by_target: BTreeMap<TargetKey, Vec<QueueKey>>,
}

#[derive(Debug)]
struct Entry {
    workload: Workload,
    target: Option<TargetKey>,
    /// How often its arrivals were set: a new process draws new numbers.
    generation: u64,
}

impl Loads {
    /// No queues yet. The common time 0 is now.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { inner: Arc::default(), start: Instant::now(), seed }
    }

    /// Adds an empty queue on which the pods of `target` work; without one nobody does.
    ///
    /// # Errors
    /// The name is taken, or a figure cannot be used.
    pub fn add(
        &self,
        key: QueueKey,
        target: Option<TargetKey>,
        service: Service,
        process: &ArrivalProcess,
    ) -> Result<(), LoadError> {
        let now = self.now();
        let mut inner = self.lock();
        if inner.queues.contains_key(&key) {
            return Err(LoadError::Exists(key));
        }
        let made = Workload::new(process, service, self.seed_of(&key, 0), now);
        let mut workload = made.map_err(|source| LoadError::Invalid { key: key.clone(), source })?;
        if let Some(target) = &target {
            workload.set_pods(now, inner.pods.get(target).copied().unwrap_or(0));
            inner.by_target.entry(target.clone()).or_default().push(key.clone());
        }
        inner.queues.insert(key, Entry { workload, target, generation: 0 });
        Ok(())
    }

    /// The messages that wait in a queue, as a broker counts them (what pods hold is not among them). `None`: there is no
    /// such queue.
    #[must_use]
    pub fn backlog(&self, key: &QueueKey) -> Option<u64> {
        self.figures(key).map(|figures| figures.ready)
    }

    /// All figures of a queue, now. `None`: there is no such queue.
    #[must_use]
    pub fn figures(&self, key: &QueueKey) -> Option<Figures> {
        let now = self.now();
        let mut inner = self.lock();
        let workload = &mut inner.queues.get_mut(key)?.workload;
        workload.advance(now);
        workload.exists().then(|| workload.figures())
    }

    /// Every queue that was added, in the order of names, also those that do not exist at present.
    #[must_use]
    pub fn keys(&self) -> Vec<QueueKey> {
        self.lock().queues.keys().cloned().collect()
    }

    /// The target of a queue.
    #[must_use]
    pub fn target(&self, key: &QueueKey) -> Option<TargetKey> {
        self.lock().queues.get(key)?.target.clone()
    }

    /// Puts messages in at once.
    ///
    /// # Errors
    /// The name is not known.
    pub fn push(&self, key: &QueueKey, messages: u64) -> Result<(), LoadError> {
        self.change(key, |entry, now| {
            entry.workload.push(now, messages);
            Ok(())
        })
    }

    /// Throws every message away and says how many there were.
    ///
    /// # Errors
    /// The name is not known.
    pub fn purge(&self, key: &QueueKey) -> Result<u64, LoadError> {
        self.change(key, |entry, now| Ok(entry.workload.purge(now)))
    }

    /// Deletes the queue with what is in it, or makes it again, empty. What arrives in between is lost.
    ///
    /// # Errors
    /// The name is not known.
    pub fn set_exists(&self, key: &QueueKey, exists: bool) -> Result<(), LoadError> {
        self.change(key, |entry, now| {
            entry.workload.set_exists(now, exists);
            Ok(())
        })
    }

    /// Changes how messages arrive; now is time 0 of the new process.
    ///
    /// # Errors
    /// The name is not known, or a figure cannot be used (nothing changes then).
    pub fn set_arrivals(&self, key: &QueueKey, process: &ArrivalProcess) -> Result<(), LoadError> {
        self.change(key, |entry, now| {
            let seed = self.seed_of(key, entry.generation + 1);
            entry.workload.set_arrivals(now, process, seed)?;
            entry.generation += 1;
            Ok(())
        })
    }

    /// Changes what a pod can do.
    ///
    /// # Errors
    /// The name is not known, or a figure cannot be used (nothing changes then).
    pub fn set_service(&self, key: &QueueKey, service: Service) -> Result<(), LoadError> {
        self.change(key, |entry, now| entry.workload.set_service(now, service))
    }

    /// Tells how many pods of a target are ready. Every queue of the target gets all of them.
    pub fn set_ready(&self, target: &TargetKey, pods: u32) {
        let now = self.now();
        let mut inner = self.lock();
        let Inner { queues, pods: known, by_target } = &mut *inner;
        if known.get(target).copied().unwrap_or(0) == pods {
            return;
        }
        known.insert(target.clone(), pods);
        for key in by_target.get(target).into_iter().flatten() {
            if let Some(entry) = queues.get_mut(key) {
                entry.workload.set_pods(now, pods);
            }
        }
    }

    /// How much of what the pods of a target could have done they did, 0 to 1, over the last whole interval between two
    /// measurements of usage. With several queues, that of the busiest. `None`: no queue names this target.
    #[must_use]
    pub fn utilisation(&self, target: &TargetKey) -> Option<f64> {
        let now = self.now();
        let mut inner = self.lock();
        let Inner { queues, by_target, .. } = &mut *inner;
        let mut busiest: Option<f64> = None;
        for key in by_target.get(target)? {
            if let Some(entry) = queues.get_mut(key) {
                entry.workload.advance(now);
                let utilisation = entry.workload.figures().utilisation;
                busiest = Some(busiest.map_or(utilisation, |before| before.max(utilisation)));
            }
        }
        busiest
    }

    /// The time since the common time 0.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn change<T>(
        &self,
        key: &QueueKey,
        change: impl FnOnce(&mut Entry, u64) -> Result<T, InvalidRate>,
    ) -> Result<T, LoadError> {
        let now = self.now();
        let mut inner = self.lock();
        let entry = inner.queues.get_mut(key).ok_or_else(|| LoadError::Unknown(key.clone()))?;
        change(entry, now).map_err(|source| LoadError::Invalid { key: key.clone(), source })
    }

    /// Out of the name, so that a queue's arrivals do not depend on which others there are.
    fn seed_of(&self, key: &QueueKey, generation: u64) -> u64 {
        mix(mix_text(self.seed, &key.to_string()), generation)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves the figures as they were: they stay readable.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
