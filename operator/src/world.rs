//! What the operator sees of the cluster: scaled objects, their HPAs and their targets, each kind by one watch that runs
//! whether this process leads or not, so that a take-over starts from a full picture. It never writes and never decides.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use windlass_crd::{Group, Target};
use windlass_sources::Process;

use crate::backoff::WatchBackoff;
use crate::cache::{Cache, Scope, keep};
use crate::deadline::answered_in_time;
use crate::keda::{Keda, Sign};
use crate::key::ObjectKey;
use crate::owners::Owners;
use crate::queue::Queue;
use crate::seen::{ScaleTarget, SeenHpa, SeenObject, SeenTarget};

/// Where the plural name of a kind comes from.
const BUILT_IN: &[(&str, &str, &str)] = &[
    ("", "ReplicationController", "replicationcontrollers"),
    ("apps", "Deployment", "deployments"),
    ("apps", "ReplicaSet", "replicasets"),
    ("apps", "StatefulSet", "statefulsets"),
];

/// How long it is waited for what is known of KEDA itself.
const KEDA_PATIENCE: Duration = Duration::from_secs(5);

/// How long one discovery request may take.
const DISCOVERY_DEADLINE: Duration = Duration::from_secs(5);

/// A kind of target.
pub type Kind = (String, String, String);

/// See the module.
#[derive(Debug)]
pub struct World {
    client: ClientBox,
    namespaces: Vec<Option<String>>,
    groups: Vec<Group>,
    /// The scaled objects.
    pub objects: Arc<Cache<SeenObject>>,
    /// The HPAs that carry our label.
    pub hpas: Arc<Cache<SeenHpa>>,
    /// What is known of KEDA itself.
    pub keda: Arc<Keda>,
    owners: Mutex<Owners>,
    targets: Mutex<BTreeMap<Kind, Arc<TargetKind>>>,
    queue: Arc<Queue>,
    tasks: TaskTracker,
    stop: CancellationToken,
    process: Process,
    seeds: AtomicU64,
}

/// One kind of target, and the objects that are scaled of it.
#[derive(Debug)]
pub struct TargetKind {
    cache: Arc<Cache<SeenTarget>>,
    resource: Mutex<Option<Result<ApiResource, String>>>,
    scaled_by: Mutex<BTreeMap<ObjectKey, Vec<ObjectKey>>>,
}

/// What is known of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looked {
    /// It is there.
    Found(Arc<SeenTarget>, ApiResource),
    /// It is not there.
    Missing,
    /// Its kind is not there, or cannot be listed.
    UnknownKind(String),
    /// Its kind has not been listed yet.
    NotYet,
}

struct ClientBox(Client);

impl std::fmt::Debug for ClientBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl World {
    /// Starts watching scaled objects of `groups` and their HPAs, in `namespaces` or, if there are none, in all. Changes
    /// are marked in `queue`. The watches end with `stop` and are tasks of `process`; `seed` spreads their retries.
    #[must_use]
    pub fn start(
        client: Client,
        (groups, namespaces): (Vec<Group>, Vec<String>),
        queue: Arc<Queue>,
        stop: CancellationToken,
        process: &Process,
        seed: u64,
    ) -> Arc<Self> {
        let namespaces: Vec<_> =
            if namespaces.is_empty() { vec![None] } else { namespaces.into_iter().map(Some).collect() };
        let scopes: Vec<_> = groups.iter().flat_map(|group| scopes(*group, &namespaces)).collect();
        let world = Arc::new(Self {
            client: ClientBox(answered_in_time(client)),
            objects: Arc::new(Cache::new(&scopes)),
            hpas: Arc::new(Cache::new(&scopes)),
            keda: Arc::new(Keda::new()),
            owners: Mutex::default(),
            namespaces,
            groups,
            targets: Mutex::default(),
            queue,
            tasks: TaskTracker::new(),
            stop,
            process: process.clone(),
            seeds: AtomicU64::new(seed),
        });
        world.watch_objects();
        world.watch_hpas();
        if world.groups.contains(&Group::Keda) {
            world.watch_keda();
        }
        world
    }

    fn watch_keda(self: &Arc<Self>) {
        let (keda, client) = (self.keda.clone(), self.client.0.clone());
        self.spawn(async move { keda.look_out(client).await });
        let (keda, client, backoff) = (self.keda.clone(), self.client.0.clone(), self.next_backoff());
        self.spawn(async move { keda.watch_type(client, backoff).await });
    }

    /// The sign that KEDA itself lives, where its objects are served and there is one.
    pub fn kedas_sign(&self, now: Timestamp) -> Option<Sign> {
        if self.groups.contains(&Group::Keda) { self.keda.sign(now) } else { None }
    }

