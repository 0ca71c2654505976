//! The status of a `ScaledObject`: KEDA's fields, with `observedGeneration` and transition times. It carries only what
//! changes rarely; readings and replica counts are served by the operator, not written here.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{self, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The condition types.
pub mod condition_type {
    /// The object is understood and its sources are read.
    pub const READY: &str = "Ready";
    /// There is work.
    pub const ACTIVE: &str = "Active";
    /// The fallback is in force.
    pub const FALLBACK: &str = "Fallback";
    /// Scaling is paused by hand.
    pub const PAUSED: &str = "Paused";
    /// The HPA can scale, as it says itself by its condition `ScalingActive`.
    pub const HPA_ACTIVE: &str = "HPAActive";
}

/// What is known of a `ScaledObject`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaledObjectStatus {
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The target as `group/version.Kind`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_target_kind: Option<String>,
    /// The target's group, version, kind and resource.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "scaleTargetGVKR")]
    pub scale_target_gvkr: Option<Gvkr>,
    /// The replicas of the target when the object was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_replica_count: Option<i32>,
    /// When work last came; written once for each activation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_active_time: Option<Time>,
    /// The names of the external metrics in the HPA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_metric_names: Option<Vec<String>>,
    /// The names of the resource metrics in the HPA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_metric_names: Option<Vec<String>>,
    /// The name of the computed metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub composite_scaler_name: Option<String>,
    /// Ready, Active, Fallback and Paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<v1::Condition>>", extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Option<Vec<Condition>>,
    /// The health of each metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<BTreeMap<String, Health>>,
    /// Whether each metric is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggers_activity: Option<BTreeMap<String, TriggerActivity>>,
    /// The replicas while paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_replica_count: Option<i32>,
    /// The name of the HPA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hpa_name: Option<String>,
    /// The types of the triggers, separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggers_types: Option<String>,
    /// The authentications of the triggers, separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentications_types: Option<String>,
}

/// A condition as Kubernetes has them. KEDA's have neither a generation nor a time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, for a program.
    pub reason: String,
    /// Why, for a person.
    pub message: String,
    /// The generation that it speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Since when it has this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
}

impl ScaledObjectStatus {
    /// Reads a status, field by field: one that cannot be read is as if it were not there, and hides no other.
    #[must_use]
    pub fn read(status: serde_json::Value) -> Self {
        if let Ok(status) = serde_json::from_value(status.clone()) {
            return status;
        }
        let serde_json::Value::Object(mut fields) = status else { return Self::default() };
        fields.retain(|name, value| {
            let alone = serde_json::Map::from_iter([(name.clone(), value.clone())]);
            serde_json::from_value::<Self>(alone.into()).is_ok()
        });
        serde_json::from_value(fields.into()).unwrap_or_default()
    }
}

/// Group, version, kind and resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gvkr {
    /// API group.
    #[serde(default)]
    pub group: String,
    /// API version.
    #[serde(default)]
    pub version: String,
    /// Kind.
    #[serde(default)]
    pub kind: String,
    /// Plural name.
    #[serde(default)]
    pub resource: String,
}

/// The health of one metric.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// Consecutive failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number_of_failures: Option<i32>,
    /// `Happy` or `Failing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// Whether one metric is active.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriggerActivity {
    /// Whether there is work.
    #[serde(default)]
    pub is_active: bool,
}

/// A condition. `lastTransitionTime` is carried over from `before` while the status is the same, as Kubernetes' API
/// conventions ask.
#[must_use]
pub fn condition(
    before: Option<&[Condition]>,
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let same = before.into_iter().flatten().find(|c| c.type_ == kind && c.status == status);
    // Conditions have whole seconds on the wire: a fraction would differ from what is read back.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: Some(same.and_then(|c| c.last_transition_time.clone()).unwrap_or(Time(now))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_as_keda_leaves_it_is_read_and_what_is_odd_hides_nothing_else() {
        let status = ScaledObjectStatus::read(json!({
            "conditions": [{"type": "Ready", "status": "True", "reason": "ScaledObjectReady", "message": "fine"},
                {"type": "Active", "status": "Unknown"}],
            "lastActiveTime": "2026-11-26T10:00:00Z",
            "originalReplicaCount": 1,
            "triggersActivity": {"s0-x": {}},
            "health": {"s0-x": {"numberOfFailures": 0, "status": "Happy"}},
        }));
        assert!(status.conditions.as_ref().is_some_and(|conditions| conditions.len() == 2));
        assert!(status.last_active_time.is_some() && status.original_replica_count == Some(1));
        let odd = json!({"lastActiveTime": "2026-11-26T10:00:00Z", "hpaName": 7, "conditions": "none"});
        let status = ScaledObjectStatus::read(odd);
        assert!(status.last_active_time.is_some() && status.hpa_name.is_none() && status.conditions.is_none());
        assert_eq!(ScaledObjectStatus::read(json!("odd")), ScaledObjectStatus::default());
    }
}
