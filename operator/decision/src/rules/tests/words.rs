//! One sentence for a person.

use super::timeline::object;
use crate::SelectPolicy::Disabled;
use crate::Verdict::{Activate, Active, Blind, CoolingDown, Deactivate, RaiseToMinimum, Resting};

#[test]
fn an_activation_says_which_trigger_and_what_limits_it() {
    let says = |object: super::timeline::Object, value: f64, written: u32, sentence: &str| {
        object.timeline().at(0).reads(value).expect(Activate(written)).says(0, sentence);
    };
    says(object(), 100.0, 10, "10 replicas because s0-rabbitmq-orders reads 100 at a target of 10");
    says(object(), 2.5, 1, "1 replica because s0-rabbitmq-orders reads 2.5 at a target of 10");
    says(
        object().max(4),
        100.0,
        4,
        "4 replicas because s0-rabbitmq-orders reads 100 at a target of 10 and the maximum is 4",
    );
    says(
        object().min(2),
        5.0,
        2,
        "2 replicas because s0-rabbitmq-orders reads 5 at a target of 10 and the minimum is 2",
    );
    says(
        object().pods(4),
        100.0,
        4,
        "4 replicas because s0-rabbitmq-orders reads 100 at a target of 10; the scale-up policy allows 4 in one step",
    );
    says(
        object().stabilised(30),
        100.0,
        1,
        "1 replica because s0-rabbitmq-orders reads 100 at a target of 10; only the first step is made at once, as the \
         scale-up stabilisation window has to pass",
    );
    says(
        object().select(Disabled),
        100.0,
        1,
        "1 replica because s0-rabbitmq-orders reads 100 at a target of 10; only the first step is made at once, as \
         selectPolicy is Disabled",
    );
    says(
        object().value(),
        100.0,
        1,
        "1 replica because s0-rabbitmq-orders has work; only the first step is made at once, as a target of type Value \
         counts pods that are ready",
    );
}

#[test]
fn a_limit_and_a_verdict_of_the_source_are_said() {
    object().timeline().at(0).reads_capped(100.0, 3).expect(Activate(3)).says(
        0,
        "3 replicas because s0-rabbitmq-orders reads 100 at a target of 10 and at most 3 can have work at once",
    );
    let decided = object().timeline().at(0).decided(0.0, true).expect(Activate(1));
    decided.says(0, "1 replica because s0-rabbitmq-orders has work");
}

#[test]
fn the_trigger_that_asks_for_most_is_the_one_named() {
    let two = object().and_trigger(5.0).timeline().at(0).reads(10.0).reads_of(1, 20.0).expect(Activate(4));
    two.says(0, "4 replicas because s1-rabbitmq-orders reads 20 at a target of 5");
}

#[test]
fn while_the_hpa_owns_the_count_it_is_said_who_moves_it() {
    let timeline = object().timeline().at(0).reads(40.0).expect(Activate(4)).at(1).reads(95.0).expect(Active);
    timeline.clone().says(
        4,
        "10 replicas wanted, 4 there; the HPA moves them, because s0-rabbitmq-orders reads 95 at a target of 10",
    );
    timeline.replicas(10).expect(Active).says(10, "10 replicas because s0-rabbitmq-orders reads 95 at a target of 10");
    let value = object().value().timeline().at(0).replicas(2).ready(2).reads(20.0).expect(Active);
    value.says(
        2,
        "4 replicas wanted, 2 there; the HPA moves them, because s0-rabbitmq-orders reads 20 at a target of 10 for all \
         replicas together",
    );
}

#[test]
fn the_way_to_rest() {
    let timeline = object().cooldown(20).timeline().at(0).reads(40.0).expect(Activate(4));
    let timeline = timeline
        .at(5)
        .reads(0.0)
        .expect(CoolingDown)
        .at(12)
        .reads(0.0)
        .expect(CoolingDown)
        .says(4, "not yet at rest with 4 replicas because no trigger has had work for 7 s of the cooldown of 20 s");
    let timeline = timeline.until(24, 0.0, CoolingDown).at(25).reads(0.0).expect(Deactivate(0));
    let timeline = timeline.says(4, "0 replicas because no trigger has had work for the cooldown of 20 s");
    timeline.at(26).reads(0.0).expect(Resting).says(0, "0 replicas because no trigger has work");
}

#[test]
fn a_new_object_and_a_minimum() {
    let young = object().initial_cooldown(60).timeline().at(10).replicas(2).reads(0.0).expect(CoolingDown);
    young.says(
        2,
        "not yet at rest with 2 replicas because no trigger has had work yet and the initial cooldown ends in 50 s",
    );
    let never = object().timeline().at(10).replicas(2).reads(0.0).expect(Deactivate(0));
    never.says(2, "0 replicas because no trigger has work, and none has had any so far");
    let minimum = object().min(2).timeline().at(0).reads(0.0).expect(RaiseToMinimum(2));
    let minimum = minimum.says(0, "2 replicas because no trigger has work and the minimum is 2");
    let minimum = minimum.at(1).reads(0.0).expect(Resting);
    minimum.says(2, "2 replicas because no trigger has work and the minimum is 2");
    let above = object().min(1).activation(90.0).timeline().at(0).replicas(5).reads(80.0).expect(Resting);
    above.says(
        5,
        "8 replicas wanted, 5 there; the HPA moves them, because s0-rabbitmq-orders reads 80 at a target of 10",
    );
}

#[test]
fn what_could_not_be_read() {
    let one = object().timeline().at(0).replicas(4).fails().expect(Blind);
    one.says(4, "4 replicas as before because s0-rabbitmq-orders has no usable reading");
    let two = object().and_trigger(10.0).timeline().at(0).replicas(4);
    two.clone().expect(Blind).says(4, "4 replicas as before because none of 2 triggers has a usable reading");
    two.reads(0.0)
        .expect(Blind)
        .says(4, "4 replicas as before because 1 of 2 triggers has no usable reading and no other has work");
}

#[test]
fn every_reason_has_a_clause_and_every_verdict_a_name() {
    let timeline = object().pods(2).max(1).timeline().at(0).reads(100.0).expect(Activate(1));
    for step in &timeline.last().trail {
        assert!(!step.reason.to_string().is_empty());
    }
    let clauses: Vec<_> = timeline.last().trail.iter().map(|step| step.reason.to_string()).collect();
    assert_eq!(
        clauses,
        [
            "trigger 0 reads 100 at a target of 10, which asks for 10",
            "trigger 0 is above its activation value",
            "the scale-up policy allows 2 in one step",
            "the bounds are 1 to 1",
        ]
    );
    assert_eq!(Activate(1).as_str(), "activate");
    assert_eq!(Blind.as_str(), "blind");
}
