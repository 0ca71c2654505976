//! Queues as timelines: what waits, what is served, and how old it gets.

use std::time::Duration;

use proptest::prelude::*;

use crate::load::{
    ArrivalProcess, Figures, InvalidRate, LoadError, Loads, QueueKey, Rate, Service, TargetKey, Workload,
};

const SECOND: u64 = 1_000_000_000;

fn workload(process: &ArrivalProcess, per_pod: f64) -> Workload {
    Workload::new(process, Service::per_pod(per_pod), 11, 0).unwrap()
}

fn at(workload: &mut Workload, seconds: f64) -> Figures {
    workload.advance((seconds * 1e9).round() as u64);
    workload.figures()
}

#[test]
fn a_backlog_grows_without_pods_and_drains_with_them() {
    let mut queue = workload(&ArrivalProcess::constant(10.0), 4.0);
    assert_eq!(at(&mut queue, 60.0).ready, 600);
    assert_eq!(at(&mut queue, 60.0).oldest, Duration::from_millis(59_900), "the first one came at 0.1 s");
    queue.set_pods(60 * SECOND, 5); // 20 a second against 10: the 600 are gone after another 60 s
    assert_eq!(at(&mut queue, 90.0).ready, 300);
    assert_eq!(at(&mut queue, 119.9).ready, 1);
    let drained = at(&mut queue, 125.05);
    assert_eq!((drained.ready, drained.arrived, drained.served), (0, 1250, 1250));
    assert_eq!(drained.oldest, Duration::ZERO);
}

#[test]
fn exactly_enough_pods_hold_the_backlog_and_one_less_does_not() {
    let mut queue = workload(&ArrivalProcess::constant(8.0), 2.0);
    queue.push(0, 100);
    queue.set_pods(0, 4);
    assert_eq!(at(&mut queue, 1000.0).ready, 100);
    queue.set_pods(1000 * SECOND, 3);
    assert_eq!(at(&mut queue, 1050.0).ready, 200);
}

#[test]
fn a_message_waits_its_turn_and_its_service() {
    let mut queue = workload(&ArrivalProcess::silent(), 0.5);
    queue.set_pods(0, 1);
    queue.push(10 * SECOND, 2);
    assert_eq!(at(&mut queue, 11.999).ready, 2);
    assert_eq!(at(&mut queue, 12.0).ready, 1);
    assert_eq!(at(&mut queue, 13.0).oldest, Duration::from_secs(3));
    assert_eq!(at(&mut queue, 14.0).ready, 0);
}

#[test]
fn pods_hold_messages_up_to_their_prefetch_count() {
    let mut queue = Workload::new(&ArrivalProcess::silent(), Service { per_pod: 1.0, in_flight: 3 }, 0, 0).unwrap();
    queue.push(0, 10);
    queue.set_pods(0, 2);
    let start = queue.figures();
    assert_eq!((start.ready, start.unacked), (4, 6));
    let later = at(&mut queue, 3.0);
    assert_eq!((later.ready, later.unacked, later.served), (0, 4, 6));
    queue.set_pods(3 * SECOND, 0);
    assert_eq!((queue.figures().ready, queue.figures().unacked), (4, 0), "what a pod held goes back");
}

#[test]
fn a_deleted_queue_loses_what_it_had_and_what_comes() {
    let mut queue = workload(&ArrivalProcess::constant(1.0), 1.0);
    queue.set_exists(10 * SECOND, false);
    assert!(!queue.exists());
    let gone = at(&mut queue, 20.0);
    assert_eq!((gone.ready, gone.lost, gone.arrived), (0, 20, 20));
    queue.set_exists(20 * SECOND, true);
    assert_eq!(at(&mut queue, 25.0).ready, 5);
    assert_eq!(queue.purge(25 * SECOND), 5);
    assert_eq!(at(&mut queue, 25.0).lost, 25);
}

