//! Publish -> `/scale` written -> all pods ready, one run after the other, with several objects in turn so that no run waits
//! for the one before to be forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use windlass_tests::objects::rabbit_spec;
use windlass_tests::{Answer, FakeHttp, Namespace, Rabbit, ReplicaLog, now};

use crate::bed::{Bed, seconds};
use crate::progress;
use crate::stats::Stats;
use crate::table::Table;

/// Objects that take turns.
const LANES: usize = 10;
/// 100 messages at 10 for each replica.
const MESSAGES: u64 = 100;
const REPLICAS: i32 = 10;
/// How long one run may take; KEDA's slowest took 76 s.
const RUN: Duration = Duration::from_secs(120);
/// The real management API is some seconds behind, so each run takes long.
const MOST_MANAGEMENT_RUNS: u32 = 20;

/// What is measured in one series.
struct Series {
    name: &'static str,
    what: &'static str,
    source: Source,
    polling: Option<u32>,
    /// KEDA and bar: to `/scale`, to all ready.
    written: (&'static str, &'static str),
    ready: (&'static str, &'static str),
    /// The bars in seconds: p50 and max to `/scale`, p50 to ready.
    bars: Option<(f64, f64, f64)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Source {
    Amqp,
    /// The broker's own management API.
    Management,
    /// The management API's answers without the broker's delay.
    Prompt,
}

const SERIES: [Series; 5] = [
    Series {
        name: "amqp",
        what: "amqp, defaults",
        source: Source::Amqp,
        polling: None,
        written: ("19.4 / 30.0 s", "0.3 / 1 s"),
        ready: ("64.6 / 75.6 s", "<= 1.5 s (p50)"),
        bars: Some((0.3, 1.0, 1.5)),
    },
    Series {
        name: "http",
        what: "http, defaults (management API without the broker's delay)",
        source: Source::Prompt,
        polling: None,
        written: ("14.7 / 29.8 s", "0.7 / 1.5 s"),
        ready: ("54.1 / 75.0 s", "<= 1.5 s (p50)"),
        bars: Some((0.7, 1.5, 1.5)),
    },
    Series {
        name: "amqp-1s",
        what: "amqp, pollingInterval 1",
        source: Source::Amqp,
        polling: Some(1),
        written: ("-", "-"),
        ready: ("36.5 / 43.7 s", "<= 2.5 s (p50)"),
        bars: Some((f64::MAX, f64::MAX, 2.5)),
    },
    Series {
        name: "http-1s",
        what: "http, pollingInterval 1",
        source: Source::Prompt,
        polling: Some(1),
        written: ("-", "-"),
        ready: ("38.7 / 45.5 s", "<= 2.5 s (p50)"),
        bars: Some((f64::MAX, f64::MAX, 2.5)),
    },
    Series {
        name: "management",
        what: "RabbitMQ management API, defaults (its statistics are up to 5 s old)",
        source: Source::Management,
        polling: None,
        written: ("4.6 s (p50, at pollingInterval 1)", "-"),
        ready: ("-", "-"),
        bars: None,
    },
];

/// Measures all series.
///
/// # Errors
/// When a run does not end.
pub async fn measure(bed: &Bed, runs: u32, table: &mut Table) -> anyhow::Result<()> {
    for series in &SERIES {
        let runs = if series.source == Source::Management { runs.min(MOST_MANAGEMENT_RUNS) } else { runs };
        progress(format!("{}: {runs} runs", series.what));
        let (written, ready) = one(bed, series, runs).await.with_context(|| series.what.to_owned())?;
        let bars = series.bars;
        let at_scale = bars.filter(|bar| bar.0 < f64::MAX).map(|bar| written.p50() <= bar.0 && written.max() <= bar.1);
        table.row(
            format!("publish -> /scale written, {}, n={runs}, p50 / p99 / max", series.what),
            series.written,
            written.text(2, "s"),
            at_scale,
            written.to_json(),
        );
        table.row(
            format!("publish -> all {REPLICAS} ready, {}", series.what),
            series.ready,
            ready.text(2, "s"),
            bars.map(|bar| ready.p50() <= bar.2),
            ready.to_json(),
        );
    }
    Ok(())
}

/// Queues that hold what they are told to, behind the answers of a management API.
struct Prompt {
    server: FakeHttp,
    queues: Arc<Mutex<HashMap<String, u64>>>,
}

impl Prompt {
    async fn start() -> anyhow::Result<Self> {
        let queues = Arc::new(Mutex::new(HashMap::<String, u64>::new()));
        let held = Arc::clone(&queues);
        let server = FakeHttp::start(move |request| {
            let queue = request.path.rsplit('/').next().unwrap_or_default();
            match held.lock().unwrap_or_else(PoisonError::into_inner).get(queue) {
                Some(count) => Answer::json(&json!({"name": queue, "messages": count, "messages_ready": count})),
                None => Answer::error(404),
            }
        })
        .await?;
        Ok(Self { server, queues })
    }

