//! Tables for `kubectl get`: the columns of the built-in kinds that people look at, and the printer columns of custom
//! resources. It shows; it decides nothing.

use std::sync::Arc;

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

struct Column {
    definition: Value,
    cell: Cell,
}

/// A column of a built-in kind.
fn column(name: &str, cell: Cell) -> Column {
    let format = if name == "Name" { "name" } else { "" };
    let definition = json!({"name": name, "type": "string", "format": format, "description": "", "priority": 0});
    Column { definition, cell }
}

/// Objects as a table.
pub(super) fn of(kind: &Kind, objects: &[Arc<Value>], metadata: &Value, now: Timestamp) -> Value {
    let mut columns = vec![column("Name", path("metadata.name"))];
    columns.extend(of_kind(kind, now));
    // A definition that names columns names all of them.
    if kind.columns.is_empty() {
        columns.push(column("Age", Box::new(move |object| json!(age(&object["metadata"]["creationTimestamp"], now)))));
    }
    let definitions: Vec<_> = columns.iter().map(|column| &column.definition).collect();
    let rows: Vec<_> = objects
        .iter()
        .map(|object| {
            let cells: Vec<_> = columns.iter().map(|column| (column.cell)(object)).collect();
            let shown = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]});
            json!({"cells": cells, "object": shown})
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": definitions, "rows": rows,
    })
}

fn of_kind(kind: &Kind, now: Timestamp) -> Vec<Column> {
    let ready: Cell = Box::new(|object| {
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let (ready, wanted) = (number(&object["status"]["readyReplicas"]), number(&object["spec"]["replicas"]));
        json!(format!("{ready}/{wanted}"))
    });
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("apps", "Deployment") => vec![
            column("Ready", ready),
            column("Up-to-date", number("status.updatedReplicas")),
            column("Available", number("status.availableReplicas")),
        ],
        ("apps", "StatefulSet") => vec![column("Ready", ready)],
        ("apps", "ReplicaSet") => vec![
            column("Desired", number("spec.replicas")),
            column("Current", number("status.replicas")),
            column("Ready", number("status.readyReplicas")),
        ],
        ("autoscaling", _) => vec![
            column(
                "Reference",
                Box::new(|object| {
                    let text =
                        |name: &str| object["spec"]["scaleTargetRef"][name].as_str().unwrap_or_default().to_owned();
                    json!(format!("{}/{}", text("kind"), text("name")))
                }),
            ),
            column("Targets", Box::new(targets)),
            column("MinPods", number("spec.minReplicas")),
            column("MaxPods", number("spec.maxReplicas")),
            column("Replicas", number("status.currentReplicas")),
        ],
        ("", "Pod") => vec![
            column(
                "Ready",
                Box::new(|object| {
                    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
                    let is_ready =
                        conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
                    json!(if is_ready { "1/1" } else { "0/1" })
                }),
            ),
            column("Status", path("status.phase")),
        ],
        ("", "Namespace") => vec![column("Status", path("status.phase"))],
        ("", "Event") => vec![
            column("Type", path("type")),
            column("Reason", path("reason")),
            column("Object", path("involvedObject.name")),
            column("Message", path("message")),
        ],
        ("coordination.k8s.io", _) => vec![column("Holder", path("spec.holderIdentity"))],
        _ => kind.columns.iter().map(|defined| of_definition(defined, now)).collect(),
    }
}

/// A column of a CustomResourceDefinition.
fn of_definition(defined: &Value, now: Timestamp) -> Column {
    let text = |name: &str| defined[name].as_str().unwrap_or_default().to_owned();
    let definition = json!({
        "name": text("name"), "type": text("type"), "format": text("format"), "description": text("description"),
        "priority": defined["priority"].as_i64().unwrap_or(0),
    });
    let found = json_path(&text("jsonPath"));
    let cell: Cell =
        if text("type") == "date" { Box::new(move |object| json!(age(&found(object), now))) } else { found };
    Column { definition, cell }
}

/// What an autoscaler reads and what it aims at, as `read/aim` for each metric.
fn targets(object: &Value) -> Value {
    let current = object["status"]["currentMetrics"].as_array().map_or(&[][..], Vec::as_slice);
    let figure = |of: &Value| {
        let percent = of["averageUtilization"].as_i64().map(|percent| format!("{percent}%"));
        let average = of["averageValue"].as_str().map(|value| format!("{value} (avg)"));
        percent
            .or(average)
            .or_else(|| of["value"].as_str().map(str::to_owned))
            .unwrap_or_else(|| "<unknown>".to_owned())
    };
    let source = |metric: &Value| {
        let kind = metric["type"].as_str().unwrap_or_default();
        let mut letters = kind.chars();
        letters.next().map(|first| format!("{}{}", first.to_lowercase(), letters.as_str())).unwrap_or_default()
    };
    let metrics = object["spec"]["metrics"].as_array().into_iter().flatten().enumerate();
    let said: Vec<_> = metrics
        .map(|(nth, metric)| {
            let (source, read) = (source(metric), current.get(nth).unwrap_or(&Value::Null));
            let name = metric[&source]["name"].as_str().map_or_else(String::new, |name| format!("{name}: "));
            format!("{name}{}/{}", figure(&read[&source]["current"]), figure(&metric[&source]["target"]))
        })
        .collect();
    json!(said.join(", "))
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
