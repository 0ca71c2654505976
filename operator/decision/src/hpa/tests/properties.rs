//! What holds for every input: bounds, no panic, more load never fewer replicas, failed writes leave no trace.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::life::start;
use crate::hpa::{
    Behaviour, Controller, Metric, Observed, Phase, Pod, PodValue, Pods, Policy, Reading, Ready, Recommendation,
    Request, Rules, ScaleEvent, Selector, Source, Spec, State, Target, sync,
};
use crate::{PolicyKind, SelectPolicy};

/// Everything one sync is made from, owned.
#[derive(Debug, Clone)]
struct Input {
    spec: Spec,
    controller: Controller,
    replicas: i32,
    status_replicas: i32,
    selector: Selector,
    pods: Vec<OwnPod>,
    counted: Option<(u32, u32)>,
    answers: Vec<Answer>,
    state: State,
    now: Timestamp,
}

#[derive(Debug, Clone)]
struct OwnPod {
    phase: Phase,
    ready: Option<Ready>,
    started: Option<Timestamp>,
    deleting: bool,
    request: Option<i64>,
}

#[derive(Debug, Clone)]
enum Answer {
    Error,
    External(Vec<i64>),
    Object(i64),
    PerPod(Vec<(usize, i64, Timestamp, Duration)>),
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "stranger"];

impl Input {
    /// Calls `see` with the input as `sync` takes it.
    fn view<T>(&self, see: impl FnOnce(&Observed<'_>) -> T) -> T {
        let requests: Vec<_> = self.pods.iter().map(|pod| pod.request.map(requests).unwrap_or_default()).collect();
        let pods: Vec<_> = self
            .pods
            .iter()
            .zip(&requests)
            .zip(NAMES)
            .map(|((pod, requests), name)| Pod {
                name,
                phase: pod.phase,
                ready: pod.ready,
                started: pod.started,
                deleting: pod.deleting,
                requests,
            })
            .collect();
        let figures: Vec<Vec<_>> = self.answers.iter().map(figures).collect();
        let metrics: Vec<_> = self
            .answers
            .iter()
            .zip(&figures)
            .map(|(answer, figures)| match answer {
                Answer::Error => Err("broken"),
                Answer::External(values) => Ok(Reading::External(values)),
                Answer::Object(value) => Ok(Reading::Object(*value)),
                Answer::PerPod(_) => Ok(Reading::PerPod(figures)),
            })
            .collect();
        see(&Observed {
            spec_replicas: self.replicas,
            status_replicas: self.status_replicas,
            selector: self.selector,
            pods: self.counted.map_or(Pods::Listed(&pods), |(all, ready)| Pods::Counted { all, ready }),
            metrics: &metrics,
        })
    }
}

fn requests(milli: i64) -> Vec<Request<'static>> {
    let of = |resource, container| Request { resource, container, milli };
    vec![of("cpu", None), of("memory", None), of("cpu", Some("main")), of("memory", Some("main"))]
}

fn figures(answer: &Answer) -> Vec<PodValue<'static>> {
    let Answer::PerPod(values) = answer else { return Vec::new() };
    let of = |(pod, milli, at, window): &(usize, i64, Timestamp, Duration)| PodValue {
        pod: NAMES[*pod],
        milli: *milli,
        at: *at,
        window: *window,
    };
    values.iter().map(of).collect()
}

fn time() -> impl Strategy<Value = Timestamp> + Clone {
    let near = (-900_000..=900_000_i64).prop_map(|ms| start() + SignedDuration::from_millis(ms));
    let any = (Timestamp::MIN.as_second()..=Timestamp::MAX.as_second())
        .prop_map(|second| Timestamp::from_second(second).unwrap_or(Timestamp::MAX));
    prop_oneof![6 => near, 1 => any, 1 => Just(Timestamp::MIN), 1 => Just(Timestamp::MAX)]
}

fn count() -> impl Strategy<Value = i32> + Clone {
    prop_oneof![8 => 0..60_i32, 1 => any::<i32>(), 1 => Just(i32::MAX), 1 => Just(i32::MIN)]
}

fn milli() -> impl Strategy<Value = i64> + Clone {
    prop_oneof![8 => 0..200_000_i64, 1 => any::<i64>(), 1 => Just(i64::MAX), 1 => Just(i64::MIN), 1 => Just(0)]
}

fn span() -> impl Strategy<Value = Duration> + Clone {
    prop_oneof![6 => (0..900_000_u64).prop_map(Duration::from_millis), 1 => Just(Duration::MAX)]
}

