//! Sets of fields, as trees in the shape of `FieldsV1`: `f:` for fields, `k:` and `v:` for items of lists, `.` for the item
//! itself. It works on plain JSON and keeps no books.
//!
//! Facts: the Kubernetes page "Server-Side Apply" and KEP-555.

use serde_json::{Map, Value, json};

use super::places::{List, Place, item_position, key_step, value_step};

/// A set of fields.
pub(super) type Tree = Map<String, Value>;

/// The fields that a value has.
pub(super) fn fields_of(value: &Value, place: Place<'_>) -> Tree {
    let mut found = Tree::new();
    match value {
        Value::Object(fields) if !place.is_whole() => {
            for (name, value) in fields {
                let mut below = fields_of(value, place.field(name));
                let is_leaf = is_leaf(value, place.field(name));
                if below.is_empty() && !is_leaf {
                    continue;
                }
                if !below.is_empty() && place.is_entry(name) {
                    below.insert(".".to_owned(), json!({}));
                }
                found.insert(format!("f:{name}"), Value::Object(below));
            }
        }
        Value::Array(items) => match place.list() {
            List::Whole => {}
            List::Set => found.extend(items.iter().map(|item| (value_step(item), json!({})))),
            List::Keys(keys) => {
                for item in items {
                    let mut below = fields_of(item, place.items());
                    if !below.is_empty() {
                        below.insert(".".to_owned(), json!({}));
                    }
                    found.insert(key_step(item, &keys), Value::Object(below));
                }
            }
        },
        _ => {}
    }
    found
}

/// Whether a value is owned as one: all but maps with fields and lists that are merged.
fn is_leaf(value: &Value, place: Place<'_>) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty() || place.is_whole(),
        Value::Array(_) => place.list() == List::Whole,
        _ => true,
    }
}

/// The fields that `after` has and `before` has not, or has with another value; nothing where there are none. What is new
/// as a whole is a field itself, besides those below it.
pub(super) fn changed(before: Option<&Value>, after: &Value, place: Place<'_>) -> Option<Tree> {
    if before == Some(after) {
        return None;
    }
    if is_leaf(after, place) {
        return Some(Tree::new());
    }
    let mut found = Tree::new();
    match after {
        Value::Object(fields) => {
            for (name, value) in fields {
                let before = before.and_then(|before| before.get(name));
                if let Some(below) = changed(before, value, place.field(name)) {
                    found.insert(format!("f:{name}"), Value::Object(below));
                }
            }
        }
        Value::Array(items) => {
            let had = before.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            for item in items {
                let (step, inner) = match place.list() {
                    List::Keys(keys) => (key_step(item, &keys), place.items()),
                    _ => (value_step(item), place.items()),
                };
                let before = item_position(had, &step).map(|nth| &had[nth]);
                if let Some(mut below) = changed(before, item, inner) {
                    if before.is_none() && !below.is_empty() {
                        below.insert(".".to_owned(), json!({}));
                    }
                    found.insert(step, Value::Object(below));
                }
            }
        }
        _ => {}
    }
    if before.is_none_or(Value::is_null) && place.is_counted_itself() && !found.is_empty() {
        found.insert(".".to_owned(), json!({}));
    }
    (!found.is_empty()).then_some(found)
}

/// The fields of `of` whose values differ between two objects.
pub(super) fn differing(of: &Tree, here: &Value, there: &Value) -> Tree {
    let mut found = Tree::new();
    for (step, below) in of {
        if step == "." {
            continue;
        }
        let (here, there) = (child(here, step), child(there, step));
        if here == there {
            continue;
        }
        let mut within = match below.as_object() {
            Some(below) if !below.is_empty() => {
                let within = differing(below, here.unwrap_or(&Value::Null), there.unwrap_or(&Value::Null));
                // All that differs is what `of` does not have.
                if within.is_empty() && here.is_some() && there.is_some() {
                    continue;
                }
                within
            }
            _ => Tree::new(),
        };
        if below.get(".").is_some() && !within.is_empty() && (here.is_none() || there.is_none()) {
            within.insert(".".to_owned(), json!({}));
        }
        found.insert(step.clone(), Value::Object(within));
    }
    found
}

/// The value at one step of a tree.
fn child<'a>(value: &'a Value, step: &str) -> Option<&'a Value> {
    match step.strip_prefix("f:") {
        Some(name) => value.get(name),
        None => value.as_array().and_then(|items| items.get(item_position(items, step)?)),
    }
}

/// Whether a set has what a tree stands for itself, and not only fields below it.
fn is_member(tree: &Tree) -> bool {
    tree.is_empty() || tree.contains_key(".")
}

