//! Who owns which field: server-side apply, and the bookkeeping of `managedFields`. It works on plain JSON; where lists are
//! merged by key it goes by the well-known lists of Kubernetes and by the schema of a custom resource.
//!
//! Facts: the Kubernetes page "Server-Side Apply" and KEP-555 (`FieldsV1`: `f:` for fields, `k:` for items by key, `.` for
//! the item itself).

use serde_json::{Map, Value, json};

use super::kind::Kind;
use super::status::Status;

/// Fields as a tree in the shape of `FieldsV1`.
type Tree = Map<String, Value>;

/// The keys of lists that are merged by key in the built-in kinds.
const LISTS: &[(&str, &[&str])] = &[
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("env", &["name"]),
    ("volumes", &["name"]),
    ("volumeMounts", &["mountPath"]),
    ("conditions", &["type"]),
    ("ownerReferences", &["uid"]),
    ("imagePullSecrets", &["name"]),
];

/// Who applies, and how.
#[derive(Debug, Clone, Copy)]
pub struct Applier<'a> {
    /// `fieldManager`.
    pub manager: &'a str,
    /// Whether fields of others are taken over.
    pub force: bool,
    /// The subresource that is applied, or nothing.
    pub subresource: &'a str,
    /// The time for `managedFields`.
    pub time: &'a str,
}

/// Applies `applied` on `live`.
///
/// # Errors
/// 409 where a field belongs to somebody else, has another value and is not taken by force.
pub fn apply(kind: &Kind, live: &Value, applied: &Value, by: Applier<'_>) -> Result<Value, Status> {
    let wanted = owned(&without_identity(applied), kind);
    let mut managers = managers(live);
    let mine = managers.iter().position(|entry| is_of(entry, by, "Apply"));
    let mut conflicts = Vec::new();
    for (nth, entry) in managers.iter_mut().enumerate() {
        if Some(nth) == mine {
            continue;
        }
        let name = entry["manager"].as_str().unwrap_or_default().to_owned();
        let Some(theirs) = entry["fieldsV1"].as_object_mut() else { continue };
        let both = differing(&intersection(theirs, &wanted), live, applied);
        if both.is_empty() {
            continue;
        }
        if by.force {
            *theirs = difference(theirs, &both);
        } else {
            conflicts.extend(paths(&both, "").into_iter().map(|path| (name.clone(), path)));
        }
    }
    if !conflicts.is_empty() {
        return Err(conflict(&conflicts));
    }
    let mut result = live.clone();
    merge(&mut result, &without_identity(applied), kind, "");
    if let Some(before) = mine.and_then(|nth| managers[nth]["fieldsV1"].as_object()) {
        let mut dropped = difference(before, &wanted);
        for (nth, entry) in managers.iter().enumerate() {
            if Some(nth) != mine
                && let Some(theirs) = entry["fieldsV1"].as_object()
            {
                dropped = difference(&dropped, theirs);
            }
        }
        remove(&mut result, &dropped);
    }
    let unchanged = mine.is_some_and(|nth| managers[nth]["fieldsV1"].as_object() == Some(&wanted));
    if !unchanged {
        let entry = entry(kind, by, "Apply", wanted);
        match mine {
            Some(nth) => managers[nth] = entry,
            None => managers.push(entry),
        }
    }
    set_managers(&mut result, managers);
    Ok(result)
}

/// Notes that `by` has changed `live` to `updated` by something other than apply.
pub fn note_update(kind: &Kind, live: Option<&Value>, updated: &mut Value, by: Applier<'_>) {
    let nothing = Value::Null;
    let live = live.unwrap_or(&nothing);
    let (before, after) = (without_identity(live), without_identity(updated));
    let changed = differing(&owned(&after, kind), &before, &after);
    // What they sent back in managedFields is ignored: it is ours to keep.
    let mut managers = managers(live);
    let gone = difference(&owned(&before, kind), &owned(&after, kind));
    for entry in &mut managers {
        let is_mine = is_of(entry, by, "Update");
        if let Some(theirs) = entry["fieldsV1"].as_object_mut() {
            *theirs = difference(theirs, &gone);
            if !is_mine {
                *theirs = difference(theirs, &changed);
            }
        }
    }
    if !changed.is_empty() {
        match managers.iter_mut().find(|entry| is_of(entry, by, "Update")) {
            Some(mine) => {
                if let Some(fields) = mine["fieldsV1"].as_object_mut() {
                    union(fields, &changed);
                }
                mine["time"] = json!(by.time);
            }
            None => managers.push(entry(kind, by, "Update", changed)),
        }
    }
    managers.retain(|entry| entry["fieldsV1"].as_object().is_some_and(|fields| !fields.is_empty()));
    set_managers(updated, managers);
}

