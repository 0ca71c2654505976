//! Windows through days, nights and clock changes, and a clock that is set back.

use std::time::Duration;

use super::*;
use crate::{Dependencies, Given, TriggerInput};

#[derive(Debug)]
struct Hand(Mutex<Timestamp>);

impl Hand {
    fn set(&self, now: &str) {
        *self.0.lock().expect("no panic") = now.parse().expect("a time");
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        *self.0.lock().expect("no panic")
    }
}

fn query(timezone: &str, start: &str, end: &str, desired: &str) -> (crate::Connection, crate::Query) {
    let metadata = [("timezone", timezone), ("start", start), ("end", end), ("desiredReplicas", desired)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let parsed = crate::parse(TriggerInput::new("cron", &metadata, &Given::default())).expect("good metadata").0;
    (parsed.connection, parsed.query)
}

fn reader() -> (Arc<Hand>, Arc<dyn Upstream>) {
    let clock = Arc::new(Hand(Mutex::new(Timestamp::UNIX_EPOCH)));
    let dependencies = Dependencies {
        clock: Arc::clone(&clock) as _,
        deadline: Duration::from_secs(1),
        network: Arc::default(),
        hub: Arc::default(),
    };
    let (connection, _) = query("UTC", "0 8 * * *", "0 9 * * *", "1");
    (clock, crate::connect(&connection, &dependencies))
}

async fn figures(upstream: &dyn Upstream, queries: &[crate::Query]) -> Vec<f64> {
    let outcomes = upstream.read(queries).await;
    let figure = |outcome: &Outcome| match outcome {
        Outcome::Ok(sample) => {
            assert_eq!((sample.activity, sample.limit), (Activity::Decided(sample.value > 0.0), None));
            sample.value
        }
        other => panic!("no figure: {other:?}"),
    };
    outcomes.iter().map(figure).collect()
}

#[tokio::test]
async fn a_window_opens_and_closes_to_the_second() {
    let (clock, upstream) = reader();
    let office = query("Europe/Berlin", "0 8 * * 1-5", "0 18 * * 1-5", "10").1;
    let night = query("UTC", "0 22 * * *", "0 6 * * *", "3").1;
    let table = [
        ("2026-03-02T06:59:59.999Z", [0.0, 0.0]),
        ("2026-03-02T07:00:00Z", [10.0, 0.0]),
        ("2026-03-02T16:59:59Z", [10.0, 0.0]),
        ("2026-03-02T17:00:00Z", [0.0, 0.0]),
        ("2026-03-02T22:00:00Z", [0.0, 3.0]),
        ("2026-03-03T05:59:59Z", [0.0, 3.0]),
        ("2026-03-03T06:00:00Z", [0.0, 0.0]),
        // The clock is set back: what was found out later does not hold.
        ("2026-03-03T05:59:59Z", [0.0, 3.0]),
        // The evening of Friday, Saturday, the morning of Monday.
        ("2026-03-06T16:00:00Z", [10.0, 0.0]),
        ("2026-03-06T17:00:00Z", [0.0, 0.0]),
        ("2026-03-07T12:00:00Z", [0.0, 0.0]),
        ("2026-03-09T07:00:00Z", [10.0, 0.0]),
        // In summer Berlin is two hours ahead.
        ("2026-03-30T05:59:59Z", [0.0, 3.0]),
        ("2026-03-30T06:00:00Z", [10.0, 0.0]),
    ];
    for (now, wanted) in table {
        clock.set(now);
        assert_eq!(figures(&*upstream, &[office.clone(), night.clone()]).await, wanted, "{now}");
    }
}

#[tokio::test]
async fn a_window_across_a_clock_change_neither_stays_open_nor_is_lost() {
    let (clock, upstream) = reader();
    // 02:30 is skipped on 29 March and comes twice on 25 October.
    let starts = query("Europe/Berlin", "30 2 * * *", "0 4 * * *", "2").1;
    let ends = query("Europe/Berlin", "0 1 * * *", "30 2 * * *", "5").1;
    let table = [
        ("2026-03-29T00:59:59Z", [0.0, 5.0]),
        ("2026-03-29T01:00:00Z", [2.0, 0.0]),
        ("2026-03-29T02:00:00Z", [0.0, 0.0]),
        ("2026-10-25T00:29:59Z", [0.0, 5.0]),
        ("2026-10-25T00:30:00Z", [2.0, 0.0]),
        ("2026-10-25T01:30:00Z", [2.0, 0.0]),
        ("2026-10-25T03:00:00Z", [0.0, 0.0]),
    ];
    for (now, wanted) in table {
        clock.set(now);
        assert_eq!(figures(&*upstream, &[starts.clone(), ends.clone()]).await, wanted, "{now}");
    }
}

#[tokio::test]
async fn what_opens_as_it_closes_is_open() {
    let (clock, upstream) = reader();
    let always = query("UTC", "0 0 * * *", "0 0 ? * *", "4").1;
    for now in ["2026-03-02T00:00:00Z", "2026-03-02T12:00:00Z", "2026-03-02T23:59:59Z"] {
        clock.set(now);
        assert_eq!(figures(&*upstream, std::slice::from_ref(&always)).await, [4.0], "{now}");
    }
}

#[tokio::test]
async fn what_is_remembered_is_what_would_be_found() {
    let (clock, upstream) = reader();
    let queries = [
        query("America/New_York", "*/7 * * * *", "*/5 * * * *", "2").1,
        query("Asia/Kolkata", "0 */3 * * *", "45 1-23/2 * * *", "7").1,
    ];
    let from: Timestamp = "2026-10-31T22:00:00Z".parse().expect("a time");
    for step in 0..3000_i32 {
        let now = from + jiff::SignedDuration::from_secs(i64::from(step) * 37);
        clock.set(&now.to_string());
        let found = figures(&*upstream, &queries).await;
        for (query, found) in queries.iter().zip(found) {
            let crate::Query::Cron(query) = query else { panic!("another source") };
            let wanted = if window(query, now).expect("a window").open { f64::from(query.desired) } else { 0.0 };
            assert_eq!(found, wanted, "{query:?} at {now}");
        }
    }
}

#[tokio::test]
async fn a_thousand_windows_take_no_time() {
    let (clock, upstream) = reader();
    clock.set("2026-03-02T12:00:00Z");
    let queries: Vec<_> =
        (1..=1000).map(|n| query("Europe/Berlin", "0 8 * * 1-5", "0 18 29 2 *", &n.to_string()).1).collect();
    for round in ["first", "second"] {
        let began = std::time::Instant::now();
        assert_eq!(upstream.read(&queries).await.len(), 1000);
        println!("{round}: {:?}", began.elapsed());
    }
}
