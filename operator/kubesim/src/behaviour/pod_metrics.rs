//! What pods use, as metrics.k8s.io serves it (`PodMetrics`): their load's share of what they could do, of what they request.
//! Measured every 15 s like metrics-server does; a pod has figures once it ran through a whole interval. Pods for which no
//! load is known have none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::json::{list, name, namespace, owner, seconds, text, time};
use super::pods::{Phase, Pod, PodCache};
use super::quantity::{binary, decimal, milli};
use super::store::Kind;
use crate::api::{Cluster, Selector, Status};
use crate::load::{Loads, TargetKey, usage_interval};

/// What a pod without a request for CPU could use: one core.
const ONE_CORE: i64 = 1000;

/// The share of its requested memory that a pod uses, whatever it does: memory is not modelled.
const MEMORY_SHARE: f64 = 0.5;

/// The memory of a container that requests none: 64 Mi, in thousandths of a byte.
const SOME_MEMORY: i64 = 64 * 1024 * 1024 * 1000;

/// The source of pod metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct PodMetrics {
    cluster: Cluster,
    loads: Option<Loads>,
    pods: PodCache,
}

impl PodMetrics {
    pub(super) fn new(cluster: Cluster, loads: Option<Loads>, pods: PodCache) -> Self {
        Self { cluster, loads, pods }
    }

    /// The `PodMetrics` of a namespace (`None`: of all) whose labels match, in the order of names.
    pub(super) fn items(&self, namespace: Option<&str>, selector: &str) -> Vec<Value> {
        let Some(loads) = &self.loads else { return Vec::new() };
        let Ok(selector) = Selector::parse(selector, "") else { return Vec::new() };
        let (ago, interval) = usage_interval(loads.elapsed());
        let end = self.cluster.now().checked_sub(ago).unwrap_or(Timestamp::UNIX_EPOCH);
        let mut busy: BTreeMap<TargetKey, Option<f64>> = BTreeMap::new();
        let pods = self.pods.select_in(namespace, |pod| selector.matches(pod));
        pods.iter()
            .filter_map(|pod| {
                self.item(pod, end, interval, |key| *busy.entry(key).or_insert_with_key(|key| loads.utilisation(key)))
            })
            .collect()
    }

    /// The API, to listen at the address behind the APIService `v1beta1.metrics.k8s.io`.
    pub(super) fn router(self) -> Router {
        const BASE: &str = "/apis/metrics.k8s.io/v1beta1";
        Router::new()
            .route(BASE, get(discovery))
            .route(&format!("{BASE}/pods"), get(everywhere))
            .route(&format!("{BASE}/namespaces/{{namespace}}/pods"), get(one_namespace))
            .route(&format!("{BASE}/namespaces/{{namespace}}/pods/{{name}}"), get(one_pod))
            .with_state(self)
    }

    fn item(
        &self,
        pod: &Pod,
        end: Timestamp,
        interval: Duration,
        mut busy: impl FnMut(TargetKey) -> Option<f64>,
    ) -> Option<Value> {
        let started = time(&pod.object, "/status/startTime")?;
        // Start times are cut to whole seconds: one that equals the beginning was after it.
        if pod.phase != Phase::Running || end.checked_sub(interval).ok()? <= started {
            return None;
        }
        let share = self.targets(pod).into_iter().find_map(&mut busy)?;
        // A pod that runs and is not ready does no work.
        let share = if pod.serves() { share } else { 0.0 };
        let containers: Vec<_> = list(&pod.object, "/spec/containers")
            .iter()
            .map(|container| {
                let request =
                    |resource: &str| container.pointer("/resources/requests")?.get(resource)?.as_str().and_then(milli);
                let cpu = of(request("cpu").unwrap_or(ONE_CORE), share);
                let memory = request("memory").map_or(SOME_MEMORY, |request| of(request, MEMORY_SHARE) / 1000 * 1000);
                json!({"name": text(container, "/name"), "usage": {"cpu": decimal(cpu), "memory": binary(memory)}})
            })
            .collect();
        Some(json!({
            "kind": "PodMetrics",
            "apiVersion": "metrics.k8s.io/v1beta1",
            "metadata": {
                "name": name(&pod.object),
                "namespace": namespace(&pod.object),
                "creationTimestamp": text(&pod.object, "/metadata/creationTimestamp"),
                "labels": pod.object.pointer("/metadata/labels"),
            },
            "timestamp": seconds(end),
            "window": format!("{}s", interval.as_secs()),
            "containers": containers,
        }))
    }

