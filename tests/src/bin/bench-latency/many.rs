//! Many objects: adopting them, waking them all at one instant, and what they cost at rest.

use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams};
use serde_json::{Value, json};
use windlass_tests::objects::{rabbit_spec, scaled_objects};
use windlass_tests::{Entry, Namespace, eventually, now};

use crate::bed::{Bed, seconds};
use crate::stats::Stats;
use crate::table::Table;
use crate::watch::Firsts;
use crate::{Part, metrics, progress};

const LONG: Duration = Duration::from_mins(15);
const METRIC_BAR: &str = "<= floor + 1 ms p50";

/// Measures the wanted parts, in an order in which each finds what it needs.
///
/// # Errors
/// When something does not end.
pub async fn measure(
    bed: &mut Bed,
    objects: u32,
    window: Duration,
    wants: impl Fn(Part) -> bool,
    table: &mut Table,
) -> anyhow::Result<()> {
    let count = objects as usize;
    if wants(Part::Metrics) || wants(Part::Rest) {
        let few = adopt(bed, "few", 8, None).await?;
        if wants(Part::Metrics) {
            progress("external metrics");
            metrics::latency(&few.ns, &few.names[..1], 8, ("3.3 / 9.3 ms (1 object)", METRIC_BAR), table).await?;
            metrics::cost(bed, &few.ns, &few.names[0], table).await?;
        }
        if wants(Part::Rest) {
            let rss = mebibytes(bed)?;
            let keda = ("118 + 101 MB (http, operator + adapter)", "<= 40 MB");
            table.row("RSS, 8 objects", keda, format!("{rss:.0} MB"), Some(rss <= 40.0), json!({"mib": rss}));
        }
        leave(few).await?;
    }
    if count > 100 && (wants(Part::Adopt) || wants(Part::Metrics)) {
        let told = wants(Part::Adopt).then_some((&mut *table, ("45 s", "2 s"), 2.0));
        let hundred = adopt(bed, "hundred", 100, told).await?;
        if wants(Part::Metrics) {
            metrics::latency(&hundred.ns, &hundred.names, 100, ("3.7 / 10.9 ms (100)", METRIC_BAR), table).await?;
        }
        leave(hundred).await?;
    }
    let bar = if count >= 1000 { ("495 s", "15 s") } else { ("-", "15 s (1,000 objects)") };
    let told = wants(Part::Adopt).then_some((&mut *table, bar, 15.0));
    let crowd = adopt(bed, "crowd", count, told).await?;
    if wants(Part::Wake) || wants(Part::Rest) {
        // Rest is measured on active objects.
        wake(bed, &crowd, wants(Part::Wake).then_some(&mut *table)).await?;
    }
    if wants(Part::Metrics) {
        metrics::latency(&crowd.ns, &crowd.names, count, ("4.5 / 31 ms (1,000)", METRIC_BAR), table).await?;
    }
    if wants(Part::Rest) {
        rest(bed, count, window, table).await?;
    }
    if wants(Part::Restart) {
        restart(bed, &crowd, table).await?;
    }
    Ok(())
}

/// Objects of one namespace, each with a Deployment and a queue of its own name.
struct Crowd {
    ns: Namespace,
    names: Vec<String>,
}

/// Deletes the objects, so that they do not count with those that come after them.
async fn leave(crowd: Crowd) -> anyhow::Result<()> {
    let objects = crowd.ns.scaled_objects();
    objects.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    eventually(LONG, "ScaledObjects are gone", async || {
        let left = objects.list(&ListParams::default().limit(1)).await?.items.len();
        ensure!(left == 0, "there are some");
        Ok(())
    })
    .await
}

type Adoption<'t> = Option<(&'t mut Table, (&'static str, &'static str), f64)>;

