//! Where in an object a field is, as far as it matters for who owns what: which lists are merged by key, and which maps are
//! one value. It goes by the well-known fields of Kubernetes and by the schema of a custom resource.
//!
//! Facts: `x-kubernetes-list-type`, `x-kubernetes-list-map-keys` and `x-kubernetes-map-type` in the OpenAPI document of
//! Kubernetes 1.36.

use serde_json::{Map, Value};

use super::kind::Kind;

/// A place in an object.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    /// In a built-in kind, or in the metadata of any: the names of the field and of the one above it.
    Known { kind: &'a str, name: &'a str, above: &'a str, is_item: bool },
    /// In a custom resource: the schema of the field, null if it has none.
    Custom { kind: &'a str, schema: &'a Value, is_root: bool },
}

/// How a list is merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum List<'a> {
    /// It is one value.
    Whole,
    /// Its items are told apart by these fields.
    Keys(Vec<&'a str>),
    /// Its items are told apart by themselves.
    Set,
}

/// Lists by key, wherever they are.
const BY_NAME: [&str; 9] = [
    "containers",
    "initContainers",
    "ephemeralContainers",
    "env",
    "volumes",
    "imagePullSecrets",
    "secrets",
    "schedulingGates",
    "resourceClaims",
];
/// Maps that are one value.
const WHOLE: [&str; 15] = [
    "selector",
    "nodeSelector",
    "labelSelector",
    "namespaceSelector",
    "configMapKeyRef",
    "secretKeyRef",
    "fieldRef",
    "resourceFieldRef",
    "secretRef",
    "involvedObject",
    "regarding",
    "related",
    "roleRef",
    "targetRef",
    "preference",
];

impl<'a> Place<'a> {
    /// The top of an object.
    pub(super) fn top(kind: &'a Kind) -> Self {
        let name = kind.kind.as_str();
        match &kind.schema {
            Some(schema) => Self::Custom { kind: name, schema: schema.root(), is_root: true },
            None => Self::Known { kind: name, name: "", above: "", is_item: false },
        }
    }

    /// A field below.
    pub(super) fn field(self, field: &'a str) -> Self {
        match self {
            Self::Custom { kind, is_root: true, .. } if field == "metadata" => {
                Self::Known { kind, name: field, above: "", is_item: false }
            }
            Self::Custom { kind, schema, .. } => {
                let named = schema["properties"].get(field);
                let schema = named.or_else(|| schema.get("additionalProperties")).unwrap_or(&Value::Null);
                Self::Custom { kind, schema, is_root: false }
            }
            Self::Known { kind, name, .. } => Self::Known { kind, name: field, above: name, is_item: false },
        }
    }

    /// The items of a list.
    pub(super) fn items(self) -> Self {
        match self {
            Self::Custom { kind, schema, .. } => Self::Custom { kind, schema: &schema["items"], is_root: false },
            Self::Known { kind, name, above, .. } => Self::Known { kind, name, above, is_item: true },
        }
    }

    /// Whether a field is an entry of a map rather than one that the kind names: such are owned as such.
    pub(super) fn is_entry(self, field: &str) -> bool {
        match self {
            Self::Custom { is_root, schema, .. } => !is_root && schema["properties"].get(field).is_none(),
            Self::Known { .. } => false,
        }
    }

    /// Whether a map or list is a field itself where it is new: all are but the parts that each object of a kind has.
    pub(super) fn is_counted_itself(self) -> bool {
        const PARTS: [&str; 8] =
            ["metadata", "spec", "status", "template", "strategy", "updateStrategy", "jobTemplate", "containers"];
        match self {
            Self::Custom { is_root, .. } => !is_root,
            Self::Known { name, is_item, .. } => !is_item && !name.is_empty() && !PARTS.contains(&name),
        }
    }

    /// Whether a map is one value.
    pub(super) fn is_whole(self) -> bool {
        match self {
            Self::Custom { schema, .. } => schema["x-kubernetes-map-type"] == "atomic",
            Self::Known { name, is_item: true, .. } => {
                matches!(name, "ownerReferences" | "imagePullSecrets" | "secrets")
            }
            Self::Known { name, .. } => WHOLE.contains(&name),
        }
    }

    /// How a list is merged.
    pub(super) fn list(self) -> List<'a> {
        match self {
            Self::Custom { schema, .. } => match schema["x-kubernetes-list-type"].as_str() {
                Some("set") => List::Set,
                Some("map") => {
                    let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
                    List::Keys(keys.filter_map(Value::as_str).collect())
                }
                _ => List::Whole,
            },
            Self::Known { kind, name, above, .. } => match (name, above) {
                ("finalizers", "metadata") => List::Set,
                ("ownerReferences", "metadata") => List::Keys(vec!["uid"]),
                ("conditions", _) if !matches!(kind, "Job" | "CronJob") => List::Keys(vec!["type"]),
                ("ports", "containers" | "initContainers" | "ephemeralContainers") => {
                    List::Keys(vec!["containerPort", "protocol"])
                }
                ("ports", "spec") if kind == "Service" => List::Keys(vec!["port", "protocol"]),
                ("volumeMounts", _) => List::Keys(vec!["mountPath"]),
                ("volumeDevices", _) => List::Keys(vec!["devicePath"]),
                ("hostAliases" | "podIPs", _) => List::Keys(vec!["ip"]),
                ("topologySpreadConstraints", _) => List::Keys(vec!["topologyKey", "whenUnsatisfiable"]),
                (name, _) if BY_NAME.contains(&name) => List::Keys(vec!["name"]),
                _ => List::Whole,
            },
        }
    }
}

/// The step of an item in a list by key, as `FieldsV1` writes it.
pub(super) fn key_step(item: &Value, keys: &[&str]) -> String {
    let value = |key: &&str| {
        // The only key that may be left out.
        item.get(*key).cloned().or_else(|| (*key == "protocol").then(|| Value::from("TCP")))
    };
    let key: Map<String, Value> = keys.iter().filter_map(|key| Some(((*key).to_owned(), value(key)?))).collect();
    format!("k:{}", Value::Object(key))
}

/// The step of an item in a set.
pub(super) fn value_step(item: &Value) -> String {
    format!("v:{item}")
}

/// The item of a list that a step means.
pub(super) fn item_position(items: &[Value], step: &str) -> Option<usize> {
    if let Some(value) = step.strip_prefix("v:") {
        let value: Value = serde_json::from_str(value).ok()?;
        return items.iter().position(|item| *item == value);
    }
    let key: Value = serde_json::from_str(step.strip_prefix("k:")?).ok()?;
    let key = key.as_object()?;
    let has = |item: &Value, (name, value): (&String, &Value)| {
        item.get(name) == Some(value) || (name == "protocol" && item.get(name).is_none() && *value == "TCP")
    };
    items.iter().position(|item| key.iter().all(|part| has(item, part)))
}
