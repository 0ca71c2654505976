//! What the API server has, kept in memory by one watch per kind. Reading it costs no request; it may lag behind, so
//! what was written by ourselves is compared by resourceVersion before the cache is believed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use futures::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use windlass_crd::Group;

use crate::backoff::WatchBackoff;
use crate::key::ObjectKey;

/// The objects of one kind, each in the shape that we need. It is filled by one watch for each scope: the whole cluster,
/// or some namespaces.
#[derive(Debug)]
pub struct Cache<T> {
    objects: RwLock<Objects<T>>,
    /// The scopes that have not been listed yet.
    missing: watch::Sender<BTreeSet<Scope>>,
    /// What the last attempt to list or watch ended with, if it failed.
    trouble: RwLock<Option<String>>,
    /// Counts changes.
    revision: AtomicU64,
}

/// Each object with its resourceVersion.
type Objects<T> = BTreeMap<ObjectKey, (u64, Arc<T>)>;

/// What one watch covers.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    /// The group of the objects' keys.
    pub group: Group,
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// Whether the kind need not be there: as long as it is not, nothing of it is.
    pub is_optional: bool,
}

impl Scope {
    fn covers(&self, key: &ObjectKey) -> bool {
        key.group == self.group && self.namespace.as_deref().is_none_or(|namespace| *key.namespace == *namespace)
    }
}

impl<T> Cache<T> {
    /// An empty cache that is complete once every scope has been listed.
    pub fn new(scopes: &[Scope]) -> Self {
        Self {
            objects: RwLock::default(),
            missing: watch::Sender::new(scopes.iter().cloned().collect()),
            trouble: RwLock::default(),
            revision: AtomicU64::default(),
        }
    }

    /// Grows with each change, so that nobody looks through all of it anew where nothing is new.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    fn changed(&self) {
        self.revision.fetch_add(1, Ordering::AcqRel);
    }

    /// One object.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<T>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner).get(key).map(|(_, object)| object.clone())
    }

    /// Why nothing newer is known, if the last attempt to list or watch failed.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.write().unwrap_or_else(PoisonError::into_inner) = trouble;
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
            self.changed();
        }
    }

    /// Takes an object out, unless a newer one of its name is known.
    fn remove(&self, key: &ObjectKey, version: u64) {
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        if objects.get(key).is_some_and(|(known, _)| *known <= version) {
            objects.remove(key);
            self.changed();
        }
    }

    /// Puts a fresh list in the place of what was known in `scope`, and gives the keys that are gone.
    fn replace(&self, scope: &Scope, list: Objects<T>) -> Vec<ObjectKey> {
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = objects.keys().filter(|key| scope.covers(key) && !list.contains_key(key)).cloned().collect();
        gone.iter().for_each(|key| drop(objects.remove(key)));
        objects.extend(list);
        drop(objects);
        self.changed();
        self.settled(scope);
        gone
    }

    /// There is nothing to wait for in `scope`: it has been listed, or its kind is not there.
    fn settled(&self, scope: &Scope) {
        self.missing.send_if_modified(|missing| missing.remove(scope));
    }
}

impl<T: PartialEq> Cache<T> {
    /// Takes in what was found out otherwise than by a watch: the object, or why there is none. Says whether that is news.
    pub fn tell(&self, key: &ObjectKey, found: Result<T, String>) -> bool {
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        let mut trouble = self.trouble.write().unwrap_or_else(PoisonError::into_inner);
        let is_news = match found {
            Ok(object) => {
                let is_same = objects.get(key).is_some_and(|(_, known)| **known == object);
                objects.insert(key.clone(), (0, Arc::new(object)));
                trouble.take();
                !is_same
            }
            Err(why) => {
                let was_there = objects.remove(key).is_some();
                let is_known = trouble.as_ref() == Some(&why);
                *trouble = Some(why);
                was_there || !is_known
            }
        };
        drop((objects, trouble));
        if is_news {
            self.changed();
        }
        is_news
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
                    cache.set_trouble(None);
                    tracing::info!(what, "watching again");
                }
                take(event, &scope, &cache, &mut fresh, &project, &changed);
            }
            Err(error) => {
                if scope.is_optional && is_unknown_kind(&error) {
                    cache.settled(&scope);
                }
                cache.set_trouble(Some(error.to_string()));
                // One line for each outage, not for each attempt.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(what, %error, "watch failed, retrying");
                }
            }
        }
    }
}