fn managers(object: &Value) -> Vec<Value> {
    object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default()
}

fn set_managers(object: &mut Value, managers: Vec<Value>) {
    if managers.is_empty() {
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
    } else {
        object["metadata"]["managedFields"] = Value::Array(managers);
    }
}

fn is_of(entry: &Value, by: Applier<'_>, operation: &str) -> bool {
    entry["manager"] == by.manager
        && entry["operation"] == operation
        && entry["subresource"].as_str().unwrap_or_default() == by.subresource
}

fn entry(kind: &Kind, by: Applier<'_>, operation: &str, fields: Tree) -> Value {
    let mut entry = json!({
        "manager": by.manager, "operation": operation, "apiVersion": kind.api_version(), "time": by.time,
        "fieldsType": "FieldsV1", "fieldsV1": fields,
    });
    if !by.subresource.is_empty() {
        entry["subresource"] = json!(by.subresource);
    }
    entry
}

fn conflict(conflicts: &[(String, String)]) -> Status {
    let said: Vec<_> = conflicts.iter().map(|(manager, path)| format!("conflict with {manager:?}: {path}")).collect();
    let count = conflicts.len();
    let message = if count == 1 {
        format!("Apply failed with 1 conflict: {}", said.join(""))
    } else {
        format!("Apply failed with {count} conflicts: {}", said.join(", "))
    };
    let causes: Vec<_> = conflicts
        .iter()
        .map(|(manager, path)| {
            json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager:?}"), "field": path})
        })
        .collect();
    Status { details: Some(json!({"causes": causes})), ..Status::new(409, "Conflict", message) }
}

/// What nobody owns: the identity of the object, and what the API server itself sets.
fn without_identity(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            for name in [
                "name",
                "namespace",
                "uid",
                "resourceVersion",
                "creationTimestamp",
                "generation",
                "managedFields",
                "selfLink",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
            ] {
                metadata.remove(name);
            }
            if metadata.is_empty() {
                fields.remove("metadata");
            }
        }
    }
    object
}

/// The fields that a value has.
fn owned(value: &Value, kind: &Kind) -> Tree {
    tree(value, kind, "")
}

fn tree(value: &Value, kind: &Kind, path: &str) -> Tree {
    let mut found = Tree::new();
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let below = tree(value, kind, &join(path, name));
                found.insert(format!("f:{name}"), Value::Object(below));
            }
        }
        Value::Array(items) => {
            if let Some(keys) = keys(kind, path) {
                for item in items {
                    let mut below = tree(item, kind, path_of_items(path).as_str());
                    below.insert(".".to_owned(), json!({}));
                    found.insert(key_of(item, &keys), Value::Object(below));
                }
            }
        }
        _ => {}
    }
    found
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn path_of_items(path: &str) -> String {
    format!("{path}[]")
}

/// The keys by which the list at `path` is merged; `None` for a list that is one value.
fn keys(kind: &Kind, path: &str) -> Option<Vec<String>> {
    if let Some(schema) = &kind.schema
        && !path.starts_with("metadata")
    {
        return schema.list_keys(path);
    }
    let last = path.rsplit('.').next().unwrap_or(path);
    // The conditions of the built-in kinds are merged by type in their status only.
    LISTS.iter().find(|(name, _)| *name == last).map(|(_, keys)| keys.iter().map(|&key| key.to_owned()).collect())
}

fn key_of(item: &Value, keys: &[String]) -> String {
    let key: Map<String, Value> = keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone()))).collect();
    format!("k:{}", Value::Object(key))
}

/// The fields of `of` whose values differ between two objects.
fn differing(of: &Tree, here: &Value, there: &Value) -> Tree {
    fn walk(of: &Tree, here: &Value, there: &Value) -> Tree {
        let mut found = Tree::new();
        for (name, below) in of {
            if name == "." {
                continue;
            }
            let (here, there) = (child(here, name), child(there, name));
            if here == there {
                continue;
            }
            let below = below.as_object().cloned().unwrap_or_default();
            let is_leaf = below.is_empty();
            let within = walk(&below, here.unwrap_or(&Value::Null), there.unwrap_or(&Value::Null));
            if is_leaf || !within.is_empty() {
                found.insert(name.clone(), Value::Object(within));
            }
        }
        found
    }
    walk(of, here, there)
}

