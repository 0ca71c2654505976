//! The HPA controller: when each autoscaler is synced, what it is shown, and what is written of the outcome. The algorithm
//! is [`windlass_decision::hpa`]; nothing is calculated here.
//!
//! The queue is the real one's: whatever asks for a sync (an object that is new or changed, the informer's resync, the end
//! of a sync) asks for one `sync_period` from now, and an earlier request stands. An object that is asked for while it is
//! being synced is synced again at once after that.

mod convert;
mod events;
mod metrics;
mod status;
mod sync;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use windlass_decision::hpa::State;

use self::sync::Context;
use super::json::{NsName, key};
use super::pod_metrics::PodMetrics;
use super::pods::PodCache;
use super::settings::Settings;
use super::store::{ChangeKind, Feed, Kind};
use crate::api::Cluster;

/// As whom the controller asks and writes.
const USER: &str = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";

/// See the module.
#[derive(Debug)]
pub(super) struct Controller {
    context: Arc<Context>,
    period: Duration,
    started: Instant,
    known: BTreeMap<NsName, Known>,
    due: BTreeSet<(Instant, NsName)>,
    ready: VecDeque<NsName>,
}

/// What is known of the object of a name. Another object of the same name that comes before the next sync inherits it, as
/// in the real controller, which keeps its memory by name and forgets at a sync that finds nothing.
#[derive(Debug, Default)]
struct Known {
    object: Option<Arc<Value>>,
    state: State,
    due: Option<Instant>,
    running: bool,
    again: bool,
}

/// The end of a sync.
struct Done {
    key: NsName,
    next: Option<State>,
}

impl Controller {
    pub(super) fn new(cluster: Cluster, settings: Settings, pods: PodCache, pod_metrics: PodMetrics) -> Self {
        let period = settings.hpa.sync_period.max(Duration::from_millis(1));
        let context = Arc::new(Context::new(cluster, settings, pods, pod_metrics));
        Self {
            context,
            period,
            started: Instant::now(),
            known: BTreeMap::new(),
            due: BTreeSet::new(),
            ready: VecDeque::new(),
        }
    }

    /// Works until it is cancelled or the cluster is gone.
    pub(super) async fn run(mut self, mut feed: Feed, stop: CancellationToken) {
        let mut syncs: FuturesUnordered<BoxFuture<'static, Done>> = FuturesUnordered::new();
        loop {
            let next = self.due.first().map(|(at, _)| *at);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                change = feed.next() => match change {
                    Some(change) if change.kind == Kind::Hpa => self.see(&change.object, change.what),
                    Some(_) => {}
                    None => return,
                },
                Some(done) = syncs.next() => self.settle(done),
                () = sleep_until(next.unwrap_or(self.started)), if next.is_some() => self.take_due(),
            }
            while syncs.len() < self.context.workers() {
                let Some(key) = self.ready.pop_front() else { break };
                if let Some(sync) = self.begin(key) {
                    syncs.push(sync);
                }
            }
        }
    }

    fn see(&mut self, object: &Arc<Value>, what: ChangeKind) {
        let key = key(object);
        if what == ChangeKind::Deleted {
            self.context.forget_selector(&key);
            if let Some(known) = self.known.get_mut(&key) {
                known.object = None;
            }
            return;
        }
        self.known.entry(key.clone()).or_default().object = Some(object.clone());
        self.ask(&key, Instant::now() + self.period);
    }

    /// Asks for a sync at `at`; an earlier request stands.
    fn ask(&mut self, key: &NsName, at: Instant) {
        let Some(known) = self.known.get_mut(key) else { return };
        if known.due.is_some_and(|before| before <= at) {
            return;
        }
        if let Some(before) = known.due.replace(at) {
            self.due.remove(&(before, key.clone()));
        }
        self.due.insert((at, key.clone()));
    }

    /// Moves what is due to the queue of the workers.
    fn take_due(&mut self) {
        let now = Instant::now();
        while self.due.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = self.due.pop_first() else { break };
            let Some(known) = self.known.get_mut(&key) else { continue };
            known.due = None;
            if known.running {
                known.again = true;
            } else if !self.ready.contains(&key) {
                self.ready.push_back(key);
            }
        }
    }

    fn begin(&mut self, key: NsName) -> Option<BoxFuture<'static, Done>> {
        let known = self.known.get_mut(&key)?;
        let Some(object) = known.object.clone() else {
            if let Some(due) = known.due {
                self.due.remove(&(due, key.clone()));
            }
            self.known.remove(&key);
            return None;
        };
        known.running = true;
        let (context, state) = (self.context.clone(), known.state.clone());
        // The informer presents every object again each period, also while a sync hangs.
        let resync = self.next_resync();
        self.ask(&key, resync + self.period);
        Some(Box::pin(async move {
            let next = context.reconcile(&key, &object, &state).await;
            Done { key, next }
        }))
    }

    fn settle(&mut self, done: Done) {
        let Some(known) = self.known.get_mut(&done.key) else { return };
        known.running = false;
        if let Some(next) = done.next {
            known.state = next;
        }
        if std::mem::take(&mut known.again) {
            self.ready.push_back(done.key.clone());
        }
        self.ask(&done.key, Instant::now() + self.period);
    }

    /// When the informer presents every object the next time.
    fn next_resync(&self) -> Instant {
        let now = Instant::now();
        let periods = now.duration_since(self.started).as_nanos() / self.period.as_nanos() + 1;
        let since = self.period.saturating_mul(u32::try_from(periods).unwrap_or(u32::MAX));
        self.started + since
    }
}
