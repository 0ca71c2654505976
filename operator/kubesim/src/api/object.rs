//! The parts of writes that look at one object only: its identity, its metadata, whether it has changed. They store nothing.

use serde_json::{Map, Value, json};

use super::kind::Kind;
use super::status::Status;
use super::write::Part;

/// Checks and fills in `apiVersion`, `kind` and the namespace.
pub(super) fn identify(kind: &Kind, namespace: &str, object: &mut Value) -> Result<(), Status> {
    let Some(fields) = object.as_object_mut() else {
        return Err(Status::bad_request("the object is no JSON object"));
    };
    for (name, wanted) in [("apiVersion", kind.api_version()), ("kind", kind.kind.clone())] {
        match fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()) {
            Some(given) if given != wanted => {
                let message = format!("the {name} in the data ({given}) does not match the expected {name} ({wanted})");
                return Err(Status::bad_request(message));
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

/// Only the identity of an object that is applied for the first time.
pub(super) fn strip_labels(object: &Value) -> Value {
    let mut object = object.clone();
    let kept = ["name", "namespace", "uid"];
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|name, _| kept.contains(&name.as_str()));
    }
    object
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

pub(super) fn set_or_remove(object: &mut Value, name: &str, value: Value) {
    if value.is_null() {
        if let Some(fields) = object.as_object_mut() {
            fields.remove(name);
        }
    } else {
        object[name] = value;
    }
}

/// Whether nothing changed but perhaps the times in `managedFields`.
pub(super) fn same(live: &Value, object: &Value) -> bool {
    if live == object {
        return true;
    }
    let bare = |value: &Value| {
        let mut value = value.clone();
        for entry in value["metadata"]["managedFields"].as_array_mut().into_iter().flatten() {
            if let Some(entry) = entry.as_object_mut() {
                entry.remove("time");
            }
        }
        value
    };
    // Comparing whole objects first keeps the usual case cheap.
    live["metadata"]["managedFields"].is_array() && bare(live) == bare(object)
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
