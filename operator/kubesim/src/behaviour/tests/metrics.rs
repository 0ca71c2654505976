//! What the load knows of pods and what is served of it: pod metrics, custom metrics, HPAs on CPU.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::{Value, json};

use super::lab::*;
use crate::api::Deletion;
use crate::load::{ArrivalProcess, QueueKey, Service, TargetKey};

fn by_cpu(name: &str, percent: u32) -> Value {
    let mut object = hpa(name, 1, 20, json!({}));
    object["spec"]["metrics"] = json!([{"type": "Resource", "resource": {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent},
    }}]);
    object
}

/// A queue that pods of the Deployment `web` work on, one message a second each.
fn with_queue(lab: &Lab, per_second: f64) -> QueueKey {
    let key = QueueKey::new("broker", "/", "orders");
    let target = TargetKey::new("default", "Deployment", "web");
    lab.loads.add(key.clone(), Some(target), Service::per_pod(1.0), &ArrivalProcess::constant(per_second)).unwrap();
    key
}

#[tokio::test(start_paused = true)]
async fn the_load_knows_which_pods_work_at_every_moment() {
    let lab = lab(settings(), 1);
    let key = with_queue(&lab, 10.0);
    let pods = || lab.loads.figures(&key).unwrap().pods;
    lab.create(deployment("web", 3, json!({})));
    lab.at(1.9).await;
    assert_eq!((pods(), lab.loads.backlog(&key)), (0, Some(19)));
    lab.at(2.1).await;
    assert_eq!(pods(), 3);
    let at_two = lab.loads.backlog(&key).unwrap();
    lab.at(12.1).await;
    assert_eq!(lab.loads.backlog(&key).unwrap() - at_two, 70, "10 a second come, 3 go");
    lab.scale("web", 20);
    lab.at(16.0).await;
    assert_eq!(pods(), 20);
    lab.scale("web", 1);
    lab.at(16.1).await;
    assert_eq!(pods(), 1);
    let last = lab.pods()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    lab.patch(PODS, &last, json!({"metadata": {"labels": {"x": "y"}}}));
    lab.at(16.2).await;
    assert_eq!(pods(), 1);
    lab.cluster.delete(ADMIN, DEPLOYMENTS, ("default", "web"), &Deletion::default()).unwrap();
    lab.at(20.0).await;
    assert_eq!(pods(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_hpa_on_cpu_follows_the_load() {
    for published in [false, true] {
        let lab = lab(settings(), 1);
        if published {
            lab.handle.publish_pod_metrics("10.0.0.7:443".parse().unwrap()).unwrap();
        }
        with_queue(&lab, 4.0);
        lab.create(deployment("web", 4, json!({})));
        lab.create(by_cpu("web", 50));
        lab.at(29.0).await;
        assert_eq!(lab.replicas("web"), 4, "at 15 s no pod had run through a whole interval");
        // The backlog keeps every pod at 100 %, twice what is wanted.
        lab.at(31.0).await;
        assert_eq!(lab.replicas("web"), 8, "published {published}");
        let current = lab.get(HPAS, "web")["status"]["currentMetrics"][0]["resource"]["current"].clone();
        assert_eq!((&current["averageUtilization"], &current["averageValue"]), (&json!(100), &json!("200m")));
        lab.at(1200.0).await;
        let utilisation = lab.loads.utilisation(&TargetKey::new("default", "Deployment", "web")).unwrap();
        assert!((0.4..=0.55).contains(&utilisation), "published {published}: {utilisation}");
        assert!((7..=9).contains(&lab.replicas("web")), "{}", lab.replicas("web"));
    }
}

#[tokio::test(start_paused = true)]
async fn pods_without_a_known_load_have_no_figures_and_are_not_cut() {
    let lab = lab(settings(), 1);
    lab.create(deployment("web", 6, json!({})));
    lab.create(by_cpu("web", 50));
    lab.at(900.0).await;
    assert_eq!(lab.replicas("web"), 6);
    assert_eq!(condition(&lab.get(HPAS, "web"), "ScalingActive"), ("False".into(), "FailedGetResourceMetric".into()));
}

#[tokio::test(start_paused = true)]
async fn pod_metrics_are_served_as_metrics_server_does() {
    let lab = lab(settings(), 1);
    lab.handle.publish_pod_metrics("10.0.0.7:443".parse().unwrap()).unwrap();
    with_queue(&lab, 1.0);
    lab.create(deployment("web", 2, json!({})));
    let base = "/apis/metrics.k8s.io/v1beta1";
    let list = |path: String| {
        let cluster = lab.cluster.clone();
        async move { cluster.raw_get("me", &path).await }
    };
    lab.at(16.0).await;
    let (code, body) = list(format!("{base}/namespaces/default/pods")).await;
    assert_eq!((code, &body["kind"], body["items"].as_array().unwrap().len()), (200, &json!("PodMetricsList"), 0));
    lab.at(35.0).await; // a whole interval, 15 s to 30 s, has passed since they started
    let (_, body) = list(format!("{base}/namespaces/default/pods?labelSelector=app%3Dweb")).await;
    let items = body["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!((&items[0]["timestamp"], &items[0]["window"]), (&json!("2026-01-01T00:00:30Z"), &json!("15s")));
    let usage = &items[0]["containers"][0];
    assert_eq!((&usage["name"], &usage["usage"]["memory"]), (&json!("main"), &json!("32Mi")));
    let cpu = crate::behaviour::quantity::milli(usage["usage"]["cpu"].as_str().unwrap()).unwrap();
    assert!((95..=105).contains(&cpu), "one message a second for two pods is half of 200m: {cpu}");
    for (path, code, count) in [
        (format!("{base}/namespaces/default/pods?labelSelector=app%3Dnone"), 200, 0),
        (format!("{base}/pods"), 200, 2),
        (format!("{base}/namespaces/kube-system/pods"), 200, 0),
        (format!("{base}/namespaces/default/pods/nobody"), 404, 0),
    ] {
        let (got, body) = list(path.clone()).await;
        assert_eq!((got, body["items"].as_array().map_or(0, Vec::len)), (code, count), "{path}");
    }
    let name = items[0]["metadata"]["name"].as_str().unwrap();
    let (code, body) = list(format!("{base}/namespaces/default/pods/{name}")).await;
    assert_eq!((code, &body["kind"]), (200, &json!("PodMetrics")));
}

#[tokio::test(start_paused = true)]
async fn custom_metrics_are_asked_for_as_the_real_controller_does() {
    let lab = lab(settings(), 1);
    let at: SocketAddr = "10.0.0.8:443".parse().unwrap();
    let asked: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let seen = asked.clone();
    let answer = move |request: Request<Body>| {
        let path = request.uri().to_string();
        seen.lock().unwrap().push(path.clone());
        let item = |name: &str, value: &str| json!({"describedObject": {"name": name}, "value": value, "timestamp": "2026-01-01T00:00:00Z", "windowSeconds": 30});
        async move {
            let items = if path.contains("/pods/*/") { vec![item("nobody", "1")] } else { vec![item("site", "120")] };
            json!({"kind": "MetricValueList", "items": items}).to_string().into_response()
        }
    };
    lab.cluster.listen(at, Router::new().route("/{*rest}", get(answer)));
    for mut object in crate::behaviour::metrics_server(at) {
        if object["kind"] == "APIService" {
            object["metadata"]["name"] = "v1beta2.custom.metrics.k8s.io".into();
            object["spec"]["group"] = "custom.metrics.k8s.io".into();
            object["spec"]["version"] = "v1beta2".into();
        }
        lab.create(object);
    }
    lab.create(deployment("web", 2, json!({})));
    let mut object = hpa("web", 1, 20, json!({}));
    object["spec"]["metrics"] = json!([
        {"type": "Object", "object": {
            "describedObject": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "site"},
            "metric": {"name": "hits"}, "target": {"type": "AverageValue", "averageValue": "40"},
        }},
        {"type": "Pods", "pods": {
            "metric": {"name": "load", "selector": {"matchLabels": {"a": "b"}}},
            "target": {"type": "AverageValue", "averageValue": "1"},
        }},
    ]);
    lab.create(object);
    lab.at(15.5).await;
    assert_eq!(
        *asked.lock().unwrap(),
        [
            "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/deployments.apps/site/hits",
            "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/pods/*/load?labelSelector=app%3Dweb&metricLabelSelector=a%3Db",
        ]
    );
    assert_eq!(lab.replicas("web"), 3, "120 / 40; the pods' metric knows none of the pods and fails");
    let current = lab.get(HPAS, "web")["status"]["currentMetrics"].clone();
    assert_eq!(current[0]["object"]["describedObject"]["name"], "site");
    assert_eq!(current[0]["object"]["current"]["averageValue"], "60");
}
