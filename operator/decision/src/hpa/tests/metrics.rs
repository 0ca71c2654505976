//! External and object metrics, several metrics at once, and figures at the end of the range of numbers.

use super::life::{Life, external, free, spec};
use crate::hpa::{Current, Metric, MetricError, Observed, Pods, Reading, Selector, Source, Spec, Target};

fn one(metric: Metric) -> Spec {
    Spec { metrics: vec![metric], ..free(|_| {}) }
}

fn object(target: Target) -> Metric {
    Metric { source: Source::Object { name: "requests".to_owned() }, target }
}

fn observed<'a>(replicas: i32, ready: u32, metrics: &'a [Result<Reading<'a>, &'a str>]) -> Observed<'a> {
    let all = u32::try_from(replicas).unwrap();
    let pods = Pods::Counted { all, ready };
    Observed { spec_replicas: replicas, status_replicas: replicas, selector: Selector::Good, pods, metrics }
}

#[test]
fn a_whole_value_is_shared_by_the_ready_pods_only() {
    for metric in [external(Target::Value(100_000)), object(Target::Value(100_000))] {
        let external = matches!(metric.source, Source::External { .. });
        for (value, ready, desired) in
            [(300_000, 4, 12), (300_000, 1, 3), (105_000, 1, 4), (50_000, 4, 2), (300_000, 0, 1)]
        {
            let values = [value];
            let answer = [Ok(if external { Reading::External(&values) } else { Reading::Object(value) })];
            let outcome = Life::new(one(metric.clone()), 4).settle(15, &observed(4, ready, &answer));
            assert_eq!(outcome.desired, desired, "{metric}: {value} with {ready} of 4 ready");
            let current = outcome.metrics[0].as_ref().unwrap().current;
            assert_eq!(current, Current { value: Some(value), ..Current::default() });
        }
    }
}

#[test]
fn an_average_is_shared_by_all_pods_ready_or_not() {
    for metric in [external(Target::AverageValue(10_000)), object(Target::AverageValue(10_000))] {
        let values = [75_000];
        let external = matches!(metric.source, Source::External { .. });
        let answer = [Ok(if external { Reading::External(&values) } else { Reading::Object(75_000) })];
        let outcome = Life::new(one(metric), 4).settle(15, &observed(4, 0, &answer));
        assert_eq!(outcome.desired, 8);
        let current = outcome.metrics[0].as_ref().unwrap().current;
        assert_eq!(current.average_value, Some(18_750), "75 by the 4 there are");
    }
}

#[test]
fn an_average_counts_the_pods_of_the_status_not_of_the_spec() {
    // Woken from 0 to 10, the first pod has come: 100 is for 10, and 10 is far from what one serves.
    let values = [105_000];
    let answer = [Ok(Reading::External(&values))];
    let seen = Observed { status_replicas: 1, ..observed(10, 1, &answer) };
    assert_eq!(Life::new(one(external(Target::AverageValue(10_000))), 10).settle(15, &seen).desired, 11);
    let nobody = Observed { status_replicas: 0, ..observed(10, 0, &answer) };
    assert_eq!(Life::new(one(external(Target::AverageValue(10_000))), 10).settle(15, &nobody).desired, 11);
}

#[test]
fn several_values_of_one_name_are_added() {
    let values = [10_000, 0, 25_500];
    let outcome = Life::new(spec(), 3).look(15, &[Ok(Reading::External(&values))]);
    assert_eq!(outcome.desired, 4, "35.5 for 10 each");
}

#[test]
fn a_thousandth_over_the_target_is_one_replica_more() {
    let life = || Life::new(free(|behaviour| behaviour.scale_up.tolerance = Some(0.0)), 3);
    assert_eq!(life().look(15, &[Ok(Reading::External(&[30_000]))]).desired, 3);
    assert_eq!(life().look(15, &[Ok(Reading::External(&[30_001]))]).desired, 4);
}

#[test]
fn the_highest_of_several_metrics_wins() {
    let metrics = vec![external(Target::AverageValue(10_000)), external(Target::AverageValue(1_000))];
    let mut life = Life::new(Spec { metrics, ..free(|_| {}) }, 5);
    let outcome = life.look(15, &[Ok(Reading::External(&[20_000])), Ok(Reading::External(&[7_000]))]);
    assert_eq!((outcome.desired, outcome.decisive), (7, Some(1)));
    let outcome = life.look(30, &[Ok(Reading::External(&[90_000])), Ok(Reading::External(&[7_000]))]);
    assert_eq!((outcome.desired, outcome.decisive), (9, Some(0)));
}

