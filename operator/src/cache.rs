//! What the API server has, kept in memory by one watch per kind. Reading it costs no request; it may lag behind, so
//! what was written by ourselves is compared by resourceVersion before the cache is believed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, PoisonError, RwLock};

use futures::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::backoff::WatchBackoff;
use crate::key::ObjectKey;

/// The objects of one kind, each in the shape that we need. It is filled by one watch for each scope: the whole cluster,
/// or some namespaces.
#[derive(Debug)]
pub struct Cache<T> {
    objects: RwLock<Objects<T>>,
    /// The scopes that have not been listed yet.
    missing: watch::Sender<BTreeSet<Scope>>,
}

/// Each object with its resourceVersion.
type Objects<T> = BTreeMap<ObjectKey, (u64, Arc<T>)>;

/// What one watch covers: one namespace, or all.
pub type Scope = Option<String>;

impl<T> Cache<T> {
    /// An empty cache that is complete once every scope has been listed.
    pub fn new(scopes: &[Scope]) -> Self {
        Self { objects: RwLock::default(), missing: watch::Sender::new(scopes.iter().cloned().collect()) }
    }

    /// One object.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<T>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner).get(key).map(|(_, object)| object.clone())
    }

    /// All keys.
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Whether every scope has been listed.
    pub fn is_listed(&self) -> bool {
        self.missing.borrow().is_empty()
    }

    /// Waits until every scope has been listed.
    pub async fn listed(&self) {
        let mut missing = self.missing.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = missing.wait_for(BTreeSet::is_empty).await;
    }

    /// Takes an object in, unless a newer version is known: an event that comes late must not hide the one after it.
    fn put(&self, key: ObjectKey, version: u64, object: Arc<T>) {
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        if objects.get(&key).is_none_or(|(known, _)| *known <= version) {
            objects.insert(key, (version, object));
        }
    }

    /// Takes an object out, unless a newer one of its name is known.
    fn remove(&self, key: &ObjectKey, version: u64) {
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        if objects.get(key).is_some_and(|(known, _)| *known <= version) {
            objects.remove(key);
        }
    }

    /// Puts a fresh list in the place of what was known in `scope`, and gives the keys that are gone.
    fn replace(&self, scope: &Scope, list: Objects<T>) -> Vec<ObjectKey> {
        let within = |key: &ObjectKey| scope.as_deref().is_none_or(|namespace| *key.namespace == *namespace);
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = objects.keys().filter(|key| within(key) && !list.contains_key(key)).cloned().collect();
        gone.iter().for_each(|key| drop(objects.remove(key)));
        objects.extend(list);
        drop(objects);
        self.missing.send_if_modified(|missing| missing.remove(scope));
        gone
    }
}

/// Watches for ever, keeps `cache` up to date, and tells of every key that changed. Errors are logged and retried with
/// backoff; what is known meanwhile stays.
pub async fn keep<K, T>(
    what: &str,
    (scope, api): (Scope, Api<K>),
    (config, backoff): (watcher::Config, WatchBackoff),
    cache: Arc<Cache<T>>,
    project: impl Fn(K) -> T,
    changed: impl Fn(&ObjectKey),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    T: Send + Sync,
{
    let mut fresh = BTreeMap::new();
    let mut failing = false;
    let mut events = std::pin::pin!(watcher(api, config).backoff(backoff));
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if std::mem::take(&mut failing) {
                    tracing::info!(what, "watching again");
                }
                take(event, &scope, &cache, &mut fresh, &project, &changed);
            }
            Err(error) => {
                // One line for each outage, not for each attempt.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(what, %error, "watch failed, retrying");
                }
            }
        }
    }
}

fn take<K: Resource, T>(
    event: watcher::Event<K>,
    scope: &Scope,
    cache: &Cache<T>,
    fresh: &mut Objects<T>,
    project: &impl Fn(K) -> T,
    changed: &impl Fn(&ObjectKey),
) {
    match event {
        watcher::Event::Init => fresh.clear(),
        watcher::Event::InitApply(object) => {
            let (key, version) = (key_of(&object), version(object.meta()));
            fresh.insert(key, (version, Arc::new(project(object))));
        }
        watcher::Event::InitDone => {
            let list = std::mem::take(fresh);
            let present: Vec<_> = list.keys().cloned().collect();
            let gone = cache.replace(scope, list);
            present.iter().chain(&gone).for_each(changed);
        }
        watcher::Event::Apply(object) => {
            let (key, version) = (key_of(&object), version(object.meta()));
            cache.put(key.clone(), version, Arc::new(project(object)));
            changed(&key);
        }
        watcher::Event::Delete(object) => {
            let key = key_of(&object);
            cache.remove(&key, version(object.meta()));
            changed(&key);
        }
    }
}

