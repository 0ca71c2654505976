//! Two replicas that receive webhooks and share a volume: the stand-by takes nothing, a leader that is killed loses nothing
//! that it acknowledged, and its successor knows each event that was counted.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use reqwest::StatusCode;
use serde_json::{Value, json};
use windlass_tests::{
    Manifests, Operator, OperatorOptions, Rig, RigOptions, SYSTEM_NAMESPACE, eventually, paths, ports, run, scratch,
};

const SOON: Duration = Duration::from_secs(60);
/// Events acknowledged before the leader is killed, at least.
const ENOUGH: usize = 40;

struct Receiver {
    operator: Operator,
    url: String,
}

impl Receiver {
    async fn start(rig: &Rig, name: &str, data: &Path, path: &str) -> anyhow::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::single()?));
        let options = OperatorOptions::named(name)
            .arg(&format!("--webhook-address={address}"))
            .arg(&format!("--data-dir={}", data.display()));
        let operator = Operator::start(rig, options).await?;
        operator.wait_ready(SOON).await?;
        Ok(Self { operator, url: format!("http://{address}/webhooks/{path}") })
    }

    /// Sends the event of this number.
    async fn send(&self, client: &reqwest::Client, number: usize) -> reqwest::Result<reqwest::Response> {
        let event = client.post(&self.url).header("ce-specversion", "1.0").header("ce-source", "/shop");
        event.header("ce-id", number.to_string()).header("ce-type", "order").body("{}").send().await
    }
}

/// Applies `deploy/webhooks` as its first lines say.
async fn switch_on(rig: &Rig, manifests: &Manifests) -> anyhow::Result<()> {
    // The operators of a test are processes: the Deployment is there to be patched, and runs nothing.
    let shipped = manifests.documents().iter().find(|document| document["kind"] == "Deployment");
    let mut shipped = shipped.context("no Deployment in deploy/manifests")?.clone();
    shipped["spec"]["replicas"] = 0.into();
    windlass_tests::install::apply(&rig.client(), &shipped).await?;
    let folder = paths::root().join("deploy/webhooks");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).with_context(|| format!("cannot read {name}"));
    let text = read("webhooks.yaml")?;
    let documents: Vec<Value> =
        serde_yaml_ng::Deserializer::from_str(&text).map(serde::Deserialize::deserialize).collect::<Result<_, _>>()?;
    for document in &documents {
        windlass_tests::install::apply(&rig.client(), document).await?;
    }
    let patch: Value = serde_yaml_ng::from_str(&read("deployment-patch.yaml")?)?;
    let api: Api<Deployment> = Api::namespaced(rig.client(), SYSTEM_NAMESPACE);
    let patched = api.patch("windlass", &PatchParams::default(), &Patch::Strategic(patch)).await?;
    let container = &serde_json::to_value(patched)?["spec"]["template"]["spec"]["containers"][0];
    let env = container["env"].as_array().cloned().unwrap_or_default();
    let named = |name: &str| env.iter().any(|variable| variable["name"] == name);
    ensure!(named("WINDLASS_WEBHOOK_ADDRESS") && named("WINDLASS_DATA_DIR"), "the patch has no effect: {env:?}");
    ensure!(env.len() > 2, "the patch takes the other variables away: {env:?}");
    Ok(())
}

#[test]
fn a_stand_by_takes_nothing_and_a_killed_leader_loses_no_event() {
    run(async {
        let rig = Rig::start(RigOptions::default()).await?;
        let manifests = Manifests::repository()?;
        rig.install(&manifests).await?;
        switch_on(&rig, &manifests).await?;
        let ns = rig.namespace("hooks").await?;
        let data = scratch::dir("shared-webhooks")?;
        let path = format!("{}/orders", ns.name());
        let first = Receiver::start(&rig, "first", &data, &path).await?;
        first.operator.wait_leading(&rig, SOON).await?;
        let second = Receiver::start(&rig, "second", &data, &path).await?;
        let log = ns.replica_log().await?;
        ns.deployment("web", 0, &[]).await?;
        let metadata =
            json!({"name": "orders", "value": "10", "window": "3600", "signature": "none", "allowUnsigned": "true"});
        let spec = json!({"scaleTargetRef": {"name": "web"}, "maxReplicaCount": 100,
            "triggers": [{"type": "webhook", "metadata": metadata}]});
        ns.scaled_object("web", &spec).await?;
        ns.wait_condition("web", "Ready", "True", SOON).await?;

        let client = reqwest::Client::new();
        let refused = second.send(&client, 0).await?;
        ensure!(refused.status() == StatusCode::SERVICE_UNAVAILABLE, "a stand-by answers {}", refused.status());
        ensure!(refused.headers().contains_key("retry-after"), "a stand-by does not say when to come back");

        // Killed in the middle of it.
        let mut acknowledged = 0;
        while let Ok(answer) = first.send(&client, acknowledged).await {
            ensure!(answer.status() == StatusCode::ACCEPTED, "event {acknowledged} is answered {}", answer.status());
            acknowledged += 1;
            if acknowledged == ENOUGH {
                first.operator.process().signal("KILL")?;
            }
        }
        second.operator.wait_leading(&rig, SOON).await?;
        eventually(SOON, "the new leader receives", async || {
            let answer = second.send(&client, acknowledged).await?;
            // It may have been written just before the kill, and never answered.
            ensure!(answer.status().is_success(), "{}", answer.status());
            Ok(())
        })
        .await?;
        for number in 0..=acknowledged {
            let answer = second.send(&client, number).await?;
            ensure!(answer.status() == StatusCode::OK, "event {number} of {acknowledged} is new: {}", answer.status());
        }
        let events = acknowledged + 1;
        println!("{events} events, {acknowledged} of them acknowledged by the leader that was killed");
        let replicas = i32::try_from(events.div_ceil(10))?;
        log.wait_for("web", replicas, SOON).await?;
        let metric = ns.status("web").await?["externalMetricNames"][0].as_str().context("no metric")?.to_owned();
        eventually(SOON, "each event counts once", async || {
            let told = ns.external_metric(&metric, "web").await?;
            let value = told["items"][0]["value"].as_str().unwrap_or_default();
            ensure!(value.parse() == Ok(events), "not {events}: {told}");
            Ok(())
        })
        .await
    });
}