fn rules() -> impl Strategy<Value = Rules> {
    let kind = prop_oneof![Just(PolicyKind::Pods), Just(PolicyKind::Percent)];
    let period = prop_oneof![6 => 0..600_u32, 1 => any::<u32>()];
    let policy = (kind, count(), period).prop_map(|(kind, value, period)| Policy { kind, value, period });
    let select = prop_oneof![Just(SelectPolicy::Max), Just(SelectPolicy::Min), Just(SelectPolicy::Disabled)];
    let window = option::of(prop_oneof![6 => 0..600_u32, 1 => any::<u32>()]);
    let tolerance = option::of(prop_oneof![6 => 0.0..2.0_f64, 1 => any::<f64>()]);
    (window, select, vec(policy, 0..4), tolerance).prop_map(|(stabilisation, select, policies, tolerance)| Rules {
        stabilisation,
        select,
        policies,
        tolerance,
    })
}

fn behaviour() -> impl Strategy<Value = Option<Behaviour>> {
    option::of((rules(), rules()).prop_map(|(scale_up, scale_down)| Behaviour { scale_up, scale_down }))
}

fn metric() -> impl Strategy<Value = Metric> {
    let text = || "main".to_owned();
    let resource = prop_oneof![Just("cpu".to_owned()), Just("memory".to_owned())];
    let source = (0..5, resource).prop_map(move |(kind, resource)| match kind {
        0 => Source::External { name: text() },
        1 => Source::Object { name: text() },
        2 => Source::Pods { name: text() },
        3 => Source::Resource { resource },
        _ => Source::ContainerResource { resource, container: text() },
    });
    let target = prop_oneof![
        milli().prop_map(Target::Value),
        milli().prop_map(Target::AverageValue),
        count().prop_map(Target::Utilization),
    ];
    (source, target).prop_map(|(source, target)| Metric { source, target })
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        1 => Just(Answer::Error),
        4 => vec(milli(), 0..4).prop_map(Answer::External),
        2 => milli().prop_map(Answer::Object),
        4 => vec((0..NAMES.len(), milli(), time(), span()), 0..8).prop_map(Answer::PerPod),
    ]
}

fn pod() -> impl Strategy<Value = OwnPod> {
    let phase = prop::sample::select(vec![
        Phase::Running,
        Phase::Running,
        Phase::Running,
        Phase::Pending,
        Phase::Succeeded,
        Phase::Failed,
        Phase::Unknown,
    ]);
    let ready = option::of((option::of(any::<bool>()), time()).prop_map(|(status, since)| Ready { status, since }));
    (phase, ready, option::of(time()), any::<bool>(), option::weighted(0.9, milli()))
        .prop_map(|(phase, ready, started, deleting, request)| OwnPod { phase, ready, started, deleting, request })
}

fn state() -> impl Strategy<Value = State> {
    let recommendation = (count(), time()).prop_map(|(replicas, at)| Recommendation { replicas, at });
    let event = (count(), time(), any::<bool>()).prop_map(|(change, at, outdated)| ScaleEvent { change, at, outdated });
    (vec(recommendation, 0..6), vec(event.clone(), 0..4), vec(event, 0..4), option::of(time())).prop_map(
        |(recommendations, scale_up, scale_down, last_scale)| State {
            recommendations,
            scale_up,
            scale_down,
            last_scale,
        },
    )
}

fn controller() -> impl Strategy<Value = Controller> {
    let tolerance = prop_oneof![6 => Just(0.1), 1 => any::<f64>()];
    (span(), tolerance, span(), span()).prop_map(|(window, tolerance, cpu_initialisation, initial_readiness)| {
        Controller {
            downscale_stabilisation: window,
            tolerance,
            cpu_initialisation,
            initial_readiness,
            ..Controller::default()
        }
    })
}

/// Any input at all: also specs that the API server would refuse.
fn any_input() -> impl Strategy<Value = Input> {
    let spec = (count(), count(), vec(metric(), 0..4), behaviour()).prop_map(|(min, max, metrics, behaviour)| Spec {
        min,
        max,
        metrics,
        behaviour,
    });
    let selector = prop_oneof![8 => Just(Selector::Good), 1 => Just(Selector::Invalid), 1 => Just(Selector::Ambiguous)];
    let counted = option::weighted(0.3, (any::<u32>(), any::<u32>()));
    let seen = (count(), count(), selector, vec(pod(), 0..5), counted, vec(answer(), 0..4));
    (spec, controller(), seen, state(), time()).prop_map(|(spec, controller, seen, state, now)| {
        let (replicas, status_replicas, selector, pods, counted, answers) = seen;
        Input { spec, controller, replicas, status_replicas, selector, pods, counted, answers, state, now }
    })
}

