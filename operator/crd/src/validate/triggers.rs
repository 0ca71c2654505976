//! Reads `spec.triggers`: those that a source reads, and those that are passed to the HPA.

use std::collections::BTreeSet;
use std::time::Duration;

use windlass_decision::TargetKind;
use windlass_sources::{ConfigError, Connection, Given, TriggerInput};

use super::{Inputs, ValidatedTrigger, error};
use crate::scaled_object::{ScaledObjectSpec, Trigger};

/// A metric that the HPA reads by itself: the usage of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceMetric {
    /// `cpu` or `memory`.
    pub resource: &'static str,
    /// One container; `None` for the whole pod.
    pub container: Option<String>,
    /// What it should be.
    pub target: ResourceTarget,
}

/// What the usage of a resource should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceTarget {
    /// Percent of what is requested.
    Utilization(u32),
    /// A quantity per pod.
    AverageValue(String),
}

/// All triggers, understood.
#[derive(Debug, Default)]
pub(super) struct Triggers {
    pub read: Vec<ValidatedTrigger>,
    pub for_decision: Vec<windlass_decision::Trigger>,
    pub resources: Vec<ResourceMetric>,
    pub remarks: Vec<ConfigError>,
}

pub(super) fn read(spec: &ScaledObjectSpec, inputs: &Inputs<'_>, errors: &mut Vec<ConfigError>) -> Triggers {
    let interval = polling_interval(spec, errors);
    let mut names = BTreeSet::new();
    let mut triggers = Triggers::default();
    if spec.triggers.is_empty() {
        errors.push(error("spec.triggers", "is empty", "name at least one trigger"));
    }
    let nothing = Given::default();
    for (index, trigger) in spec.triggers.iter().enumerate() {
        let at = |field: &str| format!("spec.triggers[{index}].{field}");
        if let Some(name) = trigger.name.as_deref().filter(|name| !name.is_empty())
            && !names.insert(name)
        {
            errors.push(error(at("name"), format!("{name:?} is used twice"), "give each trigger its own name"));
        }
        let resource = match trigger.kind.as_str() {
            "cpu" => Some("cpu"),
            "memory" => Some("memory"),
            _ => None,
        };
        if let Some(resource) = resource {
            let remarks = if inputs.group.is_lenient() { &mut triggers.remarks } else { &mut *errors };
            unused(resource, trigger, index, remarks);
            triggers.resources.extend(resource_metric(resource, trigger, index, errors));
            continue;
        }
        let kind = metric_type(trigger, &at("metricType"), errors);
        let given = inputs.given.get(index).unwrap_or(&nothing);
        let lenient = inputs.group.is_lenient();
        let input = TriggerInput {
            lenient,
            namespace: inputs.namespace,
            ..TriggerInput::new(&trigger.kind, &trigger.metadata, given)
        };
        let placed = |e: ConfigError| error(at(&e.field), e.problem, e.fix);
        match windlass_sources::parse(input) {
            Ok((parsed, _)) if matches!(parsed.connection, Connection::Webhook(_)) && !inputs.settings.webhooks => {
                let fix = "start the operator with --webhook-address and --data-dir";
                errors.push(error(at("type"), "webhooks are not received by this operator", fix));
            }
            Ok((parsed, remarks)) => {
                triggers.remarks.extend(remarks.into_iter().map(placed));
                triggers.for_decision.push(windlass_decision::Trigger {
                    metric_name: format!("s{index}-{}", parsed.metric_name),
                    kind,
                    target: parsed.target,
                    activation: parsed.activation,
                });
                triggers.read.push(ValidatedTrigger { index, kind: trigger.kind.clone(), parsed, interval });
            }
            Err(wrong) => errors.extend(wrong.into_iter().map(placed)),
        }
    }
    if triggers.resources.len() == spec.triggers.len()
        && !spec.triggers.is_empty()
        && spec.min_replica_count.unwrap_or(0) == 0
    {
        let problem = "is 0, and nothing wakes an object that has cpu and memory triggers only";
        errors.push(error("spec.minReplicaCount", problem, "write at least 1, or add a trigger of another type"));
    }
    triggers
}

