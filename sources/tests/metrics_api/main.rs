//! The metrics-api source against a server that answers as it is told.

mod members;
mod oauth;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use windlass_decision::{Clock, FailureKind, Outcome};
use windlass_sources::{Dependencies, Given, NetworkPolicy, Query, Secret, TriggerInput, Upstream, connect, parse};

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
}

/// What a path answers.
#[derive(Clone)]
enum Answer {
    Body(String),
    Status(u16),
    Redirect(String),
    Slow(Duration, String),
    Endless,
}

#[derive(Default)]
struct Api {
    /// By path, without the query string.
    answers: BTreeMap<String, Answer>,
    /// Requests that came, with the headers that say who asks.
    requests: Vec<String>,
    in_flight: usize,
    most_in_flight: usize,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Api>>);

impl Fake {
    /// Starts it; gives `host:port`.
    async fn start() -> (Self, String, JoinHandle<()>) {
        let fake = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let task = fake.serve(listener);
        (fake, address, task)
    }

    fn serve(&self, listener: TcpListener) -> JoinHandle<()> {
        let app = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        })
    }

    fn lock(&self) -> MutexGuard<'_, Api> {
        self.0.lock().expect("no test panicked with it")
    }

    fn answer(&self, path: &str, answer: Answer) {
        self.lock().answers.insert(path.to_owned(), answer);
    }

    fn body(&self, path: &str, body: &str) {
        self.answer(path, Answer::Body(body.to_owned()));
    }
}

async fn answer(State(fake): State<Fake>, request: Request) -> Response {
    let answer = {
        let mut api = fake.lock();
        let mut seen = request.uri().to_string();
        for name in ["authorization", "x-api-key", "x-mine"] {
            if let Some(value) = request.headers().get(name) {
                seen += &format!(" {name}={}", value.to_str().expect("ASCII"));
            }
        }
        api.requests.push(seen);
        api.in_flight += 1;
        api.most_in_flight = api.most_in_flight.max(api.in_flight);
        api.answers.get(request.uri().path()).cloned()
    };
    tokio::task::yield_now().await;
    let response = match answer {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(Answer::Body(body)) => body.into_response(),
        Some(Answer::Status(status)) => (StatusCode::from_u16(status).expect("a status"), "S3CR3T 5").into_response(),
        Some(Answer::Redirect(to)) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        Some(Answer::Slow(wait, body)) => {
            tokio::time::sleep(wait).await;
            body.into_response()
        }
        Some(Answer::Endless) => {
            let chunks = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 65_536]));
            Body::from_stream(chunks).into_response()
        }
    };
    fake.lock().in_flight -= 1;
    response
}

fn trigger_given(given: &Given, deadline: Duration, url: &str, more: &[(&str, &str)]) -> (Arc<dyn Upstream>, Query) {
    let mut pairs = vec![("url", url), ("targetValue", "5")];
    if !more.iter().any(|(key, _)| *key == "valueLocation") {
        pairs.push(("valueLocation", "n"));
    }
    pairs.extend_from_slice(more);
    let metadata: BTreeMap<String, String> =
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let parsed = parse(TriggerInput::new("metrics-api", &metadata, given)).expect("good metadata").0;
    let network = Arc::new(NetworkPolicy::default().allow_loopback(true));
    (
        connect(&parsed.connection, &Dependencies { clock: Arc::new(Still), deadline, network, hub: Arc::default() }),
        parsed.query,
    )
}

fn trigger(url: &str, more: &[(&str, &str)]) -> (Arc<dyn Upstream>, Query) {
    trigger_given(&Given::default(), Duration::from_secs(10), url, more)
}

async fn read(url: &str, more: &[(&str, &str)]) -> Outcome {
    let (upstream, query) = trigger(url, more);
    upstream.read(&[query]).await.remove(0)
}

fn value(outcome: &Outcome) -> f64 {
    match outcome {
        Outcome::Ok(sample) => sample.value,
        other => panic!("not a value: {other:?}"),
    }
}

fn failed(outcome: &Outcome) -> (FailureKind, Option<&'static str>, &str) {
    match outcome {
        Outcome::Failed(failure) => (failure.kind, failure.field, &failure.message),
        other => panic!("not a failure: {other:?}"),
    }
}