/// Inputs whose bounds the API server would accept.
fn bounded_input() -> impl Strategy<Value = Input> {
    (any_input(), 1..30_i32, 0..30_i32, 0..70_i32).prop_map(|(input, min, more, replicas)| {
        let spec = Spec { min, max: min + more, ..input.spec };
        Input { spec, replicas, ..input }
    })
}

fn desired(input: &Input) -> i32 {
    input.view(|observed| sync(&input.spec, &input.controller, observed, &input.state, input.now).desired)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_input_panics(input in any_input()) {
        let mut outcome =
            input.view(|observed| sync(&input.spec, &input.controller, observed, &input.state, input.now));
        outcome.written(&input.spec, input.replicas, input.now);
        outcome.refused("no");
    }

    #[test]
    fn replicas_are_0_or_within_the_bounds(input in bounded_input()) {
        let desired = desired(&input);
        if input.replicas == 0 {
            prop_assert_eq!(desired, 0);
        } else {
            prop_assert!((input.spec.min..=input.spec.max).contains(&desired), "{}", desired);
        }
    }

    #[test]
    fn a_rescale_is_a_change(input in bounded_input()) {
        let outcome = input.view(|observed| sync(&input.spec, &input.controller, observed, &input.state, input.now));
        prop_assert_eq!(outcome.rescale.is_some(), outcome.desired != input.replicas);
    }

    // A whole value has no such rule: its pods are the ready ones, so more load can mean fewer replicas than the
    // tolerance would have kept.
    #[test]
    fn more_of_one_external_average_never_gives_fewer_replicas(
        input in bounded_input(),
        target in 1..1_000_000_i64,
        less in 0..=i64::MAX,
        more in 0..=i64::MAX,
        small in any::<bool>(),
    ) {
        let mut input = input;
        input.controller.tolerance = 0.1;
        for rules in input.spec.behaviour.iter_mut().flat_map(|both| [&mut both.scale_up, &mut both.scale_down]) {
            rules.tolerance = rules.tolerance.filter(|tolerance| (0.0..2.0).contains(tolerance));
        }
        input.status_replicas = input.replicas;
        let metric = Metric { source: Source::External { name: "x".to_owned() }, target: Target::AverageValue(target) };
        input.spec.metrics = vec![metric];
        let cut = |value: i64| if small { value % (target * 40) } else { value };
        let (less, more) = (cut(less).min(cut(more)), cut(less).max(cut(more)));
        let of = |value| Input { answers: vec![Answer::External(vec![value])], ..input.clone() };
        prop_assert!(desired(&of(less)) <= desired(&of(more)));
    }

    #[test]
    fn metrics_that_all_fail_move_nothing_that_is_within_the_bounds(input in bounded_input()) {
        let answers = vec![Answer::Error; input.spec.metrics.len()];
        let replicas = input.replicas.clamp(input.spec.min, input.spec.max);
        let input = Input { answers, replicas, ..input };
        prop_assert_eq!(desired(&input), input.replicas);
    }

    #[test]
    fn one_metric_that_fails_takes_nothing_away(input in bounded_input(), broken in 0..3_usize) {
        let mut input = input;
        if input.spec.metrics.is_empty() {
            return Ok(());
        }
        input.replicas = input.replicas.clamp(input.spec.min, input.spec.max);
        let broken = broken % input.spec.metrics.len();
        input.answers.resize(input.spec.metrics.len(), Answer::Error);
        input.answers[broken] = Answer::Error;
        // Windows and policies look back at lives this state never had: only what the metrics ask for is judged here.
        input.state = State::default();
        prop_assert!(desired(&input) >= input.replicas);
    }

    #[test]
    fn a_refused_write_leaves_no_event(input in any_input()) {
        let mut outcome =
            input.view(|observed| sync(&input.spec, &input.controller, observed, &input.state, input.now));
        outcome.refused("no");
        let State { scale_up, scale_down, last_scale, .. } = outcome.next;
        prop_assert_eq!(
            (scale_up, scale_down, last_scale),
            (input.state.scale_up.clone(), input.state.scale_down.clone(), input.state.last_scale)
        );
    }
}
