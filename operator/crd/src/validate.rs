//! The one place that understands a spec: the operator, `windlass validate` and the admission webhook call it.
//!
//! It collects every error instead of stopping at the first, names the field of each and says what to do. It does no IO.

mod fallback;
mod triggers;

use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use windlass_decision::{Bounds, Config, PolicyKind, ScaleUp, ScalingPolicy, SelectPolicy};
use windlass_sources::{ConfigError, Given, Parsed};

use crate::Group;
use crate::scaled_object::ScaledObjectSpec;

pub use triggers::{ResourceMetric, ResourceTarget};

/// What the operator adds to every object.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long an activation waits for its pods before the HPA may follow the metric down.
    pub startup_limit: Duration,
    /// Whether webhooks are received.
    pub webhooks: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { startup_limit: Duration::from_secs(300), webhooks: true }
    }
}

/// What is needed besides the spec.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inputs<'a> {
    /// The group of the object.
    pub group: Group,
    /// The namespace of the object; empty where it is not known.
    pub namespace: &'a str,
    /// What each trigger is given from elsewhere, in the order of the spec; nothing where there is no more of them.
    pub given: &'a [Given],
    /// What the operator adds to every object.
    pub settings: Settings,
}

/// A spec, understood. Later code never sees the spec itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Validated {
    /// What decisions are made by.
    pub config: Config,
    /// The triggers that are read, in the order of the spec.
    pub triggers: Vec<ValidatedTrigger>,
    /// The metrics that the HPA reads by itself.
    pub resources: Vec<ResourceMetric>,
    /// What is scaled.
    pub target: Target,
    /// The name of the HPA.
    pub hpa_name: String,
    /// The user's HPA behaviour.
    pub behavior: Option<HorizontalPodAutoscalerBehavior>,
    /// Whether the target gets its original replicas back when the object goes.
    pub restores: bool,
    /// The types of all triggers, in the order of the spec.
    pub types: Vec<String>,
    /// What has no effect, to be told to a person.
    pub remarks: Vec<ConfigError>,
}

/// A trigger, understood.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidatedTrigger {
    /// Its place in the spec.
    pub index: usize,
    /// Its type.
    pub kind: String,
    /// What the source understood.
    pub parsed: Parsed,
    /// The polling interval that a person wrote; `None` means the source's default.
    pub interval: Option<Duration>,
}

/// What is scaled.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// API group, empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