/// Makes objects and waits until all are Ready. Their Deployments and queues are there before.
async fn adopt(bed: &Bed, name: &str, count: usize, told: Adoption<'_>) -> anyhow::Result<Crowd> {
    progress(format!("adopting {count} objects"));
    let ns = bed.rig.namespace(name).await?;
    let names: Vec<String> = (0..count).map(|n| format!("{name}-{n:04}")).collect();
    bed.rabbit.declare_all(&names).await?;
    let deployments = ApiResource::erase::<Deployment>(&());
    let observed = Firsts::start(bed.rig.client(), ns.name(), &deployments, |object| {
        object.data["status"]["observedGeneration"].is_number()
    });
    bed.deployments(ns.name(), &names).await?;
    observed.wait(count, LONG, "Deployments are taken up by their controller").await?;
    drop(observed);

    let ready = Firsts::start(bed.rig.client(), ns.name(), &scaled_objects(windlass_tests::GROUP), is_ready);
    let host = bed.rabbit.amqp_url();
    let cpu = bed.operator.cpu_seconds()?;
    let start = now();
    let created = bed.scaled_objects(ns.name(), &names, |name| rabbit_spec_of(name, &host)).await?;
    let times = ready.wait(count, LONG, "ScaledObjects are Ready").await?;
    let cpu = bed.operator.cpu_seconds()? - cpu;
    bed.settle(Duration::from_secs(3), Duration::from_secs(60)).await?;
    if let Some((table, bar, limit)) = told {
        let each = created.iter().filter_map(|(name, at)| Some(seconds(*at, *times.get(name)?)));
        let each = Stats::new(each.collect());
        let last = times.values().max().context("nothing was adopted")?;
        let asked = created.iter().map(|(_, at)| *at).max().unwrap_or(start);
        let total = seconds(start, *last);
        table.row(
            format!("adopting {count} objects: first create -> last Ready"),
            bar,
            format!(
                "{total:.1} s (last create after {:.1} s; each p50 {:.2} s, max {:.2} s; operator's CPU {cpu:.1} s)",
                seconds(start, asked),
                each.p50(),
                each.max()
            ),
            Some(total <= limit),
            json!({"total_s": total, "creating_s": seconds(start, asked), "each_s": each.to_json(), "cpu_s": cpu}),
        );
        adoption_writes(bed, &ns, count, start, table).await?;
    }
    Ok(Crowd { ns, names })
}

async fn adoption_writes(
    bed: &Bed,
    ns: &Namespace,
    count: usize,
    start: jiff::Timestamp,
    table: &mut Table,
) -> anyhow::Result<()> {
    let requests = bed.requests(start).await?;
    let of_these = |wanted: &dyn Fn(&Entry) -> bool| {
        let found = requests.iter().filter(|entry| entry.namespace == ns.name() && wanted(entry)).count();
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let each = found as f64 / count as f64;
        each
    };
    let events = of_these(&|entry| entry.is_write() && entry.resource == "events");
    let writes = of_these(&|entry| entry.is_write() && entry.resource != "events");
    let reads = of_these(&|entry| !entry.is_write());
    let hpas = of_these(&|entry| entry.is_write() && entry.resource == "horizontalpodautoscalers");
    let statuses = of_these(&|entry| entry.is_write() && entry.subresource == "status");
    let failed = requests.iter().filter(|entry| entry.is_write() && !entry.succeeded()).count();
    table.row(
        format!("adopting {count} objects: operator's writes each, besides Events"),
        ("~14", "<= 3"),
        format!("{writes:.2} ({hpas:.2} HPA, {statuses:.2} status; {reads:.2} reads; {failed} refused in all)"),
        Some(writes <= 3.0),
        json!({"writes": writes, "hpa": hpas, "status": statuses, "reads": reads, "refused": failed}),
    );
    table.row(
        format!("adopting {count} objects: Events each"),
        ("-", "<= 2"),
        format!("{events:.2}"),
        Some(events <= 2.0),
        json!({"events": events}),
    );
    Ok(())
}

fn rabbit_spec_of(name: &str, host: &str) -> Value {
    let mut spec = rabbit_spec(name, host, name, 10, 1);
    spec["cooldownPeriod"] = 300.into();
    spec
}

