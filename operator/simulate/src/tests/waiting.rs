//! What waits, is late and is lost, by hand.

use super::{close, fixed, queue, requests, run, stretches};

#[test]
fn requests_beyond_the_capacity_are_lost_at_once_without_a_timeout() {
    // 2 replicas serve 20 a second; 30 come for a minute, then 10.
    let outcome = run(&stretches(&[(30.0, 60), (10.0, 60)]), &requests(10.0, 0.0, 1.0), &fixed(2));
    close(outcome.arrived, 2400.0);
    close(outcome.lost, 600.0);
    close(outcome.served, 1800.0);
    close(outcome.violation_seconds, 60.0);
    close(outcome.violation_percent, 50.0);
    close(outcome.backlog_max, 0.0);
}

#[test]
fn requests_wait_until_their_timeout_and_the_oldest_are_lost_first() {
    // Waiting grows by 10 a second to what came within 10 s, 300 at 30 s; then 10 a second are lost. From 60 s on 10 come:
    // those of the peak go on timing out until 70 s (10 a second more are lost), the last 100 are served by 80 s.
    let outcome = run(&stretches(&[(30.0, 60), (10.0, 60)]), &requests(10.0, 10.0, 5.0), &fixed(2));
    close(outcome.lost, 400.0);
    close(outcome.served, 2000.0);
    close(outcome.backlog_max, 300.0);
    close(outcome.wait_max_seconds, 10.0);
    // Older than 5 s: from 15 s (150 wait, as many came within 5 s) to 75 s (50 wait).
    close(outcome.violation_seconds, 60.0);
    // What passed an age of 5 s meanwhile came from 10 s to 70 s.
    close(outcome.late, 50.0 * 30.0 + 10.0 * 10.0);
    // 450 + 9000 by 60 s, 2000 by 70 s, 500 by 80 s, over two minutes.
    close(outcome.backlog_mean, (4500.0 + 9000.0 + 2000.0 + 500.0) / 120.0);
}

#[test]
fn a_queue_is_a_straight_line_while_all_are_busy() {
    // One replica serves 1 a second, 101 a second come for 10 s. It is busy after ln(101/100) s, and then 100 a second
    // more wait.
    let outcome = run(&stretches(&[(101.0, 10), (0.0, 2000)]), &queue(1.0, 0.0, 100.0), &fixed(1));
    let busy = (101.0_f64 / 100.0).ln();
    let most = 1.0 + 100.0 * (10.0 - busy);
    close(outcome.arrived, 1010.0);
    close(outcome.backlog_max, most);
    // From then on it falls by 1 a second, and is empty at the end.
    close(outcome.backlog_end, 0.0);
    close(outcome.served, 1010.0);
    // The last came at 10 s and waits longest: until only it is left.
    close(outcome.wait_max_seconds.round(), (most - 1.0).round());
}

#[test]
fn the_oldest_message_decides_whether_a_queue_is_late() {
    // Nobody serves: 10 s after the first came it is older than 10 s, and so it stays.
    let outcome = run(&stretches(&[(5.0, 60)]), &queue(1.0, 0.0, 10.0), &fixed(0));
    close(outcome.violation_seconds, 50.0);
    close(outcome.late, 250.0);
    close(outcome.wait_max_seconds, 60.0);
    close(outcome.backlog_end, 300.0);
    close(outcome.pod_hours, 0.0);
}

#[test]
fn a_trickle_comes_in_whole_messages_and_leaves_the_queue_empty_between_them() {
    // One in 20 s, each served in 2 s by one of three replicas: three in a minute, 6 s of work.
    let outcome = run(&stretches(&[(0.05, 63)]), &queue(0.5, 0.0, 1.0), &fixed(3));
    close(outcome.arrived, 3.0);
    close(outcome.served, 3.0);
    close(outcome.backlog_max, 1.0);
    close(outcome.backlog_mean, 3.0 / 63.0);
    close(outcome.violation_seconds, 0.0);
}

#[test]
fn spec_metrics_are_those_of_a_pencil() {
    // Needed 4, 2, 0, 1 for 30 s each; there are always 2.
    let load = stretches(&[(40.0, 30), (20.0, 30), (0.0, 30), (10.0, 30)]);
    let outcome = run(&load, &requests(10.0, 0.0, 1.0), &fixed(2));
    let spec = outcome.elasticity;
    close(spec.accuracy_under, 25.0 * (2.0 / 4.0));
    // 2 too many where none is needed counts as 200 %, 1 where 1 is needed as 100 %.
    close(spec.accuracy_over, 25.0 * 2.0 + 25.0 * 1.0);
    close(spec.time_share_under, 25.0);
    close(spec.time_share_over, 50.0);
    // Demand moves at three of the 119 seconds between samples, supply never.
    close(spec.instability, 100.0 * 3.0 / 119.0);
    close(outcome.pod_hours, 2.0 * 120.0 / 3600.0);
    let right = run(&stretches(&[(20.0, 50)]), &requests(10.0, 0.0, 1.0), &fixed(2));
    assert_eq!(right.elasticity, crate::Elasticity::default());
}

#[test]
fn a_capacity_that_is_enough_but_for_rounding_loses_nothing() {
    let load = stretches(&[(0.300_000_01, 600)]);
    let workload = requests(0.1, 0.0, 0.0);
    assert_eq!(workload.needed(0.300_000_01), 3);
    let outcome = run(&load, &workload, &fixed(3));
    assert_eq!((outcome.lost, outcome.violation_seconds), (0.0, 0.0));
}

#[test]
fn the_chart_adds_up_to_the_numbers() {
    let load = stretches(&[(30.0, 61), (10.0, 66), (50.0, 20)]);
    let outcome = run(&load, &requests(10.0, 10.0, 5.0), &fixed(2));
    let violated: f64 = outcome.buckets.iter().map(|bucket| bucket.violated).sum();
    assert!(outcome.violation_seconds > 60.0);
    close(violated, outcome.violation_seconds);
    assert!(outcome.buckets.iter().all(|bucket| bucket.replicas == 2.0 && bucket.ready == 2.0));
    let most = outcome.buckets.iter().map(|bucket| bucket.backlog).fold(0.0, f64::max);
    close(most, outcome.backlog_max);
}
