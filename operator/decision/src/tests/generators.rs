//! Inputs for the properties: plausible ones, and wild ones of any bit pattern and any time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::{
    Activity, Bounds, Config, Cooldown, Failure, FailureKind, Hand, Hold, HpaAnswer, MAX_VALUE, Observation, Outcome,
    PolicyKind, Reading, Sample, ScaleUp, ScalingPolicy, SelectPolicy, State, TargetKind, Trigger,
};

/// Everything one decision is made from.
#[derive(Debug, Clone)]
pub(super) struct Input {
    pub config: Config,
    pub observation: Observation,
    pub state: State,
    pub now: Timestamp,
}

/// The plausible now.
pub(super) fn noon() -> Timestamp {
    Timestamp::from_second(1_767_268_800).unwrap()
}

/// Counts, most of them small, and times within minutes of [`noon`] of which no reading or answer lies ahead.
pub(super) fn plausible() -> impl Strategy<Value = Input> {
    let past = |seconds: i64| (0..=seconds * 1000).prop_map(|ms| noon() - SignedDuration::from_millis(ms));
    let around = (-900_000..=900_000_i64).prop_map(|ms| noon() + SignedDuration::from_millis(ms));
    input(count().boxed(), past(15).boxed(), past(900).boxed(), around.boxed(), Just(noon()).boxed())
}

/// Any bits for a figure, any time that a timestamp can be.
pub(super) fn wild() -> impl Strategy<Value = Input> {
    let any_bits = prop_oneof![any::<u64>().prop_map(f64::from_bits), count(), special()];
    let any_time = any_time().boxed();
    input(any_bits.boxed(), any_time.clone(), any_time.clone(), any_time.clone(), any_time)
}

/// Figures that a source may answer.
pub(super) fn count() -> impl Strategy<Value = f64> + Clone {
    prop_oneof![
        3 => Just(0.0),
        6 => (0..100_000_u32).prop_map(|thousandths| f64::from(thousandths) / 100.0),
        2 => 0.0..1e6_f64,
        1 => 0.0..=MAX_VALUE,
    ]
}

fn special() -> impl Strategy<Value = f64> {
    prop::sample::select(vec![
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
        -1.0,
        f64::MIN_POSITIVE,
        f64::MAX,
        9.3e15,
    ])
}

fn any_time() -> impl Strategy<Value = Timestamp> + Clone {
    let seconds = Timestamp::MIN.as_second()..=Timestamp::MAX.as_second();
    prop_oneof![
        3 => seconds.prop_map(|second| Timestamp::from_second(second).unwrap()),
        3 => (-3600..=3600_i64).prop_map(|second| noon() + SignedDuration::from_secs(second)),
        1 => Just(Timestamp::MIN),
        1 => Just(Timestamp::MAX),
    ]
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        2 => Just(Duration::ZERO),
        8 => (0..600_000_u64).prop_map(Duration::from_millis),
        1 => any::<u64>().prop_map(Duration::from_secs),
    ]
}

fn interval() -> impl Strategy<Value = Duration> {
    prop_oneof![8 => (0..60_000_u64).prop_map(Duration::from_millis), 1 => Just(Duration::MAX)]
}

fn trigger() -> impl Strategy<Value = Trigger> {
    let kind = prop_oneof![3 => Just(TargetKind::AverageValue), 1 => Just(TargetKind::Value)];
    let target = prop_oneof![6 => 0.5..200.0_f64, 1 => 0.000_1..1.0_f64, 1 => Just(f64::MAX)];
    let activation = prop_oneof![Just(0.0), 0.0..300.0_f64];
    (kind, target, activation).prop_map(|(kind, target, activation)| Trigger {
        metric_name: "s0-rabbitmq-orders".to_owned(),
        kind,
        target,
        activation,
    })
}

fn bounds() -> impl Strategy<Value = Bounds> {
    (prop_oneof![2 => Just(0_u32), 2 => 0..20_u32], 1..120_u32, option::of(0..20_u32))
        .prop_map(|(min, more, idle)| Bounds { min, max: min.max(1) + more - 1, idle: idle.filter(|idle| *idle < min) })
}

fn scale_up() -> impl Strategy<Value = ScaleUp> {
    let kind = prop_oneof![Just(PolicyKind::Pods), Just(PolicyKind::Percent)];
    let value = prop_oneof![8 => 1..200_u32, 1 => Just(u32::MAX)];
    let policy = (kind, value).prop_map(|(kind, value)| ScalingPolicy { kind, value });
    let select =
        prop_oneof![3 => Just(SelectPolicy::Max), 1 => Just(SelectPolicy::Min), 1 => Just(SelectPolicy::Disabled)];
    let stabilisation = prop_oneof![4 => Just(Duration::ZERO), 1 => Just(Duration::from_secs(60))];
    (stabilisation, vec(policy, 0..3), select).prop_map(|(stabilisation, policies, select)| ScaleUp {
        stabilisation,
        policies,
        select,
    })
}

