//! What an external metric costs through the API server, as the HPA asks for it: latency beside that of `GET /version`, which
//! is the floor, and the operator's processor time for one answer.

use std::time::{Duration, Instant};

use anyhow::Context;
use futures::{StreamExt, stream};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use windlass_tests::Namespace;

use crate::bed::Bed;
use crate::stats::Stats;
use crate::table::Table;

const REQUESTS: usize = 2000;
const ANSWERS: usize = 10_000;
const CALLERS: usize = 8;

/// Latency with one caller over these objects; each has one trigger on a queue of its own name.
///
/// # Errors
/// When a metric is not answered.
pub async fn latency(
    ns: &Namespace,
    names: &[String],
    objects: usize,
    bars: (&'static str, &'static str),
    table: &mut Table,
) -> anyhow::Result<()> {
    let mut rng = StdRng::seed_from_u64(7);
    let client = ns.client();
    let (mut metric, mut floor) = (Vec::with_capacity(REQUESTS), Vec::with_capacity(REQUESTS));
    for warm_up in (0..REQUESTS + 50).map(|request| request < 50) {
        // In turn, so that both see the same machine.
        let start = Instant::now();
        client.apiserver_version().await?;
        let version = start.elapsed();
        let name = names.get(rng.random_range(0..names.len())).context("no objects")?;
        let start = Instant::now();
        ask(ns, name).await?;
        let answer = start.elapsed();
        if !warm_up {
            floor.push(version.as_secs_f64() * 1000.0);
            metric.push(answer.as_secs_f64() * 1000.0);
        }
    }
    let (metric, floor) = (Stats::new(metric), Stats::new(floor));
    table.row(
        format!("external metric through the API server, 1 caller, {objects} objects, p50 / p99 (floor GET /version)"),
        bars,
        format!("{:.2} / {:.1} ms ({:.2} / {:.1} ms)", metric.p50(), metric.p99(), floor.p50(), floor.p99()),
        Some(metric.p50() <= floor.p50() + 1.0),
        json!({"metric_ms": metric.to_json(), "floor_ms": floor.to_json()}),
    );
    Ok(())
}

/// The operator's processor time for one answer, without what it uses anyway.
///
/// # Errors
/// When a metric is not answered.
pub async fn cost(bed: &Bed, ns: &Namespace, name: &str, table: &mut Table) -> anyhow::Result<()> {
    let idle = Duration::from_secs(10);
    let before = bed.operator.cpu_seconds()?;
    tokio::time::sleep(idle).await;
    let start = bed.operator.cpu_seconds()?;
    let at_rest = (start - before) / idle.as_secs_f64();
    let clock = Instant::now();
    let mut answers = stream::iter((0..ANSWERS).map(|_| ask(ns, name))).buffer_unordered(CALLERS);
    while let Some(answer) = answers.next().await {
        answer?;
    }
    drop(answers);
    let took = clock.elapsed().as_secs_f64();
    let used = bed.operator.cpu_seconds()? - start - at_rest * took;
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let each = used * 1000.0 / ANSWERS as f64;
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let rate = ANSWERS as f64 / took;
    table.row(
        format!("operator's CPU per answer ({CALLERS} callers)"),
        ("1.2 ms (operator + adapter)", "<= 0.15 ms"),
        format!("{each:.3} ms ({rate:.0} answers/s)"),
        Some(each <= 0.15),
        json!({"cpu_ms": each, "answers_per_second": rate}),
    );
    Ok(())
}

async fn ask(ns: &Namespace, name: &str) -> anyhow::Result<Value> {
    ns.external_metric(&format!("s0-rabbitmq-{name}"), name).await
}
