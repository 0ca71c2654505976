//! What triggers are given from elsewhere: the authentication objects, and whatever one of them or a container's environment
//! refers to (`stores`), each only while it is referred to. So a rotated credential is known as soon as it is written. It
//! fetches and holds credentials; it never logs one and decides nothing.

mod file;
mod goodbye;
mod resolve;
mod stores;
mod token;
mod users;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use windlass_crd::{Group, TriggerAuthenticationSpec, VERSION, allowed_hosts};
use windlass_sources::Process;

use self::stores::{Content, Keeper, Known, Place, Uses};
use crate::apply::writer::Writer;
use crate::backoff::WatchBackoff;
use crate::cache::{Cache, Scope, keep, version};
use crate::key::ObjectKey;
use crate::options::Options;
use crate::queue::Queue;
use crate::telemetry::Registered;

pub use resolve::{Resolution, refers};

/// An authentication object as it was last seen.
#[derive(Debug, PartialEq)]
struct SeenAuthentication {
    spec: Result<TriggerAuthenticationSpec, String>,
    allowed_hosts: Option<Vec<String>>,
    uid: String,
    version: u64,
    generation: Option<i64>,
    deleting: bool,
    /// Who uses it, as its status says.
    users: String,
    /// How to let it go, where it is being deleted and waits for KEDA.
    waits: Option<Waiting>,
}

/// An authentication that is being deleted, as it was seen.
#[derive(Debug, Clone, PartialEq)]
struct Waiting {
    uid: String,
    version: String,
    /// Who else is to be asked.
    finalizers: Vec<String>,
}

/// What of an authentication concerns whoever uses it: not its status, which says who that is.
#[derive(Debug, PartialEq, Eq)]
struct Basis {
    uid: String,
    generation: Option<i64>,
    allowed_hosts: Option<Vec<String>>,
    deleting: bool,
}

/// See the module.
pub struct Givens {
    client: Client,
    /// Where the Secrets of authentications of no namespace are.
    namespace: String,
    /// The folder that files of credentials may be in.
    files: Option<PathBuf>,
    authentications: Arc<Cache<SeenAuthentication>>,
    cluster_authentications: Arc<Cache<SeenAuthentication>>,
    /// What was last told of each authentication.
    told: Mutex<BTreeMap<(&'static str, ObjectKey), Basis>>,
    uses: Mutex<Uses>,
    /// Asks for tokens, while this replica leads.
    writer: Mutex<Option<Writer>>,
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
    /// Starts watching the authentications of `groups`, in the namespaces of `options`; Secrets of those of no namespace are
    /// looked for in the operator's own. Objects that a change may concern are marked in `queue`.
    #[must_use]
    pub fn start(
        client: Client,
        groups: &[Group],
        options: &Options,
        queue: Arc<Queue>,
        stop: CancellationToken,
        process: &Process,
        seed: u64,
    ) -> Arc<Self> {
        let namespaces = &options.watch_namespaces;
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
            namespace: options.namespace.clone(),
            files: options.auth_files.clone(),
            authentications: Arc::new(Cache::new(&namespaced)),
            cluster_authentications: Arc::new(Cache::new(&clustered)),
            told: Mutex::default(),
            uses: Mutex::default(),
            writer: Mutex::default(),
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

    /// Lets tokens be asked for by `writer`: for a replica that leads now.
    pub fn lead(&self, writer: Writer) {
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
    }

    /// Forgets all references, and every credential with them: for a replica that leads no more.
    pub fn clear(&self) {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut uses = self.uses();
        uses.places.clear();
        uses.drop_unused();
    }

    /// Waits for the watches to end, after `stop`.
    pub async fn stopped(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn news(&self) {
        self.revision.fetch_add(1, Ordering::AcqRel);
    }

    fn uses(&self) -> MutexGuard<'_, Uses> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many authentications there are, by kind and namespace.
    pub fn registered(&self) -> Registered {
        let mut registered = Registered::new();
        let kinds = [
            ("trigger_authentication", &self.authentications),
            ("cluster_trigger_authentication", &self.cluster_authentications),
        ];
        for (kind, cache) in kinds {
            for key in cache.keys() {
                *registered.entry((kind, key.namespace)).or_default() += 1;
            }
        }
        registered
    }

    fn next_backoff(&self) -> WatchBackoff {
        WatchBackoff::new(self.seeds.fetch_add(1, Ordering::Relaxed))
    }

    fn watch_authentications(
        self: &Arc<Self>,
        kind: &'static str,
        scope: Scope,
        cache: Arc<Cache<SeenAuthentication>>,
    ) {
        let resource = resource(scope.group, kind);
        let api: Api<DynamicObject> = match &scope.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let what = format!("{}.{}", resource.plural, resource.group);
        let (this, watch) = (self.clone(), (watcher::Config::default().timeout(240), self.next_backoff()));
        self.spawn(self.stop.clone(), async move {
            let kept = cache.clone();
            let changed = |key: &ObjectKey| {
                if !this.is_news(kind, key, kept.get(key).as_deref()) {
                    return;
                }
                this.news();
                // Few objects are of this kind, and they change rarely: whoever refers to any of them is looked at.
                let users: Vec<_> = this.uses().places.keys().cloned().collect();
                users.iter().for_each(|key| this.queue.mark(key));
            };
            keep(&what, (scope, api), watch, cache, SeenAuthentication::from, changed).await;
        });
    }

    /// Whether anything has changed that concerns those who use an authentication.
    fn is_news(&self, kind: &'static str, key: &ObjectKey, seen: Option<&SeenAuthentication>) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (kind, key.clone());
        match seen.map(SeenAuthentication::basis) {
            None => told.remove(&at).is_some(),
            Some(basis) if told.get(&at) == Some(&basis) => false,
            Some(basis) => {
                told.insert(at, basis);
                true
            }
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

impl SeenAuthentication {
    fn basis(&self) -> Basis {
        let Self { uid, generation, allowed_hosts, deleting, .. } = self;
        Basis { uid: uid.clone(), generation: *generation, allowed_hosts: allowed_hosts.clone(), deleting: *deleting }
    }
}

impl From<DynamicObject> for SeenAuthentication {
    fn from(mut object: DynamicObject) -> Self {
        let users = object.data.pointer("/status/scaledobjects").and_then(serde_json::Value::as_str);
        let users = users.unwrap_or_default().to_owned();
        let spec = object.data.get_mut("spec").map(serde_json::Value::take).unwrap_or_default();
        let spec = if spec.is_null() { serde_json::json!({}) } else { spec };
        let mut meta = object.metadata;
        let own = Group::Keda.finalizer();
        let mut finalizers = meta.finalizers.take().unwrap_or_default();
        let waits = meta.deletion_timestamp.is_some() && finalizers.iter().any(|name| name == own);
        finalizers.retain(|name| name != own);
        Self {
            spec: serde_json::from_value(spec).map_err(|error| error.to_string()),
            version: version(&meta),
            allowed_hosts: allowed_hosts(&meta.annotations.take().unwrap_or_default()),
            uid: meta.uid.clone().unwrap_or_default(),
            generation: meta.generation,
            deleting: meta.deletion_timestamp.is_some(),
            users,
            waits: waits.then(|| Waiting {
                uid: meta.uid.unwrap_or_default(),
                version: meta.resource_version.unwrap_or_default(),
                finalizers,
            }),
        }
    }
}
