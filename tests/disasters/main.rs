//! Thousands of simulated disasters: the operator's behaviour in every ordering of faults that a seed can draw, the proof
//! that the same seed gives the same run, and the proof that deliberate bugs are caught. Needs nothing and no cluster.

use std::process::Command;

use windlass_operator::mutant::Mutant;
use windlass_tests::disasters::{Hunt, Scenario, hunt, run};

/// Scenarios that once found something, made small: they stay what they are when the way of drawing changes.
const FOUND: &[(&str, &str)] = &[
    ("a list that is never answered left a cache blind for ever", include_str!("found/list-hangs.json")),
    ("a clock that was set forward shortened a cooldown", include_str!("found/clock-set-forward.json")),
    (
        "an HPA that was written although nobody heard of it was complained of for ever",
        include_str!("found/hpa-unheard.json"),
    ),
    (
        "an object seen as it was before its first status went to rest at once",
        include_str!("found/before-first-status.json"),
    ),
];

/// How many fresh seeds every run of the tests goes through. `WINDLASS_SEEDS` sets another number, and `WINDLASS_FROM`
/// where to begin.
const SEEDS: u64 = 2000;
/// A mutant that none of so many seeds catches has survived.
const CAUGHT_WITHIN: u64 = 300;
/// How many seeds are run in two processes.
const TWICE: u64 = 50;

fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => otherwise,
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn told(hunt: &Hunt) -> String {
    hunt.failures.iter().map(|failure| format!("\n{failure}\n")).collect()
}

#[test]
fn no_disaster_breaks_what_must_hold() {
    let (from, count) = (number("WINDLASS_FROM", 0), number("WINDLASS_SEEDS", SEEDS));
    let found = hunt(from..from + count, cores(), None, 3);
    println!(
        "{} disasters in {:.1} s, {:.1} ms of CPU each (with the run without faults), {:.0} h of virtual time",
        found.seeds,
        found.took.as_secs_f64(),
        found.cpu_each.as_secs_f64() * 1000.0,
        found.lived.as_secs_f64() / 3600.0
    );
    assert!(found.failures.is_empty(), "{}", told(&found));
    assert_eq!(found.seeds, count);
}

#[test]
fn what_was_found_once_stays_mended() {
    for (what, scenario) in FOUND {
        let scenario: Scenario = serde_json::from_str(scenario).expect("a scenario");
        let violations = run(&scenario, None).violations;
        assert!(violations.is_empty(), "{what} again (seed {}): {violations:?}\n{scenario}", scenario.seed);
    }
}

#[test]
fn each_deliberate_bug_is_caught() {
    for mutant in Mutant::ALL {
        let found = hunt(0..CAUGHT_WITHIN, cores(), Some(mutant), 1);
        let first = found.failures.first();
        let first = first.unwrap_or_else(|| panic!("{mutant:?} survives {CAUGHT_WITHIN} seeds"));
        println!(
            "{mutant:?}: caught by seed {} after {} seeds: {}",
            first.scenario.seed, found.seeds, first.violations[0]
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_in_two_processes() {
    let replay = |seed: u64| {
        let output = Command::new(env!("CARGO_BIN_EXE_windlass-tests"))
            .args(["replay", &seed.to_string(), "--trace"])
            .output()
            .expect("the program runs");
        assert!(output.stdout.len() > 1000, "seed {seed}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    for seed in 0..TWICE {
        let (first, second) = (replay(seed), replay(seed));
        if first != second {
            let texts = [&first, &second].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            let differing = texts[0].lines().zip(texts[1].lines()).enumerate().find(|(_, (a, b))| a != b);
            panic!("seed {seed} gives two traces, which differ first in {differing:?}");
        }
    }
}

#[test]
fn a_scenario_is_drawn_from_its_seed_alone() {
    for seed in 0..200 {
        assert_eq!(Scenario::draw(seed), Scenario::draw(seed));
    }
    assert_ne!(Scenario::draw(1), Scenario::draw(2));
    let outcome = run(&Scenario::draw(3).calm(), None);
    assert!(outcome.violations.is_empty(), "a run without faults: {:?}", outcome.violations);
}
