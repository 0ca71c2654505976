//! Properties of many decisions in a row.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;

use super::generators::noon;
use crate::{
    Activity, Bounds, Config, Failure, FailureKind, Hand, Observation, Outcome, Reading, Sample, ScaleUp, State,
    TargetKind, Trigger, Verdict, decide,
};

/// One look at the source, some time after the one before.
#[derive(Debug, Clone, Copy)]
struct Look {
    gap_ms: i64,
    /// `None`: the source could not be read.
    value: Option<f64>,
}

fn look(gap_ms: impl Strategy<Value = i64>) -> impl Strategy<Value = Look> {
    let value = prop_oneof![
        20 => Just(Some(0.0)),
        1 => Just(Some(30.0)),
        2 => Just(None),
    ];
    (gap_ms, value).prop_map(|(gap_ms, value)| Look { gap_ms, value })
}

fn looks() -> impl Strategy<Value = Vec<Look>> {
    vec(look(prop_oneof![8 => 0..4_000_i64, 1 => 0..40_000_i64]), 1..60)
}

fn config(cooldown: u64) -> Config {
    let trigger = Trigger {
        metric_name: "s0-rabbitmq-orders".to_owned(),
        kind: TargetKind::AverageValue,
        target: 10.0,
        activation: 0.0,
    };
    let bounds = Bounds { min: 0, max: 10, idle: None };
    let limit = Duration::from_secs(300);
    Config::new(vec![trigger], bounds, Duration::from_secs(cooldown), Duration::ZERO, ScaleUp::default(), limit)
        .unwrap()
}

fn adopted() -> Observation {
    Observation {
        triggers: vec![Reading { interval: Duration::from_secs(1), ..Reading::default() }],
        replicas: 3,
        ready: 3,
        created_at: noon(),
        last_active_time: Some(noon()),
        hpa_answer: None,
        since_last: None,
        hand: Hand::default(),
    }
}

fn hear(observation: &mut Observation, look: Look, now: Timestamp) {
    let reading = &mut observation.triggers[0];
    match look.value {
        Some(value) => {
            let sample = Sample { value, activity: Activity::Number(value), limit: None, at: now };
            reading.latest = Some(Outcome::Ok(sample));
            reading.last_ok = Some(sample);
        }
        None => {
            let failure = Failure { kind: FailureKind::Timeout, message: "no".to_owned(), field: None, at: now };
            reading.latest = Some(Outcome::Failed(failure));
        }
    }
}

/// The second at which the object is sent to rest, if it is, with a restart before each of `restarts`.
fn rests_at(looks: &[Look], cooldown: u64, restarts: &[usize]) -> Option<Timestamp> {
    let (config, mut observation, mut state, mut now) = (config(cooldown), adopted(), State::default(), noon());
    for (index, look) in looks.iter().enumerate() {
        if restarts.contains(&index) {
            state = State::default();
        }
        now += SignedDuration::from_millis(look.gap_ms);
        hear(&mut observation, *look, now);
        let decision = decide(&observation, &config, &state, now);
        if let Verdict::Deactivate(_) = decision.verdict {
            return Some(now);
        }
        state = decision.next;
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_cooldown_never_runs_faster_than_the_clock_nor_through_work(looks in looks()) {
        let (config, mut observation, mut state, mut now) = (config(u64::MAX), adopted(), State::default(), noon());
        let mut since_work = noon();
        let mut quiet_before = Duration::ZERO;
        for look in looks {
            now += SignedDuration::from_millis(look.gap_ms);
            hear(&mut observation, look, now);
            state = decide(&observation, &config, &state, now).next;
            let quiet = state.cooldown.quiet;
            match look.value {
                Some(value) if value > 0.0 => {
                    since_work = now;
                    prop_assert!(quiet.is_zero());
                }
                Some(_) => {
                    prop_assert!(quiet >= quiet_before);
                    prop_assert!(quiet - quiet_before <= Duration::from_millis(look.gap_ms.unsigned_abs()));
                }
                None => prop_assert_eq!(quiet, quiet_before),
            }
            prop_assert!(quiet <= Duration::try_from(now.duration_since(since_work)).unwrap());
            quiet_before = quiet;
        }
    }

    #[test]
    fn a_clock_that_jumps_adds_no_more_than_the_window(looks in vec(look(-3_600_000..3_600_000_i64), 1..60)) {
        let (config, mut observation, mut state, mut now) = (config(u64::MAX), adopted(), State::default(), noon());
        for look in looks {
            let before = state.cooldown.quiet;
            now += SignedDuration::from_millis(look.gap_ms);
            hear(&mut observation, look, now);
            state = decide(&observation, &config, &state, now).next;
            let added = state.cooldown.quiet.saturating_sub(before);
            prop_assert!(added <= Duration::from_secs(10));
            prop_assert!(added.is_zero() || look.gap_ms > 0);
        }
    }

    #[test]
    fn a_restart_never_brings_rest_earlier(
        looks in looks(),
        cooldown in 0..60_u64,
        restarts in vec(0..60_usize, 1..4),
    ) {
        let undisturbed = rests_at(&looks, cooldown, &[]);
        if let Some(restarted) = rests_at(&looks, cooldown, &restarts) {
            prop_assert!(undisturbed.is_some_and(|undisturbed| undisturbed <= restarted));
        }
    }

    #[test]
    fn an_outage_never_brings_rest_earlier(looks in looks(), cooldown in 0..60_u64, lost in vec(0..60_usize, 1..8)) {
        // The same minutes, in which some of the quiet answers did not come. Work that is not heard of is another matter.
        let mut with_outage = looks.clone();
        for index in lost {
            if let Some(look) = with_outage.get_mut(index).filter(|look| look.value == Some(0.0)) {
                look.value = None;
            }
        }
        if let Some(rest) = rests_at(&with_outage, cooldown, &[]) {
            prop_assert!(rests_at(&looks, cooldown, &[]).is_some_and(|undisturbed| undisturbed <= rest));
        }
    }
}
