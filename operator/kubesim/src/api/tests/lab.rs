//! A server to ask, on tokio's clock.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::api::{Cluster, Faults, Options, RequestFault, RequestInfo, WatchFault, WatchInfo};
use crate::test_clock::TestClock;

pub(super) const CONFIG_MAPS: &str = "/api/v1/namespaces/shop/configmaps";
pub(super) const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/shop/deployments";
pub(super) const HPAS: &str = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers";
pub(super) const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

pub(super) const JSON: &str = "application/json";
pub(super) const MERGE: &str = "application/merge-patch+json";
pub(super) const JSON_PATCH: &str = "application/json-patch+json";
pub(super) const APPLY: &str = "application/apply-patch+yaml";

/// Faults that a test sets; each is used once.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) request: Mutex<Option<RequestFault>>,
    pub(super) watch: Mutex<Option<WatchFault>>,
}

impl Faults for Script {
    fn request(&self, _: &RequestInfo<'_>) -> RequestFault {
        self.request.lock().unwrap().take().unwrap_or(RequestFault::Pass)
    }

    fn watch(&self, _: &WatchInfo<'_>) -> WatchFault {
        self.watch.lock().unwrap().take().unwrap_or(WatchFault::Pass)
    }
}

pub(super) struct Lab {
    pub(super) cluster: Cluster,
    pub(super) script: Arc<Script>,
}

/// A server with the namespace `shop`.
pub(super) fn lab() -> Lab {
    lab_with(|options| options)
}

pub(super) fn lab_with(change: impl FnOnce(Options) -> Options) -> Lab {
    let script = Arc::new(Script::default());
    let options = Options::new(Arc::new(TestClock(Instant::now())));
    let options = Options { audit: 1000, faults: Some(script.clone()), ..options };
    let cluster = Cluster::new(change(options));
    cluster.create("test", ("", "namespaces"), "", json!({"metadata": {"name": "shop"}})).unwrap();
    Lab { cluster, script }
}

impl Lab {
    pub(super) async fn send(&self, method: &str, path: &str, kind: &str, body: &Value) -> (u16, Value) {
        let response = self.response(method, path, kind, body).await;
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    pub(super) async fn response(&self, method: &str, path: &str, kind: &str, body: &Value) -> Response<Body> {
        self.cluster.handle(&"tester".into(), request(method, path, kind, body)).await.unwrap()
    }

    pub(super) async fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, JSON, &Value::Null).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.send("POST", path, JSON, &body).await
    }

    pub(super) async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        self.send("PUT", path, JSON, &body).await
    }

    pub(super) async fn merge(&self, path: &str, body: Value) -> (u16, Value) {
        self.send("PATCH", path, MERGE, &body).await
    }

    pub(super) async fn apply(&self, path: &str, manager: &str, body: Value) -> (u16, Value) {
        let joint = if path.contains('?') { '&' } else { '?' };
        self.send("PATCH", &format!("{path}{joint}fieldManager={manager}"), APPLY, &body).await
    }

    pub(super) async fn delete(&self, path: &str, body: Value) -> (u16, Value) {
        self.send("DELETE", path, JSON, &body).await
    }

    /// Creates an object that must be accepted.
    pub(super) async fn made(&self, path: &str, body: Value) -> Value {
        let (code, made) = self.post(path, body).await;
        assert_eq!(code, 201, "{made}");
        made
    }

    pub(super) async fn watch(&self, path: &str) -> Events {
        let response = self.response("GET", path, JSON, &Value::Null).await;
        assert_eq!(response.status(), 200, "{path}");
        Events { lines: response.into_body().into_data_stream() }
    }
}

pub(super) fn request(method: &str, path: &str, kind: &str, body: &Value) -> Request<Bytes> {
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let builder = Request::builder().method(method.parse::<Method>().unwrap()).uri(path);
    builder.header("content-type", kind).header("user-agent", "tester/1").body(body).unwrap()
}

/// The events of a watch.
pub(super) struct Events {
    lines: BodyDataStream,
}

impl Events {
    /// The next event; nothing where the watch has ended.
    pub(super) async fn next(&mut self) -> Option<Value> {
        let line = self.lines.next().await?.unwrap();
        Some(serde_json::from_slice(&line).unwrap_or_else(|error| panic!("{error}: {line:?}")))
    }

    /// The next event as `TYPE name version`, within a second.
    pub(super) async fn said(&mut self) -> String {
        let Ok(event) = timeout(Duration::from_secs(1), self.next()).await else { return "silence".to_owned() };
        let Some(event) = event else { return "end".to_owned() };
        let (kind, object) = (event["type"].as_str().unwrap().to_owned(), &event["object"]);
        if kind == "ERROR" {
            return format!("ERROR {} {}", object["code"], object["reason"].as_str().unwrap());
        }
        format!("{kind} {}", object["metadata"]["name"].as_str().unwrap_or("-"))
    }

    /// All events until a second of silence or the end.
    pub(super) async fn all(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let said = self.said().await;
            let over = matches!(said.as_str(), "silence" | "end");
            if said != "silence" {
                all.push(said);
            }
            if over {
                return all;
            }
        }
    }
}

pub(super) fn config_map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

pub(super) fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "worker:1"}]},
            },
        },
    })
}

pub(super) fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

/// The product's own definition, as an object that users write.
pub(super) fn scaled_object_definition() -> Value {
    use serde::Deserialize;
    let text = include_str!("../../../../../deploy/crds/windlass.dev.yaml");
    let documents = serde_yaml_ng::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap());
    documents.into_iter().find(|definition| definition["spec"]["names"]["kind"] == "ScaledObject").unwrap()
}
