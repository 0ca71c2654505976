//! Tests of the controllers as timelines in paused time.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use windlass_decision::Clock;

use crate::api::{Cluster, Options, Part, Patch, Selector};
use crate::behaviour::{Handle, Settings, start};

const DEPLOYMENTS: (&str, &str) = ("apps", "deployments");

#[derive(Debug)]
struct Virtual(Instant);

impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::try_from(self.0.elapsed()).expect("short")
    }
}

fn cluster() -> (Cluster, Handle) {
    let cluster = Cluster::new(Options::new(Arc::new(Virtual(Instant::now()))));
    let handle = start(&cluster, Settings::default(), None, 7);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}});
    cluster.apply_manifest("t", namespace).expect("a namespace");
    (cluster, handle)
}

fn deployment(replicas: u32) -> Value {
    let labels = json!({"app": "web"});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels, "annotations": {"kubesim/ready-ms": "2000"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        }},
    })
}

fn figures(cluster: &Cluster) -> (u64, u64) {
    let web = cluster.get(DEPLOYMENTS, "default", "web").expect("it is there");
    (web["spec"]["replicas"].as_u64().unwrap_or(0), web["status"]["readyReplicas"].as_u64().unwrap_or(0))
}

fn scale(cluster: &Cluster, to: u32) {
    let patch = Patch::Merge(json!({"spec": {"replicas": to}}));
    cluster.patch("t", DEPLOYMENTS, Part::Main, ("default", "web"), &patch).expect("scaled");
}

#[tokio::test(start_paused = true)]
async fn pods_are_ready_after_their_start_up_and_go_when_they_are_not_wanted() {
    let (cluster, _controllers) = cluster();
    cluster.apply_manifest("t", deployment(0)).expect("made");
    sleep(Duration::from_secs(1)).await;
    scale(&cluster, 10);
    sleep(Duration::from_millis(1900)).await;
    assert_eq!(figures(&cluster), (10, 0));
    sleep(Duration::from_millis(300)).await;
    assert_eq!(figures(&cluster), (10, 10));
    scale(&cluster, 3);
    sleep(Duration::from_millis(200)).await;
    assert_eq!(figures(&cluster), (3, 3));
    assert_eq!(cluster.list(("", "pods"), None, &Selector::default()).len(), 3);
    cluster.delete("t", DEPLOYMENTS, ("default", "web"), &crate::api::Deletion::default()).expect("deleted");
    sleep(Duration::from_secs(1)).await;
    assert!(cluster.list(("", "pods"), None, &Selector::default()).is_empty(), "pods go with their owners");
}

/// Has an external metric answered: a value, or an error.
fn serve_metric(cluster: &Cluster, value: Option<&'static str>) {
    let answer = get(move || async move {
        let items = value.map(|value| json!([{"metricName": "m", "value": value}]));
        let body = axum::Json(json!({"items": items, "message": "no reading"}));
        (if value.is_some() { http::StatusCode::OK } else { http::StatusCode::SERVICE_UNAVAILABLE }, body)
    });
    let path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}";
    cluster.listen(([10, 0, 0, 1], 6443).into(), Router::new().route(path, answer));
}

#[tokio::test(start_paused = true)]
async fn the_hpa_follows_an_external_metric_at_its_syncs_and_a_broken_one_moves_nothing() {
    let (cluster, _controllers) = cluster();
    cluster.apply_manifest("t", deployment(1)).expect("made");
    for object in [
        json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {
            "name": "v1beta1.external.metrics.k8s.io"}, "spec": {"group": "external.metrics.k8s.io",
            "version": "v1beta1", "service": {"namespace": "default", "name": "metrics", "port": 443}}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "metrics",
            "labels": {"kubernetes.io/service-name": "metrics"}}, "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"name": "https", "port": 6443}]}),
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
            "spec": {"maxReplicas": 8, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "metrics": [{"type": "External", "external": {"metric": {"name": "m"},
                    "target": {"type": "AverageValue", "averageValue": "5"}}}]}}),
    ] {
        cluster.apply_manifest("t", object).expect("made");
    }
    sleep(Duration::from_secs(14)).await;
    serve_metric(&cluster, Some("30"));
    assert_eq!(figures(&cluster).0, 1, "the first sync comes after a period");
    sleep(Duration::from_secs(2)).await;
    // Kubernetes' default: at most 4 more, or twice as many.
    assert_eq!(figures(&cluster).0, 4);
    sleep(Duration::from_secs(15)).await;
    assert_eq!(figures(&cluster).0, 6);
    serve_metric(&cluster, None);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(figures(&cluster).0, 6);
    let events = cluster.list(("", "events"), None, &Selector::default());
    assert!(events.iter().any(|event| event["reason"] == "FailedGetExternalMetric"));
    serve_metric(&cluster, Some("5"));
    sleep(Duration::from_secs(15)).await;
    assert_eq!(figures(&cluster).0, 1, "the window of 300 s ran empty in the outage");
    // From outside to 0: nothing is asked any more.
    scale(&cluster, 0);
    serve_metric(&cluster, Some("30"));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(figures(&cluster).0, 0);
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_its_pods_to_the_end() {
    let (cluster, _controllers) = cluster();
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "report"}, "spec": {
        "completions": 3, "parallelism": 2, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    cluster.apply_manifest("t", job).expect("made");
    sleep(Duration::from_secs(60)).await;
    let done = cluster.get(("batch", "jobs"), "default", "report").expect("it is there");
    assert_eq!(done["status"]["succeeded"], 3, "{}", done["status"]);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_changes() {
    let run = async || {
        let (cluster, controllers) = cluster();
        let mut changes = cluster.subscribe();
        cluster.apply_manifest("t", deployment(5)).expect("made");
        sleep(Duration::from_secs(20)).await;
        drop(controllers);
        let mut seen = Vec::new();
        while let Ok(change) = changes.try_recv() {
            seen.push(change.object.to_string());
        }
        seen
    };
    let (one, other) = (run().await, run().await);
    assert!(one.len() > 20);
    assert_eq!(one, other);
}
