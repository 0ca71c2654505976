//! The status that an object should have. Pure. It says what changes rarely, in words that do not change with every
//! reading, so that an object at rest is never written.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use windlass_crd::{
    Condition, Gvkr, Health, ScaledObjectStatus, TriggerActivity, Validated, condition, condition_type as types,
};
use windlass_decision::{
    Activity, Decision, FailureKind, FallbackBehavior, Hand, Observation, Outcome, Pause, Reason, Verdict, in_fallback,
};
use windlass_sources::ConfigError;

use crate::seen::{SeenHpa, SeenObject};

/// What is known of an object that could be decided about.
#[derive(Debug, Clone, Copy)]
pub struct Decided<'a> {
    /// The spec, understood.
    pub valid: &'a Validated,
    /// What was seen.
    pub observation: &'a Observation,
    /// What was decided.
    pub decision: &'a Decision,
    /// The plural name of the target's kind.
    pub plural: &'a str,
    /// Why the HPA cannot be written, if it cannot.
    pub hpa_trouble: Option<&'a str>,
    /// The HPA of this object, if there is one.
    pub hpa: Option<&'a SeenHpa>,
    /// The generation that `valid` was made from.
    pub generation: i64,
}

/// The triggers that fail, with the kind of failure: as long as this stays the same, the words in the status stay too.
#[must_use]
pub fn failing(observation: &Observation, now: Timestamp) -> Vec<(usize, FailureKind)> {
    let readings = observation.triggers.iter().enumerate();
    readings.filter_map(|(index, reading)| reading.failing(now).map(|failure| (index, failure.kind))).collect()
}

/// Whether every trigger has been heard of, so that there is something to say.
#[must_use]
pub fn is_heard(observation: &Observation) -> bool {
    observation.triggers.iter().all(|reading| reading.latest.is_some())
}

/// The status of an object that is not understood, or whose target is not there.
#[must_use]
pub fn refused(object: &SeenObject, before: &ScaledObjectStatus, problem: &str, now: Timestamp) -> ScaledObjectStatus {
    let generation = Some(object.generation);
    let make = |kind, status, reason: &str, message: String| {
        condition(before.conditions.as_deref(), kind, status, reason, message, generation, now)
    };
    let mut status = before.clone();
    status.observed_generation = generation;
    status.conditions = Some(vec![
        make(types::READY, "False", "ScaledObjectCheckFailed", limited(problem)),
        make(types::ACTIVE, "Unknown", "UnknownState", "the object is not scaled".to_owned()),
        make(types::FALLBACK, "False", "NoFallbackFound", "no fallback is in force".to_owned()),
        make(types::PAUSED, "False", "ScaledObjectUnpaused", "the object is not paused".to_owned()),
    ]);
    status
}

