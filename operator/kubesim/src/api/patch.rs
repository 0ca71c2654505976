//! Patches of plain JSON: merge patches, strategic ones and JSON patches. It stores nothing.

use serde_json::{Value, json};

use super::kind::Kind;
use super::places::{List, Place, item_position, key_step};
use super::status::Status;

/// A patch.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// RFC 7386.
    Merge(Value),
    /// The one of Kubernetes: as a merge patch, but the well-known lists are merged by their keys.
    Strategic(Value),
    /// RFC 6902.
    Json(Vec<Value>),
    /// Server-side apply.
    Apply {
        /// What is applied.
        object: Value,
        /// Whether fields of others are taken over.
        force: bool,
    },
}

/// An object with a merge or JSON patch on it.
pub(super) fn patched(kind: &Kind, object: &Value, patch: &Patch) -> Result<Value, Status> {
    let mut patched = object.clone();
    match patch {
        Patch::Merge(patch) | Patch::Apply { object: patch, .. } => merge(&mut patched, patch),
        Patch::Strategic(patch) => strategic(&mut patched, patch, Place::top(kind)),
        Patch::Json(operations) => {
            for operation in operations {
                json_patch(&mut patched, operation)?;
            }
        }
    }
    Ok(patched)
}

/// RFC 7386.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let Some(fields) = into.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// A strategic merge patch, with its `$patch` directives; what it says of the order of lists is not looked at.
fn strategic(into: &mut Value, patch: &Value, place: Place<'_>) {
    let (Value::Object(fields), Value::Object(patch)) = (&mut *into, patch) else {
        *into = patch.clone();
        return;
    };
    if patch.get("$patch").is_some_and(|directive| directive == "replace") {
        fields.clear();
    }
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
            if let (Some(items), Some(gone)) = (fields.get_mut(list).and_then(Value::as_array_mut), value.as_array()) {
                items.retain(|item| !gone.contains(item));
            }
        } else if name.starts_with('$') {
        } else if value.is_null() {
            fields.remove(name);
        } else {
            match (place.field(name).list(), value, fields.get_mut(name)) {
                (List::Keys(keys), Value::Array(patches), Some(Value::Array(items))) => {
                    by_key(items, patches, &keys, place.field(name));
                }
                (List::Set, Value::Array(patches), Some(Value::Array(items))) => {
                    items.extend(patches.iter().filter(|item| !items.contains(item)).cloned().collect::<Vec<_>>());
                }
                (_, Value::Object(_), Some(Value::Object(_))) => {
                    strategic(&mut fields[name], value, place.field(name));
                }
                _ => {
                    fields.insert(name.clone(), value.clone());
                }
            }
        }
    }
}

fn by_key(items: &mut Vec<Value>, patches: &[Value], keys: &[&str], place: Place<'_>) {
    if patches.iter().any(|item| item["$patch"] == "replace") {
        items.clear();
    }
    for patch in patches.iter().filter(|item| item["$patch"] != "replace") {
        match (item_position(items, &key_step(patch, keys)), patch["$patch"] == "delete") {
            (Some(nth), true) => drop(items.remove(nth)),
            (Some(nth), false) => strategic(&mut items[nth], patch, place.items()),
            (None, true) => {}
            (None, false) => items.push(patch.clone()),
        }
    }
}

/// One operation of RFC 6902.
fn json_patch(object: &mut Value, operation: &Value) -> Result<(), Status> {
    let unprocessable = |why: String| {
        Status::new(422, "Invalid", format!("the server rejected our request due to an error in our request: {why}"))
    };
    let text = |name: &str| operation[name].as_str().unwrap_or_default();
    let path = text("path");
    let missing = || unprocessable(format!("path {path} does not exist"));
    match text("op") {
        "test" => {
            if object.pointer(path) == Some(&operation["value"]) {
                Ok(())
            } else {
                Err(unprocessable(format!("testing path {path} failed")))
            }
        }
        "add" => add(object, path, operation["value"].clone()).ok_or_else(missing),
        "replace" => {
            *object.pointer_mut(path).ok_or_else(missing)? = operation["value"].clone();
            Ok(())
        }
        "remove" => take(object, path).map(drop).ok_or_else(missing),
        "move" => {
            let value = take(object, text("from")).ok_or_else(missing)?;
            add(object, path, value).ok_or_else(missing)
        }
        "copy" => {
            let value = object.pointer(text("from")).cloned().ok_or_else(missing)?;
            add(object, path, value).ok_or_else(missing)
        }
        other => Err(unprocessable(format!("unknown operation {other:?}"))),
    }
}

fn parent<'a>(object: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (above, last) = path.rsplit_once('/')?;
    Some((object.pointer_mut(above)?, last.replace("~1", "/").replace("~0", "~")))
}

fn add(object: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        *object = value;
        return Some(());
    }
    match parent(object, path)? {
        (Value::Object(fields), name) => {
            fields.insert(name, value);
        }
        (Value::Array(items), place) if place == "-" => items.push(value),
        (Value::Array(items), place) => {
            let place = place.parse().ok().filter(|place| *place <= items.len())?;
            items.insert(place, value);
        }
        _ => return None,
    }
    Some(())
}

fn take(object: &mut Value, path: &str) -> Option<Value> {
    match parent(object, path)? {
        (Value::Object(fields), name) => fields.remove(&name),
        (Value::Array(items), place) => {
            let place = place.parse().ok().filter(|place| *place < items.len())?;
            Some(items.remove(place))
        }
        _ => None,
    }
}
