//! The defaults of `autoscaling/v2` and its checks. It looks at one object at a time.
//!
//! Facts: the Kubernetes page "Horizontal Pod Autoscaling", and the answers of a 1.36 API server.

use serde_json::{Value, json};

use super::admit::{fill, invalid, required};
use super::status::Cause;

/// The longest time that a policy looks at, in seconds.
const LONGEST_PERIOD: i64 = 1800;
/// The longest stabilisation window, in seconds.
const LONGEST_WINDOW: i64 = 3600;
/// Types of metrics, and the fields that they are described in.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

/// Fills in defaults and says what is wrong.
pub(super) fn admit(object: &mut Value, causes: &mut Vec<Cause>) {
    if !object["spec"].is_object() {
        object["spec"] = json!({});
    }
    let spec = &mut object["spec"];
    fill(spec, "minReplicas", json!(1));
    if spec["metrics"].as_array().is_none_or(Vec::is_empty) {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        spec["metrics"] = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
    }
    if spec["behavior"].is_object() {
        let policy = |kind: &str, value: u32| json!({"type": kind, "value": value, "periodSeconds": 15});
        for (direction, policies) in [
            ("scaleUp", json!([policy("Pods", 4), policy("Percent", 100)])),
            ("scaleDown", json!([policy("Percent", 100)])),
        ] {
            fill(&mut spec["behavior"], direction, json!({}));
            let rules = &mut spec["behavior"][direction];
            if direction == "scaleUp" {
                fill(rules, "stabilizationWindowSeconds", json!(0));
            }
            fill(rules, "policies", policies);
            fill(rules, "selectPolicy", json!("Max"));
        }
    }
    replicas(spec, causes);
    for (name, path) in [("kind", "spec.scaleTargetRef.kind"), ("name", "spec.scaleTargetRef.name")] {
        if spec["scaleTargetRef"][name].as_str().unwrap_or_default().is_empty() {
            causes.push(required(path, ""));
        }
    }
    metrics(spec, causes);
    for direction in ["scaleUp", "scaleDown"] {
        if spec["behavior"][direction].is_object() {
            rules(&spec["behavior"][direction], &format!("spec.behavior.{direction}"), causes);
        }
    }
}

fn replicas(spec: &Value, causes: &mut Vec<Cause>) {
    let (min, max) = (spec["minReplicas"].as_i64().unwrap_or(1), spec["maxReplicas"].as_i64().unwrap_or(0));
    if min < 1 {
        causes.push(invalid("spec.minReplicas", &json!(min), "must be greater than or equal to 1"));
    }
    if max == 0 {
        causes.push(required("spec.maxReplicas", "must be set and greater than 0"));
    } else if max < 0 {
        causes.push(invalid("spec.maxReplicas", &json!(max), "must be greater than or equal to 1"));
    }
    if max < min {
        causes.push(invalid("spec.maxReplicas", &json!(max), "must be greater than or equal to `minReplicas`"));
    }
}

fn metrics(spec: &Value, causes: &mut Vec<Cause>) {
    let metrics = spec["metrics"].as_array().map_or(&[][..], Vec::as_slice);
    for (nth, metric) in metrics.iter().enumerate() {
        let at = format!("spec.metrics[{nth}]");
        let kind = metric["type"].as_str().unwrap_or_default();
        let Some((_, wanted)) = SOURCES.iter().find(|(known, _)| *known == kind) else {
            if kind.is_empty() {
                causes.push(required(&format!("{at}.type"), "must specify a metric source type"));
            }
            let known = r#""ContainerResource", "External", "Object", "Pods", "Resource""#;
            let message = format!("Unsupported value: {kind:?}: supported values: {known}");
            causes.push(Cause { reason: "FieldValueNotSupported", field: format!("{at}.type"), message });
            continue;
        };
        if metric[*wanted].is_null() {
            causes.push(required(&format!("{at}.{wanted}"), "must populate information for the given metric source"));
        } else {
            target(wanted, &metric[*wanted], &format!("{at}.{wanted}"), causes);
        }
        for (_, other) in SOURCES.iter().filter(|(_, other)| other != wanted && !metric[*other].is_null()) {
            causes.push(forbidden(&format!("{at}.{other}"), "must populate the given metric source only"));
        }
    }
    let is_object_or_external = |metric: &Value| matches!(metric["type"].as_str(), Some("Object" | "External"));
    if spec["minReplicas"] == 0 && !metrics.iter().any(is_object_or_external) {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        causes.push(forbidden("spec.metrics", why));
    }
}

