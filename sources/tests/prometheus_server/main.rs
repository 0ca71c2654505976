//! The Prometheus source against a real server, and metrics-api against the same server's own page of metrics.

mod server;
mod signed;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use windlass_decision::{Activity, Clock, FailureKind, Outcome};
use windlass_sources::{Dependencies, Given, NetworkPolicy, Query, TriggerInput, Upstream, connect, parse};

use server::{Guard, Page, Server};

const DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
}

fn trigger_with(network: NetworkPolicy, kind: &str, pairs: &[(&str, &str)]) -> (Arc<dyn Upstream>, Query) {
    let metadata: BTreeMap<String, String> =
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let parsed = parse(TriggerInput::new(kind, &metadata, &Given::default())).expect("good metadata").0;
    let dependencies =
        Dependencies { clock: Arc::new(Still), deadline: DEADLINE, network: Arc::new(network), hub: Arc::default() };
    (connect(&parsed.connection, &dependencies), parsed.query)
}

/// A trigger of type prometheus.
fn trigger(address: &str, query: &str, more: &[(&str, &str)]) -> (Arc<dyn Upstream>, Query) {
    let mut pairs = vec![("serverAddress", address), ("query", query), ("threshold", "1")];
    pairs.extend_from_slice(more);
    trigger_with(NetworkPolicy::default().allow_loopback(true), "prometheus", &pairs)
}

async fn read(address: &str, query: &str, more: &[(&str, &str)]) -> Outcome {
    let (upstream, query) = trigger(address, query, more);
    upstream.read(&[query]).await.remove(0)
}

fn value(outcome: &Outcome) -> f64 {
    match outcome {
        Outcome::Ok(sample) => {
            assert_eq!((sample.activity, sample.limit), (Activity::Number(sample.value), None));
            sample.value
        }
        other => panic!("not a value: {other:?}"),
    }
}

fn failed(outcome: &Outcome) -> (FailureKind, Option<&'static str>, &str) {
    match outcome {
        Outcome::Failed(failure) => (failure.kind, failure.field, &failure.message),
        other => panic!("not a failure: {other:?}"),
    }
}

