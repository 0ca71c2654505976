//! The pods of the cluster as last seen, in a form the controllers can ask quickly. Filled by one task from the change
//! feed, as an informer's cache is; never writes to the cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::Value;

use super::json::{NsName, Owner, deleting, list, owner, text, time, uid};

/// The phase of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Pending,
    Unknown,
    Running,
    Succeeded,
    Failed,
}

/// One pod as last seen.
#[derive(Debug, Clone)]
pub(crate) struct Pod {
    pub(crate) object: Arc<Value>,
    pub(crate) uid: String,
    pub(crate) owner: Option<Owner>,
    pub(crate) phase: Phase,
    /// `True` and since when; `None` while it is not ready.
    pub(crate) ready: Option<Timestamp>,
    pub(crate) deleting: bool,
}

impl Pod {
    pub(crate) fn read(object: &Arc<Value>) -> Self {
        let ready = list(object, "/status/conditions")
            .iter()
            .find(|condition| text(condition, "/type") == "Ready" && text(condition, "/status") == "True")
            .map(|condition| time(condition, "/lastTransitionTime").unwrap_or(Timestamp::UNIX_EPOCH));
        let phase = match text(object, "/status/phase") {
            "Running" => Phase::Running,
            "Succeeded" => Phase::Succeeded,
            "Failed" => Phase::Failed,
            "Unknown" => Phase::Unknown,
            _ => Phase::Pending,
        };
        Self {
            uid: uid(object).to_owned(),
            owner: owner(object),
            phase,
            ready,
            deleting: deleting(object),
            object: object.clone(),
        }
    }

    pub(crate) fn finished(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// Whether it counts for its controller: neither finished nor being deleted.
    pub(crate) fn active(&self) -> bool {
        !self.finished() && !self.deleting
    }

    /// Whether it does work: ready, running and not finished.
    pub(crate) fn serves(&self) -> bool {
        self.ready.is_some() && self.phase == Phase::Running
    }

    pub(crate) fn created(&self) -> Timestamp {
        time(&self.object, "/metadata/creationTimestamp").unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

type Namespaces = BTreeMap<String, BTreeMap<String, Arc<Pod>>>;

/// Every pod, by namespace and name. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct PodCache {
    namespaces: Arc<Mutex<Namespaces>>,
}

impl PodCache {
    pub(crate) fn insert(&self, key: &NsName, pod: Arc<Pod>) -> Option<Arc<Pod>> {
        self.lock().entry(key.0.clone()).or_default().insert(key.1.clone(), pod)
    }

    pub(crate) fn remove(&self, key: &NsName) -> Option<Arc<Pod>> {
        self.lock().get_mut(&key.0)?.remove(&key.1)
    }

    pub(crate) fn get(&self, key: &NsName) -> Option<Arc<Pod>> {
        self.lock().get(&key.0)?.get(&key.1).cloned()
    }

    /// The pods of a namespace, or of all, that `wanted` accepts.
    pub(crate) fn select_in(&self, namespace: Option<&str>, wanted: impl Fn(&Value) -> bool) -> Vec<Arc<Pod>> {
        let Some(namespace) = namespace else {
            let namespaces = self.lock();
            return namespaces.values().flat_map(BTreeMap::values).filter(|pod| wanted(&pod.object)).cloned().collect();
        };
        self.select(namespace, wanted)
    }

    /// The pods of a namespace that `wanted` accepts, in the order of names.
    pub(crate) fn select(&self, namespace: &str, wanted: impl Fn(&Value) -> bool) -> Vec<Arc<Pod>> {
        let namespaces = self.lock();
        let pods = namespaces.get(namespace).into_iter().flat_map(BTreeMap::values);
        pods.filter(|pod| wanted(&pod.object)).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Namespaces> {
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
