//! An event is sent -> `/scale` written, each beside a bare write to `/scale` by the harness itself, in turns, so that both
//! meet the same machine and the same API server.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use windlass_tests::{Namespace, ReplicaLog, now};

use crate::bed::{Bed, seconds};
use crate::progress;
use crate::stats::Stats;
use crate::table::Table;

/// Objects that take turns, so that no run waits for the one before to rest.
const LANES: usize = 20;
const RUN: Duration = Duration::from_secs(120);
/// How much later than a bare write the replicas may be written, p99 against p99; milliseconds.
const BAR: f64 = 50.0;

/// Measures it.
///
/// # Errors
/// When a run does not end, or an event is not accepted.
pub async fn measure(bed: &Bed, runs: u32, table: &mut Table) -> anyhow::Result<()> {
    progress(format!("webhook: {runs} events and as many bare writes"));
    let ns = bed.rig.namespace("webhook").await?;
    let log = ns.replica_log().await?;
    let name = |kind: &str| (0..LANES).map(|lane| format!("{kind}-{lane}")).collect::<Vec<_>>();
    let (hooked, bare) = (name("hooked"), name("bare"));
    bed.deployments(ns.name(), &hooked).await?;
    bed.deployments(ns.name(), &bare).await?;
    let spec = |lane: &str| {
        json!({
            "scaleTargetRef": {"name": lane}, "minReplicaCount": 0, "maxReplicaCount": 5, "cooldownPeriod": 0,
            "triggers": [{"type": "webhook", "metadata":
                {"name": lane, "value": "1", "window": "1", "signature": "none", "allowUnsigned": "true"}}],
        })
    };
    bed.scaled_objects(ns.name(), &hooked, spec).await?;
    for lane in &hooked {
        ns.wait_condition(lane, "Ready", "True", RUN).await?;
    }

    let client = reqwest::Client::new();
    let mut rng = StdRng::seed_from_u64(42);
    let (mut by_event, mut by_hand) = (Vec::new(), Vec::new());
    for (run, (hooked, bare)) in (0..runs).zip(hooked.iter().zip(&bare).cycle()) {
        log.wait(hooked, RUN, "at rest", |row| (row.spec, row.replicas) == (0, 0)).await?;
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..200))).await;
        by_event.push(event(bed.webhooks, &client, &ns, &log, hooked).await.with_context(|| format!("in run {run}"))?);
        let start = now();
        ns.scale(bare, 1).await?;
        by_hand.push(written(&log, bare, start).await.with_context(|| format!("in bare run {run}"))?);
        ns.scale(bare, 0).await?;
    }
    for lane in &hooked {
        ns.delete_scaled_object(lane, RUN).await?;
    }
    let (by_event, by_hand) = (Stats::new(by_event), Stats::new(by_hand));
    let later = by_event.p99() - by_hand.p99();
    table.row(
        format!("a bare write to /scale -> seen in a watch, n={runs}, p50 / p99 / max"),
        ("-", "-"),
        by_hand.text(1, "ms"),
        None,
        by_hand.to_json(),
    );
    table.row(
        format!("webhook event sent -> /scale written, seen in a watch, n={runs}, p50 / p99 / max"),
        ("-", "p99 <= 50 ms after a bare write's"),
        format!("{}, {later:.1} ms later", by_event.text(1, "ms")),
        Some(later <= BAR),
        by_event.to_json(),
    );
    Ok(())
}

/// Milliseconds from sending an event until its replica is there.
async fn event(
    webhooks: SocketAddr,
    client: &reqwest::Client,
    ns: &Namespace,
    log: &ReplicaLog,
    lane: &str,
) -> anyhow::Result<f64> {
    let url = format!("http://{webhooks}/webhooks/{}/{lane}", ns.name());
    let start = now();
    let answer = client.post(url).body("{}").send().await?;
    ensure!(answer.status() == 202, "the event was answered {}", answer.status());
    written(log, lane, start).await
}

/// Milliseconds from `start` to the first row with a replica.
async fn written(log: &ReplicaLog, lane: &str, start: jiff::Timestamp) -> anyhow::Result<f64> {
    log.wait(lane, RUN, "a replica", |row| row.at >= start && row.spec > 0).await?;
    let row =
        log.rows(lane).into_iter().find(|row| row.at >= start && row.spec > 0).context("the record lost a row")?;
    Ok(seconds(start, row.at) * 1000.0)
}