/// Reads until the figure is `wanted`.
async fn read_until(upstream: &dyn Upstream, query: &Query, wanted: f64) {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let outcome = upstream.read(std::slice::from_ref(query)).await.remove(0);
        if matches!(&outcome, Outcome::Ok(sample) if sample.value == wanted) {
            return;
        }
        assert!(Instant::now() < until, "still {outcome:?} instead of {wanted}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_server_is_read_right_whatever_happens_to_it() {
    let page = Page::default();
    page.write("jobs{queue=\"a\"} 3\njobs{queue=\"b\"} 4\nidle 0\nbelow -5\nlost NaN\n");
    let mut server = Server::start(&page.serve().await, Guard::Open).await;
    let address = server.address();

    figures_follow_what_is_scraped(&page, &address).await;
    what_has_no_result_is_nothing_or_zero_as_is_wished(&address).await;
    queries_that_give_no_number_say_so(&address).await;
    many_queries_are_answered_in_order(&address).await;
    signed::a_managed_server_is_asked_with_a_signature(&address).await;
    a_path_that_is_not_there_is_absent(&address).await;
    the_default_policy_lets_nobody_in(&address).await;
    the_page_of_metrics_is_an_api_too(&address).await;
    a_frozen_server_is_a_timeout_and_heals(&server).await;
    a_killed_server_heals_without_a_new_reader(&mut server).await;
}

async fn figures_follow_what_is_scraped(page: &Page, address: &str) {
    let (upstream, sum) = trigger(address, "sum(jobs)", &[]);
    read_until(&*upstream, &sum, 7.0).await;
    let query = |query: &str| trigger(address, query, &[]).1;
    let queries = [
        query("jobs{queue=\"b\"}"),
        query("idle"),
        query("scalar(sum(jobs)) / 2"),
        query("vector(1e3)"),
        query("below"),
    ];
    let outcomes = upstream.read(&queries).await;
    assert_eq!(outcomes.iter().map(value).collect::<Vec<_>>(), [4.0, 0.0, 3.5, 1000.0, 0.0]);
    // Characters that a query string must not lose.
    let odd = "sum(jobs{queue=~\"a|b\"}) + 0 * sum(jobs{queue!=\"&x=1#%20+\"})";
    assert_eq!(value(&read(address, odd, &[]).await), 7.0);
    page.write("jobs{queue=\"a\"} 8\nidle 0\nlost NaN\n");
    read_until(&*upstream, &sum, 8.0).await;
}

async fn what_has_no_result_is_nothing_or_zero_as_is_wished(address: &str) {
    for query in ["nowhere", "lost", "vector(1)/0", "vector(1) > 2"] {
        assert_eq!(value(&read(address, query, &[]).await), 0.0, "{query}");
        match read(address, query, &[("ignoreNullValues", "false")]).await {
            Outcome::Absent(failure) => {
                assert_eq!((failure.kind, failure.field), (FailureKind::NotFound, Some("metadata.query")), "{query}");
            }
            other => panic!("{query}: {other:?}"),
        }
    }
}

async fn queries_that_give_no_number_say_so(address: &str) {
    let table = [
        ("{job=\"test\"}", "more than one result"),
        ("idle[1m]", "a range"),
        ("\"text\"", "a text"),
        ("sum(", "cannot evaluate"),
        ("vector(1e300)", "not a count"),
    ];
    for (query, words) in table {
        let outcome = read(address, query, &[]).await;
        let (kind, field, message) = failed(&outcome);
        assert_eq!((kind, field), (FailureKind::BadAnswer, Some("metadata.query")), "{query}: {message}");
        assert!(message.contains(words), "{query}: {message}");
    }
}

async fn many_queries_are_answered_in_order(address: &str) {
    let (upstream, _) = trigger(address, "up", &[]);
    let queries: Vec<_> = (0..500).map(|n| trigger(address, &format!("vector({n})"), &[]).1).collect();
    let began = Instant::now();
    let outcomes = upstream.read(&queries).await;
    println!("500 queries in {:?}", began.elapsed());
    assert_eq!(outcomes.iter().map(value).collect::<Vec<_>>(), (0..500).map(f64::from).collect::<Vec<_>>());
}

async fn a_path_that_is_not_there_is_absent(address: &str) {
    let outcome = read(&format!("{address}/prefix"), "up", &[]).await;
    assert!(
        matches!(&outcome, Outcome::Absent(failure) if failure.field == Some("metadata.serverAddress")),
        "{outcome:?}"
    );
}

async fn the_default_policy_lets_nobody_in(address: &str) {
    let pairs = [("serverAddress", address), ("query", "up"), ("threshold", "1")];
    let (upstream, query) = trigger_with(NetworkPolicy::default(), "prometheus", &pairs);
    let outcomes = upstream.read(&[query]).await;
    let (kind, field, message) = failed(&outcomes[0]);
    assert_eq!((kind, field), (FailureKind::Unreachable, Some("metadata.serverAddress")));
    assert!(message.contains("is not allowed") && message.contains("loopback"), "{message}");
}

async fn the_page_of_metrics_is_an_api_too(address: &str) {
    let url = format!("{address}/metrics");
    let location = "prometheus_http_requests_total{code=\"200\",handler=\"/api/v1/query\"}";
    let pairs = [("url", &*url), ("valueLocation", location), ("format", "prometheus"), ("targetValue", "1")];
    let (upstream, query) = trigger_with(NetworkPolicy::default().allow_loopback(true), "metrics-api", &pairs);
    assert!(value(&upstream.read(&[query]).await[0]) >= 500.0);
}

async fn a_frozen_server_is_a_timeout_and_heals(server: &Server) {
    let (upstream, query) = trigger(&server.address(), "vector(5)", &[("timeout", "300")]);
    read_until(&*upstream, &query, 5.0).await;
    server.freeze().await;
    for _ in 0..2 {
        let began = Instant::now();
        let outcomes = upstream.read(&[query.clone(), query.clone()]).await;
        assert!(began.elapsed() < DEADLINE, "{:?}", began.elapsed());
        assert_eq!(outcomes.len(), 2);
        assert!(outcomes.iter().all(|outcome| failed(outcome).0 == FailureKind::Timeout), "{outcomes:?}");
    }
    server.thaw();
    read_until(&*upstream, &query, 5.0).await;
}

async fn a_killed_server_heals_without_a_new_reader(server: &mut Server) {
    let (upstream, query) = trigger(&server.address(), "vector(5)", &[]);
    read_until(&*upstream, &query, 5.0).await;
    server.kill();
    for _ in 0..3 {
        let outcome = upstream.read(std::slice::from_ref(&query)).await.remove(0);
        assert_eq!(failed(&outcome).0, FailureKind::Unreachable, "{outcome:?}");
    }
    server.restart().await;
    read_until(&*upstream, &query, 5.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guarded_server_lets_in_who_shows_all_it_asks_for() {
    let server = Server::start("127.0.0.1:1", Guard::Closed).await;
    let address = server.address();
    let [ca, cert, key] = ["ca.crt", "client.crt", "client.key"].map(|name| server.pem(name));
    let all = [
        ("authModes", "tls,basic"),
        ("ca", &*ca),
        ("cert", &*cert),
        ("key", &*key),
        ("username", "aladdin"),
        ("password", "sesame"),
    ];
    let (upstream, query) = trigger(&address, "vector(6)", &all);
    read_until(&*upstream, &query, 6.0).await;
    let unverified: Vec<_> = all
        .iter()
        .copied()
        .map(|(key, value)| if key == "ca" { ("unsafeSsl", "true") } else { (key, value) })
        .collect();
    assert_eq!(value(&read(&address, "vector(6)", &unverified).await), 6.0);

    let without = |keys: &[&str], more: &[(&'static str, &'static str)]| -> Vec<(&str, &str)> {
        all.iter().copied().filter(|(key, _)| !keys.contains(key)).chain(more.iter().copied()).collect()
    };
    let table = [
        (without(&["ca"], &[]), FailureKind::Tls),
        (without(&["password"], &[("password", "S3CR3T")]), FailureKind::Unauthorised),
        (without(&["authModes", "username", "password"], &[("authModes", "tls")]), FailureKind::Unauthorised),
    ];
    for (pairs, wanted) in table {
        let outcome = read(&address, "vector(6)", &pairs).await;
        let (kind, _, message) = failed(&outcome);
        assert_eq!(kind, wanted, "{message}");
        assert!(!message.contains("S3CR3T"), "{message}");
    }
    the_same_guard_is_passed_by_metrics_api(&address, &all).await;
    // Without a client certificate the server hangs up while TLS is made, or right after it.
    let outcome = read(&address, "vector(6)", &without(&["authModes", "cert", "key"], &[("authModes", "basic")])).await;
    assert!(matches!(failed(&outcome).0, FailureKind::Tls | FailureKind::Unreachable), "{outcome:?}");
    // And plain HTTP on its port is no answer of Prometheus.
    let plain = address.replace("https", "http");
    assert!(matches!(failed(&read(&plain, "vector(6)", &[]).await).0, FailureKind::BadAnswer), "plain HTTP");
}

async fn the_same_guard_is_passed_by_metrics_api(address: &str, all: &[(&str, &str)]) {
    let url = format!("{address}/metrics");
    let what = [("url", &*url), ("valueLocation", "process_open_fds"), ("format", "prometheus"), ("targetValue", "1")];
    let read = async |pairs: Vec<(&str, &str)>| {
        let pairs = [&what[..], &pairs].concat();
        let (upstream, query) = trigger_with(NetworkPolicy::default().allow_loopback(true), "metrics-api", &pairs);
        upstream.read(&[query]).await.remove(0)
    };
    assert!(value(&read(all.to_vec()).await) > 0.0);
    let without = |name: &str| all.iter().copied().filter(|(key, _)| *key != name).collect::<Vec<_>>();
    assert_eq!(failed(&read(without("ca")).await).0, FailureKind::Tls);
    let wrong = [without("password"), vec![("password", "S3CR3T")]].concat();
    assert_eq!(failed(&read(wrong).await).0, FailureKind::Unauthorised);
}