impl Target {
    /// `group/version`, or `version` for the core group.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

const NOT_YET: &str = "is not supported yet";
const LONGEST_NAME: usize = 63;

/// The name of the HPA of the object `name` of `group`.
#[must_use]
pub fn hpa_name(group: Group, name: &str, spec: &ScaledObjectSpec) -> String {
    let named = spec.advanced.as_ref().and_then(|advanced| advanced.horizontal_pod_autoscaler_config.as_ref());
    named
        .and_then(|config| config.name.clone())
        .filter(|named| !named.is_empty())
        .unwrap_or_else(|| format!("{}{name}", group.hpa_prefix()))
}

/// Understands the spec of the object `name`.
///
/// # Errors
/// Everything that is wrong, each with its field and its fix.
pub fn validate(name: &str, spec: &ScaledObjectSpec, inputs: Inputs<'_>) -> Result<Validated, Vec<ConfigError>> {
    let mut errors = Vec::new();
    let target = checked_target(spec, &mut errors);
    let bounds = bounds(spec, &mut errors);
    if spec.advanced.as_ref().is_some_and(|advanced| advanced.scaling_modifiers.is_some()) {
        let fix = "remove it; with several triggers the largest demand wins";
        errors.push(error("spec.advanced.scalingModifiers", NOT_YET, fix));
    }
    let hpa_name = hpa_name(inputs.group, name, spec);
    if hpa_name.len() > LONGEST_NAME {
        errors.push(error(
            "spec.advanced.horizontalPodAutoscalerConfig.name",
            format!(
                "the HPA's name {hpa_name:?} has {} characters, at most {LONGEST_NAME} are allowed",
                hpa_name.len()
            ),
            "give the HPA a shorter name here, or the object one",
        ));
    }
    let behavior = spec
        .advanced
        .as_ref()
        .and_then(|advanced| advanced.horizontal_pod_autoscaler_config.as_ref())
        .and_then(|config| config.behavior.clone());
    let scale_up = scale_up(behavior.as_ref(), &mut errors);
    let triggers = triggers::read(spec, &inputs, &mut errors);
    let fallback = fallback::read(spec, &triggers, &mut errors);
    let cooldown = whole_seconds("spec.cooldownPeriod", spec.cooldown_period, 300, &mut errors);
    let initial = whole_seconds("spec.initialCooldownPeriod", spec.initial_cooldown_period, 0, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let limit = inputs.settings.startup_limit;
    let config = if triggers.for_decision.is_empty() {
        Config::for_resource_metrics(bounds, scale_up, limit)
    } else {
        Config::new(triggers.for_decision, bounds, cooldown, initial, scale_up, limit)
    };
    match config {
        Ok(config) => Ok(Validated {
            config: config.with_fallback(fallback),
            triggers: triggers.read,
            resources: triggers.resources,
            target,
            hpa_name,
            behavior,
            restores: spec.restores(),
            types: spec.triggers.iter().map(|trigger| trigger.kind.clone()).collect(),
            remarks: triggers.remarks,
        }),
        Err(invalid) => {
            let text = invalid.to_string();
            let (field, problem) = text.split_once(": ").unwrap_or(("spec", &text));
            Err(vec![error(field, problem.to_owned(), "correct it")])
        }
    }
}

fn error(field: impl Into<String>, problem: impl Into<String>, fix: impl Into<String>) -> ConfigError {
    ConfigError { field: field.into(), problem: problem.into(), fix: fix.into() }
}

/// What a spec scales, as far as it says.
#[must_use]
pub fn target(spec: &ScaledObjectSpec) -> Target {
    let reference = &spec.scale_target_ref;
    let api_version = reference.api_version.as_deref().filter(|v| !v.is_empty()).unwrap_or("apps/v1");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    Target {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: reference.kind.clone().filter(|kind| !kind.is_empty()).unwrap_or_else(|| "Deployment".to_owned()),
        name: reference.name.clone(),
    }
}

fn checked_target(spec: &ScaledObjectSpec, errors: &mut Vec<ConfigError>) -> Target {
    let target = target(spec);
    if target.name.trim().is_empty() {
        errors.push(error("spec.scaleTargetRef.name", "is empty", "name the workload to scale"));
    }
    if target.version.is_empty() || target.version.contains('/') {
        errors.push(error(
            "spec.scaleTargetRef.apiVersion",
            format!("{:?} is not a group and version", target.api_version()),
            "write it as group/version, for example apps/v1",
        ));
    }
    target
}

fn bounds(spec: &ScaledObjectSpec, errors: &mut Vec<ConfigError>) -> Bounds {
    let mut count = |field: &str, value: i32| {
        u32::try_from(value).unwrap_or_else(|_| {
            errors.push(error(field, format!("{value} is negative"), "write a number of at least 0"));
            0
        })
    };
    if let Some(idle) = spec.idle_replica_count.filter(|idle| *idle > 0) {
        // Between idle and minimum the HPA would raise what we lower, without end.
        let fix = "write 0 or remove it; the HPA raises everything else to minReplicaCount";
        errors.push(error("spec.idleReplicaCount", format!("{idle} cannot be held"), fix));
        return Bounds { min: 0, max: 1, idle: None };
    }
    Bounds {
        min: count("spec.minReplicaCount", spec.min_replica_count.unwrap_or(0)),
        max: count("spec.maxReplicaCount", spec.max_replica_count.unwrap_or(100)),
        idle: spec.idle_replica_count.map(|idle| count("spec.idleReplicaCount", idle)),
    }
}

fn whole_seconds(field: &str, value: Option<i32>, default: u64, errors: &mut Vec<ConfigError>) -> Duration {
    match value.map(u64::try_from) {
        None => Duration::from_secs(default),
        Some(Ok(seconds)) => Duration::from_secs(seconds),
        Some(Err(_)) => {
            errors.push(error(field, "is negative", "write whole seconds of at least 0"));
            Duration::ZERO
        }
    }
}

fn scale_up(behavior: Option<&HorizontalPodAutoscalerBehavior>, errors: &mut Vec<ConfigError>) -> ScaleUp {
    const FIELD: &str = "spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleUp";
    let Some(rules) = behavior.and_then(|behavior| behavior.scale_up.as_ref()) else { return ScaleUp::default() };
    let select = match rules.select_policy.as_deref() {
        None | Some("Max") => SelectPolicy::Max,
        Some("Min") => SelectPolicy::Min,
        Some("Disabled") => SelectPolicy::Disabled,
        Some(other) => {
            let problem = format!("{other:?} is not known");
            errors.push(error(format!("{FIELD}.selectPolicy"), problem, "write one of Max, Min, Disabled"));
            SelectPolicy::Max
        }
    };
    let mut policies = Vec::new();
    for (index, policy) in rules.policies.iter().flatten().enumerate() {
        let kind = match policy.type_.as_str() {
            "Pods" => PolicyKind::Pods,
            "Percent" => PolicyKind::Percent,
            other => {
                let problem = format!("{other:?} is not known");
                errors.push(error(format!("{FIELD}.policies[{index}].type"), problem, "write Pods or Percent"));
                continue;
            }
        };
        match u32::try_from(policy.value) {
            Ok(value) if value > 0 => policies.push(ScalingPolicy { kind, value }),
            _ => errors.push(error(
                format!("{FIELD}.policies[{index}].value"),
                format!("{} is not above 0", policy.value),
                "write a number above 0",
            )),
        }
    }
    let stabilisation = rules.stabilization_window_seconds.unwrap_or(0);
    let stabilisation = u64::try_from(stabilisation).unwrap_or_default();
    ScaleUp { stabilisation: Duration::from_secs(stabilisation), policies, select }
}

#[cfg(test)]
mod tests;
