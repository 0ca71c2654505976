//! The horizontal pod autoscaler of Kubernetes 1.36 (`autoscaling/v2`), one sync at a time: pure, like
//! [`decide`](crate::decide). Never reads a clock, never writes a scale, knows no Kubernetes object.
//!
//! ```text
//!  Spec ────────┐
//!  Controller ──┤               ┌─ desired, rescale        what to write to the target's scale
//!  Observed ────┼─▶ sync() ─▶ Outcome ─ conditions, metrics  what the object's status says
//!  State ───────┤               └─ next                    what to remember
//!  now ─────────┘                   └─ written() or refused() first, if there was something to write
//! ```
//!
//! Who calls it must do what the controller does around it:
//!
//! * **When.** Every object is synced once each [`Controller::sync_period`], and for the first time one period after it
//!   was first seen: seeing it, changing it and having synced it all ask for "one period from now" and an earlier request
//!   stands, so a change is noticed at the next sync and never sooner.
//! * **What is fresh.** The scale is read from the API server at each sync; object and pods come from watches. If the
//!   scale cannot be read there is no sync: see [`Outcome::scale_unknown`].
//! * **Writing.** A conflict is tried again up to 5 times, at once (10 ms, jittered), with the scale read anew and the
//!   *same* number: it may put an old number back over somebody else's. Then [`Outcome::written`] or [`Outcome::refused`].
//! * **Status** is written only if it differs; with `status_desired` being `None` the old `desiredReplicas` stays.
//! * **Forgetting.** A deleted object loses its [`State`], a restarted controller loses all of them.
//!
//! Known limits, all on purpose: the feature gate `HPAScaleToZero` (alpha, off) is taken as off, so a target at 0 is left
//! alone whatever `minReplicas` is. Where Go's integers would overflow or a float has no integer to become, which gives
//! other numbers on other processors, the nearest number is taken (Go on arm64 does the same for floats).

mod normalise;
mod observed;
mod outcome;
mod pods;
mod replicas;
mod spec;
mod state;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use jiff::{SignedDuration, Timestamp};

pub use observed::{Observed, Phase, Pod, PodValue, Pods, Reading, Ready, Request, Selector};
pub use outcome::{Condition, Conditions, Current, MetricError, Outcome, Proposal, Reason, Rescale};
pub use spec::{Behaviour, Controller, Metric, Policy, Rules, Source, Spec, Target};
pub use state::{Recommendation, ScaleEvent, State};

/// One sync of one autoscaler: what the controller does between reading the target's scale and writing it
/// (`reconcileAutoscaler` of Kubernetes 1.36.3). `now` is when the last of `observed` was known.
#[must_use]
pub fn sync(spec: &Spec, controller: &Controller, observed: &Observed<'_>, state: &State, now: Timestamp) -> Outcome {
    let replicas = observed.spec_replicas;
    let mut outcome = Outcome::unmoved(replicas, state.clone());
    if outcome.next.recommendations.is_empty() {
        // Whatever the target has when it is first seen counts as asked for, so that a restart cuts nothing at once. It was
        // noted before the metrics were read: a window of 0 s does not hold it.
        let at = now.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(now);
        outcome.next.recommendations.push(Recommendation { replicas, at });
    }
    if replicas == 0 {
        let message = "the target is at 0 replicas, where this autoscaler leaves it alone";
        outcome.conditions.scaling_active = Some(Condition::new(false, Reason::ScalingDisabled, message));
    } else if replicas > spec.max {
        outcome.rescale_to(spec.max, Rescale::AboveMax);
    } else if replicas < spec.min {
        outcome.rescale_to(spec.min, Rescale::BelowMin);
    } else {
        by_metrics(spec, controller, observed, now, &mut outcome);
    }
    outcome
}

fn by_metrics(spec: &Spec, controller: &Controller, observed: &Observed<'_>, now: Timestamp, outcome: &mut Outcome) {
    let replicas = observed.spec_replicas;
    let Some(asked) = ask(spec, controller, observed, now, outcome) else {
        outcome.status_desired = None;
        return;
    };
    let asked = asked.max(0);
    let limited = normalise::normalise(spec, controller, replicas, asked, &mut outcome.next, now);
    outcome.conditions.able_to_scale = Some(limited.able_to_scale);
    outcome.conditions.scaling_limited = Some(limited.scaling_limited);
    if limited.replicas == replicas {
        return;
    }
    let reason = match (asked.cmp(&replicas), outcome.decisive) {
        (Ordering::Greater, Some(metric)) => Rescale::MetricAboveTarget(metric),
        (Ordering::Less, _) => Rescale::AllBelowTarget,
        _ => Rescale::Limits,
    };
    outcome.rescale_to(limited.replicas, reason);
}

/// The most that any metric asks for. `None`: the metrics cannot be used, because none answered, or because one did not
/// and the rest would take replicas away.
fn ask(
    spec: &Spec,
    controller: &Controller,
    observed: &Observed<'_>,
    now: Timestamp,
    outcome: &mut Outcome,
) -> Option<i32> {
    let refused = match observed.selector {
        Selector::Good => None,
        Selector::Invalid => Some((Reason::InvalidSelector, "the target's scale has no usable selector")),
        Selector::Ambiguous => Some((Reason::AmbiguousSelector, "another autoscaler controls pods of this target")),
    };
    if let Some((reason, message)) = refused {
        outcome.conditions.scaling_active = Some(Condition::new(false, reason, message));
        return None;
    }
    let context =
        replicas::Context { controller, observed, tolerances: replicas::Tolerances::of(spec, controller), now };
    let mut most = 0;
    let mut failed: Option<usize> = None;
    outcome.metrics.reserve_exact(spec.metrics.len());
    for (index, metric) in spec.metrics.iter().enumerate() {
        let proposal = replicas::propose(&context, metric, observed.metrics.get(index));
        match &proposal {
            // Where nothing is asked for, the last metric that asks for nothing (or less) is the one reported.
            Ok(proposal) if most == 0 || proposal.replicas > most => {
                most = proposal.replicas;
                outcome.decisive = Some(index);
            }
            Ok(_) => {}
            Err(_) => failed = failed.or(Some(index)),
        }
        outcome.metrics.push(proposal);
    }
    let unusable = outcome.decisive.is_none() || (failed.is_some() && most < observed.spec_replicas);
    outcome.conditions.scaling_active = Some(if unusable {
        outcome.decisive = None;
        unusable_metric(spec, outcome, failed)
    } else {
        Condition::new(true, Reason::ValidMetricFound, "at least one metric says how many replicas are needed")
    });
    (!unusable).then_some(most)
}

fn unusable_metric(spec: &Spec, outcome: &Outcome, failed: Option<usize>) -> Condition {
    let metric = failed.and_then(|index| Some((spec.metrics.get(index)?, outcome.metrics.get(index)?.as_ref().err()?)));
    match metric {
        Some((metric, error)) => Condition::new(false, metric.failure(), format!("{metric}: {error}")),
        None => Condition::new(false, Reason::InvalidMetricSourceType, "there is no metric to calculate with"),
    }
}
