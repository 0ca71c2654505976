//! The simulated API server held against the real one: the same list of interactions, the same answers. What is compared of
//! each is named with it; uids, versions and times are nobody's to repeat.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use windlass_kubesim::api::{Cluster, Options};
use windlass_rehearsal::VirtualClock;
use windlass_tests::{eventually, run, shared_rig};

const MERGE: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const JSON: &str = "application/json";
const GROUP: &str = "conformance.windlass.dev";

/// One interaction, and what is compared of its answer besides the code and the reason of a refusal.
struct Step {
    name: &'static str,
    method: &'static str,
    path: String,
    content: &'static str,
    body: Value,
    compared: &'static [&'static str],
}

fn step(name: &'static str, method: &'static str, path: &str, body: Value, compared: &'static [&'static str]) -> Step {
    Step { name, method, path: path.to_owned(), content: JSON, body, compared }
}

impl Step {
    fn patch(self, content: &'static str) -> Self {
        Self { method: "PATCH", content, ..self }
    }
}

const MESSAGE: &[&str] = &["/message"];
const DATA: &[&str] = &["/data"];
const NOTHING: &[&str] = &[];

fn map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn config_maps() -> Vec<Step> {
    let all = "/api/v1/namespaces/{ns}/configmaps";
    let a = "/api/v1/namespaces/{ns}/configmaps/a";
    let s = "/api/v1/namespaces/{ns}/configmaps/s";
    let at = |version: &str, data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": version}, "data": data});
    let applied =
        |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "s"}, "data": data});
    let by = |manager: &str, force: bool| format!("{s}?fieldManager={manager}&force={force}");
    vec![
        step("create", "POST", all, map("a", &json!({"x": "1"})), DATA),
        step("create what is there", "POST", all, map("a", &json!({})), MESSAGE),
        step("get", "GET", a, Value::Null, DATA),
        step("get what is not there", "GET", &format!("{all}/nothing"), Value::Null, MESSAGE),
        step("replace at its version", "PUT", a, at("{version:create}", json!({"x": "2"})), DATA),
        step("replace at an old version", "PUT", a, at("{version:create}", json!({"x": "3"})), MESSAGE),
        step("replace at any version", "PUT", a, map("a", &json!({"x": "4"})), DATA),
        step("replace under another name", "PUT", a, map("b", &json!({})), NOTHING),
        step("replace what is not there", "PUT", &format!("{all}/nothing"), map("nothing", &json!({})), NOTHING),
        step("merge", "", a, json!({"data": {"y": "1"}}), DATA).patch(MERGE),
        step("merge a null", "", a, json!({"data": {"y": null}}), DATA).patch(MERGE),
        step("merge at an old version", "", a, at("{version:create}", json!({"z": "1"})), MESSAGE).patch(MERGE),
        step(
            "JSON patch",
            "",
            a,
            json!([{"op": "add", "path": "/data/j", "value": "1"},
            {"op": "replace", "path": "/data/x", "value": "5"}, {"op": "test", "path": "/data/j", "value": "1"}]),
            DATA,
        )
        .patch(JSON_PATCH),
        step("JSON patch of what is not there", "", a, json!([{"op": "remove", "path": "/data/none"}]), NOTHING)
            .patch(JSON_PATCH),
        step("patch of no known kind", "", a, json!({}), NOTHING).patch("text/plain"),
        step("apply makes it", "", &by("one", false), applied(json!({"x": "1", "y": "1"})), DATA).patch(APPLY),
        step("apply the same", "", &by("one", false), applied(json!({"x": "1", "y": "1"})), DATA).patch(APPLY),
        step("apply against another", "", &by("two", false), applied(json!({"x": "2"})), MESSAGE).patch(APPLY),
        step("apply by force", "", &by("two", true), applied(json!({"x": "2"})), DATA).patch(APPLY),
        step("apply less", "", &by("one", false), applied(json!({"y": "1"})), DATA).patch(APPLY),
        step(
            "apply nothing",
            "",
            &by("one", false),
            json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "s"}}),
            DATA,
        )
        .patch(APPLY),
        step("apply without a manager", "", s, applied(json!({})), NOTHING).patch(APPLY),
        step("label", "", a, json!({"metadata": {"labels": {"app": "web"}}}), &["/metadata/labels"]).patch(MERGE),
        step(
            "list by label",
            "GET",
            &format!("{all}?labelSelector=app%3Dweb"),
            Value::Null,
            &["/items/0/metadata/name", "/items/1"],
        ),
        step(
            "list by absent label",
            "GET",
            &format!("{all}?labelSelector=!app,!x&fieldSelector=metadata.name%3Ds"),
            Value::Null,
            &["/items/0/metadata/name", "/items/1", "/kind", "/apiVersion"],
        ),
        step("list by a selector that is none", "GET", &format!("{all}?labelSelector=a+b+c"), Value::Null, NOTHING),
        step(
            "list in pages",
            "GET",
            &format!("{all}?limit=1&fieldSelector=metadata.name!%3Dkube-root-ca.crt"),
            Value::Null,
            &["/items/0/metadata/name", "/items/1"],
        ),
        step("create at a version", "POST", all, at("1", json!({})), NOTHING),
        step(
            "create without a name",
            "POST",
            all,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}),
            NOTHING,
        ),
        step("create under a bad name", "POST", all, map("Not_A_Name", &json!({})), NOTHING),
        step(
            "create in no namespace",
            "POST",
            "/api/v1/namespaces/{ns}-none/configmaps",
            map("a", &json!({})),
            MESSAGE,
        ),
        step(
            "create the wrong kind",
            "POST",
            all,
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "k"}}),
            NOTHING,
        ),
        step("create for nothing", "POST", &format!("{all}?dryRun=All"), map("dry", &json!({"x": "1"})), DATA),
        step("which is not there", "GET", &format!("{all}/dry"), Value::Null, NOTHING),
        step("post to a name", "POST", a, map("a", &json!({})), NOTHING),
        step("no such part", "GET", &format!("{a}/scale"), Value::Null, NOTHING),
        step("delete another", "DELETE", a, json!({"preconditions": {"uid": "another"}}), NOTHING),
        step("delete", "DELETE", a, Value::Null, &["/status", "/kind", "/details/name", "/details/kind"]),
        step("delete what is not there", "DELETE", a, Value::Null, MESSAGE),
        step("no such kind", "GET", "/api/v1/namespaces/{ns}/nothings", Value::Null, NOTHING),
        step("no such group", "GET", "/apis/nothing.windlass.dev/v1/nothings", Value::Null, NOTHING),
    ]
}

