//! Tables for `kubectl get`: the columns of the built-in kinds that people look at, and the printer columns of custom
//! resources. It shows; it decides nothing.

use http::{HeaderMap, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::kind::Kind;

/// Whether the client asks for a table.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.contains("as=Table")
}

type Cell = Box<dyn Fn(&Value) -> Value>;

/// An object or a list as a table.
pub(super) fn of(kind: &Kind, answer: &Value, now: Timestamp) -> Value {
    let objects = answer["items"].as_array().map_or_else(|| vec![answer.clone()], Clone::clone);
    let mut columns: Vec<(String, Cell)> = vec![("Name".to_owned(), path("metadata.name"))];
    columns.extend(of_kind(kind));
    if !columns.iter().any(|(name, _)| name == "Age") {
        columns.push((
            "Age".to_owned(),
            Box::new(move |object| json!(age(&object["metadata"]["creationTimestamp"], now))),
        ));
    }
    let definitions: Vec<_> = columns
        .iter()
        .map(|(name, _)| json!({"name": name, "type": "string", "format": "", "description": "", "priority": 0}))
        .collect();
    let rows: Vec<_> = objects
        .iter()
        .map(|object| {
            let cells: Vec<_> = columns.iter().map(|(_, cell)| cell(object)).collect();
            let shown = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]});
            json!({"cells": cells, "object": shown})
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": answer["metadata"],
        "columnDefinitions": definitions, "rows": rows,
    })
}

fn of_kind(kind: &Kind) -> Vec<(String, Cell)> {
    let named = |name: &str, cell: Cell| (name.to_owned(), cell);
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("apps", "Deployment" | "StatefulSet" | "ReplicaSet") => vec![
            named(
                "Ready",
                Box::new(|object| {
                    let number = |value: &Value| value.as_u64().unwrap_or(0);
                    json!(format!(
                        "{}/{}",
                        number(&object["status"]["readyReplicas"]),
                        number(&object["spec"]["replicas"])
                    ))
                }),
            ),
            named("Up-to-date", number("status.updatedReplicas")),
            named("Available", number("status.availableReplicas")),
        ],
        ("autoscaling", _) => vec![
            named(
                "Reference",
                Box::new(|object| {
                    let target = &object["spec"]["scaleTargetRef"];
                    json!(format!(
                        "{}/{}",
                        target["kind"].as_str().unwrap_or_default(),
                        target["name"].as_str().unwrap_or_default()
                    ))
                }),
            ),
            named("MinPods", number("spec.minReplicas")),
            named("MaxPods", number("spec.maxReplicas")),
            named("Replicas", number("status.currentReplicas")),
        ],
        ("", "Pod") => vec![
            named(
                "Ready",
                Box::new(|object| {
                    let is_ready = object["status"]["conditions"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
                    json!(if is_ready { "1/1" } else { "0/1" })
                }),
            ),
            named("Status", path("status.phase")),
        ],
        ("", "Event") => vec![
            named("Type", path("type")),
            named("Reason", path("reason")),
            named("Object", path("involvedObject.name")),
            named("Message", path("message")),
        ],
        ("coordination.k8s.io", _) => vec![named("Holder", path("spec.holderIdentity"))],
        _ => kind
            .columns
            .iter()
            .filter(|column| column["priority"].as_i64().unwrap_or(0) == 0 && column["type"] != "date")
            .map(|column| {
                let text = |name: &str| column[name].as_str().unwrap_or_default().to_owned();
                (text("name"), json_path(&text("jsonPath")))
            })
            .collect(),
    }
}

fn path(dotted: &'static str) -> Cell {
    Box::new(move |object| {
        dotted.split('.').try_fold(object, |value, name| value.get(name)).cloned().unwrap_or_default()
    })
}

fn number(dotted: &'static str) -> Cell {
    let found = path(dotted);
    Box::new(move |object| json!(found(object).as_u64().unwrap_or(0)))
}

/// The paths that printer columns use: fields, and `[?(@.field=="value")]`.
fn json_path(text: &str) -> Cell {
    let text = text.to_owned();
    Box::new(move |object| {
        let mut value = object;
        let mut rest = text.as_str();
        while !rest.is_empty() {
            if let Some((condition, after)) = rest.strip_prefix("[?(@.").and_then(|filter| filter.split_once(")]")) {
                let Some((field, wanted)) = condition.split_once("==") else { return Value::Null };
                let wanted = wanted.trim_matches('"');
                let found = value.as_array().into_iter().flatten().find(|item| item[field] == wanted);
                let Some(found) = found else { return Value::Null };
                value = found;
                rest = after;
            } else {
                rest = rest.trim_start_matches('.');
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let Some(found) = value.get(&rest[..end]) else { return Value::Null };
                value = found;
                rest = &rest[end..];
            }
        }
        value.clone()
    })
}

/// A time as kubectl shows ages.
fn age(created: &Value, now: Timestamp) -> String {
    let Some(created) = created.as_str().and_then(|text| text.parse::<Timestamp>().ok()) else {
        return "<unknown>".to_owned();
    };
    let seconds = now.duration_since(created).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
