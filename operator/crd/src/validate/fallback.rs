//! Reads `spec.fallback`.

use windlass_decision::{Fallback, FallbackBehavior};
use windlass_sources::ConfigError;

use super::error;
use super::triggers::Triggers;
use crate::scaled_object::ScaledObjectSpec;

pub(super) fn read(spec: &ScaledObjectSpec, triggers: &Triggers, errors: &mut Vec<ConfigError>) -> Option<Fallback> {
    let fallback = spec.fallback.as_ref()?;
    let mut count = |field: &str, value: i32| {
        u32::try_from(value).unwrap_or_else(|_| {
            let field = format!("spec.fallback.{field}");
            errors.push(error(field, format!("{value} is negative"), "write a number of at least 0"));
            0
        })
    };
    let failure_threshold = count("failureThreshold", fallback.failure_threshold);
    let replicas = count("replicas", fallback.replicas);
    let behavior = match fallback.behavior.as_deref() {
        None | Some("" | "static") => FallbackBehavior::Static,
        Some("currentReplicas") => FallbackBehavior::CurrentReplicas,
        Some("currentReplicasIfHigher") => FallbackBehavior::CurrentReplicasIfHigher,
        Some("currentReplicasIfLower") => FallbackBehavior::CurrentReplicasIfLower,
        Some("scalingModifiers") => {
            let fix = "write static, or one of currentReplicas, currentReplicasIfHigher, currentReplicasIfLower";
            errors.push(error("spec.fallback.behavior", "scalingModifiers is not supported yet", fix));
            FallbackBehavior::Static
        }
        Some(other) => {
            let fix = "write one of static, currentReplicas, currentReplicasIfHigher, currentReplicasIfLower";
            errors.push(error("spec.fallback.behavior", format!("{other:?} is not known"), fix));
            FallbackBehavior::Static
        }
    };
    if triggers.for_decision.is_empty() && !triggers.resources.is_empty() {
        let fix = "remove it, or add a trigger of another type";
        errors.push(error("spec.fallback", "is not for cpu and memory triggers, which the HPA reads by itself", fix));
    }
    Some(Fallback { failure_threshold, replicas, behavior })
}
