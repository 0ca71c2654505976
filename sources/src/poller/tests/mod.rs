//! The reading loop in virtual time.

mod fake;
mod pace;

use std::time::Duration;

use tokio::time::{Instant, sleep};
use windlass_decision::{FailureKind, Outcome};

use super::*;
use crate::Push;
use fake::{Answer, World, outcome, push_channel, subscription};

const SECOND: Interval = Interval::Default(secs(1));

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[tokio::test(start_paused = true)]
async fn a_new_subscription_is_read_within_the_window() {
    let world = World::new(1);
    world.set("ns/a", &[("q", SECOND), ("r", SECOND)]);
    sleep(millis(20)).await;
    let delivered = world.delivered().clone();
    assert_eq!(delivered.len(), 2);
    for (index, delivery) in delivered.iter().enumerate() {
        assert_eq!((delivery.to.as_str(), delivery.index, delivery.interval), ("ns/a", index, secs(1)));
        assert!(delivery.at <= millis(20), "{delivery:?}");
    }
    assert_eq!(lock(&world.state()).reads.len(), 1, "one batch");
}

#[tokio::test(start_paused = true)]
async fn identical_queries_are_read_once_at_the_shortest_interval() {
    let world = World::new(1);
    world.set("ns/a", &[("q", Interval::Written(secs(60))), ("q", SECOND)]);
    world.set("ns/b", &[("other", SECOND), ("q", Interval::Default(secs(10)))]);
    sleep(secs(20)).await;
    assert_eq!(lock(&world.state()).connected, 1);
    let reads = lock(&world.state()).reads.clone();
    assert!(reads.iter().all(|(_, names)| names.iter().filter(|name| *name == "q").count() <= 1), "{reads:?}");
    let times = world.times("q").len();
    assert!((18..=23).contains(&times), "{times}");
    for (to, index) in [("ns/a", 0), ("ns/a", 1), ("ns/b", 1)] {
        let delivered = world.delivered();
        let mine: Vec<_> = delivered.iter().filter(|one| one.to == to && one.index == index).collect();
        assert_eq!(mine.len(), times, "{to} {index}");
        assert!(mine.iter().all(|one| one.interval == secs(1)), "{mine:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn namespaces_with_rules_of_their_own_share_no_upstream_with_others() {
    let world = World::new(1);
    world.set("ns/a", &[("q", SECOND)]);
    let own = Zone::of("shop");
    let of_shop = Subscription { zone: own.clone(), ..subscription("v", "q", SECOND) };
    world.poller.set(SubscriptionKey::new("shop", "a"), vec![of_shop.clone()]);
    world.poller.set(SubscriptionKey::new("shop", "b"), vec![of_shop]);
    sleep(secs(5)).await;
    let theirs = world.state_of(&format!("{own:?}"));
    assert_eq!((lock(&world.state()).connected, lock(&theirs).connected), (1, 1));
    assert!(lock(&theirs).reads.len() >= 4, "read for itself");
    world.poller.remove(&SubscriptionKey::new("ns", "a"));
    sleep(secs(1)).await;
    let (others, own) = (lock(&world.state()).reads.len(), lock(&theirs).reads.len());
    sleep(secs(5)).await;
    assert_eq!(lock(&world.state()).reads.len(), others, "nobody asks any more");
    assert!(lock(&theirs).reads.len() > own);
}

#[tokio::test(start_paused = true)]
async fn setting_the_same_again_changes_nothing() {
    let world = World::new(1);
    let subscriptions = [("q", Interval::Written(secs(60)))];
    world.set("ns/a", &subscriptions);
    sleep(secs(1)).await;
    for _ in 0..5 {
        world.set("ns/a", &subscriptions);
        sleep(secs(1)).await;
    }
    assert_eq!(world.times("q").len(), 1);
    assert_eq!(world.opened_and_closed("v"), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_new_subscriber_of_a_known_query_does_not_wait_for_its_turn() {
    let world = World::new(1);
    world.set("ns/a", &[("q", Interval::Written(secs(300)))]);
    sleep(secs(10)).await;
    world.set("ns/b", &[("q", Interval::Written(secs(300)))]);
    sleep(millis(20)).await;
    let last = world.delivered().last().cloned().expect("a delivery");
    assert_eq!(last.to, "ns/b");
    assert_eq!(world.times("q").len(), 2);
    // A shorter interval counts at once as well.
    world.set("ns/a", &[("q", Interval::Written(secs(1)))]);
    sleep(secs(10)).await;
    assert!(world.times("q").len() >= 11, "{:?}", world.times("q"));
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_nobody_asks_for_is_closed_and_one_that_moves_is_followed() {
    let world = World::new(1);
    world.set("ns/a", &[("q", SECOND)]);
    world.set("ns/b", &[("q", SECOND)]);
    sleep(secs(2)).await;
    world.poller.remove(&"ns/a".into());
    sleep(secs(2)).await;
    assert_eq!(lock(&world.state()).closed, 0, "ns/b still asks");
    let before = world.delivered().iter().filter(|one| one.to == "ns/a").count();
    world.poller.set("ns/b".into(), vec![subscription("w", "q", SECOND)]);
    sleep(secs(2)).await;
    assert_eq!(lock(&world.state()).closed, 1);
    assert_eq!(world.delivered().iter().filter(|one| one.to == "ns/a").count(), before);
    assert_eq!(world.opened_and_closed("w"), (1, 0));
    let reads = lock(&world.state()).reads.len();
    sleep(secs(5)).await;
    assert_eq!(lock(&world.state()).reads.len(), reads, "a closed upstream is read no more");
    world.set("ns/a", &[("q", SECOND)]);
    sleep(millis(20)).await;
    assert_eq!(lock(&world.state()).connected, 2);
    assert_eq!(world.delivered().last().expect("a delivery").to, "ns/a");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reading_delays_no_change() {
    let world = World::new(1);
    lock(&world.state()).delays.insert("slow".to_owned(), secs(100));
    world.set("ns/a", &[("slow", SECOND)]);
    sleep(secs(1)).await;
    world.set("ns/b", &[("quick", SECOND)]);
    sleep(millis(20)).await;
    assert_eq!(world.delivered().last().expect("a delivery").to, "ns/b");
    // Its own reading is under way when the object goes: nothing of it arrives any more.
    world.poller.remove(&"ns/a".into());
    sleep(secs(200)).await;
    assert!(world.delivered().iter().all(|one| one.to == "ns/b"));
    assert!(world.delivered().len() > 100, "the other went on");
    // The whole upstream goes in the middle of a reading.
    world.set("ns/b", &[("slow", SECOND)]);
    sleep(secs(1)).await;
    world.poller.remove(&"ns/b".into());
    sleep(millis(20)).await;
    assert_eq!(lock(&world.state()).closed, 1, "closed without waiting for the reading");
}

#[tokio::test(start_paused = true)]
async fn a_query_that_hangs_does_not_hold_up_the_others() {
    let world = World::new(1);
    {
        let state = world.state();
        let mut state = lock(&state);
        state.delays.insert("hangs".to_owned(), secs(5));
        state.answers.insert("hangs".to_owned(), Answer::Fails(FailureKind::Timeout));
    }
    world.set("ns/a", &[("a", SECOND), ("b", SECOND), ("hangs", SECOND)]);
    sleep(secs(6)).await;
    // The first batch had to be waited for; from then on the one that fails is asked by itself.
    let before = world.delivered().len();
    assert!(before >= 3, "{before}");
    sleep(secs(60)).await;
    let delivered = world.delivered();
    let good = |index| delivered[before..].iter().filter(|one| one.index == index).count();
    assert!(good(0) >= 54 && good(1) >= 54, "{} {}", good(0), good(1));
    assert!(good(2) >= 5, "{}", good(2));
    assert!(delivered[before..].iter().all(|one| one.interval == secs(1)), "its slowness stretches nobody's interval");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_breaks_is_read_again() {
    let world = World::new(1);
    lock(&world.state()).panics.insert("broken".to_owned());
    world.set("ns/a", &[("broken", SECOND)]);
    sleep(secs(30)).await;
    assert_eq!(world.delivered().len(), 0);
    let tries = world.times("broken").len();
    assert!((5..=12).contains(&tries), "{tries}");
    lock(&world.state()).panics.clear();
    sleep(secs(6)).await;
    assert!(matches!(world.delivered().last().expect("a delivery").outcome, Outcome::Ok(_)));
}

#[tokio::test(start_paused = true)]
async fn shutting_down_waits_for_goodbyes_but_not_for_ever() {
    let world = World::new(1);
    lock(&world.state()).delay = secs(1000);
    lock(&world.state()).close_takes = secs(1000);
    world.set("ns/a", &[("q", SECOND)]);
    world.poller.set("ns/b".into(), vec![subscription("w", "q", SECOND)]);
    sleep(secs(1)).await;
    let began = Instant::now();
    world.poller.shutdown().await;
    assert!(began.elapsed() <= secs(4), "{:?}", began.elapsed());
    assert_eq!((world.opened_and_closed("v"), world.opened_and_closed("w")), ((1, 1), (1, 1)));
    world.set("ns/c", &[("q", SECOND)]);
    sleep(secs(5)).await;
    assert_eq!(lock(&world.state()).connected, 1, "nothing starts after the end");
    world.poller.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_the_server_sends_is_handed_on_at_once() {
    let world = World::new(1);
    let pushes = push_channel(&world.state());
    world.set("ns/a", &[("other", SECOND), ("q", Interval::Written(secs(300)))]);
    sleep(secs(1)).await;
    let query = subscription("v", "q", SECOND).query;
    pushes.unbounded_send(Push { query, outcome: outcome(Answer::Value(42.0)) }).expect("heard");
    let unknown = subscription("v", "unknown", SECOND).query;
    pushes.unbounded_send(Push { query: unknown, outcome: outcome(Answer::Value(43.0)) }).expect("heard");
    sleep(millis(1)).await;
    let last = world.delivered().last().cloned().expect("a delivery");
    assert_eq!((last.index, last.outcome, last.interval), (1, outcome(Answer::Value(42.0)), secs(300)));
    // The stream's end ends nothing else.
    drop(pushes);
    let before = world.delivered().len();
    sleep(secs(5)).await;
    assert!(world.delivered().len() >= before + 4);
}
