//! What must be true of every run, whatever went wrong: the oracles O1, O2, O3, O5 and O7 of the reliability plan, and that credentials are rotated, judged
//! from what the API server and the brokers saw. They know nothing of how the operator works inside.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::log::{Author, Log, Scaled, SeenRead};
use super::plan::{ObjectPlan, Scenario};

/// How long nothing may be written at the end of a run.
pub const QUIET: Duration = Duration::from_secs(60);
/// How far two records of one moment may lie apart.
const SLACK: Duration = Duration::from_millis(250);
/// The least time for which a reading is good; three intervals where that is more.
const LEAST_FRESH: Duration = Duration::from_secs(10);

/// What does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which oracle.
    pub oracle: Oracle,
    /// When, milliseconds since the start.
    pub at_ms: u64,
    /// What was seen.
    pub what: String,
}

/// The oracles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Oracle {
    /// The end state is that of a run without faults.
    O1EndState,
    /// Nothing is written once there is nothing to do.
    O2Quiet,
    /// Replicas never go below what the last good reading asked for, and never to rest without the cooldown.
    O3ScaledDown,
    /// No panic, and no end that nobody asked for.
    O5Alive,
    /// A credential that was replaced is not used any more.
    O6Rotated,
    /// A replica writes nothing after another has taken the Lease.
    O7Leader,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}.{:03} s: {}", self.oracle, self.at_ms / 1000, self.at_ms % 1000, self.what)
    }
}

/// Judges a run; `calm` is the end state of the same scenario without faults.
#[must_use]
pub fn judge(scenario: &Scenario, log: &Log, calm: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    end_state(scenario, log, calm, &mut violations);
    quiet(log, &mut violations);
    for scaled in &log.scaled {
        if let Some(object) = scenario.objects.iter().find(|object| object.name == scaled.object) {
            scaled_down(object, scaled, log, &mut violations);
        }
    }
    violations.extend(log.ended.iter().map(|(at, what)| violation(Oracle::O5Alive, *at, what.clone())));
    leader(log, &mut violations);
    for object in scenario.objects.iter().filter(|object| object.secret) {
        rotated(object, log, &mut violations);
    }
    violations
}

/// Once there is nothing to do, the newest password is the only one that is used.
fn rotated(object: &ObjectPlan, log: &Log, violations: &mut Vec<Violation>) {
    let newest = object.password(Duration::MAX);
    let late =
        log.reads.iter().filter(|read| read.object == object.name && read.at >= log.ends_at.saturating_sub(QUIET));
    if let Some(old) = late.into_iter().find(|read| read.password != newest) {
        let what = format!("{} is read with {} although it is {newest}", object.name, old.password);
        violations.push(violation(Oracle::O6Rotated, old.at, what));
    }
}

fn violation(oracle: Oracle, at: Duration, what: String) -> Violation {
    Violation { oracle, at_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX), what }
}

fn end_state(scenario: &Scenario, log: &Log, calm: &str, violations: &mut Vec<Violation>) {
    let (mut here, mut calm) = (log.end_state.as_str(), calm);
    if scenario.objects.iter().any(ObjectPlan::is_ever_paused) {
        // A pause that comes and goes while nobody looks deletes no HPA; how many were made is no matter then.
        (here, calm) = (without_counts(here), without_counts(calm));
    }
    if here != calm {
        let differing = here.lines().zip(calm.lines()).find(|(here, there)| here != there);
        let (here, there) = differing.unwrap_or((here, calm));
        let what = format!("the end is {here:?}, without faults it is {there:?}");
        violations.push(violation(Oracle::O1EndState, log.ends_at, what));
    }
}

/// An end state without its last line.
fn without_counts(state: &str) -> &str {
    state.trim_end().rsplit_once('\n').map_or("", |(state, _)| state)
}

fn quiet(log: &Log, violations: &mut Vec<Violation>) {
    let from = log.ends_at.saturating_sub(QUIET);
    let late: Vec<_> = log.writes.iter().filter(|write| write.at >= from && write.resource != "leases").collect();
    if let Some(first) = late.first() {
        let what = format!("{} writes in the last {} s, the first: {first}", late.len(), QUIET.as_secs());
        violations.push(violation(Oracle::O2Quiet, first.at, what));
    }
}