#[test]
fn utilisation_is_that_of_the_last_whole_quarter_minute() {
    let mut queue = workload(&ArrivalProcess::constant(3.0), 2.0);
    queue.set_pods(0, 3);
    assert_eq!(at(&mut queue, 14.9).utilisation, 0.0, "nothing was measured yet");
    let half = at(&mut queue, 30.0).utilisation;
    assert!((half - 0.5).abs() < 0.02, "{half}");
    queue.set_pods(30 * SECOND, 1);
    assert_eq!(at(&mut queue, 45.0).utilisation, 1.0);
    queue.set_arrivals(45 * SECOND, &ArrivalProcess::silent(), 0).unwrap();
    assert_eq!(at(&mut queue, 3600.0).utilisation, 0.0, "an hour of rest is crossed in one step");
    assert_eq!(queue.figures().ready, 0);
}

#[test]
fn a_rest_is_crossed_at_once_and_work_after_it_is_done_as_always() {
    let mut queue = workload(&ArrivalProcess::silent(), 1.0);
    queue.set_pods(0, 1);
    assert_eq!(at(&mut queue, 1e7 + 0.25).arrived, 0);
    queue.push(10_000_000_250_000_000, 3);
    assert_eq!(at(&mut queue, 1e7 + 2.25).served, 2);
    assert_eq!(at(&mut queue, 1e7 + 3.25).served, 3);
}

#[test]
fn a_service_rate_that_cannot_be_used_is_refused() {
    for per_pod in [-1.0, f64::NAN, f64::INFINITY, 2e6] {
        let made = Workload::new(&ArrivalProcess::silent(), Service::per_pod(per_pod), 0, 0);
        assert!(matches!(made, Err(InvalidRate::Service(_))), "{per_pod}");
    }
}

#[test]
fn a_very_long_backlog_still_knows_about_how_old_it_is() {
    let mut queue = workload(&ArrivalProcess::constant(10.0), 1.0);
    let day = at(&mut queue, 86_400.0);
    assert_eq!(day.ready, 864_000);
    queue.set_pods(86_400 * SECOND, 20); // 20 a second of 10 arriving: half of a day later half is left
    let later = at(&mut queue, 86_400.0 * 1.5);
    assert_eq!(later.ready, 432_000);
    let age = later.oldest.as_secs_f64();
    assert!((age - 43_200.0).abs() < 100.0, "{age}");
}

/// A message by message model, as slow as it is plain: what the closed formula must agree with.
fn one_by_one(arrivals: &[u64], changes: &[(u64, u32)], per_pod: u64, until: u64) -> u64 {
    let mut left = 0_i128;
    let mut now = 0;
    let mut pods = 0_u32;
    let mut moments: Vec<u64> = arrivals.iter().chain(changes.iter().map(|(at, _)| at)).copied().collect();
    moments.push(until);
    moments.sort_unstable();
    for moment in moments.into_iter().filter(|moment| *moment <= until) {
        left = (left - i128::from(per_pod) * i128::from(pods) * i128::from(moment - now)).max(0);
        if moment > now {
            left += 1_000_000_000_000_000 * arrivals.iter().filter(|at| **at == moment).count() as i128;
            now = moment;
            for (_, count) in changes.iter().filter(|(at, _)| *at == moment) {
                pods = *count;
            }
        }
    }
    u64::try_from((left + 999_999_999_999_999) / 1_000_000_000_000_000).unwrap()
}

proptest! {
    #[test]
    fn the_closed_formula_agrees_with_a_model_that_counts_every_message(
        rate in 0.1_f64..20.0,
        per_pod in 0.1_f64..5.0,
        changes in prop::collection::vec((1_u64..60_000_000_000, 0_u32..6), 0..6),
        seed in 0_u64..1000,
    ) {
        let process = ArrivalProcess::poisson(Rate::Constant { per_second: rate });
        let mut stream = crate::load::arrivals::Stream::new(&process, seed, 0).unwrap();
        let arrivals: Vec<u64> = (0..60)
            .map(|_| stream.next())
            .flat_map(|train| (0..train.count).map(move |index| train.first + index * train.spacing))
            .collect();
        let mut changes = changes;
        changes.sort_unstable();
        changes.dedup_by_key(|change| change.0);
        let mut queue = Workload::new(&process, Service::per_pod(per_pod), seed, 0).unwrap();
        for (at, pods) in &changes {
            queue.set_pods(*at, *pods);
        }
        queue.advance(60 * SECOND);
        let expected = one_by_one(&arrivals, &changes, (per_pod * 1e6).round() as u64, 60 * SECOND);
        prop_assert_eq!(queue.figures().ready, expected);
        prop_assert_eq!(queue.figures().arrived, arrivals.len() as u64);
    }

    #[test]
    fn looking_more_often_changes_nothing(
        rate in 0.0_f64..50.0,
        per_pod in 0.0_f64..20.0,
        pods in 0_u32..6,
        looks in prop::collection::vec(0_u64..100_000_000_000, 0..40),
        seed in 0_u64..1000,
    ) {
        let process = ArrivalProcess::poisson(Rate::Constant { per_second: rate });
        let mut seldom = Workload::new(&process, Service::per_pod(per_pod), seed, 0).unwrap();
        seldom.set_pods(0, pods);
        let mut often = seldom.clone();
        let mut looks = looks;
        looks.sort_unstable();
        for look in looks {
            often.advance(look);
            let seen = often.figures();
            prop_assert_eq!(seen.arrived, seen.served + seen.lost + seen.ready + seen.unacked);
            prop_assert!((0.0..=1.0).contains(&seen.utilisation));
        }
        seldom.advance(100 * SECOND);
        often.advance(100 * SECOND);
        prop_assert_eq!(seldom.figures(), often.figures());
    }
}

