//! The hold: after an activation the HPA is told no less than the demand that set the replicas, until it has taken over.
//!
//! Scale-down stabilisation of the HPA is the maximum of its own recorded recommendations, and at 0 replicas it records
//! none: after an outside 0 -> 10 its first sync would cut to the demand of that moment at once. One answer of the held
//! value makes it record N; from then on its own window holds. (Kubernetes HPA page, "Stabilization window"; in
//! `horizontal.go`, `stabilizeRecommendation` and the branch for 0 replicas.)

use jiff::{SignedDuration, Timestamp};

use crate::decide::Verdict;
use crate::rules::demand;
use crate::served::to_milli;
use crate::{Config, Hold, Observation, Served, State, TargetKind};

/// All metrics of one HPA sync are asked for within this time of each other: a hold that ended between two of them would
/// let the sync see half of it.
const ONE_SYNC: SignedDuration = SignedDuration::from_secs(1);

/// After how long without an answer the HPA's memory is not relied on. Its default window is five minutes; clusters and
/// users set shorter ones.
const FORGETS: SignedDuration = SignedDuration::from_secs(60);

/// The hold after this decision: a new one with an activation, the old one while it is needed, else none.
pub(crate) fn carry(
    state: &State,
    verdict: Verdict,
    observation: &Observation,
    config: &Config,
    now: Timestamp,
) -> Option<Hold> {
    // An object that never rests is always the HPA's, work or no work.
    let at_rest = verdict == Verdict::Resting && config.bounds().resting().is_some();
    match verdict {
        Verdict::Activate(replicas) => Some(begin(replicas, observation, config, now)),
        Verdict::Deactivate(_) | Verdict::RaiseToMinimum(_) | Verdict::Paused(_) => None,
        _ if at_rest => None,
        Verdict::Active | Verdict::CoolingDown | Verdict::Blind | Verdict::Resting => match &state.hold {
            Some(hold) => {
                let hold = heard(hold, observation, now);
                let over = ends(&hold, observation, config).is_some_and(|at| now >= at);
                (!over).then_some(hold)
            }
            None if state.cooldown.last.is_none() => take_over(observation, config, now),
            None if healed(state, observation, now) => as_written(observation, config, now),
            None => None,
        },
    }
}

/// When the hold ends by what is known now: the HPA was answered after the activation, and the pods are there or no
/// longer waited for. Anybody's question counts once the limit has passed, for clusters whose HPA asks under another
/// name.
pub(crate) fn ends(hold: &Hold, observation: &Observation, config: &Config) -> Option<Timestamp> {
    let limit = later(hold.since, SignedDuration::try_from(config.startup_limit()).unwrap_or(SignedDuration::MAX));
    let all_ready = observation.ready >= hold.replicas;
    let seen = |first: Option<Timestamp>| first.map(|at| later(at, ONE_SYNC));
    let by_hpa = seen(hold.by_hpa).map(|at| if all_ready { at } else { at.max(limit) });
    let by_anybody = seen(hold.by_anybody).map(|at| at.max(limit));
    by_hpa.into_iter().chain(by_anybody).min()
}

/// What the external metrics server says now.
pub(crate) fn serve(held: Option<&Hold>, observation: &Observation, config: &Config, now: Timestamp) -> Vec<Served> {
    let floor = |index: usize| held.and_then(|hold| hold.floor.get(index)).copied().unwrap_or_default();
    let readings = config.triggers().iter().zip(&observation.triggers).enumerate();
    let mut served = Vec::with_capacity(config.triggers().len());
    served.extend(readings.filter_map(|(index, (trigger, reading))| {
        let sample = reading.usable(now)?;
        let milli = demand::milli(trigger, sample, observation.ready, config).max(to_milli(floor(index)));
        Some(Served { trigger: index, milli, at: sample.at, fresh_until: reading.fresh_until(sample) })
    }));
    served
}

/// Holds each `AverageValue` trigger at what it reads, but at no more than the replicas written are for.
fn begin(replicas: u32, observation: &Observation, config: &Config, now: Timestamp) -> Hold {
    let readings = config.triggers().iter().zip(&observation.triggers);
    let floor = readings.map(|(trigger, reading)| match (trigger.kind, reading.usable(now)) {
        (TargetKind::AverageValue, Some(sample)) => {
            let reads = demand::milli(trigger, sample, observation.ready, config);
            from_milli(reads.min(demand::for_replicas(trigger, replicas)))
        }
        _ => 0.0,
    });
    Hold { replicas, since: now, floor: floor.collect(), by_hpa: None, by_anybody: None }
}

/// Since when not every trigger could be served, after this decision.
pub(crate) fn unserved_since(state: &State, observation: &Observation, now: Timestamp) -> Option<Timestamp> {
    // A clock that was set back must not prolong the wait by as much.
    (!all_usable(observation, now)).then(|| state.unserved_since.map_or(now, |since| since.min(now)))
}

/// Whether every trigger can be served again after so long that the HPA may have forgotten what it recommended: while a
/// metric fails it records nothing, and its window runs empty. The first answer would then cut at once, because something
/// was broken before.
fn healed(state: &State, observation: &Observation, now: Timestamp) -> bool {
    let long_ago = state.unserved_since.is_some_and(|since| now.duration_since(since) >= FORGETS);
    long_ago && all_usable(observation, now)
}

fn all_usable(observation: &Observation, now: Timestamp) -> bool {
    observation.triggers.iter().all(|reading| reading.usable(now).is_some())
}

/// The first decision after a restart, soon after an activation: whether the HPA has taken over is not known any more,
/// so the replicas that are there are held as if they had just been written.
fn take_over(observation: &Observation, config: &Config, now: Timestamp) -> Option<Hold> {
    let activated = observation.last_active_time?;
    let limit = SignedDuration::try_from(config.startup_limit()).unwrap_or(SignedDuration::MAX);
    if now > later(activated, limit) { None } else { as_written(observation, config, now) }
}

/// Holds the replicas that are there as if they had just been written.
fn as_written(observation: &Observation, config: &Config, now: Timestamp) -> Option<Hold> {
    if observation.replicas == 0 {
        return None;
    }
    let replicas = observation.replicas.min(config.bounds().max);
    let floor = config.triggers().iter().map(|trigger| match trigger.kind {
        TargetKind::AverageValue => from_milli(demand::for_replicas(trigger, replicas)),
        TargetKind::Value => 0.0,
    });
    Some(Hold { replicas, since: now, floor: floor.collect(), by_hpa: None, by_anybody: None })
}

/// The hold with the first answers since it began. Only the first count: an HPA that asks each second would else put the
/// end off for ever.
fn heard(hold: &Hold, observation: &Observation, now: Timestamp) -> Hold {
    // An answer from the future was given before the clock was set back, and so perhaps before the activation.
    let after = |at: Timestamp| (at > hold.since && at <= now).then_some(at);
    let answer = observation.hpa_answer;
    // A clock that was set back must not prolong the wait by as much.
    let known = |first: Option<Timestamp>| first.map(|at| at.min(now));
    Hold {
        by_hpa: known(hold.by_hpa).or_else(|| answer.and_then(|answer| answer.by_hpa).and_then(after)),
        by_anybody: known(hold.by_anybody).or_else(|| answer.map(|answer| answer.any).and_then(after)),
        since: hold.since.min(now),
        ..hold.clone()
    }
}

fn later(from: Timestamp, by: SignedDuration) -> Timestamp {
    from.saturating_add(by).unwrap_or(Timestamp::MAX)
}

fn from_milli(milli: i64) -> f64 {
    milli as f64 / 1000.0
}
