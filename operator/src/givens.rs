//! What triggers are given from elsewhere: the authentication objects, and each Secret and ConfigMap that one of them or a
//! container's environment refers to, by one watch each and only while it is referred to. So a rotated credential is known
//! as soon as it is written. It fetches and holds credentials; it never logs one and decides nothing.

mod goodbye;
mod resolve;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{ConfigMap, Secret as SecretObject};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use windlass_crd::{Group, TriggerAuthenticationSpec, VERSION, allowed_hosts};
use windlass_sources::{Process, Secret};

use crate::backoff::WatchBackoff;
use crate::cache::{Cache, Scope, keep};
use crate::environment::StoreKind;
use crate::key::ObjectKey;
use crate::queue::Queue;

pub use resolve::{Resolution, refers};

/// The content of a Secret or ConfigMap: what of it is text.
type Content = BTreeMap<String, Secret>;

/// An authentication object as it was last seen.
#[derive(Debug)]
struct SeenAuthentication {
    spec: Result<TriggerAuthenticationSpec, String>,
    allowed_hosts: Option<Vec<String>>,
    /// How to let it go, where it is being deleted and waits for KEDA.
    waits: Option<Waiting>,
}

/// An authentication that is being deleted, as it was seen.
#[derive(Debug, Clone)]
struct Waiting {
    uid: String,
    version: String,
    /// Who else is to be asked.
    finalizers: Vec<String>,
}

/// A Secret or ConfigMap of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    kind: StoreKind,
    namespace: String,
    name: String,
}

/// What is known of a place.
#[derive(Debug, Clone)]
enum Known {
    NotYet,
    Missing,
    Trouble(String),
    Found(Arc<Content>),
}

/// One watch.
#[derive(Debug)]
struct Store {
    cache: Arc<Cache<Content>>,
    stop: CancellationToken,
}

/// Who refers to what.
#[derive(Debug, Default)]
struct Uses {
    stores: BTreeMap<Place, Store>,
    /// For each object that refers to elsewhere at all; to an authentication only, perhaps.
    places: BTreeMap<ObjectKey, BTreeSet<Place>>,
}

/// See the module.
pub struct Givens {
    client: Client,
    /// Where the Secrets of authentications of no namespace are.
    namespace: String,
    authentications: Arc<Cache<SeenAuthentication>>,
    cluster_authentications: Arc<Cache<SeenAuthentication>>,
    uses: Mutex<Uses>,
    /// Counts changes, so that nobody resolves anew what cannot have changed.
    revision: AtomicU64,
    queue: Arc<Queue>,
    tasks: TaskTracker,
    stop: CancellationToken,
    process: Process,
    seeds: AtomicU64,
}

