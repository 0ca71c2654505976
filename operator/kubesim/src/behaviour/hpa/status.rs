//! The status of an autoscaler after a sync, written only where it differs. It scales nothing.

use serde_json::{Value, json};
use windlass_decision::hpa::{Condition, Conditions, Outcome, Proposal};

use super::USER;
use super::convert::{Autoscaler, Query};
use super::sync::Context;
use crate::api::{Part, Patch};
use crate::behaviour::json::{list, name, namespace, number, seconds, set_condition, status_patch, text};
use crate::behaviour::quantity::{binary, decimal};
use crate::behaviour::store::Kind;

impl Context {
    /// Writes the status, if it differs. Without an outcome (the scale could not be read) the figures stay as they were.
    pub(super) fn write_status(
        &self,
        object: &Value,
        autoscaler: &Autoscaler,
        said: &Conditions,
        outcome: Option<&Outcome>,
        replicas: i32,
    ) {
        let now = self.cluster.now();
        let mut conditions = list(object, "/status/conditions").to_vec();
        for (kind, condition) in [
            ("AbleToScale", &said.able_to_scale),
            ("ScalingActive", &said.scaling_active),
            ("ScalingLimited", &said.scaling_limited),
        ] {
            if let Some(Condition { holds, reason, message }) = condition {
                set_condition(&mut conditions, kind, *holds, reason.as_str(), message, now);
            }
        }
        let mut status = object.get("status").cloned().unwrap_or_else(|| json!({}));
        status["conditions"] = json!(conditions);
        if let Some(outcome) = outcome {
            let before = number(object, "/status/desiredReplicas").unwrap_or(0);
            status["currentReplicas"] = json!(replicas);
            status["desiredReplicas"] = outcome.status_desired.map_or_else(|| json!(before), |desired| json!(desired));
            if let Some(at) = outcome.next.last_scale {
                status["lastScaleTime"] = json!(seconds(at));
            }
            // Rebuilt at each sync: where the metrics were not looked at there are none.
            let shown = outcome.metrics.iter().zip(&autoscaler.queries);
            let shown: Vec<_> = shown.map(|(metric, query)| shown_metric(metric.as_ref().ok(), query)).collect();
            status["currentMetrics"] = if shown.is_empty() { Value::Null } else { shown.into() };
        }
        let Some(mut patch) = status_patch(object, status) else { return };
        // As an update would: an object that somebody changed during the sync keeps its status until the next one.
        patch["metadata"] = json!({"resourceVersion": text(object, "/metadata/resourceVersion")});
        let at = (namespace(object), name(object));
        if let Err(refused) = self.cluster.patch(USER, Kind::Hpa.gr(), Part::Status, at, &Patch::Merge(patch))
            && refused.code != 404
        {
            self.tell(object, true, "FailedUpdateStatus", &refused.message);
        }
    }
}

/// What `status.currentMetrics` says of one metric: of one that failed, nothing but that it is there.
fn shown_metric(metric: Option<&Proposal>, query: &Query) -> Value {
    let Some(metric) = metric else { return json!({"type": ""}) };
    let spelt = |milli: i64| match query {
        Query::Resource { resource, .. } if resource == "memory" => binary(milli),
        _ => decimal(milli),
    };
    let mut current = json!({});
    if let Some(value) = metric.current.value {
        current["value"] = json!(spelt(value));
    }
    if let Some(average) = metric.current.average_value {
        current["averageValue"] = json!(spelt(average));
    }
    if let Some(percent) = metric.current.average_utilization {
        current["averageUtilization"] = json!(percent);
    }
    match query {
        Query::External { metric, .. } => {
            json!({"type": "External", "external": {"metric": metric, "current": current}})
        }
        Query::Pods { metric, .. } => json!({"type": "Pods", "pods": {"metric": metric, "current": current}}),
        Query::Object { metric, described, .. } => json!({
            "type": "Object",
            "object": {"metric": metric, "describedObject": described, "current": current},
        }),
        Query::Resource { resource, container: None } => {
            json!({"type": "Resource", "resource": {"name": resource, "current": current}})
        }
        Query::Resource { resource, container } => json!({
            "type": "ContainerResource",
            "containerResource": {"name": resource, "container": container, "current": current},
        }),
        Query::Unknown(_) => json!({"type": ""}),
    }
}
