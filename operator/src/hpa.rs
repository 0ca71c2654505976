//! The HPA that is written for an object, and whether the one that is there still says the same. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerSpec;
use serde_json::{Value, json};
use windlass_crd::{Group, ResourceMetric, ResourceTarget, Validated};
use windlass_decision::TargetKind;

use crate::apply::writer::FIELD_MANAGER;
use crate::external_metrics::MilliQuantity;
use crate::key::ObjectKey;
use crate::seen::{SeenHpa, SeenObject};

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The HPA for an object, as the body of a server-side apply.
///
/// `AverageValue` and `Value` targets follow `autoscaling/v2`; the metric is named and selected as KEDA does, with our
/// label.
#[must_use]
pub fn desired(key: &ObjectKey, object: &SeenObject, valid: &Validated) -> Value {
    let bounds = valid.config.bounds();
    let label = key.group.name_label();
    let mut triggers: Vec<_> = valid.config.triggers().iter().collect();
    triggers.sort_by(|a, b| a.metric_name.cmp(&b.metric_name));
    let metrics: Vec<Value> = triggers
        .into_iter()
        .map(|trigger| {
            let quantity = MilliQuantity(trigger.target_milli()).to_string();
            let target = match trigger.kind {
                TargetKind::AverageValue => json!({"type": "AverageValue", "averageValue": quantity}),
                TargetKind::Value => json!({"type": "Value", "value": quantity}),
            };
            json!({"type": "External", "external": {
                "metric": {"name": trigger.metric_name, "selector": {"matchLabels": {label: &*key.name}}},
                "target": target,
            }})
        })
        .chain(valid.resources.iter().map(resource_metric))
        .collect();
    let mut spec = json!({
        "scaleTargetRef": {
            "apiVersion": valid.target.api_version(), "kind": valid.target.kind, "name": valid.target.name,
        },
        "minReplicas": bounds.active_min(),
        "maxReplicas": bounds.max,
        "metrics": metrics,
    });
    if let Some(behavior) = &valid.behavior {
        spec["behavior"] = json!(behavior);
    }
    // An object whose annotations cannot be understood is not decided about, and gets no HPA.
    let hand = object.hand.clone().unwrap_or_default();
    for (paused, direction) in [(hand.scale_in_paused, "scaleDown"), (hand.scale_out_paused, "scaleUp")] {
        if paused {
            spec["behavior"][direction]["selectPolicy"] = json!("Disabled");
        }
    }
    json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": valid.hpa_name,
            "namespace": &*key.namespace,
            "labels": labels(key, object, valid),
            "annotations": object.annotations,
            "ownerReferences": [{
                "apiVersion": key.group.api_version(), "kind": "ScaledObject", "name": &*key.name, "uid": object.uid,
                "controller": true,
            }],
        },
        "spec": spec,
    })
}

/// The labels of the object but for those that it keeps from its HPA, and what names the object and who made the HPA.
fn labels(key: &ObjectKey, object: &SeenObject, valid: &Validated) -> BTreeMap<String, String> {
    let mut labels = object.labels.clone();
    for excluded in windlass_crd::excluded_labels(&object.annotations) {
        labels.remove(excluded);
    }
    let mut own = |label: &str, value: &str| drop(labels.insert(label.to_owned(), value.to_owned()));
    own(key.group.name_label(), &key.name);
    match key.group {
        Group::Windlass => own(MANAGED_BY, FIELD_MANAGER),
        Group::Keda => {
            own(MANAGED_BY, "keda-operator");
            own("app.kubernetes.io/name", &valid.hpa_name);
            own("app.kubernetes.io/part-of", &key.name);
        }
    }
    labels
}

fn resource_metric(metric: &ResourceMetric) -> Value {
    let target = match &metric.target {
        ResourceTarget::Utilization(percent) => json!({"type": "Utilization", "averageUtilization": percent}),
        ResourceTarget::AverageValue(quantity) => json!({"type": "AverageValue", "averageValue": quantity}),
    };
    let name = metric.resource;
    match &metric.container {
        Some(container) => json!({"type": "ContainerResource", "containerResource":
            {"name": name, "container": container, "target": target}}),
        None => json!({"type": "Resource", "resource": {"name": name, "target": target}}),
    }
}

/// Whether the HPA that is there already says what `desired` says. The API server fills in defaults, so what we did not
/// say may be anything that it would be by default.
#[must_use]
pub fn is_current(desired: &Value, seen: &SeenHpa) -> bool {
    let live = json!({"metadata": seen.meta, "spec": seen.spec});
    let labels = includes(&live["metadata"]["labels"], &desired["metadata"]["labels"]);
    let annotations = includes(&live["metadata"]["annotations"], &desired["metadata"]["annotations"]);
    // Others may own it too.
    let owned_by =
        |wanted: &Value| seen.meta.owner_references.iter().flatten().any(|owner| includes(&json!(owner), wanted));
    let owners = desired["metadata"]["ownerReferences"].as_array().into_iter().flatten().all(owned_by);
    labels
        && annotations
        && owners
        && includes(&live["spec"], &desired["spec"])
        && !has_leftovers(&desired["spec"], &seen.spec)
}