fn workloads() -> Vec<Step> {
    let all = "/apis/apps/v1/namespaces/{ns}/deployments";
    let scale = "/apis/apps/v1/namespaces/{ns}/deployments/web/scale";
    let hpas = "/apis/autoscaling/v2/namespaces/{ns}/horizontalpodautoscalers";
    let deployment = |replicas: i64, app: &str| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}})
    };
    let sized = |version: &str, replicas: i64| {
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web", "namespace": "{ns}",
            "resourceVersion": version}, "spec": {"replicas": replicas}})
    };
    let hpa = |spec: Value| json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}, "spec": spec});
    let to = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "absent"});
    let leases = "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases";
    let lease = |version: &str, holder: &str| {
        let mut lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15}});
        if !version.is_empty() {
            lease["metadata"]["resourceVersion"] = json!(version);
        }
        lease
    };
    vec![
        step("labels that do not match", "POST", all, deployment(1, "api"), NOTHING),
        step("fewer than no replicas", "POST", all, deployment(-1, "web"), NOTHING),
        step(
            "deployment",
            "POST",
            all,
            deployment(0, "web"),
            &[
                "/spec/replicas",
                "/spec/strategy",
                "/metadata/generation",
                "/spec/template/spec/restartPolicy",
                "/spec/template/spec/containers/0/imagePullPolicy",
            ],
        ),
        step("scale", "GET", scale, Value::Null, &["/kind", "/apiVersion", "/spec", "/status/selector"]),
        step("scale at an old version", "PUT", scale, sized("1", 2), MESSAGE),
        step("scale below nothing", "", scale, json!({"spec": {"replicas": -1}}), NOTHING).patch(MERGE),
        step("scale by a patch", "", scale, json!({"spec": {"replicas": 0}}), &["/spec"]).patch(MERGE),
        step(
            "an HPA above itself",
            "POST",
            hpas,
            hpa(json!({"scaleTargetRef": to, "minReplicas": 3, "maxReplicas": 2})),
            NOTHING,
        ),
        step("an HPA of none", "POST", hpas, hpa(json!({"scaleTargetRef": to, "maxReplicas": 0})), NOTHING),
        step(
            "an HPA with defaults",
            "POST",
            hpas,
            hpa(json!({"scaleTargetRef": to, "maxReplicas": 3, "behavior": {
            "scaleDown": {"stabilizationWindowSeconds": 10}}})),
            &["/spec/minReplicas", "/spec/metrics", "/spec/behavior"],
        ),
        step("a lease", "POST", leases, lease("", "one"), &["/spec"]),
        step("a lease renewed", "PUT", &format!("{leases}/l"), lease("{version:a lease}", "two"), &["/spec"]),
        step("a lease too late", "PUT", &format!("{leases}/l"), lease("{version:a lease}", "three"), MESSAGE),
    ]
}

