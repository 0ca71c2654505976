//! The RabbitMQ source over HTTP against a management API in memory that can answer wrongly.

mod fake;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;
use windlass_decision::{Clock, FailureKind, Outcome};
use windlass_sources::{Dependencies, Given, NetworkPolicy, Query, TriggerInput, Upstream, connect, parse};

use fake::{Fake, Fault};

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
}

fn trigger_with(deadline: Duration, host: &str, queue: &str, more: &[(&str, &str)]) -> (Arc<dyn Upstream>, Query) {
    trigger_within(NetworkPolicy::default().allow_loopback(true), deadline, host, queue, more)
}

fn trigger_within(
    network: NetworkPolicy,
    deadline: Duration,
    host: &str,
    queue: &str,
    more: &[(&str, &str)],
) -> (Arc<dyn Upstream>, Query) {
    let mut metadata: BTreeMap<String, String> =
        more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    metadata.insert("host".to_owned(), host.to_owned());
    metadata.insert("queueName".to_owned(), queue.to_owned());
    let parsed = parse(TriggerInput::new("rabbitmq", &metadata, &Given::default())).expect("good metadata").0;
    let network = Arc::new(network);
    (
        connect(&parsed.connection, &Dependencies { clock: Arc::new(Still), deadline, network, hub: Arc::default() }),
        parsed.query,
    )
}

fn trigger(host: &str, queue: &str, more: &[(&str, &str)]) -> (Arc<dyn Upstream>, Query) {
    trigger_with(Duration::from_secs(10), host, queue, more)
}

async fn read(host: &str, queue: &str, more: &[(&str, &str)]) -> Outcome {
    let (upstream, query) = trigger(host, queue, more);
    upstream.read(&[query]).await.remove(0)
}

fn value(outcome: &Outcome) -> f64 {
    match outcome {
        Outcome::Ok(sample) => sample.value,
        other => panic!("not a value: {other:?}"),
    }
}

fn failed(outcome: &Outcome) -> (FailureKind, &str) {
    match outcome {
        Outcome::Failed(failure) => (failure.kind, &failure.message),
        other => panic!("not a failure: {other:?}"),
    }
}

#[tokio::test]
async fn names_and_credentials_arrive_whole() {
    let (fake, address) = Fake::start().await;
    let name = "a b/c%?#é+&";
    fake.queue("v/1 %", name, json!({ "messages": 7, "messages_ready": 5 }));
    fake.queue("/", "plain", json!({ "messages": 1, "messages_ready": 1 }));
    // Basic authentication of user "u:" is impossible; of "ü" with a colon in the password it is not.
    fake.lock().allowed = vec!["Basic w7w6cDp3L0A=".to_owned()];
    let host = format!("http://%C3%BC:p%3Aw%2F%40@{address}/v%2F1%20%25");
    assert_eq!(value(&read(&host, name, &[]).await), 7.0);
    assert_eq!(value(&read(&host, name, &[("excludeUnacknowledged", "true")]).await), 5.0);
    let bare = format!("http://{address}/behind/proxy/");
    let more = [("username", "ü"), ("password", "p:w/@")];
    assert_eq!(value(&read(&bare, "plain", &more).await), 1.0);
    assert_eq!(fake.lock().requests, [format!("v/1 % {name}"), format!("v/1 % {name}"), "/ plain".to_owned()]);

    let wrong = [("username", "ü"), ("password", "S3CR3T")];
    let outcome = read(&bare, "plain", &wrong).await;
    let (kind, message) = failed(&outcome);
    assert_eq!(kind, FailureKind::Unauthorised);
    assert!(message.contains("check user and password") && !message.contains("S3CR3T"), "{message}");
    let outcome = read(&bare, "plain", &[]).await;
    assert!(failed(&outcome).1.contains("wants credentials"), "{outcome:?}");
}

#[tokio::test]
async fn what_is_not_there_is_absent() {
    let (fake, address) = Fake::start().await;
    let host = format!("http://guest:guest@{address}");
    fake.queue("/", "new", json!({ "state": "running" }));
    for (queue, words) in [("gone", "no queue \"gone\""), ("new", "no figures of \"new\" yet")] {
        match read(&host, queue, &[]).await {
            Outcome::Absent(failure) => {
                assert_eq!((failure.kind, failure.field), (FailureKind::NotFound, Some("metadata.queueName")));
                assert!(failure.message.contains(words), "{}", failure.message);
            }
            other => panic!("{queue}: {other:?}"),
        }
    }
    let outcome = read(&host, "x", &[("useRegex", "true"), ("vhostName", "nowhere")]).await;
    assert!(matches!(&outcome, Outcome::Absent(failure) if failure.message.contains("nowhere")), "{outcome:?}");
}