/// The value at one step of a tree.
fn child<'a>(value: &'a Value, step: &str) -> Option<&'a Value> {
    if let Some(name) = step.strip_prefix("f:") {
        return value.get(name);
    }
    let key: Value = serde_json::from_str(step.strip_prefix("k:")?).ok()?;
    value.as_array()?.iter().find(|item| has_key(item, &key))
}

fn has_key(item: &Value, key: &Value) -> bool {
    key.as_object().is_some_and(|key| key.iter().all(|(name, value)| item.get(name) == Some(value)))
}

fn intersection(one: &Tree, other: &Tree) -> Tree {
    let mut found = Tree::new();
    for (name, below) in one {
        if let Some(same) = other.get(name) {
            let (below, same) = (below.as_object(), same.as_object());
            let is_leaf = |tree: Option<&Tree>| tree.is_none_or(Tree::is_empty);
            let leaves = (is_leaf(below), is_leaf(same));
            let within = below.zip(same).map(|(one, other)| intersection(one, other)).unwrap_or_default();
            // An empty map beside a full one: who owns the one owns nothing of the other.
            if leaves == (true, true) || !within.is_empty() {
                found.insert(name.clone(), Value::Object(within));
            }
        }
    }
    found
}

/// The fields of `one` that are not among those of `other`. A field that has others below it goes with the last of them.
fn difference(one: &Tree, other: &Tree) -> Tree {
    let mut left = Tree::new();
    for (name, below) in one {
        match (other.get(name), below.as_object()) {
            (None, _) => {
                left.insert(name.clone(), below.clone());
            }
            (Some(same), Some(below)) if !below.is_empty() => {
                let within = same.as_object().map_or_else(|| below.clone(), |same| difference(below, same));
                if !within.is_empty() {
                    left.insert(name.clone(), Value::Object(within));
                }
            }
            _ => {}
        }
    }
    left
}

fn union(into: &mut Tree, from: &Tree) {
    for (name, below) in from {
        let place = into.entry(name.clone()).or_insert_with(|| json!({}));
        if let (Some(place), Some(below)) = (place.as_object_mut(), below.as_object()) {
            union(place, below);
        }
    }
}

/// The paths of the leaves, as the API server writes them.
fn paths(of: &Tree, at: &str) -> Vec<String> {
    of.iter()
        .filter(|(name, _)| *name != ".")
        .flat_map(|(name, below)| {
            let here = match (name.strip_prefix("f:"), name.strip_prefix("k:")) {
                (Some(field), _) => format!("{at}.{field}"),
                (_, Some(key)) => {
                    format!("{at}[{}]", key.trim_matches(['{', '}']).replace("\":", "=").replace('"', ""))
                }
                _ => at.to_owned(),
            };
            match below.as_object() {
                Some(below) if !below.is_empty() => paths(below, &here),
                _ => vec![here],
            }
        })
        .collect()
}

fn merge(into: &mut Value, from: &Value, kind: &Kind, path: &str) {
    match (&mut *into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                let here = join(path, name);
                match into.get_mut(name) {
                    Some(place) => merge(place, value, kind, &here),
                    None => {
                        into.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(into), Value::Array(from)) if keys(kind, path).is_some() => {
            let keys = keys(kind, path).unwrap_or_default();
            for item in from {
                let key = key_of(item, &keys);
                match into.iter_mut().find(|place| key_of(place, &keys) == key) {
                    Some(place) => merge(place, item, kind, &path_of_items(path)),
                    None => into.push(item.clone()),
                }
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn remove(from: &mut Value, fields: &Tree) {
    for (name, below) in fields {
        let below = below.as_object().cloned().unwrap_or_default();
        if let Some(field) = name.strip_prefix("f:") {
            let Some(place) = from.as_object_mut() else { continue };
            if below.is_empty() {
                place.remove(field);
            } else if let Some(value) = place.get_mut(field) {
                remove(value, &below);
                if value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty) {
                    place.remove(field);
                }
            }
        } else if let Some(key) = name.strip_prefix("k:")
            && let Ok(key) = serde_json::from_str::<Value>(key)
            && let Some(items) = from.as_array_mut()
        {
            if below.contains_key(".") {
                items.retain(|item| !has_key(item, &key));
            } else if let Some(item) = items.iter_mut().find(|item| has_key(item, &key)) {
                remove(item, &below);
            }
        }
    }
}
