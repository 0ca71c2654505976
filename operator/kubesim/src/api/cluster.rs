//! The handle of a simulated API server, for whoever lives in the same process: controllers, load, tests.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use jiff::Timestamp;
use serde_json::Value;
use windlass_decision::Clock;

use super::delete::Deletion;
use super::faults::Faults;
use super::http::ApiService;
use super::kind::Kind;
use super::patch::Patch;
use super::scale;
use super::selector::Selector;
use super::status::Status;
use super::store::{At, Audited, Changes, Store, version_of};
use super::write::{By, Part};

/// API group and plural, for example `("apps", "deployments")`.
pub type Gr<'a> = (&'a str, &'a str);

/// How a cluster is made.
#[derive(Clone)]
pub struct Options {
    /// The seed of uids and generated names.
    pub seed: u64,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// What goes wrong, if anything.
    pub faults: Option<Arc<dyn Faults>>,
    /// How many changes of each kind a watch may come back to.
    pub history: usize,
    /// How many of the latest requests are kept; 0 keeps none.
    pub audit: usize,
}

impl Options {
    /// Nothing goes wrong, 10,000 changes of each kind are kept, and no requests.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { seed: 0, clock, faults: None, history: 10_000, audit: 0 }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("seed", &self.seed).field("history", &self.history).finish_non_exhaustive()
    }
}

/// A simulated API server. Cheap to clone; all clones are the same server.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    store: Mutex<Store>,
    doors: Mutex<BTreeMap<SocketAddr, Router>>,
    clock: Arc<dyn Clock>,
    faults: Option<Arc<dyn Faults>>,
    audits: bool,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("version", &self.store().version).finish_non_exhaustive()
    }
}

