//! What is accepted, what is refused, and with which words.

use serde_json::{Value, json};

use windlass_decision::{Fallback, FallbackBehavior, TargetKind};
use windlass_sources::{Connection, Secret};

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
    validate("orders", &spec(patch), Inputs::default())
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
    refused(json!({"advanced": {"scalingModifiers": {"formula": "a"}}}), "spec.advanced.scalingModifiers", yet);
    let fallback = |behavior| json!({"fallback": {"failureThreshold": 3, "replicas": 2, "behavior": behavior}});
    refused(fallback("scalingModifiers"), "spec.fallback.behavior", yet);
    refused(fallback("always"), "spec.fallback.behavior", "not known");
    refused(trigger(json!({"metricType": "Utilization"})), "spec.triggers[0].metricType", "Value");
    refused(trigger(json!({"type": "kafkaa"})), "spec.triggers[0].type", "rabbitmq");
    refused(trigger(json!({"metadata": {"queueNmae": "x"}})), "spec.triggers[0].metadata.queueNmae", "queueName");
}

fn trigger(patch: Value) -> Value {
    let mut base = serde_json::to_value(&spec(json!({})).triggers[0]).expect("json");
    merge(&mut base, patch);
    json!({"triggers": [base]})
}

#[test]
fn a_fallback_has_a_threshold_replicas_and_a_behaviour() {
    let of = |patch: Value| check(json!({"fallback": patch})).map(|valid| valid.config.fallback());
    let fallback = |behavior| Ok(Some(Fallback { failure_threshold: 3, replicas: 6, behavior }));
    assert_eq!(of(json!({"failureThreshold": 3, "replicas": 6})), fallback(FallbackBehavior::Static));
    for (name, behavior) in [
        ("static", FallbackBehavior::Static),
        ("currentReplicas", FallbackBehavior::CurrentReplicas),
        ("currentReplicasIfHigher", FallbackBehavior::CurrentReplicasIfHigher),
        ("currentReplicasIfLower", FallbackBehavior::CurrentReplicasIfLower),
    ] {
        assert_eq!(of(json!({"failureThreshold": 3, "replicas": 6, "behavior": name})), fallback(behavior), "{name}");
    }
    refused(json!({"fallback": {"failureThreshold": -1, "replicas": 1}}), "spec.fallback.failureThreshold", "negative");
    refused(json!({"fallback": {"failureThreshold": 1, "replicas": -1}}), "spec.fallback.replicas", "negative");
}

#[test]
fn cpu_and_memory_are_passed_to_the_hpa() {
    let cpu = |patch: Value| {
        let mut base = json!({"type": "cpu", "metricType": "Utilization", "metadata": {"value": "80"}});
        merge(&mut base, patch);
        base
    };
    let with = |trigger: Value| {
        let queue = serde_json::to_value(&spec(json!({})).triggers[0]).expect("json");
        json!({"triggers": [trigger, queue]})
    };
    let valid = check(with(cpu(json!({})))).expect("valid");
    let metric = |target| vec![ResourceMetric { resource: "cpu", container: None, target }];
    assert_eq!(valid.resources, metric(ResourceTarget::Utilization(80)));
    assert_eq!(valid.triggers[0].index, 1);
    assert_eq!(valid.config.triggers()[0].metric_name, "s1-rabbitmq-orders");
    assert_eq!(valid.types, ["cpu", "rabbitmq"]);
    let average = json!({"metricType": "AverageValue", "metadata": {"value": "500m"}});
    let valid = check(with(cpu(average))).expect("valid");
    assert_eq!(valid.resources, metric(ResourceTarget::AverageValue("500m".to_owned())));
    let old = json!({"metricType": null, "metadata": {"type": "Utilization", "containerName": "app"}});
    assert_eq!(check(with(cpu(old))).expect("valid").resources[0].container.as_deref(), Some("app"));

    let value = |value: &str| with(cpu(json!({"metadata": {"value": value}})));
    refused(value("eighty"), "spec.triggers[0].metadata.value", "percentage");
    refused(value(""), "spec.triggers[0].metadata.value", "required");
    refused(with(cpu(json!({"metricType": "Value"}))), "spec.triggers[0].metricType", "Utilization");
    refused(with(cpu(json!({"useCachedMetrics": true}))), "spec.triggers[0].useCachedMetrics", "HPA");
    refused(with(cpu(json!({"metadata": {"vaule": "x"}}))), "spec.triggers[0].metadata.vaule", "value");

    let alone = |min: i32| json!({"minReplicaCount": min, "triggers": [cpu(json!({}))]});
    refused(alone(0), "spec.minReplicaCount", "at least 1");
    assert!(check(alone(1)).expect("valid").config.triggers().is_empty());
    let mut fallback = alone(1);
    merge(&mut fallback, json!({"fallback": {"failureThreshold": 1, "replicas": 1}}));
    refused(fallback, "spec.fallback", "cpu and memory");
}

#[test]
fn objects_of_keda_have_kedas_names_and_pass_over_unknown_keys() {
    let inputs = Inputs { group: Group::Keda, ..Inputs::default() };
    let odd = spec(trigger(json!({"metadata": {"queueNmae": "x"}})));
    let valid = validate("orders", &odd, inputs).expect("valid");
    assert_eq!(valid.hpa_name, "keda-hpa-orders");
    assert!(valid.remarks.len() == 1 && valid.remarks[0].field == "spec.triggers[0].metadata.queueNmae");
}

#[test]
fn a_trigger_takes_from_its_authentication() {
    let parameters = |host: &str| [("host".to_owned(), Secret::new(host))].into();
    let mut bare = spec(json!({}));
    bare.triggers[0].metadata.remove("host");
    let given = [Given { parameters: parameters("amqp://user:s3cr3t@rabbit"), ..Given::default() }];
    assert!(validate("orders", &bare, Inputs { given: &given, ..Inputs::default() }).is_ok());
    let wrong = [Given { parameters: parameters("s3cr3t"), ..Given::default() }];
    let errors = validate("orders", &bare, Inputs { given: &wrong, ..Inputs::default() }).expect_err("no URL");
    assert_eq!(errors[0].field, "spec.triggers[0].authenticationRef[host]");
    assert!(!errors[0].to_string().contains("s3cr3t"));
}

#[test]
fn a_webhook_belongs_to_its_namespace_and_needs_a_receiver() {
    let metadata = json!({"name": "orders", "value": "5", "signature": "none", "allowUnsigned": "true"});
    let mut webhook = spec(json!({}));
    webhook.triggers[0].kind = "webhook".to_owned();
    webhook.triggers[0].metadata = serde_json::from_value(metadata).expect("texts");
    let inputs = Inputs { namespace: "shop", ..Inputs::default() };
    let valid = validate("orders", &webhook, inputs).expect("valid");
    let Connection::Webhook(connection) = &valid.triggers[0].parsed.connection else { panic!("another source") };
    assert_eq!((connection.namespace.as_str(), connection.name.as_str()), ("shop", "orders"));
    let settings = Settings { webhooks: false, ..Settings::default() };
    let errors = validate("orders", &webhook, Inputs { settings, ..inputs }).expect_err("nobody receives");
    assert_eq!(errors[0].field, "spec.triggers[0].type");
    assert!(errors[0].fix.contains("--webhook-address") && errors[0].fix.contains("--data-dir"));
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
