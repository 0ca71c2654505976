//! The receiver over HTTP and over its own death.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use tower::ServiceExt;
use windlass_decision::Outcome;
use windlass_sources::webhook::{Event, Signature, StreamKey};
use windlass_sources::{Given, NetworkPolicy, Query, Secret, TriggerInput, Upstream};

use super::keeper::Kept;
use super::*;
use crate::leadership::{Grant, leadership};

/// Seconds since 1970, set by the test.
#[derive(Debug)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).expect("a time")
    }
}

const SENT: i64 = 1_614_265_330;
/// GitHub's own example.
const SECRET: &str = "It's a Secret to Everybody";
const BODY: &str = "Hello, World!";
const SIGNED: (&str, &str) =
    ("x-hub-signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");

struct Replica {
    hub: Arc<Hub>,
    clock: Arc<Hand>,
    grant: Grant,
    receiver: Arc<Receiver>,
    routes: axum::Router,
    stop: CancellationToken,
    telemetry: Telemetry,
}

impl Replica {
    fn new(dir: &Path, limits: Limits) -> Self {
        let (hub, clock) = (Arc::<Hub>::default(), Arc::new(Hand(AtomicI64::new(SENT))));
        let telemetry = Telemetry::new("test", false);
        let (grant, leads) = leadership();
        let receiver = Receiver::new(hub.clone(), leads, clock.clone(), dir.to_owned(), limits, telemetry.clone());
        let stop = CancellationToken::new();
        tokio::spawn(receiver.clone().follow(stop.clone()));
        Self { hub, clock, grant, routes: router(receiver.clone()), receiver, stop, telemetry }
    }

    async fn leading(dir: &Path) -> Self {
        let replica = Self::new(dir, Limits { settle: Duration::ZERO, ..Limits::default() });
        replica.lead().await;
        replica
    }