    /// Waits for the watches to end, after `stop`.
    pub async fn stopped(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Waits until scaled objects and HPAs are listed.
    pub async fn listed(&self) {
        self.objects.listed().await;
        self.hpas.listed().await;
        if self.groups.contains(&Group::Keda) && tokio::time::timeout(KEDA_PATIENCE, self.keda.listed()).await.is_err()
        {
            tracing::warn!("KEDA's Lease and resource type could not be looked for; check the operator's rights");
        }
    }

    /// The HPAs that were made for this very object, under whatever names.
    pub fn hpas_of(&self, key: &ObjectKey, uid: &str) -> Vec<Arc<SeenHpa>> {
        let owners = self.owners();
        let seen = owners.of(key).filter_map(|hpa| self.hpas.get(hpa));
        seen.filter(|hpa| hpa.meta.owner_references.iter().flatten().any(|owner| owner.uid == uid)).collect()
    }

    fn owners(&self) -> MutexGuard<'_, Owners> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the target of `key`. The first question about a kind starts its watch.
    pub fn target(self: &Arc<Self>, key: &ObjectKey, target: &Target) -> Looked {
        let kind = self.kind(target);
        let at = ObjectKey::new(&key.namespace, &target.name);
        {
            let mut scaled_by = kind.scaled_by.lock().unwrap_or_else(PoisonError::into_inner);
            let owners = scaled_by.entry(at.clone()).or_default();
            if !owners.contains(key) {
                owners.push(key.clone());
            }
        }
        kind.look(&at)
    }

    /// What is known of a target, without a wish to hear of its changes.
    pub fn peek(self: &Arc<Self>, namespace: &str, target: &Target) -> Looked {
        self.kind(target).look(&ObjectKey::new(namespace, &target.name))
    }

    /// Other scaled objects that were ever seen to scale the same target.
    pub fn rivals(&self, key: &ObjectKey, target: &Target) -> Vec<ObjectKey> {
        let kind = self.kind_if_known(target);
        let at = ObjectKey::new(&key.namespace, &target.name);
        let Some(kind) = kind else { return Vec::new() };
        let scaled_by = kind.scaled_by.lock().unwrap_or_else(PoisonError::into_inner);
        scaled_by.get(&at).into_iter().flatten().filter(|other| *other != key).cloned().collect()
    }

    /// Forgets that `key` scales `target`, and has the others that do looked at.
    pub fn release(&self, key: &ObjectKey, target: &Target) {
        let Some(kind) = self.kind_if_known(target) else { return };
        let at = ObjectKey::new(&key.namespace, &target.name);
        let mut scaled_by = kind.scaled_by.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owners) = scaled_by.get_mut(&at) {
            owners.retain(|owner| owner != key);
            owners.iter().for_each(|owner| self.queue.mark(owner));
            if owners.is_empty() {
                scaled_by.remove(&at);
            }
        }
    }

    fn kind_if_known(&self, target: &Target) -> Option<Arc<TargetKind>> {
        let name = (target.group.clone(), target.version.clone(), target.kind.clone());
        self.targets.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned()
    }

