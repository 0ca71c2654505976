//! The user's `behavior.scaleUp` and `Value` targets, as far as they limit the first write.

use super::timeline::{Object, object};
use crate::SelectPolicy::{Disabled, Max, Min};
use crate::Verdict::{Activate, Active};

fn first_write_of_100(object: Object) -> u32 {
    let timeline = object.max(100).timeline().at(0).reads(1000.0);
    let decision = timeline.peek(timeline.now);
    super::timeline::assert_chained(&decision, 0);
    let written = decision.verdict.write().expect("an activation");
    assert_eq!(decision.verdict, Activate(written));
    written
}

#[test]
fn without_a_policy_the_demand_is_one_step() {
    assert_eq!(first_write_of_100(object()), 100);
    assert_eq!(first_write_of_100(object().select(Min)), 100);
}

#[test]
fn what_the_hpa_could_not_hold_starts_at_the_minimum() {
    assert_eq!(first_write_of_100(object().value()), 1);
    assert_eq!(first_write_of_100(object().value().min(3)), 3);
    assert_eq!(first_write_of_100(object().stabilised(1)), 1);
    assert_eq!(first_write_of_100(object().stabilised(60).min(2)), 2);
    assert_eq!(first_write_of_100(object().select(Disabled)), 1);
    assert_eq!(first_write_of_100(object().select(Disabled).min(2).pods(50)), 2);
}

#[test]
fn pods_count_from_the_replicas_that_are_there() {
    assert_eq!(first_write_of_100(object().pods(4)), 4);
    assert_eq!(first_write_of_100(object().pods(500)), 100);
    // The HPA itself goes to the minimum without asking a policy.
    assert_eq!(first_write_of_100(object().min(6).pods(4)), 6);
    let idle = object().min(5).idle(2).max(100).pods(4).timeline();
    idle.at(0).replicas(2).reads(1000.0).expect(Activate(6));
}

#[test]
fn percent_counts_from_the_first_step_and_rounds_up() {
    assert_eq!(first_write_of_100(object().percent(100)), 2);
    assert_eq!(first_write_of_100(object().percent(900)), 10);
    assert_eq!(first_write_of_100(object().percent(1)), 2);
    assert_eq!(first_write_of_100(object().min(10).percent(10)), 11);
    assert_eq!(first_write_of_100(object().min(10).percent(u32::MAX)), 100);
}

#[test]
fn several_policies_by_select_policy() {
    let both = || object().pods(4).percent(900);
    assert_eq!(first_write_of_100(both()), 10);
    assert_eq!(first_write_of_100(both().select(Max)), 10);
    assert_eq!(first_write_of_100(both().select(Min)), 4);
    assert_eq!(first_write_of_100(both().select(Disabled)), 1);
}

#[test]
fn a_policy_never_adds_to_the_demand() {
    object().pods(4).timeline().at(0).reads(15.0).expect(Activate(2));
    object().stabilised(60).timeline().at(0).reads(5.0).expect(Activate(1));
}

#[test]
fn after_a_limited_write_the_rest_is_the_hpas() {
    object().pods(4).timeline().at(0).reads(90.0).expect(Activate(4)).at(1).reads(90.0).expect(Active).wants(9);
}

#[test]
fn a_value_target_follows_the_ready_pods_once_there_are_any() {
    let timeline = object().value().timeline().at(0).reads(40.0).expect(Activate(1));
    let timeline = timeline.at(1).reads(40.0).expect(Active).wants(1);
    let timeline = timeline.at(2).ready(1).reads(40.0).expect(Active).wants(4);
    timeline.at(3).replicas(4).ready(4).reads(20.0).expect(Active).wants(8);
}

#[test]
fn beside_a_value_target_an_average_one_still_sets_what_it_can_hold() {
    let two = object().value().and_trigger(10.0).timeline();
    // The HPA takes the larger of both, and is held to 3 by the second.
    two.clone().at(0).reads(90.0).reads_of(1, 30.0).expect(Activate(3)).serves(&[(0, 90.0), (1, 30.0)]);
    two.at(0).reads(90.0).reads_of(1, 0.0).expect(Activate(1));
    // From an idle count there are ready pods, whose figure could not be held either.
    let idle = object().value().min(2).idle(1).timeline().at(0).replicas(1).ready(1);
    idle.reads(90.0).expect(Activate(2));
}
