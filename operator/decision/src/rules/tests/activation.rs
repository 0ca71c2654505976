//! Whether there is work, and what 0 becomes.

use super::timeline::object;
use crate::Verdict::{Activate, Active, CoolingDown, Deactivate, RaiseToMinimum, Resting};
use crate::{Bounds, Config, InvalidConfig, ScaleUp, TargetKind, Trigger};

#[test]
fn zero_goes_to_the_demand_in_one_write() {
    object().max(4).timeline().at(0).reads(100.0).expect(Activate(4)).at(1).reads(100.0).expect(Active).wants(4);
    object().max(100).timeline().at(0).reads(100.0).expect(Activate(10));
    object().timeline().at(0).reads(5.0).expect(Activate(1)).at(1).replicas(1).reads(95.0).expect(Active).wants(10);
}

#[test]
fn a_part_of_a_replica_is_a_whole_one() {
    object().timeline().at(0).reads(10.0).expect(Activate(1));
    object().timeline().at(0).reads(10.001).expect(Activate(2));
    // Less than a thousandth is not seen by the HPA, and so not by us.
    object().timeline().at(0).reads(10.000_4).expect(Activate(1));
    object().target(0.3).timeline().at(0).reads(0.9).expect(Activate(3));
}

#[test]
fn active_is_greater_than_and_not_equal() {
    object().timeline().at(0).reads(0.0).expect(Resting).wants(0);
    object().timeline().at(0).reads(0.001).expect(Activate(1));
    let five = object().activation(5.0);
    five.clone().timeline().at(0).reads(3.0).expect(Resting).wants(0);
    five.clone().timeline().at(0).reads(5.0).expect(Resting);
    five.timeline().at(0).reads(5.001).expect(Activate(1));
}

#[test]
fn activation_outranks_the_demand() {
    // 40 at a target of 10 asks for 4, but is not above 50.
    let object = object().activation(50.0);
    object.clone().timeline().at(0).reads(40.0).expect(Resting).wants(0);
    object.timeline().at(0).reads(51.0).expect(Activate(6));
}

#[test]
fn the_hpa_goes_on_while_there_is_a_demand_below_the_activation_value() {
    object().min(1).activation(100.0).timeline().at(0).replicas(10).reads(50.0).expect(Resting).wants(5);
    let cooling = object().activation(100.0).timeline().at(0).reads(101.0).expect(Activate(10));
    cooling.at(1).reads(50.0).expect(CoolingDown).wants(5);
}

#[test]
fn a_source_may_decide_by_itself() {
    object().timeline().at(0).decided(0.0, true).expect(Activate(1)).at(1).decided(0.0, true).expect(Active).wants(1);
    object().timeline().at(0).decided(100.0, false).expect(Resting);
    object().activation(500.0).timeline().at(0).decided(100.0, true).expect(Activate(10));
}

#[test]
fn a_source_that_knows_its_partitions_is_not_given_more() {
    object().timeline().at(0).reads_capped(100.0, 3).expect(Activate(3)).serves(&[(0, 30.0)]);
    object().timeline().at(0).reads_capped(20.0, 3).expect(Activate(2)).serves(&[(0, 20.0)]);
    object().min(2).timeline().at(0).reads_capped(100.0, 1).expect(Activate(2));
}

#[test]
fn the_trigger_that_asks_for_most_wins() {
    let two = object().and_trigger(5.0).timeline();
    two.clone().at(0).reads(10.0).reads_of(1, 20.0).expect(Activate(4)).serves(&[(0, 10.0), (1, 20.0)]);
    two.clone().at(0).reads(80.0).reads_of(1, 20.0).expect(Activate(8));
    two.clone().at(0).reads(0.0).reads_of(1, 1.0).expect(Activate(1));
    two.at(0).reads(0.0).reads_of(1, 0.0).expect(Resting);
}

#[test]
fn one_active_trigger_lets_the_others_ask_too() {
    // Trigger 0 alone is below its activation value, but its demand counts once trigger 1 is active.
    let object = object().activation(100.0).and_trigger(5.0);
    object.timeline().at(0).reads(60.0).reads_of(1, 1.0).expect(Activate(6));
}

#[test]
fn work_brings_zero_to_the_minimum_at_least() {
    object().min(3).timeline().at(0).reads(1.0).expect(Activate(3));
    object().min(3).timeline().at(0).reads(100.0).expect(Activate(10));
}

#[test]
fn a_minimum_is_kept_without_work_and_never_left() {
    let timeline = object().min(2).cooldown(0).timeline().at(0).reads(0.0).expect(RaiseToMinimum(2));
    let timeline = timeline.at(1).reads(0.0).expect(Resting).wants(2);
    let timeline = timeline.at(2).replicas(7).reads(0.0).expect(Resting).wants(2);
    timeline.at(3).replicas(1).reads(0.0).expect(RaiseToMinimum(2)).at(4).reads(0.0).expect(Resting);
}