fn is_unknown_kind(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404)
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
            let (key, version) = (key_of(scope.group, &object), version(object.meta()));
            fresh.insert(key, (version, Arc::new(project(object))));
        }
        watcher::Event::InitDone => {
            let list = std::mem::take(fresh);
            let present: Vec<_> = list.keys().cloned().collect();
            let gone = cache.replace(scope, list);
            present.iter().chain(&gone).for_each(changed);
        }
        watcher::Event::Apply(object) => {
            let (key, version) = (key_of(scope.group, &object), version(object.meta()));
            cache.put(key.clone(), version, Arc::new(project(object)));
            changed(&key);
        }
        watcher::Event::Delete(object) => {
            let key = key_of(scope.group, &object);
            cache.remove(&key, version(object.meta()));
            changed(&key);
        }
    }
}

fn key_of<K: Resource>(group: Group, object: &K) -> ObjectKey {
    ObjectKey::of(group, object.meta().namespace.as_deref().unwrap_or_default(), &object.name_any())
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
        let cache = Cache::new(&[Scope::default()]);
        let told = Mutex::new(Vec::new());
        let mut fresh = BTreeMap::new();
        let mut event = |event| {
            take(
                event,
                &Scope::default(),
                &cache,
                &mut fresh,
                &|map: ConfigMap| version(&map.metadata),
                &|key: &ObjectKey| {
                    told.lock().expect("no panic").push(key.name.to_string());
                },
            );
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
        let (cache, mut fresh) = (Cache::new(&[Scope::default()]), BTreeMap::new());
        let mut event = |event| {
            take(
                event,
                &Scope::default(),
                &cache,
                &mut fresh,
                &|map: ConfigMap| version(&map.metadata),
                &|_: &ObjectKey| {},
            );
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
        let scopes = ["a", "b"].map(|name| Scope { namespace: Some(name.to_owned()), ..Scope::default() });
        let cache = Cache::new(&scopes);
        let list = |namespace: &str| BTreeMap::from([(ObjectKey::new(namespace, "x"), (1, Arc::new(1)))]);
        assert!(cache.replace(&scopes[0], list("a")).is_empty());
        assert!(!cache.is_listed());
        assert!(cache.replace(&scopes[1], list("b")).is_empty());
        assert!(cache.is_listed());
        assert_eq!(cache.replace(&scopes[0], BTreeMap::new()), [ObjectKey::new("a", "x")]);
        assert_eq!(cache.keys(), [ObjectKey::new("b", "x")]);
    }

    #[test]
    fn what_no_watch_tells_is_news_once() {
        let (cache, key) = (Cache::new(&[Scope::default()]), ObjectKey::new("ns", "a"));
        let trouble = |why: &str| Err(why.to_owned());
        assert!(cache.tell(&key, trouble("x")) && !cache.tell(&key, trouble("x")) && cache.tell(&key, trouble("y")));
        assert_eq!((cache.get(&key), cache.trouble().as_deref(), cache.revision()), (None, Some("y"), 2));
        assert!(cache.tell(&key, Ok(1)) && !cache.tell(&key, Ok(1)) && cache.tell(&key, Ok(2)));
        assert_eq!((cache.get(&key).as_deref(), cache.trouble()), (Some(&2), None));
        assert!(cache.tell(&key, trouble("y")) && cache.get(&key).is_none());
    }

    #[test]
    fn groups_are_kept_apart_and_one_that_is_not_installed_is_not_waited_for() {
        let keda = Scope { group: Group::Keda, is_optional: true, ..Scope::default() };
        let cache = Cache::new(&[Scope::default(), keda.clone()]);
        let list = |group| BTreeMap::from([(ObjectKey::of(group, "ns", "x"), (1, Arc::new(1)))]);
        assert!(cache.replace(&Scope::default(), list(Group::Windlass)).is_empty() && !cache.is_listed());
        cache.settled(&keda);
        assert!(cache.is_listed());
        assert!(cache.replace(&keda, list(Group::Keda)).is_empty());
        assert_eq!(cache.keys().len(), 2);
        assert_eq!(cache.replace(&Scope::default(), BTreeMap::new()), [ObjectKey::new("ns", "x")]);
        assert_eq!(cache.keys(), [ObjectKey::of(Group::Keda, "ns", "x")]);
    }
}
