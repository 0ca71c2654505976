//! Where a value is kept outside of an object's spec, and what keeps each such place up to date while something refers to it:
//! one watch for a Secret, ConfigMap or ServiceAccount, one task for a token or a file. It holds credentials; it never logs one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use k8s_openapi::api::core::v1::{ConfigMap, Secret as SecretObject, ServiceAccount};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::Api;
use kube::runtime::watcher;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use windlass_sources::Secret;

use super::{Givens, file, token};
use crate::cache::{Cache, Scope, keep};
use crate::environment::StoreKind;
use crate::key::ObjectKey;

/// What is kept in a place. Of a Secret a value may be other bytes than text; whoever hands one on says so.
pub(super) type Content = BTreeMap<String, Secret>;

/// What a value is kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Keeper {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
    /// A ServiceAccount's annotations.
    ServiceAccount,
    /// The EndpointSlices of a Service: the addresses that are ready, as keys without values.
    Endpoints,
    /// A ServiceAccount, which a token is asked for of.
    Token,
    /// A file.
    File,
}

impl From<StoreKind> for Keeper {
    fn from(kind: StoreKind) -> Self {
        match kind {
            StoreKind::Secret => Self::Secret,
            StoreKind::ConfigMap => Self::ConfigMap,
        }
    }
}

/// One place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) keeper: Keeper,
    /// Empty for a file.
    pub(super) namespace: String,
    /// The name of the object, or the path of the file.
    pub(super) name: String,
}

impl Place {
    pub(super) fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.namespace, &self.name)
    }
}

/// What is known of a place.
#[derive(Debug, Clone)]
pub(super) enum Known {
    NotYet,
    Missing,
    Trouble(String),
    Found(Arc<Content>),
}

/// What keeps one place up to date.
#[derive(Debug)]
pub(super) struct Store {
    cache: Arc<Cache<Content>>,
    /// Tells that a source refuses what is kept there.
    doubted: Arc<Notify>,
    stop: CancellationToken,
}

/// Who refers to what.
#[derive(Debug, Default)]
pub(super) struct Uses {
    stores: BTreeMap<Place, Store>,
    /// For each object that refers to elsewhere at all; to an authentication only, perhaps.
    pub(super) places: BTreeMap<ObjectKey, BTreeSet<Place>>,
}