fn target(source: &str, metric: &Value, at: &str, causes: &mut Vec<Cause>) {
    let target = &metric["target"];
    let field = |name: &str| format!("{at}.target.{name}");
    let has = |name: &str| !target[name].is_null();
    match target["type"].as_str().unwrap_or_default() {
        "Utilization" | "Value" | "AverageValue" => {}
        other => {
            if other.is_empty() {
                causes.push(required(&field("type"), "must specify a metric target type"));
            }
            let why = "must be either Utilization, Value, or AverageValue";
            causes.push(invalid(&field("type"), &json!(other), why));
        }
    }
    for name in ["value", "averageValue"] {
        let is_positive = |text: &str| {
            let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            digits.parse::<f64>().is_ok_and(|number| number > 0.0)
        };
        let value = &target[name];
        if has(name) && !value.as_str().is_some_and(is_positive) && !value.as_f64().is_some_and(|number| number > 0.0) {
            causes.push(invalid(&field(name), value, "must be positive"));
        }
    }
    if target["averageUtilization"].as_i64().is_some_and(|percent| percent < 1) {
        causes.push(invalid(&field("averageUtilization"), &target["averageUtilization"], "must be greater than 0"));
    }
    match source {
        "external" | "object" => {
            let named = if source == "external" { "metric" } else { "" };
            if metric["metric"]["name"].as_str().unwrap_or_default().is_empty() {
                let field = if named.is_empty() { format!("{at}.metric.name") } else { format!("{at}.{named}.name") };
                causes.push(required(&field, "must specify a metric name"));
            }
            if !has("value") && !has("averageValue") {
                let why = "must set either a target value for metric or a per-pod target";
                causes.push(required(&field("averageValue"), why));
            }
            if source == "external" && has("value") && has("averageValue") {
                let why = "may not set both a target value for metric and a per-pod target";
                causes.push(forbidden(&field("value"), why));
            }
        }
        "resource" | "containerResource" => {
            if metric["name"].as_str().unwrap_or_default().is_empty() {
                causes.push(required(&format!("{at}.name"), "must specify a resource name"));
            }
            if !has("averageUtilization") && !has("averageValue") {
                let why = "must set either a target raw value or a target utilization";
                causes.push(required(&field("averageUtilization"), why));
            }
            if has("averageUtilization") && has("averageValue") {
                let why = "may not set both a target raw value and a target utilization";
                causes.push(forbidden(&field("averageValue"), why));
            }
        }
        _ => {
            if !has("averageValue") {
                causes.push(required(&field("averageValue"), "must specify a positive target averageValue"));
            }
        }
    }
}

fn rules(rules: &Value, at: &str, causes: &mut Vec<Cause>) {
    let field = format!("{at}.stabilizationWindowSeconds");
    let window = &rules["stabilizationWindowSeconds"];
    match window.as_i64() {
        Some(seconds) if seconds < 0 => {
            causes.push(invalid(&field, window, "must be greater than or equal to zero"));
        }
        Some(seconds) if seconds > LONGEST_WINDOW => {
            causes.push(invalid(&field, window, &format!("must be less than or equal to {LONGEST_WINDOW}")));
        }
        _ => {}
    }
    if let Some(other) = rules["selectPolicy"].as_str().filter(|way| !matches!(*way, "Max" | "Min" | "Disabled")) {
        let message = format!(r#"Unsupported value: {other:?}: supported values: "Disabled", "Max", "Min""#);
        causes.push(Cause { reason: "FieldValueNotSupported", field: format!("{at}.selectPolicy"), message });
    }
    let policies = rules["policies"].as_array().map_or(&[][..], Vec::as_slice);
    if policies.is_empty() {
        causes.push(required(&format!("{at}.policies"), "must specify at least one Policy"));
    }
    for (nth, policy) in policies.iter().enumerate() {
        let field = |name: &str| format!("{at}.policies[{nth}].{name}");
        let kind = policy["type"].as_str().unwrap_or_default();
        if !matches!(kind, "Pods" | "Percent") {
            let message = format!(r#"Unsupported value: {kind:?}: supported values: "Percent", "Pods""#);
            causes.push(Cause { reason: "FieldValueNotSupported", field: field("type"), message });
        }
        for name in ["value", "periodSeconds"] {
            let number = policy[name].as_i64().unwrap_or(0);
            if number <= 0 {
                causes.push(invalid(&field(name), &json!(number), "must be greater than zero"));
            } else if name == "periodSeconds" && number > LONGEST_PERIOD {
                let why = format!("must be less than or equal to {LONGEST_PERIOD}");
                causes.push(invalid(&field(name), &json!(number), &why));
            }
        }
    }
}

fn forbidden(field: &str, why: &str) -> Cause {
    Cause { reason: "FieldValueForbidden", field: field.to_owned(), message: format!("Forbidden: {why}") }
}
