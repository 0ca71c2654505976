//! ScaledObjects and baselines as timelines: when replicas come, how long they stay, and who violates least.

use super::{close, object, queue, requests, run, seconds, series, stretches};
use crate::{Kind, Settings, Workload, replay};

const MESSAGES: &str = "mode: QueueLength, value: '5'";

#[test]
fn work_wakes_an_object_at_the_next_reading_and_the_cooldown_lays_it_to_rest() {
    // Readings at 1 s, 3 s, ...: that of 61 s sees 4 messages, which is one replica's share. The queue is empty just after
    // 120 s, which the reading of 121 s sees; 30 s of quiet later the replica goes.
    let policy = object("pollingInterval: 2, cooldownPeriod: 30, maxReplicaCount: 8", MESSAGES);
    let load = stretches(&[(0.0, 60), (4.0, 60), (0.0, 240)]);
    let outcome = run(&load, &queue(100.0, 0.0, 60.0), &policy);
    close(outcome.pod_hours * 3600.0, 151.0 - 61.0);
    assert_eq!((outcome.scale_out, outcome.scale_in, outcome.replicas_max), (1, 1, 1));
    close(outcome.wait_max_seconds.round(), 1.0);
    // The first message came at 60 s and waits until a replica is ready at 81 s; 84 have come by then.
    let slow = run(&load, &queue(100.0, 20.0, 60.0), &policy);
    close(slow.wait_max_seconds.round(), 21.0);
    close(slow.backlog_max.round(), 84.0);
}

#[test]
fn leaving_out_readings_that_change_nothing_changes_nothing() {
    let spec = [
        "cooldownPeriod: 30",
        "pollingInterval: 7, cooldownPeriod: 45, maxReplicaCount: 6",
        "minReplicaCount: 2, idleReplicaCount: 0, cooldownPeriod: 60",
        "minReplicaCount: 1, maxReplicaCount: 9",
        "pollingInterval: 30, cooldownPeriod: 0",
        "cooldownPeriod: 20, advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleDown: \
         {stabilizationWindowSeconds: 0}, scaleUp: {policies: [{type: Pods, value: 2, periodSeconds: 30}]}}}}",
    ];
    let triggers = [MESSAGES, "mode: QueueLength, value: '3', activationValue: '4.5'", "mode: MessageRate, value: '2'"];
    let rates: Vec<f64> = (0..400_u32).map(rough).collect();
    let mut moved = 0;
    for spec in spec {
        for trigger in triggers {
            let policy = object(spec, trigger);
            for workload in [queue(0.7, 12.0, 30.0), queue(3.0, 0.0, 5.0), requests(2.0, 8.0, 1.0)] {
                let load = series(11, &rates);
                let few = run(&load, &workload, &policy);
                let all = replay(&load, &workload, &policy, &Settings { every_reading: true, ..Settings::default() });
                let brief = |outcome: &crate::Outcome| {
                    let buckets: Vec<_> = outcome.buckets.iter().map(|b| (b.replicas * 1e6).round()).collect();
                    (outcome.scale_out, outcome.scale_in, (outcome.pod_hours * 1e9).round(), buckets)
                };
                assert!(brief(&few) == brief(&all), "{spec} | {trigger} | {workload:?}: {few:?} {all:?}");
                close(few.served, all.served);
                moved += few.scale_out + few.scale_in;
            }
        }
    }
    assert!(moved > 500, "only {moved} scale events: the comparison compares nothing");
}

/// A load with quiet stretches, trickles and peaks; the same each time.
fn rough(index: u32) -> f64 {
    let noise = f64::from(index.wrapping_mul(2_654_435_761) >> 16 & 0xff) / 255.0;
    match index / 25 % 5 {
        0 => 0.0,
        1 => 0.1 * noise,
        2 => 8.0 * noise,
        3 => {
            if noise > 0.8 {
                30.0
            } else {
                0.0
            }
        }
        _ => 0.5 + noise,
    }
}

