//! `aggregateFromKubeServiceEndpoints`: each endpoint of a Service is asked by its own address.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use windlass_decision::{FailureKind, Outcome};
use windlass_sources::Given;

use super::{Answer, Fake, failed, trigger_given, value};

/// Pods of a Service, on addresses of loopback and one port.
struct Pods {
    fakes: Vec<Fake>,
    tasks: Vec<JoinHandle<()>>,
    addresses: Vec<IpAddr>,
    port: u16,
}

impl Pods {
    async fn start(numbers: &[f64]) -> Self {
        let first = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = first.local_addr().expect("an address").port();
        let mut listeners = vec![first];
        for nth in 2..=numbers.len() {
            let address = SocketAddr::from(([127, 0, 0, u8::try_from(nth).expect("few")], port));
            listeners.push(TcpListener::bind(address).await.expect("the port is free on all of them"));
        }
        let (mut fakes, mut tasks, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
        for (listener, number) in listeners.into_iter().zip(numbers) {
            let fake = Fake::default();
            fake.body("/q", &format!(r#"{{"n": {number}}}"#));
            addresses.push(listener.local_addr().expect("an address").ip());
            tasks.push(fake.serve(listener));
            fakes.push(fake);
        }
        Self { fakes, tasks, addresses, port }
    }

    async fn read(&self, kind: &str) -> Outcome {
        // The name is never resolved: it says which Service it is.
        let url = format!("http://api.shop:{}/q", self.port);
        let more = [("aggregateFromKubeServiceEndpoints", "true"), ("aggregationType", kind), ("timeout", "1000")];
        let given = Given { endpoints: self.addresses.clone(), ..Given::default() };
        let (upstream, query) = trigger_given(&given, Duration::from_secs(10), &url, &more);
        upstream.read(&[query]).await.remove(0)
    }
}

#[tokio::test]
async fn the_numbers_of_all_endpoints_make_one() {
    let pods = Pods::start(&[4.0, 1.0, 7.0, 0.0, 8.0, 10.0]).await;
    for (kind, wanted) in [("average", 5.0), ("sum", 30.0), ("max", 10.0), ("min", 0.0)] {
        assert_eq!(value(&pods.read(kind).await), wanted, "{kind}");
    }
    assert!(pods.fakes.iter().all(|fake| fake.lock().requests.len() == 4), "each is asked once for a reading");
}

#[tokio::test]
async fn without_the_number_of_one_there_is_none_of_all() {
    let pods = Pods::start(&[4.0, 5.0, 6.0]).await;
    pods.fakes[1].body("/q", r#"{"m": "S3CR3T"}"#);
    assert!(matches!(pods.read("sum").await, Outcome::Absent(_)));
    pods.fakes[1].answer("/q", Answer::Status(500));
    assert_eq!(failed(&pods.read("sum").await).0, FailureKind::BadAnswer);
    pods.fakes[1].answer("/q", Answer::Slow(Duration::from_secs(20), String::new()));
    assert_eq!(failed(&pods.read("sum").await).0, FailureKind::Timeout);
    pods.tasks[1].abort();
    pods.fakes[1].body("/q", r#"{"n": 1}"#);
    let outcome = pods.read("max").await;
    let (kind, field, message) = failed(&outcome);
    assert_eq!((kind, field), (FailureKind::Unreachable, Some("metadata.url")), "{message}");
    assert!(
        message.contains("api.shop") && !message.contains("127.0.0"),
        "whose address is nobody's business: {message}"
    );
    let none = Pods { fakes: vec![], tasks: vec![], addresses: vec![], port: pods.port };
    match none.read("sum").await {
        Outcome::Absent(failure) => assert!(failure.message.contains("no endpoint that is ready"), "{failure:?}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_endpoint_may_not_be_where_no_trigger_may() {
    let pods = Pods::start(&[4.0]).await;
    for address in ["169.254.169.254", "0.0.0.0", "224.0.0.1", "::ffff:169.254.169.254", "fe80::1"] {
        let wrong = Pods {
            fakes: vec![],
            tasks: vec![],
            port: pods.port,
            addresses: vec![pods.addresses[0], address.parse().expect("an address")],
        };
        let outcome = wrong.read("sum").await;
        let (kind, _, message) = failed(&outcome);
        assert!(kind == FailureKind::Unreachable && message.contains("is not allowed"), "{address}: {message}");
        assert!(!message.contains(address), "{message}");
    }
}