fn is_ready(object: &DynamicObject) -> bool {
    let conditions = object.data["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

/// One message for each, at one instant.
async fn wake(bed: &Bed, crowd: &Crowd, told: Option<&mut Table>) -> anyhow::Result<()> {
    let count = crowd.names.len();
    progress(format!("waking {count} sources"));
    let deployments = ApiResource::erase::<Deployment>(&());
    let scaled = Firsts::start(bed.rig.client(), crowd.ns.name(), &deployments, |object| {
        object.data["spec"]["replicas"].as_i64().is_some_and(|replicas| replicas >= 1)
    });
    let cpu = bed.operator.cpu_seconds()?;
    let start = bed.rabbit.publish_at_once(&crowd.names, 1).await?;
    let committed = now();
    let mut times = scaled.wait(count, LONG, "Deployments have replicas").await?;
    let used = bed.operator.cpu_seconds()? - cpu;
    let watched = Stats::new(times.values().map(|at| seconds(start, *at)).collect());
    // A busy API server shows in a watch late what it has long done: its own record says when it was written.
    for entry in bed.requests(start).await? {
        if entry.subresource == "scale" && entry.is_write() && entry.succeeded() {
            times.entry(entry.name).and_modify(|seen| *seen = entry.answered.min(*seen));
        }
    }
    let each = Stats::new(times.values().map(|at| seconds(start, *at)).collect());
    progress(format!("the first was scaled after {:.2} s", each.quantile(0.0)));
    let bar = if count >= 1000 { ("75 / 100 s", "max 5 s") } else { ("-", "max 5 s (1,000 sources)") };
    if let Some(table) = told {
        table.row(
            format!("{count} sources wake at one instant -> replicas >= 1 in a watch, p50 / p99 / max"),
            bar,
            format!(
                "{} (/scale written {}; publishing took {:.2} s; operator's CPU {used:.1} s)",
                watched.text(2, "s"),
                each.text(2, "s"),
                seconds(start, committed)
            ),
            Some(watched.max() <= 5.0),
            json!({"watched_s": watched.to_json(), "written_s": each.to_json(), "publishing_s": seconds(start, committed), "cpu_s": used}),
        );
    }
    let ready = Firsts::start(bed.rig.client(), crowd.ns.name(), &deployments, |object| {
        object.data["status"]["readyReplicas"].as_i64().is_some_and(|ready| ready >= 1)
    });
    let last = ready.wait(count, LONG, "pods are ready").await?;
    progress(format!("all pods ready after {:.1} s", last.values().max().map_or(0.0, |at| seconds(start, *at))));
    bed.settle(Duration::from_secs(20), Duration::from_mins(3)).await
}

/// What the operator costs while nothing happens.
async fn rest(bed: &Bed, active: usize, window: Duration, table: &mut Table) -> anyhow::Result<()> {
    bed.settle(Duration::from_secs(20), Duration::from_mins(3)).await?;
    progress(format!("at rest for {window:?}"));
    let (start, cpu) = (now(), bed.operator.cpu_seconds()?);
    tokio::time::sleep(window).await;
    let used = (bed.operator.cpu_seconds()? - cpu) * 60.0 / window.as_secs_f64();
    let requests = bed.requests(start).await?;
    let writes = requests.iter().filter(|entry| entry.is_write()).count();
    let rss = mebibytes(bed)?;
    table.row(
        format!("operator's API writes at rest, {active} active objects, {} s, besides the Lease", window.as_secs()),
        ("1,230 a minute (1,000 active)", "0"),
        format!("{writes}"),
        Some(writes == 0),
        json!({"writes": writes, "requests": requests.len()}),
    );
    table.row(
        format!("operator's CPU at rest, {active} active objects, a minute"),
        ("-", "-"),
        format!("{used:.1} s"),
        None,
        json!({"cpu_s_per_minute": used}),
    );
    table.row(
        format!("RSS, {active} active objects"),
        ("244 + 119 MB (http, operator + adapter)", "<= 60 MB"),
        format!("{rss:.0} MB"),
        Some(rss <= 60.0),
        json!({"mib": rss}),
    );
    Ok(())
}

/// kill -9 and the same identity again.
async fn restart(bed: &mut Bed, crowd: &Crowd, table: &mut Table) -> anyhow::Result<()> {
    let count = crowd.names.len();
    progress("kill -9 and restart");
    let start = now();
    bed.operator.restart()?;
    eventually(LONG, "every object is read again", async || {
        let text = bed.operator.metrics().await?;
        let prefix = format!("windlass_scaler_metrics_value{{namespace=\"{}\"", crowd.ns.name());
        let read = text.lines().filter(|line| line.starts_with(&prefix)).count();
        ensure!(read >= count, "{read} of {count} are");
        Ok(())
    })
    .await?;
    let took = seconds(start, now());
    let bar = if count >= 1000 { ("30 s", "<= 2 s") } else { ("-", "<= 2 s (1,000 objects)") };
    table.row(
        format!("kill -9, restarted -> every one of {count} objects read again"),
        bar,
        format!("{took:.1} s"),
        Some(took <= 2.0),
        json!({"seconds": took}),
    );
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "megabytes")]
fn mebibytes(bed: &Bed) -> anyhow::Result<f64> {
    Ok(bed.operator.rss_bytes()? as f64 / f64::from(1 << 20))
}
