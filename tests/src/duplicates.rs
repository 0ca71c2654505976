//! Finds writes that said nothing new: the same value to the same object twice, with nobody else's write in between.

use std::collections::HashMap;

use serde_json::Value;

use crate::Entry;

/// A controller that writes Deployments without touching their replicas: annotations and status.
const DEPLOYMENT_CONTROLLER: &str = "system:serviceaccount:kube-system:deployment-controller";

/// Pairs of successful writes by `user` of the same value to the same object, with no foreign write to it in between.
/// Looks at what the audit log has bodies of: replicas by `/scale`, HPAs, scaled objects and their status.
#[must_use]
pub fn duplicate_writes<'a>(entries: &'a [Entry], user: &str) -> Vec<(&'a Entry, &'a Entry)> {
    let mut last: HashMap<(String, &str, &str), &Entry> = HashMap::new();
    let mut duplicates = Vec::new();
    for entry in entries.iter().filter(|entry| entry.is_write() && entry.succeeded()) {
        let at = |target: &str| (target.to_owned(), entry.namespace.as_str(), entry.name.as_str());
        if entry.user == user {
            if let Some(before) = last.insert(at(&entry.target()), entry)
                && entry.body.is_some()
                && value(entry) == value(before)
                && entry.verb == before.verb
            {
                duplicates.push((before, entry));
            }
            continue;
        }
        for target in touched_by(entry) {
            last.remove(&at(&target));
        }
    }
    duplicates
}

/// What was said, without what only makes the write conditional.
fn value(entry: &Entry) -> Option<Value> {
    let body = entry.body.as_ref()?;
    if entry.subresource == "scale" {
        return Some(body["spec"]["replicas"].clone());
    }
    Some(body.clone())
}

/// Which of the operator's values somebody else's write may have changed.
fn touched_by(entry: &Entry) -> Vec<String> {
    match (&*entry.resource, &*entry.subresource) {
        // The HPA controller writes the status of each HPA at each sync, and the project never writes that.
        ("horizontalpodautoscalers", "status") => Vec::new(),
        ("deployments", "status") => Vec::new(),
        ("deployments", _) if entry.user == DEPLOYMENT_CONTROLLER => Vec::new(),
        ("deployments", _) => vec!["deployments/scale".to_owned()],
        // A changed spec, a deletion, a new object of the same name.
        ("scaledobjects", _) => {
            vec!["scaledobjects".to_owned(), "scaledobjects/status".to_owned()]
        }
        _ => vec![entry.target()],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{HPA_USER, OPERATOR_USER};

    fn write(user: &str, target: &str, body: Value) -> Entry {
        let (resource, subresource) = target.split_once('/').unwrap_or((target, ""));
        let at = "2026-11-22T11:00:00Z".parse().unwrap();
        Entry {
            user: user.into(),
            credential: String::new(),
            verb: if subresource == "scale" { "update" } else { "patch" }.into(),
            group: String::new(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: "a".into(),
            name: "web".into(),
            code: 200,
            received: at,
            answered: at,
            user_agent: String::new(),
            uri: String::new(),
            body: Some(body),
            answer: None,
        }
    }

    fn scale(user: &str, replicas: u32, version: u32) -> Entry {
        write(
            user,
            "deployments/scale",
            json!({"metadata": {"resourceVersion": version.to_string()}, "spec": {"replicas": replicas}}),
        )
    }

    #[test]
    fn the_same_replicas_twice_are_one_too_many() {
        let entries = [scale(OPERATOR_USER, 4, 1), scale(OPERATOR_USER, 4, 2)];
        assert_eq!(duplicate_writes(&entries, OPERATOR_USER), [(&entries[0], &entries[1])]);
        let entries = [scale(OPERATOR_USER, 4, 1), scale(OPERATOR_USER, 0, 2), scale(OPERATOR_USER, 4, 3)];
        assert!(duplicate_writes(&entries, OPERATOR_USER).is_empty());
    }

    #[test]
    fn a_write_by_somebody_else_is_a_reason_to_write_again() {
        let entries = [scale(OPERATOR_USER, 0, 1), scale(HPA_USER, 4, 2), scale(OPERATOR_USER, 0, 3)];
        assert!(duplicate_writes(&entries, OPERATOR_USER).is_empty());
        let by_hand = write("somebody", "deployments", json!({}));
        let entries = [scale(OPERATOR_USER, 0, 1), by_hand, scale(OPERATOR_USER, 0, 3)];
        assert!(duplicate_writes(&entries, OPERATOR_USER).is_empty());
        for (user, target) in [(DEPLOYMENT_CONTROLLER, "deployments"), (HPA_USER, "horizontalpodautoscalers/status")] {
            let entries = [scale(OPERATOR_USER, 0, 1), write(user, target, json!({})), scale(OPERATOR_USER, 0, 3)];
            assert_eq!(duplicate_writes(&entries, OPERATOR_USER).len(), 1, "{user} {target}");
        }
    }

    #[test]
    fn refused_writes_and_other_objects_do_not_count() {
        let mut refused = scale(OPERATOR_USER, 4, 1);
        refused.code = 409;
        let mut other = scale(OPERATOR_USER, 4, 1);
        other.name = "other".into();
        let entries = [refused, other, scale(OPERATOR_USER, 4, 2)];
        assert!(duplicate_writes(&entries, OPERATOR_USER).is_empty());
    }

    #[test]
    fn a_status_is_compared_whole_and_an_edit_excuses_it() {
        let status = |active: bool| write(OPERATOR_USER, "scaledobjects/status", json!({"status": {"active": active}}));
        let same = [status(true), status(true)];
        assert_eq!(duplicate_writes(&same, OPERATOR_USER).len(), 1);
        assert!(duplicate_writes(&[status(true), status(false)], OPERATOR_USER).is_empty());
        let edited = [status(true), write("somebody", "scaledobjects", json!({})), status(true)];
        assert!(duplicate_writes(&edited, OPERATOR_USER).is_empty());
    }
}
