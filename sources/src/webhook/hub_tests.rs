//! Endpoints that come and go, readings that are pushed, and a hub that is closed.

use std::time::Instant;

use super::*;
use crate::{Connection as AnyConnection, Dependencies, Given, Secret, TriggerInput};

#[derive(Debug)]
struct Still(i64);

impl windlass_decision::Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0).expect("a time")
    }
}

const NOW: i64 = 1_000_000;

fn trigger(namespace: &str, more: &[(&str, &str)], secret: &str) -> crate::Parsed {
    let pairs = [("name", "orders"), ("value", "5"), ("signature", "github")];
    let metadata = pairs.iter().chain(more).map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let given = Given { parameters: [("secret".into(), Secret::new(secret))].into(), ..Given::default() };
    let input = TriggerInput { namespace, ..TriggerInput::new("webhook", &metadata, &given) };
    crate::parse(input).expect("good metadata").0
}

fn dependencies(hub: &Arc<Hub>) -> Dependencies {
    Dependencies {
        clock: Arc::new(Still(NOW)),
        deadline: Duration::from_secs(1),
        network: Arc::default(),
        hub: Arc::clone(hub),
    }
}

fn event(nth: u8, signature: Signature) -> Event {
    let stream = StreamKey { namespace: "shop".into(), name: "orders".into(), signature };
    Event { stream, id: Some([nth; 16]), at: NOW * 1000, values: vec![("n".into(), f64::from(nth))], counts: true }
}

fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("a time")
}

fn value(outcome: &Outcome) -> Option<f64> {
    if let Outcome::Ok(sample) = outcome { Some(sample.value) } else { None }
}

#[tokio::test]
async fn an_endpoint_is_known_as_long_as_a_trigger_reads_it() {
    let hub = Arc::<Hub>::default();
    let (first, second) = (trigger("shop", &[], "a"), trigger("shop", &[("window", "5")], "a"));
    let readers = [&first, &second].map(|parsed| crate::connect(&parsed.connection, &dependencies(&hub)));
    assert_eq!(hub.endpoint("shop", "orders").len(), 2);
    assert!(hub.endpoint("other", "orders").is_empty() && hub.endpoint("shop", "order").is_empty());
    let pushes = readers[0].watch();
    drop(readers);
    assert!(hub.endpoint("shop", "orders").is_empty(), "a stream of readings alone keeps nothing");
    drop(pushes);
}

#[tokio::test]
async fn a_closed_hub_gives_no_figure() {
    let hub = Arc::<Hub>::default();
    let parsed = trigger("shop", &[], "a");
    let reader = crate::connect(&parsed.connection, &dependencies(&hub));
    let read = async || reader.read(std::slice::from_ref(&parsed.query)).await.remove(0);
    assert!(matches!(read().await, Outcome::Failed(failure) if failure.message.contains("--data-dir")));
    hub.apply(&[event(1, Signature::Github)]);
    hub.open(Vec::new(), now());
    assert_eq!(value(&read().await), Some(0.0));
    hub.apply(&[event(1, Signature::Github), event(1, Signature::Github), event(2, Signature::None)]);
    assert_eq!(value(&read().await), Some(1.0), "once, and signed ones only");
    hub.close("over");
    assert!(matches!(read().await, Outcome::Failed(failure) if failure.message == "over"));
    hub.open([event(1, Signature::Github), event(3, Signature::Github)], now());
    assert_eq!(value(&read().await), Some(2.0));
}

#[tokio::test]
async fn a_number_is_absent_until_there_is_one() {
    let hub = Arc::<Hub>::default();
    hub.open(Vec::new(), now());
    let parsed = trigger("shop", &[("mode", "gauge"), ("valueLocation", "n")], "a");
    let reader = crate::connect(&parsed.connection, &dependencies(&hub));
    let read = async || reader.read(std::slice::from_ref(&parsed.query)).await.remove(0);
    assert!(matches!(read().await, Outcome::Absent(_)));
    hub.apply(&[event(7, Signature::Github)]);
    assert_eq!(value(&read().await), Some(7.0));
    hub.open(hub.carried(), now());
    assert_eq!(value(&read().await), Some(7.0), "carried over");
}

struct Kept(Mutex<Vec<(Instant, Outcome)>>);

impl crate::poller::Sink for Kept {
    fn reading(&self, _: &crate::poller::SubscriptionKey, _: usize, outcome: Outcome, _: crate::poller::Timing) {
        self.0.lock().expect("no panic").push((Instant::now(), outcome));
    }
}

#[tokio::test]
async fn an_event_reaches_the_sink_at_once_and_a_storm_does_not_drown_it() {
    let hub = Arc::<Hub>::default();
    hub.open(Vec::new(), now());
    let sink = Arc::new(Kept(Mutex::default()));
    let poller = crate::poller::Poller::new(dependencies(&hub), 1, Arc::clone(&sink) as _);
    let parsed = trigger("shop", &[], "a");
    // So rare that nothing comes by polling.
    let interval = crate::poller::Interval::Written(Duration::from_secs(3600));
    let subscription = crate::poller::Subscription {
        zone: crate::Zone::default(),
        connection: parsed.connection,
        query: parsed.query,
        interval,
    };
    poller.set("shop/orders".into(), vec![subscription]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut slowest = Duration::ZERO;
    for nth in 1..=20 {
        let began = Instant::now();
        hub.apply(&[event(nth, Signature::Github)]);
        tokio::time::sleep(Duration::from_millis(25)).await;
        let (at, outcome) = sink.0.lock().expect("no panic").last().cloned().expect("a reading");
        assert_eq!(value(&outcome), Some(f64::from(nth)));
        slowest = slowest.max(at - began);
    }
    println!("from event to sink: {slowest:?} at most");
    assert!(slowest < Duration::from_millis(20), "{slowest:?}");

    let before = sink.0.lock().expect("no panic").len();
    for nth in 21..=220 {
        hub.apply(&[event(nth, Signature::Github)]);
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let readings = sink.0.lock().expect("no panic").clone();
    assert_eq!(readings.last().and_then(|(_, outcome)| value(outcome)), Some(220.0));
    assert!(readings.len() - before <= 10, "{} readings", readings.len() - before);

    poller.set("shop/orders".into(), Vec::new());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(hub.endpoint("shop", "orders").is_empty(), "who is deleted is forgotten");
}

#[test]
fn a_rotated_secret_is_another_endpoint_with_the_same_past() {
    let hub = Arc::<Hub>::default();
    hub.open([event(1, Signature::Github)], now());
    let (old, new) = (trigger("shop", &[], "old"), trigger("shop", &[], "old\nnew"));
    assert_ne!(old.connection, new.connection);
    for parsed in [old, new] {
        let AnyConnection::Webhook(connection) = parsed.connection else { panic!("another source") };
        let registration = hub.register(&connection);
        assert_eq!(value(&hub.outcome(&connection, &connection.query, now())), Some(1.0));
        drop(registration);
    }
    hub.forget_before(now(), now());
    assert_eq!(hub.lock().streams.len(), 1);
    let week = Timestamp::from_second(NOW + 7 * 24 * 3600).expect("a time");
    hub.forget_before(now(), week);
    assert_eq!(hub.lock().streams.len(), 0, "nobody asked for a week");
}
