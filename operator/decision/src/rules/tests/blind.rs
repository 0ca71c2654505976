//! What cannot be read moves nothing.

use super::timeline::object;
use crate::Verdict::{Activate, Active, Blind, Deactivate, Resting};
use crate::{Activity, Outcome, Reason, Sample};

#[test]
fn without_any_reading_nothing_moves_wherever_it_stands() {
    for replicas in [0, 1, 4, 10] {
        object().cooldown(0).timeline().at(0).replicas(replicas).expect(Blind).wants(replicas).serves(&[]);
    }
    // Neither to the minimum nor below the maximum.
    object().min(2).timeline().at(0).replicas(1).expect(Blind).wants(2);
    object().timeline().at(0).replicas(30).expect(Blind).wants(10);
    object().min(3).idle(1).timeline().at(0).replicas(0).expect(Blind).wants(1);
}

#[test]
fn a_failure_and_an_absent_queue_are_no_zero() {
    let timeline = object().cooldown(0).timeline().at(0).reads(100.0).expect(Activate(10));
    timeline.clone().at(1).fails().expect(Blind).wants(10).at(3600).fails().expect(Blind).wants(10);
    timeline.at(1).absent().expect(Blind).wants(10).at(3600).absent().expect(Blind).wants(10);
}

#[test]
fn some_triggers_missing_is_told_from_all_missing() {
    let two = object().and_trigger(10.0).timeline().at(0).replicas(4);
    let partial = two.clone().reads(0.0).expect(Blind);
    assert_eq!(partial.last().because().unwrap().reason, Reason::PartialReading { missing: 1 });
    assert_eq!(two.expect(Blind).last().because().unwrap().reason, Reason::NoReading);
}

#[test]
fn one_trigger_that_works_is_enough_to_activate_but_not_to_rest() {
    let two = object().and_trigger(10.0).cooldown(0).timeline();
    let two = two.at(0).fails_of(1).reads(30.0).expect(Activate(3)).serves(&[(0, 30.0)]);
    let two = two.at(1).reads(30.0).expect(Active).at(2).reads(0.0).expect(Blind).wants(3);
    two.at(3).reads_of(1, 0.0).expect(Deactivate(0));
}

#[test]
fn after_a_failure_the_last_good_value_is_served_while_fresh_but_decides_nothing() {
    let timeline = object().cooldown(0).timeline().at(0).reads(0.0).expect(Resting).replicas(4);
    let timeline = timeline.at(5).fails().expect(Blind).serves(&[(0, 0.0)]);
    timeline.at(10).expect(Blind).serves(&[]);
}

#[test]
fn served_values_vanish_when_stale_to_the_millisecond() {
    let timeline = object().timeline().at(0).reads(30.0).expect(Activate(3));
    let timeline = timeline.at_ms(9_999).expect(Active).serves(&[(0, 30.0)]);
    timeline.at_ms(10_000).expect(Blind).serves(&[]).wants(3);
}

#[test]
fn the_window_is_three_intervals_and_at_least_ten_seconds() {
    object().timeline().interval(30).at(0).reads(30.0).at(89).expect(Activate(3)).at(90).expect(Blind);
    object().timeline().interval(2).at(0).reads(30.0).at(9).expect(Activate(3)).at(10).expect(Blind);
    object().timeline().interval(u64::MAX).at(0).reads(30.0).at(1_000_000).expect(Activate(3));
}

#[test]
fn a_reading_from_the_near_future_is_new_and_one_from_another_hour_is_none() {
    let timeline = object().cooldown(0).timeline().at(3600).reads(30.0).expect(Activate(3));
    timeline.clone().at(3595).expect(Active).serves(&[(0, 30.0)]);
    timeline.at(0).expect(Blind).serves(&[]).wants(3);
}

#[test]
fn figures_that_are_no_counts_are_refused_and_move_nothing_even_if_they_get_in() {
    let bad = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, -0.001, 1e16, f64::MAX];
    for bad in bad {
        let at = super::timeline::start();
        for activity in [Activity::Number(bad), Activity::Number(1.0), Activity::Decided(true)] {
            let sample = Sample { value: bad, activity, limit: None, at };
            assert!(sample.checked().unwrap_err().contains("not a count"), "{bad}");
            let idle = object().timeline().at(0).sample(0, bad, activity, None);
            idle.expect(Blind).wants(0).serves(&[]);
        }
        let busy = object().cooldown(0).timeline().at(0).reads(40.0).expect(Activate(4));
        busy.clone().at(1).sample(0, bad, Activity::Number(bad), None).expect(Blind).wants(4).serves(&[]);
        // A bad activity figure spoils a good value.
        busy.at(1).sample(0, 1.0, Activity::Number(bad), None).expect(Blind).wants(4).serves(&[]);
    }
    assert!(
        Sample { value: -0.0, activity: Activity::Number(0.0), limit: None, at: super::timeline::start() }.is_count()
    );
}

#[test]
fn a_bad_sample_after_a_good_one_leaves_the_good_one_to_be_served() {
    let mut timeline = object().timeline().at(0).reads(40.0).expect(Activate(4)).at(1);
    let bad = Sample { value: f64::NAN, activity: Activity::Number(0.0), limit: None, at: timeline.now };
    timeline.observation.triggers[0].latest = Some(Outcome::Ok(bad));
    timeline.expect(Blind).serves(&[(0, 40.0)]);
}

#[test]
fn a_reading_missing_from_the_observation_is_missing_and_not_quiet() {
    let mut timeline = object().and_trigger(10.0).cooldown(0).timeline().at(0).replicas(4).reads(0.0);
    timeline.observation.triggers.truncate(1);
    timeline.expect(Blind).wants(4);
}

#[test]
fn a_failure_is_reported_once_no_sample_is_usable() {
    let timeline = object().timeline().at(0).reads(0.0).at(1).fails();
    let reading = &timeline.observation.triggers[0];
    assert!(reading.failing(timeline.now).is_none());
    assert!(reading.failing(timeline.clone().at(10).now).is_some());
    let healed = timeline.at(11).reads(0.0);
    assert!(healed.observation.triggers[0].failing(healed.now).is_none());
}
