//! What the HPA is told between an activation and the moment it has taken over.

use super::timeline::{Timeline, object};
use crate::Verdict::{Activate, Active, Blind, CoolingDown, Deactivate, RaiseToMinimum, Resting};

/// 0 -> 10 at 0 s, then 80 % drained within 2 s.
fn drained_by_80_percent() -> Timeline {
    let timeline = object().max(20).timeline().at(0).reads(100.0).expect(Activate(10)).serves(&[(0, 100.0)]);
    timeline.at(2).reads(20.0).expect(Active).wants(2).serves(&[(0, 100.0)]).holds(true)
}

#[test]
fn it_ends_one_second_after_the_hpas_first_answer_with_all_pods_ready() {
    let timeline = drained_by_80_percent().at(10).ready(10).reads(20.0).expect(Active).serves(&[(0, 100.0)]);
    let timeline = timeline.at(15).hpa_asks().reads(20.0).expect(Active).serves(&[(0, 100.0)]);
    let timeline = timeline.at_ms(15_999).reads(20.0).expect(Active).serves(&[(0, 100.0)]).holds(true);
    timeline.at(16).reads(20.0).expect(Active).serves(&[(0, 20.0)]).holds(false);
}

#[test]
fn an_hpa_that_asks_every_half_second_does_not_put_it_off() {
    let mut timeline = drained_by_80_percent().ready(10);
    for half in 6..8 {
        timeline = timeline.at_ms(half * 500).hpa_asks().reads(20.0).expect(Active).holds(true);
    }
    timeline.at(4).hpa_asks().reads(20.0).expect(Active).holds(false);
}

#[test]
fn pods_that_are_not_ready_prolong_it_up_to_the_limit() {
    let timeline = drained_by_80_percent().at(15).hpa_asks().ready(9).reads(20.0).expect(Active);
    let timeline = timeline.at(299).hpa_asks().reads(20.0).expect(Active).serves(&[(0, 100.0)]);
    timeline.at(300).reads(20.0).expect(Active).serves(&[(0, 20.0)]).holds(false);
}

#[test]
fn ready_pods_alone_do_not_end_it() {
    let timeline = drained_by_80_percent().ready(10).at(299).reads(20.0).expect(Active).holds(true);
    // Nor does the limit, while nobody has asked: the HPA has recorded nothing yet.
    timeline.at(1000).reads(20.0).expect(Active).serves(&[(0, 100.0)]);
}

#[test]
fn an_answer_from_before_the_activation_does_not_count() {
    let timeline = object().max(20).timeline().at(0).hpa_asks().reads(100.0).expect(Activate(10)).ready(10);
    timeline.at(5).reads(20.0).expect(Active).holds(true);
}

#[test]
fn anybody_elses_answer_counts_after_the_limit_only() {
    let timeline = drained_by_80_percent().ready(10).at(15).somebody_asks().reads(20.0).expect(Active);
    let timeline = timeline.at(299).reads(20.0).expect(Active).holds(true).serves(&[(0, 100.0)]);
    timeline.at(300).reads(20.0).expect(Active).holds(false).serves(&[(0, 20.0)]);

    // One whole sync is let through as well if the first question comes after the limit.
    let late = drained_by_80_percent().at(400).somebody_asks().reads(20.0).expect(Active).holds(true);
    late.at_ms(400_999).reads(20.0).expect(Active).holds(true).at(401).reads(20.0).expect(Active).holds(false);
}

#[test]
fn it_is_a_floor_and_no_ceiling() {
    let timeline = drained_by_80_percent().at(3).reads(150.0).expect(Active).wants(15).serves(&[(0, 150.0)]);
    timeline.at(4).reads(20.0).expect(Active).serves(&[(0, 100.0)]);
}

