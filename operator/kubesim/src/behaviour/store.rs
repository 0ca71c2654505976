//! The API server as the controllers use it: typed kinds, merge patches, and one feed of changes that begins with what is
//! there already. It decides nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;

use super::json::{NsName, deleting, text};
use crate::api::{Changes, Cluster, Deletion, Gr, Part, Patch, Selector, Status};

pub(crate) use crate::api::ChangeKind;

/// The kinds that controllers look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Namespace,
    Pod,
    Deployment,
    ReplicaSet,
    StatefulSet,
    Job,
    Hpa,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Namespace, Self::Deployment, Self::ReplicaSet, Self::StatefulSet, Self::Job, Self::Pod, Self::Hpa];

    pub(crate) const fn gr(self) -> Gr<'static> {
        match self {
            Self::Namespace => ("", "namespaces"),
            Self::Pod => ("", "pods"),
            Self::Deployment => ("apps", "deployments"),
            Self::ReplicaSet => ("apps", "replicasets"),
            Self::StatefulSet => ("apps", "statefulsets"),
            Self::Job => ("batch", "jobs"),
            Self::Hpa => ("autoscaling", "horizontalpodautoscalers"),
        }
    }

    fn of(group: &str, plural: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.gr() == (group, plural))
    }
}

/// A request that was refused.
pub(crate) type Refused = Status;

/// A change of an object of a known kind.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    pub(crate) what: ChangeKind,
    pub(crate) object: Arc<Value>,
}

/// The changes of known kinds, in the order in which they were committed.
#[derive(Debug)]
pub(crate) struct Feed {
    first: VecDeque<Change>,
    changes: Changes,
}

impl Feed {
    /// Everything that is there, then every change.
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let changes = cluster.subscribe();
        let present = Kind::ALL.into_iter().flat_map(|kind| {
            let objects = cluster.list(kind.gr(), None, &Selector::default());
            objects.into_iter().map(move |object| Change { kind, what: ChangeKind::Added, object })
        });
        Self { first: present.collect(), changes }
    }

    /// The next change; `None` when the cluster is gone.
    pub(crate) async fn next(&mut self) -> Option<Change> {
        if let Some(first) = self.first.pop_front() {
            return Some(first);
        }
        loop {
            if let Some(known) = known(&*self.changes.recv().await?) {
                return Some(known);
            }
        }
    }

    /// The next change, if there is one already.
    pub(crate) fn try_next(&mut self) -> Option<Change> {
        if let Some(first) = self.first.pop_front() {
            return Some(first);
        }
        loop {
            if let Some(known) = known(&*self.changes.try_recv().ok()?) {
                return Some(known);
            }
        }
    }
}

fn known(change: &crate::api::Change) -> Option<Change> {
    let kind = Kind::of(&change.resource.group, &change.resource.plural)?;
    Some(Change { kind, what: change.kind, object: change.object.clone() })
}

/// What else lives in namespaces and has no controller here.
const OTHER_NAMESPACED: [Gr<'static>; 14] = [
    ("", "configmaps"),
    ("", "endpoints"),
    ("", "replicationcontrollers"),
    ("", "secrets"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("batch", "cronjobs"),
    ("coordination.k8s.io", "leases"),
    ("discovery.k8s.io", "endpointslices"),
    ("policy", "poddisruptionbudgets"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
    // Last: what goes may still be told of.
    ("", "events"),
    ("events.k8s.io", "events"),
];

/// Writes, as one of the control plane's own users.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    cluster: Cluster,
    user: &'static str,
}

impl Store {
    pub(crate) const fn new(cluster: Cluster, user: &'static str) -> Self {
        Self { cluster, user }
    }

    pub(crate) fn create(&self, kind: Kind, namespace: &str, object: Value) -> Result<Arc<Value>, Refused> {
        self.cluster.create(self.user, kind.gr(), namespace, object)
    }

    pub(crate) fn delete(&self, kind: Kind, key: &NsName, uid: &str) -> Result<Arc<Value>, Refused> {
        let deletion = Deletion { uid: Some(uid.to_owned()), ..Deletion::default() };
        self.cluster.delete(self.user, kind.gr(), (&key.0, &key.1), &deletion)
    }

    pub(crate) fn patch(&self, kind: Kind, key: &NsName, patch: Value) -> Result<Arc<Value>, Refused> {
        self.write(kind, Part::Main, key, patch)
    }

    pub(crate) fn patch_status(&self, kind: Kind, key: &NsName, patch: Value) -> Result<Arc<Value>, Refused> {
        self.write(kind, Part::Status, key, patch)
    }

    /// Deletes what a namespace holds, of every kind there is; how much is left.
    pub(crate) fn empty_namespace(&self, name: &str) -> usize {
        let crds = self.cluster.list(("apiextensions.k8s.io", "customresourcedefinitions"), None, &Selector::default());
        let custom = crds.iter().filter(|crd| text(crd, "/spec/scope") == "Namespaced");
        let mut kinds: Vec<Gr<'_>> =
            custom.map(|crd| (text(crd, "/spec/group"), text(crd, "/spec/names/plural"))).collect();
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Namespace) {
            kinds.push(kind.gr());
        }
        for other in OTHER_NAMESPACED {
            kinds.push(other);
        }
        let mut left = 0;
        for gr in kinds {
            for object in self.cluster.list(gr, Some(name), &Selector::default()) {
                let key = super::json::key(&object);
                if !deleting(&object) {
                    // Whether it worked is asked below.
                    let _ = self.cluster.delete(self.user, gr, (&key.0, &key.1), &Deletion::default());
                }
                left += usize::from(self.cluster.get(gr, &key.0, &key.1).is_some());
            }
        }
        left
    }

    fn write(&self, kind: Kind, part: Part, key: &NsName, patch: Value) -> Result<Arc<Value>, Refused> {
        self.cluster.patch(self.user, kind.gr(), part, (&key.0, &key.1), &Patch::Merge(patch))
    }
}
