//! The reading loop: one task per upstream, not per object. It says when to read and to whom a reading goes; it never
//! judges one, and never connects by itself.
//!
//! ```text
//!  set(object, subscriptions) ─▶ Demand of the upstream ──changed──▶ task: Plan ─▶ Upstream::read(batch)
//!                                (query ▶ subscribers)                 ▲                  │
//!                                                                      └── backoff, pace ─┴─▶ Sink::reading
//! ```
//!
//! Identical queries of one upstream are read once, at the shortest interval asked. Queries that are due are read in one
//! batch; failing ones in a batch of their own, so that a query that hangs delays no healthy one. Where all fail because
//! the upstream itself does, the upstream as a whole backs off.

mod plan;
mod task;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use windlass_decision::Outcome;

use crate::{Connection, Dependencies, Process, Query, Upstream, Zone};

/// Who asked: `namespace/name` of an object. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionKey(Arc<str>);

impl SubscriptionKey {
    /// The key of the object `name` in `namespace`.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self(format!("{namespace}/{name}").into())
    }

    /// `namespace/name`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for SubscriptionKey {
    fn from(key: &str) -> Self {
        Self(key.into())
    }
}

impl fmt::Display for SubscriptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How often a trigger is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    /// A person wrote it: it is kept, with at most half a second of jitter.
    Written(Duration),
    /// The source's own default: it stretches while the upstream answers slowly, to at most 30 s.
    Default(Duration),
}

impl Interval {
    /// How often, whoever said it.
    #[must_use]
    pub const fn duration(self) -> Duration {
        match self {
            Self::Written(duration) | Self::Default(duration) => duration,
        }
    }
}

/// One trigger of an object; its index is its place in the list given to [`Poller::set`].
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// Whose it is.
    pub zone: Zone,
    /// Where to ask.
    pub connection: Connection,
    /// What to ask.
    pub query: Query,
    /// How often.
    pub interval: Interval,
}

/// The times of one reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How often the query is read while all is well, that is without backoff.
    pub interval: Duration,
    /// How the reading went; `None` where the source sent the outcome by itself.
    pub asked: Option<Asked>,
}

/// How the round went in which a query was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// How much later than it was due it began.
    pub late: Duration,
    /// How long it took until the answer.
    pub took: Duration,
}

/// Where the readings go.
pub trait Sink: Send + Sync {
    /// Called for each subscriber of a query after each reading, from the upstream's task: it must be quick.
    fn reading(&self, subscriber: &SubscriptionKey, trigger_index: usize, outcome: Outcome, timing: Timing);
}

/// Makes the reader of a connection for those of a zone.
pub type Connect = dyn Fn(&Connection, &Zone) -> Arc<dyn Upstream> + Send + Sync;

/// What an upstream is known by.
type UpstreamKey = (Zone, Connection);

impl Subscription {
    fn upstream(&self) -> UpstreamKey {
        (self.zone.clone(), self.connection.clone())
    }
}

/// All reading loops. Dropping it ends them without a goodbye; [`Poller::shutdown`] says it.
pub struct Poller {
    connect: Arc<Connect>,
    sink: Arc<dyn Sink>,
    seed: u64,
    process: Process,
    state: Mutex<State>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<SubscriptionKey, Vec<Subscription>>,
    upstreams: BTreeMap<UpstreamKey, Handle>,
    /// How many upstreams were ever started: each has a generator of its own.
    started: u64,
}

struct Handle {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

/// What is asked of one upstream at present.
#[derive(Default)]
struct Shared {
    demand: Mutex<Demand>,
    changed: Notify,
}

type Demand = BTreeMap<Query, Arc<Vec<Subscriber>>>;

#[derive(Debug, Clone, PartialEq)]
struct Subscriber {
    key: SubscriptionKey,
    index: usize,
    interval: Interval,
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.state);
        f.debug_struct("Poller")
            .field("objects", &state.objects.len())
            .field("upstreams", &state.upstreams.len())
            .finish_non_exhaustive()
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Poller {
    /// A poller over the registry's sources. `seed` decides the jitter: the same seed gives the same poll times.
    #[must_use]
    pub fn new(dependencies: Dependencies, seed: u64, sink: Arc<dyn Sink>) -> Self {
        Self::with_connect(
            Arc::new(move |connection, zone| crate::connect(connection, &dependencies.within(zone))),
            seed,
            sink,
        )
    }

    /// A poller over upstreams that `connect` makes.
    #[must_use]
    pub fn with_connect(connect: Arc<Connect>, seed: u64, sink: Arc<dyn Sink>) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        Self { connect, sink, seed, process: Process::default(), state: Mutex::default(), stop, tasks }
    }