impl Cluster {
    /// An empty cluster: it knows the built-in kinds and has no objects, not even namespaces.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let store = Store::new(options.seed, options.history, options.audit);
        Self(Arc::new(Inner {
            store: Mutex::new(store),
            doors: Mutex::default(),
            clock: options.clock,
            faults: options.faults,
            audits: options.audit > 0,
        }))
    }

    /// What to put under a `kube::Client`, speaking as `user`.
    #[must_use]
    pub fn service(&self, user: &str) -> ApiService {
        ApiService::new(self.clone(), user)
    }

    /// A client that speaks as `user`. Must be called within a tokio runtime.
    #[must_use]
    pub fn client(&self, user: &str) -> kube::Client {
        kube::Client::new(self.service(user), "default")
    }

    /// The cluster's wall clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The cluster's wall clock, for whoever needs to keep it.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.0.clock.clone()
    }

    /// The kind of a group and plural.
    #[must_use]
    pub fn kind(&self, what: Gr<'_>) -> Option<Arc<Kind>> {
        self.store().table(what.0, what.1).map(|table| table.kind.clone())
    }

    /// The kind of a group that is called so.
    #[must_use]
    pub fn kind_named(&self, group: &str, kind: &str) -> Option<Arc<Kind>> {
        self.store().kinds().find(|known| known.group == group && known.kind == kind).cloned()
    }

    /// One object.
    #[must_use]
    pub fn get(&self, what: Gr<'_>, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.store().table(what.0, what.1)?.objects.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// The objects of a namespace (`None` for all) that match, by namespace and name.
    #[must_use]
    pub fn list(&self, what: Gr<'_>, namespace: Option<&str>, selector: &Selector) -> Vec<Arc<Value>> {
        self.store().table(what.0, what.1).map(|table| table.list(namespace, selector)).unwrap_or_default()
    }

    /// The `Scale` of an object, if it is there and has one.
    #[must_use]
    pub fn scale(&self, what: Gr<'_>, namespace: &str, name: &str) -> Option<Value> {
        let kind = self.kind(what)?;
        scale::of(&kind, &*self.get(what, namespace, name)?)
    }

    /// Creates an object.
    ///
    /// # Errors
    /// As the API server answers.
    pub fn create(&self, user: &str, what: Gr<'_>, namespace: &str, object: Value) -> Result<Arc<Value>, Status> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.write(user, what, ("create", Part::Main), (namespace, &name), |store, kind, by| {
            store.create(kind, namespace, object, by)
        })
    }

    /// Creates an object of whatever kind it says it is, in the namespace it names or in `default`.
    ///
    /// # Errors
    /// As the API server answers; an unknown kind is not found.
    pub fn apply_manifest(&self, user: &str, object: Value) -> Result<Arc<Value>, Status> {
        let (version, kind) =
            (object["apiVersion"].as_str().unwrap_or_default(), object["kind"].as_str().unwrap_or_default());
        let found = self.store().kinds().find(|known| known.kind == kind && known.api_version() == version).cloned();
        let Some(found) = found else {
            let message = format!("no matches for kind {kind:?} in version {version:?}");
            return Err(Status::new(404, "NotFound", message));
        };
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
        let namespace = if found.namespaced { namespace } else { String::new() };
        self.create(user, (&found.group, &found.plural), &namespace, object)
    }

    /// Replaces a part of an object. A resourceVersion or uid in `object` must be the present one.
    ///
    /// # Errors
    /// As the API server answers.
    pub fn update(
        &self,
        user: &str,
        what: Gr<'_>,
        part: Part,
        (namespace, name): (&str, &str),
        object: Value,
    ) -> Result<Arc<Value>, Status> {
        let at = (namespace.to_owned(), name.to_owned());
        self.write(user, what, ("update", part), (namespace, name), |store, kind, by| {
            store.update(kind, part, &at, object, by)
        })
    }

    /// Patches a part of an object.
    ///
    /// # Errors
    /// As the API server answers.
    pub fn patch(
        &self,
        user: &str,
        what: Gr<'_>,
        part: Part,
        (namespace, name): (&str, &str),
        patch: &Patch,
    ) -> Result<Arc<Value>, Status> {
        let at = (namespace.to_owned(), name.to_owned());
        self.write(user, what, ("patch", part), (namespace, name), |store, kind, by| {
            store.patch(kind, part, &at, patch, by)
        })
    }

    /// Deletes an object and, unless they are orphaned, what it owns. One with finalizers is marked and stays.
    ///
    /// # Errors
    /// As the API server answers.
    pub fn delete(
        &self,
        user: &str,
        what: Gr<'_>,
        (namespace, name): (&str, &str),
        deletion: &Deletion,
    ) -> Result<Arc<Value>, Status> {
        let at = (namespace.to_owned(), name.to_owned());
        self.write(user, what, ("delete", Part::Main), (namespace, name), |store, kind, by| {
            store.delete(kind, &at, deletion, by).map(|deleted| deleted.object)
        })
    }

    /// Every change from now on, in the order in which they are committed.
    #[must_use]
    pub fn subscribe(&self) -> Changes {
        self.store().subscribe()
    }

    /// The requests that were noted since the last call, oldest first.
    #[must_use]
    pub fn take_audit(&self) -> Vec<Audited> {
        self.store().take_audit()
    }

    /// Forgets the history, as a compaction of etcd does: watches that come back find their version too old.
    pub fn compact(&self) {
        self.store().compact();
    }

    /// Has `app` answer at a virtual address, for aggregated APIs. Nothing is bound.
    pub fn listen(&self, address: SocketAddr, app: Router) {
        self.doors().insert(address, app);
    }

    /// Nobody answers at the address any more.
    pub fn unlisten(&self, address: SocketAddr) {
        self.doors().remove(&address);
    }

    pub(super) fn door(&self, address: SocketAddr) -> Option<Router> {
        self.doors().get(&address).cloned()
    }

    pub(super) fn faults(&self) -> Option<&Arc<dyn Faults>> {
        self.0.faults.as_ref()
    }

    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        // A panic of somebody who held the lock leaves whole objects behind.
        self.0.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, entry: impl FnOnce() -> Audited) {
        if self.0.audits {
            let entry = entry();
            self.store().audit(entry);
        }
    }

    fn doors(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Router>> {
        self.0.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(
        &self,
        user: &str,
        what: Gr<'_>,
        (verb, part): (&'static str, Part),
        (namespace, name): (&str, &str),
        act: impl FnOnce(&mut Store, &Kind, By<'_>) -> Result<Arc<Value>, Status>,
    ) -> Result<Arc<Value>, Status> {
        let kind = self.kind(what).ok_or_else(Status::no_such_path)?;
        let by = By { manager: user, tracks: false, now: self.now(), dry_run: false };
        let written = act(&mut self.store(), &kind, by);
        self.note(|| Audited {
            at: self.now(),
            user: user.to_owned(),
            verb,
            resource: kind.plural.clone(),
            subresource: part.as_str().to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            code: written.as_ref().map_or_else(|status| status.code, |_| 200),
            version: written.as_ref().ok().map(|object| version_of(object)),
        });
        written
    }
}

/// Where an object of a request is.
pub(super) fn at(namespace: &str, name: &str) -> At {
    (namespace.to_owned(), name.to_owned())
}