/// The fields of both.
pub(super) fn intersection(one: &Tree, other: &Tree) -> Tree {
    let mut found = Tree::new();
    for (step, below) in one.iter().filter(|(step, _)| *step != ".") {
        let Some((below, same)) = below.as_object().zip(other.get(step).and_then(Value::as_object)) else { continue };
        add(&mut found, step, intersection(below, same), is_member(below) && is_member(same));
    }
    found
}

/// The fields of `one` that are not among those of `other`.
pub(super) fn difference(one: &Tree, other: &Tree) -> Tree {
    let mut left = Tree::new();
    for (step, below) in one.iter().filter(|(step, _)| *step != ".") {
        let Some(below) = below.as_object() else { continue };
        let Some(same) = other.get(step).and_then(Value::as_object) else {
            left.insert(step.clone(), Value::Object(below.clone()));
            continue;
        };
        add(&mut left, step, difference(below, same), is_member(below) && !is_member(same));
    }
    left
}

/// Adds a step with the fields below it, and itself if it is a member.
fn add(tree: &mut Tree, step: &str, mut below: Tree, itself: bool) {
    if itself && !below.is_empty() {
        below.insert(".".to_owned(), json!({}));
    }
    if itself || !below.is_empty() {
        tree.insert(step.to_owned(), Value::Object(below));
    }
}

/// Adds the fields of `from`.
pub(super) fn union(into: &mut Tree, from: &Tree) {
    for (step, below) in from.iter().filter(|(step, _)| *step != ".") {
        let Some(below) = below.as_object() else { continue };
        let mut all = into.get(step).and_then(Value::as_object).cloned();
        let itself = is_member(below) || all.as_ref().is_some_and(is_member);
        let mut all = all.take().unwrap_or_default();
        all.remove(".");
        union(&mut all, below);
        add(into, step, all, itself);
    }
}

/// The paths of the fields, as the API server writes them.
pub(super) fn paths(of: &Tree, at: &str) -> Vec<String> {
    let own = of.contains_key(".").then(|| at.to_owned());
    let below = of.iter().filter(|(step, _)| *step != ".").flat_map(|(step, below)| {
        let here = format!("{at}{}", shown(step));
        match below.as_object() {
            Some(below) if !below.is_empty() => paths(below, &here),
            _ => vec![here],
        }
    });
    own.into_iter().chain(below).collect()
}

fn shown(step: &str) -> String {
    if let Some(name) = step.strip_prefix("f:") {
        return format!(".{name}");
    }
    if let Some(value) = step.strip_prefix("v:") {
        return format!("[={value}]");
    }
    let key: Value = serde_json::from_str(step.trim_start_matches("k:")).unwrap_or_default();
    let parts: Vec<_> = key.as_object().into_iter().flatten().map(|(name, value)| format!("{name}={value}")).collect();
    format!("[{}]", parts.join(","))
}

/// Puts what is applied on a value.
pub(super) fn merge(into: &mut Value, from: &Value, place: Place<'_>) {
    match (&mut *into, from) {
        (Value::Object(into), Value::Object(from)) if !place.is_whole() => {
            for (name, value) in from {
                match into.get_mut(name) {
                    Some(at) => merge(at, value, place.field(name)),
                    None => {
                        into.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(items), Value::Array(from)) => match place.list() {
            List::Whole => items.clone_from(from),
            List::Set => {
                for item in from {
                    if !items.contains(item) {
                        items.push(item.clone());
                    }
                }
            }
            List::Keys(keys) => {
                for item in from {
                    match item_position(items, &key_step(item, &keys)) {
                        Some(nth) => merge(&mut items[nth], item, place.items()),
                        None => items.push(item.clone()),
                    }
                }
            }
        },
        (into, from) => *into = from.clone(),
    }
}

/// Takes fields away, and what is empty then.
pub(super) fn remove(from: &mut Value, fields: &Tree) {
    for (step, below) in fields.iter().filter(|(step, _)| *step != ".") {
        let Some(below) = below.as_object() else { continue };
        if let Some(name) = step.strip_prefix("f:") {
            let Some(place) = from.as_object_mut() else { continue };
            if below.is_empty() {
                place.remove(name);
            } else if let Some(value) = place.get_mut(name) {
                remove(value, below);
                if value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty) {
                    place.remove(name);
                }
            }
        } else if let Some(items) = from.as_array_mut()
            && let Some(nth) = item_position(items, step)
        {
            if below.is_empty() || below.contains_key(".") {
                items.remove(nth);
            } else {
                remove(&mut items[nth], below);
            }
        }
    }
}
