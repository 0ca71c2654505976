//! The `behavior` of a ScaledObject as the HPA sees it once the API server has filled in its defaults. Never limits
//! anything itself.

use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior};
use windlass_decision::hpa::{Behaviour, Policy, Rules};
use windlass_decision::{PolicyKind, SelectPolicy};

use crate::policy::PolicyError;

/// Fills in what is not said, as `autoscaling/v2` does.
pub(crate) fn convert(behavior: &HorizontalPodAutoscalerBehavior) -> Result<Behaviour, PolicyError> {
    Ok(Behaviour {
        scale_up: rules(behavior.scale_up.as_ref(), Rules::scale_up(), "scaleUp.tolerance")?,
        scale_down: rules(behavior.scale_down.as_ref(), Rules::scale_down(), "scaleDown.tolerance")?,
    })
}

fn rules(said: Option<&HPAScalingRules>, default: Rules, field: &'static str) -> Result<Rules, PolicyError> {
    let Some(said) = said else { return Ok(default) };
    let window = said.stabilization_window_seconds.map(|seconds| u32::try_from(seconds).unwrap_or(0));
    let policies: Vec<Policy> = said.policies.iter().flatten().map(policy).collect();
    let tolerance = said
        .tolerance
        .as_ref()
        .map(|quantity| number(&quantity.0).ok_or_else(|| PolicyError::Tolerance { field, value: quantity.0.clone() }));
    Ok(Rules {
        stabilisation: window.or(default.stabilisation),
        select: match said.select_policy.as_deref() {
            Some("Min") => SelectPolicy::Min,
            Some("Disabled") => SelectPolicy::Disabled,
            _ => SelectPolicy::Max,
        },
        policies: if policies.is_empty() { default.policies } else { policies },
        tolerance: tolerance.transpose()?,
    })
}

fn policy(policy: &k8s_openapi::api::autoscaling::v2::HPAScalingPolicy) -> Policy {
    Policy {
        kind: if policy.type_ == "Pods" { PolicyKind::Pods } else { PolicyKind::Percent },
        value: policy.value,
        period: u32::try_from(policy.period_seconds).unwrap_or(0),
    }
}

/// A tolerance is a small number: plain, or in thousandths.
fn number(quantity: &str) -> Option<f64> {
    let value = match quantity.strip_suffix('m') {
        Some(thousandths) => thousandths.parse::<f64>().ok()? * 1e-3,
        None => quantity.parse::<f64>().ok()?,
    };
    (value.is_finite() && value >= 0.0).then_some(value)
}