#[test]
fn it_holds_no_more_than_what_was_written() {
    // The policy allows 4, the demand is 10.
    let limited = object().pods(4).timeline().at(0).reads(100.0).expect(Activate(4)).serves(&[(0, 100.0)]);
    limited.at(1).reads(20.0).expect(Active).serves(&[(0, 40.0)]);
    // The maximum is 3.
    let bounded = object().max(3).timeline().at(0).reads(100.0).expect(Activate(3));
    bounded.at(1).reads(10.0).expect(Active).serves(&[(0, 30.0)]);
    // The partitions are 2, of a trigger that did not set the 5.
    let capped = object().and_trigger(10.0).timeline().at(0).reads_capped(100.0, 2).reads_of(1, 50.0);
    let capped = capped.expect(Activate(5)).serves(&[(0, 20.0), (1, 50.0)]);
    capped.at(1).reads_capped(0.0, 2).reads_of(1, 1.0).expect(Active).serves(&[(0, 20.0), (1, 50.0)]);
}

#[test]
fn each_trigger_has_its_own_floor_and_a_value_target_none() {
    let three = object().and_trigger(5.0).and_trigger(10.0).value().timeline();
    let three = three.at(0).reads(10.0).reads_of(1, 20.0).reads_of(2, 70.0).expect(Activate(4));
    let three = three.at(1).reads(1.0).reads_of(1, 2.0).reads_of(2, 7.0).expect(Active);
    three.serves(&[(0, 10.0), (1, 20.0), (2, 7.0)]);
}

#[test]
fn what_is_stale_is_not_served_however_it_is_held() {
    let timeline = drained_by_80_percent().at(3).fails().expect(Blind).serves(&[(0, 100.0)]);
    let timeline = timeline.at(12).fails().expect(Blind).serves(&[]).holds(true);
    timeline.at(20).reads(20.0).expect(Active).serves(&[(0, 100.0)]);
}

#[test]
fn it_lasts_through_the_cooldown_and_ends_with_rest() {
    let timeline = object().cooldown(10).timeline().at(0).reads(100.0).expect(Activate(10));
    let timeline = timeline.at(1).reads(0.0).expect(CoolingDown).serves(&[(0, 100.0)]).until(10, 0.0, CoolingDown);
    let timeline = timeline.at(11).reads(0.0).expect(Deactivate(0)).holds(false).serves(&[(0, 0.0)]);
    timeline.at(12).reads(0.0).expect(Resting).holds(false);
}

#[test]
fn it_lasts_on_an_object_that_never_rests_too() {
    let timeline = object().min(2).timeline().at(0).reads(80.0).expect(Activate(8));
    let timeline = timeline.at(1).reads(0.0).expect(Resting).holds(true).serves(&[(0, 80.0)]);
    let timeline = timeline.at(10).ready(8).hpa_asks().reads(0.0).expect(Resting).holds(true);
    timeline.at(11).reads(0.0).expect(Resting).holds(false).serves(&[(0, 0.0)]);
}

#[test]
fn a_raise_to_the_minimum_holds_nothing() {
    object().min(2).timeline().at(0).reads(0.0).expect(RaiseToMinimum(2)).holds(false);
}

#[test]
fn an_activation_that_has_to_be_repeated_holds_anew() {
    let timeline = drained_by_80_percent().at(3).replicas(0).reads(50.0).expect(Activate(5));
    assert_eq!(timeline.state.hold.as_ref().unwrap().since, timeline.now);
    timeline.at(4).reads(0.0).expect(CoolingDown).serves(&[(0, 50.0)]);
}

#[test]
fn a_restart_soon_after_the_activation_takes_over_what_is_there() {
    let timeline = drained_by_80_percent().at(5).ready(10).restart().expect(Blind).serves(&[]).holds(true);
    let timeline = timeline.at(6).reads(20.0).expect(Active).serves(&[(0, 100.0)]);
    let timeline = timeline.at(15).hpa_asks().reads(20.0).expect(Active).holds(true);
    timeline.at(16).reads(20.0).expect(Active).serves(&[(0, 20.0)]).holds(false);
}

#[test]
fn a_restart_holds_every_average_trigger_at_the_replicas_there_are() {
    let two = object().and_trigger(5.0).and_trigger(1.0).value().timeline();
    let two = two.at(0).reads(60.0).reads_of(1, 0.0).reads_of(2, 0.0).expect(Activate(6));
    let two = two.at(1).restart().reads(1.0).reads_of(1, 1.0).reads_of(2, 1.0).expect(Active);
    two.serves(&[(0, 60.0), (1, 30.0), (2, 1.0)]);
}