    fn set(&self, queue: &str, count: u64) {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).insert(queue.to_owned(), count);
    }
}

async fn one(bed: &Bed, series: &Series, runs: u32) -> anyhow::Result<(Stats, Stats)> {
    let ns = bed.rig.namespace(series.name).await?;
    let log = ns.replica_log().await?;
    let prompt = Prompt::start().await?;
    let lanes: Vec<String> = (0..LANES).map(|lane| format!("{}-{lane}", series.name)).collect();
    bed.rabbit.declare_all(&lanes).await?;
    lanes.iter().for_each(|lane| prompt.set(lane, 0));
    bed.deployments(ns.name(), &lanes).await?;
    let (protocol, host) = match series.source {
        Source::Amqp => ("amqp", bed.rabbit.amqp_url()),
        Source::Management => ("http", bed.rabbit.http_url()),
        Source::Prompt => ("http", Rabbit::http_url_at(prompt.server.address())),
    };
    let spec = |lane: &str| {
        let mut spec = rabbit_spec(lane, &host, lane, 10, REPLICAS);
        spec["cooldownPeriod"] = 1.into();
        spec["triggers"][0]["metadata"]["protocol"] = protocol.into();
        if let Some(seconds) = series.polling {
            spec["pollingInterval"] = seconds.into();
        }
        spec
    };
    bed.scaled_objects(ns.name(), &lanes, spec).await?;
    for lane in &lanes {
        ns.wait_condition(lane, "Ready", "True", RUN).await?;
    }

    // The same moments in each bench.
    let mut rng = StdRng::seed_from_u64(42);
    let (mut written, mut ready) = (Vec::new(), Vec::new());
    for (run, lane) in (0..runs).zip(lanes.iter().cycle()) {
        asleep(&ns, &log, lane, series.source).await.with_context(|| format!("before run {run}"))?;
        // Readings come at intervals: a publication must fall on any moment between two.
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..1000))).await;
        let start = match series.source {
            Source::Prompt => {
                let start = now();
                prompt.set(lane, MESSAGES);
                start
            }
            _ => bed.rabbit.publish_at_once(std::slice::from_ref(lane), MESSAGES).await?,
        };
        log.wait(lane, RUN, "all ready", |row| row.ready == REPLICAS).await.with_context(|| format!("in run {run}"))?;
        let (to_scale, to_ready) = times(&log, lane, start).context("the record lost a row")?;
        if to_ready > 5.0 && series.source != Source::Management {
            progress(format!("run {run} took {to_ready:.1} s:\n{}", log.timeline(lane)));
        }
        written.push(to_scale);
        ready.push(to_ready);
        prompt.set(lane, 0);
        bed.rabbit.purge(lane).await?;
    }
    for lane in &lanes {
        log.wait_for(lane, 0, RUN).await?;
        ns.delete_scaled_object(lane, RUN).await?;
    }
    Ok((Stats::new(written), Stats::new(ready)))
}

/// Waits until the object rests, and its source says so.
async fn asleep(ns: &Namespace, log: &ReplicaLog, lane: &str, source: Source) -> anyhow::Result<()> {
    log.wait(lane, RUN, "at rest", |row| (row.spec, row.replicas) == (0, 0)).await?;
    if source == Source::Management {
        let metric = format!("s0-rabbitmq-{lane}");
        windlass_tests::eventually(RUN, "the management API counts 0", async || {
            let value: Value = ns.external_metric(&metric, lane).await?;
            anyhow::ensure!(value["items"][0]["value"] == "0", "the answer is {value}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Seconds from `start` to the first row with replicas, and to the first with all ready.
fn times(log: &ReplicaLog, lane: &str, start: Timestamp) -> Option<(f64, f64)> {
    let rows: Vec<_> = log.rows(lane).into_iter().filter(|row| row.at >= start).collect();
    let written = rows.iter().find(|row| row.spec > 0)?;
    let ready = rows.iter().find(|row| row.ready == REPLICAS)?;
    Some((seconds(start, written.at), seconds(start, ready.at)))
}
