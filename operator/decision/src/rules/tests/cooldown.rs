//! When an object without work goes to rest.

use super::timeline::{Timeline, object};
use crate::Verdict::{Activate, Active, Blind, CoolingDown, Deactivate, Resting};

/// 4 replicas with work until 0 s, then none; a cooldown of 60 s.
fn drained() -> Timeline {
    object().timeline().at(-5).reads(40.0).expect(Activate(4)).at(0).reads(0.0).expect(CoolingDown).quiet_for(0)
}

#[test]
fn rest_comes_when_the_cooldown_has_passed_and_not_before() {
    let timeline = drained().until(59, 0.0, CoolingDown).quiet_for(59);
    timeline.at(60).reads(0.0).expect(Deactivate(0)).wants(0).at(61).reads(0.0).expect(Resting);
}

#[test]
fn no_cooldown_means_at_once() {
    let timeline = object().cooldown(0).timeline().at(0).reads(40.0).expect(Activate(4));
    timeline.at(1).reads(0.0).expect(Deactivate(0));
}

#[test]
fn work_starts_the_cooldown_anew() {
    let timeline = drained().until(55, 0.0, CoolingDown).at(56).reads(1.0).expect(Active).quiet_for(0);
    let timeline = timeline.at(58).reads(0.0).expect(CoolingDown).quiet_for(0);
    timeline.until(117, 0.0, CoolingDown).at(118).reads(0.0).expect(Deactivate(0));
}

#[test]
fn an_outage_pauses_the_cooldown_and_its_end_adds_nothing() {
    let timeline = drained().until(40, 0.0, CoolingDown).quiet_for(40);
    let timeline = timeline.at(45).fails().expect(Blind).quiet_for(40);
    let timeline = timeline.at(3600).fails().expect(Blind).quiet_for(40).wants(4);
    // The first empty answer after healing.
    let timeline = timeline.at(3602).reads(0.0).expect(CoolingDown).quiet_for(40);
    timeline.until(3621, 0.0, CoolingDown).at(3622).reads(0.0).expect(Deactivate(0));
}

#[test]
fn a_short_failure_between_two_quiet_readings_costs_both_gaps() {
    let timeline = drained().until(10, 0.0, CoolingDown).at(11).fails().expect(Blind);
    timeline.at(12).reads(0.0).expect(CoolingDown).quiet_for(10).at(13).reads(0.0).expect(CoolingDown).quiet_for(11);
}

#[test]
fn a_silent_source_stops_the_cooldown_though_nothing_failed() {
    let timeline = drained().until(40, 0.0, CoolingDown);
    let timeline = timeline.at(49).expect(CoolingDown).quiet_for(49);
    let timeline = timeline.at(50).expect(Blind).quiet_for(49);
    timeline.at(500).expect(Blind).quiet_for(49).wants(4);
}

#[test]
fn a_clock_that_is_set_forward_shortens_no_cooldown() {
    let timeline = drained().at(1).since_last(1).reads(0.0).expect(CoolingDown).quiet_for(1);
    // Stepped by 8 s within a second, which the fresh window of 10 s would let pass.
    let timeline = timeline.at(10).since_last(1).reads(0.0).expect(CoolingDown).quiet_for(2);
    timeline.at(11).since_last(1).reads(0.0).expect(CoolingDown).quiet_for(3);
}

#[test]
fn a_gap_longer_than_the_fresh_window_does_not_count() {
    let timeline = drained().at(10).reads(0.0).expect(CoolingDown).quiet_for(10);
    let timeline = timeline.at_ms(20_001).reads(0.0).expect(CoolingDown).quiet_for(10);
    timeline.at(3600).reads(0.0).expect(CoolingDown).quiet_for(10);
}

#[test]
fn a_slow_poll_has_a_longer_window() {
    let timeline = object().timeline().interval(30).at(0).reads(40.0).expect(Activate(4));
    let timeline = timeline.at(30).reads(0.0).expect(CoolingDown).at(60).reads(0.0).expect(CoolingDown).quiet_for(30);
    timeline.at(90).reads(0.0).expect(Deactivate(0));
}

#[test]
fn the_window_of_the_quickest_trigger_is_the_one_that_counts() {
    let timeline = object().and_trigger(10.0).timeline().interval(30).at(0).reads(40.0).reads_of(1, 0.0);
    let timeline = timeline.expect(Activate(4)).at(1).reads(0.0).reads_of(1, 0.0).expect(CoolingDown);
    timeline.at(12).reads(0.0).reads_of(1, 0.0).expect(CoolingDown).quiet_for(0);
}

#[test]
fn one_trigger_of_two_that_fails_pauses_it() {
    let timeline = object().and_trigger(10.0).cooldown(10).timeline();
    let timeline = timeline.at(0).reads(40.0).reads_of(1, 0.0).expect(Activate(4));
    let timeline = timeline.at(5).reads(0.0).reads_of(1, 0.0).expect(CoolingDown);
    let timeline = timeline.at(10).reads(0.0).fails_of(1).expect(Blind);
    let timeline = timeline.at(100).reads(0.0).fails_of(1).expect(Blind).quiet_for(0).wants(4);
    let timeline = timeline.at(101).reads(0.0).reads_of(1, 0.0).expect(CoolingDown);
    timeline.at(111).reads(0.0).reads_of(1, 0.0).expect(Deactivate(0));
}