#[test]
fn a_restart_long_after_the_activation_holds_nothing() {
    let timeline = drained_by_80_percent().at(301).restart().reads(20.0).expect(Active).holds(false);
    timeline.serves(&[(0, 20.0)]);
}

#[test]
fn a_restart_of_an_object_at_rest_holds_nothing() {
    let timeline = object().cooldown(0).timeline().at(0).reads(100.0).expect(Activate(10));
    let timeline = timeline.at(1).reads(0.0).expect(Deactivate(0)).at(2).restart();
    timeline.expect(Blind).holds(false).at(3).reads(0.0).expect(Resting).holds(false);
}

#[test]
fn only_the_first_decision_takes_over() {
    let timeline = drained_by_80_percent().ready(10).at(15).hpa_asks().reads(20.0).expect(Active);
    let timeline = timeline.at(16).reads(20.0).expect(Active).holds(false);
    timeline.at(17).reads(20.0).expect(Active).holds(false).serves(&[(0, 20.0)]);
}

#[test]
fn a_clock_set_back_by_an_hour_does_not_prolong_it_by_an_hour() {
    let timeline = drained_by_80_percent().ready(10).at(-3600).reads(20.0).expect(Active).holds(true);
    let timeline = timeline.at(-3590).hpa_asks().reads(20.0).expect(Active).holds(true);
    timeline.at(-3589).reads(20.0).expect(Active).holds(false);
    // Nor does an answer that had been heard by the old clock.
    let heard = drained_by_80_percent().at(15).hpa_asks().reads(20.0).expect(Active).ready(10);
    heard.at(-3600).reads(20.0).expect(Active).holds(true).at(-3599).reads(20.0).expect(Active).holds(false);
    // But an answer of the old clock that had not been heard is not believed to be one to the held value.
    let unheard = drained_by_80_percent().at(15).hpa_asks().ready(10).at(-3600).reads(20.0).expect(Active);
    unheard.at(-3590).reads(20.0).expect(Active).at(-3580).reads(20.0).expect(Active).holds(true);
}

#[test]
fn a_short_floor_of_an_older_configuration_is_no_harm() {
    let mut timeline = object().and_trigger(10.0).timeline().at(0).reads(50.0).reads_of(1, 50.0).expect(Activate(5));
    timeline.state.hold.as_mut().unwrap().floor = vec![f64::NAN];
    timeline.at(1).reads(20.0).reads_of(1, 10.0).expect(Active).serves(&[(0, 20.0), (1, 10.0)]);
}

#[test]
fn after_a_long_outage_the_first_answer_does_not_cut() {
    // The HPA has recorded nothing for a minute and more: its window may have run empty.
    let timeline = object().max(20).timeline().replicas(4).ready(4).at(0).reads(40.0).expect(Active).holds(false);
    let timeline = timeline.at(5).fails().expect(Blind).at(11).fails().expect(Blind).serves(&[]);
    let timeline = timeline.at(71).reads(10.0).expect(Active).wants(1).serves(&[(0, 40.0)]).holds(true);
    let timeline = timeline.at(80).hpa_asks().reads(10.0).expect(Active).serves(&[(0, 40.0)]);
    timeline.at(81).reads(10.0).expect(Active).serves(&[(0, 10.0)]).holds(false);
}

#[test]
fn after_a_short_outage_the_hpas_own_window_is_relied_on() {
    let timeline = object().max(20).timeline().replicas(4).ready(4).at(0).reads(40.0).expect(Active);
    let timeline = timeline.at(11).fails().expect(Blind).serves(&[]);
    timeline.at(70).reads(10.0).expect(Active).serves(&[(0, 10.0)]).holds(false);
}

#[test]
fn an_object_at_rest_holds_nothing_after_an_outage() {
    let timeline = object().timeline().at(0).reads(0.0).at(11).fails().expect(Blind);
    timeline.at(100).reads(0.0).expect(Resting).holds(false);
}
