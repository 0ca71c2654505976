//! With behaviour: windows and policies of both directions, and their tolerances.

use super::life::{Life, free, policy};
use crate::hpa::{Behaviour, Policy, Rules, Spec};
use crate::{PolicyKind, SelectPolicy};

const PODS: PolicyKind = PolicyKind::Pods;
const PERCENT: PolicyKind = PolicyKind::Percent;

fn up(policies: &[Policy], select: SelectPolicy) -> Spec {
    free(|behaviour| behaviour.scale_up = Rules { policies: policies.to_vec(), select, ..behaviour.scale_up.clone() })
}

fn down(policies: &[Policy], select: SelectPolicy) -> Spec {
    free(|behaviour| {
        behaviour.scale_down = Rules { policies: policies.to_vec(), select, ..behaviour.scale_down.clone() }
    })
}

#[test]
fn without_limits_replicas_go_where_the_metric_says() {
    assert_eq!(Life::new(free(|_| {}), 4).follow(15, &[990, 10, 500, 40]), [99, 1, 50, 4]);
}

#[test]
fn the_defaults_of_the_api_server_grow_by_the_greater_of_four_and_all() {
    let defaults = Spec { behaviour: Some(Behaviour::default()), ..free(|_| {}) };
    assert_eq!(Life::new(defaults, 1).follow(15, &[1_000; 6]), [5, 10, 20, 40, 80, 100]);
}

#[test]
fn a_policy_of_pods_counts_from_the_start_of_its_period() {
    let mut life = Life::new(up(&[policy(PODS, 3, 60)], SelectPolicy::Max), 1);
    // Written at 15 s, so free again when that is 60 s ago: the event at exactly 60 s no longer counts.
    assert_eq!(life.follow(15, &[500; 6]), [4, 4, 4, 4, 7, 7]);
}

#[test]
fn a_policy_of_percent_grows_by_at_least_one_replica() {
    let mut life = Life::new(up(&[policy(PERCENT, 10, 15)], SelectPolicy::Max), 1);
    assert_eq!(life.follow(15, &[500; 6]), [2, 3, 4, 5, 6, 7]);
}

#[test]
fn the_choice_of_policy_is_about_the_change_in_both_directions() {
    let policies = [policy(PODS, 2, 15), policy(PERCENT, 50, 15)];
    for (select, grown, shrunk) in
        [(SelectPolicy::Max, 15, 5), (SelectPolicy::Min, 12, 8), (SelectPolicy::Disabled, 10, 10)]
    {
        assert_eq!(Life::new(up(&policies, select), 10).sync(15, 900).desired, grown, "up, {select:?}");
        assert_eq!(Life::new(down(&policies, select), 10).sync(15, 10).desired, shrunk, "down, {select:?}");
    }
}

#[test]
fn shrinking_by_percent_cuts_the_rest_of_a_replica_off() {
    // 10 -> 6.7 -> 6, 6 -> 4.02 -> 4, 4 -> 2.68 -> 2, 2 -> 1.34 -> 1.
    let mut life = Life::new(down(&[policy(PERCENT, 33, 15)], SelectPolicy::Max), 10);
    assert_eq!(life.follow(15, &[10; 5]), [6, 4, 2, 1, 1]);
}

#[test]
fn what_was_taken_away_may_be_added_again_within_the_period() {
    // The start of the period had 10 replicas; 8 of them have gone, and 2 may be added to the 10.
    let spec = up(&[policy(PODS, 2, 60)], SelectPolicy::Max);
    let mut life = Life::new(spec, 10);
    assert_eq!(life.follow(15, &[20, 900]), [2, 12]);
}

#[test]
fn a_write_that_failed_uses_up_no_policy() {
    let mut life = Life::new(up(&[policy(PODS, 3, 600)], SelectPolicy::Max), 1);
    life.writable = false;
    for at in [15, 30, 45] {
        let outcome = life.sync(at, 500);
        assert_eq!((outcome.desired, life.replicas, outcome.next.scale_up.len()), (4, 1, 0));
    }
    life.writable = true;
    assert_eq!(life.follow(60, &[500; 3]), [4, 4, 4]);
    assert_eq!(life.state.scale_up.len(), 1);
}

#[test]
fn events_older_than_the_longest_period_give_their_place_to_new_ones() {
    let mut life = Life::new(up(&[policy(PODS, 1, 30)], SelectPolicy::Max), 1);
    life.follow(15, &[990; 200]);
    assert!(life.state.scale_up.len() <= 3, "{:?}", life.state.scale_up);
}

#[test]
fn the_window_upwards_takes_the_lowest_recommendation_in_it() {
    let spec = free(|behaviour| behaviour.scale_up.stabilisation = Some(60));
    let mut life = Life::new(spec, 1);
    // The 1 that was there at 15 s and the 3 asked for then hold until they are 60 s old: at 75 s neither counts.
    assert_eq!(life.follow(15, &[30, 50, 40, 50, 50, 50, 50, 50]), [1, 1, 1, 1, 4, 4, 5, 5]);
}

#[test]
fn the_window_downwards_takes_the_highest_recommendation_in_it() {
    let spec = free(|behaviour| behaviour.scale_down.stabilisation = Some(60));
    let mut life = Life::new(spec, 10);
    assert_eq!(life.follow(15, &[80, 50, 60, 50, 50, 50, 50, 50]), [10, 10, 10, 10, 6, 6, 5, 5]);
}

#[test]
fn a_window_downwards_that_is_not_set_is_the_controllers() {
    let spec = free(|behaviour| behaviour.scale_down.stabilisation = None);
    let mut life = Life::new(spec, 10);
    let falls = life.follow(15, &[20; 21]);
    assert_eq!(falls[..20], [10; 20]);
    assert_eq!(falls[20], 2, "the 10 of the first sync is 300 s old and out, a sync earlier than without behaviour");
}

#[test]
fn between_both_windows_replicas_stay() {
    let spec = free(|behaviour| {
        behaviour.scale_up.stabilisation = Some(120);
        behaviour.scale_down.stabilisation = Some(120);
    });
    let mut life = Life::new(spec, 5);
    assert_eq!(life.follow(15, &[90, 10, 90, 10, 90, 10, 90]), [5; 7]);
}

#[test]
fn each_direction_has_its_own_tolerance() {
    let spec = free(|behaviour| {
        behaviour.scale_up.tolerance = Some(0.0);
        behaviour.scale_down.tolerance = Some(0.5);
    });
    for (value, desired) in [(100, 10), (101, 11), (51, 10), (50, 10), (49, 5)] {
        assert_eq!(Life::new(spec.clone(), 10).sync(15, value).desired, desired, "{value} for 10 replicas");
    }
}

#[test]
fn an_edit_that_takes_the_behaviour_away_falls_back_to_the_older_rules() {
    let mut life = Life::new(up(&[policy(PODS, 1, 15)], SelectPolicy::Max), 10);
    assert_eq!(life.sync(15, 900).desired, 11);
    life.spec.behaviour = None;
    assert_eq!(life.follow(30, &[900, 900, 10]), [22, 44, 88], "the window holds the 90 that was asked for");
    assert_eq!(life.state.scale_up.len(), 1, "no event is kept without policies");
}