/// Whether something is left over that we once said and do not say any more. The metrics and the target are compared
/// whole already; the behaviour is the one optional part, and its default is known.
fn has_leftovers(desired: &Value, live: &HorizontalPodAutoscalerSpec) -> bool {
    let Some(behavior) = &live.behavior else { return false };
    let said = |direction: &str| desired["behavior"].get(direction).is_some();
    (behavior.scale_up.is_some() && !said("scaleUp") && !is_default_up(behavior.scale_up.as_ref()))
        || (behavior.scale_down.is_some() && !said("scaleDown") && !is_default_down(behavior.scale_down.as_ref()))
}

type Rules = k8s_openapi::api::autoscaling::v2::HPAScalingRules;

/// "Default Behavior" of the Kubernetes HPA page: 4 pods or 100 % each 15 s, at once.
fn is_default_up(rules: Option<&Rules>) -> bool {
    rules.is_none_or(|rules| {
        rules.stabilization_window_seconds.unwrap_or(0) == 0
            && rules.select_policy.as_deref().unwrap_or("Max") == "Max"
            && rules.tolerance.is_none()
            && policies(rules) == [("Percent", 100, 15), ("Pods", 4, 15)]
    })
}

/// "Default Behavior" of the Kubernetes HPA page: 100 % each 15 s, after the cluster's window.
fn is_default_down(rules: Option<&Rules>) -> bool {
    rules.is_none_or(|rules| {
        rules.stabilization_window_seconds.is_none()
            && rules.select_policy.as_deref().unwrap_or("Max") == "Max"
            && rules.tolerance.is_none()
            && policies(rules) == [("Percent", 100, 15)]
    })
}

fn policies(rules: &Rules) -> Vec<(&str, i32, i32)> {
    let mut policies: Vec<_> =
        rules.policies.iter().flatten().map(|p| (p.type_.as_str(), p.value, p.period_seconds)).collect();
    policies.sort_unstable();
    policies
}

/// Whether `live` has everything that `wanted` says; lists must have the same length.
fn includes(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| live.get(key).is_some_and(|live| includes(live, wanted)))
        }
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| includes(live, wanted))
        }
        (Value::Number(live), Value::Number(wanted)) => live.as_f64() == wanted.as_f64(),
        (Value::String(live), Value::String(wanted)) => live == wanted || are_equal_quantities(live, wanted),
        // What is empty is left out.
        (Value::Null, Value::Object(wanted)) => wanted.is_empty(),
        (live, wanted) => live == wanted,
    }
}

/// The API server writes quantities in its own way: `1024Mi` is read back as `1Gi`.
fn are_equal_quantities(a: &str, b: &str) -> bool {
    match (windlass_sources::quantity(a), windlass_sources::quantity(b)) {
        (Some(a), Some(b)) => (a - b).abs() <= a.abs() * 1e-12,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_is_the_same_however_it_is_written() {
        for (a, b, same) in [("1024Mi", "1Gi", true), ("0.5", "500m", true), ("1", "1000m", true), ("1", "2", false)] {
            assert_eq!(includes(&json!({"v": a}), &json!({"v": b})), same, "{a} {b}");
        }
        assert!(!includes(&json!("a"), &json!("b")));
    }

    #[test]
    fn defaults_of_the_server_are_no_difference_but_a_changed_field_is() {
        let wanted = json!({"a": 1, "list": [{"x": "1"}]});
        assert!(includes(&json!({"a": 1, "b": 2, "list": [{"x": "1", "y": 2}]}), &wanted));
        assert!(!includes(&json!({"a": 2, "list": [{"x": "1"}]}), &wanted));
        assert!(!includes(&json!({"a": 1, "list": [{"x": "1"}, {"x": "2"}]}), &wanted));
        assert!(!includes(&json!({"a": 1}), &wanted));
    }

    #[test]
    fn a_behaviour_that_is_not_wanted_any_more_is_noticed() {
        let live = |behavior: Value| -> HorizontalPodAutoscalerSpec {
            serde_json::from_value(
                json!({"maxReplicas": 3, "scaleTargetRef": {"kind": "D", "name": "d"}, "behavior": behavior}),
            )
            .expect("the test's own HPA")
        };
        let default = json!({"scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
            {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]}});
        assert!(!has_leftovers(&json!({}), &live(default)));
        let changed = json!({"scaleDown": {"selectPolicy": "Disabled"}});
        assert!(has_leftovers(&json!({}), &live(changed.clone())));
        let said = json!({"behavior": changed});
        assert!(!has_leftovers(&said, &live(said["behavior"].clone())));
    }
}
