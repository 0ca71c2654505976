//! When readings happen: jitter, backoff, stretching, and what a thousand queries cost.

use proptest::prelude::*;
use tokio::time::sleep;
use windlass_decision::{FailureKind, Outcome};

use super::fake::{Answer, World};
use super::{SECOND, millis, secs};
use crate::poller::{Interval, lock};

fn assert_within(gaps: &[f64], low: f64, high: f64) {
    assert!(!gaps.is_empty(), "no gaps");
    for gap in gaps {
        assert!((low - 0.002..=high + 0.002).contains(gap), "{gap} is not within {low}..{high}: {gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn poll_times_jitter_by_a_tenth() {
    let world = World::new(7);
    world.set("ns/a", &[("q", SECOND)]);
    sleep(secs(300)).await;
    let gaps = world.gaps("q");
    assert_within(&gaps, 0.9, 1.1);
    let mean = gaps.iter().sum::<f64>() / f64::from(u32::try_from(gaps.len()).expect("few"));
    assert!((0.98..=1.02).contains(&mean), "{mean}");
    assert!(gaps.iter().any(|gap| *gap < 0.93) && gaps.iter().any(|gap| *gap > 1.07), "no jitter: {gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn a_written_interval_holds_to_the_second() {
    let world = World::new(7);
    world.set("ns/a", &[("q", Interval::Written(secs(30)))]);
    sleep(secs(1800)).await;
    assert_within(&world.gaps("q"), 29.5, 30.5);
    assert!((58..=61).contains(&world.times("q").len()));
}

#[tokio::test(start_paused = true)]
async fn the_seed_decides_the_poll_times() {
    let mut times = Vec::new();
    for seed in [3, 3, 4] {
        let world = World::new(seed);
        world.set("ns/a", &[("q", SECOND)]);
        sleep(secs(60)).await;
        times.push(world.times("q"));
    }
    assert_eq!(times[0], times[1]);
    assert_ne!(times[0], times[2]);
}

#[tokio::test(start_paused = true)]
async fn a_failing_query_backs_off_alone() {
    for answer in [Answer::Fails(FailureKind::BadAnswer), Answer::Fails(FailureKind::Unauthorised), Answer::Absent] {
        let world = World::new(7);
        lock(&world.state()).answers.insert("bad".to_owned(), answer);
        world.set("ns/a", &[("bad", SECOND), ("good", SECOND)]);
        sleep(secs(60)).await;
        let gaps = world.gaps("bad");
        assert_within(&gaps[0..1], 1.8, 2.2);
        assert_within(&gaps[1..2], 3.6, 4.4);
        assert_within(&gaps[2..], 4.5, 5.5);
        assert_within(&world.gaps("good"), 0.9, 1.1);
        // The interval that is told is that of good times.
        assert!(world.delivered().iter().all(|one| one.interval == secs(1)));

        lock(&world.state()).answers.clear();
        let before = world.times("bad").len();
        sleep(secs(20)).await;
        assert_within(&world.gaps("bad")[before..], 0.9, 1.1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_interval_is_not_shortened_by_backoff() {
    let world = World::new(7);
    lock(&world.state()).otherwise = Some(Answer::Fails(FailureKind::BadAnswer));
    world.set("ns/a", &[("q", Interval::Written(secs(60)))]);
    sleep(secs(600)).await;
    assert_within(&world.gaps("q"), 59.5, 60.5);
}

#[tokio::test(start_paused = true)]
async fn a_failing_upstream_is_tried_as_one() {
    for kind in [FailureKind::Unreachable, FailureKind::Timeout, FailureKind::Tls, FailureKind::Unauthorised] {
        let world = World::new(7);
        lock(&world.state()).otherwise = Some(Answer::Fails(kind));
        let names: Vec<String> = (0..50).map(|n| format!("q-{n}")).collect();
        for (n, name) in names.iter().enumerate() {
            let interval = if n % 2 == 0 { Interval::Default(millis(500)) } else { Interval::Written(secs(10)) };
            world.set(&format!("ns/{name}"), &[(name, interval)]);
            sleep(millis(3)).await;
        }
        sleep(secs(60)).await;
        let before = lock(&world.state()).reads.len();
        sleep(secs(60)).await;
        let reads = lock(&world.state()).reads.clone();
        let tries = reads.len() - before;
        assert!((10..=14).contains(&tries), "{tries} attempts in a minute");
        let even =
            |name: &String| name.strip_prefix("q-").and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n % 2 == 0);
        let frequent = |names: &[String]| names.iter().filter(|name| even(name)).count();
        assert!(reads[before..].iter().all(|(_, names)| [0, 25].contains(&frequent(names))), "they stay together");
        // Each is told at its own pace, an outage or not, and the interval told is its own.
        let delivered = world.delivered().clone();
        let told: Vec<_> = delivered.iter().filter(|one| one.to == "ns/q-1" && one.at > secs(61)).collect();
        assert!((4..=7).contains(&told.len()) && told.iter().all(|one| one.interval == secs(10)), "{}", told.len());

        // Somebody new may try sooner, but not more often than it asks to be read.
        for n in 0..20 {
            world.set(&format!("ns/new-{n}"), &[(&format!("new-{n}"), SECOND)]);
            sleep(millis(50)).await;
        }
        let after = lock(&world.state()).reads.len();
        assert!((1..=3).contains(&(after - reads.len())), "{}", after - reads.len());

        lock(&world.state()).otherwise = None;
        sleep(millis(5600)).await;
        let healed: std::collections::BTreeSet<_> = world
            .delivered()
            .iter()
            .filter(|one| matches!(one.outcome, Outcome::Ok(_)))
            .map(|one| one.to.clone())
            .collect();
        assert_eq!(healed.len(), 70, "all are read again within one backoff");
        let since = world.times("q-0").len();
        sleep(secs(30)).await;
        assert_within(&world.gaps("q-0")[since..], 0.45, 0.55);
    }
}

#[tokio::test(start_paused = true)]
async fn one_good_query_shows_that_the_upstream_is_well() {
    let world = World::new(7);
    lock(&world.state()).otherwise = Some(Answer::Fails(FailureKind::Unreachable));
    lock(&world.state()).answers.insert("good".to_owned(), Answer::Value(3.0));
    world.set("ns/a", &[("bad", SECOND), ("good", SECOND), ("worse", SECOND)]);
    sleep(secs(60)).await;
    assert_within(&world.gaps("good"), 0.9, 1.1);
    assert_within(&world.gaps("worse")[2..], 4.5, 5.5);
}

#[tokio::test(start_paused = true)]
async fn each_outcome_comes_with_how_late_it_was_asked_for_and_how_long_the_answer_took() {
    let world = World::new(7);
    world.set("ns/a", &[("q", SECOND)]);
    lock(&world.state()).delay = millis(300);
    sleep(secs(20)).await;
    // A backoff is no lateness: it is not due before.
    lock(&world.state()).otherwise = Some(Answer::Fails(FailureKind::Unreachable));
    sleep(secs(60)).await;
    let delivered = lock(&world.sink.delivered).clone();
    assert!(delivered.len() > 20, "{delivered:?}");
    for one in &delivered {
        let asked = one.asked.expect("it was asked for");
        assert!((millis(300)..millis(303)).contains(&asked.took) && asked.late < millis(3), "{one:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_default_interval_stretches_while_the_upstream_is_slow() {
    let world = World::new(7);
    lock(&world.state()).delay = secs(1);
    world.set("ns/a", &[("default", Interval::Default(millis(500))), ("written", Interval::Written(secs(2)))]);
    sleep(secs(60)).await;
    let (default, written) = (world.gaps("default"), world.gaps("written"));
    assert_within(&default[2..], 3.6, 4.4);
    assert_within(&written, 1.8, 2.2);
    let told: Vec<_> = world.delivered().iter().filter(|one| one.index == 0).map(|one| one.interval).skip(2).collect();
    assert!(told.iter().all(|interval| *interval == secs(4)), "{told:?}");
    assert!(world.delivered().iter().all(|one| one.index == 0 || one.interval == secs(2)));

    lock(&world.state()).delay = secs(20);
    sleep(secs(600)).await;
    assert_eq!(world.delivered().iter().rfind(|one| one.index == 0).expect("a delivery").interval, secs(30));

    lock(&world.state()).delay = millis(1);
    sleep(secs(200)).await;
    let before = world.times("default").len();
    sleep(secs(20)).await;
    assert_within(&world.gaps("default")[before..], 0.45, 0.55);
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_is_slow_by_chance_stretches_nothing() {
    let world = World::new(7);
    lock(&world.state()).delay = secs(6);
    world.set("ns/a", &[("default", Interval::Default(millis(500)))]);
    sleep(secs(3)).await;
    lock(&world.state()).delay = millis(1);
    sleep(secs(14)).await;
    assert!(world.times("default").len() >= 15, "the first, which connects: {:?}", world.gaps("default"));
    lock(&world.state()).delay = secs(5);
    sleep(secs(3)).await;
    lock(&world.state()).delay = millis(1);
    let before = world.times("default").len();
    sleep(secs(12)).await;
    assert!(world.times("default").len() >= before + 8, "one among many: {:?}", world.gaps("default"));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_queries_are_one_batch_and_prepared_once() {
    let world = World::new(7);
    for n in 0..1000 {
        world.set(&format!("ns/{n}"), &[(&format!("q-{n}"), Interval::Default(millis(500)))]);
        if n % 100 == 0 {
            sleep(millis(37)).await;
        }
    }
    sleep(secs(20)).await;
    let (before, delivered) = (lock(&world.state()).reads.len(), world.delivered().len());
    sleep(secs(60)).await;
    let state = world.state();
    let state = lock(&state);
    let reads = &state.reads[before..];
    assert!((105..=140).contains(&reads.len()), "{} reads in a minute", reads.len());
    assert!(reads.iter().all(|(_, names)| names.len() == 1000), "batches of those that came apart have merged");
    let addresses: std::collections::BTreeSet<_> = state.addresses[before..].iter().collect();
    assert_eq!(addresses.len(), 1, "the list is not made anew for each reading");
    assert_eq!(world.delivered().len() - delivered, reads.len() * 1000);
}

/// What one object does at one moment.
#[derive(Debug, Clone)]
struct Step {
    object: usize,
    queues: Vec<usize>,
    wait: u64,
}

fn step() -> impl Strategy<Value = Step> {
    (0..4_usize, prop::collection::vec(0..5_usize, 0..4), 0..3000_u64).prop_map(|(object, queues, wait)| Step {
        object,
        queues,
        wait,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever changes, and whichever queries fail or hang: in the end exactly those who ask are told, each of its
    /// triggers, and nobody asks an upstream that nobody needs.
    #[test]
    fn in_the_end_exactly_those_who_ask_are_told(
        steps in prop::collection::vec(step(), 1..20),
        failing in prop::collection::btree_set(0..5_usize, 0..5),
        slow in 0..5_usize,
        seed: u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let world = World::new(seed);
            {
                let state = world.state();
                let mut state = lock(&state);
                state.delays.insert(format!("q-{slow}"), secs(2));
                for queue in failing {
                    state.answers.insert(format!("q-{queue}"), Answer::Fails(FailureKind::Unreachable));
                }
            }
            let mut wanted = std::collections::BTreeMap::new();
            for Step { object, queues, wait } in steps {
                let names: Vec<String> = queues.iter().map(|queue| format!("q-{queue}")).collect();
                let all: Vec<_> = names.iter().map(|name| (name.as_str(), SECOND)).collect();
                world.set(&format!("ns/{object}"), &all);
                wanted.insert(object, queues.len());
                sleep(millis(wait)).await;
            }
            let from = world.delivered().len();
            sleep(secs(30)).await;
            let told: std::collections::BTreeSet<_> =
                world.delivered()[from..].iter().map(|one| (one.to.clone(), one.index)).collect();
            let asked: std::collections::BTreeSet<_> = wanted
                .into_iter()
                .flat_map(|(object, count)| (0..count).map(move |index| (format!("ns/{object}"), index)))
                .collect();
            assert_eq!(told, asked);
            let (opened, closed) = world.opened_and_closed("v");
            assert_eq!(opened - closed, usize::from(!told.is_empty()));
        });
    }
}