#[tokio::test]
async fn wrong_answers_fail_without_being_repeated() {
    let (fake, address) = Fake::start().await;
    let (elsewhere, other) = Fake::start().await;
    elsewhere.queue("/", "q", json!({ "messages": 99 }));
    let host = format!("http://guest:guest@{address}");
    let padding = " ".repeat(5 << 20);
    let table = [
        (Fault::Status(500), FailureKind::BadAnswer, "status 500"),
        (Fault::Status(503), FailureKind::BadAnswer, "status 503"),
        (Fault::Status(429), FailureKind::BadAnswer, "status 429"),
        (Fault::Status(204), FailureKind::BadAnswer, "status 204"),
        (Fault::Status(401), FailureKind::Unauthorised, "check user and password"),
        (Fault::Status(403), FailureKind::Unauthorised, "monitoring"),
        (Fault::Redirect(format!("http://{other}/api/queues/%2F/q")), FailureKind::BadAnswer, "not followed"),
        (Fault::Body("S3CR3T".to_owned()), FailureKind::BadAnswer, "not that of a queue"),
        (Fault::Body(String::new()), FailureKind::BadAnswer, "not that of a queue"),
        (Fault::Body("{\"messages\": 3, \"x\": \"S3CR3T\"}".to_owned()), FailureKind::BadAnswer, "not that of a queue"),
        (Fault::Body("{\"name\": \"q\", \"messages\": -3}".to_owned()), FailureKind::BadAnswer, "not a count"),
        (
            Fault::Body(format!("{{\"name\": \"q\", \"messages\": 3}}{padding}")),
            FailureKind::BadAnswer,
            "larger than 4 MiB",
        ),
    ];
    fake.queue("/", "q", json!({ "messages": 3 }));
    for (fault, wanted, words) in table {
        fake.fault("q", fault);
        let outcome = read(&host, "q", &[]).await;
        let (kind, message) = failed(&outcome);
        assert_eq!(kind, wanted, "{message}");
        assert!(message.contains(words), "{message}");
        assert!(!message.contains("S3CR3T"), "{message}");
    }
    assert!(elsewhere.lock().requests.is_empty(), "the redirect was followed");
    fake.lock().faults.clear();
    assert_eq!(value(&read(&host, "q", &[]).await), 3.0);
}

#[tokio::test]
async fn eight_requests_at_once_and_answers_in_order() {
    let (fake, address) = Fake::start().await;
    let host = format!("http://guest:guest@{address}");
    let (upstream, _) = trigger(&host, "q-0", &[]);
    let mut queries = Vec::new();
    for n in 0..60 {
        let name = format!("q-{n}");
        fake.queue("/", &name, json!({ "messages": n }));
        if n % 3 == 0 {
            fake.fault(&name, Fault::Slow(Duration::from_millis(n % 7)));
        }
        queries.push(trigger(&host, &name, &[]).1);
    }
    let outcomes = upstream.read(&queries).await;
    let values: Vec<f64> = outcomes.iter().map(value).collect();
    assert_eq!(values, (0..60).map(f64::from).collect::<Vec<_>>());
    let most = fake.lock().most_in_flight;
    assert!((2..=8).contains(&most), "{most} in flight");
}

#[tokio::test]
async fn a_queue_that_hangs_costs_the_others_nothing() {
    let (fake, address) = Fake::start().await;
    let host = format!("http://guest:guest@{address}");
    fake.fault("slow", Fault::Slow(Duration::from_secs(60)));
    fake.queue("/", "quick", json!({ "messages": 2 }));
    for (timeout, deadline) in [("200", 5000), ("5000", 200)] {
        let deadline = Duration::from_millis(deadline);
        let (upstream, slow) = trigger_with(deadline, &host, "slow", &[("timeout", timeout)]);
        let (_, quick) = trigger(&host, "quick", &[]);
        let began = Instant::now();
        let outcomes = upstream.read(&[slow, quick.clone(), quick]).await;
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        assert_eq!(failed(&outcomes[0]).0, FailureKind::Timeout);
        assert_eq!((value(&outcomes[1]), value(&outcomes[2])), (2.0, 2.0));
    }
}

