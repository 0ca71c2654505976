//! The HPA that belongs to an object: it says what the object says whatever happens to it, goes with its object, and
//! never takes the place of another one.

use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use windlass_tests::objects::rabbit_spec;
use windlass_tests::{Entry, OPERATOR_USER, eventually, run};

use crate::scaling::Work;

const SOON: Duration = Duration::from_secs(60);

impl Work {
    /// Waits until the HPA, as JSON, is as wanted.
    async fn wait_hpa(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        eventually(SOON, what, async || {
            let hpa = serde_json::to_value(self.hpa().await?)?;
            ensure!(wanted(&hpa), "it is {hpa}");
            Ok(hpa)
        })
        .await
    }

    async fn edit_hpa(&self, patch: Value) -> anyhow::Result<()> {
        let hpas = self.ns.api::<HorizontalPodAutoscaler>();
        let params = PatchParams { field_manager: Some("somebody".into()), ..PatchParams::default() };
        hpas.patch("windlass-hpa-web", &params, &Patch::Merge(patch)).await?;
        Ok(())
    }
}

#[test]
fn an_hpa_belongs_to_its_object_and_says_what_the_object_says_whatever_happens_to_it() {
    run(async {
        let work = Work::start("hpa").await?;
        let mut spec = work.spec();
        work.scaled_by(&spec).await?;
        let object = work.ns.scaled_objects().get("web").await?;
        let uid = object.metadata.uid.clone().context("an object without a uid")?;
        let hpa = work.wait_hpa("an HPA", |_| true).await?;
        let owner = json!([{"apiVersion": "windlass.dev/v1alpha1", "kind": "ScaledObject", "name": "web", "uid": uid,
            "controller": true}]);
        ensure!(hpa["metadata"]["ownerReferences"] == owner, "{}", hpa["metadata"]);
        ensure!(hpa["metadata"]["labels"]["scaledobject.windlass.dev/name"] == "web", "{}", hpa["metadata"]);
        let wanted = json!({
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1,
            "maxReplicas": 4,
            "metrics": [{"type": "External", "external": {
                "metric": {"name": work.metric(), "selector": {"matchLabels": {"scaledobject.windlass.dev/name": "web"}}},
                "target": {"type": "AverageValue", "averageValue": "10"},
            }}],
        });
        for (field, value) in wanted.as_object().into_iter().flatten() {
            ensure!(hpa["spec"][field] == *value, "{field} is {}", hpa["spec"][field]);
        }

        // The object changes: so does the HPA.
        spec["maxReplicaCount"] = 6.into();
        spec["minReplicaCount"] = 1.into();
        spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] = json!({"scaleUp": {"stabilizationWindowSeconds": 7, "policies": [{"type": "Pods", "value": 3, "periodSeconds": 20}]}});
        work.ns.scaled_object("web", &spec).await?;
        let hpa = work.wait_hpa("the HPA's new maximum", |hpa| hpa["spec"]["maxReplicas"] == 6).await?;
        let up = &hpa["spec"]["behavior"]["scaleUp"];
        ensure!(up["stabilizationWindowSeconds"] == 7 && up["policies"][0]["value"] == 3, "{hpa}");
        let down = &hpa["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"];
        ensure!(down.is_null(), "the behaviour of before is still there: {hpa}");
        work.log.wait_spec("web", 1, SOON).await?;
        spec["advanced"] = Value::Null;
        work.ns.scaled_object("web", &spec).await?;
        work.wait_hpa("the default behaviour", |hpa| {
            hpa["spec"]["behavior"]["scaleUp"]["stabilizationWindowSeconds"].as_i64().unwrap_or(0) == 0
        })
        .await?;

        // Somebody changes the HPA: it is put right.
        work.edit_hpa(json!({"spec": {"maxReplicas": 9, "minReplicas": 3}})).await?;
        let right = |hpa: &Value| hpa["spec"]["maxReplicas"] == 6 && hpa["spec"]["minReplicas"] == 1;
        work.wait_hpa("bounds put right", right).await?;
        work.edit_hpa(json!({"metadata": {"labels": {"scaledobject.windlass.dev/name": null}}})).await?;
        work.wait_hpa("the label put right", |hpa| {
            hpa["metadata"]["labels"]["scaledobject.windlass.dev/name"] == "web"
        })
        .await?;
        work.edit_hpa(json!({"metadata": {"ownerReferences": null}})).await?;
        work.wait_hpa("the owner put right", |hpa| hpa["metadata"]["ownerReferences"] == owner).await?;
        work.edit_hpa(json!({"spec": {"metrics": null}})).await?;
        let hpa = work.wait_hpa("metrics put right", |hpa| hpa["spec"]["metrics"] == wanted["metrics"]).await?;

        // Somebody deletes it: it comes back.
        work.ns.api::<HorizontalPodAutoscaler>().delete("windlass-hpa-web", &DeleteParams::default()).await?;
        let gone = &hpa["metadata"]["uid"];
        work.wait_hpa("another HPA", |hpa| hpa["metadata"]["uid"] != *gone).await?;

        // Another name: the old one goes.
        spec["advanced"] = json!({"horizontalPodAutoscalerConfig": {"name": "my-own"}});
        work.ns.scaled_object("web", &spec).await?;
        eventually(SOON, "one HPA, with its new name", async || {
            let hpas = work.ns.api::<HorizontalPodAutoscaler>().list(&ListParams::default()).await?;
            let names: Vec<String> = hpas.iter().map(ResourceExt::name_any).collect();
            ensure!(names == ["my-own"], "{names:?}");
            let named = work.ns.status("web").await?["hpaName"].clone();
            ensure!(named == "my-own", "the status names {named}");
            Ok(())
        })
        .await?;

        // The object goes: so does the HPA, by the garbage collector.
        work.ns.delete_scaled_object("web", SOON).await?;
        eventually(SOON, "no HPA is left", async || {
            let hpas = work.ns.api::<HorizontalPodAutoscaler>().list(&ListParams::default()).await?;
            ensure!(hpas.items.is_empty(), "{:?}", hpas.items);
            Ok(())
        })
        .await?;
        let deletions: Vec<Entry> = work.shared.rig.audit().settled().await?;
        let by_operator = deletions
            .iter()
            .filter(|entry| entry.user == OPERATOR_USER && entry.verb == "delete" && entry.namespace == work.ns.name());
        let names: Vec<&str> = by_operator.map(|entry| &*entry.name).collect();
        ensure!(
            names == ["windlass-hpa-web"],
            "the operator deleted {names:?}, but only the renamed HPA was its to delete"
        );
        Ok(())
    });
}

