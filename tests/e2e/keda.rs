//! Objects of KEDA's group, with KEDA's resource types as it publishes them: the same replicas, KEDA's names for everything,
//! and a take-over from a KEDA that has stopped that moves nothing.

use std::time::Duration;

use anyhow::{Context, ensure};
use jiff::SignedDuration;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use windlass_tests::install::apply;
use windlass_tests::objects::rabbit_spec;
use windlass_tests::{
    Broker, Manifests, Namespace, OPERATOR_USER, Operator, OperatorOptions, Rabbit, Rig, RigOptions, eventually, keda,
    now, run, shared_rabbit,
};

use crate::scaling::Work;

const SOON: Duration = Duration::from_secs(60);

#[test]
fn an_object_of_keda_is_scaled_with_kedas_names() {
    run(async {
        let work = Work::start("keda").await?.of_keda();
        let ns = &work.ns;
        let mut spec = work.spec();
        // KEDA passes over what it does not know.
        spec["triggers"][0]["metadata"]["queueLenght"] = "5".into();
        work.scaled_by(&spec).await?;
        work.publish(25).await?;
        work.replicas(3).await?;

        let hpa = ns.wait_hpa("web", SOON).await?;
        let expected = keda::hpa(ns.name(), "web", "", (&work.metric(), "10"), 4);
        let labels =
            hpa.labels().iter().map(|(key, value)| (key.clone(), json!(value))).collect::<serde_json::Map<_, _>>();
        for (key, value) in expected["metadata"]["labels"].as_object().context("labels")? {
            let is_version = key == "app.kubernetes.io/version";
            ensure!(is_version || labels.get(key) == Some(value), "{key} is {:?}, not {value}", labels.get(key));
        }
        let metrics = json!(hpa.spec.context("no spec")?.metrics);
        ensure!(metrics == expected["spec"]["metrics"], "{metrics}");

        let object = eventually(SOON, "the object has KEDA's finalizer and label", async || {
            let object = ns.scaled_objects().get("web").await?;
            ensure!(object.finalizers() == ["finalizer.keda.sh"], "{:?}", object.finalizers());
            let label = object.labels().get("scaledobject.keda.sh/name");
            ensure!(label.map(String::as_str) == Some("web"), "{label:?}");
            Ok(object)
        })
        .await?;
        let status = &object.data["status"];
        ensure!(status["hpaName"] == "keda-hpa-web" && status["externalMetricNames"][0] == work.metric(), "{status}");
        ensure!(status["triggersActivity"][work.metric()]["isActive"] == true, "{status}");
        let active = ns.wait_condition("web", "Active", "True", SOON).await?;
        ensure!(active["reason"] == "ScalerActive" && active.get("lastTransitionTime").is_none(), "{active}");

        let told = ns.wait_event("web", "KEDAScalerInfo", SOON).await?;
        let message = told.message.unwrap_or_default();
        ensure!(message.contains("queueLenght") && message.contains("did you mean queueLength?"), "{message}");
        ensure!(told.involved_object.api_version.as_deref() == Some("keda.sh/v1alpha1"), "{:?}", told.involved_object);

        work.shared.rabbit.purge(&work.queue).await?;
        work.replicas(0).await?;
        ns.delete_scaled_object("web", SOON).await?;
        eventually(SOON, "the HPA goes with its object", async || {
            ensure!(ns.hpa("web").await?.is_none(), "it is there");
            Ok(())
        })
        .await
    });
}

#[test]
fn two_groups_never_scale_one_target() {
    run(async {
        let work = Work::start("twogroups").await?;
        work.scaled_by(&work.spec()).await?;
        let keda = work.ns.of_keda();
        keda.scaled_object("other", &work.spec()).await?;
        let ready = keda.wait_condition("other", "Ready", "False", SOON).await?;
        let message = ready["message"].as_str().unwrap_or_default();
        ensure!(message.contains("already managed by the ScaledObject \"web\""), "{ready}");
        ensure!(keda.hpa("other").await?.is_none(), "it has an HPA");
        // The first gone, the other takes over.
        work.ns.delete_scaled_object("web", SOON).await?;
        keda.wait_condition("other", "Ready", "True", SOON).await?;
        keda.wait_hpa("other", SOON).await.map(drop)
    });
}

