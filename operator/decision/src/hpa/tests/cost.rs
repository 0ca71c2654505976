//! What a sync costs. A figure to look at (`cargo test hpa::tests::cost -- --nocapture`) more than a limit.

use std::hint::black_box;
use std::time::{Duration, Instant};

use jiff::SignedDuration;

use super::life::{spec, start};
use crate::hpa::{Behaviour, Controller, Observed, Pods, Reading, Selector, Spec, State, sync};

/// A day of syncs as a simulation makes them, with figures that keep moving replicas.
#[expect(clippy::disallowed_methods, reason = "it measures, and decides nothing by the time")]
fn a_day(spec: &Spec) -> Duration {
    const SYNCS: u32 = 5_760;
    let began = Instant::now();
    let (mut replicas, mut state, controller) = (1, State::default(), Controller::default());
    for index in 0..SYNCS {
        let now = start() + SignedDuration::from_secs(15 * i64::from(index));
        let values = [i64::from(index % 1_000) * 1_000];
        let observed = Observed {
            spec_replicas: replicas,
            status_replicas: replicas,
            selector: Selector::Good,
            pods: Pods::Counted { all: 100, ready: 100 },
            metrics: &[Ok(Reading::External(&values))],
        };
        let mut outcome = sync(black_box(spec), &controller, &observed, &state, now);
        outcome.written(spec, replicas, now);
        (replicas, state) = (outcome.desired, outcome.next);
    }
    black_box(replicas);
    began.elapsed() / SYNCS
}

#[test]
fn a_sync_takes_well_under_ten_microseconds() {
    for (name, spec) in
        [("without behaviour", spec()), ("with behaviour", Spec { behaviour: Some(Behaviour::default()), ..spec() })]
    {
        // The best of several rounds, so that a busy machine does not fail the test.
        let best = (0..10).map(|_| a_day(&spec)).min().unwrap();
        println!("{name}: one sync takes {} ns", best.as_nanos());
        assert!(best < Duration::from_micros(50), "{name}: one sync takes {best:?}");
    }
}