    /// The same poller, its tasks being those of `process`.
    #[must_use]
    pub fn within(mut self, process: Process) -> Self {
        self.process = process;
        self
    }

    /// Replaces all subscriptions of `key`. The same list again changes nothing. New queries are read within 20 ms. Never
    /// waits for an upstream. Must be called within a tokio runtime; does nothing after [`Poller::shutdown`].
    pub fn set(&self, key: SubscriptionKey, subscriptions: Vec<Subscription>) {
        if self.stop.is_cancelled() {
            return;
        }
        let mut state = lock(&self.state);
        if state.objects.get(&key).map_or(subscriptions.is_empty(), |present| *present == subscriptions) {
            return;
        }
        let (previous, mut touched) = (state.objects.remove(&key).unwrap_or_default(), Vec::new());
        for (index, subscription) in subscriptions.iter().enumerate() {
            let subscriber = Subscriber { key: key.clone(), index, interval: subscription.interval };
            let handle = self.upstream(&mut state, subscription.upstream());
            let mut demand = lock(&handle.shared.demand);
            let subscribers = Arc::make_mut(demand.entry(subscription.query.clone()).or_default());
            subscribers.retain(|present| present.key != key || present.index != index);
            subscribers.push(subscriber);
            drop(demand);
            touched.push(subscription.upstream());
        }
        for (index, subscription) in previous.iter().enumerate() {
            let kept = subscriptions
                .get(index)
                .is_some_and(|new| new.query == subscription.query && new.upstream() == subscription.upstream());
            if !kept {
                forget(&state, subscription, &key, index);
                touched.push(subscription.upstream());
            }
        }
        for upstream in &touched {
            settle(&mut state, upstream);
        }
        if !subscriptions.is_empty() {
            state.objects.insert(key, subscriptions);
        }
    }

    /// Ends all subscriptions of `key`; an upstream nobody asks for is closed. A reading that is being delivered at this
    /// moment may still arrive.
    pub fn remove(&self, key: &SubscriptionKey) {
        self.set(key.clone(), Vec::new());
    }

    /// Ends all loops and closes all upstreams; waits at most some seconds for those that hang.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let mut state = lock(&self.state);
        state.upstreams.clear();
        state.objects.clear();
    }

    /// The upstream of a connection, started if need be.
    fn upstream<'s>(&self, state: &'s mut State, key: UpstreamKey) -> &'s Handle {
        let State { upstreams, started, .. } = state;
        upstreams.entry(key).or_insert_with_key(|(zone, connection)| {
            let shared = Arc::new(Shared::default());
            let stop = self.stop.child_token();
            let seed = self.seed.wrapping_add(*started);
            *started += 1;
            let upstream = (self.connect)(connection, zone);
            let process = self.process.clone();
            let task = task::Task::new(upstream, Arc::clone(&shared), Arc::clone(&self.sink), seed, process);
            self.tasks.spawn(self.process.own(task.run(stop.clone())));
            Handle { shared, stop }
        })
    }
}

/// Takes one subscription out of its upstream's demand.
fn forget(state: &State, subscription: &Subscription, key: &SubscriptionKey, index: usize) {
    let Some(handle) = state.upstreams.get(&subscription.upstream()) else { return };
    let mut demand = lock(&handle.shared.demand);
    let Some(subscribers) = demand.get_mut(&subscription.query) else { return };
    let subscribers = Arc::make_mut(subscribers);
    subscribers.retain(|present| present.key != *key || present.index != index);
    if subscribers.is_empty() {
        demand.remove(&subscription.query);
    }
}

/// Tells an upstream's task of the change, or ends it where nobody asks any more.
fn settle(state: &mut State, upstream: &UpstreamKey) {
    let Some(handle) = state.upstreams.get(upstream) else { return };
    if lock(&handle.shared.demand).is_empty() {
        handle.stop.cancel();
        state.upstreams.remove(upstream);
    } else {
        handle.shared.changed.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
