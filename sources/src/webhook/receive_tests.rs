//! From requests to events: what is taken, for whom, under which id.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::Secret;

fn gauge(written: &str) -> Query {
    let path = crate::metrics_api::Path::gjson(written).expect("a path");
    Query::Gauge(Location { written: written.into(), path })
}

fn count() -> Query {
    Query::Count(Duration::from_secs(60))
}

fn unsigned(query: Query) -> Connection {
    Connection {
        namespace: "shop".into(),
        name: "orders".into(),
        signature: Signature::None,
        secrets: Vec::new(),
        id_header: None,
        tolerance: Duration::from_secs(300),
        max_body: 1000,
        query,
    }
}

fn github(query: Query) -> Connection {
    Connection {
        signature: Signature::Github,
        secrets: vec![Secret::new("It's a Secret to Everybody")],
        ..unsigned(query)
    }
}

const SIGNED: (&str, &str) =
    ("x-hub-signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");

fn taken(connections: &[Connection], headers: &[(&str, &str)], body: &[u8]) -> Result<Vec<Event>, Refusal> {
    let connections: Vec<_> = connections.iter().cloned().map(Arc::new).collect();
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: reqwest::header::HeaderName = name.parse().unwrap();
        map.append(name, value.parse().unwrap());
    }
    events(&connections, &map, body, Timestamp::from_second(1_614_265_330).unwrap())
}

fn bad(result: Result<Vec<Event>, Refusal>) -> String {
    match result {
        Err(Refusal::Bad(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn numbers_are_found_or_said_to_be_missing() {
    let both = [unsigned(gauge("queue.length")), unsigned(gauge("jobs.#"))];
    let events = taken(&both, &[], br#"{"queue":{"length":"12"},"jobs":[1,2,3]}"#).expect("taken");
    assert_eq!(events[0].values, [("jobs.#".to_owned(), 3.0), ("queue.length".to_owned(), 12.0)]);
    let events = taken(&both, &[], br#"{"jobs":[]}"#).expect("of use for one");
    assert_eq!(events[0].values, [("jobs.#".to_owned(), 0.0)]);
    for body in [
        "",
        "x",
        "{}",
        r#"{"queue":{"length":null}}"#,
        r#"{"queue":{"length":-1}}"#,
        r#"{"queue":{"length":"S3CR3T"}}"#,
    ] {
        let why = bad(taken(&both[..1], &[], body.as_bytes()));
        assert!(why.contains("queue.length") && !why.contains("S3CR3T"), "{why}");
    }
    let events = taken(&[unsigned(gauge("queue.length")), unsigned(count())], &[], b"{}").expect("of use for a count");
    assert!(events[0].values.is_empty() && events[0].counts);
}

#[test]
fn ids_stand_where_they_are_usual_or_written() {
    let id = |connection: &Connection, headers: &[(&str, &str)], body: &[u8]| {
        taken(std::slice::from_ref(connection), headers, body).map(|events| events[0].id)
    };
    let plain = unsigned(count());
    assert_eq!(id(&plain, &[("webhook-id", "7"), ("x-github-delivery", "7")], b""), Ok(None));
    let event = |id: &'static str, source: &'static str| [("ce-id", id), ("ce-source", source), ("ce-type", "t")];
    let first = id(&plain, &event("7", "/a"), b"").expect("taken");
    assert!(first.is_some() && first == id(&plain, &event("7", "/a"), b"other").expect("taken"));
    assert_ne!(first, id(&plain, &event("7", "/b"), b"").expect("taken"), "of another source");
    let structured = [("content-type", "application/cloudevents+json")];
    let body = br#"{"specversion":"1.0","id":"7","source":"/a","type":"t"}"#;
    assert_eq!(first, id(&plain, &structured, body).expect("taken"));

    let signed = github(count());
    let delivery = id(&signed, &[SIGNED, ("X-GitHub-Delivery", "7")], b"Hello, World!").expect("taken");
    assert!(delivery.is_some() && delivery != first);
    let written = Connection { id_header: Some("x-request-id".into()), ..plain };
    assert!(id(&written, &[("X-Request-Id", "7")], b"").expect("taken").is_some());
    for missing in
        [&[][..], &[("x-request-id", "")], &[("x-request-id", "7"), ("x-request-id", "8")], &event("7", "/a")]
    {
        assert!(bad(taken(std::slice::from_ref(&written), missing, b"")).contains("x-request-id"));
    }
}

#[test]
fn an_unsigned_event_does_not_count_for_who_asks_for_signed_ones() {
    let both = [github(count()), unsigned(count())];
    let signatures = |headers: &[(&str, &str)]| {
        let events = taken(&both, headers, b"Hello, World!").expect("taken");
        events.into_iter().map(|event| event.stream.signature).collect::<Vec<_>>()
    };
    assert_eq!(signatures(&[]), [Signature::None]);
    assert_eq!(signatures(&[SIGNED]), [Signature::Github, Signature::None]);
    assert_eq!(taken(&both[..1], &[], b"Hello, World!"), Err(Refusal::Signature));
    assert_eq!(taken(&[], &[], b""), Err(Refusal::TooLarge), "nobody takes it");
}

#[test]
fn what_is_not_genuine_is_not_looked_into() {
    let wrong = [("content-type", "application/cloudevents-batch+json"), ("content-encoding", "gzip")];
    assert_eq!(taken(&[github(gauge("a"))], &wrong, b"{"), Err(Refusal::Signature));
    assert!(matches!(taken(&[unsigned(count())], &wrong[..1], b"[]"), Err(Refusal::MediaType(_))));
    assert!(matches!(taken(&[unsigned(count())], &wrong[1..], b""), Err(Refusal::MediaType(_))));
    assert_eq!(taken(&[unsigned(count())], &[], &[b' '; 1001]), Err(Refusal::TooLarge));
}

proptest! {
    #[test]
    fn nothing_makes_it_panic_or_be_repeated(body in prop::collection::vec(any::<u8>(), 0..300), media in "[ -~]{0,40}", id in "[ -~]{0,40}") {
        let all = [unsigned(gauge("a.b")), unsigned(count()), github(gauge("a.#(b>1)#|#"))];
        let headers = [("content-type", media.as_str()), ("ce-id", &id), ("x-hub-signature-256", &id)];
        for one in &all {
            let marked = [b"{\"a\":\"S3CR3T", body.as_slice()].concat();
            let told = format!("{:?}", taken(std::slice::from_ref(one), &headers, &marked));
            prop_assert!(!told.contains("S3CR3T"), "{}", told);
        }
    }
}