    /// Whose load a pod may carry: its controller's and that one's controller's.
    fn targets(&self, pod: &Pod) -> Vec<TargetKey> {
        let Some(direct) = &pod.owner else { return Vec::new() };
        let in_namespace = namespace(&pod.object);
        let mut found = vec![TargetKey::new(in_namespace, &direct.kind, &direct.name)];
        let middle = match direct.kind.as_str() {
            "ReplicaSet" => self.cluster.get(Kind::ReplicaSet.gr(), in_namespace, &direct.name),
            "Job" => self.cluster.get(Kind::Job.gr(), in_namespace, &direct.name),
            _ => None,
        };
        if let Some(upper) = middle.and_then(|middle: Arc<Value>| owner(&middle)) {
            found.push(TargetKey::new(in_namespace, &upper.kind, &upper.name));
        }
        found
    }
}

fn of(request: i64, share: f64) -> i64 {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a share of a request")]
    let used = (request as f64 * share).round() as i64;
    used
}

/// The request of a pod (or of one container) in thousandths: what the pod asks for as a whole, or the sum of its
/// containers. `None` where a container that counts has none.
pub(super) fn requested(pod: &Value, resource: &str, container: Option<&str>) -> Option<i64> {
    let of_pod = pod.pointer("/spec/resources/requests").and_then(|requests| requests.get(resource));
    if let (Some(request), None) = (of_pod.and_then(Value::as_str), container) {
        return milli(request);
    }
    let restartable = list(pod, "/spec/initContainers").iter().filter(|one| text(one, "/restartPolicy") == "Always");
    let counts = |one: &&Value| container.is_none_or(|wanted| text(one, "/name") == wanted);
    let mut counted = list(pod, "/spec/containers").iter().chain(restartable).filter(counts).peekable();
    counted.peek()?;
    counted.map(|one| milli(one.pointer("/resources/requests")?.get(resource)?.as_str()?)).sum()
}

async fn discovery() -> Response {
    let resource =
        json!({"name": "pods", "singularName": "", "namespaced": true, "kind": "PodMetrics", "verbs": ["get", "list"]});
    answer(
        StatusCode::OK,
        &json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "metrics.k8s.io/v1beta1", "resources": [resource],
        }),
    )
}

async fn everywhere(State(metrics): State<PodMetrics>, RawQuery(query): RawQuery) -> Response {
    listed(&metrics, None, query.as_deref())
}

async fn one_namespace(
    State(metrics): State<PodMetrics>,
    Path(namespace): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    listed(&metrics, Some(&namespace), query.as_deref())
}

async fn one_pod(State(metrics): State<PodMetrics>, Path((namespace, pod)): Path<(String, String)>) -> Response {
    let mut items = metrics.items(Some(&namespace), "");
    items.retain(|item| name(item) == pod);
    match items.pop() {
        Some(item) => answer(StatusCode::OK, &item),
        None => {
            let message = format!("pods.metrics.k8s.io {:?} not found", format!("{namespace}/{pod}"));
            let status = Status::new(404, "NotFound", message);
            answer(StatusCode::NOT_FOUND, &status_body(&status))
        }
    }
}

fn listed(metrics: &PodMetrics, namespace: Option<&str>, query: Option<&str>) -> Response {
    let items = metrics.items(namespace, &label_selector(query.unwrap_or_default()));
    answer(
        StatusCode::OK,
        &json!({
            "kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {}, "items": items,
        }),
    )
}

fn status_body(status: &Status) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": status.message,
        "reason": status.reason, "code": status.code,
    })
}

fn answer(code: StatusCode, body: &Value) -> Response {
    (code, [("content-type", "application/json")], body.to_string()).into_response()
}

/// The label selector of a query string.
fn label_selector(query: &str) -> String {
    let value = query.split('&').find_map(|part| part.strip_prefix("labelSelector=")).unwrap_or_default();
    let bytes = value.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let hex = bytes.get(index + 1..index + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (bytes[index], hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                index += 2;
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        index += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