fn resource_type() -> Value {
    let spec = json!({"type": "object", "required": ["size"], "x-kubernetes-validations": [
            {"rule": "self.size <= self.most", "message": "size must be at most most"}],
        "properties": {"size": {"type": "integer", "minimum": 0}, "most": {"type": "integer", "default": 10},
            "color": {"type": "string", "enum": ["red", "blue"]}}});
    let status = json!({"type": "object", "properties": {"size": {"type": "integer"}, "selector": {"type": "string"}}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("widgets.{GROUP}")}, "spec": {"group": GROUP, "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size",
                    "statusReplicasPath": ".status.size", "labelSelectorPath": ".status.selector"}}}]}})
}

fn custom() -> Vec<Step> {
    let all = format!("/apis/{GROUP}/v1/namespaces/{{ns}}/widgets");
    let one = format!("{all}/w");
    let widget = |spec: Value| json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Widget", "metadata": {"name": "w"}, "spec": spec});
    vec![
        step("a widget without its field", "POST", &all, widget(json!({})), MESSAGE),
        step("a widget of the wrong type", "POST", &all, widget(json!({"size": "large"})), NOTHING),
        step("a widget below its least", "POST", &all, widget(json!({"size": -1})), MESSAGE),
        step("a widget of no such color", "POST", &all, widget(json!({"size": 1, "color": "green"})), MESSAGE),
        step("a widget against its rule", "POST", &all, widget(json!({"size": 11})), NOTHING),
        step("a widget", "POST", &all, widget(json!({"size": 3, "unknown": true})), &["/spec", "/metadata/generation"]),
        step(
            "its status",
            "",
            &format!("{one}/status"),
            json!({"status": {"size": 2}, "spec": {"size": 9}}),
            &["/spec", "/status", "/metadata/generation"],
        )
        .patch(MERGE),
        step("its scale", "GET", &format!("{one}/scale"), Value::Null, &["/spec", "/status/replicas"]),
        step("its scale written", "", &format!("{one}/scale"), json!({"spec": {"replicas": 4}}), &["/spec"])
            .patch(MERGE),
        step("it is another generation", "GET", &one, Value::Null, &["/spec", "/metadata/generation"]),
        step(
            "its status applied",
            "",
            &format!("{one}/status?fieldManager=one&force=true"),
            json!({
            "apiVersion": format!("{GROUP}/v1"), "kind": "Widget", "metadata": {"name": "w"}, "status": {"size": 4}}),
            &["/spec", "/status"],
        )
        .patch(APPLY),
        step("it is deleted", "DELETE", &one, Value::Null, &["/status"]),
    ]
}

