//! Patches of plain JSON: merge patches and JSON patches. It knows no kinds and stores nothing.

use serde_json::{Value, json};

use super::status::Status;

/// A patch.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// RFC 7386.
    Merge(Value),
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
pub(super) fn patched(object: &Value, patch: &Patch) -> Result<Value, Status> {
    let mut patched = object.clone();
    match patch {
        Patch::Merge(patch) | Patch::Apply { object: patch, .. } => merge(&mut patched, patch),
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
