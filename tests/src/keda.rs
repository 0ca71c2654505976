//! KEDA's resource types in the shape that KEDA publishes, and the objects that it leaves behind when it stops. Written from
//! its documentation; nothing of KEDA is run.

use serde_json::{Value, json};
use windlass_crd::Group;

/// The API group.
pub const GROUP: &str = "keda.sh";

/// The CRDs, with the fields of a status that KEDA 2.20 has, and no other: applying another is refused.
///
/// # Panics
/// Never: the types are always well formed.
#[must_use]
pub fn crds() -> Vec<Value> {
    let ours = windlass_crd::crds(Group::Keda).into_iter();
    let mut crds: Vec<Value> = ours.map(|crd| serde_json::to_value(crd).expect("a CRD is JSON")).collect();
    let schema = &mut crds[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    if let Some(whole) = schema.as_object_mut() {
        whole.remove("x-kubernetes-validations");
    }
    if let Some(spec) = schema["properties"]["spec"].as_object_mut() {
        spec.remove("x-kubernetes-validations");
    }
    schema["properties"]["status"] = status();
    crds
}

fn status() -> Value {
    let text = json!({"type": "string"});
    let texts = json!({"type": "array", "items": text});
    let count = json!({"type": "integer", "format": "int32"});
    json!({"type": "object", "properties": {
        "authenticationsTypes": text, "compositeScalerName": text, "externalMetricNames": texts, "hpaName": text,
        "resourceMetricNames": texts, "scaleTargetKind": text, "triggersTypes": text,
        "originalReplicaCount": count, "pausedReplicaCount": count,
        "lastActiveTime": {"type": "string", "format": "date-time"},
        "conditions": {"type": "array", "items": {"type": "object", "required": ["status", "type"], "properties": {
            "message": text, "reason": text, "status": text, "type": text}}},
        "health": {"type": "object", "additionalProperties": {"type": "object", "properties": {
            "numberOfFailures": count, "status": text}}},
        "scaleTargetGVKR": {"type": "object", "required": ["group", "kind", "resource", "version"], "properties": {
            "group": text, "kind": text, "resource": text, "version": text}},
        "triggersActivity": {"type": "object", "additionalProperties": {"type": "object", "properties": {
            "isActive": {"type": "boolean"}}}},
    }})
}

/// The HPA that KEDA has made for the object `name` with this uid and one trigger.
#[must_use]
pub fn hpa(namespace: &str, name: &str, uid: &str, (metric, average): (&str, &str), max: i32) -> Value {
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": format!("keda-hpa-{name}"), "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "keda-operator", "app.kubernetes.io/name": format!("keda-hpa-{name}"),
                "app.kubernetes.io/part-of": name, "app.kubernetes.io/version": "2.20.2", "scaledobject.keda.sh/name": name},
            "ownerReferences": [{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": name, "uid": uid,
                "controller": true, "blockOwnerDeletion": true}]},
        "spec": {"minReplicas": 1, "maxReplicas": max,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "metrics": [{"type": "External", "external": {
                "metric": {"name": metric, "selector": {"matchLabels": {"scaledobject.keda.sh/name": name}}},
                "target": {"type": "AverageValue", "averageValue": average}}}]}})
}

/// What KEDA's status says of an object that is active.
#[must_use]
pub fn active_status(metric: &str, name: &str, last_active: &str) -> Value {
    let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": "m"});
    json!({
        "conditions": [condition("Ready", "True", "ScaledObjectReady"), condition("Active", "True", "ScalerActive"),
            condition("Fallback", "False", "NoFallbackFound"), condition("Paused", "False", "ScaledObjectUnpaused")],
        "externalMetricNames": [metric], "hpaName": format!("keda-hpa-{name}"), "lastActiveTime": last_active,
        "originalReplicaCount": 0, "scaleTargetKind": "apps/v1.Deployment", "triggersTypes": "rabbitmq",
        "authenticationsTypes": "", "resourceMetricNames": ["cpu"], "pausedReplicaCount": 3,
        "scaleTargetGVKR": {"group": "apps", "kind": "Deployment", "resource": "deployments", "version": "v1"},
        "health": {metric: {"numberOfFailures": 0, "status": "Happy"}, "s1-gone": {"numberOfFailures": 7, "status": "Failing"}}, "triggersActivity": {metric: {}},
    })
}

/// KEDA's Lease, held by `holder` and last renewed at `renewed` (RFC 3339).
#[must_use]
pub fn lease(namespace: &str, holder: &str, renewed: &str) -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "operator.keda.sh", "namespace": namespace},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed, "acquireTime": renewed}})
}