fn key_of<K: Resource>(object: &K) -> ObjectKey {
    ObjectKey::new(object.meta().namespace.as_deref().unwrap_or_default(), &object.name_any())
}

/// A resourceVersion as a number. Versions of one kind in one cluster are ordered (Kubernetes 1.35, "comparable resource
/// versions"); one that is no number counts as the oldest.
#[must_use]
pub fn version(meta: &kube::api::ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn config_map(name: &str, version: &str) -> ConfigMap {
        serde_json::from_value(
            serde_json::json!({"metadata": {"namespace": "ns", "name": name, "resourceVersion": version}}),
        )
        .expect("the test's own object")
    }

    #[test]
    fn a_relist_keeps_what_is_there_and_tells_of_what_is_gone() {
        let cache = Cache::new(&[None]);
        let told = Mutex::new(Vec::new());
        let mut fresh = BTreeMap::new();
        let mut event = |event| {
            take(event, &None, &cache, &mut fresh, &|map: ConfigMap| version(&map.metadata), &|key: &ObjectKey| {
                told.lock().expect("no panic").push(key.name.to_string());
            });
        };
        event(watcher::Event::Init);
        event(watcher::Event::InitApply(config_map("a", "1")));
        event(watcher::Event::InitApply(config_map("b", "2")));
        assert!(!cache.is_listed());
        event(watcher::Event::InitDone);
        assert!(cache.is_listed());
        event(watcher::Event::Apply(config_map("c", "3")));
        // A relist that is cut off half way changes nothing.
        event(watcher::Event::Init);
        event(watcher::Event::InitApply(config_map("a", "4")));
        assert_eq!(cache.keys().len(), 3);
        event(watcher::Event::Init);
        event(watcher::Event::InitApply(config_map("b", "5")));
        event(watcher::Event::InitDone);
        assert_eq!(cache.keys(), [ObjectKey::new("ns", "b")]);
        assert_eq!(cache.get(&ObjectKey::new("ns", "b")).as_deref(), Some(&5));
        event(watcher::Event::Delete(config_map("b", "6")));
        assert!(cache.keys().is_empty());
        assert_eq!(*told.lock().expect("no panic"), ["a", "b", "c", "b", "a", "c", "b"]);
    }

    #[test]
    fn an_event_that_comes_late_hides_nothing_newer() {
        let (cache, mut fresh) = (Cache::new(&[None]), BTreeMap::new());
        let mut event = |event| {
            take(event, &None, &cache, &mut fresh, &|map: ConfigMap| version(&map.metadata), &|_: &ObjectKey| {});
            cache.get(&ObjectKey::new("ns", "a")).map(|version| *version)
        };
        assert_eq!(event(watcher::Event::Apply(config_map("a", "8"))), Some(8));
        assert_eq!(event(watcher::Event::Apply(config_map("a", "7"))), Some(8));
        assert_eq!(event(watcher::Event::Delete(config_map("a", "6"))), Some(8), "another one of that name is there");
        assert_eq!(event(watcher::Event::Apply(config_map("a", "9"))), Some(9));
        assert_eq!(event(watcher::Event::Delete(config_map("a", "10"))), None);
    }

    #[test]
    fn a_relist_of_one_namespace_leaves_the_others_alone() {
        let scopes = [Some("a".to_owned()), Some("b".to_owned())];
        let cache = Cache::new(&scopes);
        let list = |namespace: &str| BTreeMap::from([(ObjectKey::new(namespace, "x"), (1, Arc::new(1)))]);
        assert!(cache.replace(&scopes[0], list("a")).is_empty());
        assert!(!cache.is_listed());
        assert!(cache.replace(&scopes[1], list("b")).is_empty());
        assert!(cache.is_listed());
        assert_eq!(cache.replace(&scopes[0], BTreeMap::new()), [ObjectKey::new("a", "x")]);
        assert_eq!(cache.keys(), [ObjectKey::new("b", "x")]);
    }
}