fn config() -> impl Strategy<Value = Config> {
    let limit = prop_oneof![8 => (0..600_u64).prop_map(Duration::from_secs), 1 => Just(Duration::MAX)];
    (vec(trigger(), 1..4), bounds(), duration(), duration(), scale_up(), limit).prop_map(
        |(triggers, bounds, cooldown, initial, scale_up, limit)| {
            Config::new(triggers, bounds, cooldown, initial, scale_up, limit).unwrap()
        },
    )
}

fn sample(figure: BoxedStrategy<f64>, at: BoxedStrategy<Timestamp>) -> impl Strategy<Value = Sample> {
    let activity = prop_oneof![
        2 => Just(None),
        1 => figure.clone().prop_map(|number| Some(Activity::Number(number))),
        1 => any::<bool>().prop_map(|decided| Some(Activity::Decided(decided))),
    ];
    (figure, activity, option::weighted(0.2, 0..50_u32), at).prop_map(|(value, activity, limit, at)| Sample {
        value,
        activity: activity.unwrap_or(Activity::Number(value)),
        limit,
        at,
    })
}

/// Good more often than not, as else no case of several triggers ever is. `last_ok` is kept as a reader keeps it.
fn reading(figure: BoxedStrategy<f64>, at: BoxedStrategy<Timestamp>) -> impl Strategy<Value = Reading> {
    let kind = prop_oneof![8 => Just(0), 1 => Just(1), 1 => Just(2), 1 => Just(3)];
    (kind, sample(figure.clone(), at.clone()), option::of(sample(figure, at)), interval(), 0..6_u32).prop_map(
        |(kind, sample, older, interval, failures)| {
            let failure = |kind| Failure { kind, message: "no".to_owned(), field: None, at: sample.at };
            let (latest, last_ok) = match kind {
                0 => (Some(Outcome::Ok(sample)), Some(sample)),
                1 => (Some(Outcome::Failed(failure(FailureKind::Timeout))), older),
                2 => (Some(Outcome::Absent(failure(FailureKind::NotFound))), older),
                _ => (None, older),
            };
            let failures = if kind == 0 { 0 } else { failures };
            Reading { latest, last_ok, interval, failures }
        },
    )
}

fn cooldown(time: BoxedStrategy<Timestamp>) -> impl Strategy<Value = Cooldown> {
    (duration(), option::of(time), any::<bool>(), any::<bool>())
        .prop_map(|(quiet, last, last_was_quiet, seen_active)| Cooldown { quiet, last, last_was_quiet, seen_active })
}

fn hold(figure: BoxedStrategy<f64>, time: BoxedStrategy<Timestamp>) -> impl Strategy<Value = Hold> {
    (0..150_u32, time.clone(), vec(figure, 0..4), option::of(time.clone()), option::of(time))
        .prop_map(|(replicas, since, floor, by_hpa, by_anybody)| Hold { replicas, since, floor, by_hpa, by_anybody })
}

fn input(
    figure: BoxedStrategy<f64>,
    read_at: BoxedStrategy<Timestamp>,
    answered_at: BoxedStrategy<Timestamp>,
    time: BoxedStrategy<Timestamp>,
    now: BoxedStrategy<Timestamp>,
) -> impl Strategy<Value = Input> {
    let replicas = || prop_oneof![3 => Just(0), 6 => 0..150_u32, 1 => any::<u32>()];
    let answer = (answered_at.clone(), option::of(answered_at)).prop_map(|(any, by_hpa)| HpaAnswer { any, by_hpa });
    let observation = (
        vec(reading(figure.clone(), read_at), 3),
        replicas(),
        replicas(),
        time.clone(),
        option::of(time.clone()),
        option::of(answer),
    );
    let state = (cooldown(time.clone()), option::of(hold(figure, time.clone())), option::of(time));
    (config(), observation, state, now).prop_map(|(config, observation, (cooldown, hold, unserved_since), now)| {
        let (mut triggers, replicas, ready, created_at, last_active_time, hpa_answer) = observation;
        triggers.truncate(config.triggers().len());
        let (since_last, hand) = (None, Hand::default());
        let observation =
            Observation { triggers, replicas, ready, created_at, last_active_time, hpa_answer, since_last, hand };
        Input { config, observation, state: State { cooldown, hold, unserved_since }, now }
    })
}
