//! The name of an object within the cluster.

use std::fmt;
use std::sync::Arc;

use windlass_crd::Group;

/// Namespace, name and group; cheap to clone, ordered in this way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// The group of a scaled object, or of the one that an HPA was made for.
    pub group: Group,
}

impl ObjectKey {
    /// The key of an object of the group `windlass.dev`, or of one for which the group says nothing.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self::of(Group::Windlass, namespace, name)
    }

    /// The key of an object of `group`.
    #[must_use]
    pub fn of(group: Group, namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into(), group }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group == Group::Keda {
            f.write_str("keda.sh:")?;
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
