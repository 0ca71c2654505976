//! A small cluster for tests: its clock, its namespaces, a metrics server that says what a test wants.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::api::{Cluster, Gr, Options, Part, Patch, Selector};
use crate::behaviour::{Handle, Settings, Spread, start};
use crate::load::Loads;
use crate::test_clock::TestClock;

pub(super) const ADMIN: &str = "admin";
pub(super) const PODS: Gr<'static> = ("", "pods");
pub(super) const DEPLOYMENTS: Gr<'static> = ("apps", "deployments");
pub(super) const SETS: Gr<'static> = ("apps", "replicasets");
pub(super) const STATEFUL: Gr<'static> = ("apps", "statefulsets");
pub(super) const JOBS: Gr<'static> = ("batch", "jobs");
pub(super) const HPAS: Gr<'static> = ("autoscaling", "horizontalpodautoscalers");

pub(super) struct Lab {
    pub(super) cluster: Cluster,
    pub(super) loads: Loads,
    pub(super) handle: Handle,
    start: Instant,
}

/// Pods that are ready after exactly 2 s, 0.6 s of it pending.
pub(super) fn settings() -> Settings {
    Settings { ready: Spread::millis(2000), ..Settings::default() }
}

pub(super) fn lab(settings: Settings, seed: u64) -> Lab {
    let start_at = Instant::now();
    let options = Options { seed, audit: 100_000, ..Options::new(Arc::new(TestClock(start_at))) };
    let cluster = Cluster::new(options);
    let loads = Loads::new(seed);
    let handle = start(&cluster, settings, Some(loads.clone()), seed);
    let lab = Lab { cluster, loads, handle, start: start_at };
    for namespace in ["default", "kube-system"] {
        lab.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}));
    }
    lab
}

impl Lab {
    pub(super) fn create(&self, object: Value) -> Arc<Value> {
        self.cluster.apply_manifest(ADMIN, object).unwrap()
    }

    /// Lets the virtual time be `seconds` from the start.
    pub(super) async fn at(&self, seconds: f64) {
        tokio::time::sleep_until(self.start + Duration::from_secs_f64(seconds)).await;
    }

    pub(super) fn get(&self, what: Gr<'_>, name: &str) -> Value {
        let found = self.cluster.get(what, "default", name);
        (*found.unwrap_or_else(|| panic!("{what:?} {name} is not there"))).clone()
    }

    pub(super) fn pods(&self) -> Vec<Arc<Value>> {
        self.cluster.list(PODS, Some("default"), &Selector::default())
    }

    /// How many pods there are in each phase and how many are ready: pending, running, ready, over.
    pub(super) fn phases(&self) -> [usize; 4] {
        let pods = self.pods();
        let phase = |wanted: &[&str]| {
            pods.iter().filter(|pod| wanted.contains(&pod["status"]["phase"].as_str().unwrap_or(""))).count()
        };
        let ready = pods.iter().filter(|pod| condition(pod, "Ready").0 == "True").count();
        [phase(&["Pending"]), phase(&["Running"]), ready, phase(&["Succeeded", "Failed"])]
    }

    pub(super) fn scale(&self, name: &str, replicas: u32) {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        self.cluster.patch(ADMIN, DEPLOYMENTS, Part::Scale, ("default", name), &patch).unwrap();
    }

    pub(super) fn replicas(&self, name: &str) -> u64 {
        self.get(DEPLOYMENTS, name)["spec"]["replicas"].as_u64().unwrap()
    }

    pub(super) fn patch(&self, what: Gr<'_>, name: &str, patch: Value) {
        self.cluster.patch(ADMIN, what, Part::Main, ("default", name), &Patch::Merge(patch)).unwrap();
    }

    /// The events of one reason: how often each sentence was said.
    pub(super) fn events(&self, reason: &str) -> Vec<(String, u64)> {
        let events = self.cluster.list(("", "events"), Some("default"), &Selector::default());
        let of_reason = events.iter().filter(|event| event["reason"] == reason);
        of_reason.map(|e| (e["message"].as_str().unwrap().to_owned(), e["count"].as_u64().unwrap())).collect()
    }

