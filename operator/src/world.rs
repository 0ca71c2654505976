//! What the operator sees of the cluster: scaled objects, their HPAs and their targets, each kind by one watch that runs
//! whether this process leads or not, so that a take-over starts from a full picture. It never writes and never decides.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ObjectMeta};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use windlass_crd::{NAME_LABEL, ScaledObjectSpec, ScaledObjectStatus, Target};
use windlass_decision::Hand;
use windlass_sources::Process;

use crate::backoff::WatchBackoff;
use crate::cache::{Cache, Scope, keep, version};
use crate::deadline::answered_in_time;
use crate::key::ObjectKey;
use crate::owners::Owners;
use crate::queue::Queue;

/// A scaled object as it was last seen.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenObject {
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub version: u64,
    /// Its generation.
    pub generation: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// What a person has asked for by annotations, or why that cannot be understood.
    pub hand: Result<Hand, String>,
    /// Its spec, or why it cannot be understood.
    pub spec: Result<ScaledObjectSpec, String>,
    /// Its status; an unreadable one counts as empty.
    pub status: ScaledObjectStatus,
}

/// An HPA as it was last seen.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenHpa {
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub version: u64,
    /// Its metadata, without managed fields.
    pub meta: ObjectMeta,
    /// Its spec.
    pub spec: HorizontalPodAutoscalerSpec,
}

/// A target as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenTarget {
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub version: u64,
    /// `spec.replicas`, 1 where it is not given, as Kubernetes defaults it.
    pub replicas: u32,
    /// `status.readyReplicas`.
    pub ready: u32,
}

/// Where the plural name of a kind comes from.
const BUILT_IN: &[(&str, &str, &str)] = &[
    ("", "ReplicationController", "replicationcontrollers"),
    ("apps", "Deployment", "deployments"),
    ("apps", "ReplicaSet", "replicasets"),
    ("apps", "StatefulSet", "statefulsets"),
];

/// How long one discovery request may take.
const DISCOVERY_DEADLINE: Duration = Duration::from_secs(5);

/// A kind of target.
pub type Kind = (String, String, String);

