//! Scratch.
use anyhow::ensure;
use std::time::Duration;
use windlass_tests::{Broker, HPA_USER, OPERATOR_USER, now, objects, run, shared};

const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_backlog_moves_zero_to_four_and_back() {
    run(async {
        let shared = shared().await?;
        let ns = shared.rig.namespace("first").await?;
        let queue = ns.name();
        shared.rabbit.declare(queue).await?;
        ns.deployment("worker", 0, &[]).await?;
        let log = ns.replica_log().await?;
        let spec = objects::rabbit_spec("worker", &shared.rabbit.amqp_url(), queue, 10, 4);
        ns.scaled_object("worker", &spec).await?;
        ns.wait_condition("worker", "Ready", "True", SOON).await?;
        ns.wait_hpa("worker", SOON).await?;
        let start = now();
        shared.rabbit.publish(queue, 100).await?;
        log.wait_for("worker", 4, SOON).await?;
        log.never("worker", Duration::from_secs(6), "the HPA moves it", |row| row.spec != 4).await?;
        println!("{:#?}", ns.external_metric(&format!("s0-rabbitmq-{queue}"), "worker").await?);
        shared.rabbit.drain(queue, 0).await?;
        log.wait_for("worker", 0, SOON).await?;
        println!("{}", log.timeline("worker"));
        log.ensure_went("worker", &[0, 4, 0])?;
        let writes = shared.rig.audit().scale_writes(ns.name(), "worker").await?;
        let by = |user: &str| writes.iter().filter(|w| w.user == user && w.succeeded() && w.received >= start).count();
        ensure!((by(OPERATOR_USER), by(HPA_USER)) == (2, 0), "writes: {writes:?}");
        Ok(())
    });
}
