//! What is accepted, what is refused, and with which words.

use serde_json::{Value, json};

use super::*;

fn spec(patch: Value) -> ScaledObjectSpec {
    let mut base = json!({
        "scaleTargetRef": {"name": "worker"},
        "triggers": [{
            "type": "rabbitmq",
            "metadata": {"queueName": "orders", "host": "amqp://guest:guest@localhost:5672/", "mode": "QueueLength", "value": "10"}
        }]
    });
    merge(&mut base, patch);
    serde_json::from_value(base).expect("the test's own spec")
}

fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}

fn check(patch: Value) -> Result<Validated, Vec<String>> {
    validate("orders", &spec(patch), &Settings::default())
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

#[track_caller]
fn refused(patch: Value, field: &str, word: &str) {
    let errors = check(patch).expect_err("must be refused");
    assert!(
        errors.iter().any(|e| e.starts_with(&format!("{field}: ")) && e.contains(word)),
        "no error about {field} with {word:?} in {errors:#?}"
    );
}

#[test]
fn the_defaults_are_kedas() {
    let valid = check(json!({})).expect("valid");
    assert_eq!(valid.config.bounds(), Bounds { min: 0, max: 100, idle: None });
    assert_eq!(valid.config.cooldown(), Duration::from_secs(300));
    assert_eq!(valid.config.initial_cooldown(), Duration::ZERO);
    assert_eq!(valid.target.api_version(), "apps/v1");
    assert_eq!(valid.target.kind, "Deployment");
    assert_eq!(valid.hpa_name, "windlass-hpa-orders");
    assert_eq!(valid.config.triggers()[0].metric_name, "s0-rabbitmq-orders");
    assert_eq!(valid.config.triggers()[0].kind, TargetKind::AverageValue);
    assert_eq!(valid.triggers[0].interval, None);
}

#[test]
fn each_mistake_names_its_field_and_its_fix() {
    refused(json!({"minReplicaCount": 5, "maxReplicaCount": 4}), "spec.minReplicaCount", "greater than");
    refused(json!({"maxReplicaCount": 0}), "spec.maxReplicaCount", "at least 1");
    refused(json!({"minReplicaCount": -1}), "spec.minReplicaCount", "negative");
    refused(json!({"idleReplicaCount": 0}), "spec.idleReplicaCount", "less than minReplicaCount");
    refused(json!({"idleReplicaCount": 1, "minReplicaCount": 2}), "spec.idleReplicaCount", "write 0");
    refused(json!({"cooldownPeriod": -1}), "spec.cooldownPeriod", "negative");
    refused(json!({"pollingInterval": 0}), "spec.pollingInterval", "at least 1 second");
    refused(json!({"triggers": []}), "spec.triggers", "at least one");
    refused(json!({"scaleTargetRef": {"name": " "}}), "spec.scaleTargetRef.name", "empty");
    refused(json!({"scaleTargetRef": {"apiVersion": "apps/v1/x"}}), "spec.scaleTargetRef.apiVersion", "group/version");
    let long = "n".repeat(64);
    let named = json!({"advanced": {"horizontalPodAutoscalerConfig": {"name": long}}});
    refused(named, "spec.advanced.horizontalPodAutoscalerConfig.name", "at most 63");
}

#[test]
fn what_is_not_served_yet_is_said_and_never_ignored() {
    let yet = "not supported yet";
    refused(json!({"fallback": {"failureThreshold": 3, "replicas": 2}}), "spec.fallback", yet);
    refused(json!({"advanced": {"scalingModifiers": {"formula": "a"}}}), "spec.advanced.scalingModifiers", yet);
    let restore = json!({"advanced": {"restoreToOriginalReplicaCount": true}});
    refused(restore, "spec.advanced.restoreToOriginalReplicaCount", yet);
    let trigger = |patch: Value| {
        let mut base = serde_json::to_value(&spec(json!({})).triggers[0]).expect("json");
        merge(&mut base, patch);
        json!({"triggers": [base]})
    };
    refused(trigger(json!({"authenticationRef": {"name": "a"}})), "spec.triggers[0].authenticationRef", yet);
    refused(trigger(json!({"metricType": "Utilization"})), "spec.triggers[0].metricType", "Value");
    refused(trigger(json!({"type": "kafkaa"})), "spec.triggers[0].type", "rabbitmq");
    refused(trigger(json!({"metadata": {"queueNmae": "x"}})), "spec.triggers[0].metadata.queueNmae", "queueName");
}

#[test]
fn a_scale_up_behaviour_limits_the_first_write() {
    let behaviour = json!({"advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleUp": {
        "stabilizationWindowSeconds": 30, "selectPolicy": "Min",
        "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 50, "periodSeconds": 15}]
    }}}}});
    let valid = check(behaviour).expect("valid");
    assert_eq!(valid.config.scale_up().stabilisation, Duration::from_secs(30));
    assert_eq!(valid.config.scale_up().select, SelectPolicy::Min);
    assert_eq!(valid.config.scale_up().policies.len(), 2);
}

#[test]
fn two_triggers_of_one_name_are_refused() {
    let trigger = serde_json::to_value(&spec(json!({})).triggers[0]).expect("json");
    let mut named = trigger;
    merge(&mut named, json!({"name": "a"}));
    refused(json!({"triggers": [named.clone(), named]}), "spec.triggers[1].name", "used twice");
}
