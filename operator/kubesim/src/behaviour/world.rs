//! The task behind the workload controllers: keeps what the change feed says in caches, remembers what must be looked at
//! and when, and calls the controllers. Never polls: without a change or a due timer it sleeps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use windlass_decision::Clock;

use super::job::job_index;
use super::json::{NsName, Owner, deleting, key, owner, uid};
use super::pods::{Pod, PodCache};
use super::served::ServedTargets;
use super::settings::Settings;
use super::store::{Change, ChangeKind, Feed, Kind, Refused, Store};

/// How long a controller waits after a request of its was refused.
const RETRY: Duration = Duration::from_secs(1);

/// Something a controller must look at. The order is the order of work: owners before what they own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    Namespace(String),
    Deployment(NsName),
    ReplicaSet(NsName),
    StatefulSet(NsName),
    Job(NsName),
}

/// Something that happens at a certain moment.
#[derive(Debug, Clone)]
pub(super) enum Timer {
    /// A controller asked to look again.
    Look(Work),
    /// The containers of a pod (name, uid) start; they are ready after that long, or never.
    Start(NsName, String, Option<Duration>),
    /// The pod becomes ready.
    Ready(NsName, String),
    /// The work of the pod is done.
    Done(NsName, String),
}

/// Children by the uid of their controller and their own name.
type Owned<T> = BTreeMap<String, BTreeMap<NsName, T>>;

/// The caches and what is to be done.
#[derive(Debug)]
pub(super) struct World {
    pub(super) store: Store,
    pub(super) settings: Settings,
    pub(super) seed: u64,
    pub(super) pods: PodCache,
    pub(super) objects: BTreeMap<Kind, BTreeMap<NsName, Arc<Value>>>,
    /// Pods and replica sets by the uid of their controller.
    pub(super) owned_pods: Owned<Arc<Pod>>,
    pub(super) owned_sets: Owned<()>,
    /// When a pod of a job (by uid) was last seen to have failed.
    pub(super) job_failures: BTreeMap<String, Instant>,
    clock: Arc<dyn Clock>,
    served: ServedTargets,
    dirty: BTreeSet<Work>,
    look_at: Option<Instant>,
    timers: BTreeMap<(Instant, u64), Timer>,
    timer_count: u64,
}

impl World {
    pub(super) fn new(
        store: Store,
        settings: Settings,
        seed: u64,
        pods: PodCache,
        clock: Arc<dyn Clock>,
        served: ServedTargets,
    ) -> Self {
        Self {
            store,
            settings,
            seed,
            pods,
            clock,
            served,
            objects: BTreeMap::new(),
            owned_pods: BTreeMap::new(),
            owned_sets: BTreeMap::new(),
            job_failures: BTreeMap::new(),
            dirty: BTreeSet::new(),
            look_at: None,
            timers: BTreeMap::new(),
            timer_count: 0,
        }
    }

    /// Works until it is cancelled or the cluster is gone.
    pub(super) async fn run(mut self, mut feed: Feed, stop: CancellationToken) {
        let sleep = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(sleep);
        loop {
            self.drain(&mut feed);
            let next = self.next_moment();
            if let Some(next) = next.filter(|next| sleep.deadline() != *next) {
                sleep.as_mut().reset(next);
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                change = feed.next() => match change {
                    Some(change) => self.see(&change),
                    None => return,
                },
                () = sleep.as_mut(), if next.is_some() => self.act(&mut feed),
            }
        }
    }

