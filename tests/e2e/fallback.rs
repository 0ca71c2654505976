//! Fallback, the original replicas, and the HPA of somebody else, on a real control plane.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use serde_json::{Value, json};
use windlass_tests::{Answer, FakeHttp, Rabbit, eventually, run};

use crate::scaling::Work;

const SOON: Duration = Duration::from_secs(60);

fn queue(messages: u64) -> Answer {
    Answer::json(&json!({"name": "queue", "messages": messages, "messages_ready": messages}))
}

/// Read over HTTP once a second from a broker that answers what a test says. The HPA follows it down at once.
async fn read_from(work: &Work, fake: &FakeHttp, fallback: Value) -> anyhow::Result<()> {
    let mut spec = work.spec();
    spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] = 0.into();
    spec["triggers"][0]["metadata"]["host"] = Rabbit::http_url_at(fake.address()).into();
    spec["pollingInterval"] = 1.into();
    spec["fallback"] = fallback;
    work.ns.scaled_object("web", &spec).await.map(drop)
}

#[test]
fn a_source_that_fails_too_often_is_replaced_by_the_fallback_until_it_answers_again() {
    run(async {
        let work = Work::start("fallback").await?;
        let fake = FakeHttp::start(|_| Answer::error(500)).await?;
        // Nothing was ever read: 0 -> 3 by the fallback alone.
        read_from(&work, &fake, json!({"failureThreshold": 3, "replicas": 3})).await?;
        work.replicas(3).await?;
        let fallback = work.ns.wait_condition("web", "Fallback", "True", SOON).await?;
        ensure!(fallback["reason"] == "FallbackExists", "{fallback}");
        let message = fallback["message"].as_str().unwrap_or_default();
        ensure!(message.contains("its fallback is 3 replicas"), "{message}");
        let ready = work.ns.condition("web", "Ready").await?;
        ensure!(ready["reason"] == "PartialTriggerError", "{ready}");
        work.ns.wait_event("web", "ScaledObjectFallbackActivated", SOON).await?;
        let health = &work.ns.status("web").await?["health"][work.metric()];
        ensure!(health["status"] == "Failing" && health["numberOfFailures"] == 4, "{health}");
        // It stays there, whatever the cooldown is.
        work.log.never("web", Duration::from_secs(10), "it moves", |row| row.spec != 3).await?;

        fake.set(|_| queue(0));
        work.ns.wait_condition("web", "Fallback", "False", SOON).await?;
        work.ns.wait_event("web", "ScaledObjectFallbackDeactivated", SOON).await?;
        work.replicas(0).await.map(drop)
    });
}

#[test]
fn a_fallback_on_the_replicas_that_are_there_moves_nothing() {
    run(async {
        // The fallback by itself would move each of them.
        let cases = [(4, 2, "currentReplicasIfHigher"), (2, 4, "currentReplicasIfLower"), (3, 1, "currentReplicas")];
        try_join_all(cases.map(async |(there, replicas, behavior)| {
            let work = Work::start("fallbackcurrent").await?;
            let fake = FakeHttp::start(move |_| queue(10 * there - 5)).await?;
            read_from(&work, &fake, json!({"failureThreshold": 1, "replicas": replicas, "behavior": behavior})).await?;
            let there = i32::try_from(there)?;
            work.replicas(there).await?;
            fake.set(|_| Answer::error(500));
            work.ns.wait_condition("web", "Fallback", "True", SOON).await?;
            work.log.never("web", Duration::from_secs(15), behavior, |row| row.spec != there).await
        }))
        .await
        .map(drop)
    });
}

#[test]
fn an_object_that_goes_gives_the_target_its_replicas_back() {
    run(async {
        let work = Work::start("restore").await?;
        work.ns.scale("web", 2).await?;
        let mut spec = work.spec();
        spec["advanced"]["restoreToOriginalReplicaCount"] = true.into();
        work.publish(40).await?;
        work.scaled_by(&spec).await?;
        work.replicas(4).await?;
        eventually(SOON, "it waits for us", async || {
            let object = work.ns.scaled_objects().get("web").await?;
            let finalizers = object.metadata.finalizers.unwrap_or_default();
            ensure!(finalizers == ["finalizer.windlass.dev"], "{finalizers:?}");
            Ok(())
        })
        .await?;
        work.ns.delete_scaled_object("web", SOON).await?;
        work.log.wait_spec("web", 2, SOON).await?;
        work.log.never("web", Duration::from_secs(5), "it moves", |row| row.spec != 2).await
    });
}

#[test]
fn an_hpa_of_somebody_else_is_taken_over_where_the_object_says_so_and_gets_its_labels() {
    run(async {
        let work = Work::start("transfer").await?;
        let ns = &work.ns;
        let theirs: HorizontalPodAutoscaler = serde_json::from_value(json!({
            "metadata": {"name": "by-hand"}, "spec": {"minReplicas": 1, "maxReplicas": 2,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "nobody"}}}))?;
        ns.create_object(&theirs).await?;
        let mut spec = work.spec();
        spec["advanced"]["horizontalPodAutoscalerConfig"]["name"] = "by-hand".into();
        ns.scaled_object("web", &spec).await?;
        let ready = ns.wait_condition("web", "Ready", "False", SOON).await?;
        ensure!(ready["message"].as_str().is_some_and(|m| m.contains("was not made for this object")), "{ready}");

        let annotations = json!({"scaledobject.keda.sh/transfer-hpa-ownership": "true", "team": "shop",
            "scaledobject.keda.sh/hpa-excluded-labels": "secret-label"});
        let patch = json!({"metadata": {"annotations": annotations, "labels": {"tier": "web", "secret-label": "x"}}});
        let params = kube::api::PatchParams::default();
        ns.scaled_objects().patch("web", &params, &kube::api::Patch::Merge(patch)).await?;
        ns.wait_condition("web", "Ready", "True", SOON).await?;
        let hpa = eventually(SOON, "the HPA is ours", async || {
            let hpa = ns.api::<HorizontalPodAutoscaler>().get("by-hand").await?;
            let max = hpa.spec.as_ref().map(|spec| spec.max_replicas);
            ensure!(max == Some(4), "{max:?}");
            Ok(hpa)
        })
        .await?;
        let labels = hpa.metadata.labels.context("no labels")?;
        ensure!(
            labels.get("tier").map(String::as_str) == Some("web") && !labels.contains_key("secret-label"),
            "{labels:?}"
        );
        let annotations = hpa.metadata.annotations.unwrap_or_default();
        ensure!(annotations.get("team").map(String::as_str) == Some("shop"), "{annotations:?}");
        work.publish(40).await?;
        work.replicas(4).await.map(drop)
    });
}

#[test]
fn cpu_is_passed_to_the_hpa_and_keeps_the_object_active() {
    run(async {
        let work = Work::start("cpu").await?;
        let spec = json!({"scaleTargetRef": {"name": "web"}, "minReplicaCount": 1, "maxReplicaCount": 3,
            "triggers": [{"type": "cpu", "metricType": "Utilization", "metadata": {"value": "80"}}]});
        work.scaled_by(&spec).await?;
        work.replicas(1).await?;
        let hpa = work.hpa().await?;
        let metrics = json!(hpa.spec.context("no spec")?.metrics);
        let expected = json!([{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 80}}}]);
        ensure!(metrics == expected, "{metrics}");
        let status = work.ns.status("web").await?;
        ensure!(status["resourceMetricNames"] == json!(["cpu"]) && status["triggersTypes"] == "cpu", "{status}");
        work.ns.wait_condition("web", "Active", "True", SOON).await.map(drop)
    });
}
