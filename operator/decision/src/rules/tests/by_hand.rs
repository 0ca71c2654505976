//! What a person asks for by hand: pauses, whole and in one direction, and forced activation.

use super::timeline::{Timeline, object};
use crate::Verdict::{Activate, Active, Blind, CoolingDown, Deactivate, Paused, RaiseToMinimum, Resting};
use crate::{Hand, Pause};

const NOTHING: Hand = Hand { pause: None, scale_in_paused: false, scale_out_paused: false, forces_activation: false };
const PAUSED: Hand = Hand { pause: Some(Pause::AsItIs), ..NOTHING };
const NO_IN: Hand = Hand { scale_in_paused: true, ..NOTHING };
const NO_OUT: Hand = Hand { scale_out_paused: true, ..NOTHING };
const FORCED: Hand = Hand { forces_activation: true, ..NOTHING };

const fn at(replicas: u32) -> Hand {
    Hand { pause: Some(Pause::At(replicas)), ..NOTHING }
}

/// 4 replicas with work.
fn busy() -> Timeline {
    object().timeline().at(0).reads(40.0).expect(Activate(4))
}

#[test]
fn a_pause_leaves_the_replicas_to_whoever_moves_them_and_serves_nothing() {
    let timeline = busy().hand(PAUSED).at(5).reads(0.0).expect(Paused(4)).serves(&[]).holds(false);
    let timeline = timeline.says(4, "4 replicas because scaling is paused by hand");
    let timeline = timeline.at(900).reads(0.0).expect(Paused(4));
    let timeline = timeline.replicas(9).at(905).reads(0.0).expect(Paused(9)).at(910).fails().expect(Paused(9));
    timeline.replicas(0).at(915).reads(100.0).expect(Paused(0)).wants(0);
}

#[test]
fn a_pause_at_a_number_brings_the_target_there_whatever_the_bounds_are() {
    let timeline = busy().hand(at(0)).at(5).reads(40.0).expect(Paused(0));
    let timeline = timeline.hand(at(7)).at(10).fails().expect(Paused(7)).wants(7);
    timeline.replicas(2).at(15).expect(Paused(7)).says(2, "7 replicas because scaling is paused by hand");
}

#[test]
fn the_time_of_a_pause_does_not_count_as_cooldown_and_what_was_before_still_does() {
    let timeline = busy().at(5).reads(0.0).expect(CoolingDown).until(40, 0.0, CoolingDown).quiet_for(35);
    let timeline = timeline.hand(PAUSED).at(45).reads(0.0).expect(Paused(4));
    let timeline = timeline.at(600).reads(0.0).expect(Paused(4)).quiet_for(35);
    let timeline = timeline.hand(NOTHING).at(605).reads(0.0).expect(CoolingDown).quiet_for(35);
    timeline.until(629, 0.0, CoolingDown).at(630).reads(0.0).expect(Deactivate(0));
}

#[test]
fn with_scaling_in_paused_nothing_goes_to_rest_and_all_else_goes_on() {
    let timeline = object().cooldown(0).timeline().at(0).hand(NO_IN).reads(40.0).expect(Activate(4));
    let timeline = timeline.at(5).reads(0.0).expect(Resting).wants(4);
    let timeline = timeline.says(4, "4 replicas because no trigger has work and scaling in is paused by hand");
    timeline.hand(NOTHING).at(10).reads(0.0).expect(Deactivate(0));
}

#[test]
fn with_scaling_out_paused_nothing_wakes_and_work_is_still_seen() {
    let timeline = object().timeline().at(0).hand(NO_OUT).reads(40.0).expect(Active).wants(0);
    let says = "0 replicas because s0-rabbitmq-orders reads 40 at a target of 10; scaling out is paused by hand";
    let timeline = timeline.says(0, says).at(5).fails().expect(Blind);
    timeline.hand(NOTHING).at(10).reads(40.0).expect(Activate(4));
    let below = object().min(2).timeline().at(0);
    below.clone().reads(0.0).expect(RaiseToMinimum(2));
    below.hand(NO_OUT).reads(0.0).expect(Resting).wants(0);
}

#[test]
fn forced_activation_wakes_without_work_and_without_readings() {
    let timeline = object().cooldown(0).timeline().at(0).hand(FORCED).fails().expect(Activate(1));
    let timeline = timeline.says(0, "1 replica because activation is forced by hand");
    let timeline = timeline.at(5).reads(0.0).expect(Active).wants(1);
    let timeline = timeline.at(10).reads(35.0).expect(Active).wants(4);
    let timeline = timeline.replicas(4).at(15).reads(0.0).expect(Active);
    timeline.hand(NOTHING).at(20).reads(0.0).expect(Deactivate(0));
}