#[tokio::test]
async fn a_regular_expression_is_one_request() {
    let (fake, address) = Fake::start().await;
    let host = format!("http://guest:guest@{address}/v");
    for (name, messages) in [("orders-eu", 4), ("orders-us", 2), ("bills", 50)] {
        let stats = json!({ "publish": 1, "publish_details": { "rate": f64::from(messages) / 2.0 } });
        fake.queue("v", name, json!({ "messages": messages, "messages_ready": 1, "message_stats": stats }));
    }
    let regex = |more: &[(&'static str, &'static str)]| {
        let mut all = vec![("useRegex", "true")];
        all.extend_from_slice(more);
        all
    };
    assert_eq!(value(&read(&host, "^orders-", &regex(&[])).await), 6.0);
    assert_eq!(fake.lock().requests, ["v ?name=^orders-&page=1&page_size=100&pagination=false&use_regex=true"]);
    assert_eq!(value(&read(&host, "^orders-", &regex(&[("operation", "avg")])).await), 3.0);
    assert_eq!(value(&read(&host, "^orders-", &regex(&[("operation", "max")])).await), 4.0);
    assert_eq!(value(&read(&host, "^orders-", &regex(&[("excludeUnacknowledged", "true")])).await), 2.0);
    assert_eq!(value(&read(&host, "^orders-", &regex(&[("mode", "MessageRate"), ("value", "1")])).await), 3.0);
    assert_eq!(value(&read(&host, "^none", &regex(&[])).await), 0.0);

    let outcome = read(&host, "^orders-", &regex(&[("pageSize", "1")])).await;
    let Outcome::Failed(failure) = &outcome else { panic!("{outcome:?}") };
    assert_eq!((failure.kind, failure.field), (FailureKind::BadAnswer, Some("metadata.pageSize")));
    assert!(failure.message.contains("raise pageSize") && failure.message.contains("narrow"), "{}", failure.message);

    for body in ["{}", "[]", "S3CR3T", "{\"items\": [], \"page\": 1}", "{\"items\": [{}], \"page_count\": 1}"] {
        fake.lock().listing_fault = Some(Fault::Body(body.to_owned()));
        let outcome = read(&host, "^orders-", &regex(&[])).await;
        let (kind, message) = failed(&outcome);
        assert_eq!(kind, FailureKind::BadAnswer, "{body}");
        assert!(!message.contains("S3CR3T"), "{message}");
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_unreachable() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    for scheme in ["http", "https", "amqp", "amqps"] {
        let outcome = read(&format!("{scheme}://guest:S3CR3T@{address}"), "q", &[]).await;
        let (kind, message) = failed(&outcome);
        assert_eq!(kind, FailureKind::Unreachable, "{scheme}: {message}");
        assert!(message.contains(&address.to_string()) && !message.contains("S3CR3T"), "{message}");
    }
    let outcome = read("amqp://guest:guest@no-such-host.invalid", "q", &[]).await;
    assert_eq!(failed(&outcome).0, FailureKind::Unreachable, "{outcome:?}");
}

#[tokio::test]
async fn tls_to_a_port_that_speaks_plain_http_is_a_tls_failure() {
    let (_, address) = Fake::start().await;
    let outcome = read(&format!("https://guest:guest@{address}"), "q", &[]).await;
    assert_eq!(failed(&outcome).0, FailureKind::Tls, "{outcome:?}");
}

#[tokio::test]
async fn the_default_policy_lets_nobody_in_by_either_door() {
    let (fake, address) = Fake::start().await;
    let port = address.rsplit(':').next().expect("a port");
    for scheme in ["http", "amqp"] {
        for host in
            ["127.0.0.1", "127.1", "localhost", "[::ffff:127.0.0.1]", "169.254.169.254", "metadata.google.internal"]
        {
            let host = format!("{scheme}://guest:S3CR3T@{host}:{port}");
            let deadline = Duration::from_secs(5);
            let (upstream, query) = trigger_within(NetworkPolicy::default(), deadline, &host, "q", &[]);
            let outcome = upstream.read(&[query]).await.remove(0);
            let Outcome::Failed(failure) = &outcome else { panic!("{host}: {outcome:?}") };
            assert_eq!((failure.kind, failure.field), (FailureKind::Unreachable, Some("metadata.host")), "{host}");
            let message = &failure.message;
            assert!(message.contains("is not allowed") && !message.contains("S3CR3T"), "{host}: {message}");
        }
    }
    assert!(fake.lock().requests.is_empty());
}
