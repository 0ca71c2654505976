//! The cheapest setting at a given budget of violation: a grid around one ScaledObject, and which of its rows are worth
//! looking at. It makes and judges candidates; whoever calls it replays them, on as many threads as it likes.

use std::time::Duration;

use serde::Serialize;

use crate::{Change, Kind, Outcome, Policy, PolicyError};

/// Which values are tried. Every combination is one candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// Targets of the first trigger.
    pub targets: Vec<f64>,
    /// Values of `cooldownPeriod`.
    pub cooldowns: Vec<Duration>,
    /// Values of `minReplicaCount`.
    pub mins: Vec<u32>,
}

/// One combination.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The combination.
    pub setting: Setting,
    /// The ScaledObject with it.
    pub policy: Policy,
}

/// What a candidate sets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    /// The target of the first trigger.
    pub target: f64,
    /// `cooldownPeriod`, in seconds.
    pub cooldown_seconds: u64,
    /// `minReplicaCount`.
    pub min: u32,
}

/// One candidate, replayed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// What it sets.
    pub setting: Setting,
    /// What it came to.
    pub outcome: Outcome,
    /// Whether its violation is within the budget.
    pub within_budget: bool,
    /// Whether it is the cheapest of those within the budget.
    pub cheapest: bool,
}

/// The rows worth looking at.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sweep {
    /// The ScaledObject around which the grid lies.
    pub policy: String,
    /// The budget: the most violation, in percent of all time.
    pub budget_percent: f64,
    /// How many candidates were replayed.
    pub tried: usize,
    /// The Pareto rows, by pod-hours: no other candidate is both as cheap and violates as little.
    pub pareto: Vec<Row>,
}

impl Grid {
    /// A grid around what `policy` says: its target times 0.25 to 2, short to long cooldowns, and minima from 0. `None` for
    /// a baseline.
    #[must_use]
    pub fn around(policy: &Policy) -> Option<Self> {
        let Kind::Object(object) = &policy.kind else { return None };
        let config = &object.config;
        let target = config.triggers().first()?.target;
        let mut cooldowns = vec![Duration::from_secs(30), Duration::from_secs(300), Duration::from_secs(1800)];
        let mut mins = vec![0, 1, 2, 4];
        cooldowns.push(config.cooldown());
        mins.push(config.bounds().min);
        mins.retain(|min| *min <= config.bounds().max);
        Some(Self { targets: [0.25, 0.5, 0.75, 1.0, 1.5, 2.0].map(|factor| target * factor).to_vec(), cooldowns, mins })
    }

    /// Every combination as a policy. Where an object may never rest the cooldown changes nothing, and only the first is
    /// tried.
    ///
    /// # Errors
    /// A combination that does not fit the object, such as a minimum above its maximum.
    pub fn candidates(&self, policy: &Policy) -> Result<Vec<Candidate>, PolicyError> {
        let (mut targets, mut cooldowns, mut mins) = (self.targets.clone(), self.cooldowns.clone(), self.mins.clone());
        targets.sort_by(f64::total_cmp);
        targets.dedup();
        cooldowns.sort_unstable();
        cooldowns.dedup();
        mins.sort_unstable();
        mins.dedup();
        let mut candidates = Vec::with_capacity(targets.len() * cooldowns.len() * mins.len());
        for (min, target) in mins.iter().flat_map(|min| targets.iter().map(move |target| (*min, *target))) {
            for cooldown in &cooldowns {
                let change = Change { target: Some(target), cooldown: Some(*cooldown), min: Some(min) };
                let Some(policy) = policy.changed(&policy.name, change).transpose()? else { return Ok(candidates) };
                let Kind::Object(object) = &policy.kind else { continue };
                let rests = object.config.bounds().resting().is_some();
                let setting = Setting { target, cooldown_seconds: cooldown.as_secs(), min };
                candidates.push(Candidate { setting, policy });
                if !rests {
                    break;
                }
            }
        }
        Ok(candidates)
    }
}

/// Finds the Pareto rows of pod-hours and violation, and the cheapest within `budget_percent`. `outcomes` are those of
/// `candidates`, in their order.
#[must_use]
pub fn judge(policy: &str, budget_percent: f64, candidates: &[Candidate], outcomes: Vec<Outcome>) -> Sweep {
    let tried = outcomes.len();
    let mut rows: Vec<Row> = candidates
        .iter()
        .zip(outcomes)
        .map(|(candidate, outcome)| {
            let within_budget = outcome.violation_percent <= budget_percent;
            Row { setting: candidate.setting, outcome, within_budget, cheapest: false }
        })
        .collect();
    // Stable, so that of equals the first of the grid stays.
    rows.sort_by(|a, b| {
        let by_cost = a.outcome.pod_hours.total_cmp(&b.outcome.pod_hours);
        by_cost.then(a.outcome.violation_percent.total_cmp(&b.outcome.violation_percent))
    });
    let mut least = f64::INFINITY;
    rows.retain(|row| {
        let better = row.outcome.violation_percent < least;
        least = least.min(row.outcome.violation_percent);
        better
    });
    // The first within the budget is the cheapest of all: a cheaper one within it would be a Pareto row before it.
    if let Some(row) = rows.iter_mut().find(|row| row.within_budget) {
        row.cheapest = true;
    }
    Sweep { policy: policy.to_owned(), budget_percent, tried, pareto: rows }
}
