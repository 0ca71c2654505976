//! What the status of the object says.

use super::life::{Life, external, free, second, seconds, spec};
use crate::hpa::{Condition, Conditions, MetricError, Outcome, Reading, Reason, Rescale, Selector, Spec, Target};

fn brief(condition: Option<&Condition>) -> Option<(bool, &'static str)> {
    condition.map(|condition| (condition.holds, condition.reason.as_str()))
}

type Brief = Option<(bool, &'static str)>;

fn all(conditions: &Conditions) -> (Brief, Brief, Brief) {
    (
        brief(conditions.able_to_scale.as_ref()),
        brief(conditions.scaling_active.as_ref()),
        brief(conditions.scaling_limited.as_ref()),
    )
}

const ACTIVE: Brief = Some((true, "ValidMetricFound"));

#[test]
fn a_quiet_sync_says_that_all_is_well() {
    let outcome = Life::new(spec(), 2).sync(15, 20);
    let free = Some((false, "DesiredWithinRange"));
    assert_eq!(all(&outcome.conditions), (Some((true, "ReadyForNewScale")), ACTIVE, free));
    assert_eq!((outcome.status_desired, outcome.rescale), (Some(2), None));
}

#[test]
fn a_rescale_says_why_and_when() {
    let mut life = Life::new(spec(), 2);
    let outcome = life.sync(15, 40);
    assert_eq!(all(&outcome.conditions).0, Some((true, "SucceededRescale")));
    assert_eq!(outcome.next.last_scale, Some(second(15)));
    assert_eq!(outcome.rescale.unwrap().describe(&life.spec), "external metric orders above target");
}

#[test]
fn a_write_that_failed_leaves_desired_replicas_and_the_time_as_they_were() {
    let mut life = Life::new(spec(), 2);
    life.writable = false;
    let outcome = life.sync(15, 40);
    assert_eq!(all(&outcome.conditions).0, Some((false, "FailedUpdateScale")));
    assert_eq!((outcome.status_desired, outcome.next.last_scale), (None, None));
    assert_eq!(
        outcome.next.recommendations.last().unwrap().replicas,
        4,
        "what was asked for is remembered all the same"
    );
}

#[test]
fn writing_where_there_is_nothing_to_write_changes_nothing() {
    let mut life = Life::new(spec(), 2);
    let before = life.sync(15, 20);
    let (mut written, mut refused) = (before.clone(), before.clone());
    written.written(&life.spec, 2, second(15));
    refused.refused("no");
    assert_eq!((&written, &refused), (&before, &before));
}

#[test]
fn limits_say_which_one_it_was() {
    let small = Spec { min: 3, max: 5, ..spec() };
    let mut quick = Life::new(small.clone(), 4);
    quick.controller.downscale_stabilisation = seconds(1);
    quick.sync(0, 40);
    let policies = free(|behaviour| {
        behaviour.scale_up.policies.truncate(0);
        behaviour.scale_down.policies.truncate(0);
    });
    for (mut life, value, limit) in [
        (Life::new(small, 4), 1_000, Reason::TooManyReplicas),
        (quick, 0, Reason::TooFewReplicas),
        (Life::new(spec(), 4), 1_000, Reason::ScaleUpLimit),
        (Life::new(policies.clone(), 4), 1_000, Reason::ScaleUpLimit),
        (Life::new(policies, 4), 0, Reason::ScaleDownLimit),
        (Life::new(Spec { max: 5, ..free(|_| {}) }, 4), 1_000, Reason::TooManyReplicas),
        (Life::new(Spec { min: 2, ..free(|_| {}) }, 4), 0, Reason::TooFewReplicas),
    ] {
        let limited = life.sync(15, value).conditions.scaling_limited.unwrap();
        assert_eq!((limited.holds, limited.reason), (true, limit), "{value}: {life:?}");
    }
}

#[test]
fn windows_say_that_they_hold() {
    let mut falls = Life::new(spec(), 10);
    assert_eq!(all(&falls.sync(15, 20).conditions).0, Some((true, "ScaleDownStabilized")));
    let mut falls = Life::new(free(|behaviour| behaviour.scale_down.stabilisation = Some(60)), 10);
    assert_eq!(all(&falls.sync(15, 20).conditions).0, Some((true, "ScaleDownStabilized")));
    let mut rises = Life::new(free(|behaviour| behaviour.scale_up.stabilisation = Some(60)), 10);
    assert_eq!(all(&rises.sync(15, 200).conditions).0, Some((true, "ScaleUpStabilized")));
}

#[test]
fn at_zero_replicas_scaling_is_off_whatever_the_metric_says() {
    for min in [0, 1, 5] {
        let mut life = Life::new(Spec { min, ..spec() }, 0);
        let outcome = life.sync(15, 1_000);
        let off = Some((false, "ScalingDisabled"));
        assert_eq!(all(&outcome.conditions), (Some((true, "SucceededGetScale")), off, None), "min {min}");
        assert_eq!((outcome.desired, outcome.rescale, outcome.status_desired), (0, None, Some(0)));
    }
}

#[test]
fn a_selector_that_is_no_good_stops_scaling() {
    for (selector, reason) in [(Selector::Invalid, "InvalidSelector"), (Selector::Ambiguous, "AmbiguousSelector")] {
        let mut life = Life::new(spec(), 2);
        life.selector = selector;
        let outcome = life.sync(15, 1_000);
        assert_eq!(all(&outcome.conditions), (Some((true, "SucceededGetScale")), Some((false, reason)), None));
        assert_eq!((outcome.desired, outcome.status_desired, outcome.metrics.len()), (2, None, 0));
    }
}

#[test]
fn outside_the_bounds_only_the_write_is_spoken_of() {
    let outcome = Life::new(Spec { max: 5, ..spec() }, 9).sync(15, 10);
    assert_eq!(all(&outcome.conditions), (Some((true, "SucceededRescale")), None, None));
}

#[test]
fn a_scale_that_cannot_be_read_is_said_and_no_more() {
    assert_eq!(all(&Outcome::scale_unknown("gone")), (Some((false, "FailedGetScale")), None, None));
}

#[test]
fn of_several_metrics_that_fail_the_first_is_named() {
    let two = vec![external(Target::AverageValue(1)), external(Target::Value(1))];
    let mut life = Life::new(Spec { metrics: two, ..spec() }, 2);
    let outcome = life.look(15, &[Err("broken"), Ok(Reading::External(&[]))]);
    let active = outcome.conditions.scaling_active.unwrap();
    assert_eq!((active.holds, active.reason), (false, Reason::FailedGetExternalMetric));
    assert_eq!(active.message, "external metric orders: no metric from the api: broken");
    assert_eq!(outcome.metrics, [Err(MetricError::NoAnswer("broken".to_owned())), Err(MetricError::NoValues)]);
}

#[test]
fn without_any_metric_nothing_moves() {
    let mut life = Life::new(Spec { metrics: Vec::new(), ..spec() }, 7);
    let outcome = life.look(15, &[]);
    assert_eq!((outcome.desired, outcome.rescale), (7, None));
    assert_eq!(all(&outcome.conditions).1, Some((false, "InvalidMetricSourceType")));
}

#[test]
fn the_words_of_a_rescale_are_those_of_the_event() {
    let spec = spec();
    for (reason, words) in [
        (Rescale::AboveMax, "Current number of replicas above Spec.MaxReplicas"),
        (Rescale::BelowMin, "Current number of replicas below Spec.MinReplicas"),
        (Rescale::AllBelowTarget, "All metrics below target"),
    ] {
        assert_eq!(reason.describe(&spec), words);
    }
}
