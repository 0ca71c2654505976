//! The Secret and the APIService against an in-memory API.

use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, timeout};

use super::super::fake::FakeApi;
use super::super::plan::{CA_LIFE, LEAF_LIFE, OVERLAP};
use super::*;
use crate::leadership::{Grant, leadership};

const SECRET_PATH: &str = "/api/v1/namespaces/windlass-system/secrets/windlass-serving";
const API_PATH: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io";

#[derive(Debug)]
struct TestClock(Mutex<Timestamp>);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

struct Rig {
    api: Arc<Mutex<FakeApi>>,
    clock: Arc<TestClock>,
    grant: Grant,
    manager: Manager,
    client: Client,
}

fn rig() -> Rig {
    let (api, client) = FakeApi::new();
    let (grant, leadership) = leadership();
    grant.extend(Instant::now() + Duration::from_secs(3600));
    let clock = Arc::new(TestClock(Mutex::new(Timestamp::from_second(1_800_000_000).unwrap())));
    let manager = Manager {
        writer: Writer::fenced(client.clone(), leadership.clone(), Duration::from_secs(5)),
        leadership,
        namespace: "windlass-system".to_owned(),
        identity: "first".to_owned(),
        clock: Arc::clone(&clock) as _,
        serving: ServingCertificate::new(),
    };
    api.lock().unwrap().put(API_PATH, api_service("windlass-system", "windlass-metrics"));
    Rig { api, clock, grant, manager, client }
}

fn api_service(namespace: &str, name: &str) -> serde_json::Value {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": API_SERVICE},
        "spec": {"group": "external.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100,
            "versionPriority": 100, "service": {"namespace": namespace, "name": name}},
    })
}

impl Rig {
    fn advance(&self, by: SignedDuration) {
        let mut now = self.clock.0.lock().unwrap();
        *now += by;
    }

    fn writes(&self) -> Vec<(String, &'static str)> {
        let writes = std::mem::take(&mut self.api.lock().unwrap().writes);
        let short = |path: &str| if path == SECRET_PATH { "secret" } else { "apiservice" };
        writes.iter().map(|(method, path)| (method.to_string(), short(path))).collect()
    }

    fn told_cas(&self) -> usize {
        let told = self.api.lock().unwrap().get(API_PATH).unwrap()["spec"]["caBundle"].clone();
        let told: ByteString = serde_json::from_value(told).unwrap();
        let secret: Secret = self.secret();
        let held = String::from_utf8(secret.data.unwrap()["ca.crt"].0.clone()).unwrap();
        let told = String::from_utf8(told.0).unwrap();
        assert!(names(told.as_bytes(), &self.manager.identity, &held), "it knows what the Secret holds, and who leads");
        told.matches("BEGIN CERTIFICATE").count()
    }

    fn secret(&self) -> Secret {
        serde_json::from_value(self.api.lock().unwrap().get(SECRET_PATH).unwrap().clone()).unwrap()
    }
}

fn write(method: &str, what: &'static str) -> (String, &'static str) {
    (method.to_owned(), what)
}

#[tokio::test]
async fn the_first_leader_makes_everything_and_then_writes_nothing() {
    let rig = rig();
    rig.manager.settle().await.unwrap();
    assert_eq!(rig.writes(), [write("POST", "secret"), write("PATCH", "apiservice")]);
    assert_eq!(rig.secret().type_.as_deref(), Some("kubernetes.io/tls"));
    assert_eq!(rig.told_cas(), 1);
    assert!(rig.manager.serving.is_loaded());
    assert_eq!(rig.manager.settle().await.unwrap(), CHECK);
    assert_eq!(rig.writes(), []);

    let mut wiped = api_service("windlass-system", "windlass-metrics");
    wiped["spec"]["insecureSkipTLSVerify"] = true.into();
    rig.api.lock().unwrap().put(API_PATH, wiped);
    rig.manager.settle().await.unwrap();
    assert_eq!(rig.writes(), [write("PATCH", "apiservice")]);
    assert_eq!(rig.api.lock().unwrap().get(API_PATH).unwrap()["spec"]["insecureSkipTLSVerify"], false);
    assert_eq!(rig.api.lock().unwrap().get(API_PATH).unwrap()["spec"]["groupPriorityMinimum"], 100);
}

/// The API server keeps connections by CA: were the bundle the same as in an earlier term, it would go on with
/// connections that were made in that one, perhaps to the leader that is frozen now.
#[tokio::test]
async fn each_new_leader_has_the_aggregator_connect_anew_and_a_restarted_one_does_not() {
    let mut rig = rig();
    let mut told = Vec::new();
    for (identity, writes) in [("first", 2), ("first", 0), ("second", 1), ("second", 0), ("first", 1)] {
        rig.manager.identity = identity.to_owned();
        rig.advance(SignedDuration::from_secs(20));
        rig.manager.settle().await.unwrap();
        assert_eq!(rig.writes().len(), writes, "{identity}");
        assert_eq!(rig.told_cas(), 1);
        told.push(rig.api.lock().unwrap().get(API_PATH).unwrap()["spec"]["caBundle"].to_string());
    }
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 3, "one for each of the three terms");
}

