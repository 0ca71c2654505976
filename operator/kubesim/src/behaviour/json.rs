//! Short ways to look into Kubernetes objects as JSON. Never fails on an object of another shape: what is not there is
//! empty, zero or `None`, as in the real controllers' decoded structs.

use jiff::Timestamp;
use serde_json::{Map, Value};

/// A namespace and a name.
pub(crate) type NsName = (String, String);

/// The controller of an object, from its owner references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

pub(crate) fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

/// A number that is a count of pods; what is no count is 0.
pub(crate) fn count(object: &Value, pointer: &str) -> Option<u32> {
    number(object, pointer).map(|count| u32::try_from(count.max(0)).unwrap_or(u32::MAX))
}

pub(crate) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(crate) fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    object.pointer(pointer).and_then(Value::as_str)?.parse().ok()
}

pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub(crate) fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

pub(crate) fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

pub(crate) fn key(object: &Value) -> NsName {
    (namespace(object).to_owned(), name(object).to_owned())
}

pub(crate) fn deleting(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null())
}

pub(crate) fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(name)?.as_str()
}

pub(crate) fn owner(object: &Value) -> Option<Owner> {
    let reference = list(object, "/metadata/ownerReferences")
        .iter()
        .find(|reference| reference.get("controller").and_then(Value::as_bool) == Some(true))?;
    Some(Owner {
        kind: text(reference, "/kind").to_owned(),
        name: text(reference, "/name").to_owned(),
        uid: text(reference, "/uid").to_owned(),
    })
}

/// The owner reference of a child whose controller is `object`.
pub(crate) fn owned_by(object: &Value, api_version: &str, kind: &str) -> Value {
    serde_json::json!([{
        "apiVersion": api_version,
        "kind": kind,
        "name": name(object),
        "uid": uid(object),
        "controller": true,
        "blockOwnerDeletion": true,
    }])
}

/// A time as Kubernetes writes it: whole seconds.
pub(crate) fn seconds(at: Timestamp) -> String {
    let whole = Timestamp::from_second(at.as_second()).unwrap_or(at);
    whole.to_string()
}

/// A merge patch that turns one status into another; `None` if they are the same. Fields of `new` that are null are
/// counted as absent.
pub(crate) fn status_patch(object: &Value, new: Value) -> Option<Value> {
    let empty = Map::new();
    let old = object.get("status").and_then(Value::as_object).unwrap_or(&empty);
    let Value::Object(mut new) = new else { return None };
    new.retain(|_, value| !value.is_null());
    let mut patch = Map::new();
    for field in old.keys() {
        if !new.contains_key(field) {
            patch.insert(field.clone(), Value::Null);
        }
    }
    for (field, value) in new {
        if old.get(&field) != Some(&value) {
            patch.insert(field, value);
        }
    }
    (!patch.is_empty()).then(|| fields([("status", Value::Object(patch))]))
}

/// An object out of its fields. Moves them, where `json!` would copy them: what is written often is made with this.
pub(crate) fn fields<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    Value::Object(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// A count for a status: 0 is left out, as `omitempty` does.
pub(crate) fn omit_zero(count: u32) -> Value {
    if count == 0 { Value::Null } else { Value::from(count) }
}

/// Sets a condition: its transition time moves only when its status does.
pub(crate) fn set_condition(
    conditions: &mut Vec<Value>,
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let status = if holds { "True" } else { "False" };
    let place = conditions.iter_mut().find(|condition| text(condition, "/type") == kind);
    let mut changed = vec![("status", status), ("reason", reason), ("message", message)];
    let Some(condition) = place.and_then(Value::as_object_mut) else {
        changed.push(("type", kind));
        changed.retain(|(_, value)| !value.is_empty());
        let mut condition: Map<_, _> =
            changed.into_iter().map(|(field, value)| (field.to_owned(), value.into())).collect();
        condition.insert("lastTransitionTime".to_owned(), seconds(now).into());
        conditions.push(Value::Object(condition));
        return;
    };
    if condition.get("status").and_then(Value::as_str) != Some(status) {
        condition.insert("lastTransitionTime".to_owned(), seconds(now).into());
    }
    // What a controller adds beyond these (lastProbeTime, lastUpdateTime) stays.
    for (field, value) in changed {
        if value.is_empty() {
            condition.remove(field);
        } else if condition.get(field).and_then(Value::as_str) != Some(value) {
            condition.insert(field.to_owned(), value.into());
        }
    }
}

/// A short name out of an object, the same for the same content, in the alphabet Kubernetes uses for generated names.
pub(crate) fn short_hash(content: &Value) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut word = crate::load::mix_text(0, &content.to_string());
    let mut letters = String::with_capacity(10);
    for _ in 0..10 {
        let letter = usize::try_from(word % 27).unwrap_or(0);
        letters.push(char::from(ALPHABET[letter]));
        word /= 27;
    }
    letters
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_patch_holds_what_differs_and_nothing_else() {
        let object = json!({"status": {"replicas": 3, "ready": 2, "gone": 1, "conditions": [1]}});
        let same = json!({"replicas": 3, "ready": 2, "gone": 1, "conditions": [1], "never": null});
        assert_eq!(status_patch(&object, same), None);
        let new = json!({"replicas": 3, "ready": 3, "gone": null, "conditions": [1, 2]});
        let patch = json!({"status": {"ready": 3, "gone": null, "conditions": [1, 2]}});
        assert_eq!(status_patch(&object, new), Some(patch));
        assert_eq!(status_patch(&json!({}), json!({"a": null})), None);
        assert_eq!(status_patch(&json!({}), json!({"a": 1})), Some(json!({"status": {"a": 1}})));
    }

    #[test]
    fn a_condition_changes_its_time_with_its_status_only_and_loses_an_old_reason() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let mut conditions = vec![json!({"type": "Other", "status": "True", "lastUpdateTime": "kept"})];
        set_condition(&mut conditions, "Ready", false, "NotYet", "wait", at(10));
        set_condition(&mut conditions, "Ready", false, "StillNot", "wait", at(20));
        let ready = json!({
            "type": "Ready", "status": "False", "reason": "StillNot", "message": "wait",
            "lastTransitionTime": "1970-01-01T00:00:10Z",
        });
        assert_eq!(conditions[1], ready);
        set_condition(&mut conditions, "Ready", true, "", "", at(30));
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:00:30Z"});
        assert_eq!(conditions[1], ready);
        set_condition(&mut conditions, "Other", true, "", "", at(40));
        assert_eq!(conditions[0], json!({"type": "Other", "status": "True", "lastUpdateTime": "kept"}));
    }

    #[test]
    fn a_short_hash_depends_on_the_content_alone() {
        assert_eq!(short_hash(&json!({"a": 1})), short_hash(&json!({"a": 1})));
        assert_ne!(short_hash(&json!({"a": 1})), short_hash(&json!({"a": 2})));
        assert_eq!(short_hash(&json!(null)).len(), 10);
    }
}
