//! For every load: nothing appears or vanishes, closed forms agree with many small steps, and the same arguments give the
//! same bytes.

use proptest::prelude::*;

use super::{fixed, object, queue, requests, run, seconds, series};
use crate::load::Load;
use crate::{Kind, Model, Settings, Workload, replay};

fn rate() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), 0.0..0.2_f64, 0.2..5.0_f64, 5.0..500.0_f64]
}

fn workload() -> impl Strategy<Value = Workload> {
    let model = prop_oneof![
        Just(Model::Queue),
        (0.0..30.0_f64).prop_map(|timeout| Model::Request { timeout: seconds(timeout) })
    ];
    (model, 0.01..50.0_f64, 0.0..90.0_f64, 0.0..60.0_f64).prop_map(|(model, service_rate, startup, slo)| Workload {
        model,
        service_rate,
        startup: seconds(startup.round()),
        slo: seconds(slo),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_arrived_is_served_or_waits_or_is_lost(
        rates in prop::collection::vec(rate(), 2..60),
        step in 1..120_i64,
        workload in workload(),
        kind in 0..3_u32,
    ) {
        let load = series(step, &rates);
        let policy = match kind {
            0 => fixed(3),
            1 => object("cooldownPeriod: 15, maxReplicaCount: 30", "mode: QueueLength, value: '4'"),
            _ => object("minReplicaCount: 2", "mode: QueueLength, value: '4', activationValue: '7'"),
        };
        let outcome = run(&load, &workload, &policy);
        let gone = outcome.served + outcome.backlog_end + outcome.lost;
        prop_assert!((outcome.arrived - gone).abs() <= 1e-6 * outcome.arrived.max(1.0), "{outcome:?}");
        let figures = [outcome.served, outcome.lost, outcome.late, outcome.backlog_end, outcome.wait_max_seconds];
        prop_assert!(figures.iter().all(|figure| figure.is_finite() && *figure >= 0.0), "{outcome:?}");
        prop_assert!((0.0..=100.0 + 1e-9).contains(&outcome.violation_percent), "{outcome:?}");
        prop_assert!(outcome.late <= outcome.arrived + 1e-6 * outcome.arrived.max(1.0), "{outcome:?}");
        let spec = outcome.elasticity;
        let shares = [spec.accuracy_under, spec.time_share_under, spec.time_share_over, spec.instability];
        prop_assert!(shares.iter().all(|share| (0.0..=100.0 + 1e-9).contains(share)), "{spec:?}");
    }

    #[test]
    fn more_replicas_never_violate_more(rates in prop::collection::vec(rate(), 2..40), workload in workload(), few in 0..20_u32) {
        let load = series(10, &rates);
        let (few, more) = (run(&load, &workload, &fixed(few)), run(&load, &workload, &fixed(few + 1)));
        prop_assert!(more.violation_seconds <= few.violation_seconds + 1e-4, "{few:?} {more:?}");
        prop_assert!(more.lost <= few.lost + 1e-6 * few.arrived.max(1.0), "{few:?} {more:?}");
    }

    #[test]
    fn nobody_under_the_same_maximum_beats_the_oracle(
        rates in prop::collection::vec(rate(), 2..40),
        step in 1..60_i64,
        workload in workload(),
        max in 1..25_u32,
        share in 0.0..=1.0_f64,
    ) {
        let load = series(step, &rates);
        let spec = format!("cooldownPeriod: 15, maxReplicaCount: {max}");
        let policy = object(&spec, "mode: QueueLength, value: '1.5'");
        let Kind::Object(own) = &policy.kind else { panic!("an object") };
        let oracle = run(&load, &workload, &own.oracle());
        let some = fixed((f64::from(max) * share) as u32);
        for other in [own.static_max(), own.plain_hpa(), some, policy.clone()] {
            let other = run(&load, &workload, &other);
            prop_assert!(oracle.violation_seconds <= other.violation_seconds + 1e-3, "{other:?} {oracle:?}");
            prop_assert!(oracle.lost <= other.lost + 1e-6 * other.arrived.max(1.0), "{other:?} {oracle:?}");
        }
    }

    #[test]
    fn taking_every_reading_changes_nothing(
        rates in prop::collection::vec(rate(), 5..60),
        step in 1..90_i64,
        workload in workload(),
        (interval, cooldown, min, activation) in (prop::option::of(1..45_u32), 0..200_u32, 0..3_u32, 0..8_u32),
        (idle, value) in (any::<bool>(), 0.5..20.0_f64),
    ) {
        let idle = if idle && min > 0 { ", idleReplicaCount: 0" } else { "" };
        let interval = interval.map(|interval| format!(", pollingInterval: {interval}")).unwrap_or_default();
        let spec = format!("cooldownPeriod: {cooldown}, minReplicaCount: {min}, maxReplicaCount: 30{idle}{interval}");
        let metadata = format!("mode: QueueLength, value: '{value:.3}', activationValue: '{activation}'");
        let policy = object(&spec, &metadata);
        let load = series(step, &rates);
        let few = run(&load, &workload, &policy);
        let all = replay(&load, &workload, &policy, &Settings { every_reading: true, ..Settings::default() });
        prop_assert_eq!((few.scale_out, few.scale_in, few.replicas_max), (all.scale_out, all.scale_in, all.replicas_max));
        prop_assert!((few.pod_hours - all.pod_hours).abs() < 1e-9, "{few:?} {all:?}");
    }

    #[test]
    fn closed_forms_agree_with_many_small_steps(
        changes in prop::collection::vec((0.2..60.0_f64, 0..30_u32, 1..40_u64), 1..8),
        pace in 0.05..5.0_f64,
    ) {
        let workload = queue(pace, 0.0, 10.0);
        let mut load = Load::new(workload, 0);
        let (mut now, mut backlog) = (0, 0.0_f64);
        for (rate, ready, span) in changes {
            load.set_rate(rate);
            load.set_ready(ready);
            for _ in 0..span * 1000 {
                backlog += (rate - pace * backlog.min(f64::from(ready))) / 1000.0;
            }
            now += span * 1000;
            load.advance(now);
            prop_assert!((load.amount() - backlog).abs() <= 0.02 + 0.005 * backlog, "{} {backlog}", load.amount());
        }
    }

    #[test]
    fn a_level_is_passed_when_the_closed_form_says_so(
        rate in rate(), before in 0..200_u64, ready in 0..20_u32, pace in 0.05..5.0_f64, level in prop_oneof![Just(0.0), Just(3.0), 0.0..40.0_f64],
    ) {
        let mut load = Load::new(queue(pace, 0.0, 10.0), 0);
        load.set_rate(20.0);
        load.advance(before * 100);
        load.set_rate(rate);
        load.set_ready(ready);
        let until = before * 100 + 20_000;
        let above = load.backlog() > level;
        let passes = load.passes(level, until);
        let mut seen = None;
        for at in (before * 100 + 1)..=until {
            load.advance(at);
            if (load.backlog() > level) != above {
                seen = Some(at);
                break;
            }
        }
        match (passes, seen) {
            (None, None) => {}
            (Some(passes), Some(seen)) => prop_assert!((passes - seen as f64).abs() <= 2.0, "{passes} {seen}"),
            (passes, seen) => {
                let at_the_end = passes.unwrap_or_else(|| seen.unwrap_or(0) as f64);
                prop_assert!(at_the_end >= until as f64 - 2.0, "{passes:?} {seen:?}");
            }
        }
    }
}

#[test]
fn the_same_arguments_give_the_same_bytes() {
    let rates: Vec<f64> = (0..500).map(|index| f64::from(index * 37 % 23)).collect();
    let load = series(15, &rates);
    let policy = object("cooldownPeriod: 30", "mode: QueueLength, value: '4'");
    for workload in [queue(1.5, 20.0, 5.0), requests(2.0, 3.0, 1.0)] {
        let bytes = || serde_json::to_vec(&run(&load, &workload, &policy)).expect("JSON");
        assert_eq!(bytes(), bytes());
    }
}