impl std::fmt::Debug for Givens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Givens").field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl Givens {
    /// Starts watching the authentications of `groups`, in `namespaces` or, if there are none, in all; Secrets of those of
    /// no namespace are looked for in `namespace`. Objects that a change may concern are marked in `queue`.
    #[must_use]
    pub fn start(
        client: Client,
        (groups, namespaces): (&[Group], &[String]),
        namespace: &str,
        queue: Arc<Queue>,
        stop: CancellationToken,
        process: &Process,
        seed: u64,
    ) -> Arc<Self> {
        let all: Vec<_> = if namespaces.is_empty() {
            vec![None]
        } else {
            namespaces.iter().map(|namespace| Some(namespace.clone())).collect()
        };
        // As long as the kind is not there, nothing of it is.
        let scope = |group, namespace| Scope { group, namespace, is_optional: true };
        let namespaced: Vec<_> = groups.iter().flat_map(|g| all.iter().map(|n| scope(*g, n.clone()))).collect();
        let clustered: Vec<_> = groups.iter().map(|group| scope(*group, None)).collect();
        let this = Arc::new(Self {
            client,
            namespace: namespace.to_owned(),
            authentications: Arc::new(Cache::new(&namespaced)),
            cluster_authentications: Arc::new(Cache::new(&clustered)),
            uses: Mutex::default(),
            revision: AtomicU64::new(1),
            queue,
            tasks: TaskTracker::new(),
            stop,
            process: process.clone(),
            seeds: AtomicU64::new(seed),
        });
        for scope in namespaced {
            this.watch_authentications(NAMESPACED, scope, this.authentications.clone());
        }
        for scope in clustered {
            this.watch_authentications(CLUSTERED, scope, this.cluster_authentications.clone());
        }
        this
    }

    /// Grows with each change of anything that a trigger may be given.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Forgets that `key` refers to anything.
    pub fn forget(&self, key: &ObjectKey) {
        self.refer(key, None);
    }

    /// Forgets all references, and every credential with them: for a replica that leads no more.
    pub fn clear(&self) {
        let mut uses = self.uses();
        uses.places.clear();
        uses.drop_unused();
    }

    /// Waits for the watches to end, after `stop`.
    pub async fn stopped(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn uses(&self) -> MutexGuard<'_, Uses> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_backoff(&self) -> WatchBackoff {
        WatchBackoff::new(self.seeds.fetch_add(1, Ordering::Relaxed))
    }

    fn watch_authentications(self: &Arc<Self>, kind: &str, scope: Scope, cache: Arc<Cache<SeenAuthentication>>) {
        let resource = resource(scope.group, kind);
        let api: Api<DynamicObject> = match &scope.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let what = format!("{}.{}", resource.plural, resource.group);
        let (this, watch) = (self.clone(), (watcher::Config::default().timeout(240), self.next_backoff()));
        self.spawn(self.stop.clone(), async move {
            let changed = |_: &ObjectKey| {
                this.revision.fetch_add(1, Ordering::AcqRel);
                // Few objects are of this kind, and they change rarely: whoever refers to any of them is looked at.
                let users: Vec<_> = this.uses().places.keys().cloned().collect();
                users.iter().for_each(|key| this.queue.mark(key));
            };
            keep(&what, (scope, api), watch, cache, SeenAuthentication::from, changed).await;
        });
    }

    /// What is known of `place`; the first question starts its watch.
    fn known(self: &Arc<Self>, place: &Place) -> Known {
        let mut uses = self.uses();
        let cache = match uses.stores.get(place) {
            Some(store) => store.cache.clone(),
            None => {
                let store = self.watch(place);
                let cache = store.cache.clone();
                uses.stores.insert(place.clone(), store);
                cache
            }
        };
        drop(uses);
        match cache.get(&ObjectKey::new(&place.namespace, &place.name)) {
            Some(content) => Known::Found(content),
            None if cache.is_listed() => Known::Missing,
            None => cache.trouble().map_or(Known::NotYet, Known::Trouble),
        }
    }

    fn watch(self: &Arc<Self>, place: &Place) -> Store {
        let scope = Scope { namespace: Some(place.namespace.clone()), ..Scope::default() };
        let cache = Arc::new(Cache::new(std::slice::from_ref(&scope)));
        let stop = self.stop.child_token();
        let config = watcher::Config::default().timeout(240).fields(&format!("metadata.name={}", place.name));
        let (this, of, watch) = (Arc::downgrade(self), place.clone(), (config, self.next_backoff()));
        let changed = move |_: &ObjectKey| {
            let Some(this) = this.upgrade() else { return };
            this.revision.fetch_add(1, Ordering::AcqRel);
            let uses = this.uses();
            let users = uses.places.iter().filter(|(_, places)| places.contains(&of));
            users.for_each(|(key, _)| this.queue.mark(key));
        };
        let (kept, client) = (cache.clone(), self.client.clone());
        let namespace = place.namespace.clone();
        match place.kind {
            StoreKind::Secret => self.spawn(stop.clone(), async move {
                let api: Api<SecretObject> = Api::namespaced(client, &namespace);
                keep("secrets", (scope, api), watch, kept, content_of_secret, changed).await;
            }),
            StoreKind::ConfigMap => self.spawn(stop.clone(), async move {
                let api: Api<ConfigMap> = Api::namespaced(client, &namespace);
                let content = |map: ConfigMap| {
                    map.data.into_iter().flatten().map(|(key, value)| (key, Secret::new(value))).collect::<Content>()
                };
                keep("configmaps", (scope, api), watch, kept, content, changed).await;
            }),
        }
        Store { cache, stop }
    }

    /// Notes what `key` refers to now, `None` if to nothing at all, and ends the watches that nobody needs any more.
    fn refer(&self, key: &ObjectKey, places: Option<BTreeSet<Place>>) {
        let mut uses = self.uses();
        let before = match places {
            Some(places) => uses.places.insert(key.clone(), places),
            None => uses.places.remove(key),
        };
        if before.is_some() {
            uses.drop_unused();
        }
    }

    fn spawn(&self, stop: CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.process.own(async move { stop.run_until_cancelled(task).await }));
    }
}

/// The kinds of authentications.
const NAMESPACED: &str = "TriggerAuthentication";
const CLUSTERED: &str = "ClusterTriggerAuthentication";

fn resource(group: Group, kind: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk(group.name(), VERSION, kind),
        &format!("{}s", kind.to_lowercase()),
    )
}

impl Uses {
    fn drop_unused(&mut self) {
        let used: BTreeSet<_> = self.places.values().flatten().collect();
        self.stores.retain(|place, store| {
            let kept = used.contains(place);
            if !kept {
                store.stop.cancel();
            }
            kept
        });
    }
}

fn content_of_secret(secret: SecretObject) -> Content {
    let data = secret.data.into_iter().flatten();
    data.filter_map(|(key, value)| Some((key, Secret::new(String::from_utf8(value.0).ok()?)))).collect()
}

impl From<DynamicObject> for SeenAuthentication {
    fn from(mut object: DynamicObject) -> Self {
        let spec = object.data.get_mut("spec").map(serde_json::Value::take).unwrap_or_default();
        let spec = if spec.is_null() { serde_json::json!({}) } else { spec };
        let meta = object.metadata;
        let own = Group::Keda.finalizer();
        let mut finalizers = meta.finalizers.unwrap_or_default();
        let waits = meta.deletion_timestamp.is_some() && finalizers.iter().any(|name| name == own);
        finalizers.retain(|name| name != own);
        Self {
            spec: serde_json::from_value(spec).map_err(|error| error.to_string()),
            allowed_hosts: allowed_hosts(&meta.annotations.unwrap_or_default()),
            waits: waits.then(|| Waiting {
                uid: meta.uid.unwrap_or_default(),
                version: meta.resource_version.unwrap_or_default(),
                finalizers,
            }),
        }
    }
}