    async fn lead(&self) {
        self.grant.extend(Instant::now() + Duration::from_secs(600));
        for _ in 0..1000 {
            if self.receiver.keeper().is_some() {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
        panic!("the journal was not opened");
    }

    /// Ends it and waits until the journal can be had by the next one.
    async fn end(self, dir: &Path) {
        self.stop.cancel();
        let Self { receiver, routes, .. } = self;
        drop((receiver, routes));
        for _ in 0..1000 {
            match Replay::open(dir, Room::default()) {
                Ok(_) => return,
                Err(JournalError::Locked(_)) => sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
        }
        panic!("the journal is still locked");
    }

    /// Reads a trigger of `namespace`, and has its endpoint known as long as the reader lives.
    fn trigger(&self, namespace: &str, pairs: &[(&str, &str)]) -> Trigger {
        let least = [("name", "orders"), ("value", "5"), ("signature", "github")];
        let metadata: BTreeMap<String, String> =
            least.iter().chain(pairs).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let signed = metadata["signature"] != "none";
        let parameters = signed.then(|| ("secret".to_owned(), Secret::new(SECRET))).into_iter().collect();
        let given = Given { parameters, ..Given::default() };
        let input = TriggerInput { namespace, ..TriggerInput::new("webhook", &metadata, &given) };
        let parsed = windlass_sources::parse(input).expect("good metadata").0;
        let dependencies = windlass_sources::Dependencies {
            clock: self.clock.clone(),
            deadline: Duration::from_secs(1),
            network: Arc::new(NetworkPolicy::default()),
            hub: self.hub.clone(),
        };
        Trigger { upstream: windlass_sources::connect(&parsed.connection, &dependencies), query: parsed.query }
    }

    async fn send(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.routes.clone().oneshot(request.body(body.into()).expect("a request")).await.expect("infallible")
    }

    async fn status(&self, path: &str, headers: &[(&str, &str)], body: &str) -> u16 {
        self.send(path, headers, body.to_owned()).await.status().as_u16()
    }
}

struct Trigger {
    upstream: Arc<dyn Upstream>,
    query: Query,
}

impl Trigger {
    async fn value(&self) -> Option<f64> {
        match self.upstream.read(std::slice::from_ref(&self.query)).await.remove(0) {
            Outcome::Ok(sample) => Some(sample.value),
            _ => None,
        }
    }
}

const PATH: &str = "/webhooks/shop/orders";

async fn text(response: Response) -> String {
    String::from_utf8(to_bytes(response.into_body(), 10_000).await.expect("a body").to_vec()).expect("text")
}

#[tokio::test]
async fn each_answer_says_what_it_should() {
    let dir = tempfile::tempdir().expect("a directory");
    let replica = Replica::leading(dir.path()).await;
    let trigger = replica.trigger("shop", &[("maxBodyBytes", "100")]);
    let one = [SIGNED, ("x-github-delivery", "1")];
    let first = replica.send(PATH, &one, BODY).await;
    assert_eq!((first.status(), text(first).await.as_str()), (StatusCode::ACCEPTED, r#"{"accepted":true}"#));
    let again = replica.send(PATH, &one, BODY).await;
    assert_eq!((again.status(), text(again).await.as_str()), (StatusCode::OK, r#"{"duplicate":true}"#));
    assert_eq!(trigger.value().await, Some(1.0));

    let mut unknown = Vec::new();
    for path in ["/webhooks/other/orders", "/webhooks/shop/order", "/webhooks/shop/ORDERS", "/webhooks/shop/a%2Fb"] {
        let response = replica.send(path, &one, BODY).await;
        assert_eq!(response.status(), 404, "{path}");
        unknown.push(text(response).await);
    }
    unknown.dedup();
    assert_eq!(unknown.len(), 1, "a wrong namespace looks like a wrong name");

    for (headers, body, status) in [
        (&[][..], BODY, 401),
        (&[SIGNED], "Hello, World?", 401),
        (&[("x-hub-signature-256", "sha256=00")], BODY, 401),
        (&[SIGNED], &" ".repeat(101), 413),
        (&[SIGNED, ("content-length", "99999999999")], BODY, 413),
        (&[SIGNED, ("content-type", "application/cloudevents-batch+json")], BODY, 415),
        (&[SIGNED, ("content-encoding", "gzip")], BODY, 415),
        (&[SIGNED, ("content-type", "application/cloudevents+json")], BODY, 400),
    ] {
        let response = replica.send(PATH, headers, body.to_owned()).await;
        assert_eq!(response.status(), status, "{headers:?}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let told = text(response).await;
        assert!(!told.contains("Hello") && !told.contains("757107"), "{told}");
    }
    let endless = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 64]));
    assert_eq!(replica.send(PATH, &[SIGNED], Body::from_stream(endless)).await.status(), 413);
    assert_eq!(
        replica
            .routes
            .clone()
            .oneshot(Request::get(PATH).body(Body::empty()).expect("a request"))
            .await
            .expect("infallible")
            .status(),
        405
    );
    assert_eq!(trigger.value().await, Some(1.0), "nothing of that counted");

    drop(trigger);
    assert_eq!(replica.status(PATH, &one, BODY).await, 404, "a trigger that is gone");

    let mut metrics = String::new();
    prometheus_client::encoding::text::encode(&mut metrics, &replica.telemetry.registry()).expect("text");
    let outcomes =
        [("accepted", 1), ("duplicate", 1), ("unknown", 5), ("signature", 3), ("too_large", 3), ("malformed", 3)];
    let counted = outcomes.map(|(outcome, count)| format!("webhook_requests_total{{outcome=\"{outcome}\"}} {count}"));
    let others = ["webhook_request_duration_seconds_count 16", "webhook_events_total 1"].map(str::to_owned);
    for line in counted.into_iter().chain(others).chain(["webhook_journal_sync_duration_seconds_count 1".to_owned()]) {
        assert!(metrics.lines().any(|it| it == format!("windlass_{line}")), "no {line} in\n{metrics}");
    }
    let journal =
        metrics.lines().find_map(|line| line.strip_prefix("windlass_webhook_journal_bytes ")).expect("a size");
    assert!(journal.parse::<u64>().expect("a number") > 30, "{journal}");
}

#[tokio::test]
async fn a_number_that_is_missing_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let replica = Replica::leading(dir.path()).await;
    let gauge =
        [("mode", "gauge"), ("valueLocation", "queue.length"), ("signature", "none"), ("allowUnsigned", "true")];
    let trigger = replica.trigger("shop", &gauge);
    assert_eq!(trigger.value().await, None);
    let response = replica.send(PATH, &[], r#"{"queue":"S3CR3T"}"#).await;
    assert_eq!(response.status(), 400);
    let told = text(response).await;
    assert!(told.contains("queue.length") && !told.contains("S3CR3T"), "{told}");
    assert_eq!(replica.status(PATH, &[], r#"{"queue":{"length":12}}"#).await, 202);
    assert_eq!(trigger.value().await, Some(12.0));
    replica.end(dir.path()).await;

    let replica = Replica::leading(dir.path()).await;
    let trigger = replica.trigger("shop", &gauge);
    assert_eq!(trigger.value().await, Some(12.0), "after a restart");
}

#[tokio::test]
async fn a_stand_by_takes_nothing_and_a_new_leader_is_patient() {
    let dir = tempfile::tempdir().expect("a directory");
    let replica = Replica::new(dir.path(), Limits::default());
    let trigger = replica.trigger("shop", &[]);
    for path in [PATH, "/webhooks/other/orders"] {
        let response = replica.send(path, &[SIGNED], BODY).await;
        assert_eq!(
            (response.status().as_u16(), response.headers()["retry-after"].as_bytes()),
            (503, b"5".as_slice()),
            "{path}"
        );
    }
    assert_eq!(trigger.value().await, None, "no figure either");
    replica.lead().await;
    assert_eq!(replica.status("/webhooks/other/orders", &[SIGNED], BODY).await, 503, "it may not know it yet");
    assert_eq!(replica.status(PATH, &[SIGNED], BODY).await, 202);
    assert_eq!(trigger.value().await, Some(1.0));
    replica.grant.end();
    assert_eq!(replica.status(PATH, &[SIGNED], BODY).await, 503);
    for _ in 0..1000 {
        if trigger.value().await.is_none() {
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(trigger.value().await, None, "what another one knows better is not told");
    replica.lead().await;
    assert_eq!(trigger.value().await, Some(1.0), "and is known again");
}

#[tokio::test]
async fn a_take_over_with_one_directory_loses_nothing_and_counts_nothing_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    let (old, new) = (Replica::leading(dir.path()).await, Replica::new(dir.path(), Limits::default()));
    let triggers = [old.trigger("shop", &[]), new.trigger("shop", &[])];
    for nth in 0..10 {
        assert_eq!(old.status(PATH, &[SIGNED, ("x-github-delivery", &nth.to_string())], BODY).await, 202);
    }
    // The old one hangs with the journal in its hand.
    new.grant.extend(Instant::now() + Duration::from_secs(600));
    sleep(Duration::from_millis(50)).await;
    assert_eq!((new.status(PATH, &[SIGNED], BODY).await, triggers[1].value().await), (503, None));
    old.grant.end();
    new.lead().await;
    assert_eq!(triggers[1].value().await, Some(10.0));
    for nth in 0..10 {
        assert_eq!(new.status(PATH, &[SIGNED, ("x-github-delivery", &nth.to_string())], BODY).await, 200);
    }
    assert_eq!(triggers[1].value().await, Some(10.0));
}

#[tokio::test]
async fn a_restart_forgets_neither_ids_nor_the_window() {
    let dir = tempfile::tempdir().expect("a directory");
    let replica = Replica::leading(dir.path()).await;
    let trigger = replica.trigger("shop", &[]);
    assert_eq!(replica.status(PATH, &[SIGNED, ("x-github-delivery", "1")], BODY).await, 202);
    replica.clock.0.fetch_add(30, Ordering::SeqCst);
    assert_eq!(replica.status(PATH, &[SIGNED, ("x-github-delivery", "2")], BODY).await, 202);
    drop(trigger);
    replica.end(dir.path()).await;

    let replica = Replica::leading(dir.path()).await;
    let trigger = replica.trigger("shop", &[]);
    for (later, wanted) in [(31, 2.0), (59, 2.0), (60, 1.0), (89, 1.0), (90, 0.0)] {
        replica.clock.0.store(SENT + later, Ordering::SeqCst);
        assert_eq!(trigger.value().await, Some(wanted), "{later}");
    }
    assert_eq!(replica.status(PATH, &[SIGNED, ("x-github-delivery", "1")], BODY).await, 200);
    replica.clock.0.store(SENT + 24 * 3600 + 60, Ordering::SeqCst);
    assert_eq!(replica.status(PATH, &[SIGNED, ("x-github-delivery", "3")], BODY).await, 202);
    sleep(Duration::from_millis(1100)).await;
    assert_eq!(replica.status(PATH, &[SIGNED, ("x-github-delivery", "4")], BODY).await, 202);
    assert_eq!(replica.status(PATH, &[SIGNED, ("x-github-delivery", "1")], BODY).await, 202, "after a day it is news");
}

#[tokio::test]
async fn one_event_that_is_delivered_often_at_once_counts_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let replica = Replica::leading(dir.path()).await;
    let trigger = replica.trigger("shop", &[]);
    let sent = (0..100).map(|_| replica.status(PATH, &[SIGNED, ("x-github-delivery", "1")], BODY));
    let answers = futures::future::join_all(sent).await;
    assert_eq!(answers.iter().filter(|status| **status == 202).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), 99);
    assert_eq!(trigger.value().await, Some(1.0));
}

#[tokio::test]
async fn who_sends_too_much_waits_and_strangers_use_up_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let replica = Replica::new(dir.path(), Limits { rate: 0.5, burst: 3.0, ..Limits::default() });
    replica.lead().await;
    let _triggers = [replica.trigger("shop", &[]), replica.trigger("shop", &[("name", "other")])];
    for _ in 0..50 {
        assert_eq!(replica.status(PATH, &[], BODY).await, 401);
    }
    for _ in 0..3 {
        assert_eq!(replica.status(PATH, &[SIGNED], BODY).await, 202);
    }
    let response = replica.send(PATH, &[SIGNED], BODY).await;
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].as_bytes()), (429, b"2".as_slice()));
    assert_eq!(replica.status("/webhooks/shop/other", &[SIGNED], BODY).await, 202, "another endpoint");
}

#[tokio::test]
async fn slow_and_many_bodies_are_bounded() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits = Limits { body_timeout: Duration::from_millis(100), requests: 2, bodies: 4096, ..Limits::default() };
    let replica = Replica::new(dir.path(), limits);
    replica.lead().await;
    let _trigger = replica.trigger("shop", &[]);
    let hanging = || Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let (first, second, third) = tokio::join!(
        replica.send(PATH, &[SIGNED], hanging()),
        replica.send(PATH, &[SIGNED], hanging()),
        replica.send(PATH, &[SIGNED], BODY),
    );
    assert_eq!([first, second, third].map(|response| response.status().as_u16()), [408, 408, 503]);
    assert_eq!(replica.send(PATH, &[SIGNED], " ".repeat(5000)).await.status(), 503, "no room for that body");
    assert_eq!(replica.status(PATH, &[SIGNED], BODY).await, 202, "and all is given back");
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_is_never_acknowledged() {
    let dir = tempfile::tempdir().expect("a directory");
    let room = Room { total: 600, segment: 300 };
    let replica = Replica::new(dir.path(), Limits { room, ..Limits::default() });
    replica.lead().await;
    let trigger = replica.trigger("shop", &[]);
    let mut accepted = 0_u32;
    for nth in 0..30 {
        match replica.status(PATH, &[SIGNED, ("x-github-delivery", &nth.to_string())], BODY).await {
            202 => accepted += 1,
            503 => {}
            other => panic!("{other}"),
        }
    }
    assert!((1..30).contains(&accepted), "{accepted}");
    assert_eq!(trigger.value().await, Some(f64::from(accepted)));
}

fn numbered(nth: u64) -> Event {
    let stream = StreamKey { namespace: "shop".into(), name: "orders".into(), signature: Signature::Github };
    let mut id = [0; 16];
    id[..8].copy_from_slice(&nth.to_le_bytes());
    Event { stream, id: Some(id), at: SENT * 1000, values: Vec::new(), counts: true }
}

const CHILD: &str = "WINDLASS_TEST_WEBHOOK_JOURNAL";

/// The process that is killed: it writes what it acknowledges to its output. Without being asked for it does nothing.
#[test]
fn child_that_acknowledges() {
    let Ok(asked) = std::env::var(CHILD) else { return };
    let (from, dir) = asked.split_once(':').expect("a number and a directory");
    let from: u64 = from.parse().expect("a number");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (clock, telemetry) = (Arc::new(Hand(AtomicI64::new(SENT))), Telemetry::new("test", false));
        let keeper = Keeper::open(Path::new(dir), Room::default(), Arc::default(), clock, telemetry).expect("opened");
        let (keeper, output) = (Arc::new(keeper), Arc::new(Mutex::new(std::io::stdout())));
        let writers = (0..8).map(|writer| {
            let (keeper, output) = (keeper.clone(), output.clone());
            tokio::spawn(async move {
                for nth in (from + writer..).step_by(8) {
                    if keeper.keep(vec![numbered(nth)]).await == Kept::New {
                        let mut output = output.lock().expect("no panic");
                        writeln!(output, "acknowledged {nth}").and_then(|()| output.flush()).expect("written");
                    }
                }
            })
        });
        futures::future::join_all(writers).await;
    });
}

