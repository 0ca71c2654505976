//! Figures of pods: which of them count, and what is assumed of those that do not.

use std::time::Duration;

use jiff::Timestamp;

use super::life::{Life, free, second};
use crate::hpa::{
    Metric, MetricError, Observed, Phase, Pod, PodValue, Pods, Reading, Ready, Request, Selector, Source, Spec, Target,
};

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
const REQUESTS: &[Request<'_>] = &[
    Request { resource: "cpu", container: None, milli: 1_000 },
    Request { resource: "cpu", container: Some("main"), milli: 500 },
    Request { resource: "memory", container: None, milli: 1_000 },
];
/// The sync all of these tests look at, in seconds.
const NOW: i64 = 1_000;

/// A pod that runs and has been ready for long.
fn pod(name: &str) -> Pod<'_> {
    Pod {
        name,
        phase: Phase::Running,
        ready: Some(Ready { status: Some(true), since: second(10) }),
        started: Some(second(0)),
        deleting: false,
        requests: REQUESTS,
    }
}

fn value(pod: &str, milli: i64) -> PodValue<'_> {
    PodValue { pod, milli, at: second(NOW), window: Duration::from_secs(30) }
}

fn resource(resource: &str, target: Target) -> Metric {
    Metric { source: Source::Resource { resource: resource.to_owned() }, target }
}

fn cpu() -> Metric {
    resource("cpu", Target::Utilization(50))
}

fn look(metric: &Metric, replicas: i32, pods: &[Pod<'_>], values: &[PodValue<'_>]) -> Result<i32, MetricError> {
    let spec = Spec { metrics: vec![metric.clone()], ..free(|_| {}) };
    let metrics = [Ok(Reading::PerPod(values))];
    let observed = Observed {
        spec_replicas: replicas,
        status_replicas: replicas,
        selector: Selector::Good,
        pods: Pods::Listed(pods),
        metrics: &metrics,
    };
    let outcome = Life::new(spec, replicas).settle(NOW, &observed);
    outcome.metrics[0].clone().map(|proposal| proposal.replicas)
}

