//! `windlass-tests`: runs disasters by hand. It prints; the runs and the verdicts are in `windlass_tests::disasters`.

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use windlass_operator::mutant::Mutant;
use windlass_tests::disasters::shrink::shrink;
use windlass_tests::disasters::{Scenario, hunt, run};

/// Disasters of the operator on a simulated cluster, each drawn from a seed.
#[derive(Debug, Parser)]
#[command(
    name = "windlass-tests",
    after_help = "\
Examples:
  windlass-tests replay 1234                 the story of a seed, and what does not hold in it
  windlass-tests replay 1234 --trace         every request and every change of replicas of it
  windlass-tests hunt --from 100000 --count 20000
                                             look for a seed that fails
  windlass-tests hunt --mutant no-cooldown   see a deliberate bug be caught

Exit code: 0 when everything holds, 1 when something does not."
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one seed and tell its story.
    Replay {
        /// The seed.
        seed: u64,
        /// Print the trace: every request and every change of replicas.
        #[arg(long)]
        trace: bool,
        /// Print the scenario as JSON and do nothing else.
        #[arg(long)]
        json: bool,
        /// Make it as small as it can be while it still fails, first.
        #[arg(long)]
        small: bool,
        /// Give the operator a deliberate bug.
        #[arg(long)]
        mutant: Option<Bug>,
    },
    /// Run many seeds.
    Hunt {
        /// The first seed.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// How many seeds.
        #[arg(long, default_value_t = 2000)]
        count: u64,
        /// How many at once. [default: the number of cores]
        #[arg(long)]
        threads: Option<usize>,
        /// Stop after this many failures.
        #[arg(long, default_value_t = 3)]
        enough: usize,
        /// Give the operator a deliberate bug.
        #[arg(long)]
        mutant: Option<Bug>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Bug {
    ZeroOnError,
    NoCooldown,
    NoFencing,
    StatusEachPoll,
    HpaDeletedOnRestart,
    StaleCacheTrusted,
}

impl From<Bug> for Mutant {
    fn from(bug: Bug) -> Self {
        match bug {
            Bug::ZeroOnError => Self::ZeroOnError,
            Bug::NoCooldown => Self::NoCooldown,
            Bug::NoFencing => Self::NoFencing,
            Bug::StatusEachPoll => Self::StatusEachPoll,
            Bug::HpaDeletedOnRestart => Self::HpaDeletedOnRestart,
            Bug::StaleCacheTrusted => Self::StaleCacheTrusted,
        }
    }
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Replay { seed, trace, json, small, mutant } => {
            let mutant = mutant.map(Mutant::from);
            let drawn = Scenario::draw(seed);
            let scenario = if small { made_small(&drawn, mutant) } else { drawn };
            if json {
                println!("{}", serde_json::to_string_pretty(&scenario).unwrap_or_default());
                return ExitCode::SUCCESS;
            }
            replay(&scenario, trace, mutant)
        }
        Command::Hunt { from, count, threads, enough, mutant } => {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            let seeds = from..from.saturating_add(count);
            let hunt = hunt(seeds, threads.unwrap_or(cores), mutant.map(Mutant::from), enough);
            for failure in &hunt.failures {
                println!("{failure}\n");
            }
            println!(
                "{} seeds, {} failed, {:.1} s, {:.1} ms of CPU each, {:.0} h of virtual time",
                hunt.seeds,
                hunt.failures.len(),
                hunt.took.as_secs_f64(),
                hunt.cpu_each.as_secs_f64() * 1000.0,
                hunt.lived.as_secs_f64() / 3600.0
            );
            ExitCode::from(u8::from(!hunt.failures.is_empty()))
        }
    }
}

fn made_small(scenario: &Scenario, mutant: Option<Mutant>) -> Scenario {
    let fails = |candidate: &Scenario| run(candidate, mutant).violations.iter().map(|v| v.oracle).collect::<Vec<_>>();
    match fails(scenario).first() {
        Some(oracle) => shrink(scenario, *oracle, fails),
        None => scenario.clone(),
    }
}

fn replay(scenario: &Scenario, trace: bool, mutant: Option<Mutant>) -> ExitCode {
    let outcome = run(scenario, mutant);
    if trace {
        print!("{}", outcome.log.trace);
    }
    print!("{scenario}{}", outcome.log.end_state);
    for violation in &outcome.violations {
        println!("{violation}");
    }
    println!("{} of {} oracles complain", outcome.complaining(), 5);
    ExitCode::from(u8::from(!outcome.violations.is_empty()))
}
