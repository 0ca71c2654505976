//! The broker is gone, frozen or answers errors for much longer than the cooldown: no replica moves, the object says why,
//! and all goes on by itself when the broker is back.

use std::time::Duration;

use crate::workers::{BACKLOG, COOLDOWN, FULL, OUTAGE, Worker, Workers, worker};
use anyhow::ensure;
use futures::future::try_join_all;
use jiff::SignedDuration;
use reqwest::Method;
use serde_json::json;
use windlass_tests::objects::rabbit_spec;
use windlass_tests::{
    Answer, Broker, FakeHttp, FaultProxy, Manifests, Mode, Operator, OperatorOptions, Rabbit, RabbitOptions, Rig,
    RigOptions, eventually, now, run, shared, shared_rabbit,
};

const SOON: Duration = Duration::from_secs(60);
/// What a state that changed once and back leaves behind, for each object.
const FAILED: [(&str, usize); 2] = [("KEDAScalerFailed", 1), ("ScaledObjectReady", 1)];
const RECOVERED: [(&str, usize); 2] = [("KEDAScalerFailed", 1), ("ScaledObjectReady", 2)];

/// Queues with a backlog that the management API knows of too.
async fn backlogs(rabbit: &Rabbit, queues: &[&str]) -> anyhow::Result<()> {
    for queue in queues {
        rabbit.declare(queue).await?;
        rabbit.publish(queue, BACKLOG).await?;
    }
    for queue in queues {
        eventually(SOON, "the management API counts the messages", async || {
            let count = rabbit.management_count(queue).await?;
            ensure!(count == Some(BACKLOG), "it counts {count:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[test]
fn a_killed_broker_moves_nothing_and_its_return_is_noticed() {
    run(async {
        let (shared, own) = tokio::try_join!(shared(), Rabbit::start(RabbitOptions::default()))?;
        let mut rabbit = own;
        backlogs(&rabbit, &["killed-amqp", "killed-amqp-empty", "killed-http", "killed-http-empty"]).await?;
        let (amqp, http) = (rabbit.amqp_url(), rabbit.http_url());
        let all = vec![
            worker("killed-amqp", &amqp, "cannot reach the broker"),
            worker("killed-amqp-empty", &amqp, "cannot reach the broker"),
            worker("killed-http", &http, "cannot reach the broker"),
            worker("killed-http-empty", &http, "cannot reach the broker"),
        ];
        let workers = Workers::start(shared.rig, "killed", all).await?;
        let logged = shared.operator.log().len();

        rabbit.kill9()?;
        workers.endure(OUTAGE).await?;
        workers.ensure_events(&FAILED).await?;
        workers.ensure_log(shared.operator, logged, 1)?;

        rabbit.restart().await?;
        let emptied = now();
        rabbit.purge("killed-amqp-empty").await?;
        rabbit.purge("killed-http-empty").await?;
        tokio::try_join!(
            workers.ensure_kept(&["killed-amqp", "killed-http"]),
            workers.ensure_rests(&["killed-amqp-empty", "killed-http-empty"], emptied),
        )?;
        workers.ensure_events(&RECOVERED).await
    });
}

#[test]
fn a_frozen_broker_moves_none_of_25_objects_and_delays_nobody_else() {
    run(async {
        let (shared, rabbit) = tokio::try_join!(shared(), Rabbit::start(RabbitOptions::default()))?;
        let names: Vec<String> = (0..25).map(|n| format!("frozen-{n:02}")).collect();
        let queues: Vec<&str> = names.iter().map(String::as_str).collect();
        backlogs(&rabbit, &queues).await?;
        // One of them by the management API; 24 share a connection.
        let mut all: Vec<Worker> =
            queues.iter().map(|queue| worker(queue, &rabbit.amqp_url(), "did not answer in time")).collect();
        all[0].spec["triggers"][0]["metadata"]["host"] = rabbit.http_url().into();
        let workers = Workers::start(shared.rig, "frozen", all).await?;

        // A broker that is well, but for one connection to it.
        let proxy = FaultProxy::start(shared.rabbit.amqp_address()).await?;
        backlogs(shared.rabbit, &["hung"]).await?;
        let hung = worker("hung", &Rabbit::amqp_url_at(proxy.address()), "did not answer in time");
        let hung = Workers::start(shared.rig, "hung", vec![hung]).await?;
        let beside = shared.rig.namespace("beside").await?;
        let replicas = beside.replica_log().await?;
        let well = ["well-amqp", "well-http"];
        for (name, host) in well.into_iter().zip([shared.rabbit.amqp_url(), shared.rabbit.http_url()]) {
            shared.rabbit.declare(name).await?;
            beside.deployment(name, 0, &[]).await?;
            beside.scaled_object(name, &rabbit_spec(name, &host, name, 10, FULL)).await?;
            beside.wait_condition(name, "Ready", "True", SOON).await?;
        }
        let logged = shared.operator.log().len();

        rabbit.sigstop()?;
        proxy.set(Mode::Silence);
        let others = async {
            workers.ns.wait_condition("frozen-24", "Ready", "False", SOON).await?;
            hung.ns.wait_condition("hung", "Ready", "False", SOON).await?;
            for name in well {
                let published = now();
                shared.rabbit.publish(name, BACKLOG).await?;
                let row = replicas.wait_spec(name, FULL, SOON).await?;
                let took = row.at.duration_since(published);
                println!("{name}: 0 -> {FULL} in {:.2} s beside two brokers that hang", took.as_secs_f64());
                // Half of what the others hang for; how fast it is without them is measured elsewhere, on a quiet machine.
                ensure!(took <= SignedDuration::from_secs(10), "{name} waited {took:?} for somebody else's broker");
            }
            Ok(())
        };
        tokio::try_join!(workers.endure(OUTAGE), hung.endure(OUTAGE), others)?;
        for workers in [&workers, &hung] {
            workers.ensure_events(&FAILED).await?;
            workers.ensure_log(shared.operator, logged, 1)?;
        }

        let emptied = now();
        proxy.set(Mode::Pass);
        rabbit.sigcont()?;
        try_join_all(["frozen-00", "frozen-01", "frozen-02"].map(|queue| rabbit.purge(queue))).await?;
        tokio::try_join!(
            workers.ensure_kept(&queues[3..]),
            hung.ensure_kept(&["hung"]),
            workers.ensure_rests(&["frozen-00", "frozen-01", "frozen-02"], emptied),
        )?;
        workers.ensure_events(&RECOVERED).await
    });
}

/// A user and a virtual host of its own on the shared broker; the URL to read it by.
async fn tenant(rabbit: &Rabbit, name: &str) -> anyhow::Result<String> {
    rabbit.management(Method::PUT, &format!("users/{name}"), Some(json!({"password": name, "tags": ""}))).await?;
    vhost(rabbit, name).await?;
    Ok(format!("amqp://{name}:{name}@{}/{name}", rabbit.amqp_address()))
}

async fn vhost(rabbit: &Rabbit, name: &str) -> anyhow::Result<()> {
    rabbit.management(Method::PUT, &format!("vhosts/{name}"), None).await?;
    permit(rabbit, name, windlass_tests::rabbit::USER).await?;
    rabbit.management(Method::PUT, &format!("queues/{name}/{name}"), Some(json!({"durable": true}))).await?;
    let message = json!({"properties": {}, "routing_key": name, "payload": "work", "payload_encoding": "string"});
    for _ in 0..BACKLOG {
        let publish = format!("exchanges/{name}/amq.default/publish");
        let routed = rabbit.management(Method::POST, &publish, Some(message.clone())).await?;
        ensure!(routed["routed"] == true, "not routed: {routed}");
    }
    // Last: nobody shall see a part of the messages.
    permit(rabbit, name, name).await
}

async fn permit(rabbit: &Rabbit, vhost: &str, user: &str) -> anyhow::Result<()> {
    let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
    rabbit.management(Method::PUT, &format!("permissions/{vhost}/{user}"), Some(all)).await.map(drop)
}

/// Takes the user's right to the virtual host away and ends its connections, as an administrator would: the broker
/// itself asks for the right when a connection is opened only.
async fn revoke(rabbit: &Rabbit, name: &str) -> anyhow::Result<()> {
    rabbit.management(Method::DELETE, &format!("permissions/{name}/{name}"), None).await?;
    let connections = rabbit.management(Method::GET, &format!("vhosts/{name}/connections"), None).await?;
    let connections = connections.as_array().cloned().unwrap_or_default();
    ensure!(!connections.is_empty(), "the operator has no connection to {name}");
    for connection in connections {
        let id = connection["name"].as_str().unwrap_or_default().replace(' ', "%20").replace('>', "%3E");
        rabbit.management(Method::DELETE, &format!("connections/{id}"), None).await?;
    }
    Ok(())
}

fn queue_with(messages: u64) -> Answer {
    Answer::json(&json!({"name": "queue", "messages": messages, "messages_ready": messages}))
}

/// What a management API in trouble answers, and what the condition says of it.
fn wrong_answers() -> Vec<(&'static str, Answer, &'static str)> {
    let with = |body: &str| Answer { body: body.to_owned(), ..queue_with(0) };
    vec![
        ("status-500", Answer::error(500), "status 500"),
        ("slow-500", Answer::error(500).after(Duration::from_secs(1)), "status 500"),
        ("status-401", Answer::error(401), "refused user"),
        ("status-404", Answer::error(404), "there is no queue"),
        ("garbage", with("<html>Bad gateway</html>"), "not that of a queue"),
        ("empty", with(""), "not that of a queue"),
        ("no-field", with(r#"{"name": "queue"}"#), "no figures"),
        ("no-queue", with("{}"), "not that of a queue"),
        ("negative", with(r#"{"name": "queue", "messages": -1}"#), "not a count"),
    ]
}

#[test]
fn a_broker_that_answers_errors_moves_nothing() {
    run(async {
        let shared = shared().await?;
        let mut fakes = Vec::new();
        let mut all = Vec::new();
        for (name, answer, says) in wrong_answers() {
            for suffix in ["", "-empty"] {
                let fake = FakeHttp::start(|_| queue_with(BACKLOG)).await?;
                all.push(worker(&format!("{name}{suffix}"), &Rabbit::http_url_at(fake.address()), says));
                fakes.push((fake, answer.clone(), if suffix.is_empty() { BACKLOG } else { 0 }));
            }
        }
        let proxy = FaultProxy::start(shared.rabbit.amqp_address()).await?;
        backlogs(shared.rabbit, &["amqp-garbage"]).await?;
        all.push(worker("amqp-garbage", &Rabbit::amqp_url_at(proxy.address()), "does not speak AMQP"));
        let workers = Workers::start(shared.rig, "errors", all).await?;
        let logged = shared.operator.log().len();

        for (fake, answer, _) in &fakes {
            let answer = answer.clone();
            fake.set(move |_| answer.clone());
        }
        proxy.set(Mode::Garbage);
        workers.endure(OUTAGE).await?;
        workers.ensure_events(&FAILED).await?;
        workers.ensure_log(shared.operator, logged, 1)?;

        let healed = now();
        proxy.set(Mode::Pass);
        for (fake, _, left) in &fakes {
            let left = *left;
            fake.set(move |_| queue_with(left));
        }
        let names = |empty: bool| -> Vec<&str> {
            workers.all.iter().map(|w| w.name.as_str()).filter(|name| name.ends_with("-empty") == empty).collect()
        };
        let (kept, emptied) = (names(false), names(true));
        tokio::try_join!(workers.ensure_kept(&kept), workers.ensure_rests(&emptied, healed))?;
        workers.ensure_events(&RECOVERED).await
    });
}

#[test]
fn a_broker_that_refuses_moves_nothing_and_an_outage_pauses_the_cooldown() {
    run(async {
        let shared = shared().await?;
        let rabbit = shared.rabbit;
        let proxy = FaultProxy::start(rabbit.amqp_address()).await?;
        backlogs(rabbit, &["refused", "refused-empty", "pausing"]).await?;
        let host = Rabbit::amqp_url_at(proxy.address());
        let all = vec![
            worker("refused", &host, "cannot reach the broker"),
            worker("refused-empty", &host, "cannot reach the broker"),
            worker("revoked", &tenant(rabbit, "revoked").await?, "has no access to the virtual host"),
            worker("no-user", &tenant(rabbit, "no-user").await?, "refused the credentials"),
            worker("no-vhost", &tenant(rabbit, "no-vhost").await?, "there is no virtual host"),
        ];
        let workers = Workers::start(shared.rig, "refused", all).await?;
        let mut long = worker("pausing", &host, "cannot reach the broker");
        long.spec["cooldownPeriod"] = (2 * COOLDOWN.as_secs()).into();
        let pausing = Workers::start(shared.rig, "pausing", vec![long]).await?;
        let logged = shared.operator.log().len();

        let quiet_from = now();
        rabbit.purge("pausing").await?;
        pausing.ns.wait_condition("pausing", "Active", "False", SOON).await?;
        let cut = now();
        proxy.set(Mode::Refuse);
        revoke(rabbit, "revoked").await?;
        rabbit.management(Method::DELETE, "users/no-user", None).await?;
        rabbit.management(Method::DELETE, "vhosts/no-vhost", None).await?;
        let still = pausing.log.never("pausing", OUTAGE, "rest in an outage", |row| row.spec == 0);
        tokio::try_join!(workers.endure(OUTAGE), still)?;
        workers.ensure_events(&FAILED).await?;
        workers.ensure_log(shared.operator, logged, 1)?;

        // Emptied while nobody could see it.
        rabbit.purge("refused-empty").await?;
        let healed = now();
        proxy.set(Mode::Pass);
        rabbit.management(Method::PUT, "users/no-user", Some(json!({"password": "no-user", "tags": ""}))).await?;
        for tenant in ["revoked", "no-user"] {
            permit(rabbit, tenant, tenant).await?;
        }
        vhost(rabbit, "no-vhost").await?;
        let paused = async {
            let rest = pausing.rest("pausing", SOON).await?;
            let least = SignedDuration::try_from(2 * COOLDOWN)? - cut.duration_since(quiet_from);
            let took = rest.duration_since(healed);
            println!(
                "pausing: {:.1} s of its cooldown left, at rest after {:.1} s",
                least.as_secs_f64(),
                took.as_secs_f64()
            );
            ensure!(
                took >= least - SignedDuration::from_secs(1),
                "the outage counted as quiet: {took:?}, not {least:?}"
            );
            Ok(())
        };
        tokio::try_join!(
            workers.ensure_kept(&["refused", "revoked", "no-user", "no-vhost"]),
            workers.ensure_rests(&["refused-empty"], healed),
            paused,
        )?;
        workers.ensure_events(&RECOVERED).await
    });
}

#[test]
fn an_operator_that_is_killed_in_an_outage_moves_nothing_when_it_is_back() {
    run(async {
        let start = async {
            let rig = Rig::start(RigOptions::without_pods()).await?;
            rig.install(&Manifests::repository()?).await?;
            let operator = Operator::start(&rig, OperatorOptions::named("restarted")).await?;
            operator.wait_ready(SOON).await?;
            operator.wait_leading(&rig, SOON).await?;
            Ok((rig, operator))
        };
        let ((rig, mut operator), rabbit) = tokio::try_join!(start, shared_rabbit())?;
        let frozen = FaultProxy::start(rabbit.amqp_address()).await?;
        let gone = FaultProxy::start(rabbit.amqp_address()).await?;
        let names = ["restart-frozen", "restart-frozen-empty", "restart-gone", "restart-gone-empty"];
        backlogs(rabbit, &names).await?;
        let mut all: Vec<Worker> = names
            .into_iter()
            .map(|name| match name.contains("frozen") {
                true => worker(name, &Rabbit::amqp_url_at(frozen.address()), "did not answer in time"),
                false => worker(name, &Rabbit::amqp_url_at(gone.address()), "cannot reach the broker"),
            })
            .collect();
        let mut fakes = Vec::new();
        for (name, answer, says) in
            wrong_answers().into_iter().filter(|(name, ..)| ["status-500", "slow-500"].contains(name))
        {
            for suffix in ["", "-empty"] {
                let fake = FakeHttp::start(|_| queue_with(BACKLOG)).await?;
                all.push(worker(&format!("{name}{suffix}"), &Rabbit::http_url_at(fake.address()), says));
                fakes.push((fake, answer.clone(), if suffix.is_empty() { BACKLOG } else { 0 }));
            }
        }
        let workers = Workers::start(&rig, "restart", all).await?;

        frozen.set(Mode::Silence);
        gone.set(Mode::Refuse);
        for (fake, answer, _) in &fakes {
            let answer = answer.clone();
            fake.set(move |_| answer.clone());
        }
        // A reading is good for ten seconds: the first half ends after the objects have said that there is none.
        workers.endure(COOLDOWN + Duration::from_secs(6)).await?;
        let logged = operator.log().len();
        operator.kill9()?;
        operator.restart()?;
        operator.wait_ready(SOON).await?;
        workers.endure(OUTAGE).await?;
        workers.ensure_events(&FAILED).await?;
        workers.ensure_log(&operator, logged, 1)?;
        for worker in &workers.all {
            // What an object found when it came is not what a new process finds.
            let status = workers.ns.status(&worker.name).await?;
            ensure!(status["originalReplicaCount"] == 0, "{}: {status}", worker.name);
        }

        for queue in ["restart-frozen-empty", "restart-gone-empty"] {
            rabbit.purge(queue).await?;
        }
        let healed = now();
        frozen.set(Mode::Pass);
        gone.set(Mode::Pass);
        for (fake, _, left) in &fakes {
            let left = *left;
            fake.set(move |_| queue_with(left));
        }
        let names = |empty: bool| -> Vec<&str> {
            workers.all.iter().map(|w| w.name.as_str()).filter(|name| name.ends_with("-empty") == empty).collect()
        };
        let (kept, emptied) = (names(false), names(true));
        tokio::try_join!(workers.ensure_kept(&kept), workers.ensure_rests(&emptied, healed))?;
        workers.ensure_events(&RECOVERED).await
    });
}
