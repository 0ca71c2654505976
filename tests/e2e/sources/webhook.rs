//! Webhooks: here the operator is the server, and who sends is the one to be told apart.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;
use windlass_tests::{
    Manifests, Namespace, Operator, OperatorOptions, Rig, RigOptions, eventually, ports, run_within, scratch,
};

use super::cases::{LONG, SOON};

/// GitHub's own example of a signature ("Validating webhook deliveries").
const SECRET: &str = "It's a Secret to Everybody";
const BODY: &str = "Hello, World!";
const SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

/// The status of the answer to a delivery with this id and these headers besides.
async fn send(url: &str, id: &str, headers: &[(&str, &str)]) -> anyhow::Result<u16> {
    let mut request = reqwest::Client::new().post(url).header("x-github-delivery", id).body(BODY);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Ok(request.timeout(Duration::from_secs(3)).send().await?.status().as_u16())
}

async fn genuine(url: &str, id: &str) -> anyhow::Result<u16> {
    send(url, id, &[("x-hub-signature-256", SIGNATURE)]).await
}

/// As a sender does it: again and again, until it is taken or known.
async fn delivered(url: &str, id: &str) -> anyhow::Result<u16> {
    eventually(SOON, &format!("event {id} is taken"), async || {
        let status = genuine(url, id).await?;
        ensure!([200, 202].contains(&status), "status {status}");
        Ok(status)
    })
    .await
}

/// So many events count, as the HPA is told.
async fn counted(ns: &Namespace, events: &str) -> anyhow::Result<()> {
    eventually(SOON, &format!("{events} events are counted"), async || {
        let status = ns.status("web").await?;
        let metric = status["externalMetricNames"][0].as_str().context("no metric")?;
        let answer = ns.external_metric(metric, "web").await?;
        ensure!(answer["items"][0]["value"] == events, "{answer}");
        Ok(())
    })
    .await
}

#[test]
fn webhooks_are_followed_whatever_happens_to_them() {
    run_within(LONG, async {
        let rig = Rig::start(RigOptions::without_pods()).await?;
        rig.install(&Manifests::repository()?).await?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::single()?));
        let options = OperatorOptions::named("receiver")
            .arg(&format!("--webhook-address={address}"))
            .arg(&format!("--data-dir={}", scratch::dir("webhooks")?.display()));
        let mut operator = Operator::start(&rig, options).await?;
        operator.wait_leading(&rig, SOON).await?;

        let ns = rig.namespace("hooks").await?;
        let log = ns.replica_log().await?;
        ns.deployment("web", 0, &[]).await?;
        ns.secret("login", &[("secret", SECRET)]).await?;
        ns.apply(json!({"apiVersion": "windlass.dev/v1alpha1", "kind": "TriggerAuthentication", "metadata": {"name": "login"},
            "spec": {"secretTargetRef": [{"parameter": "secret", "name": "login", "key": "secret"}]}}))
            .await?;
        let metadata = json!({"name": "orders", "value": "2", "window": "600", "signature": "github"});
        let trigger = json!({"type": "webhook", "metadata": metadata, "authenticationRef": {"name": "login"}});
        ns.scaled_object(
            "web",
            &json!({"scaleTargetRef": {"name": "web"}, "maxReplicaCount": 9, "triggers": [trigger]}),
        )
        .await?;
        ns.wait_condition("web", "Ready", "True", SOON).await?;

        let url = format!("http://{address}/webhooks/{}/orders", ns.name());
        // A new leader answers 503 in place of 404 at first.
        eventually(SOON, "strangers are told apart", async || {
            let status = genuine(&url.replace("/orders", "/others"), "0").await?;
            ensure!(status == 404, "another endpoint answers {status}");
            Ok(())
        })
        .await?;
        let forged = SIGNATURE.replace("=7571", "=7572");
        ensure!(send(&url, "0", &[("x-hub-signature-256", &forged)]).await? == 401, "a forged event is taken");
        ensure!(send(&url, "0", &[]).await? == 401, "an unsigned event is taken");
        let garbage = [("x-hub-signature-256", SIGNATURE), ("content-type", "application/cloudevents+json")];
        ensure!(send(&url, "0", &garbage).await? == 400, "a CloudEvent that is none is taken");
        log.never("web", Duration::from_secs(3), "it moves by events that were refused", |row| row.spec != 0).await?;
        ns.wait_condition("web", "Active", "False", SOON).await?;

        for id in ["1", "2", "3"] {
            ensure!(delivered(&url, id).await? == 202, "event {id} is not new");
        }
        log.wait_spec("web", 2, SOON).await?;
        counted(&ns, "3").await?;

        operator.kill9()?;
        ensure!(genuine(&url, "4").await.is_err(), "nobody listens, and somebody answers");
        operator.restart()?;
        operator.wait_ready(SOON).await?;
        ensure!(delivered(&url, "3").await? == 200, "what was acknowledged before the kill is forgotten");
        ensure!(delivered(&url, "4").await? == 202, "what was not is known");
        counted(&ns, "4").await?;

        operator.sigstop()?;
        ensure!(genuine(&url, "5").await.is_err(), "it is frozen, and answers");
        operator.sigcont()?;
        // Whether the first attempt was read after the thaw is nobody's business: it counts once.
        delivered(&url, "5").await?;
        counted(&ns, "5").await?;
        log.wait_spec("web", 3, SOON).await?;
        log.ensure_went("web", &[0, 1, 2, 3]).or_else(|_| log.ensure_went("web", &[0, 2, 3]))
    });
}