#[test]
fn a_name_cannot_break_the_bundle() {
    for (identity, wanted) in [
        ("windlass-7d.a", "# served by windlass-7d.a since 2026-01-02T03:04:05Z\nX"),
        ("a\nb", "# served by a_b since 2026-01-02T03:04:05Z\nX"),
        ("-----BEGIN X-----", "# served by BEGIN_X----- since 2026-01-02T03:04:05Z\nX"),
    ] {
        let said = marked(identity, "2026-01-02T03:04:05Z".parse().unwrap(), "X");
        assert_eq!(said, wanted);
        assert!(names(said.as_bytes(), identity, "X"));
        assert!(!names(said.as_bytes(), identity, "Y") && !names(said.as_bytes(), "other", "X"));
    }
}

#[tokio::test]
async fn an_empty_or_damaged_secret_is_filled_in_place() {
    let rig = rig();
    let empty = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": SECRET, "labels": {"team": "a"}}, "data": {"tls.crt": "", "tls.key": "", "mine": "eA=="}});
    rig.api.lock().unwrap().put(SECRET_PATH, empty);
    rig.manager.settle().await.unwrap();
    assert_eq!(rig.writes(), [write("PUT", "secret"), write("PATCH", "apiservice")]);
    let mut secret = rig.secret();
    assert_eq!(
        (secret.metadata.labels.take().unwrap()["team"].as_str(), &secret.data.as_ref().unwrap()["mine"].0),
        ("a", &b"x".to_vec())
    );

    let mut damaged = rig.api.lock().unwrap().get(SECRET_PATH).unwrap().clone();
    damaged["data"]["tls.key"] = "eA==".into();
    rig.api.lock().unwrap().put(SECRET_PATH, damaged);
    rig.manager.settle().await.unwrap();
    assert_eq!(rig.writes(), [write("PUT", "secret"), write("PATCH", "apiservice")]);
    assert_eq!(rig.told_cas(), 1);
}

#[tokio::test]
async fn leaf_and_ca_are_renewed_in_time_and_conflicts_are_read_again() {
    let rig = rig();
    rig.manager.settle().await.unwrap();
    rig.writes();
    let first = rig.manager.serving.leaf();
    rig.advance(LEAF_LIFE * 2 / 3);
    rig.api.lock().unwrap().conflicts = 2;
    rig.manager.settle().await.unwrap();
    assert_eq!(rig.writes(), [write("PUT", "secret")]);
    assert_ne!(rig.manager.serving.leaf(), first);

    rig.advance(CA_LIFE * 2 / 3);
    rig.manager.settle().await.unwrap();
    // The leaf has expired in this jump: the new CA is told before the leaf that it signs is written.
    assert_eq!(rig.writes(), [write("PUT", "secret"), write("PATCH", "apiservice"), write("PUT", "secret")]);
    assert_eq!(rig.told_cas(), 2);
    rig.advance(OVERLAP);
    rig.manager.settle().await.unwrap();
    assert_eq!(rig.writes(), [write("PUT", "secret"), write("PATCH", "apiservice")]);
    assert_eq!(rig.told_cas(), 1);
}

#[tokio::test]
async fn what_belongs_to_somebody_else_is_left_alone() {
    let rig = rig();
    rig.api.lock().unwrap().put(API_PATH, api_service("keda", "keda-metrics-apiserver"));
    let error = rig.manager.settle().await.unwrap_err();
    assert!(error.to_string().contains("keda/keda-metrics-apiserver"), "{error}");
    assert_eq!(rig.writes(), [write("POST", "secret")]);
    rig.grant.end();
    rig.advance(LEAF_LIFE);
    assert!(rig.manager.settle().await.is_err());
    assert_eq!(rig.writes(), [], "without the lead nothing is written");
}

#[tokio::test]
async fn every_replica_serves_what_the_secret_holds() {
    let rig = rig();
    let shutdown = CancellationToken::new();
    rig.manager.settle().await.unwrap();
    let (wanted, replica) = (rig.manager.serving.leaf(), ServingCertificate::new());
    let client = rig.client.clone();
    let following = follow_secret(client, "windlass-system".to_owned(), Arc::clone(&replica), shutdown.clone());
    let following = tokio::spawn(following);
    let wait = async {
        while replica.leaf() != wanted {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(10), wait).await.unwrap();
    shutdown.cancel();
    timeout(Duration::from_secs(10), following).await.unwrap().unwrap();
    assert_eq!(rig.writes().len(), 2, "following writes nothing");
}

#[tokio::test]
async fn the_manager_works_only_while_it_leads() {
    let rig = rig();
    rig.grant.end();
    let shutdown = CancellationToken::new();
    let serving = Arc::clone(&rig.manager.serving);
    let (api, grant) = (Arc::clone(&rig.api), rig.grant.clone());
    let running = tokio::spawn(rig.manager.run(shutdown.clone()));
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert!(api.lock().unwrap().writes.is_empty());
    grant.extend(Instant::now() + Duration::from_secs(3600));
    let wait = async {
        while !serving.is_loaded() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(10), wait).await.unwrap();
    shutdown.cancel();
    timeout(Duration::from_secs(10), running).await.unwrap().unwrap();
}