/// What has no effect on a `cpu` or `memory` trigger.
fn unused(resource: &str, trigger: &Trigger, index: usize, errors: &mut Vec<ConfigError>) {
    let at = |field: &str| format!("spec.triggers[{index}].{field}");
    if trigger.authentication_ref.is_some() {
        let problem = format!("is not for a {resource} trigger, which the HPA reads by itself");
        errors.push(error(at("authenticationRef"), problem, "remove it"));
    }
    for key in trigger.metadata.keys().filter(|key| !["value", "type", "containerName"].contains(&key.as_str())) {
        let fix = "remove it. Known: containerName, type, value";
        errors.push(error(at(&format!("metadata.{key}")), "is not known to this trigger type", fix));
    }
}

/// A `cpu` or `memory` trigger (KEDA, scalers "CPU" and "Memory").
fn resource_metric(
    resource: &'static str,
    trigger: &Trigger,
    index: usize,
    errors: &mut Vec<ConfigError>,
) -> Option<ResourceMetric> {
    let at = |field: &str| format!("spec.triggers[{index}].{field}");
    let before = errors.len();
    if trigger.use_cached_metrics == Some(true) {
        let problem = format!("is not for a {resource} trigger, which the HPA reads by itself");
        errors.push(error(at("useCachedMetrics"), problem, "remove it"));
    }
    let value = |key: &str| trigger.metadata.get(key).map(|value| value.trim()).filter(|value| !value.is_empty());
    // The metric's type once stood in the metadata.
    let target = match (
        trigger.metric_type.as_deref().filter(|kind| !kind.is_empty()).or_else(|| value("type")),
        value("value"),
    ) {
        (_, None) => {
            errors.push(error(at("metadata.value"), "is required", "write a percentage, or a quantity per pod"));
            None
        }
        (Some("Utilization"), Some(text)) => match text.parse() {
            Ok(percent) if percent > 0 => Some(ResourceTarget::Utilization(percent)),
            _ => {
                let fix = "write a whole percentage above 0, such as 80";
                errors.push(error(at("metadata.value"), format!("{text:?} is not a percentage"), fix));
                None
            }
        },
        (Some("AverageValue"), Some(text)) => {
            let is_quantity = text.starts_with(|c: char| c.is_ascii_digit())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
            if !is_quantity {
                let fix = "write a quantity per pod, such as 500m or 1Gi";
                errors.push(error(at("metadata.value"), format!("{text:?} is not a quantity"), fix));
            }
            Some(ResourceTarget::AverageValue(text.to_owned()))
        }
        (other, Some(_)) => {
            let problem = format!("{:?} does not fit this trigger", other.unwrap_or_default());
            errors.push(error(at("metricType"), problem, "write Utilization or AverageValue"));
            None
        }
    };
    let container = value("containerName").map(str::to_owned);
    target.filter(|_| errors.len() == before).map(|target| ResourceMetric { resource, container, target })
}

fn polling_interval(spec: &ScaledObjectSpec, errors: &mut Vec<ConfigError>) -> Option<Duration> {
    let written = spec.polling_interval?;
    match u64::try_from(written) {
        Ok(seconds) if seconds > 0 => Some(Duration::from_secs(seconds)),
        _ => {
            errors.push(error("spec.pollingInterval", format!("{written} is not above 0"), "write at least 1 second"));
            None
        }
    }
}

fn metric_type(trigger: &Trigger, field: &str, errors: &mut Vec<ConfigError>) -> TargetKind {
    match trigger.metric_type.as_deref() {
        None | Some("" | "AverageValue") => TargetKind::AverageValue,
        Some("Value") => TargetKind::Value,
        Some(other) => {
            let fix = "write AverageValue or Value; Utilization is for cpu and memory triggers only";
            errors.push(error(field, format!("{other:?} does not fit this trigger"), fix));
            TargetKind::AverageValue
        }
    }
}
