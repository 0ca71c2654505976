//! Who owns which field: server-side apply, and the bookkeeping of `managedFields`. It works on plain JSON and stores nothing.
//!
//! Facts: the Kubernetes page "Server-Side Apply".

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::kind::Kind;
use super::owned::{Tree, changed, difference, differing, fields_of, intersection, merge, paths, remove, union};
use super::places::Place;
use super::status::Status;
use super::write::Part;

/// Who writes, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Applier<'a> {
    /// `fieldManager`.
    pub(super) manager: &'a str,
    /// Whether fields of others are taken over.
    pub(super) force: bool,
    /// The part that is written.
    pub(super) part: Part,
    /// The time for `managedFields`.
    pub(super) time: &'a str,
}

/// Applies `applied` on `live`.
///
/// # Errors
/// 409 where a field belongs to somebody else, has another value and is not taken by force.
pub(super) fn apply(kind: &Kind, live: &Value, applied: &Value, by: Applier<'_>) -> Result<Value, Status> {
    let applied = without_identity(applied, kind, by.part);
    let wanted = fields_of(&applied, Place::top(kind));
    let mut managers = managers(live);
    let mine = managers.iter().position(|entry| is_of(entry, by, "Apply"));
    let mut conflicts = Vec::new();
    for (nth, entry) in managers.iter_mut().enumerate() {
        if Some(nth) == mine {
            continue;
        }
        let name = printed(entry);
        let Some(theirs) = entry["fieldsV1"].as_object_mut() else { continue };
        let both = differing(&intersection(theirs, &wanted), live, &applied);
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
    merge(&mut result, &applied, Place::top(kind));
    let before = mine.and_then(|nth| managers[nth]["fieldsV1"].as_object());
    if let Some(before) = before {
        let others = managers.iter().enumerate().filter(|(nth, _)| Some(*nth) != mine);
        let theirs = others.filter_map(|(_, entry)| entry["fieldsV1"].as_object());
        let dropped = theirs.fold(difference(before, &wanted), |dropped, theirs| difference(&dropped, theirs));
        remove(&mut result, &dropped);
    }
    if before != Some(&wanted) || result != *live {
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
pub(super) fn note_update(kind: &Kind, live: Option<&Value>, updated: &mut Value, by: Applier<'_>) {
    let nothing = Value::Null;
    let live = live.unwrap_or(&nothing);
    let (before, after) = (without_identity(live, kind, by.part), without_identity(updated, kind, by.part));
    let (had, has) = (fields_of(&before, Place::top(kind)), fields_of(&after, Place::top(kind)));
    let changed = changed(Some(&before), &after, Place::top(kind)).unwrap_or_default();
    let gone = difference(&had, &has);
    // What they sent back in managedFields is ignored: it is ours to keep.
    let mut managers = managers(live);
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
                set_time(mine, by);
            }
            None => managers.push(entry(kind, by, "Update", changed)),
        }
    }
    set_managers(updated, managers);
}

fn managers(object: &Value) -> Vec<Value> {
    object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default()
}

/// Whoever owns nothing is not in the list, whose order is that of the API server.
fn set_managers(object: &mut Value, mut managers: Vec<Value>) {
    managers.retain(|entry| entry["fieldsV1"].as_object().is_some_and(|fields| !fields.is_empty()));
    managers.sort_by(in_order);
    if managers.is_empty() {
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
    } else {
        object["metadata"]["managedFields"] = Value::Array(managers);
    }
}

fn in_order(one: &Value, other: &Value) -> Ordering {
    let key = |entry: &Value| {
        ["operation", "time", "manager", "subresource"].map(|name| entry[name].as_str().map(str::to_owned))
    };
    key(one).cmp(&key(other))
}

fn is_of(entry: &Value, by: Applier<'_>, operation: &str) -> bool {
    entry["manager"] == by.manager
        && entry["operation"] == operation
        && entry["subresource"].as_str().unwrap_or_default() == by.part.as_str()
}

fn entry(kind: &Kind, by: Applier<'_>, operation: &str, fields: Tree) -> Value {
    let mut entry = json!({
        "manager": by.manager, "operation": operation, "apiVersion": kind.api_version(), "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    });
    if by.part != Part::Main {
        entry["subresource"] = json!(by.part.as_str());
    }
    set_time(&mut entry, by);
    entry
}

/// Whoever writes through a scale is noted without a time.
fn set_time(entry: &mut Value, by: Applier<'_>) {
    if by.part != Part::Scale {
        entry["time"] = json!(by.time);
    }
}

/// A manager as conflicts name it.
fn printed(entry: &Value) -> String {
    let text = |name: &str| entry[name].as_str().unwrap_or_default();
    let mut printed = format!("{:?}", text("manager"));
    if !text("subresource").is_empty() {
        printed = format!("{printed} with subresource {:?}", text("subresource"));
    }
    if text("operation") == "Update" { format!("{printed} using {}", text("apiVersion")) } else { printed }
}

fn conflict(conflicts: &[(String, String)]) -> Status {
    let said = if let [(manager, path)] = conflicts {
        format!("1 conflict: conflict with {manager}: {path}")
    } else {
        let mut of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (manager, path) in conflicts {
            of.entry(manager).or_default().push(path);
        }
        let lines = of.iter().flat_map(|(manager, paths)| {
            let paths = paths.iter().map(|path| format!("- {path}"));
            [format!("conflicts with {manager}:")].into_iter().chain(paths)
        });
        format!("{} conflicts: {}", conflicts.len(), lines.collect::<Vec<_>>().join("\n"))
    };
    let causes: Vec<_> = conflicts
        .iter()
        .map(|(manager, path)| {
            json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": path})
        })
        .collect();
    Status {
        details: Some(json!({"causes": causes})),
        ..Status::new(409, "Conflict", format!("Apply failed with {said}"))
    }
}

/// What somebody may own: neither the identity of the object, nor what the API server itself sets, nor what the part that
/// is written does not reach.
fn without_identity(object: &Value, kind: &Kind, part: Part) -> Value {
    const OWN: [&str; 8] =
        ["name", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink"];
    let reached = |name: &str| match part {
        Part::Status => name == "status",
        _ => name != "status" || !kind.has_status,
    };
    let fields = object.as_object().into_iter().flatten();
    let fields = fields.filter(|(name, _)| !matches!(name.as_str(), "apiVersion" | "kind") && reached(name));
    let left = fields.filter_map(|(name, value)| match (name.as_str(), value) {
        ("metadata", Value::Object(metadata)) => {
            let own = metadata.iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
            let left: serde_json::Map<_, _> = own.map(|(name, value)| (name.clone(), value.clone())).collect();
            (!left.is_empty()).then(|| (name.clone(), Value::Object(left)))
        }
        _ => Some((name.clone(), value.clone())),
    });
    left.collect::<serde_json::Map<_, _>>().into()
}