impl Uses {
    pub(super) fn drop_unused(&mut self) {
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

impl Givens {
    /// What is known of `place`; the first question has it kept up to date from then on.
    pub(super) fn known(self: &Arc<Self>, place: &Place) -> Known {
        let mut uses = self.uses();
        let cache = match uses.stores.get(place) {
            Some(store) => store.cache.clone(),
            None => {
                let store = self.follow(place);
                let cache = store.cache.clone();
                uses.stores.insert(place.clone(), store);
                cache
            }
        };
        drop(uses);
        let found = match place.keeper {
            // Of several objects, whatever they are called.
            Keeper::Endpoints if cache.is_listed() => Some(Arc::new(all(&cache))),
            Keeper::Endpoints => None,
            _ => cache.get(&place.key()),
        };
        match found {
            Some(content) => Known::Found(content),
            None if cache.is_listed() => Known::Missing,
            None => cache.trouble().map_or(Known::NotYet, Known::Trouble),
        }
    }

    /// A source refuses what `key` gives it: a token of it may have been withdrawn before its time.
    pub fn doubt(&self, key: &ObjectKey) {
        let uses = self.uses();
        let tokens = uses.places.get(key).into_iter().flatten().filter(|place| place.keeper == Keeper::Token);
        tokens.filter_map(|place| uses.stores.get(place)).for_each(|store| store.doubted.notify_waiters());
    }

    /// Notes what `key` refers to now, `None` if to nothing at all, and ends what nobody needs any more.
    pub(super) fn refer(&self, key: &ObjectKey, places: Option<BTreeSet<Place>>) {
        let mut uses = self.uses();
        let before = match places {
            Some(places) => uses.places.insert(key.clone(), places),
            None => uses.places.remove(key),
        };
        if before.is_some() {
            uses.drop_unused();
        }
    }

    fn follow(self: &Arc<Self>, place: &Place) -> Store {
        let scope = Scope { namespace: Some(place.namespace.clone()), ..Scope::default() };
        let cache = Arc::new(Cache::new(std::slice::from_ref(&scope)));
        let (stop, doubted) = (self.stop.child_token(), Arc::new(Notify::new()));
        let changed = self.teller(place);
        let (kept, client, namespace) = (cache.clone(), self.client.clone(), place.namespace.clone());
        let watch = || {
            let config = watcher::Config::default().timeout(240).fields(&format!("metadata.name={}", place.name));
            (config, self.next_backoff())
        };
        match place.keeper {
            Keeper::Secret => {
                let watch = watch();
                self.spawn(stop.clone(), async move {
                    let api: Api<SecretObject> = Api::namespaced(client, &namespace);
                    keep("secrets", (scope, api), watch, kept, content_of_secret, |_: &ObjectKey| changed()).await;
                });
            }
            Keeper::ConfigMap => {
                let watch = watch();
                self.spawn(stop.clone(), async move {
                    let api: Api<ConfigMap> = Api::namespaced(client, &namespace);
                    let content = |map: ConfigMap| {
                        let data = map.data.into_iter().flatten();
                        data.map(|(key, value)| (key, Secret::new(value))).collect::<Content>()
                    };
                    keep("configmaps", (scope, api), watch, kept, content, |_: &ObjectKey| changed()).await;
                });
            }
            Keeper::ServiceAccount => {
                let watch = watch();
                self.spawn(stop.clone(), async move {
                    let api: Api<ServiceAccount> = Api::namespaced(client, &namespace);
                    let content = |account: ServiceAccount| {
                        let notes = account.metadata.annotations.into_iter().flatten();
                        notes.map(|(key, value)| (key, Secret::new(value))).collect::<Content>()
                    };
                    keep("serviceaccounts", (scope, api), watch, kept, content, |_: &ObjectKey| changed()).await;
                });
            }
            Keeper::Endpoints => {
                let label = format!("kubernetes.io/service-name={}", place.name);
                let watch = (watcher::Config::default().timeout(240).labels(&label), self.next_backoff());
                self.spawn(stop.clone(), async move {
                    let api: Api<EndpointSlice> = Api::namespaced(client, &namespace);
                    let content = |slice: EndpointSlice| ready(slice);
                    keep("endpointslices", (scope, api), watch, kept, content, |_: &ObjectKey| changed()).await;
                });
            }
            Keeper::Token => {
                let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let (place, doubted) = (place.clone(), doubted.clone());
                self.spawn(stop.clone(), async move {
                    // Nothing is resolved by a replica that does not lead.
                    if let Some(writer) = writer {
                        token::keep(&writer, &place, &kept, &doubted, changed).await;
                    }
                });
            }
            Keeper::File => {
                let (root, place) = (self.files.clone(), place.clone());
                self.spawn(stop.clone(), async move { file::keep(root, &place, &kept, changed).await });
            }
        }
        Store { cache, doubted, stop }
    }

    /// Tells all who refer to `place` that something has changed there.
    fn teller(self: &Arc<Self>, place: &Place) -> impl Fn() + Send + Sync + 'static {
        let (this, of) = (Arc::downgrade(self), place.clone());
        move || {
            let Some(this) = this.upgrade() else { return };
            this.news();
            let uses = this.uses();
            let users = uses.places.iter().filter(|(_, places)| places.contains(&of));
            users.for_each(|(key, _)| this.queue.mark(key));
        }
    }
}

/// What several objects have together.
fn all(cache: &Cache<Content>) -> Content {
    cache.keys().iter().filter_map(|key| cache.get(key)).flat_map(|content| (*content).clone()).collect()
}

/// The addresses of a slice that take requests.
fn ready(slice: EndpointSlice) -> Content {
    let is_ready =
        |endpoint: &Endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true);
    let endpoints = slice.endpoints.into_iter().filter(is_ready);
    endpoints.flat_map(|endpoint| endpoint.addresses).map(|address| (address, Secret::new(""))).collect()
}

fn content_of_secret(secret: SecretObject) -> Content {
    let data = secret.data.into_iter().flatten();
    data.map(|(key, value)| (key, Secret::of_bytes(value.0))).collect()
}