/// A control plane with KEDA's types and our manifests, and no operator yet.
async fn rig() -> anyhow::Result<Rig> {
    let rig = Rig::start(RigOptions::without_pods()).await?;
    rig.install(&Manifests::repository()?).await?;
    for crd in keda::crds() {
        apply(&rig.client(), &crd).await?;
    }
    Ok(rig)
}

/// What KEDA leaves behind: an object that is active at three replicas, with its HPA.
async fn as_keda_leaves_it(ns: &Namespace, rabbit: &Rabbit) -> anyhow::Result<Value> {
    let queue = ns.name();
    rabbit.declare(queue).await?;
    rabbit.publish(queue, 25).await?;
    ns.deployment("web", 3, &[]).await?;
    ns.scaled_object("web", &rabbit_spec("web", &rabbit.amqp_url(), queue, 10, 4)).await?;
    let metric = format!("s0-rabbitmq-{queue}");
    let hour_ago = now() - SignedDuration::from_hours(1);
    let marks =
        json!({"metadata": {"finalizers": ["finalizer.keda.sh"], "labels": {"scaledobject.keda.sh/name": "web"}}});
    let (keda, params) = (ns.scaled_objects(), PatchParams::default());
    let object = keda.patch("web", &params, &Patch::Merge(marks)).await?;
    let status = json!({"status": keda::active_status(&metric, "web", &format!("{hour_ago:.0}"))});
    keda.patch_status("web", &params, &Patch::Merge(status)).await?;
    let uid = object.uid().context("no uid")?;
    ns.create_object(&serde_json::from_value::<k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler>(
        keda::hpa(ns.name(), "web", &uid, (&metric, "10"), 4),
    )?)
    .await?;
    Ok(json!(ns.hpa("web").await?.context("no HPA")?))
}