/// See the module.
#[derive(Debug)]
pub struct World {
    client: ClientBox,
    scopes: Vec<Scope>,
    /// The scaled objects.
    pub objects: Arc<Cache<SeenObject>>,
    /// The HPAs that carry our label.
    pub hpas: Arc<Cache<SeenHpa>>,
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
    /// Starts watching scaled objects and HPAs, in `namespaces` or, if there are none, in all. Changes are marked in
    /// `queue`. The watches end with `stop` and are tasks of `process`; `seed` spreads their retries.
    #[must_use]
    pub fn start(
        client: Client,
        namespaces: Vec<String>,
        queue: Arc<Queue>,
        stop: CancellationToken,
        process: &Process,
        seed: u64,
    ) -> Arc<Self> {
        let scopes = if namespaces.is_empty() { vec![None] } else { namespaces.into_iter().map(Some).collect() };
        let world = Arc::new(Self {
            client: ClientBox(answered_in_time(client)),
            objects: Arc::new(Cache::new(&scopes)),
            hpas: Arc::new(Cache::new(&scopes)),
            owners: Mutex::default(),
            scopes,
            targets: Mutex::default(),
            queue,
            tasks: TaskTracker::new(),
            stop,
            process: process.clone(),
            seeds: AtomicU64::new(seed),
        });
        world.watch_objects();
        world.watch_hpas();
        world
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
        let resource = kind.resource.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match resource {
            None => Looked::NotYet,
            Some(Err(why)) => Looked::UnknownKind(why),
            Some(Ok(_)) if !kind.cache.is_listed() => Looked::NotYet,
            Some(Ok(resource)) => match kind.cache.get(&at) {
                Some(seen) => Looked::Found(seen, resource),
                None => Looked::Missing,
            },
        }
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
            cache: Arc::new(Cache::new(&self.scopes)),
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
        for scope in self.scopes.clone() {
            let api: Api<ScaleTarget> = match &scope {
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
        let resource = ApiResource::erase::<windlass_crd::ScaledObject>(&());
        for scope in self.scopes.clone() {
            let api: Api<DynamicObject> = match &scope {
                Some(namespace) => Api::namespaced_with(self.client.0.clone(), namespace, &resource),
                None => Api::all_with(self.client.0.clone(), &resource),
            };
            let (cache, queue) = (self.objects.clone(), self.queue.clone());
            let watch = (watch_config(), self.next_backoff());
            self.spawn(async move {
                keep("scaledobjects", (scope, api), watch, cache, SeenObject::from, |key| queue.mark(key)).await;
            });
        }
    }

    fn watch_hpas(self: &Arc<Self>) {
        for scope in self.scopes.clone() {
            let api: Api<HorizontalPodAutoscaler> = match &scope {
                Some(namespace) => Api::namespaced(self.client.0.clone(), namespace),
                None => Api::all(self.client.0.clone()),
            };
            let cache = self.hpas.clone();
            let watch = (watch_config().labels(NAME_LABEL), self.next_backoff());
            let world = self.clone();
            self.spawn(async move {
                let changed = |at: &ObjectKey| {
                    let owner = world.hpas.get(at).and_then(|hpa| hpa.owner());
                    let owner = owner.map(|owner| ObjectKey::new(&at.namespace, &owner));
                    world.owners().set(at, owner).iter().for_each(|owner| world.queue.mark(owner));
                };
                keep("horizontalpodautoscalers", (scope, api), watch, cache, SeenHpa::from, changed).await;
            });
        }
    }
}

impl TargetKind {
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

impl From<DynamicObject> for SeenObject {
    fn from(mut object: DynamicObject) -> Self {
        let part = |name: &str, data: &mut serde_json::Value| data.get_mut(name).map(serde_json::Value::take);
        let spec = match part("spec", &mut object.data) {
            Some(spec) => serde_json::from_value(spec).map_err(|error| error.to_string()),
            None => Err("spec is missing".to_owned()),
        };
        let status =
            part("status", &mut object.data).and_then(|status| serde_json::from_value(status).ok()).unwrap_or_default();
        Self {
            version: version(&object.metadata),
            generation: object.metadata.generation.unwrap_or_default(),
            created_at: object.metadata.creation_timestamp.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            deleting: object.metadata.deletion_timestamp.is_some(),
            hand: windlass_crd::hand(&object.metadata.annotations.unwrap_or_default())
                .map_err(|error| error.to_string()),
            uid: object.metadata.uid.unwrap_or_default(),
            spec,
            status,
        }
    }
}

impl SeenHpa {
    /// The scaled object that this HPA was made for.
    #[must_use]
    pub fn owner(&self) -> Option<String> {
        self.meta.labels.as_ref()?.get(NAME_LABEL).cloned()
    }
}

impl From<HorizontalPodAutoscaler> for SeenHpa {
    fn from(hpa: HorizontalPodAutoscaler) -> Self {
        let mut meta = hpa.metadata;
        meta.managed_fields = None;
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            version: version(&meta),
            meta,
            spec: hpa.spec.unwrap_or_default(),
        }
    }
}

/// The part of a target that is needed: a small shape, since there may be thousands.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ScaleTarget {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: ScaleTargetSpec,
    #[serde(default)]
    status: ScaleTargetStatus,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct ScaleTargetSpec {
    replicas: Option<i32>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScaleTargetStatus {
    ready_replicas: Option<i32>,
}

impl Resource for ScaleTarget {
    type DynamicType = ApiResource;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(dt: &ApiResource) -> Cow<'_, str> {
        dt.kind.as_str().into()
    }

    fn group(dt: &ApiResource) -> Cow<'_, str> {
        dt.group.as_str().into()
    }

    fn version(dt: &ApiResource) -> Cow<'_, str> {
        dt.version.as_str().into()
    }

    fn plural(dt: &ApiResource) -> Cow<'_, str> {
        dt.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl From<ScaleTarget> for SeenTarget {
    fn from(target: ScaleTarget) -> Self {
        let count = |replicas: Option<i32>, default| replicas.map_or(default, |n| u32::try_from(n).unwrap_or(0));
        Self {
            version: version(&target.metadata),
            uid: target.metadata.uid.unwrap_or_default(),
            replicas: count(target.spec.replicas, 1),
            ready: count(target.status.ready_replicas, 0),
        }
    }
}