#[tokio::test]
async fn each_format_gives_its_number() {
    let (fake, address, _) = Fake::start().await;
    fake.body("/json", r#"{"queue": {"length": 7}, "zero": 0, "text": "1.5k", "below": -4}"#);
    fake.body("/yaml", "queue:\n  length: 8\n");
    fake.body("/xml", "<queue><length>9</length></queue>");
    fake.body("/prometheus", "queue_length{name=\"a\"} 1\nqueue_length{name=\"b\"} 10\n");
    for (path, location, wanted) in [
        ("json", "queue.length", 7.0),
        ("json", "zero", 0.0),
        ("json", "text", 1500.0),
        ("json", "below", 0.0),
        ("yaml", "queue.length", 8.0),
        ("xml", "queue.length", 9.0),
        ("prometheus", "queue_length{name=\"b\"}", 10.0),
    ] {
        let url = format!("http://{address}/{path}?a=b%20c");
        let outcome = read(&url, &[("format", path), ("valueLocation", location)]).await;
        assert_eq!(value(&outcome), wanted, "{path} {location}");
    }
    assert!(fake.lock().requests.iter().all(|request| request.ends_with("?a=b%20c")), "{:?}", fake.lock().requests);
}

#[tokio::test]
async fn who_asks_is_said_as_the_mode_says() {
    let (fake, address, _) = Fake::start().await;
    fake.body("/q", r#"{"n": 1}"#);
    let url = format!("http://{address}/q?of=a");
    let table: &[(&[(&str, &str)], &str)] = &[
        (&[], "/q?of=a"),
        (&[("authMode", "apiKey"), ("apiKey", "k")], "/q?of=a x-api-key=k"),
        (&[("authMode", "apiKey"), ("apiKey", "k"), ("keyParamName", "X-Mine")], "/q?of=a x-mine=k"),
        (&[("authMode", "apiKey"), ("apiKey", "k&l"), ("method", "query")], "/q?of=a&api_key=k%26l"),
        (&[("authMode", "apiKey"), ("apiKey", "k"), ("method", "query"), ("keyParamName", "my")], "/q?of=a&my=k"),
        (
            &[("authMode", "basic"), ("username", "aladdin"), ("password", "open sesame")],
            "/q?of=a authorization=Basic YWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        ),
        (&[("authMode", "bearer"), ("token", "t")], "/q?of=a authorization=Bearer t"),
        (
            &[("authModes", "bearer,apiKey"), ("token", "t"), ("apiKey", "k")],
            "/q?of=a authorization=Bearer t x-api-key=k",
        ),
    ];
    for (more, wanted) in table {
        assert_eq!(value(&read(&url, more).await), 1.0);
        assert_eq!(fake.lock().requests.pop().as_deref(), Some(*wanted));
    }
    // From an authentication just as from the trigger.
    let parameters = [("token".to_owned(), Secret::new("t"))].into();
    let given = Given { parameters, ..Given::default() };
    let (upstream, query) = trigger_given(&given, Duration::from_secs(5), &url, &[("authMode", "bearer")]);
    assert_eq!(value(&upstream.read(&[query]).await[0]), 1.0);
    assert_eq!(fake.lock().requests.pop().as_deref(), Some("/q?of=a authorization=Bearer t"));
}

#[tokio::test]
async fn what_is_not_there_is_absent() {
    let (fake, address, _) = Fake::start().await;
    fake.body("/q", r#"{"m": 1, "n": null}"#);
    for (path, location, field) in [
        ("/other", "n", "metadata.url"),
        ("/q", "n", "metadata.valueLocation"),
        ("/q", "x.y", "metadata.valueLocation"),
    ] {
        match read(&format!("http://{address}{path}"), &[("valueLocation", location)]).await {
            Outcome::Absent(failure) => assert_eq!((failure.kind, failure.field), (FailureKind::NotFound, Some(field))),
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn wrong_answers_fail_without_being_repeated() {
    let (fake, address, _) = Fake::start().await;
    let (elsewhere, other, _) = Fake::start().await;
    elsewhere.body("/q", r#"{"n": 99}"#);
    let url = format!("http://{address}/q");
    let body = |text: &str| Answer::Body(text.to_owned());
    let table = [
        (Answer::Status(500), FailureKind::BadAnswer, "status 5xx"),
        (Answer::Status(503), FailureKind::BadAnswer, "status 5xx"),
        (Answer::Status(418), FailureKind::BadAnswer, "status 4xx"),
        (Answer::Status(401), FailureKind::Unauthorised, "wants credentials"),
        (Answer::Status(403), FailureKind::Unauthorised, "wants credentials"),
        (Answer::Status(204), FailureKind::BadAnswer, "not JSON"),
        (Answer::Redirect(format!("http://{other}/q")), FailureKind::BadAnswer, "not followed"),
        (
            Answer::Redirect("http://169.254.169.254/latest/meta-data/".to_owned()),
            FailureKind::BadAnswer,
            "not followed",
        ),
        (Answer::Endless, FailureKind::BadAnswer, "larger than 4 MiB"),
        (body("S3CR3T"), FailureKind::BadAnswer, "not JSON"),
        (body(""), FailureKind::BadAnswer, "not JSON"),
        (body(r#"{"n": "S3CR3T"}"#), FailureKind::BadAnswer, "not a number"),
        (body(r#"{"n": [1]}"#), FailureKind::BadAnswer, "not a number"),
        (body(r#"{"n": true}"#), FailureKind::BadAnswer, "not a number"),
        (body(r#"{"n": 1e300}"#), FailureKind::BadAnswer, "not a count"),
        (body(r#"{"n": 1e999}"#), FailureKind::BadAnswer, "not JSON"),
        (body(r#"{"n": NaN}"#), FailureKind::BadAnswer, "not JSON"),
        (body(r#"{"n": "NaN"}"#), FailureKind::BadAnswer, "not a number"),
    ];
    for (answer, wanted, words) in table {
        fake.answer("/q", answer);
        let outcome = read(&url, &[]).await;
        let (kind, _, message) = failed(&outcome);
        assert_eq!(kind, wanted, "{message}");
        assert!(message.contains(words), "{message}");
        assert!(
            !message.contains("S3CR3T") && message.contains(&address) | message.contains("not a count"),
            "{message}"
        );
    }
    assert!(elsewhere.lock().requests.is_empty(), "the redirect was followed");
    for value in ["NaN", "+Inf"] {
        fake.body("/q", &format!("n {value}\n"));
        let outcome = read(&url, &[("format", "prometheus")]).await;
        assert_eq!(failed(&outcome).0, FailureKind::BadAnswer, "{value}");
    }
    fake.answer("/q", Answer::Status(401));
    let outcome = read(&url, &[("authMode", "bearer"), ("token", "S3CR3T")]).await;
    assert!(failed(&outcome).2.contains("refuses the credentials"), "{outcome:?}");
    assert!(!format!("{outcome:?}").contains("S3CR3T"), "{outcome:?}");
}

#[tokio::test]
async fn one_url_is_asked_once_and_eight_at_once() {
    let (fake, address, _) = Fake::start().await;
    let numbers: Vec<String> = (0..60).map(|n| format!(r#""k{n}": {n}"#)).collect();
    fake.body("/all", &format!("{{{}}}", numbers.join(",")));
    let (upstream, _) = trigger(&format!("http://{address}/all"), &[]);
    let query =
        |path: &str, location: &str| trigger(&format!("http://{address}{path}"), &[("valueLocation", location)]).1;
    let queries: Vec<_> = (0..60).map(|n| query("/all", &format!("k{n}"))).collect();
    let values: Vec<f64> = upstream.read(&queries).await.iter().map(value).collect();
    assert_eq!(values, (0..60).map(f64::from).collect::<Vec<_>>());
    assert_eq!(fake.lock().requests.len(), 1);

    for n in 0..60 {
        let (body, wait) = (format!(r#"{{"n": {n}}}"#), Duration::from_millis(n % 7));
        fake.answer(&format!("/{n}"), if n % 3 == 0 { Answer::Slow(wait, body) } else { Answer::Body(body) });
    }
    let queries: Vec<_> = (0..60).map(|n| query(&format!("/{n}"), "n")).collect();
    let values: Vec<f64> = upstream.read(&queries).await.iter().map(value).collect();
    assert_eq!(values, (0..60).map(f64::from).collect::<Vec<_>>());
    let most = fake.lock().most_in_flight;
    assert!((2..=8).contains(&most), "{most} in flight");
}

#[tokio::test]
async fn a_url_that_hangs_costs_the_others_nothing() {
    let (fake, address, _) = Fake::start().await;
    fake.answer("/slow", Answer::Slow(Duration::from_secs(60), String::new()));
    fake.body("/quick", r#"{"n": 2}"#);
    for (timeout, deadline) in [("200", 5000), ("5000", 200)] {
        let deadline = Duration::from_millis(deadline);
        let of = |path: &str| {
            trigger_given(&Given::default(), deadline, &format!("http://{address}{path}"), &[("timeout", timeout)])
        };
        let ((upstream, slow), (_, quick)) = (of("/slow"), of("/quick"));
        let began = Instant::now();
        let outcomes = upstream.read(&[slow, quick.clone(), quick]).await;
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        assert_eq!(failed(&outcomes[0]).0, FailureKind::Timeout);
        assert_eq!((value(&outcomes[1]), value(&outcomes[2])), (2.0, 2.0));
    }
    // A machine that accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/q", silent.local_addr().expect("an address"));
    let outcome = read(&url, &[("timeout", "200")]).await;
    assert_eq!(failed(&outcome).0, FailureKind::Timeout, "{outcome:?}");
}

#[tokio::test]
async fn a_server_that_is_gone_and_back_is_read_again() {
    let (fake, address, task) = Fake::start().await;
    fake.body("/q", r#"{"n": 3}"#);
    let (upstream, query) = trigger(&format!("http://{address}/q"), &[]);
    let queries = [query];
    assert_eq!(value(&upstream.read(&queries).await[0]), 3.0);
    task.abort();
    let _ = task.await;
    // What was open may still be served; a new connection is not.
    let until = Instant::now() + Duration::from_secs(10);
    let (fresh, _) = trigger(&format!("http://{address}/q"), &[]);
    let outcome = fresh.read(&queries).await.remove(0);
    let (kind, field, message) = failed(&outcome);
    assert_eq!((kind, field), (FailureKind::Unreachable, Some("metadata.url")), "{message}");
    fake.serve(TcpListener::bind(&address).await.expect("the same port"));
    while !matches!(&fresh.read(&queries).await[0], Outcome::Ok(sample) if sample.value == 3.0) {
        assert!(Instant::now() < until, "not read again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(value(&upstream.read(&queries).await[0]), 3.0);
}
