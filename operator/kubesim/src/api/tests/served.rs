//! What else is served: discovery, tables, aggregated APIs, the audit and the change feed; defaults and checks of HPAs.

use std::net::SocketAddr;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Api as KubeApi, DeleteParams, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::lab::{
    CONFIG_MAPS, CRDS, DEPLOYMENTS, HPAS, JSON, config_map, deployment, lab, request, scaled_object_definition,
};
use crate::api::{ChangeKind, Part, Patch, Selector};

#[tokio::test(start_paused = true)]
async fn clients_find_kinds_by_discovery() {
    let lab = lab();
    lab.made(CRDS, scaled_object_definition()).await;
    let client = lab.cluster.client("tester");
    for (group, version, kind, plural, is_namespaced) in [
        ("apps", "v1", "Deployment", "deployments", true),
        ("", "v1", "Namespace", "namespaces", false),
        ("windlass.dev", "v1alpha1", "ScaledObject", "scaledobjects", true),
        ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true),
    ] {
        let wanted = GroupVersionKind::gvk(group, version, kind);
        let (resource, capabilities) = kube::discovery::pinned_kind(&client, &wanted).await.unwrap();
        let is_right = matches!(capabilities.scope, kube::discovery::Scope::Namespaced) == is_namespaced;
        assert!(resource.plural == plural && is_right, "{kind}");
    }
    let groups = client.list_api_groups().await.unwrap().groups;
    assert!(groups.iter().any(|group| group.name == "windlass.dev"));
    assert_eq!(client.apiserver_version().await.unwrap().minor, "36");
}

