//! Where a trigger may not have the operator ask: every way to write an address that leads home, names that resolve there, and
//! what an answer names.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use windlass_decision::{FailureKind, Outcome};
use windlass_sources::{Given, NetworkPolicy};

use super::fake::{Answer, Fake};
use super::{DEADLINE, KEYS, failed, trigger_through, value};

const URL: &str = "http://sqs/1/orders";

async fn read(network: &NetworkPolicy, endpoint: &str, queue: &str) -> Outcome {
    let pairs = [&KEYS[..], &[("awsEndpoint", endpoint), ("queueURL", queue)]].concat();
    let (upstream, query) = trigger_through(network.clone(), &Given::default(), DEADLINE, &pairs);
    upstream.read(&[query]).await.remove(0)
}

fn open() -> NetworkPolicy {
    NetworkPolicy::default().allow_loopback(true)
}

/// `open` without one port, by an address that stands for all of loopback.
fn kept(port: u16) -> NetworkPolicy {
    open().deny(SocketAddr::from(([0, 0, 0, 0], port)))
}

#[track_caller]
fn assert_denied(outcome: &Outcome, what: &str) {
    let (kind, field, message) = failed(outcome);
    assert_eq!((kind, field), (FailureKind::Unreachable, "metadata.awsEndpoint"), "{what}: {message}");
    assert!(
        message.contains("is not asked: its address is ") && message.contains("correct awsEndpoint"),
        "{what}: {message}"
    );
}

#[tokio::test]
async fn no_way_of_writing_an_address_leads_home() {
    let home = Fake::start(|_| Answer::counts("1", "0", "0")).await;
    let hosts = [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "017700000001",
        "2130706433",
        "%31%32%37.0.0.1",
        "１２７.０.０.１",
        "127。0。0。1",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:7f00:0001]",
        "localhost",
        "LOCALHOST",
    ];
    for host in hosts {
        let endpoint = format!("http://{host}:{}", home.port());
        for network in [NetworkPolicy::default(), kept(home.port())] {
            assert_denied(&read(&network, &endpoint, URL).await, host);
        }
        assert!(home.requests().is_empty(), "{host}");
        assert_eq!(home.open(), 0, "{host}");
        // The very same host is the server's own: each denial was needed.
        assert_eq!(value(&read(&open(), &endpoint, URL).await), 1.0, "{host}");
        assert_eq!(home.actions(), ["GetQueueAttributes"], "{host}");
        let until = Instant::now() + Duration::from_secs(5);
        while home.open() > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn names_of_loopback_are_denied_whoever_resolves_them() {
    for host in ["localhost.", "sqs.localhost", "sqs.localhost."] {
        assert_denied(&read(&NetworkPolicy::default(), &format!("http://{host}:9324"), URL).await, host);
    }
}

#[tokio::test]
async fn other_places_are_denied_before_anything_is_sent() {
    let table = [
        ("http://169.254.169.254", "a link-local address"),
        ("http://0xa9fea9fe/", "a link-local address"),
        ("http://2852039166", "a link-local address"),
        ("http://[::ffff:169.254.169.254]", "a link-local address"),
        ("http://169.254.170.23/v1/credentials", "a link-local address"),
        ("http://[fe80::1]:8080", "a link-local address"),
        ("http://[fd00:ec2::254]", "a cloud's metadata service"),
        ("http://168.63.129.16", "a cloud's metadata service"),
        ("http://metadata.google.internal", "a cloud's metadata service"),
        ("http://Metadata.Google.Internal.", "a cloud's metadata service"),
        ("http://metadata/", "a cloud's metadata service"),
        ("http://instance-data.ec2.internal", "a cloud's metadata service"),
        ("http://0:8080", "no host's address"),
        ("http://0.0.0.0:8080", "no host's address"),
        ("http://[::]:8080", "no host's address"),
        ("http://224.0.0.1", "a multicast address"),
        ("http://255.255.255.255", "a broadcast or reserved address"),
        ("https://169.254.169.254", "a link-local address"),
        ("https://metadata.google.internal", "a cloud's metadata service"),
    ];
    for (endpoint, words) in table {
        let began = Instant::now();
        let outcome = read(&open(), endpoint, URL).await;
        assert_denied(&outcome, endpoint);
        assert!(failed(&outcome).2.contains(words), "{endpoint}: {}", failed(&outcome).2);
        assert!(began.elapsed() < Duration::from_secs(2), "{endpoint}");
    }
}

#[tokio::test]
async fn the_host_of_a_queue_is_never_asked_whoever_names_it() {
    let home = Fake::start(|_| Answer::counts("99", "0", "0")).await;
    let urls = [format!("{}/1/orders", home.address()), "http://169.254.169.254/1/orders".to_owned()];
    for url in &urls {
        let found = url.clone();
        let sqs = Fake::start(move |request| match request.action.as_str() {
            "GetQueueUrl" => Answer::Says(200, format!(r#"{{"QueueUrl":"{found}"}}"#)),
            _ => Answer::counts("4", "0", "0"),
        })
        .await;
        for queue in [url.as_str(), "orders"] {
            assert_eq!(value(&read(&kept(home.port()), &sqs.address(), queue).await), 4.0, "{queue}");
        }
        assert_eq!(sqs.actions(), ["GetQueueAttributes", "GetQueueUrl", "GetQueueAttributes"]);
        assert!(home.requests().is_empty());
        // Without an endpoint there is no such queue to begin with.
        let metadata = [&KEYS[..], &[("queueURL", url.as_str()), ("awsRegion", "us-east-1")]].concat();
        let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let given = Given::default();
        let input = windlass_sources::TriggerInput::new("aws-sqs-queue", &metadata, &given);
        let errors = windlass_sources::parse(input).expect_err("not at AWS");
        assert!(errors[0].to_string().starts_with("metadata.queueURL: is not at AWS"), "{errors:?}");
    }
}