#[test]
fn a_take_over_from_keda_moves_nothing_and_makes_nothing_anew() {
    run(async {
        let (rig, rabbit) = tokio::try_join!(rig(), shared_rabbit())?;
        let ns = rig.namespace("takeover").await?.of_keda();
        let before = as_keda_leaves_it(&ns, rabbit).await?;
        let log = ns.replica_log().await?;
        let leases = |renewed: &str| keda::lease("default", "keda-operator-1", renewed);
        // KEDA lives: nothing is ours.
        apply(&rig.client(), &leases(&format!("{:.6}", now() + SignedDuration::from_secs(10)))).await?;
        let operator = Operator::start(&rig, OperatorOptions::named("takeover").arg("--keda-compat")).await?;
        operator.wait_leading(&rig, SOON).await?;
        ns.wait_event("web", "KEDAScalersStopped", SOON).await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let ours = async || {
            let all = rig.audit().settled().await?;
            let wrote = |entry: &windlass_tests::Entry| {
                entry.user == OPERATOR_USER && entry.is_write() && entry.succeeded() && entry.namespace == ns.name()
            };
            anyhow::Ok(all.into_iter().filter(wrote).filter(|entry| entry.resource != "events").collect::<Vec<_>>())
        };
        let early = ours().await?;
        ensure!(early.is_empty(), "written while KEDA lives: {early:?}");

        let readyz = async || {
            let answer = reqwest::get(format!("{}/readyz", operator.health_url())).await?.error_for_status()?;
            anyhow::Ok(answer.text().await?)
        };
        let says = readyz().await?;
        ensure!(says.starts_with("ok\nKEDA itself runs"), "a stand-by of KEDA says {says:?}");

        // Its operator has stopped, and its metrics server has not: whoever answers the HPAs still is KEDA.
        let services: Api<APIService> = Api::all(rig.client());
        let (metrics, params) = ("v1beta1.external.metrics.k8s.io", PatchParams::default());
        let ours_before = json!(services.get(metrics).await?.spec);
        let port = &ours_before["service"]["port"];
        let theirs = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "keda-metrics-apiserver", "namespace": windlass_tests::SYSTEM_NAMESPACE},
            "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}});
        apply(&rig.client(), &theirs).await?;
        // Its certificate is for another name.
        let change =
            json!({"service": {"name": "keda-metrics-apiserver"}, "insecureSkipTLSVerify": true, "caBundle": null});
        services.patch(metrics, &params, &Patch::Merge(json!({"spec": change}))).await?;
        apply(&rig.client(), &leases("2026-01-01T00:00:00.000000Z")).await?;
        eventually(SOON, "the metrics API is the sign", async || {
            let says = readyz().await?;
            ensure!(says.contains("is served by windlass-system/keda-metrics-apiserver"), "{says}");
            Ok(())
        })
        .await?;
        let early = ours().await?;
        ensure!(early.is_empty(), "written while KEDA's metrics server lives: {early:?}");

        // It has stopped: everything goes on from where it was.
        let ours_again = json!({"service": {"name": "windlass-metrics"}, "insecureSkipTLSVerify": false, "caBundle": ours_before["caBundle"]});
        services.patch(metrics, &params, &Patch::Merge(json!({"spec": ours_again}))).await?;
        eventually(SOON, "the metric is served", async || {
            ns.external_metric(&format!("s0-rabbitmq-{}", ns.name()), "web").await.map(drop)
        })
        .await?;
        ns.wait_condition("web", "Active", "True", SOON).await?;
        log.never("web", Duration::from_secs(10), "it moves", |row| row.spec != 3).await?;
        let after = json!(ns.hpa("web").await?.context("the HPA is gone")?);
        for field in ["/metadata/uid", "/spec"] {
            ensure!(before.pointer(field) == after.pointer(field), "{field}: {before} {after}");
        }
        // What KEDA has said and is not so any more is taken away, once.
        let status = ns.status("web").await?;
        ensure!(status.get("pausedReplicaCount").is_none() && status["health"].get("s1-gone").is_none(), "{status}");
        let written = async || anyhow::Ok(ours().await?.iter().filter(|entry| entry.subresource == "status").count());
        let before = written().await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let after = written().await?;
        ensure!(before == after, "the status of an object at rest is written {before}, then {after} times");
        let scales: Vec<_> = ours().await?.into_iter().filter(|entry| entry.subresource == "scale").collect();
        ensure!(scales.is_empty(), "{scales:?}");

        // And from there it is scaled.
        rabbit.purge(ns.name()).await?;
        log.wait_spec("web", 0, SOON).await?;
        ns.delete_scaled_object("web", SOON).await?;

        // KEDA's authentications go too, although KEDA has put its finalizer on them.
        let mut authentication = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
            "metadata": {"name": "left", "finalizers": ["finalizer.keda.sh"]}, "spec": {}});
        ns.apply(authentication.clone()).await?;
        authentication["kind"] = "ClusterTriggerAuthentication".into();
        apply(&rig.client(), &authentication).await?;
        for kind in ["TriggerAuthentication", "ClusterTriggerAuthentication"] {
            let gvk = kube::core::GroupVersionKind::gvk("keda.sh", "v1alpha1", kind);
            let resource = ApiResource::from_gvk_with_plural(&gvk, &format!("{}s", kind.to_lowercase()));
            let api: Api<DynamicObject> = match kind {
                "TriggerAuthentication" => Api::namespaced_with(rig.client(), ns.name(), &resource),
                _ => Api::all_with(rig.client(), &resource),
            };
            api.delete("left", &DeleteParams::default()).await?;
            eventually(SOON, &format!("the {kind} is gone"), async || {
                ensure!(api.get_opt("left").await?.is_none(), "it is there");
                Ok(())
            })
            .await?;
        }
        Ok(())
    });
}

#[test]
fn our_own_shape_of_kedas_types_serves_too() {
    run(async {
        let rig = Rig::start(RigOptions::without_pods()).await?;
        rig.install(&Manifests::repository()?).await?;
        // Started before the types are there: they are noticed.
        let operator = Operator::start(&rig, OperatorOptions::named("ours").arg("--keda-compat")).await?;
        operator.wait_ready(SOON).await?;
        operator.wait_leading(&rig, SOON).await?;
        rig.install(&Manifests::load(&[windlass_tests::paths::root().join("deploy/keda-compat")])?).await?;
        let rabbit = shared_rabbit().await?;
        let ns = rig.namespace("ours").await?.of_keda();
        rabbit.declare(ns.name()).await?;
        rabbit.publish(ns.name(), 15).await?;
        ns.deployment("web", 0, &[]).await?;
        let log = ns.replica_log().await?;
        ns.scaled_object("web", &rabbit_spec("web", &rabbit.amqp_url(), ns.name(), 10, 4)).await?;
        log.wait_spec("web", 2, SOON).await?;
        let ready = ns.wait_condition("web", "Ready", "True", SOON).await?;
        ensure!(ready["observedGeneration"] == 1, "{ready}");
        let crds: Api<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition> =
            Api::all(rig.client());
        crds.get("clustertriggerauthentications.keda.sh").await?;
        Ok(())
    });
}