#[tokio::test(start_paused = true)]
async fn objects_of_any_kind_go_through_a_client() {
    let lab = lab();
    lab.made(CRDS, scaled_object_definition()).await;
    let client = lab.cluster.client("tester");
    let wanted = GroupVersionKind::gvk("windlass.dev", "v1alpha1", "ScaledObject");
    let (resource, _) = kube::discovery::pinned_kind(&client, &wanted).await.unwrap();
    let api: KubeApi<DynamicObject> = Api::namespaced_with(client.clone(), "shop", &resource);
    let spec = json!({"spec": {"scaleTargetRef": {"name": "web"}, "triggers": [{"type": "cron"}]}});
    let made = api.create(&PostParams::default(), &DynamicObject::new("web", &resource).data(spec)).await.unwrap();
    assert_eq!(made.data["spec"]["triggers"][0]["metadata"], json!({}));
    let gone = api.delete("web", &DeleteParams::background()).await.unwrap();
    assert!(gone.right().is_some_and(|status| status.is_success()));
    let maps: Api<ConfigMap> = Api::namespaced(client, "shop");
    assert!(maps.get_opt("none").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn tables_have_the_columns_of_a_definition() {
    let lab = lab();
    lab.made(CRDS, scaled_object_definition()).await;
    let path = "/apis/windlass.dev/v1alpha1/namespaces/shop/scaledobjects";
    let spec = json!({"scaleTargetRef": {"name": "web"}, "maxReplicaCount": 7, "triggers": [{"type": "cron"}]});
    lab.made(path, json!({"apiVersion": "windlass.dev/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "one"}, "spec": spec})).await;
    let ready = json!({"status": "True", "type": "Ready", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    lab.merge(&format!("{path}/one/status"), json!({"status": {"conditions": [ready]}})).await;
    let mut asked = request("GET", path, JSON, &Value::Null);
    asked.headers_mut().insert("accept", "application/json;as=Table;v=v1;g=meta.k8s.io".parse().unwrap());
    let response = lab.cluster.handle(&"tester".into(), asked).await.unwrap();
    let table: Value =
        serde_json::from_slice(&axum::body::to_bytes(response.into_body(), 100_000).await.unwrap()).unwrap();
    let names: Vec<_> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Name", "Target", "Min", "Max", "Ready", "Active", "Triggers", "Age", "Kind", "HPA", "Reason"]);
    let cells = &table["rows"][0]["cells"];
    assert_eq!(
        (&cells[0], &cells[1], &cells[3], &cells[4], &cells[7]),
        (&json!("one"), &json!("web"), &json!(7), &json!("True"), &json!("0s"))
    );
}

fn hpa(spec: Value) -> Value {
    let mut whole =
        json!({"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 5});
    for (name, value) in spec.as_object().unwrap() {
        whole[name] = value.clone();
    }
    json!({"metadata": {"name": "web"}, "spec": whole})
}

#[tokio::test(start_paused = true)]
async fn an_hpa_gets_the_defaults_of_kubernetes() {
    let lab = lab();
    let made = lab.made(HPAS, hpa(json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}}))).await;
    assert_eq!(
        (&made["spec"]["minReplicas"], &made["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"]),
        (&json!(1), &json!(80))
    );
    assert_eq!(
        made["spec"]["behavior"],
        json!({
            "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
                {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]},
            "scaleDown": {"stabilizationWindowSeconds": 60, "selectPolicy": "Max", "policies": [
                {"type": "Percent", "value": 100, "periodSeconds": 15}]},
        })
    );
    for (spec, field) in [
        (json!({"minReplicas": 6}), "spec.maxReplicas"),
        (json!({"minReplicas": 0}), "spec.minReplicas"),
        (json!({"maxReplicas": 0}), "spec.maxReplicas"),
        (json!({"scaleTargetRef": {"kind": "Deployment"}}), "spec.scaleTargetRef.name"),
        (json!({"scaleTargetRef": {"name": "web"}}), "spec.scaleTargetRef.kind"),
    ] {
        let mut wrong = hpa(spec);
        wrong["metadata"]["name"] = json!("other");
        let (code, refused) = lab.post(HPAS, wrong).await;
        assert_eq!((code, &refused["details"]["causes"][0]["field"]), (422, &json!(field)), "{refused}");
    }
}

fn echo() -> Router {
    Router::new().route(
        "/apis/metrics.example/v1/{*rest}",
        get(|headers: HeaderMap| async move { format!("{{\"user\": {:?}}}", headers["x-remote-user"].to_str().unwrap()) }),
    )
}

#[tokio::test(start_paused = true)]
async fn an_aggregated_api_is_reached_through_its_service_and_slice() {
    let lab = lab();
    let (path, first, second) = ("/apis/metrics.example/v1/things", "10.0.0.1:6443", "10.0.0.2:6443");
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    assert_eq!(lab.cluster.raw_get("hpa", path).await.0, 404, "nobody says that there is such a group");
    let service = json!({"metadata": {"name": "v1.metrics.example"}, "spec": {"group": "metrics.example", "version": "v1",
        "service": {"name": "metrics", "namespace": "shop"}, "groupPriorityMinimum": 1, "versionPriority": 1}});
    lab.made("/apis/apiregistration.k8s.io/v1/apiservices", service).await;
    assert_eq!(lab.cluster.raw_get("hpa", path).await.0, 503, "no slice");
    let slices = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices";
    let slice = json!({"metadata": {"name": "metrics", "labels": {"kubernetes.io/service-name": "metrics"}}, "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}], "ports": [{"port": 6443}]});
    lab.made(slices, slice).await;
    assert_eq!(lab.cluster.raw_get("hpa", path).await.0, 503, "nobody listens");
    lab.cluster.listen(address(first), echo());
    assert_eq!(lab.cluster.raw_get("hpa", path).await, (200, json!({"user": "hpa"})));
    let (_, groups) = lab.get("/apis").await;
    assert!(groups["groups"].as_array().unwrap().iter().any(|group| group["name"] == "metrics.example"));
    lab.merge(&format!("{slices}/metrics"), json!({"endpoints": [{"addresses": ["10.0.0.2"]}]})).await;
    assert_eq!(lab.cluster.raw_get("hpa", path).await.0, 503);
    lab.cluster.listen(address(second), echo());
    assert_eq!(lab.cluster.raw_get("hpa", path).await.0, 200);
    lab.cluster.unlisten(address(second));
    assert_eq!(lab.cluster.raw_get("hpa", path).await.0, 503);
    let entries = lab.cluster.take_audit();
    assert!(entries.iter().any(|entry| entry.user == "hpa" && entry.code == 200), "{entries:?}");
}

#[tokio::test(start_paused = true)]
async fn the_audit_says_who_did_what_and_what_became_of_it() {
    let lab = lab();
    let _ = lab.cluster.take_audit();
    lab.made(CONFIG_MAPS, config_map("one", &json!({}))).await;
    lab.post(CONFIG_MAPS, config_map("one", &json!({}))).await;
    lab.get(CONFIG_MAPS).await;
    lab.made(DEPLOYMENTS, deployment("web")).await;
    lab.merge(&format!("{DEPLOYMENTS}/web/scale"), json!({"spec": {"replicas": 2}})).await;
    let patch = Patch::Merge(json!({"status": {"replicas": 2}}));
    lab.cluster.patch("controller", ("apps", "deployments"), Part::Status, ("shop", "web"), &patch).unwrap();
    lab.delete(&format!("{CONFIG_MAPS}/one"), Value::Null).await;
    let said: Vec<_> = lab
        .cluster
        .take_audit()
        .iter()
        .map(|entry| {
            let written = if entry.version.is_some() { " written" } else { "" };
            format!(
                "{} {} {}/{}/{} {}{written}",
                entry.user, entry.verb, entry.resource, entry.name, entry.subresource, entry.code
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            "tester create configmaps// 201 written",
            "tester create configmaps// 409",
            "tester list configmaps// 200",
            "tester create deployments// 201 written",
            "tester patch deployments/web/scale 200 written",
            "controller patch deployments/web/status 200 written",
            "tester delete configmaps/one/ 200",
        ]
    );
    assert!(lab.cluster.take_audit().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_change_feed_tells_each_commit_with_what_was_before() {
    let lab = lab();
    let mut changes = lab.cluster.subscribe();
    lab.made(CONFIG_MAPS, config_map("one", &json!({"a": "1"}))).await;
    lab.merge(&format!("{CONFIG_MAPS}/one"), json!({"data": {"a": "2"}})).await;
    lab.merge(&format!("{CONFIG_MAPS}/one"), json!({"data": {"a": "2"}})).await;
    lab.delete(&format!("{CONFIG_MAPS}/one"), Value::Null).await;
    let mut seen = Vec::new();
    while let Ok(change) = changes.try_recv() {
        let value = |object: &Value| object["data"]["a"].as_str().map(str::to_owned);
        seen.push((change.kind, change.old.as_deref().and_then(value), value(&change.object)));
    }
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        seen,
        [
            (ChangeKind::Added, None, text("1")),
            (ChangeKind::Modified, text("1"), text("2")),
            (ChangeKind::Deleted, text("2"), text("2")),
        ]
    );
    assert!(lab.cluster.list(("", "configmaps"), None, &Selector::default()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn two_servers_of_one_seed_are_the_same_to_the_byte() {
    let mut told = Vec::new();
    for _ in 0..2 {
        let lab = lab();
        let start = lab.get(CONFIG_MAPS).await.1["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        for nth in 0..50 {
            lab.made(CONFIG_MAPS, json!({"metadata": {"generateName": "x-"}, "data": {"n": nth.to_string()}})).await;
        }
        lab.apply(&format!("{CONFIG_MAPS}/applied"), "me", config_map("applied", &json!({"a": "1"}))).await;
        let response = lab
            .response(
                "GET",
                &format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=5&resourceVersion={start}"),
                JSON,
                &Value::Null,
            )
            .await;
        let lines: Vec<_> = response.into_body().into_data_stream().map(Result::unwrap).collect().await;
        told.push(lines);
    }
    assert_eq!(told[0].len(), 51);
    assert_eq!(told[0], told[1]);
}
