//! What KEDA was seen to do wrong, each as a test that fails where the product does the same: the cooldown after one of
//! several triggers failed, Events that come late where many objects change at once, an authentication that is not there,
//! XML, the original replicas of an object that was paused from the start. What else KEDA was seen to do wrong is proved
//! where it belongs: sources that fail in `outages`, a rotated Secret in `authentication`, series in `metrics`.

use std::time::Duration;

use anyhow::ensure;
use futures::future::try_join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};
use windlass_tests::{Answer, FakeHttp, GROUP, Namespace, eventually, keda, now, run, shared};

use crate::scaling::Work;

const SOON: Duration = Duration::from_secs(60);

fn number(value: u32) -> Answer {
    Answer::json(&json!({"value": value}))
}

fn api(fake: &FakeHttp, metadata: &Value) -> Value {
    let mut all = json!({"url": format!("http://{}/", fake.address()), "valueLocation": "value", "targetValue": "10"});
    if let (Some(all), Some(more)) = (all.as_object_mut(), metadata.as_object()) {
        all.extend(more.clone());
    }
    json!({"type": "metrics-api", "metadata": all})
}

/// KEDA does not move `lastActiveTime` while one of several triggers fails, so the cooldown had passed before it began: 2 s
/// in place of 15.
#[test]
fn a_trigger_that_had_failed_does_not_cut_the_cooldown_of_the_others_short() {
    run(async {
        let work = Work::start("cutshort").await?;
        let fake = FakeHttp::start(|_| number(0)).await?;
        let mut spec = work.spec();
        spec["cooldownPeriod"] = 15.into();
        spec["pollingInterval"] = 1.into();
        if let Some(triggers) = spec["triggers"].as_array_mut() {
            triggers.push(api(&fake, &json!({})));
        }
        work.publish(40).await?;
        work.scaled_by(&spec).await?;
        work.replicas(4).await?;
        fake.set(|_| Answer::error(500));
        let ready = work.ns.wait_condition("web", "Ready", "Unknown", SOON).await?;
        ensure!(ready["reason"] == "PartialTriggerError", "{ready}");
        // Longer than the cooldown, with work all the time.
        work.log.never("web", Duration::from_secs(20), "it moves", |row| row.spec != 4).await?;
        // As long without work in the one, and who knows what in the other.
        work.shared.rabbit.purge(&work.queue).await?;
        work.ns.wait_condition("web", "Active", "Unknown", SOON).await?;
        work.log.never("web", Duration::from_secs(20), "it moves", |row| row.spec != 4).await?;
        let healed = now();
        fake.set(|_| number(0));
        let rest = work.log.wait_spec("web", 0, SOON).await?;
        let took = rest.at.duration_since(healed);
        println!("at rest {:.1} s after both were known to have no work", took.as_secs_f64());
        ensure!(took >= SignedDuration::from_secs(14), "at rest {took:?} after the outage, with a cooldown of 15 s");
        Ok(())
    });
}

/// Seconds until each of these objects has an event of this reason, counted from `since`.
async fn all_told(ns: &Namespace, names: &[String], reason: &str) -> anyhow::Result<f64> {
    let since = now();
    try_join_all(names.iter().map(|name| ns.wait_event(name, reason, SOON))).await?;
    Ok(now().duration_since(since).as_secs_f64())
}

