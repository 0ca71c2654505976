//! What a decision costs. A figure to look at (`cargo test cost -- --nocapture`) more than a limit.

use std::hint::black_box;
use std::time::{Duration, Instant};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::generators::plausible;
use crate::decide;

#[test]
#[expect(clippy::disallowed_methods, reason = "it measures, and decides nothing by the time")]
fn a_decision_takes_microseconds() {
    let mut runner = TestRunner::deterministic();
    let inputs: Vec<_> = (0..200).map(|_| plausible().new_tree(&mut runner).unwrap().current()).collect();
    // The best of several rounds, so that a busy machine does not fail the test.
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        for input in &inputs {
            black_box(decide(black_box(&input.observation), &input.config, &input.state, input.now));
        }
        best = best.min(start.elapsed() / 200);
    }
    println!("one decision takes {} ns", best.as_nanos());
    assert!(best < Duration::from_micros(50), "one decision takes {best:?}");
}
