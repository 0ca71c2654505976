//! What the API server has, kept in memory by one watch per kind. Reading it costs no request; it may lag behind, so
//! what was written by ourselves is compared by resourceVersion before the cache is believed.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, PoisonError, RwLock};

use futures::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::key::ObjectKey;

/// The objects of one kind, each in the shape that we need.
#[derive(Debug)]
pub struct Cache<T> {
    objects: RwLock<BTreeMap<ObjectKey, Arc<T>>>,
    listed: watch::Sender<bool>,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self { objects: RwLock::default(), listed: watch::Sender::new(false) }
    }
}

impl<T> Cache<T> {
    /// One object.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<T>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// All keys.
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Whether the first list is complete.
    pub fn is_listed(&self) -> bool {
        *self.listed.borrow()
    }

    /// Waits for the first list.
    pub async fn listed(&self) {
        let mut listed = self.listed.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = listed.wait_for(|listed| *listed).await;
    }

    fn put(&self, key: ObjectKey, object: Arc<T>) {
        self.objects.write().unwrap_or_else(PoisonError::into_inner).insert(key, object);
    }

    fn remove(&self, key: &ObjectKey) {
        self.objects.write().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Puts a fresh list in the place of what was known, and gives the keys that are gone.
    fn replace(&self, list: BTreeMap<ObjectKey, Arc<T>>) -> Vec<ObjectKey> {
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        let gone = objects.keys().filter(|key| !list.contains_key(key)).cloned().collect();
        *objects = list;
        drop(objects);
        self.listed.send_replace(true);
        gone
    }
}

/// Watches for ever, keeps `cache` up to date, and tells of every key that changed. Errors are logged and retried with
/// backoff; what is known meanwhile stays.
pub async fn keep<K, T>(
    what: &str,
    api: Api<K>,
    config: watcher::Config,
    cache: Arc<Cache<T>>,
    project: impl Fn(K) -> T,
    changed: impl Fn(&ObjectKey),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    T: Send + Sync,
{
    let mut fresh = BTreeMap::new();
    let mut failing = false;
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if std::mem::take(&mut failing) {
                    tracing::info!(what, "watching again");
                }
                take(event, &cache, &mut fresh, &project, &changed);
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
    cache: &Cache<T>,
    fresh: &mut BTreeMap<ObjectKey, Arc<T>>,
    project: &impl Fn(K) -> T,
    changed: &impl Fn(&ObjectKey),
) {
    match event {
        watcher::Event::Init => fresh.clear(),
        watcher::Event::InitApply(object) => {
            let key = key_of(&object);
            fresh.insert(key, Arc::new(project(object)));
        }
        watcher::Event::InitDone => {
            let list = std::mem::take(fresh);
            let present: Vec<_> = list.keys().cloned().collect();
            let gone = cache.replace(list);
            present.iter().chain(&gone).for_each(changed);
        }
        watcher::Event::Apply(object) => {
            let key = key_of(&object);
            cache.put(key.clone(), Arc::new(project(object)));
            changed(&key);
        }
        watcher::Event::Delete(object) => {
            let key = key_of(&object);
            cache.remove(&key);
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
        let cache = Cache::default();
        let told = Mutex::new(Vec::new());
        let mut fresh = BTreeMap::new();
        let mut event = |event| {
            take(event, &cache, &mut fresh, &|map: ConfigMap| version(&map.metadata), &|key: &ObjectKey| {
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
}