#[test]
fn a_restart_starts_the_cooldown_anew_and_never_shortens_it() {
    let timeline = drained().until(59, 0.0, CoolingDown).restart();
    let timeline = timeline.at(65).expect(Blind).wants(4);
    let timeline = timeline.at(66).reads(0.0).expect(CoolingDown).quiet_for(0);
    timeline.until(125, 0.0, CoolingDown).at(126).reads(0.0).expect(Deactivate(0));
}

#[test]
fn a_restart_long_after_the_last_activation_is_no_reason_to_rest() {
    let timeline = drained().until(30, 0.0, CoolingDown).at(100_000).restart();
    timeline.reads(0.0).expect(CoolingDown).quiet_for(0);
}

#[test]
fn a_restart_in_the_middle_of_an_outage_keeps_the_replicas() {
    let timeline = drained().until(40, 0.0, CoolingDown).at(41).fails().expect(Blind).at(50).restart().fails();
    let timeline = timeline.expect(Blind).at(1000).fails().expect(Blind).wants(4);
    timeline.at(1001).reads(0.0).expect(CoolingDown).quiet_for(0);
}

#[test]
fn a_clock_set_forward_by_an_hour_adds_nothing() {
    let timeline = drained().until(30, 0.0, CoolingDown).at(3635);
    // The reading of before is an hour old by this clock.
    timeline.clone().expect(Blind).quiet_for(30);
    timeline.reads(0.0).expect(CoolingDown).quiet_for(30).at(3640).reads(0.0).expect(CoolingDown).quiet_for(35);
}

#[test]
fn a_clock_set_back_by_an_hour_adds_nothing_and_takes_nothing() {
    let timeline = drained().until(30, 0.0, CoolingDown);
    let timeline = timeline.at(-3565).reads(0.0).expect(CoolingDown).quiet_for(30);
    let timeline = timeline.at(-3560).reads(0.0).expect(CoolingDown).quiet_for(35);
    timeline.until(-3536, 0.0, CoolingDown).at(-3535).reads(0.0).expect(Deactivate(0));
}

#[test]
fn replicas_that_somebody_sets_without_work_go_as_soon_as_quiet_was_long_enough() {
    let timeline = drained().until(59, 0.0, CoolingDown).at(60).reads(0.0).expect(Deactivate(0));
    let timeline = timeline.until(300, 0.0, Resting);
    timeline.at(301).replicas(5).reads(0.0).expect(Deactivate(0));
}

#[test]
fn what_was_never_active_rests_after_the_initial_cooldown() {
    let timeline = object().initial_cooldown(120).timeline().replicas(3);
    let timeline = timeline.at(0).reads(0.0).expect(CoolingDown).until(119, 0.0, CoolingDown);
    timeline.clone().at(120).reads(0.0).expect(Deactivate(0));
    // By the age of the object, so that a restart changes nothing.
    timeline.clone().restart().at(120).expect(Blind).reads(0.0).expect(Deactivate(0));
    // And not blindly.
    timeline.at(120).fails().expect(Blind).wants(3);
}

#[test]
fn without_an_initial_cooldown_what_was_never_active_rests_at_once() {
    object().cooldown(300).timeline().at(0).replicas(3).reads(0.0).expect(Deactivate(0));
}

#[test]
fn an_object_from_the_future_waits_its_initial_cooldown() {
    object().initial_cooldown(60).timeline().at(-3600).replicas(3).reads(0.0).expect(CoolingDown);
}

#[test]
fn adopted_at_work_it_has_the_usual_cooldown_though_nothing_was_activated() {
    let timeline = object().timeline().at(0).replicas(4).reads(40.0).expect(Active);
    assert_eq!(timeline.observation.last_active_time, Some(timeline.now), "kept, as no activation was known");
    let timeline = timeline.at(5).reads(0.0).expect(CoolingDown).until(64, 0.0, CoolingDown);
    timeline.at(65).reads(0.0).expect(Deactivate(0));
}

#[test]
fn adopted_at_work_it_cools_down_even_if_the_time_could_not_be_written() {
    let mut timeline = object().timeline().at(0).replicas(4).reads(40.0).expect(Active);
    timeline.observation.last_active_time = None;
    timeline.at(5).reads(0.0).expect(CoolingDown);
}

#[test]
fn an_activation_time_is_marked_once() {
    let timeline = object().timeline().at(0).reads(40.0).expect(Activate(4));
    let marked = timeline.observation.last_active_time;
    let timeline = timeline.at(5).reads(40.0).expect(Active).at(10).reads(0.0).expect(CoolingDown);
    assert_eq!(timeline.observation.last_active_time, marked);
    assert!(timeline.clock().seen_active);
}
