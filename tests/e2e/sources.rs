//! Sources beside RabbitMQ, from the object to the replicas: with work, without, with nothing to read, with wrong credentials,
//! with servers that are slow, answer garbage, are frozen, are killed and come back. That each reads its server right in all
//! ways is proved with the real server and without a cluster, in `sources/tests`; what an outage is to RabbitMQ's objects,
//! in `outages.rs`.

mod cases;
mod kafka;
mod prometheus;
mod sqs;
mod webhook;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use windlass_tests::{Answer, FakeHttp, eventually, run};

use crate::scaling::Work;

const SOON: Duration = Duration::from_secs(60);

fn spec(kind: &str, metadata: Value) -> Value {
    json!({"scaleTargetRef": {"name": "web"}, "maxReplicaCount": 5, "cooldownPeriod": 3,
        "triggers": [{"type": kind, "metadata": metadata}]})
}

#[test]
fn a_window_of_time_that_is_open_holds_its_replicas() {
    run(async {
        let work = Work::start("cron").await?;
        // From each full hour to its last minutes; in those, another window that is open then.
        let window =
            |start: &str, end: &str| json!({"timezone": "Etc/UTC", "start": start, "end": end, "desiredReplicas": "3"});
        let first = spec("cron", window("0 * * * *", "58 * * * *"));
        let minute = windlass_tests::now().as_second() / 60 % 60;
        let open = if (57..=59).contains(&minute) { spec("cron", window("30 * * * *", "20 * * * *")) } else { first };
        work.scaled_by(&open).await?;
        work.replicas(3).await?;
        // Half an hour away from each end of that window.
        let at = (minute + 30) % 60;
        let closed = spec("cron", window(&format!("{at} * * * *"), &format!("{} * * * *", (at + 1) % 60)));
        work.ns.scaled_object("web", &closed).await?;
        work.replicas(0).await.map(drop)
    });
}

#[test]
fn a_number_that_an_api_answers_is_scaled_by() {
    run(async {
        let work = Work::start("api").await?;
        let fake = FakeHttp::start(|_| Answer::json(&json!({"queue": {"length": "35"}}))).await?;
        let metadata = json!({"url": format!("http://{}/stats", fake.address()), "valueLocation": "queue.length",
            "targetValue": "10"});
        work.scaled_by(&spec("metrics-api", metadata)).await?;
        work.replicas(4).await?;
        // An answer without the number moves nothing.
        fake.set(|_| Answer::json(&json!({"queue": {}})));
        work.ns.wait_condition("web", "Ready", "False", SOON).await?;
        work.log.never("web", Duration::from_secs(6), "it moves", |row| row.spec != 4).await?;
        fake.set(|_| Answer::json(&json!({"queue": {"length": 0}})));
        work.replicas(0).await.map(drop)
    });
}

/// An address of this machine that is not loopback: an EndpointSlice may hold no other.
fn own_address() -> anyhow::Result<Ipv4Addr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // Nothing is sent: it tells which way it would go.
    socket.connect("192.0.2.77:9")?;
    match socket.local_addr()?.ip() {
        IpAddr::V4(address) if !address.is_loopback() => Ok(address),
        other => anyhow::bail!("this machine has no address but {other}"),
    }
}

#[test]
fn each_ready_endpoint_of_a_service_is_asked() {
    run(async {
        let (work, own) = (Work::start("endpoints").await?, own_address()?);
        let fake = FakeHttp::start_at(own, |_| Answer::json(&json!({"length": 30}))).await?;
        let slice = |ready: bool| {
            // The second one would never answer.
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": "api-1", "labels": {"kubernetes.io/service-name": "api"}},
                "endpoints": [
                    {"addresses": [own.to_string()], "conditions": {"ready": ready}},
                    {"addresses": ["10.255.255.1"], "conditions": {"ready": false}},
                ],
                "ports": [{"port": fake.address().port()}]})
        };
        let url = format!("http://api.{}.svc:{}/stats", work.ns.name(), fake.address().port());
        let metadata = json!({"url": url, "valueLocation": "length", "targetValue": "10",
            "aggregateFromKubeServiceEndpoints": "true", "aggregationType": "sum"});
        let mut spec = spec("metrics-api", metadata);
        spec["pollingInterval"] = 1.into();
        work.ns.scaled_object("web", &spec).await?;
        eventually(SOON, "the object says that there is no endpoint", async || {
            let ready = work.ns.condition("web", "Ready").await?;
            let message = ready["message"].as_str().unwrap_or_default();
            ensure!(ready["status"] == "False" && message.contains("no endpoint that is ready"), "{ready}");
            Ok(())
        })
        .await?;
        work.ns.apply(slice(true)).await?;
        work.ns.wait_condition("web", "Ready", "True", SOON).await?;
        work.replicas(3).await?;
        // The pod is not ready any more: nothing is known, and nothing moves.
        work.ns.apply(slice(false)).await?;
        work.ns.wait_condition("web", "Ready", "False", SOON).await?;
        work.log.never("web", Duration::from_secs(6), "it moves", |row| row.spec != 3).await
    });
}

#[test]
fn an_event_that_is_received_wakes_the_workload_at_once() {
    run(async {
        let work = Work::start("hook").await?;
        let metadata =
            json!({"name": "orders", "value": "2", "window": "10", "signature": "none", "allowUnsigned": "true"});
        // Nobody asks again for minutes: what is heard meanwhile was pushed.
        let mut object = spec("webhook", metadata);
        object["pollingInterval"] = 600.into();
        work.scaled_by(&object).await?;
        let url = format!("http://{}/webhooks/{}/orders", work.shared.webhooks, work.ns.name());
        let client = reqwest::Client::new();
        let send = async |id: &str| {
            let event =
                client.post(&url).header("ce-specversion", "1.0").header("ce-id", id).header("ce-source", "/shop");
            anyhow::Ok(event.header("ce-type", "order").body("{}").send().await?.status().as_u16())
        };
        let sent = windlass_tests::now();
        ensure!(send("1").await? == 202, "not accepted");
        let row = work.log.wait_spec("web", 1, SOON).await?;
        println!("0 -> 1 {} ms after the event was sent", row.at.duration_since(sent).as_millis());
        ensure!(send("1").await? == 200, "the same event is new");
        for id in ["2", "3", "4", "5"] {
            ensure!(send(id).await? == 202, "not accepted");
        }
        work.log.wait_spec("web", 3, SOON).await?;
        // A new leader says 503 at first, until it knows all endpoints.
        eventually(SOON, "another endpoint is told apart", async || {
            let wrong = client.post(url.replace("orders", "others")).body("{}").send().await?.status().as_u16();
            ensure!(wrong == 404, "it answers {wrong}");
            Ok(())
        })
        .await?;
        // That a window is over is told by nobody.
        object["pollingInterval"] = 1.into();
        work.ns.scaled_object("web", &object).await?;
        eventually(SOON, "the events are over", async || {
            ensure!(work.ns.condition("web", "Active").await?["status"] == "False", "it is active");
            Ok(())
        })
        .await?;
        work.log.wait_spec("web", 0, SOON).await.map(drop)
    });
}