    /// Installs an external metrics server that answers what it is told.
    pub(super) fn metrics_server(&self) -> Metrics {
        let at: SocketAddr = "10.0.0.9:6443".parse().unwrap();
        let metrics = Metrics::default();
        let router = Router::new()
            .route("/apis/external.metrics.k8s.io/v1beta1/namespaces/{ns}/{metric}", get(external))
            .with_state(metrics.clone());
        self.cluster.listen(at, router);
        for object in crate::behaviour::metrics_server(at) {
            let mut object = object;
            object["metadata"]["name"] = match object["kind"].as_str() {
                Some("APIService") => "v1beta1.external.metrics.k8s.io".into(),
                _ => "adapter".into(),
            };
            if object["kind"] == "EndpointSlice" {
                object["metadata"]["labels"]["kubernetes.io/service-name"] = "adapter".into();
            }
            if object["kind"] == "APIService" {
                object["spec"]["group"] = "external.metrics.k8s.io".into();
                object["spec"]["service"]["name"] = "adapter".into();
            }
            self.create(object);
        }
        metrics
    }
}

/// What the external metrics server says.
#[derive(Debug, Clone, Copy)]
pub(super) enum Says {
    Value(i64),
    Fails,
    Hangs,
    AfterSeconds(u64, i64),
}

#[derive(Debug, Clone)]
pub(super) struct Metrics {
    says: Arc<Mutex<Says>>,
    asked: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { says: Arc::new(Mutex::new(Says::Value(0))), asked: Arc::default() }
    }
}

impl Metrics {
    pub(super) fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    /// When it was asked, in seconds, and for which labels.
    pub(super) fn asked(&self, lab: &Lab) -> Vec<(f64, String)> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(at, query)| ((*at - lab.start).as_secs_f64(), query.clone())).collect()
    }
}

async fn external(State(metrics): State<Metrics>, RawQuery(query): RawQuery) -> Response {
    metrics.asked.lock().unwrap().push((Instant::now(), query.unwrap_or_default()));
    let says = *metrics.says.lock().unwrap();
    let value = match says {
        Says::Value(value) => value,
        Says::AfterSeconds(seconds, value) => {
            sleep(Duration::from_secs(seconds)).await;
            value
        }
        Says::Hangs => {
            std::future::pending::<()>().await;
            0
        }
        Says::Fails => {
            let body = json!({"kind": "Status", "status": "Failure", "message": "broker is silent", "code": 500});
            return (StatusCode::INTERNAL_SERVER_ERROR, body.to_string()).into_response();
        }
    };
    let item = json!({"metricName": "m", "value": value.to_string(), "timestamp": "2026-01-01T00:00:00Z"});
    json!({"kind": "ExternalMetricValueList", "items": [item]}).to_string().into_response()
}

pub(super) fn template(name: &str, annotations: Value) -> Value {
    json!({
        "metadata": {"labels": {"app": name}, "annotations": annotations},
        "spec": {"containers": [{
            "name": "main", "image": "example/main:1",
            "resources": {"requests": {"cpu": "200m", "memory": "64Mi"}},
        }]},
    })
}

pub(super) fn deployment(name: &str, replicas: u32, annotations: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": template(name, annotations),
        },
    })
}

/// An autoscaler on the external metric `m`.
pub(super) fn hpa(name: &str, min: u32, max: u32, target: Value) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": min, "maxReplicas": max,
            "metrics": [{"type": "External", "external": {
                "metric": {"name": "m", "selector": {"matchLabels": {"of": name, "a/b": "c d"}}},
                "target": target,
            }}],
        },
    })
}

pub(super) fn average(value: &str) -> Value {
    json!({"type": "AverageValue", "averageValue": value})
}

/// Status and reason of a condition.
pub(super) fn condition(object: &Value, kind: &str) -> (String, String) {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|one| one["type"] == kind).cloned().unwrap_or_default();
    let text = |field: &str| found[field].as_str().unwrap_or("").to_owned();
    (text("status"), text("reason"))
}
