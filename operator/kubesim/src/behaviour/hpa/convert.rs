//! An HPA object as JSON, as the API server stores it, turned into what the algorithm asks for. Never fills in defaults: the
//! API server has.

use serde_json::Value;
use windlass_decision::hpa::{Behaviour, Metric, Policy, Rules, Source, Spec, Target};
use windlass_decision::{PolicyKind, SelectPolicy};

use crate::behaviour::json::{list, number, text};
use crate::behaviour::quantity::{approximate, milli};

/// An autoscaler as the controller sees it.
#[derive(Debug, Clone)]
pub(super) struct Autoscaler {
    pub(super) spec: Spec,
    /// Where each metric is asked for, in the order of `spec.metrics`.
    pub(super) queries: Vec<Query>,
    pub(super) target: TargetRef,
}

/// `spec.scaleTargetRef`.
#[derive(Debug, Clone)]
pub(super) struct TargetRef {
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) name: String,
}

/// What the controller must ask for one metric. `metric` and `described` are the object's own words, for its status.
#[derive(Debug, Clone)]
pub(super) enum Query {
    External {
        name: String,
        selector: Option<String>,
        metric: Value,
    },
    Object {
        name: String,
        selector: Option<String>,
        group: String,
        kind: String,
        object: String,
        metric: Value,
        described: Value,
    },
    Pods {
        name: String,
        selector: Option<String>,
        metric: Value,
    },
    Resource {
        resource: String,
        container: Option<String>,
    },
    /// The object names no kind of metric that is known.
    Unknown(String),
}

impl Query {
    /// Whether the algorithm needs the pods one by one for it.
    pub(super) fn per_pod(&self) -> bool {
        matches!(self, Self::Pods { .. } | Self::Resource { .. })
    }
}

pub(super) fn autoscaler(hpa: &Value) -> Autoscaler {
    let (metrics, queries) = list(hpa, "/spec/metrics").iter().map(metric).unzip();
    let api_version = text(hpa, "/spec/scaleTargetRef/apiVersion");
    Autoscaler {
        spec: Spec {
            min: int(number(hpa, "/spec/minReplicas").unwrap_or(1)),
            max: int(number(hpa, "/spec/maxReplicas").unwrap_or(0)),
            metrics,
            behaviour: hpa.pointer("/spec/behavior").filter(|behaviour| behaviour.is_object()).map(behaviour),
        },
        queries,
        target: TargetRef {
            group: group_of(api_version).to_owned(),
            kind: text(hpa, "/spec/scaleTargetRef/kind").to_owned(),
            name: text(hpa, "/spec/scaleTargetRef/name").to_owned(),
        },
    }
}

/// A LabelSelector as the text of a query, requirements in the order of keys as Kubernetes prints them. `None`: it selects
/// everything.
pub(super) fn selector_text(selector: Option<&Value>) -> Option<String> {
    let selector = selector?;
    let mut parts: Vec<(String, String)> = Vec::new();
    for (label, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
        parts.push((label.clone(), format!("{label}={}", value.as_str().unwrap_or(""))));
    }
    for expression in list(selector, "/matchExpressions") {
        let label = text(expression, "/key");
        let mut values: Vec<_> = list(expression, "/values").iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let part = match text(expression, "/operator") {
            "In" => format!("{label} in ({values})"),
            "NotIn" => format!("{label} notin ({values})"),
            "Exists" => label.to_owned(),
            _ => format!("!{label}"),
        };
        parts.push((label.to_owned(), part));
    }
    parts.sort();
    (!parts.is_empty()).then(|| parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join(","))
}

fn metric(entry: &Value) -> (Metric, Query) {
    let kind = text(entry, "/type");
    let field = match kind {
        "External" => "external",
        "Object" => "object",
        "Pods" => "pods",
        "ContainerResource" => "containerResource",
        _ => "resource",
    };
    let body = entry.get(field).unwrap_or(&Value::Null);
    let name = text(body, "/metric/name").to_owned();
    let selector = selector_text(body.pointer("/metric/selector"));
    let metric = body.get("metric").cloned().unwrap_or_default();
    let resource = text(body, "/name").to_owned();
    let container = text(body, "/container").to_owned();
    let (source, query) = match kind {
        "External" => (Source::External { name: name.clone() }, Query::External { name, selector, metric }),
        "Object" => {
            let query = Query::Object {
                name: name.clone(),
                selector,
                group: group_of(text(body, "/describedObject/apiVersion")).to_owned(),
                kind: text(body, "/describedObject/kind").to_owned(),
                object: text(body, "/describedObject/name").to_owned(),
                metric,
                described: body.get("describedObject").cloned().unwrap_or_default(),
            };
            (Source::Object { name }, query)
        }
        "Pods" => (Source::Pods { name: name.clone() }, Query::Pods { name, selector, metric }),
        "ContainerResource" => (
            Source::ContainerResource { resource: resource.clone(), container: container.clone() },
            Query::Resource { resource, container: Some(container) },
        ),
        "Resource" => (Source::Resource { resource: resource.clone() }, Query::Resource { resource, container: None }),
        other => (Source::Resource { resource: String::new() }, Query::Unknown(other.to_owned())),
    };
    (Metric { source, target: target(body) }, query)
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// The order is the real controller's: an average value first, then a value.
fn target(body: &Value) -> Target {
    let quantity = |field: &str| body.pointer(&format!("/target/{field}")).and_then(quantity);
    if let Some(average) = quantity("averageValue") {
        Target::AverageValue(average)
    } else if let Some(value) = quantity("value") {
        Target::Value(value)
    } else {
        Target::Utilization(int(number(body, "/target/averageUtilization").unwrap_or(0)))
    }
}

/// A quantity may be written as a number too.
pub(super) fn quantity(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => milli(text),
        Value::Number(number) => milli(&number.to_string()),
        _ => None,
    }
}

fn behaviour(object: &Value) -> Behaviour {
    let part = |field: &str, default: Rules| object.get(field).filter(|rules| rules.is_object()).map_or(default, rules);
    Behaviour { scale_up: part("scaleUp", Rules::scale_up()), scale_down: part("scaleDown", Rules::scale_down()) }
}

fn rules(object: &Value) -> Rules {
    let window = number(object, "/stabilizationWindowSeconds");
    Rules {
        stabilisation: window.map(|seconds| u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)),
        select: match text(object, "/selectPolicy") {
            "Min" => SelectPolicy::Min,
            "Disabled" => SelectPolicy::Disabled,
            _ => SelectPolicy::Max,
        },
        policies: list(object, "/policies")
            .iter()
            .map(|policy| Policy {
                kind: if text(policy, "/type") == "Pods" { PolicyKind::Pods } else { PolicyKind::Percent },
                value: int(number(policy, "/value").unwrap_or(0)),
                period: u32::try_from(number(policy, "/periodSeconds").unwrap_or(0).max(0)).unwrap_or(u32::MAX),
            })
            .collect(),
        tolerance: match object.get("tolerance") {
            Some(Value::String(text)) => approximate(text),
            Some(Value::Number(number)) => number.as_f64(),
            _ => None,
        },
    }
}

fn int(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(if number < 0 { i32::MIN } else { i32::MAX })
}