#[test]
fn below_the_minimum_with_work_is_the_hpas_affair() {
    object().min(3).timeline().at(0).replicas(1).reads(1.0).expect(Active).wants(3);
}

#[test]
fn idle_zero_with_a_minimum_of_two() {
    let timeline = object().min(2).idle(0).cooldown(10).timeline();
    let timeline = timeline.at(0).reads(0.0).expect(Resting).wants(0);
    let timeline = timeline.at(1).reads(1.0).expect(Activate(2)).at(2).reads(1.0).expect(Active);
    let timeline = timeline.at(3).reads(0.0).expect(CoolingDown).wants(2).until(12, 0.0, CoolingDown);
    timeline.at(13).reads(0.0).expect(Deactivate(0)).at(14).reads(0.0).expect(Resting).wants(0);
}

#[test]
fn an_idle_count_above_zero() {
    let timeline = object().min(5).idle(2).cooldown(10).timeline();
    let timeline = timeline.at(0).reads(0.0).expect(RaiseToMinimum(2)).at(1).reads(0.0).expect(Resting).wants(2);
    let timeline = timeline.at(2).reads(1.0).expect(Activate(5));
    let timeline = timeline.at(3).reads(0.0).expect(CoolingDown).wants(5).until(12, 0.0, CoolingDown);
    let timeline = timeline.at(13).reads(0.0).expect(Deactivate(2)).at(14).reads(0.0).expect(Resting);
    // From between idle and minimum too, as the HPA is not to be waited for.
    timeline.at(15).replicas(3).reads(70.0).expect(Activate(7));
}

#[test]
fn figures_too_large_for_the_hpa_are_cut_to_what_it_can_count() {
    let most = f64::from(i32::MAX) * 10.0;
    object().timeline().at(0).reads(9e15).expect(Activate(10)).serves(&[(0, most)]);
    // However much the source believes in.
    object().timeline().at(0).reads_capped(9e15, u32::MAX).expect(Activate(10)).serves(&[(0, most)]);
    // A Value target is multiplied by the ready pods, of which there may be as many as the maximum.
    let value = object().value().max(1000).timeline().at(0).replicas(1000).ready(1000);
    let value = value.reads(9e15).expect(Active).wants(1000);
    let served = value.last().served[0].milli as f64 / 10_000.0 * 1000.0;
    assert!(served <= f64::from(i32::MAX) && served > f64::from(i32::MAX) * 0.99, "{served}");
}

#[test]
fn a_configuration_that_cannot_be_kept_names_its_field() {
    let trigger = |target, activation| Trigger {
        metric_name: "s0-rabbitmq-orders".to_owned(),
        kind: TargetKind::AverageValue,
        target,
        activation,
    };
    let new = |triggers, min, max, idle| {
        let zero = std::time::Duration::ZERO;
        let error = Config::new(triggers, Bounds { min, max, idle }, zero, zero, ScaleUp::default(), zero).unwrap_err();
        (error.to_string(), error)
    };
    let good = || vec![trigger(10.0, 0.0)];
    assert_eq!(new(vec![], 0, 1, None).1, InvalidConfig::NoTriggers);
    assert_eq!(new(good(), 0, 0, None).1, InvalidConfig::MaxIsZero);
    assert!(new(good(), 3, 2, None).0.starts_with("spec.minReplicaCount: 3 is greater than maxReplicaCount 2"));
    assert_eq!(new(good(), 2, 3, Some(2)).1, InvalidConfig::IdleNotBelowMin { idle: 2, min: 2 });
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(
            new(vec![trigger(1.0, 0.0), trigger(bad, 0.0)], 0, 1, None).0.starts_with("spec.triggers[1]: the target")
        );
    }
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(new(vec![trigger(1.0, bad)], 0, 1, None).0.contains("the activation value"));
    }
}

#[test]
fn a_target_is_at_least_a_thousandth() {
    let target = |target| object().target(target).timeline().config.triggers()[0].target_milli();
    assert_eq!(target(10.0), 10_000);
    assert_eq!(target(0.000_1), 1);
    assert_eq!(target(1e300), 9_200_000_000_000_000_000);
}

#[test]
fn a_good_reading_counts_even_if_nobody_kept_it_as_the_last_good_one() {
    let mut timeline = object().timeline().at(0).reads(30.0);
    timeline.observation.triggers[0].last_ok = None;
    timeline.expect(Activate(3)).serves(&[(0, 30.0)]);
}
