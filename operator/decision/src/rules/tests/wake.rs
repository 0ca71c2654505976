//! When to decide again although nothing is heard.

use std::time::Duration;

use jiff::SignedDuration;

use super::timeline::{Timeline, object};
use crate::Decision;
use crate::Verdict::{Activate, Active, Blind, CoolingDown, Deactivate, Resting};

/// What somebody outside can see of a decision, and whether something is held.
fn seen(decision: &Decision) -> (crate::Verdict, u32, Vec<(usize, i64)>, bool) {
    let served = decision.served.iter().map(|one| (one.trigger, one.milli)).collect();
    (decision.verdict, decision.desired, served, decision.next.hold.is_some())
}

/// Deciding then changes something, and deciding just before does not. Moves the clock there.
#[track_caller]
fn sleep(mut timeline: Timeline, expected: Duration) -> Timeline {
    let wake = timeline.last().wake_after.expect("something to wait for");
    assert_eq!(wake, expected);
    let before = seen(timeline.last());
    let then = timeline.now + SignedDuration::try_from(wake).unwrap();
    assert_eq!(seen(&timeline.peek(then - SignedDuration::from_nanos(1))), before, "too late by then");
    assert_ne!(seen(&timeline.peek(then)), before, "woken for nothing");
    timeline.now = then;
    timeline
}

#[test]
fn when_a_reading_goes_stale() {
    let timeline = object().timeline().at(0).reads(30.0).at(4).expect(Activate(3)).at(5).expect(Active);
    sleep(timeline, Duration::from_secs(5)).expect(Blind).serves(&[]);
}

#[test]
fn when_the_first_of_several_goes_stale() {
    let two = object().and_trigger(10.0).timeline().at(0).reads(30.0).at(3).reads_of(1, 0.0).expect(Activate(3));
    let two = two.at(4).expect(Active);
    let two = sleep(two, Duration::from_secs(6)).expect(Blind).serves(&[(1, 0.0)]);
    sleep(two, Duration::from_secs(3)).expect(Blind).serves(&[]);
}

#[test]
fn when_the_cooldown_has_passed() {
    let timeline = object().cooldown(8).timeline().at(0).reads(30.0).expect(Activate(3));
    let timeline = timeline.at(1).reads(0.0).expect(CoolingDown).at(3).reads(0.0).expect(CoolingDown);
    sleep(timeline, Duration::from_secs(6)).expect(Deactivate(0));
}

#[test]
fn when_the_initial_cooldown_has_passed() {
    let timeline = object().initial_cooldown(20).timeline().at(15).replicas(2).reads(0.0).expect(CoolingDown);
    sleep(timeline, Duration::from_secs(5)).expect(Deactivate(0));
}

#[test]
fn when_the_hpa_has_had_its_sync() {
    let timeline = object().timeline().at(0).reads(30.0).expect(Activate(3)).ready(3);
    let timeline = timeline.at(1).hpa_asks().at_ms(1_200).reads(10.0).expect(Active).holds(true);
    sleep(timeline, Duration::from_millis(800)).expect(Active).holds(false);
}

#[test]
fn when_the_start_up_limit_has_passed_and_the_hpa_was_answered() {
    let timeline =
        object().timeline().at(0).reads(30.0).expect(Activate(3)).at(1).hpa_asks().reads(10.0).expect(Active);
    let timeline = timeline.at(295).reads(10.0).expect(Active).holds(true);
    sleep(timeline, Duration::from_secs(5)).expect(Active).holds(false);
}

#[test]
fn not_at_the_limit_if_nobody_has_asked() {
    let timeline = object().timeline().at(0).reads(30.0).expect(Activate(3)).at(295).reads(10.0).expect(Active);
    sleep(timeline, Duration::from_secs(10)).expect(Blind).holds(true);
}

#[test]
fn never_without_anything_to_wait_for() {
    assert_eq!(object().timeline().at(0).expect(Blind).last().wake_after, None);
    let stale = object().timeline().at(0).reads(0.0).expect(Resting).at(60).expect(Blind);
    assert_eq!(stale.last().wake_after, None);
}

#[test]
fn a_cooldown_longer_than_any_clock_is_no_panic() {
    let timeline = object().cooldown(u64::MAX).timeline().at(0).reads(30.0).expect(Activate(3));
    let timeline = timeline.at(1).reads(0.0).expect(CoolingDown);
    assert_eq!(timeline.last().wake_after, Some(Duration::from_secs(10)));
}
