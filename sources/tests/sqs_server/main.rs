//! The SQS source against two real servers, ElasticMQ and moto, and against a scripted one for what those never do. AWS itself
//! is not asked: its throttling, its expired sessions and its faults are scripted.

mod fake;
mod faults;
mod guarded;
mod identities;
mod server;
mod servers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use windlass_decision::{Activity, Clock, FailureKind, Outcome};
use windlass_sources::{Dependencies, Given, NetworkPolicy, Query, TriggerInput, Upstream, connect, parse};

const DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
}

/// The keys of every trigger that names none of its own.
const KEYS: [(&str, &str); 2] = [("awsAccessKeyID", "AKIDEXAMPLE"), ("awsSecretAccessKey", "S3CR3T")];

/// A trigger's upstream and query. The servers of the tests are on loopback.
fn trigger_with(given: &Given, deadline: Duration, pairs: &[(&str, &str)]) -> (Arc<dyn Upstream>, Query) {
    trigger_through(NetworkPolicy::default().allow_loopback(true), given, deadline, pairs)
}

/// The same, confined to a network.
fn trigger_through(
    network: NetworkPolicy,
    given: &Given,
    deadline: Duration,
    pairs: &[(&str, &str)],
) -> (Arc<dyn Upstream>, Query) {
    let mut metadata: BTreeMap<String, String> = [("awsRegion", "us-east-1")]
        .iter()
        .chain(pairs)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    metadata.retain(|_, value| !value.is_empty());
    let parsed = parse(TriggerInput::new("aws-sqs-queue", &metadata, given)).expect("good metadata").0;
    let dependencies =
        Dependencies { clock: Arc::new(Still), deadline, network: Arc::new(network), hub: Arc::default() };
    (connect(&parsed.connection, &dependencies), parsed.query)
}

/// A trigger at an address with the usual keys.
fn trigger(address: &str, queue: &str, more: &[(&str, &str)]) -> (Arc<dyn Upstream>, Query) {
    trigger_within(DEADLINE, address, queue, more)
}

fn trigger_within(deadline: Duration, address: &str, queue: &str, more: &[(&str, &str)]) -> (Arc<dyn Upstream>, Query) {
    let pairs = [&KEYS[..], &[("awsEndpoint", address), ("queueURL", queue)], more].concat();
    trigger_with(&Given::default(), deadline, &pairs)
}

async fn read(address: &str, queue: &str, more: &[(&str, &str)]) -> Outcome {
    let (upstream, query) = trigger(address, queue, more);
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

/// What failed, which field is to blame, and the sentence, which holds nothing secret.
fn failed(outcome: &Outcome) -> (FailureKind, &'static str, &str) {
    match outcome {
        Outcome::Failed(failure) => {
            assert!(!failure.message.contains("S3CR3T") && !failure.message.contains("AKID"), "{}", failure.message);
            (failure.kind, failure.field.unwrap_or_default(), &failure.message)
        }
        other => panic!("not a failure: {other:?}"),
    }
}

fn absent(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Absent(failure) => {
            assert_eq!((failure.kind, failure.field), (FailureKind::NotFound, Some("metadata.queueURL")));
            &failure.message
        }
        other => panic!("not absent: {other:?}"),
    }
}

/// Reads until `wanted`, for at most `patience`.
async fn read_until(
    upstream: &dyn Upstream,
    queries: &[Query],
    patience: Duration,
    wanted: impl Fn(&[Outcome]) -> bool,
) {
    let until = Instant::now() + patience;
    loop {
        let outcomes = upstream.read(queries).await;
        if wanted(&outcomes) {
            return;
        }
        assert!(Instant::now() < until, "still {outcomes:?} after {patience:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
