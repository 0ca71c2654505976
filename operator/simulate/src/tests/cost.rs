//! What a replay costs. A figure to look at (`cargo test --release cost -- --nocapture`) more than
//! a limit.

use std::time::{Duration, Instant};

use super::{fixed, object, queue, requests, run, series};
use crate::{Kind, Policy};

/// 30 days in steps of 15 s, without optimisation three.
const POINTS: i32 = if cfg!(debug_assertions) { 17_280 } else { 172_800 };
/// What one replay may take: several times what it does, for a busy machine.
const LIMIT: Duration = if cfg!(debug_assertions) { Duration::from_secs(10) } else { Duration::from_secs(1) };

/// The load of a month with a rhythm of a day, quiet nights and some noise.
fn month() -> crate::Series {
    let rate = |index: i32| {
        let day = (f64::from(index % 5760) / 5760.0 * std::f64::consts::TAU).sin();
        (day * 20.0 + f64::from(index * 7919 % 101) / 25.0).max(0.0)
    };
    series(15, &(0..POINTS).map(rate).collect::<Vec<_>>())
}

#[test]
fn a_month_in_steps_of_fifteen_seconds_takes_less_than_a_second() {
    let load = month();
    let policy = object("cooldownPeriod: 60", "mode: QueueLength, value: '5'");
    let Kind::Object(own) = &policy.kind else { panic!("an object") };
    let policies: [Policy; 5] = [policy.clone(), own.plain_hpa(), own.static_max(), own.oracle(), fixed(3)];
    let trickle = series(15, &(0..POINTS).map(|index| f64::from(index % 97) / 500.0).collect::<Vec<_>>());
    let loads = [
        ("queue", &load, queue(2.0, 30.0, 60.0)),
        ("request", &load, requests(2.0, 10.0, 1.0)),
        ("trickle", &trickle, queue(0.5, 30.0, 60.0)),
    ];
    for (model, load, workload) in loads {
        for policy in &policies {
            let start = Instant::now();
            let outcome = run(load, &workload, policy);
            let took = start.elapsed();
            println!("{model:8} {:12} {:>7.3} s, {} scale events", policy.name, took.as_secs_f64(), outcome.scale_out);
            assert!(took < LIMIT, "{} took {took:?}", policy.name);
        }
    }
}
