//! At rest: with nothing to do the operator reads its brokers and writes nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::sleep;
use windlass_tests::objects::rabbit_spec;
use windlass_tests::{
    Broker, Entry, Manifests, OPERATOR_USER, Operator, OperatorOptions, Rig, RigOptions, eventually, never, now, run,
    shared_rabbit,
};

const SOON: Duration = Duration::from_secs(90);
const WINDOW: Duration = Duration::from_secs(60);
/// Objects with work, one replica each, and objects without, at 0.
const ACTIVE: usize = 100;
const IDLE: usize = 20;
/// How long no write says that the start is over.
const SETTLED: Duration = Duration::from_secs(5);

/// A change that the operator asked for, but for those of its Lease.
fn is_operators_write(entry: &Entry) -> bool {
    entry.user == OPERATOR_USER && entry.is_write() && entry.resource != "leases"
}

#[test]
fn at_rest_the_operator_writes_nothing_but_its_lease() {
    run(async {
        let start = async {
            let rig = Rig::start(RigOptions::product()).await?;
            rig.install(&Manifests::repository()?).await?;
            let operator = Operator::start(&rig, OperatorOptions::named("resting")).await?;
            operator.wait_ready(SOON).await?;
            Ok((rig, operator))
        };
        let ((rig, operator), rabbit) = tokio::try_join!(start, shared_rabbit())?;
        let ns = rig.namespace("rest").await?;
        let log = ns.replica_log().await?;
        let names: Vec<String> = (0..ACTIVE + IDLE).map(|n| format!("rest-{n:03}")).collect();
        let host = rabbit.amqp_url();
        stream::iter(names.clone().into_iter().enumerate())
            .map(|(n, name)| {
                let (ns, spec) = (&ns, rabbit_spec(&name, &host, &name, 10, 4));
                async move {
                    rabbit.declare(&name).await?;
                    if n < ACTIVE {
                        rabbit.publish(&name, 5).await?;
                    }
                    ns.deployment(&name, 0, &[]).await?;
                    ns.scaled_object(&name, &spec).await.map(drop)
                }
            })
            .buffer_unordered(8)
            .try_collect::<Vec<()>>()
            .await?;
        for (n, name) in names.iter().enumerate() {
            let active = n < ACTIVE;
            log.wait_for(name, i32::from(active), SOON).await?;
            ns.wait_condition(name, "Active", if active { "True" } else { "False" }, SOON).await?;
            let reason = if active { "ValidMetricFound" } else { "ScalingDisabled" };
            eventually(SOON, "the HPA's sync is told", async || {
                let told = ns.condition(name, "HPAActive").await?;
                ensure!(told["status"] == "True" && told["reason"] == reason, "{name}: {told}");
                Ok(())
            })
            .await?;
        }
        let audit = rig.audit();
        eventually(SOON, "the start is over", async || {
            let last = audit.entries()?.into_iter().rev().find(is_operators_write);
            let recent =
                last.filter(|entry| now().duration_since(entry.answered) < SETTLED.try_into().unwrap_or_default());
            ensure!(recent.is_none(), "still writing: {recent:?}");
            sleep(Duration::from_secs(1)).await;
            Ok(())
        })
        .await?;

        let (from, began, cpu) = (now(), Instant::now(), operator.cpu_seconds()?);
        never(WINDOW, "a write by the operator at rest", async || {
            // The log is long: looked at once a second.
            sleep(Duration::from_secs(1)).await;
            let written = |entry: &Entry| entry.received >= from && is_operators_write(entry);
            Ok(audit.entries()?.into_iter().find(written))
        })
        .await?;
        let (cpu, minutes) = (operator.cpu_seconds()? - cpu, began.elapsed().as_secs_f64() / 60.0);

        let entries = audit.since(from).await?;
        let by_operator: Vec<&Entry> = entries.iter().filter(|entry| entry.user == OPERATOR_USER).collect();
        let writes: Vec<&&Entry> = by_operator.iter().filter(|entry| is_operators_write(entry)).collect();
        ensure!(writes.is_empty(), "writes at rest: {writes:?}");
        let mut kinds = BTreeMap::<String, u32>::new();
        for entry in &by_operator {
            *kinds.entry(format!("{} {}", entry.verb, entry.target())).or_default() += 1;
        }
        let asked = entries.iter().filter(|entry| entry.group == "external.metrics.k8s.io").count();
        println!(
            "{ACTIVE} active and {IDLE} idle objects at rest, per minute: {:.1} API requests by the operator {kinds:?}, \
             {:.0} questions by HPAs, {:.2} s of processor time (debug build); {:.1} MiB resident",
            by_operator.len() as f64 / minutes,
            asked as f64 / minutes,
            cpu / minutes,
            operator.rss_bytes()? as f64 / 1_048_576.0,
        );
        // The lease is renewed each 2 s; all else comes by watches.
        ensure!(by_operator.len() as f64 / minutes < 60.0, "too many requests at rest: {kinds:?}");
        ensure!(kinds.keys().any(|kind| kind.ends_with(" leases")), "the operator does not renew its lease: {kinds:?}");
        for (n, name) in names.iter().enumerate() {
            log.ensure_went(name, if n < ACTIVE { &[0, 1] } else { &[0] })?;
        }
        Ok(())
    });
}
