//! Builders of the objects that tests create.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

/// The type of a ScaledObject of a group for `Api::namespaced_with`.
#[must_use]
pub fn scaled_objects(group: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1alpha1", "ScaledObject"), "scaledobjects")
}

/// A Deployment with label `app: NAME`, ready at once on the fake kubelet. Its pods have this environment.
///
/// # Panics
/// Never: the object is always well formed.
#[must_use]
pub fn deployment(namespace: &str, name: &str, replicas: i32, env: &[(&str, &str)]) -> Deployment {
    let env: Vec<Value> = env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    serde_json::from_value(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "worker", "image": "none", "env": env}]},
            },
        },
    }))
    .expect("a Deployment")
}

/// A ScaledObject of a group with this `spec`.
#[must_use]
pub fn scaled_object(group: &str, namespace: &str, name: &str, spec: &Value) -> DynamicObject {
    DynamicObject::new(name, &scaled_objects(group)).within(namespace).data(json!({"spec": spec}))
}

/// The spec of a ScaledObject for a Deployment and one RabbitMQ queue: mode `QueueLength`, from 0 to `max`, cooldown
/// 5 s. `host` is a URL of the broker ([`crate::Rabbit::amqp_url`], `http_url`, or one of a proxy). Change what a test
/// needs: `spec["cooldownPeriod"] = 9.into()`.
#[must_use]
pub fn rabbit_spec(deployment: &str, host: &str, queue: &str, value: u32, max: i32) -> Value {
    json!({
        "scaleTargetRef": {"name": deployment},
        "minReplicaCount": 0,
        "maxReplicaCount": max,
        "cooldownPeriod": 5,
        "triggers": [{
            "type": "rabbitmq",
            "metadata": {
                "host": host,
                "queueName": queue,
                "mode": "QueueLength",
                "value": value.to_string(),
            },
        }],
    })
}
