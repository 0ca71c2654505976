//! The API groups whose objects are served, and what differs between them. Names only; nothing here looks at an object.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::VERSION;

/// The group of an object. Both have the same spec and the same rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Group {
    /// `windlass.dev`.
    #[default]
    #[serde(rename = "windlass.dev")]
    Windlass,
    /// `keda.sh`: KEDA's own objects, with KEDA's names for everything that is made for them.
    #[serde(rename = "keda.sh")]
    Keda,
}

impl Group {
    /// The name of the group.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Windlass => crate::GROUP,
            Self::Keda => "keda.sh",
        }
    }

    /// Group and version, as in `apiVersion`.
    #[must_use]
    pub fn api_version(self) -> String {
        format!("{}/{VERSION}", self.name())
    }

    /// The label that names the scaled object on everything made for it, and the selector of its external metrics.
    #[must_use]
    pub const fn name_label(self) -> &'static str {
        match self {
            Self::Windlass => crate::NAME_LABEL,
            Self::Keda => "scaledobject.keda.sh/name",
        }
    }

    /// What the name of an HPA begins with, where the object gives none.
    #[must_use]
    pub const fn hpa_prefix(self) -> &'static str {
        match self {
            Self::Windlass => "windlass-hpa-",
            Self::Keda => "keda-hpa-",
        }
    }

    /// The finalizer by which the operator is asked before an object goes.
    #[must_use]
    pub const fn finalizer(self) -> &'static str {
        match self {
            Self::Windlass => "finalizer.windlass.dev",
            Self::Keda => "finalizer.keda.sh",
        }
    }

    /// Whether each object carries the finalizer and the label of its own name, whatever its spec, as KEDA does it.
    #[must_use]
    pub const fn always_marks(self) -> bool {
        matches!(self, Self::Keda)
    }

    /// Whether keys that a trigger does not know are passed over, and only remarked upon.
    #[must_use]
    pub const fn is_lenient(self) -> bool {
        matches!(self, Self::Keda)
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