/// All errors of a spec as one text.
#[must_use]
pub fn problems(errors: &[ConfigError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The status of an object that was decided about. With `same_failures` the words about failing triggers are kept.
#[must_use]
pub fn decided(
    before: &ScaledObjectStatus,
    seen: Decided<'_>,
    same_failures: bool,
    now: Timestamp,
) -> ScaledObjectStatus {
    let Decided { valid, observation, decision, plural, hpa_trouble, hpa, generation } = seen;
    let generation = Some(generation);
    let old = before.conditions.as_deref();
    let make = |kind, (status, reason, message): (&str, &str, String)| {
        condition(old, kind, status, reason, message, generation, now)
    };
    let ready = match hpa_trouble {
        Some(trouble) => ("False", "ScaledObjectCheckFailed", limited(trouble)),
        None => ready(valid, observation, old.filter(|_| same_failures), now),
    };
    let active = active(decision.verdict, observation, old, now);
    let before_active = before.last_active_time.as_ref().map(|time| time.0);
    let last_active_time = if decision.marks_activation(before_active) {
        // Whole seconds, as they come back from the wire.
        Some(Time(Timestamp::from_second(now.as_second()).unwrap_or(now)))
    } else {
        before.last_active_time.clone()
    };
    let target = &valid.target;
    let hpa_active = hpa.and_then(|hpa| hpa_active(hpa, old)).map(|said| make(types::HPA_ACTIVE, said));
    let mut conditions = vec![
        make(types::READY, ready),
        make(types::ACTIVE, active),
        make(types::FALLBACK, fallback(valid, observation, decision)),
        make(types::PAUSED, paused(observation.hand)),
    ];
    conditions.extend(hpa_active);
    let names: Vec<_> = valid.config.triggers().iter().map(|trigger| trigger.metric_name.clone()).collect();
    ScaledObjectStatus {
        observed_generation: generation,
        scale_target_kind: Some(format!("{}.{}", target.api_version(), target.kind)),
        scale_target_gvkr: Some(Gvkr {
            group: target.group.clone(),
            version: target.version.clone(),
            kind: target.kind.clone(),
            resource: plural.to_owned(),
        }),
        original_replica_count: before.original_replica_count.or_else(|| i32::try_from(observation.replicas).ok()),
        last_active_time,
        conditions: Some(conditions),
        health: Some(health(valid, observation, now)),
        triggers_activity: Some(activity(valid, observation, before, now)),
        hpa_name: Some(valid.hpa_name.clone()),
        triggers_types: Some(valid.types.join(",")),
        external_metric_names: Some(names),
        resource_metric_names: Some(valid.resources.iter().map(|metric| metric.resource.to_owned()).collect())
            .filter(|names: &Vec<_>| !names.is_empty()),
        composite_scaler_name: None,
        paused_replica_count: match observation.hand.pause {
            Some(Pause::At(replicas)) => i32::try_from(replicas).ok(),
            _ => None,
        },
        // KEDA's own word, which nothing reads.
        authentications_types: before.authentications_types.clone(),
    }
}

type Said<'a> = (&'a str, &'a str, String);

fn ready<'a>(valid: &Validated, observation: &Observation, kept: Option<&[Condition]>, now: Timestamp) -> Said<'a> {
    let failing: Vec<_> = observation
        .triggers
        .iter()
        .zip(valid.config.triggers())
        .enumerate()
        .filter_map(|(index, (reading, trigger))| Some((index, trigger, reading.failing(now)?)))
        .collect();
    if failing.is_empty() {
        return ("True", "ScaledObjectReady", "the object is understood and its sources are read".to_owned());
    }
    let falls_back = in_fallback(observation, &valid.config).next().is_some();
    let (status, reason) = if failing.len() == observation.triggers.len() && !falls_back {
        ("False", "TriggerError")
    } else {
        ("Unknown", "PartialTriggerError")
    };
    let kept = kept.and_then(|old| old.iter().find(|c| c.type_ == types::READY && c.reason == reason));
    let message = kept.map_or_else(
        || {
            let lines = failing.iter().map(|(index, trigger, failure)| {
                let field = failure.field.map(|field| format!(".{field}")).unwrap_or_default();
                let place = valid.triggers.get(*index).map_or(*index, |trigger| trigger.index);
                format!("spec.triggers[{place}]{field} ({}): {}", trigger.metric_name, failure.message)
            });
            limited(&lines.collect::<Vec<_>>().join("\n"))
        },
        |kept| kept.message.clone(),
    );
    (status, reason, message)
}

fn fallback<'a>(valid: &Validated, observation: &Observation, decision: &Decision) -> Said<'a> {
    let steps = decision.trail.iter().filter_map(|step| match step.reason {
        Reason::Fallback { trigger, replicas } => Some((trigger, replicas)),
        _ => None,
    });
    let name = |trigger: usize| valid.config.triggers().get(trigger).map_or("", |trigger| &trigger.metric_name);
    let is_static = valid.config.fallback().is_some_and(|fallback| fallback.behavior == FallbackBehavior::Static);
    let words: Vec<_> = steps
        .map(|(trigger, replicas)| match is_static {
            true => format!("{} cannot be read and its fallback is {replicas} replicas", name(trigger)),
            // The replicas that are there change, the words need not.
            false => format!("{} cannot be read and falls back on the replicas that are there", name(trigger)),
        })
        .collect();
    if words.is_empty() || observation.hand.pause.is_some() {
        return ("False", "NoFallbackFound", "no fallback is in force".to_owned());
    }
    ("True", "FallbackExists", limited(&words.join("\n")))
}

fn paused<'a>(hand: Hand) -> Said<'a> {
    let said = match hand {
        Hand { pause: Some(Pause::At(replicas)), .. } => format!("scaling is paused by hand at {replicas} replicas"),
        Hand { pause: Some(Pause::AsItIs), .. } => "scaling is paused by hand".to_owned(),
        Hand { scale_in_paused: true, scale_out_paused: true, .. } => {
            "scaling in and scaling out are paused by hand".to_owned()
        }
        Hand { scale_in_paused: true, .. } => "scaling in is paused by hand".to_owned(),
        Hand { scale_out_paused: true, .. } => "scaling out is paused by hand".to_owned(),
        _ => return ("False", "ScaledObjectUnpaused", "the object is not paused".to_owned()),
    };
    ("True", "ScaledObjectPaused", said)
}

fn active<'a>(verdict: Verdict, observation: &Observation, old: Option<&'a [Condition]>, now: Timestamp) -> Said<'a> {
    let said = |status, reason, message: &str| (status, reason, message.to_owned());
    match verdict {
        Verdict::Activate(_) | Verdict::Active => said("True", "ScalerActive", "there is work"),
        Verdict::CoolingDown => said("False", "ScalerCooldown", "there is no work; the cooldown has not passed"),
        Verdict::Deactivate(_) | Verdict::RaiseToMinimum(_) | Verdict::Resting => {
            said("False", "ScalerNotActive", "there is no work")
        }
        Verdict::Paused(_) => said("Unknown", "UnknownState", "scaling is paused by hand"),
        // One failed reading while the one before is still fresh says nothing about the work.
        Verdict::Blind => match old.and_then(|old| old.iter().find(|c| c.type_ == types::ACTIVE)) {
            Some(old) if failing(observation, now).is_empty() => (&old.status, &old.reason, old.message.clone()),
            _ => said("Unknown", "UnknownState", "the sources cannot be read; the replicas stay as they are"),
        },
    }
}

