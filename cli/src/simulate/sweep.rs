//! `--sweep`: replays every combination of a grid, on all processors. The order of the answer does not depend on them.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use windlass_simulate::{Candidate, Grid, Outcome, Policy, Series, Settings, Sweep, Workload, judge, replay};

use super::args::Args;

pub(super) fn run(args: &Args, series: &Series, workload: &Workload, policy: &Policy) -> anyhow::Result<Sweep> {
    let mut grid = Grid::around(policy).context("--sweep: the first policy is no ScaledObject")?;
    if !args.targets.is_empty() {
        grid.targets.clone_from(&args.targets);
    }
    if !args.cooldowns.is_empty() {
        grid.cooldowns.clone_from(&args.cooldowns);
    }
    if !args.mins.is_empty() {
        grid.mins.clone_from(&args.mins);
    }
    let candidates = grid.candidates(policy).context("make the combinations of --targets, --cooldowns and --mins")?;
    let outcomes = replayed(series, workload, &candidates);
    Ok(judge(&policy.name, args.budget, &candidates, outcomes))
}

fn replayed(series: &Series, workload: &Workload, candidates: &[Candidate]) -> Vec<Outcome> {
    // Nobody looks at the chart of a candidate.
    let settings = Settings { buckets: 1, ..Settings::default() };
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(candidates.len().max(1));
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(candidate) = candidates.get(index) else { return done };
            done.push((index, replay(series, workload, &candidate.policy, &settings)));
        }
    };
    let mut outcomes: Vec<(usize, Outcome)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for worker in workers {
            match worker.join() {
                Ok(done) => all.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}