#[tokio::test(start_paused = true)]
async fn queues_by_name_move_with_tokios_clock() {
    let loads = Loads::new(1);
    let orders = QueueKey::new("broker", "/", "orders");
    let target = TargetKey::new("shop", "Deployment", "orders");
    loads.set_ready(&target, 2); // told before the queue is there
    loads.add(orders.clone(), Some(target.clone()), Service::per_pod(1.0), &ArrivalProcess::constant(4.0)).unwrap();
    tokio::time::advance(Duration::from_secs(30)).await;
    // 120 came, the first after a quarter of a second in which nobody had work: 59.5 are done.
    assert_eq!(loads.backlog(&orders), Some(61));
    assert_eq!(loads.utilisation(&target), Some(1.0));
    loads.set_ready(&target, 4);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(loads.backlog(&orders), Some(61));
    loads.push(&orders, 40).unwrap();
    assert_eq!(loads.backlog(&orders), Some(101));
    assert_eq!(loads.purge(&orders), Ok(101));
    loads.set_exists(&orders, false).unwrap();
    assert_eq!(loads.backlog(&orders), None);
    loads.set_exists(&orders, true).unwrap();
    assert_eq!(loads.backlog(&orders), Some(0));
    loads.set_arrivals(&orders, &ArrivalProcess::silent()).unwrap();
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(loads.figures(&orders).unwrap().arrived, 240 + 40);
    assert_eq!(loads.keys(), [orders]);
}

#[tokio::test(start_paused = true)]
async fn a_name_must_be_known_and_is_taken_once() {
    let loads = Loads::new(1);
    let key = QueueKey::new("broker", "", "q");
    assert_eq!(loads.push(&key, 1), Err(LoadError::Unknown(key.clone())));
    assert_eq!(loads.backlog(&key), None);
    loads.add(key.clone(), None, Service::per_pod(1.0), &ArrivalProcess::silent()).unwrap();
    let again = loads.add(key.clone(), None, Service::per_pod(1.0), &ArrivalProcess::silent());
    assert_eq!(again, Err(LoadError::Exists(key.clone())));
    let refused = loads.set_arrivals(&key, &ArrivalProcess::constant(f64::NAN)).unwrap_err();
    assert!(refused.to_string().contains("per_second"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn the_arrivals_of_a_queue_do_not_depend_on_its_neighbours() {
    let process = ArrivalProcess::poisson(Rate::Constant { per_second: 3.0 });
    let alone = Loads::new(5);
    let crowd = Loads::new(5);
    let key = QueueKey::new("b", "v", "mine");
    for index in 0..20 {
        let other = QueueKey::new("b", "v", &format!("other-{index}"));
        crowd.add(other, None, Service::per_pod(1.0), &process).unwrap();
    }
    alone.add(key.clone(), None, Service::per_pod(1.0), &process).unwrap();
    crowd.add(key.clone(), None, Service::per_pod(1.0), &process).unwrap();
    tokio::time::advance(Duration::from_secs(500)).await;
    assert_eq!(alone.figures(&key), crowd.figures(&key));
    assert_ne!(crowd.backlog(&key), crowd.backlog(&QueueKey::new("b", "v", "other-0")));
}
