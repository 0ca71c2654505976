//! Runs many seeds on all cores and tells what failed, made small. It judges nothing itself.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use windlass_operator::mutant::Mutant;

use super::oracles::{Oracle, Violation};
use super::plan::Scenario;
use super::run::run;
use super::shrink::shrink;

/// A seed that failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The scenario as it was drawn.
    pub scenario: Scenario,
    /// What did not hold in it.
    pub violations: Vec<Violation>,
    /// The smallest scenario with the same failure, and what did not hold in that.
    pub smallest: (Scenario, Vec<Violation>),
}

/// What a hunt has found.
#[derive(Debug, Clone, Default)]
pub struct Hunt {
    /// How many seeds were run.
    pub seeds: u64,
    /// The failures, by seed.
    pub failures: Vec<Failure>,
    /// How long it took.
    pub took: Duration,
    /// CPU time for each seed, the run without faults included.
    pub cpu_each: Duration,
    /// Virtual time in all.
    pub lived: Duration,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.scenario)?;
        self.violations.iter().try_for_each(|violation| writeln!(f, "    {violation}"))?;
        writeln!(f, "made small:\n{}", self.smallest.0)?;
        self.smallest.1.iter().try_for_each(|violation| writeln!(f, "    {violation}"))?;
        write!(f, "again: cargo run -p windlass-tests --bin windlass-tests -- replay {}", self.scenario.seed)
    }
}

/// Runs the seeds on `threads` threads; stops after `enough` failures, of which the first few are made small.
#[must_use]
pub fn hunt(seeds: Range<u64>, threads: usize, mutant: Option<Mutant>, enough: usize) -> Hunt {
    let began = Instant::now();
    let (next, found) = (AtomicU64::new(seeds.start), Mutex::new(Hunt::default()));
    let lock = || found.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || lock().failures.len() >= enough {
                        return;
                    }
                    let scenario = Scenario::draw(seed);
                    let outcome = run(&scenario, mutant);
                    let failure = (!outcome.violations.is_empty()).then(|| fail(scenario, outcome.violations, mutant));
                    let mut found = lock();
                    found.seeds += 1;
                    found.cpu_each += outcome.cpu;
                    found.lived += outcome.log.ends_at;
                    found.failures.extend(failure);
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.failures.sort_by_key(|failure| failure.scenario.seed);
    found.took = began.elapsed();
    found.cpu_each /= u32::try_from(found.seeds.max(1)).unwrap_or(u32::MAX);
    found
}

fn fail(scenario: Scenario, violations: Vec<Violation>, mutant: Option<Mutant>) -> Failure {
    let oracle = violations.first().map_or(Oracle::O1EndState, |violation| violation.oracle);
    let fails = |candidate: &Scenario| run(candidate, mutant).violations.iter().map(|v| v.oracle).collect();
    let small = shrink(&scenario, oracle, fails);
    let still = run(&small, mutant).violations;
    Failure { scenario, violations, smallest: (small, still) }
}
