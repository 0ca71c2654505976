//! What is written about a sync: the status of the autoscaler, only where it differs, and events. It scales nothing.

use serde_json::{Value, json};
use windlass_decision::hpa::{Condition, Conditions, Outcome};

use super::convert::{Autoscaler, Query};
use super::{Context, USER};
use crate::api::{Part, Patch};
use crate::behaviour::json::{list, name, namespace, number, seconds, set_condition, status_patch, text, uid};
use crate::behaviour::quantity::decimal;
use crate::behaviour::store::Kind;

impl Context {
    /// Writes the status, if it differs. Without an outcome the figures stay as they were.
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
            let Some(Condition { holds, reason, message }) = condition else { continue };
            let before = conditions.iter().find(|one| text(one, "/type") == kind);
            let is_news = before.is_none_or(|one| text(one, "/reason") != reason.as_str());
            if is_news && !holds && kind != "ScalingLimited" {
                self.tell(object, (true, reason.as_str(), message.to_string()));
            }
            set_condition(&mut conditions, kind, *holds, reason.as_str(), message, now);
        }
        let mut status = object.get("status").cloned().unwrap_or_else(|| json!({}));
        status["conditions"] = json!(conditions);
        if let Some(outcome) = outcome {
            status["currentReplicas"] = json!(replicas);
            let before = number(object, "/status/desiredReplicas").unwrap_or(0);
            status["desiredReplicas"] = outcome.status_desired.map_or_else(|| json!(before), |desired| json!(desired));
            if let Some(at) = outcome.next.last_scale {
                status["lastScaleTime"] = json!(seconds(at));
            }
            if !outcome.metrics.is_empty() {
                let current = outcome.metrics.iter().zip(&autoscaler.queries);
                let current: Vec<_> =
                    current.filter_map(|(metric, query)| shown(metric.as_ref().ok()?, query)).collect();
                status["currentMetrics"] = json!(current);
            }
        }
        if let Some(patch) = status_patch(object, status) {
            let at = (namespace(object), name(object));
            // It may have been deleted meanwhile; the next sync says it again.
            let _ = self.cluster.patch(USER, Kind::Hpa.gr(), Part::Status, at, &Patch::Merge(patch));
        }
    }

    /// Records an event about an autoscaler.
    pub(super) fn tell(&self, object: &Value, (warning, reason, message): (bool, &str, String)) {
        if !self.settings.events {
            return;
        }
        let now = seconds(self.cluster.now());
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"generateName": format!("{}.", name(object)), "namespace": namespace(object)},
            "involvedObject": {
                "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": name(object),
                "namespace": namespace(object), "uid": uid(object),
            },
            "type": if warning { "Warning" } else { "Normal" }, "reason": reason, "message": message, "count": 1,
            "firstTimestamp": now, "lastTimestamp": now,
            "source": {"component": "horizontal-pod-autoscaler"}, "reportingComponent": "horizontal-pod-autoscaler",
        });
        // An event that is lost is no loss.
        let _ = self.cluster.create(USER, ("", "events"), namespace(object), event);
    }
}

/// What `status.currentMetrics` says of one metric.
fn shown(metric: &windlass_decision::hpa::Proposal, query: &Query) -> Option<Value> {
    let mut current = json!({});
    if let Some(value) = metric.current.value {
        current["value"] = json!(decimal(value));
    }
    if let Some(average) = metric.current.average_value {
        current["averageValue"] = json!(decimal(average));
    }
    if let Some(percent) = metric.current.average_utilization {
        current["averageUtilization"] = json!(percent);
    }
    Some(match query {
        Query::External { name, .. } => {
            json!({"type": "External", "external": {"metric": {"name": name}, "current": current}})
        }
        Query::Resource { resource, container: None } => {
            json!({"type": "Resource", "resource": {"name": resource, "current": current}})
        }
        Query::Resource { resource, container } => json!({
            "type": "ContainerResource",
            "containerResource": {"name": resource, "container": container, "current": current},
        }),
        Query::Object { .. } | Query::Pods { .. } | Query::Unknown(_) => return None,
    })
}