    fn kind(self: &Arc<Self>, target: &Target) -> Arc<TargetKind> {
        let name = (target.group.clone(), target.version.clone(), target.kind.clone());
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kind) = targets.get(&name) {
            return kind.clone();
        }
        let kind = Arc::new(TargetKind {
            cache: Arc::new(Cache::new(&scopes(Group::default(), &self.namespaces))),
            resource: Mutex::default(),
            scaled_by: Mutex::default(),
        });
        targets.insert(name.clone(), kind.clone());
        drop(targets);
        let world = self.clone();
        let watched = kind.clone();
        self.spawn(async move { world.watch_kind(name, watched).await });
        kind
    }

    /// A backoff for one more watch.
    fn next_backoff(&self) -> WatchBackoff {
        WatchBackoff::new(self.seeds.fetch_add(1, Ordering::Relaxed))
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(self.process.own(async move { stop.run_until_cancelled(task).await }));
    }

    async fn watch_kind(self: Arc<Self>, name: Kind, kind: Arc<TargetKind>) {
        let (group, version_name, kind_name) = name;
        let mut delay = Duration::from_millis(500);
        let resource = loop {
            match self.resource(&group, &version_name, &kind_name).await {
                Ok(resource) => break resource,
                Err(why) => {
                    tracing::warn!(group, version = version_name, kind = kind_name, why, "unknown kind of target");
                    *kind.resource.lock().unwrap_or_else(PoisonError::into_inner) = Some(Err(why));
                    kind.mark_all(&self.queue);
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(Duration::from_secs(60));
                }
            }
        };
        *kind.resource.lock().unwrap_or_else(PoisonError::into_inner) = Some(Ok(resource.clone()));
        kind.mark_all(&self.queue);
        for scope in scopes(Group::default(), &self.namespaces) {
            let api: Api<ScaleTarget> = match &scope.namespace {
                Some(namespace) => Api::namespaced_with(self.client.0.clone(), namespace, &resource),
                None => Api::all_with(self.client.0.clone(), &resource),
            };
            let (kind, queue, what) = (kind.clone(), self.queue.clone(), resource.plural.clone());
            let watch = (watch_config(), self.next_backoff());
            self.spawn(async move {
                let changed = |at: &ObjectKey| kind.mark(at, &queue);
                keep(&what, (scope, api), watch, kind.cache.clone(), SeenTarget::from, changed).await;
            });
        }
    }

    async fn resource(&self, group: &str, version: &str, kind: &str) -> Result<ApiResource, String> {
        let gvk = GroupVersionKind::gvk(group, version, kind);
        if let Some((_, _, plural)) = BUILT_IN.iter().find(|(g, k, _)| *g == group && *k == kind) {
            return Ok(ApiResource::from_gvk_with_plural(&gvk, plural));
        }
        let found = tokio::time::timeout(DISCOVERY_DEADLINE, kube::discovery::pinned_kind(&self.client.0, &gvk)).await;
        match found {
            Ok(Ok((resource, _))) => Ok(resource),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the API server did not answer discovery in time".to_owned()),
        }
    }

    fn watch_objects(self: &Arc<Self>) {
        for scope in self.groups.iter().flat_map(|group| scopes(*group, &self.namespaces)) {
            let resource = scaled_objects(scope.group);
            let api: Api<DynamicObject> = match &scope.namespace {
                Some(namespace) => Api::namespaced_with(self.client.0.clone(), namespace, &resource),
                None => Api::all_with(self.client.0.clone(), &resource),
            };
            let (cache, queue) = (self.objects.clone(), self.queue.clone());
            let watch = (watch_config(), self.next_backoff());
            let what = format!("{}.{}", resource.plural, resource.group);
            self.spawn(async move {
                keep(&what, (scope, api), watch, cache, SeenObject::from, |key| queue.mark(key)).await;
            });
        }
    }

    fn watch_hpas(self: &Arc<Self>) {
        for scope in self.groups.iter().flat_map(|group| scopes(*group, &self.namespaces)) {
            let group = scope.group;
            let api: Api<HorizontalPodAutoscaler> = match &scope.namespace {
                Some(namespace) => Api::namespaced(self.client.0.clone(), namespace),
                None => Api::all(self.client.0.clone()),
            };
            let cache = self.hpas.clone();
            let watch = (watch_config().labels(group.name_label()), self.next_backoff());
            let world = self.clone();
            self.spawn(async move {
                let changed = |at: &ObjectKey| {
                    let hpa = world.hpas.get(at);
                    let owner = hpa.as_ref().and_then(|hpa| hpa.owner(group));
                    let owner = owner.map(|owner| ObjectKey::of(group, &at.namespace, owner));
                    world.owners().set(at, owner).iter().for_each(|owner| world.queue.mark(owner));
                };
                keep("horizontalpodautoscalers", (scope, api), watch, cache, SeenHpa::from, changed).await;
            });
        }
    }
}

/// The resource of the scaled objects of `group`.
pub fn scaled_objects(group: Group) -> ApiResource {
    let gvk = GroupVersionKind::gvk(group.name(), windlass_crd::VERSION, "ScaledObject");
    ApiResource::from_gvk_with_plural(&gvk, "scaledobjects")
}

/// KEDA's kinds may not be installed; ours are.
fn scopes(group: Group, namespaces: &[Option<String>]) -> Vec<Scope> {
    let scope =
        |namespace: &Option<String>| Scope { group, namespace: namespace.clone(), is_optional: group == Group::Keda };
    namespaces.iter().map(scope).collect()
}

impl TargetKind {
    fn look(&self, at: &ObjectKey) -> Looked {
        let resource = self.resource.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match resource {
            None => Looked::NotYet,
            Some(Err(why)) => Looked::UnknownKind(why),
            Some(Ok(_)) if !self.cache.is_listed() => Looked::NotYet,
            Some(Ok(resource)) => match self.cache.get(at) {
                Some(seen) => Looked::Found(seen, resource),
                None => Looked::Missing,
            },
        }
    }

    fn mark(&self, at: &ObjectKey, queue: &Queue) {
        let scaled_by = self.scaled_by.lock().unwrap_or_else(PoisonError::into_inner);
        scaled_by.get(at).into_iter().flatten().for_each(|key| queue.mark(key));
    }

    fn mark_all(&self, queue: &Queue) {
        let scaled_by = self.scaled_by.lock().unwrap_or_else(PoisonError::into_inner);
        scaled_by.values().flatten().for_each(|key| queue.mark(key));
    }
}

/// Watches end after a while by themselves, so that a half-open connection is noticed.
fn watch_config() -> watcher::Config {
    watcher::Config::default().timeout(240)
}