    /// The wall-clock time, as it is written into objects.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn object(&self, kind: Kind, key: &NsName) -> Option<Arc<Value>> {
        self.objects.get(&kind)?.get(key).cloned()
    }

    /// The pods whose controller has this uid, in the order of names.
    pub(super) fn pods_of(&self, owner_uid: &str) -> Vec<Arc<Pod>> {
        self.owned_pods.get(owner_uid).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Asks for `timer` after `delay`.
    pub(super) fn after(&mut self, delay: Duration, timer: Timer) {
        self.timer_count += 1;
        self.timers.insert((Instant::now() + delay, self.timer_count), timer);
    }

    /// Something changed that `work` must look at, after the controllers' reaction time.
    pub(super) fn mark(&mut self, work: Work) {
        self.dirty.insert(work);
        if self.look_at.is_none() {
            self.look_at = Some(Instant::now() + self.settings.reaction);
        }
    }

    /// Takes note of an answer: a refusal is looked at again later, unless the object is gone, which the feed will say.
    pub(super) fn settle<T>(&mut self, work: &Work, answer: Result<T, Refused>) -> Option<T> {
        match answer {
            Ok(value) => Some(value),
            Err(refused) => {
                tracing::debug!(?work, code = refused.code, error = %refused.message, "a controller's request was refused");
                if refused.code != 404 {
                    self.after(RETRY, Timer::Look(work.clone()));
                }
                None
            }
        }
    }

    fn next_moment(&self) -> Option<Instant> {
        let timer = self.timers.keys().next().map(|(at, _)| *at);
        match (timer, self.look_at) {
            (Some(timer), Some(look)) => Some(timer.min(look)),
            (timer, look) => timer.or(look),
        }
    }

    fn drain(&mut self, feed: &mut Feed) {
        while let Some(change) = feed.try_next() {
            self.see(&change);
        }
    }

    /// Everything that is due.
    fn act(&mut self, feed: &mut Feed) {
        let now = Instant::now();
        while let Some(entry) = self.timers.first_entry().filter(|entry| entry.key().0 <= now) {
            match entry.remove() {
                Timer::Look(work) => {
                    self.dirty.insert(work);
                    self.look_at = Some(now);
                }
                Timer::Start(pod, uid, ready_after) => self.start_pod(&pod, &uid, ready_after),
                Timer::Ready(pod, uid) => self.ready_pod(&pod, &uid),
                Timer::Done(pod, uid) => self.finish_pod(&pod, &uid),
            }
        }
        self.drain(feed);
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_at = None;
            for work in std::mem::take(&mut self.dirty) {
                // What the one before has written must be known to the next.
                self.drain(feed);
                match &work {
                    Work::Namespace(name) => self.sync_namespace(name),
                    Work::Deployment(key) => self.sync_deployment(&work, key),
                    Work::ReplicaSet(key) => self.sync_replica_set(&work, key),
                    Work::StatefulSet(key) => self.sync_stateful_set(&work, key),
                    Work::Job(key) => self.sync_job(&work, key),
                }
            }
        }
    }

    fn see(&mut self, change: &Change) {
        let object_key = key(&change.object);
        let gone = change.what == ChangeKind::Deleted;
        match change.kind {
            Kind::Pod => self.see_pod(object_key, change),
            Kind::Deployment | Kind::ReplicaSet | Kind::StatefulSet | Kind::Job => {
                let objects = self.objects.entry(change.kind).or_default();
                let before = if gone {
                    self.job_failures.remove(uid(&change.object));
                    objects.remove(&object_key)
                } else {
                    objects.insert(object_key.clone(), change.object.clone())
                };
                if change.kind == Kind::ReplicaSet {
                    self.see_replica_set(&object_key, change, before.as_deref());
                }
                let work = match change.kind {
                    Kind::Deployment => Work::Deployment(object_key),
                    Kind::ReplicaSet => Work::ReplicaSet(object_key),
                    Kind::StatefulSet => Work::StatefulSet(object_key),
                    _ => Work::Job(object_key),
                };
                // A job that is gone may leave pods whose finalizer nobody else takes away.
                if !gone || matches!(work, Work::Job(_)) {
                    self.mark(work);
                }
            }
            Kind::Namespace if !gone && deleting(&change.object) => self.mark(Work::Namespace(object_key.1)),
            _ => {}
        }
    }

    fn see_replica_set(&mut self, object_key: &NsName, change: &Change, before: Option<&Value>) {
        let gone = change.what == ChangeKind::Deleted;
        let present = owner(&change.object);
        if let Some(earlier) = before.and_then(owner).filter(|earlier| gone || present.as_ref() != Some(earlier)) {
            unfile(&mut self.owned_sets, &earlier.uid, object_key);
        }
        if let Some(present) = present {
            if !gone {
                self.owned_sets.entry(present.uid).or_default().insert(object_key.clone(), ());
            }
            self.mark(Work::Deployment((object_key.0.clone(), present.name)));
        }
    }

    fn see_pod(&mut self, object_key: NsName, change: &Change) {
        let gone = change.what == ChangeKind::Deleted;
        let pod = Arc::new(Pod::read(&change.object));
        let before = if gone { self.pods.remove(&object_key) } else { self.pods.insert(&object_key, pod.clone()) };
        if let Some(before) = before.as_ref().filter(|before| gone || before.owner != pod.owner) {
            for index in before.owner.iter().flat_map(|owner| indexes(owner, &object_key.0)) {
                unfile(&mut self.owned_pods, &index, &object_key);
            }
        }
        if let Some(owner) = &pod.owner {
            if !gone {
                for index in indexes(owner, &object_key.0) {
                    self.owned_pods.entry(index).or_default().insert(object_key.clone(), pod.clone());
                }
            }
            let owner_key = (object_key.0.clone(), owner.name.clone());
            match owner.kind.as_str() {
                "ReplicaSet" => self.mark(Work::ReplicaSet(owner_key)),
                "StatefulSet" => self.mark(Work::StatefulSet(owner_key)),
                "Job" => self.mark(Work::Job(owner_key)),
                _ => {}
            }
        }
        let serves = !gone && pod.serves();
        self.served.pod(&object_key, &pod, serves, &self.objects);
        let replaced = before.is_none_or(|before| before.uid != pod.uid);
        if !gone {
            self.see_kubelet(&object_key, &pod, replaced);
        }
    }
}

/// Where the pods of a controller are filed: by its uid, and those of a job by its name too.
fn indexes(owner: &Owner, namespace: &str) -> impl Iterator<Item = String> {
    let by_name = (owner.kind == "Job").then(|| job_index(&(namespace.to_owned(), owner.name.clone())));
    std::iter::once(owner.uid.clone()).chain(by_name)
}

fn unfile<T>(owned: &mut Owned<T>, owner_uid: &str, child: &NsName) {
    if let Some(children) = owned.get_mut(owner_uid) {
        children.remove(child);
        if children.is_empty() {
            owned.remove(owner_uid);
        }
    }
}

/// The uid of an object, owned.
pub(super) fn uid_of(object: &Value) -> String {
    uid(object).to_owned()
}