#[test]
fn the_oracle_violates_no_more_than_anybody_else_and_static_max_is_never_short() {
    let policy = object("cooldownPeriod: 30, maxReplicaCount: 40", MESSAGES);
    let Kind::Object(own) = &policy.kind else { panic!("an object") };
    let rates: Vec<f64> = (0..300_u32).map(rough).collect();
    let load = series(15, &rates);
    for workload in [queue(1.0, 40.0, 20.0), queue(0.9, 0.0, 1.0), requests(1.0, 5.0, 1.0), requests(0.4, 0.0, 0.0)] {
        let oracle = run(&load, &workload, &own.oracle());
        let most = run(&load, &workload, &own.static_max());
        for other in [run(&load, &workload, &policy), run(&load, &workload, &own.plain_hpa()), most.clone()] {
            assert!(
                oracle.violation_seconds <= other.violation_seconds + 1e-6,
                "{workload:?}: {} {} < oracle {}",
                other.policy,
                other.violation_seconds,
                oracle.violation_seconds
            );
            assert!(oracle.lost <= other.lost + 1e-6, "{workload:?}: {} loses {}", other.policy, other.lost);
        }
        if workload.needed(30.0) <= 40 {
            assert_eq!(most.elasticity.accuracy_under, 0.0);
            assert_eq!(most.elasticity.time_share_under, 0.0);
            assert_eq!(oracle.violation_seconds, 0.0, "{workload:?}");
            assert!(oracle.pod_hours < most.pod_hours);
        }
    }
}

#[test]
fn a_plain_hpa_never_goes_to_rest_and_an_object_does() {
    let policy = object("cooldownPeriod: 60, maxReplicaCount: 10", MESSAGES);
    let Kind::Object(own) = &policy.kind else { panic!("an object") };
    let load = series(60, &[0.0; 60]);
    close(run(&load, &queue(1.0, 5.0, 60.0), &own.plain_hpa()).pod_hours, 1.0);
    close(run(&load, &queue(1.0, 5.0, 60.0), &policy).pod_hours, 0.0);
}

#[test]
fn the_hpa_follows_the_rate_of_requests_within_a_sync() {
    // 10 a second are one replica's work by target and by capacity; the metric is the rate.
    let policy = object("minReplicaCount: 1, maxReplicaCount: 20", "mode: MessageRate, value: '10'");
    let load = stretches(&[(10.0, 60), (40.0, 60), (10.0, 400)]);
    let outcome = run(&load, &requests(10.0, 0.0, 1.0), &policy);
    // The sync at 67 s sees 40 a second and goes from 1 to 4; until then 30 a second are lost.
    close(outcome.lost, 30.0 * 7.0);
    close(outcome.violation_seconds, 7.0);
    assert_eq!((outcome.scale_out, outcome.scale_in, outcome.replicas_max), (1, 1, 4));
    // The first sync that asks for 1 is at 127 s; the last that asked for 4, at 112 s, holds them for 300 s.
    let held = outcome.pod_hours * 3600.0 - 520.0;
    close(held, 3.0 * (412.0 + 15.0 - 67.0));
    // Replicas that take 20 s to start help 20 s later and cost the same.
    let slow = run(&load, &Workload { startup: seconds(20.0), ..requests(10.0, 0.0, 1.0) }, &policy);
    close(slow.lost, 30.0 * 27.0);
    close(slow.violation_seconds, 27.0);
    close(slow.pod_hours, outcome.pod_hours);
}

#[test]
fn the_policies_of_an_object_count_what_was_written() {
    let behavior = "advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleUp: {policies: \
                    [{type: Pods, value: 1, periodSeconds: 60}]}}}}";
    let policy = object(&format!("minReplicaCount: 1, {behavior}"), "mode: MessageRate, value: '10'");
    let load = stretches(&[(10.0, 60), (40.0, 300)]);
    let outcome = run(&load, &requests(10.0, 0.0, 1.0), &policy);
    // One more at 67 s, 127 s and 187 s.
    assert_eq!((outcome.scale_out, outcome.replicas_max), (3, 4));
    close(outcome.lost, 30.0 * 7.0 + 20.0 * 60.0 + 10.0 * 60.0);
}

#[test]
fn an_activation_is_held_until_the_hpa_has_seen_it_and_no_longer() {
    let behavior =
        "advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleDown: {stabilizationWindowSeconds: 0}}}}";
    let policy = object(&format!("pollingInterval: 2, maxReplicaCount: 30, {behavior}"), MESSAGES);
    // The reading of 61 s sees 100 messages: 20 replicas, which have done it all by 63 s.
    let load = stretches(&[(0.0, 60), (100.0, 2), (0.0, 240)]);
    let outcome = run(&load, &queue(10.0, 0.0, 60.0), &policy);
    // The sync at 67 s is told 100 all the same and keeps 20, that of 82 s is told 0.
    assert_eq!((outcome.scale_out, outcome.scale_in, outcome.replicas_max), (1, 1, 20));
    close(outcome.pod_hours * 3600.0, 20.0 * (82.0 - 61.0) + 1.0 * (302.0 - 82.0));
}
