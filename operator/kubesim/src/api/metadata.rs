//! What every object has: its identity, its metadata, and whether a write changes anything. It works on plain JSON.

use serde_json::{Map, Value, json};

use super::admit;
use super::kind::Kind;
use super::status::{Cause, Status};
use super::write::Part;

/// Checks and fills in `apiVersion`, `kind` and the namespace.
pub(super) fn identify(kind: &Kind, namespace: &str, object: &mut Value) -> Result<(), Status> {
    let Some(fields) = object.as_object_mut() else {
        return Err(Status::bad_request("the object is no JSON object"));
    };
    for (name, wanted) in [("apiVersion", kind.api_version()), ("kind", kind.kind.clone())] {
        match fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()) {
            Some(given) if given != wanted => {
                return Err(Status::bad_request(if name == "kind" {
                    unlike(kind, given)
                } else {
                    format!("the API version in the data ({given}) does not match the expected API version ({wanted})")
                }));
            }
            Some(_) => {}
            None => {
                fields.insert(name.to_owned(), json!(wanted));
            }
        }
    }
    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
    let Some(metadata) = metadata.as_object_mut() else { return Err(Status::bad_request("metadata is no object")) };
    if kind.namespaced {
        match metadata.get("namespace").and_then(Value::as_str).filter(|text| !text.is_empty()) {
            Some(given) if given != namespace => {
                return Err(Status::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            Some(_) => {}
            None => {
                metadata.insert("namespace".to_owned(), json!(namespace));
            }
        }
    } else {
        metadata.remove("namespace");
    }
    Ok(())
}

/// What the API server says of an object of another kind.
fn unlike(kind: &Kind, given: &str) -> String {
    let (version, wanted) = (&kind.version, &kind.kind);
    let package = kind.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
    let why = if kind.schema.is_some() {
        String::new()
    } else {
        format!(": converting ({version}.{given}) to ({package}.{wanted}): unknown conversion")
    };
    format!("{given} in version {version:?} cannot be handled as a {wanted}{why}")
}

/// Of an object that is applied for the first time only who it is.
pub(super) fn only_identity(object: &Value) -> Value {
    let kept = ["name", "namespace"];
    let metadata = object["metadata"].as_object().into_iter().flatten();
    let metadata: Map<_, _> = metadata
        .filter(|(name, _)| kept.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": metadata})
}

/// Gives an object what no writer can change.
pub(super) fn keep_identity(kind: &Kind, live: &Value, object: &mut Value) -> Result<(), Status> {
    let name = live["metadata"]["name"].as_str().unwrap_or_default();
    let metadata = &mut object["metadata"];
    if !metadata.is_object() {
        return Err(Status::bad_request("metadata is no object"));
    }
    if metadata["uid"].as_str().is_some_and(|uid| !uid.is_empty() && live["metadata"]["uid"] != *uid) {
        let causes = [admit::invalid("metadata.uid", &metadata["uid"], "field is immutable")];
        return Err(Status::invalid(kind, name, &causes));
    }
    for name in [
        "uid",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "resourceVersion",
        "generateName",
    ] {
        set_or_remove(metadata, name, live["metadata"].get(name).cloned().unwrap_or_default());
    }
    Ok(())
}

/// An object that is being deleted gets no new finalizers.
pub(super) fn check_finalizers(kind: &Kind, live: &Value, object: &Value) -> Result<(), Status> {
    if live["metadata"].get("deletionTimestamp").is_none() {
        return Ok(());
    }
    let held = |object: &Value| object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let before = held(live);
    let new: Vec<_> = held(object).into_iter().filter(|finalizer| !before.contains(finalizer)).collect();
    if new.is_empty() {
        return Ok(());
    }
    let new: Vec<_> = new.iter().map(ToString::to_string).collect();
    let message = format!(
        "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        new.join(", ")
    );
    let cause = Cause { reason: "FieldValueForbidden", field: "metadata.finalizers".to_owned(), message };
    // Both what all kinds have in common and the kind's own check look at it.
    let causes = if kind.schema.is_some() { vec![cause] } else { vec![cause.clone(), cause] };
    Err(Status::invalid(kind, live["metadata"]["name"].as_str().unwrap_or_default(), &causes))
}

/// The API server drops empty maps and lists of the metadata.
pub(super) fn tidy(metadata: &mut Value) {
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.retain(|name, value| {
            let optional =
                matches!(name.as_str(), "labels" | "annotations" | "finalizers" | "ownerReferences" | "managedFields");
            let empty = value.is_null()
                || value.as_object().is_some_and(Map::is_empty)
                || value.as_array().is_some_and(Vec::is_empty);
            !(optional && empty)
        });
    }
}

/// Sets a field; null removes it.
pub(super) fn set_or_remove(object: &mut Value, name: &str, value: Value) {
    let Some(fields) = object.as_object_mut() else { return };
    if value.is_null() {
        fields.remove(name);
    } else {
        fields.insert(name.to_owned(), value);
    }
}

/// Whether nothing changed but perhaps the times in `managedFields`.
pub(super) fn same(live: &Value, object: &Value) -> bool {
    if live == object {
        return true;
    }
    let (Some(one), Some(other)) = (live.as_object(), object.as_object()) else { return false };
    let (one_meta, other_meta) = (&live["metadata"], &object["metadata"]);
    // Comparing piece by piece needs no copies.
    let rest = |fields: &Map<String, Value>, other: &Map<String, Value>, but: &str| {
        fields.len() == other.len() && fields.iter().all(|(name, value)| name == but || other.get(name) == Some(value))
    };
    let metadata = one_meta.as_object().zip(other_meta.as_object());
    rest(one, other, "metadata")
        && metadata.is_some_and(|(one, other)| rest(one, other, "managedFields"))
        && untimed(&one_meta["managedFields"]) == untimed(&other_meta["managedFields"])
}

/// Entries of `managedFields` without their times.
fn untimed(managed: &Value) -> Vec<Vec<(&String, &Value)>> {
    let entries = managed.as_array().into_iter().flatten();
    let mut entries: Vec<Vec<_>> = entries
        .map(|entry| entry.as_object().into_iter().flatten().filter(|(name, _)| *name != "time").collect())
        .collect();
    // Their order goes by time.
    entries.sort_by_cached_key(|entry| format!("{entry:?}"));
    entries
}

/// A generation counts changes of everything but metadata and status.
pub(super) fn has_new_generation(kind: &Kind, part: Part, live: &Value, object: &Value) -> bool {
    if part == Part::Status || live["metadata"].get("generation").is_none() {
        return false;
    }
    let fields = object.as_object().into_iter().flatten().map(|(name, _)| name);
    let before = live.as_object().into_iter().flatten().map(|(name, _)| name);
    fields
        .chain(before)
        .filter(|name| *name != "metadata" && !(kind.has_status && *name == "status"))
        .any(|name| live.get(name) != object.get(name))
}