#[test]
fn what_was_acknowledged_before_a_kill_is_there_after_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut acknowledged = BTreeSet::new();
    for round in 0..5_u64 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "webhook::tests::child_that_acknowledges", "--nocapture"])
            .env(CHILD, format!("{}:{}", round << 32, dir.path().display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let number = |line: std::io::Result<String>| {
            line.expect("text").strip_prefix("acknowledged ").and_then(|nth| nth.parse::<u64>().ok())
        };
        let before = acknowledged.len();
        acknowledged.extend(lines.by_ref().filter_map(number).take(usize::try_from(200 + 77 * round).expect("small")));
        child.kill().expect("killed");
        acknowledged.extend(lines.filter_map(number));
        child.wait().expect("ended");
        assert!(acknowledged.len() >= before + 200, "the child ended early: {}", acknowledged.len() - before);

        let found: BTreeSet<_> =
            Replay::open(dir.path(), Room::default()).expect("unlocked").filter_map(|event| event.id).collect();
        let lost: Vec<_> =
            acknowledged.iter().filter(|nth| !found.contains(&numbered(**nth).id.expect("an id"))).collect();
        assert!(lost.is_empty(), "lost {lost:?} of {}", acknowledged.len());
    }
    println!("{} acknowledged over five kills, none lost", acknowledged.len());
}

