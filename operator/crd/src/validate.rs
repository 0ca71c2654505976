//! The one place that understands a spec: the operator, `windlass validate` and the admission webhook call it.
//!
//! It collects every error instead of stopping at the first, names the field of each and says what to do. It does no IO.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use windlass_decision::{Bounds, Config, PolicyKind, ScaleUp, ScalingPolicy, SelectPolicy, TargetKind};
use windlass_sources::{ConfigError, Given, Parsed, TriggerInput};

use crate::scaled_object::{ScaledObjectSpec, Trigger};

/// What the operator adds to every object.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long an activation waits for its pods before the HPA may follow the metric down.
    pub startup_limit: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { startup_limit: Duration::from_secs(300) }
    }
}

/// A spec, understood. Later code never sees the spec itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Validated {
    /// What decisions are made by.
    pub config: Config,
    /// The triggers, in the order of the spec.
    pub triggers: Vec<ValidatedTrigger>,
    /// What is scaled.
    pub target: Target,
    /// The name of the HPA.
    pub hpa_name: String,
    /// The user's HPA behaviour.
    pub behavior: Option<HorizontalPodAutoscalerBehavior>,
}

/// A trigger, understood.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidatedTrigger {
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

/// The name of the HPA of the object `name`.
#[must_use]
pub fn hpa_name(name: &str, spec: &ScaledObjectSpec) -> String {
    let named = spec.advanced.as_ref().and_then(|advanced| advanced.horizontal_pod_autoscaler_config.as_ref());
    named
        .and_then(|config| config.name.clone())
        .filter(|named| !named.is_empty())
        .unwrap_or_else(|| format!("windlass-hpa-{name}"))
}

/// Understands the spec of the object `name`.
///
/// # Errors
/// Everything that is wrong, each with its field and its fix.
pub fn validate(name: &str, spec: &ScaledObjectSpec, settings: &Settings) -> Result<Validated, Vec<ConfigError>> {
    let mut errors = Vec::new();
    let target = target(spec, &mut errors);
    let bounds = bounds(spec, &mut errors);
    unsupported(spec, &mut errors);

    let hpa_name = hpa_name(name, spec);
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
    let (triggers, for_decision) = triggers(spec, &mut errors);
    let cooldown = whole_seconds("spec.cooldownPeriod", spec.cooldown_period, 300, &mut errors);
    let initial = whole_seconds("spec.initialCooldownPeriod", spec.initial_cooldown_period, 0, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    match Config::new(for_decision, bounds, cooldown, initial, scale_up, settings.startup_limit) {
        Ok(config) => Ok(Validated { config, triggers, target, hpa_name, behavior }),
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

fn target(spec: &ScaledObjectSpec, errors: &mut Vec<ConfigError>) -> Target {
    let reference = &spec.scale_target_ref;
    if reference.name.trim().is_empty() {
        errors.push(error("spec.scaleTargetRef.name", "is empty", "name the workload to scale"));
    }
    let api_version = reference.api_version.as_deref().filter(|v| !v.is_empty()).unwrap_or("apps/v1");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if version.is_empty() || version.contains('/') {
        errors.push(error(
            "spec.scaleTargetRef.apiVersion",
            format!("{api_version:?} is not a group and version"),
            "write it as group/version, for example apps/v1",
        ));
    }
    Target {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: reference.kind.clone().filter(|kind| !kind.is_empty()).unwrap_or_else(|| "Deployment".to_owned()),
        name: reference.name.clone(),
    }
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

/// Fields that KEDA has and this version does not serve: silence would scale by something else than what was written.
fn unsupported(spec: &ScaledObjectSpec, errors: &mut Vec<ConfigError>) {
    if spec.fallback.is_some() {
        errors.push(error("spec.fallback", NOT_YET, "remove it; while a source fails the replicas stay as they are"));
    }
    let Some(advanced) = &spec.advanced else { return };
    if advanced.restore_to_original_replica_count == Some(true) {
        errors.push(error("spec.advanced.restoreToOriginalReplicaCount", NOT_YET, "remove it or set it to false"));
    }
    if advanced.scaling_modifiers.is_some() {
        errors.push(error(
            "spec.advanced.scalingModifiers",
            NOT_YET,
            "remove it; with several triggers the largest demand wins",
        ));
    }
}

fn triggers(
    spec: &ScaledObjectSpec,
    errors: &mut Vec<ConfigError>,
) -> (Vec<ValidatedTrigger>, Vec<windlass_decision::Trigger>) {
    let interval = polling_interval(spec, errors);
    let mut names = BTreeSet::new();
    let mut triggers = Vec::with_capacity(spec.triggers.len());
    let mut for_decision = Vec::with_capacity(spec.triggers.len());
    if spec.triggers.is_empty() {
        errors.push(error("spec.triggers", "is empty", "name at least one trigger"));
    }
    for (index, trigger) in spec.triggers.iter().enumerate() {
        let at = |field: &str| format!("spec.triggers[{index}].{field}");
        if let Some(name) = trigger.name.as_deref().filter(|name| !name.is_empty())
            && !names.insert(name)
        {
            errors.push(error(at("name"), format!("{name:?} is used twice"), "give each trigger its own name"));
        }
        if trigger.authentication_ref.is_some() {
            errors.push(error(at("authenticationRef"), NOT_YET, "remove it and give the credentials in metadata"));
        }
        let kind = metric_type(trigger, &at("metricType"), errors);
        let given = Given::default();
        let input = TriggerInput::new(&trigger.kind, &trigger.metadata, &given);
        match windlass_sources::parse(input) {
            Ok((parsed, _)) => {
                for_decision.push(windlass_decision::Trigger {
                    metric_name: format!("s{index}-{}", parsed.metric_name),
                    kind,
                    target: parsed.target,
                    activation: parsed.activation,
                });
                triggers.push(ValidatedTrigger { kind: trigger.kind.clone(), parsed, interval });
            }
            Err(wrong) => {
                errors.extend(wrong.into_iter().map(|e| error(at(&e.field), e.problem, e.fix)));
            }
        }
    }
    (triggers, for_decision)
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