/// An API server, and what was answered so far.
struct Side {
    client: Client,
    namespace: String,
    answers: BTreeMap<&'static str, Value>,
}

impl Side {
    async fn ask(&mut self, step: &Step) -> anyhow::Result<(u16, Value)> {
        let fill = |text: &str| {
            let mut text = text.replace("{ns}", &self.namespace);
            for (name, answer) in &self.answers {
                let version = answer["metadata"]["resourceVersion"].as_str().unwrap_or_default();
                text = text.replace(&format!("{{version:{name}}}"), version);
            }
            text
        };
        let body = if step.body.is_null() { Vec::new() } else { fill(&step.body.to_string()).into_bytes() };
        let request = http::Request::builder().method(step.method).uri(fill(&step.path));
        let request = request.header("content-type", step.content).body(Body::from(body))?;
        let response = self.client.send(request).await.with_context(|| step.name.to_owned())?;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await?.to_bytes();
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        self.answers.insert(step.name, answer.clone());
        Ok((code, answer))
    }

    /// What is compared of an answer.
    fn shown(&self, step: &Step, (code, answer): &(u16, Value)) -> Value {
        let mut shown = json!({"code": code});
        if *code >= 300 {
            shown["reason"] = answer["reason"].clone();
        }
        for pointer in step.compared {
            shown[*pointer] = answer.pointer(pointer).cloned().unwrap_or(Value::Null);
        }
        serde_json::from_str(&shown.to_string().replace(&self.namespace, "NAMESPACE")).unwrap_or(shown)
    }
}

#[test]
fn the_simulated_api_server_answers_as_the_real_one_does() {
    run(async {
        let rig = shared_rig().await?;
        let namespace = rig.namespace("conformance").await?;
        let mut real = Side { client: rig.client(), namespace: namespace.name().to_owned(), answers: BTreeMap::new() };
        let cluster = Cluster::new(Options::new(std::sync::Arc::new(VirtualClock::new())));
        let simulated = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace.name()}});
        cluster.apply_manifest("admin", simulated)?;
        let mut sim =
            Side { client: cluster.client("admin"), namespace: namespace.name().to_owned(), answers: BTreeMap::new() };

        let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let made = step("a resource type", "POST", crds, resource_type(), &["/spec/names", "/spec/scope"]);
        let listed = step("widgets", "GET", &format!("/apis/{GROUP}/v1/widgets"), Value::Null, NOTHING);
        let gone = step("no resource type", "DELETE", &format!("{crds}/widgets.{GROUP}"), Value::Null, NOTHING);
        let mut rows = Vec::new();
        let mut differing = 0;
        for steps in [config_maps(), workloads(), vec![made], custom()] {
            for step in steps {
                let answers = (real.ask(&step).await?, sim.ask(&step).await?);
                let (wanted, seen) = (real.shown(&step, &answers.0), sim.shown(&step, &answers.1));
                let same = wanted == seen;
                rows.push(format!(
                    "{:<34} {:>4} {:>4}  {}",
                    step.name,
                    answers.0.0,
                    answers.1.0,
                    if same { "same" } else { "DIFFERS" }
                ));
                if !same {
                    differing += 1;
                    rows.push(format!("    real      {wanted}\n    simulated {seen}"));
                }
                if step.name == "a resource type" {
                    let real = &real;
                    eventually(std::time::Duration::from_secs(30), "the new kind", async || {
                        let request = http::Request::get(&listed.path).body(Body::empty())?;
                        ensure!(real.client.send(request).await?.status() == 200, "not served yet");
                        Ok(())
                    })
                    .await?;
                }
            }
        }
        real.ask(&gone).await?;
        let table = rows.join("\n");
        println!("{:<34} {:>4} {:>4}\n{table}", "interaction", "real", "sim");
        ensure!(differing == 0, "{differing} answers differ:\n{table}");
        Ok(())
    });
}