/// What the HPA says of itself, in KEDA's words: at zero replicas it is switched off, which is no fault. Its message changes
/// with its metrics, and is kept as long as the rest stays the same.
fn hpa_active<'a>(hpa: &'a SeenHpa, old: Option<&'a [Condition]>) -> Option<Said<'a>> {
    let kept = old.and_then(|old| old.iter().find(|condition| condition.type_ == types::HPA_ACTIVE));
    let Some(said) = &hpa.scaling_active else {
        return kept.map(|kept| (kept.status.as_str(), kept.reason.as_str(), kept.message.clone()));
    };
    let (status, reason, message) = match (said.is_true, said.reason.as_str()) {
        (true, "") => ("True", "HPAActive", said.message.clone()),
        (true, reason) => ("True", reason, said.message.clone()),
        (false, "ScalingDisabled") => ("True", "ScalingDisabled", said.message.clone()),
        (false, reason) => ("False", "HPAMetricsUnavailable", format!("{reason}: {}", said.message)),
    };
    let same = kept.filter(|kept| (kept.status.as_str(), kept.reason.as_str()) == (status, reason));
    Some((status, reason, same.map_or_else(|| limited(&message), |kept| kept.message.clone())))
}

/// Without a count: a figure that grows with each reading would be a write for each reading.
fn health(valid: &Validated, observation: &Observation, now: Timestamp) -> BTreeMap<String, Health> {
    let triggers = valid.config.triggers().iter().zip(&observation.triggers);
    triggers
        .map(|(trigger, reading)| {
            let (number_of_failures, status) = match (reading.failing(now), valid.config.fallback()) {
                // As far as it matters to the fallback.
                (_, Some(fallback)) if reading.failures > fallback.failure_threshold => {
                    (i32::try_from(fallback.failure_threshold.saturating_add(1)).ok(), "Failing")
                }
                (Some(_), _) => (None, "Failing"),
                (None, _) => (Some(0), "Happy"),
            };
            (trigger.metric_name.clone(), Health { number_of_failures, status: Some(status.to_owned()) })
        })
        .collect()
}

fn activity(
    valid: &Validated,
    observation: &Observation,
    before: &ScaledObjectStatus,
    now: Timestamp,
) -> BTreeMap<String, TriggerActivity> {
    let triggers = valid.config.triggers().iter().zip(&observation.triggers);
    triggers
        .map(|(trigger, reading)| {
            let is_active = match &reading.latest {
                Some(Outcome::Ok(_)) => reading.good(now).is_some_and(|sample| match sample.activity {
                    Activity::Number(figure) => figure > trigger.activation,
                    Activity::Decided(active) => active,
                }),
                _ if reading.usable(now).is_some() => {
                    let known = before.triggers_activity.as_ref().and_then(|all| all.get(&trigger.metric_name));
                    known.is_some_and(|known| known.is_active)
                }
                _ => false,
            };
            (trigger.metric_name.clone(), TriggerActivity { is_active })
        })
        .collect()
}

/// Conditions may hold 32 KiB of message; a page is enough for a person.
fn limited(message: &str) -> String {
    const MOST: usize = 4096;
    if message.len() <= MOST {
        return message.to_owned();
    }
    let end = (0..=MOST).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
    format!("{}...", &message[..end])
}