/// Over TCP and with fsync. Prints requests a second and the times of acknowledgement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledgements_are_quick_over_http() {
    const SENDERS: usize = 64;
    let dir = tempfile::tempdir().expect("a directory");
    let limits = Limits { rate: 1e9, burst: 1e9, ..Limits::default() };
    let replica = Replica::new(dir.path(), limits);
    replica.lead().await;
    let trigger = replica.trigger("shop", &[]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address: SocketAddr = listener.local_addr().expect("an address");
    tokio::spawn(windlass_api::serve_named("webhooks", listener, replica.routes.clone(), replica.stop.clone()));
    let client = reqwest::Client::new();
    let until = Instant::now() + Duration::from_secs(3);
    let senders = (0..SENDERS).map(|sender| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < until {
                let request = client
                    .post(format!("http://{address}{PATH}"))
                    .header(SIGNED.0, SIGNED.1)
                    .header("x-github-delivery", format!("{sender}-{}", times.len()))
                    .body(BODY);
                let began = Instant::now();
                assert_eq!(request.send().await.expect("an answer").status().as_u16(), 202);
                times.push(began.elapsed());
            }
            times
        })
    });
    let mut times: Vec<Duration> = Vec::new();
    for sender in senders.collect::<Vec<_>>() {
        times.extend(sender.await.expect("no panic"));
    }
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    println!("{SENDERS} senders: {} requests/s, p50 {:?}, p99 {:?}", times.len() / 3, at(50), at(99));
    #[expect(clippy::cast_precision_loss, reason = "few")]
    let sent = times.len() as f64;
    assert_eq!(trigger.value().await, Some(sent));
    replica.stop.cancel();
}