/// With many objects at once KEDA's Events `ScaledObjectFallbackDeactivated` and `ScaledObjectPaused` come half a minute
/// late, or not at all.
#[test]
fn events_come_in_time_where_many_objects_change_at_once() {
    run(async {
        let shared = shared().await?;
        let ns = shared.rig.namespace("manyevents").await?;
        let fake = FakeHttp::start(|_| number(10)).await?;
        let names: Vec<String> = (0..30).map(|n| format!("web-{n:02}")).collect();
        try_join_all(names.iter().map(async |name| {
            ns.deployment(name, 1, &[]).await?;
            let spec = json!({"scaleTargetRef": {"name": name}, "minReplicaCount": 1, "maxReplicaCount": 3,
                "pollingInterval": 1, "fallback": {"failureThreshold": 1, "replicas": 2}, "triggers": [api(&fake, &json!({}))]});
            ns.scaled_object(name, &spec).await?;
            ns.wait_condition(name, "Ready", "True", SOON).await
        }))
        .await?;
        fake.set(|_| Answer::error(500));
        let activated = all_told(&ns, &names, "ScaledObjectFallbackActivated").await?;
        fake.set(|_| number(10));
        let deactivated = all_told(&ns, &names, "ScaledObjectFallbackDeactivated").await?;
        let objects = ns.scaled_objects();
        let pause =
            kube::api::Patch::Merge(json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}}));
        let params = kube::api::PatchParams::default();
        try_join_all(names.iter().map(|name| objects.patch(name, &params, &pause))).await?;
        let paused = all_told(&ns, &names, "ScaledObjectPaused").await?;
        println!("30 objects: fallback {activated:.1} s, its end {deactivated:.1} s, pause {paused:.1} s");
        let late = activated.max(deactivated).max(paused);
        ensure!(late < 20.0, "events came after {activated:.1}, {deactivated:.1} and {paused:.1} s");
        Ok(())
    });
}

/// KEDA ignores a TriggerAuthentication that does not exist where the trigger would work without it.
#[test]
fn an_authentication_that_is_not_there_is_an_error_though_the_trigger_would_work_without_it() {
    run(async {
        let work = Work::start("noauth").await?;
        let mut spec = work.spec();
        spec["triggers"][0]["authenticationRef"] = json!({"name": "nowhere"});
        work.publish(40).await?;
        work.ns.scaled_object("web", &spec).await?;
        let ready = work.ns.wait_condition("web", "Ready", "False", SOON).await?;
        let message = ready["message"].as_str().unwrap_or_default();
        ensure!(message.contains("spec.triggers[0].authenticationRef") && message.contains("nowhere"), "{ready}");
        work.log.never("web", Duration::from_secs(5), "it moves", |row| row.spec != 0).await
    });
}

/// KEDA's `format: xml` never finds a value.
#[test]
fn a_number_in_xml_is_scaled_by() {
    run(async {
        let work = Work::start("xml").await?;
        let body = "<queue><length>35</length></queue>".to_owned();
        let fake = FakeHttp::start(move |_| Answer { body: body.clone(), ..Answer::json(&Value::Null) }).await?;
        let trigger = api(&fake, &json!({"format": "xml", "valueLocation": "queue.length"}));
        let mut spec = work.spec();
        spec["triggers"] = json!([trigger]);
        work.scaled_by(&spec).await?;
        work.replicas(4).await.map(drop)
    });
}

/// KEDA never gives the original replicas back to the target of an object that was paused when it was created.
#[test]
fn an_object_paused_from_its_creation_gives_the_original_replicas_back() {
    run(async {
        for group in [GROUP, keda::GROUP] {
            let mut work = Work::start("bornpaused").await?;
            if group == keda::GROUP {
                work = work.of_keda();
            }
            work.ns.scale("web", 2).await?;
            work.replicas(2).await?;
            let mut spec = work.spec();
            spec["advanced"]["restoreToOriginalReplicaCount"] = true.into();
            let annotations = json!({"autoscaling.keda.sh/paused-replicas": "5"});
            let object = json!({"apiVersion": format!("{group}/v1alpha1"), "kind": "ScaledObject",
                "metadata": {"name": "web", "annotations": annotations}, "spec": spec});
            work.ns.apply(object).await?;
            work.replicas(5).await?;
            eventually(SOON, "the original replicas are noted", async || {
                let status = work.ns.status("web").await?;
                ensure!(status["originalReplicaCount"] == 2, "{status}");
                Ok(())
            })
            .await?;
            work.ns.delete_scaled_object("web", SOON).await?;
            work.log.wait_spec("web", 2, SOON).await?;
        }
        Ok(())
    });
}