#[test]
fn a_metric_that_fails_forbids_scaling_down_and_not_up() {
    let metrics = || vec![external(Target::AverageValue(10_000)), external(Target::AverageValue(1_000))];
    for (value, desired, moved) in [(90_000, 9, true), (50_000, 5, false), (20_000, 5, false)] {
        for broken_first in [false, true] {
            let mut life = Life::new(Spec { metrics: metrics(), ..free(|_| {}) }, 5);
            let good = [value];
            let other = [value / 10];
            let answers = if broken_first {
                [Err("broken"), Ok(Reading::External(&other))]
            } else {
                [Ok(Reading::External(&good)), Err("broken")]
            };
            let outcome = life.look(15, &answers);
            assert_eq!((outcome.desired, outcome.rescale.is_some()), (desired, moved), "{value}, {broken_first}");
            let active = outcome.conditions.scaling_active.unwrap().holds;
            assert_eq!(active, value >= 50_000, "what keeps the replicas is still usable");
        }
    }
}

#[test]
fn what_is_missing_or_of_another_kind_is_a_failure() {
    let names = || "x".to_owned();
    let resource = || Source::Resource { resource: "cpu".to_owned() };
    let wrong = [
        (external(Target::Utilization(80)), Reading::External(&[1]), MetricError::WrongTarget),
        (object(Target::Utilization(80)), Reading::Object(1), MetricError::WrongTarget),
        (Metric { source: resource(), target: Target::Value(1) }, Reading::PerPod(&[]), MetricError::WrongTarget),
        (
            Metric { source: Source::Pods { name: names() }, target: Target::Value(1) },
            Reading::PerPod(&[]),
            MetricError::WrongTarget,
        ),
        (external(Target::Value(1)), Reading::Object(1), MetricError::WrongReading),
        (object(Target::Value(1)), Reading::External(&[1]), MetricError::WrongReading),
        (Metric { source: resource(), target: Target::Utilization(80) }, Reading::Object(1), MetricError::WrongReading),
        (external(Target::Value(1)), Reading::External(&[]), MetricError::NoValues),
        (external(Target::AverageValue(1)), Reading::External(&[]), MetricError::NoValues),
    ];
    for (metric, reading, error) in wrong {
        let outcome = Life::new(one(metric.clone()), 3).look(15, &[Ok(reading)]);
        assert_eq!((outcome.desired, &outcome.metrics[0]), (3, &Err(error)), "{metric}");
    }
    let outcome = Life::new(one(external(Target::Value(1))), 3).look(15, &[]);
    assert_eq!((outcome.desired, &outcome.metrics[0]), (3, &Err(MetricError::NoValues)), "no answer at all");
    let nobody = [Ok(Reading::External(&[500_000]))];
    let none = Observed { pods: Pods::Counted { all: 0, ready: 0 }, ..observed(3, 0, &nobody) };
    let outcome = Life::new(one(external(Target::Value(100_000))), 3).settle(15, &none);
    assert_eq!(outcome.metrics[0], Err(MetricError::NoPods));
}

#[test]
fn absurd_sums_end_at_the_greatest_number_and_never_wrap() {
    let max = i64::MAX;
    for (values, desired) in [
        (vec![max], 100),
        (vec![max, max, max], 100),
        (vec![max / 2 + 1, max / 2 + 1], 100),
        // One negative value counts as an overflow: Kubernetes cannot tell them apart.
        (vec![-1], 100),
        (vec![-100_000], 100),
        (vec![0], 1),
    ] {
        for target in [Target::AverageValue(10_000), Target::Value(10_000)] {
            let negative = values[0] < 0 && matches!(target, Target::Value(_));
            let outcome = Life::new(one(external(target)), 4).look(15, &[Ok(Reading::External(&values))]);
            assert_eq!(outcome.desired, if negative { 1 } else { desired }, "{values:?} for {target:?}");
            let remembered = &outcome.next.recommendations;
            assert!(remembered.iter().all(|earlier| earlier.replicas >= 0), "{remembered:?}");
        }
    }
}
