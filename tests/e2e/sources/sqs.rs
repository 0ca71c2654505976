//! SQS: ElasticMQ, which loses its queues when it is killed, and moto, which checks keys and policies.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use windlass_tests::sqs::REGION;
use windlass_tests::{FaultProxy, Mode, Sqs, run_within, shared};

use super::cases::{Cases, LONG, OUTAGE, SOON, case};
use crate::workers::{BACKLOG, FULL, Workers};

fn trigger(endpoint: SocketAddr, queue: &str, authentication: &str) -> Value {
    json!({"type": "aws-sqs-queue", "authenticationRef": {"name": authentication}, "metadata": {
        "queueURL": format!("http://{endpoint}/000000000000/{queue}"), "awsEndpoint": format!("http://{endpoint}"),
        "awsRegion": REGION, "queueLength": "10"}})
}

#[test]
fn sqs_is_followed_whatever_happens_to_it() {
    run_within(LONG, async {
        let (_, mut sqs, (guarded, keys)) =
            tokio::try_join!(shared(), Sqs::elasticmq(), Sqs::guarded("login", BACKLOG))?;
        let proxy = FaultProxy::start(sqs.address()).await?;
        let cases = Cases::start("sqs").await?;
        for queue in ["plain", "proxied", "vanishes", "empties"] {
            sqs.create(queue).await?;
            sqs.send(queue, BACKLOG).await?;
        }
        sqs.create("idle").await?;

        let pair = |id, secret| [("awsAccessKeyID", id), ("awsSecretAccessKey", secret)];
        cases.login("any", &pair("any", "any")).await?;
        cases.login("login", &pair(&keys.id, &keys.secret)).await?;
        let open = sqs.address();
        cases.beside(&case("idle", &trigger(open, "idle", "any"))).await?;
        cases.beside(&case("late", &trigger(open, "late", "any"))).await?;
        let all = vec![
            case("plain", &trigger(open, "plain", "any")),
            case("empties", &trigger(open, "empties", "any")),
            case("vanishes", &trigger(open, "vanishes", "any")),
            case("proxied", &trigger(proxy.address(), "proxied", "any")),
            case("login", &trigger(guarded.address(), "login", "login")),
        ];
        let workers = Workers::start_in(cases.ns.clone(), all).await?;
        cases.is_idle("idle").await?;
        cases.is_absent("late", "there is no queue \"late\"").await?;
        sqs.create("late").await?;
        sqs.send("late", BACKLOG).await?;
        workers.log.wait_spec("late", FULL, SOON).await?;

        proxy.set(Mode::Garbage);
        cases.rotate("login", "awsSecretAccessKey", "wr0ng-secret").await?;
        sqs.delete("vanishes").await?;
        let says = [
            ("proxied", "does not speak HTTP"),
            ("login", "the access key"),
            ("vanishes", "there is no queue \"vanishes\""),
        ];
        workers.endure_as(&says, OUTAGE).await?;
        anyhow::ensure!(!cases.shared.operator.log().contains("wr0ng"), "a credential is in the log");

        cases.rotate("login", "awsSecretAccessKey", &keys.secret).await?;
        proxy.set(Mode::Delay(Duration::from_millis(700)));
        let (empty, fill) = (async || sqs.purge("proxied").await, async || sqs.send("proxied", BACKLOG).await);
        cases.follows(&workers, "proxied", empty, fill).await?;
        cases.ns.wait_condition("login", "Ready", "True", SOON).await?;
        // It is another server's, and has stood there all the time.
        workers.ensure_kept(&["login"]).await?;

        let refill = async |sqs: &Sqs| {
            // It has lost them all.
            for (queue, count) in [("plain", BACKLOG), ("empties", 0), ("idle", 0)] {
                sqs.create(queue).await?;
                sqs.send(queue, count).await?;
            }
            Ok(())
        };
        cases.outages(&mut sqs, &workers, &["plain"], refill).await
    });
}