#[test]
fn an_hpa_of_somebody_else_is_left_alone_and_the_object_says_which_field_helps() {
    run(async {
        let work = Work::start("foreign").await?;
        let foreign: HorizontalPodAutoscaler = serde_json::from_value(json!({
            "metadata": {"name": "windlass-hpa-web", "labels": {"team": "other"}},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "other"},
                "maxReplicas": 3,
                "metrics": [{"type": "Resource", "resource":
                    {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}],
            },
        }))?;
        let made = work.ns.create_object(&foreign).await?;
        work.ns.scaled_object("web", &work.spec()).await?;
        let ready = work.ns.wait_condition("web", "Ready", "False", SOON).await?;
        let message = ready["message"].as_str().unwrap_or_default();
        for part in [
            "spec.advanced.horizontalPodAutoscalerConfig.name",
            "\"windlass-hpa-web\" exists",
            "give this object's HPA another name",
        ] {
            ensure!(message.contains(part), "the condition does not say {part:?}: {message}");
        }
        work.ns.wait_event("web", "ScaledObjectCheckFailed", SOON).await?;
        let now = work.hpa().await?;
        ensure!(now.spec == made.spec && now.metadata.labels == made.metadata.labels, "it was changed: {now:?}");
        let refused = work.ns.status("web").await?;

        // The name is given in the object, or the other HPA goes: both help.
        let mut spec = work.spec();
        spec["advanced"]["horizontalPodAutoscalerConfig"]["name"] = "mine".into();
        work.ns.scaled_object("web", &spec).await?;
        work.ns.wait_condition("web", "Ready", "True", SOON).await.with_context(|| format!("after {refused}"))?;
        ensure!(work.ns.api::<HorizontalPodAutoscaler>().get_opt("mine").await?.is_some(), "no HPA of that name");
        ensure!(work.hpa().await?.metadata.uid == made.metadata.uid, "the foreign HPA is gone");

        // Two objects that give their HPAs one name: the second is refused, and they do not overwrite each other.
        work.ns.deployment("rival", 0, &[]).await?;
        let mut rival = rabbit_spec("rival", &work.shared.rabbit.amqp_url(), &work.queue, 10, 4);
        rival["advanced"] = json!({"horizontalPodAutoscalerConfig": {"name": "mine"}});
        work.ns.scaled_object("rival", &rival).await?;
        let ready = work.ns.wait_condition("rival", "Ready", "False", SOON).await?;
        ensure!(ready["message"].as_str().is_some_and(|m| m.contains("horizontalPodAutoscalerConfig.name")), "{ready}");
        let writes = work.shared.rig.audit().settled().await?;
        let writes = writes.iter().filter(|w| w.is_write() && w.namespace == work.ns.name() && w.name == "mine");
        let by_operator =
            writes.filter(|write| write.user == OPERATOR_USER && write.resource.starts_with("horizontal"));
        ensure!(by_operator.count() == 1, "the HPA was written more than once");
        work.ns.delete_scaled_object("rival", SOON).await?;
        work.ns.scaled_object("web", &work.spec()).await?;
        work.ns.wait_condition("web", "Ready", "False", SOON).await?;
        work.ns.api::<HorizontalPodAutoscaler>().delete("windlass-hpa-web", &DeleteParams::default()).await?;
        work.ns.wait_condition("web", "Ready", "True", SOON).await?;
        work.wait_hpa("an HPA of its own", |hpa| hpa["spec"]["scaleTargetRef"]["name"] == "web").await?;
        Ok(())
    });
}