/// Four pods of which `change` alters the last one, and figures of the first `figures` of them.
fn four(metric: &Metric, milli: i64, figures: usize, change: impl Fn(&mut Pod<'_>)) -> Result<i32, MetricError> {
    let mut pods: Vec<_> = NAMES[..4].iter().map(|name| pod(name)).collect();
    change(&mut pods[3]);
    let values: Vec<_> = NAMES[..figures].iter().map(|name| value(name, milli)).collect();
    look(metric, 4, &pods, &values)
}

#[test]
fn ready_pods_with_figures_are_simply_averaged() {
    for (milli, replicas) in [(500, 4), (540, 4), (600, 5), (1_000, 8), (250, 2), (1, 0)] {
        assert_eq!(four(&cpu(), milli, 4, |_| {}), Ok(replicas), "{milli} of 1000 requested, 50 % wanted");
        let raw = resource("cpu", Target::AverageValue(500));
        let rounded = if milli == 1 { 1 } else { replicas };
        assert_eq!(
            four(&raw, milli, 4, |_| {}),
            Ok(rounded),
            "the percentage is cut to whole percent, the value is not"
        );
    }
}

#[test]
fn a_pod_without_a_figure_is_assumed_to_pull_against_the_move() {
    // Up: 3 x 1000 and nothing of the fourth are 750 each, 1.5 times the target.
    assert_eq!(four(&cpu(), 1_000, 3, |_| {}), Ok(6));
    assert_eq!(four(&resource("cpu", Target::AverageValue(500)), 1_000, 3, |_| {}), Ok(6));
    // Down: for utilization the fourth is assumed to use all it requests, for a value exactly the target.
    assert_eq!(four(&cpu(), 100, 3, |_| {}), Ok(3), "(3 x 100 + 1000) / 4 = 32 %");
    assert_eq!(four(&resource("cpu", Target::AverageValue(500)), 100, 3, |_| {}), Ok(2), "(3 x 100 + 500) / 4 = 200");
    // A target above 100 % is what a missing pod is assumed to use.
    assert_eq!(four(&resource("cpu", Target::Utilization(150)), 900, 3, |_| {}), Ok(3), "(270 + 150) / 4 = 105 %");
    assert_eq!(four(&cpu(), 500, 3, |_| {}), Ok(4), "exactly at the target nothing is assumed");
}

#[test]
fn what_a_pod_without_a_figure_is_assumed_to_use_is_cut_for_each_pod() {
    let small = [Request { resource: "cpu", container: None, milli: 1 }];
    let pods: Vec<_> = NAMES[..4].iter().map(|name| Pod { requests: &small, ..pod(name) }).collect();
    let metric = resource("cpu", Target::Utilization(150));
    assert_eq!(look(&metric, 4, &pods, &[value("a", 0)]), Ok(2), "3 x 1 of 4 are 75 %, half the target");
}

#[test]
fn only_pods_that_run_and_say_that_they_are_ready_serve_a_whole_value() {
    let metric = Metric { source: Source::External { name: "x".to_owned() }, target: Target::Value(1_000) };
    let status = |status| Some(Ready { status, since: second(0) });
    for (name, last, replicas) in [
        ("ready", pod("d"), 8),
        ("ready and being deleted", Pod { deleting: true, ..pod("d") }, 8),
        ("not ready", Pod { ready: status(Some(false)), ..pod("d") }, 6),
        ("nobody knows", Pod { ready: status(None), ..pod("d") }, 6),
        ("without the condition", Pod { ready: None, ..pod("d") }, 6),
        ("ended", Pod { phase: Phase::Succeeded, ..pod("d") }, 6),
    ] {
        let pods = [pod("a"), pod("b"), pod("c"), last];
        let metrics = [Ok(Reading::External(&[2_000]))];
        let observed = Observed {
            spec_replicas: 4,
            status_replicas: 4,
            selector: Selector::Good,
            pods: Pods::Listed(&pods),
            metrics: &metrics,
        };
        let spec = Spec { metrics: vec![metric.clone()], ..free(|_| {}) };
        assert_eq!(Life::new(spec, 4).settle(NOW, &observed).desired, replicas, "{name}");
    }
}

#[test]
fn an_assumption_stops_a_move_and_never_turns_it() {
    assert_eq!(four(&cpu(), 600, 3, |_| {}), Ok(4), "up by the three, down with the fourth: 45 %");
    assert_eq!(four(&cpu(), 400, 3, |_| {}), Ok(4), "down by the three, up with the fourth: 55 %");
    // More figures than replicas: what is left to move would be the wrong way.
    let pods: Vec<_> = NAMES.iter().map(|name| pod(name)).collect();
    let values: Vec<_> = NAMES[..7].iter().map(|name| value(name, 400)).collect();
    assert_eq!(look(&resource("cpu", Target::AverageValue(500)), 4, &pods, &values), Ok(4), "0.82 x 8 would be 7");
}

#[test]
fn a_pending_pod_counts_as_idle_on_the_way_up_and_not_at_all_on_the_way_down() {
    let pending = |pod: &mut Pod<'_>| pod.phase = Phase::Pending;
    for figures in [3, 4] {
        assert_eq!(four(&cpu(), 1_000, figures, pending), Ok(6), "its own figure is not believed");
        assert_eq!(four(&cpu(), 100, figures, pending), Ok(1), "3 x 0.2");
    }
}

#[test]
fn a_pod_that_ends_or_has_failed_does_not_count() {
    for figures in [3, 4] {
        assert_eq!(four(&cpu(), 1_000, figures, |pod| pod.deleting = true), Ok(6), "3 x 2");
        assert_eq!(four(&cpu(), 1_000, figures, |pod| pod.phase = Phase::Failed), Ok(6));
    }
    assert_eq!(four(&cpu(), 1_000, 4, |pod| pod.phase = Phase::Succeeded), Ok(8), "any other phase does");
}

/// How the last of four pods fares: busy ones want 8 if it counts and 6 if it does not.
fn counts(started: i64, ready: Option<(Option<bool>, i64)>, measured: i64) -> bool {
    counts_for("cpu", started, ready, measured)
}

fn counts_for(name: &str, started: i64, ready: Option<(Option<bool>, i64)>, measured: i64) -> bool {
    let mut pods: Vec<_> = NAMES[..4].iter().map(|name| pod(name)).collect();
    pods[3].started = Some(second(started));
    pods[3].ready = ready.map(|(status, since)| Ready { status, since: second(since) });
    let mut values: Vec<_> = NAMES[..4].iter().map(|name| value(name, 1_000)).collect();
    values[3].at = second(measured);
    match look(&resource(name, Target::Utilization(50)), 4, &pods, &values) {
        Ok(8) => true,
        Ok(6) => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_starting_pods_cpu_counts_when_it_is_ready_and_measured_since() {
    // Started at 800 s, so within its first 300 s at 1000 s; its figures cover 30 s.
    for (name, ready, measured, expected) in [
        ("not ready", Some((Some(false), 900)), 1_000, false),
        ("ready for less than a window", Some((Some(true), 980)), 1_000, false),
        ("ready for exactly a window", Some((Some(true), 970)), 1_000, true),
        ("ready, with an older figure", Some((Some(true), 900)), 929, false),
        ("ready, with a figure just long enough after", Some((Some(true), 900)), 930, true),
        ("nobody knows, measured since", Some((None, 900)), 1_000, true),
        ("without the condition", None, 1_000, false),
    ] {
        assert_eq!(counts(800, ready, measured), expected, "{name}");
    }
}

#[test]
fn an_older_pods_cpu_counts_unless_it_has_never_been_ready() {
    // Started at 700 s: its first 300 s end exactly now.
    for (name, ready, measured, expected) in [
        ("ready", Some((Some(true), 999)), 0, true),
        ("unready 10 s after its start", Some((Some(false), 710)), 1_000, false),
        ("unready just before 30 s", Some((Some(false), 729)), 1_000, false),
        ("unready 30 s after its start: it was ready", Some((Some(false), 730)), 1_000, true),
        ("nobody knows", Some((None, 710)), 1_000, true),
        ("without the condition", None, 1_000, false),
    ] {
        assert_eq!(counts(700, ready, measured), expected, "{name}");
    }
}

#[test]
fn only_cpu_is_distrusted_while_a_pod_starts() {
    assert!(counts_for("memory", 990, Some((Some(false), 995)), 1_000));
    let starting = |pod: &mut Pod<'_>| (pod.started, pod.ready) = (None, None);
    let pods = Metric { source: Source::Pods { name: "jobs".to_owned() }, target: Target::AverageValue(500) };
    assert_eq!(four(&pods, 1_000, 4, starting), Ok(8));
    let container = Source::ContainerResource { resource: "cpu".to_owned(), container: "main".to_owned() };
    for target in [Target::AverageValue(500), Target::Utilization(100)] {
        let metric = Metric { source: container.clone(), target };
        assert_eq!(four(&metric, 1_000, 4, starting), Ok(6), "{target:?}: a container's CPU is CPU");
    }
}

#[test]
fn a_request_that_is_missing_stops_the_calculation_even_on_a_pod_that_ends() {
    let unrequested = |pod: &mut Pod<'_>| (pod.requests, pod.deleting) = (&REQUESTS[1..], true);
    let missing = MetricError::MissingRequest { pod: "d".to_owned(), resource: "cpu".to_owned() };
    assert_eq!(four(&cpu(), 1_000, 4, unrequested), Err(missing));
    assert_eq!(four(&resource("cpu", Target::AverageValue(500)), 1_000, 4, unrequested), Ok(6), "a value needs none");
}

#[test]
fn figures_that_nobody_can_use_are_a_failure() {
    assert_eq!(four(&cpu(), 1_000, 0, |_| {}), Err(MetricError::NoValues));
    assert_eq!(look(&cpu(), 4, &[], &[value("a", 1)]), Err(MetricError::NoPods));
    let pending = Pod { phase: Phase::Pending, ..pod("a") };
    assert_eq!(look(&cpu(), 1, &[pending], &[value("a", 1)]), Err(MetricError::NoUsablePods));
    assert_eq!(look(&cpu(), 1, &[pod("a")], &[value("z", 1)]), Err(MetricError::NothingRequested));
    let nothing = [Request { resource: "cpu", container: None, milli: 0 }];
    let idle = Pod { requests: &nothing, ..pod("a") };
    assert_eq!(look(&cpu(), 1, &[idle], &[value("a", 1)]), Err(MetricError::NothingRequested));
}

#[test]
fn a_figure_of_a_pod_that_is_not_listed_counts_for_a_value_and_not_for_utilization() {
    let pods = [pod("a"), pod("b")];
    let values = [value("a", 900), value("b", 900), value("z", 0)];
    assert_eq!(look(&cpu(), 2, &pods, &values), Ok(4), "90 % of the two");
    assert_eq!(
        look(&resource("cpu", Target::AverageValue(500)), 2, &pods, &values),
        Ok(3),
        "600 each of three, of two pods"
    );
}

#[test]
fn the_order_of_figures_does_not_matter_and_the_later_of_two_counts() {
    let pods: Vec<_> = NAMES[..4].iter().map(|name| pod(name)).collect();
    let shuffled = [value("d", 1_000), value("b", 1_000), value("a", 7), value("c", 1_000), value("a", 1_000)];
    assert_eq!(look(&cpu(), 4, &pods, &shuffled), Ok(8));
}

#[test]
fn counted_pods_are_not_enough_for_figures_of_pods() {
    let mut life = Life::new(Spec { metrics: vec![cpu()], ..free(|_| {}) }, 4);
    let outcome = life.look(NOW, &[Ok(Reading::PerPod(&[value("a", 1)]))]);
    assert_eq!((outcome.desired, &outcome.metrics[0]), (4, &Err(MetricError::PodsOnlyCounted)));
}

#[test]
fn sums_beyond_any_number_end_at_the_greatest() {
    let times = [Timestamp::MIN, Timestamp::MAX];
    let values: Vec<_> = NAMES[..4]
        .iter()
        .zip(times.iter().cycle())
        .map(|(pod, at)| PodValue { pod, milli: i64::MAX, at: *at, window: Duration::MAX })
        .collect();
    let pods: Vec<_> = NAMES[..4].iter().map(|name| pod(name)).collect();
    for metric in [
        resource("cpu", Target::Utilization(1)),
        resource("cpu", Target::AverageValue(1)),
        resource("memory", Target::Utilization(1)),
    ] {
        assert_eq!(look(&metric, 4, &pods, &values), Ok(i32::MAX), "{metric}");
    }
}