/// It must be right by the object as it is, or as it was before an edit that whoever scaled did not know yet.
fn scaled_down(object: &ObjectPlan, scaled: &Scaled, log: &Log, violations: &mut Vec<Violation>) {
    if scaled.by == Author::Other {
        return;
    }
    let complaints: Option<Vec<_>> =
        object.versions(scaled.at).iter().map(|version| complaint(version, scaled, log)).collect();
    let newest = complaints.and_then(|complaints| complaints.into_iter().next());
    violations.extend(newest.map(|what| violation(Oracle::O3ScaledDown, scaled.at, format!("{scaled}: {what}"))));
}

fn complaint(object: &ObjectPlan, scaled: &Scaled, log: &Log) -> Option<String> {
    match object.pause {
        None => {}
        Some(Some(replicas)) if replicas == scaled.to => return None,
        Some(_) => return Some("scaling is paused".to_owned()),
    }
    if scaled.to > object.max.max(scaled.from) {
        return Some(format!("more than the maximum of {}", object.max));
    }
    if scaled.to >= scaled.from {
        return None;
    }
    let reads: Vec<_> = log.reads.iter().filter(|read| read.object == object.name && read.at <= scaled.at).collect();
    if scaled.to == 0 || scaled.to < object.min {
        return may_rest(object, &reads, scaled.at).err();
    }
    if scaled.from > object.max && scaled.to == object.max {
        return None;
    }
    // The last good reading; also the one before it, where the last came while the figure was on its way.
    let window = fresh(object) + SLACK;
    let recent = reads.iter().rev().take(2).filter(|read| scaled.at - read.at <= window);
    let asked = recent.map(|read| object.demand(read.value)).min();
    match asked {
        None => Some(format!("no good reading in the {} s before", window.as_secs())),
        Some(asked) => (scaled.to < asked).then(|| format!("the last good readings ask for {asked} or more")),
    }
}

/// For how long a reading is good.
fn fresh(object: &ObjectPlan) -> Duration {
    Duration::from_secs(u64::from(object.polling.unwrap_or(0)) * 3).max(LEAST_FRESH)
}

/// Whether good readings without work have lasted for the cooldown.
fn may_rest(object: &ObjectPlan, reads: &[&SeenRead], at: Duration) -> Result<(), String> {
    let cooldown = Duration::from_secs(u64::from(object.cooldown));
    let is_active = |read: &&SeenRead| read.value > f64::from(object.activation);
    let last_active = reads.iter().rposition(is_active);
    let quiet = reads.get(last_active.map_or(0, |at| at + 1)..).unwrap_or_default();
    let Some(last) = quiet.last() else { return Err("the last good reading had work".to_owned()) };
    if last_active.is_none() {
        // Never active, so there is nothing to cool down from.
        return Ok(());
    }
    let until_now = [at - last.at];
    let gaps = quiet.windows(2).map(|pair| pair[1].at - pair[0].at).chain(until_now);
    // What was good stays good until the next reading fails; nobody knows here when that was, but for its interval.
    let interval = Duration::from_secs(u64::from(object.polling.unwrap_or(1))).mul_f64(1.1);
    let covered: Duration = gaps.map(|gap| if gap <= fresh(object) + SLACK { gap } else { interval.min(gap) }).sum();
    if covered + SLACK >= cooldown {
        return Ok(());
    }
    Err(format!(
        "only {:.1} s of good readings without work, the cooldown is {} s",
        covered.as_secs_f64(),
        object.cooldown
    ))
}

/// No write of a replica after another has taken the Lease.
fn leader(log: &Log, violations: &mut Vec<Violation>) {
    for write in log.writes.iter().filter(|write| write.resource != "leases" && write.code < 300) {
        let taken = log.holders.iter().rev().find(|(at, _)| *at <= write.at);
        if let Some((since, holder)) = taken
            && *holder != write.replica
            && log.replicas.contains(holder)
        {
            let what =
                format!("{write}, although {holder} has held the Lease for {:.3} s", (write.at - *since).as_secs_f64());
            violations.push(violation(Oracle::O7Leader, write.at, what));
        }
    }
}
