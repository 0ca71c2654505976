//! Fallback: when it begins and ends, and what it is worth.

use super::timeline::{Timeline, object};
use crate::FallbackBehavior::{CurrentReplicas, CurrentReplicasIfHigher, CurrentReplicasIfLower, Static};
use crate::Verdict::{Activate, Active, Blind, CoolingDown, Deactivate, Resting};

/// So many failures, each 20 s after the one before: what was read is long stale.
fn failing(mut timeline: Timeline, from: i64, failures: i64) -> Timeline {
    for failure in 0..failures {
        timeline = timeline.at(from + 20 * failure).fails();
    }
    timeline
}

#[test]
fn it_begins_after_more_failures_than_the_threshold_and_ends_with_a_good_reading() {
    let timeline = object().fallback(6, Static).timeline().at(0).reads(20.0).expect(Activate(2));
    let timeline = failing(timeline, 20, 3).expect(Blind).serves(&[]).wants(2);
    let timeline = timeline.at(80).fails().expect(Active).serves(&[(0, 60.0)]).wants(6);
    let says = "6 replicas wanted, 2 there; the HPA moves them, because s0-rabbitmq-orders cannot be read and its fallback is 6";
    let timeline = timeline.says(2, says).replicas(6).ready(6);
    // For as long as it lasts nothing cools down.
    let timeline = timeline.at(900).fails().expect(Active).wants(6);
    let timeline = timeline.at(905).reads(0.0).expect(CoolingDown).quiet_for(0);
    timeline.until(964, 0.0, CoolingDown).at(965).reads(0.0).expect(Deactivate(0));
}

#[test]
fn an_object_at_rest_is_woken_to_its_fallback_in_one_step() {
    let timeline = failing(object().fallback(6, Static).timeline(), 0, 3).expect(Blind);
    let timeline = timeline.at(60).fails().expect(Activate(6)).serves(&[(0, 60.0)]);
    timeline.says(0, "6 replicas because s0-rabbitmq-orders cannot be read and its fallback is 6");
}

#[test]
fn the_bounds_hold_and_a_fallback_of_0_rests_after_the_cooldown() {
    let timeline = object().max(4).fallback(6, Static).timeline();
    failing(timeline, 0, 4).expect(Activate(4));
    let timeline = object().fallback(0, Static).timeline().at(0).reads(20.0).expect(Activate(2));
    let timeline = failing(timeline, 5, 4).expect(CoolingDown);
    timeline.at(80).fails().expect(CoolingDown).at(95).fails().at(110).fails().expect(CoolingDown);
}

#[test]
fn the_replicas_that_are_there_count_where_the_object_says_so() {
    for (behavior, at_2, at_9) in
        [(CurrentReplicas, 2, 9), (CurrentReplicasIfHigher, 6, 9), (CurrentReplicasIfLower, 2, 6)]
    {
        let timeline = object().fallback(6, behavior).timeline().at(0).reads(20.0).expect(Activate(2));
        let timeline = failing(timeline, 20, 4).expect(Active).wants(at_2);
        timeline.replicas(9).at(90).fails().expect(Active).wants(at_9).serves(&[(0, f64::from(at_9) * 10.0)]);
    }
    // Nothing is there, and nothing wakes it.
    failing(object().fallback(6, CurrentReplicas).timeline(), 0, 4).expect(Resting).wants(0);
}

#[test]
fn a_value_target_counts_the_ready_replicas_and_has_no_fallback_without_any() {
    let timeline = object().value().fallback(6, Static).timeline();
    let timeline = failing(timeline, 0, 4).expect(Blind).replicas(3).ready(3);
    // 10 x 6 / 3: the HPA multiplies by the ready replicas.
    timeline.at(80).fails().expect(Active).serves(&[(0, 20.0)]).wants(6);
}

#[test]
fn a_target_that_is_no_round_number_asks_for_just_the_replicas() {
    for target in [3.3333, 0.0004, 7.7777] {
        for replicas in [1, 3, 5, 9] {
            let timeline = object().target(target).fallback(replicas, Static).timeline();
            failing(timeline, 0, 4).expect(Activate(replicas));
            if target < 0.1 {
                // No thousandth lies between two replicas of seven.
                continue;
            }
            let timeline = object().value().target(target).fallback(replicas, Static).timeline().replicas(7).ready(7);
            failing(timeline, 0, 4).expect(Active).wants(replicas);
        }
    }
}

#[test]
fn the_other_triggers_of_the_object_go_on() {
    let timeline = object().fallback(3, Static).and_trigger(10.0).timeline().at(0).reads(0.0).reads_of(1, 50.0);
    let timeline = timeline.expect(Activate(5));
    let timeline = failing(timeline, 20, 4).reads_of(1, 80.0).expect(Active).wants(8).serves(&[(0, 30.0), (1, 80.0)]);
    timeline.at(100).fails().reads_of(1, 0.0).expect(Active).wants(3);
}
