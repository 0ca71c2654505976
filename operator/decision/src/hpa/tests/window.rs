//! Without behaviour: tolerance, the speed limit, the bounds and the controller's window.

use super::life::{Life, seconds, spec};
use crate::hpa::{Behaviour, Recommendation, Rescale, Rules, Spec};

#[test]
fn replicas_follow_the_metric_upwards_at_once() {
    let mut life = Life::new(spec(), 2);
    assert_eq!(life.follow(15, &[20, 35, 40, 41]), [2, 4, 4, 4], "41 of 40 is within the tolerance");
    assert_eq!(life.follow(75, &[45]), [5]);
}

#[test]
fn a_ratio_moves_nothing_up_to_the_tolerance_and_the_whole_way_beyond_it() {
    // The window is no matter here: each life has one sync, and its first sync remembers what it has.
    for (value, desired) in [(90, 10), (100, 10), (110, 10), (111, 12), (119, 12), (121, 13)] {
        assert_eq!(Life::new(spec(), 10).sync(15, value).desired, desired, "{value} for 10 replicas");
    }
    let mut life = Life::new(spec(), 10);
    life.controller.downscale_stabilisation = seconds(1);
    assert_eq!(life.follow(15, &[90, 89]), [10, 9]);
}

#[test]
fn one_sync_at_most_doubles_and_a_few_may_become_four() {
    let mut life = Life::new(spec(), 1);
    let rises = life.follow(15, &[1_000; 6]);
    assert_eq!(rises, [4, 8, 16, 32, 64, 100]);
    assert_eq!(life.sync(105, 5_000).rescale, None, "100 is the most");
}

#[test]
fn a_drop_waits_until_the_last_high_recommendation_is_older_than_the_window() {
    let mut life = Life::new(spec(), 10);
    // Asked for 10 at 15 s, for 2 from 30 s on. 315 s is exactly 300 s later: still in the window.
    assert_eq!(life.sync(15, 100).desired, 10);
    let falls = life.follow(30, &[20; 20]);
    assert_eq!(falls, [10; 20], "until 315 s");
    let fall = life.sync(330, 20);
    assert_eq!((fall.desired, fall.rescale), (2, Some(Rescale::AllBelowTarget)));
}

#[test]
fn what_a_controller_first_sees_counts_as_asked_for() {
    let mut life = Life::new(spec(), 10);
    let first = life.sync(15, 10);
    assert_eq!(first.desired, 10, "a restarted controller does not cut at once");
    assert_eq!(first.next.recommendations.iter().map(|earlier| earlier.replicas).collect::<Vec<_>>(), [10, 1]);
}

#[test]
fn after_somebody_else_wakes_the_target_nothing_holds_what_was_written() {
    let mut life = Life::new(spec(), 0);
    assert_eq!(life.follow(15, &[0, 0]), [0, 0]);
    life.replicas = 10;
    let cut = life.sync(45, 20);
    assert_eq!(cut.desired, 2, "at 0 nothing was recorded but the 0 of the first sync");
}

#[test]
fn a_recent_recommendation_even_raises_replicas_that_somebody_cut() {
    let mut life = Life::new(spec(), 10);
    life.sync(15, 100);
    life.replicas = 3;
    let raised = life.sync(30, 30);
    assert_eq!((raised.desired, raised.rescale), (6, Some(Rescale::Limits)), "towards 10, twice at most");
    assert_eq!(raised.rescale.unwrap().describe(&spec()), "");
}

#[test]
fn replicas_outside_the_bounds_are_moved_to_them_without_a_look_at_the_metrics() {
    for (replicas, desired, reason) in [(8, 5, Rescale::AboveMax), (1, 3, Rescale::BelowMin)] {
        let mut life = Life::new(Spec { min: 3, max: 5, ..spec() }, replicas);
        let outcome = life.look(15, &[Err("broken")]);
        assert_eq!((outcome.desired, outcome.rescale, outcome.metrics.len()), (desired, Some(reason), 0));
    }
}

#[test]
fn what_is_asked_for_is_kept_inside_the_bounds() {
    let bounded = Spec { min: 3, max: 5, ..spec() };
    let mut life = Life::new(bounded, 4);
    life.controller.downscale_stabilisation = seconds(1);
    assert_eq!(life.follow(15, &[1_000, 0, 40]), [5, 3, 4]);
}

#[test]
fn old_recommendations_give_their_place_to_new_ones() {
    let mut life = Life::new(spec(), 10);
    life.follow(15, &[100; 1_000]);
    // One each 15 s in 300 s with both ends: what is just being asked takes the place of what is older.
    assert_eq!(life.state.recommendations.len(), 21);
}

/// As seen on a cluster: the controller notes what the target has, reads the metrics, and then looks back for 0 s.
#[test]
fn a_window_of_nothing_forgets_what_the_target_had_when_it_was_first_seen() {
    let none = Rules { stabilisation: Some(0), ..Rules::scale_down() };
    let behaviour = Behaviour { scale_up: Rules::scale_up(), scale_down: none };
    let mut life = Life::new(Spec { behaviour: Some(behaviour), ..spec() }, 10);
    assert_eq!(life.follow(15, &[100]), [10]);
    assert_eq!(life.state.recommendations.len(), 1, "{:?}", life.state);
}

#[test]
fn a_longer_window_brings_back_what_is_still_remembered() {
    let mut life = Life::new(spec(), 10);
    life.controller.downscale_stabilisation = seconds(20);
    assert_eq!(life.follow(15, &[100, 20, 20, 20]), [10, 10, 2, 2]);
    let remembered =
        |life: &Life| life.state.recommendations.iter().any(|Recommendation { replicas, .. }| *replicas == 10);
    assert!(remembered(&life), "{:?}", life.state);
    life.controller.downscale_stabilisation = seconds(600);
    assert_eq!(life.sync(75, 20).desired, 4, "back towards 10, as fast as allowed");
}
