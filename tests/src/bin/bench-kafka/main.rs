//! `make bench-kafka`: what many objects of one Kafka cluster cost the operator, on a real control plane and a real broker, in
//! one consumer group and in a group each, read each second and as often as by default. It measures from outside, by
//! `/proc`. A missed bar is no error.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use serde_json::{Value, json};
use windlass_tests::objects::{deployment, scaled_object};
use windlass_tests::{
    Entry, Kafka, Manifests, Namespace, OPERATOR_USER, Operator, OperatorOptions, Rig, RigOptions, eventually, now,
    program,
};

/// Requests of the harness under way at once when it makes many objects.
const PARALLEL: usize = 32;
const SOON: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_mins(15);
/// Of a core, in percent.
const BAR: f64 = 10.0;

/// Measures processor time, threads, sockets and memory of the operator with many Kafka triggers.
///
/// Starts its own control plane, Kafka and operator, and ends them again. A busy machine makes everything dearer: the load
/// is printed with the result.
#[derive(Debug, Parser)]
#[command(
    name = "bench-kafka",
    after_help = "\
Examples:
  make bench-kafka                                        all of it, about ten minutes
  make bench-kafka ARGS='--objects 300 --seconds 20'      fewer objects, a shorter look
  make bench-kafka ARGS='--work'                          every topic has a message to be read

WINDLASS_BIN names the operator to measure, WINDLASS_RIG_BIN the folder of the control plane's programs."
)]
struct Args {
    /// How many objects there are; each has a topic with one partition.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    objects: u32,
    /// How long each arrangement is measured, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3600))]
    seconds: u64,
    /// Has every topic hold a message that is not read, so that the objects are active: the HPAs ask for their metrics too.
    #[arg(long)]
    work: bool,
    /// Measures only the arrangements whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Writes all figures as JSON into this file too.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// How the objects are arranged.
#[derive(Debug, Clone, Copy)]
struct Arrangement {
    name: &'static str,
    /// Each has a group of its own.
    own_group: bool,
    /// Seconds of `pollingInterval`; none is written where there is none.
    interval: Option<u64>,
}

const ARRANGEMENTS: [Arrangement; 4] = [
    Arrangement { name: "one group, each second", own_group: false, interval: Some(1) },
    Arrangement { name: "one group, by default", own_group: false, interval: None },
    Arrangement { name: "a group each, each second", own_group: true, interval: Some(1) },
    Arrangement { name: "a group each, by default", own_group: true, interval: None },
];

/// What one arrangement costs.
#[derive(Debug)]
struct Cost {
    cpu_percent: f64,
    /// How often each trigger is read.
    readings_per_second: f64,
    threads: usize,
    sockets: usize,
    rss_mib: f64,
    writes: usize,
}

struct Bed {
    rig: Rig,
    kafka: Kafka,
    operator: Operator,
    topics: Vec<String>,
}

fn main() -> ExitCode {
    program::run(bench(Args::parse()))
}

async fn bench(args: Args) -> anyhow::Result<()> {
    let bed = Bed::start(&args).await?;
    let window = Duration::from_secs(args.seconds);
    let mut rows = vec![("no objects", bed.cost(None, window).await?)];
    println!("{}", line("no objects", &rows[0].1));
    for arrangement in ARRANGEMENTS.iter().filter(|arrangement| arrangement.name.contains(&args.only)) {
        let cost = bed.measure(*arrangement, window).await?;
        println!("{}", line(arrangement.name, &cost));
        rows.push((arrangement.name, cost));
    }
    println!("\n{}", table(&args, &rows));
    if let Some(file) = &args.json {
        std::fs::write(file, format!("{:#}\n", to_json(&args, &rows)))
            .with_context(|| format!("cannot write {} (--json)", file.display()))?;
    }
    Ok(())
}

impl Bed {
    async fn start(args: &Args) -> anyhow::Result<Self> {
        progress(&format!("starting the control plane and Kafka in {}", windlass_tests::scratch::root().display()));
        let options = RigOptions { pods: false, ..RigOptions::product() };
        let (rig, kafka) = tokio::try_join!(Rig::start(options), Kafka::start(768))?;
        rig.install(&Manifests::repository()?).await?;
        let operator = Operator::start(&rig, OperatorOptions::default()).await?;
        operator.wait_ready(SOON).await?;
        operator.wait_leading(&rig, SOON).await?;

        let topics: Vec<String> = (0..args.objects).map(|nth| format!("orders-{nth:04}")).collect();
        progress(&format!("making {} topics and their groups", topics.len()));
        let create = |topic: &String| {
            let (kafka, topic) = (&kafka, topic.clone());
            async move { kafka.create(&topic, 1).await }
        };
        stream::iter(topics.iter().map(create)).buffer_unordered(8).try_collect::<Vec<()>>().await?;
        let mut groups: Vec<_> = topics.iter().map(|topic| (group(topic, true), vec![topic.clone()])).collect();
        groups.push((group("", false), topics.clone()));
        kafka.commit_starts(groups).await?;
        if args.work {
            for topic in &topics {
                kafka.produce(topic, 1, 1).await?;
            }
        }
        Ok(Self { rig, kafka, operator, topics })
    }

    async fn measure(&self, arrangement: Arrangement, window: Duration) -> anyhow::Result<Cost> {
        progress(&format!("{} objects: {}", self.topics.len(), arrangement.name));
        let ns = self.rig.namespace("kafka").await?;
        let (objects, deployments) = (ns.scaled_objects(), ns.api::<Deployment>());
        let create = |topic: &String| {
            let spec = spec(topic, &self.kafka.plain(), arrangement);
            let object = scaled_object(windlass_tests::GROUP, ns.name(), topic, &spec);
            let target = deployment(ns.name(), topic, 0, &[]);
            let (objects, deployments) = (objects.clone(), deployments.clone());
            async move {
                deployments.create(&PostParams::default(), &target).await.context("cannot create a Deployment")?;
                objects.create(&PostParams::default(), &object).await.context("cannot create a ScaledObject")
            }
        };
        stream::iter(self.topics.iter().map(create)).buffer_unordered(PARALLEL).try_collect::<Vec<_>>().await?;
        eventually(LONG, "ScaledObjects are Ready", async || {
            let all = objects.list(&ListParams::default()).await?.items;
            let ready = all.iter().filter(|object| is_ready(object)).count();
            ensure!(ready == self.topics.len(), "{ready} of {} are", self.topics.len());
            Ok(())
        })
        .await?;
        self.settle().await?;
        let cost = self.cost(Some(&ns), window).await?;
        objects.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        eventually(LONG, "ScaledObjects are gone", async || {
            let left = objects.list(&ListParams::default().limit(1)).await?.items.len();
            ensure!(left == 0, "there are some");
            Ok(())
        })
        .await?;
        self.settle().await?;
        Ok(cost)
    }

    /// Waits until the operator has written nothing for some seconds.
    async fn settle(&self) -> anyhow::Result<()> {
        eventually(LONG, "the operator writes no more", async || {
            let start = now();
            tokio::time::sleep(Duration::from_secs(10)).await;
            let writes = self.writes(start).await?;
            ensure!(writes == 0, "{writes} writes in ten seconds");
            Ok(())
        })
        .await
    }

    async fn writes(&self, start: jiff::Timestamp) -> anyhow::Result<usize> {
        let ours = |entry: &&Entry| entry.user == OPERATOR_USER && entry.resource != "leases" && entry.is_write();
        Ok(self.rig.audit().since(start).await?.iter().filter(ours).count())
    }

    async fn cost(&self, ns: Option<&Namespace>, window: Duration) -> anyhow::Result<Cost> {
        let process = self.operator.process();
        let (start, read, cpu) = (now(), self.readings(ns).await?, process.cpu_seconds()?);
        let clock = tokio::time::Instant::now();
        tokio::time::sleep(window).await;
        let (cpu, seconds) = (process.cpu_seconds()? - cpu, clock.elapsed().as_secs_f64());
        let read = self.readings(ns).await? - read;
        #[expect(clippy::cast_precision_loss, reason = "thousands of objects, megabytes")]
        let (objects, rss) = (self.topics.len() as f64, process.rss_bytes()? as f64);
        Ok(Cost {
            cpu_percent: 100.0 * cpu / seconds,
            readings_per_second: read / seconds / objects,
            threads: process.threads()?,
            sockets: process.sockets()?,
            rss_mib: rss / f64::from(1 << 20),
            writes: self.writes(start).await?,
        })
    }

    /// Good readings of a namespace's objects so far.
    async fn readings(&self, ns: Option<&Namespace>) -> anyhow::Result<f64> {
        let Some(ns) = ns else { return Ok(0.0) };
        let text = self.operator.metrics().await?;
        let of_ns = format!("namespace=\"{}\"", ns.name());
        let is_one = |line: &&str| {
            line.starts_with("windlass_source_readings_total{")
                && line.contains(&of_ns)
                && line.contains("outcome=\"ok\"")
        };
        let counts = text.lines().filter(is_one).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(counts.sum())
    }
}

fn group(topic: &str, own: bool) -> String {
    if own { format!("workers-of-{topic}") } else { "workers".to_owned() }
}

fn spec(topic: &str, servers: &str, arrangement: Arrangement) -> Value {
    let mut spec = json!({"scaleTargetRef": {"name": topic}, "maxReplicaCount": 1, "triggers": [{"type": "kafka", "metadata": {
        "bootstrapServers": servers, "consumerGroup": group(topic, arrangement.own_group), "topic": topic}}]});
    if let Some(seconds) = arrangement.interval {
        spec["pollingInterval"] = seconds.into();
    }
    spec
}

fn is_ready(object: &DynamicObject) -> bool {
    let conditions = object.data["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

fn line(name: &str, cost: &Cost) -> String {
    let Cost { cpu_percent, readings_per_second, threads, sockets, rss_mib, writes } = cost;
    let met = if *cpu_percent < BAR { "yes" } else { "NO" };
    format!(
        "| {name} | {cpu_percent:.1} % | {met} | {readings_per_second:.2} | {threads} | {sockets} | {rss_mib:.0} MB | {writes} |"
    )
}

fn table(args: &Args, rows: &[(&str, Cost)]) -> String {
    let mut text = String::from(
        "| arrangement | CPU of a core | under 10 %? | readings a second and object | threads | sockets | RSS | API writes |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for (name, cost) in rows {
        let _never_fails = writeln!(text, "{}", line(name, cost));
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let work = if args.work { "with a message each" } else { "all read" };
    let _never_fails = write!(
        text,
        "\n{} objects, as many topics of one partition, {work}; one broker; {} s each; {cores} cores, load {}.",
        args.objects,
        args.seconds,
        load()
    );
    text
}

fn to_json(args: &Args, rows: &[(&str, Cost)]) -> Value {
    let rows: Vec<_> = rows
        .iter()
        .map(|(name, cost)| {
            json!({"arrangement": name, "cpuPercent": cost.cpu_percent, "readingsPerSecond": cost.readings_per_second,
                "threads": cost.threads, "sockets": cost.sockets, "rssMib": cost.rss_mib, "apiWrites": cost.writes})
        })
        .collect();
    json!({"objects": args.objects, "seconds": args.seconds, "work": args.work, "load": load(), "rows": rows})
}

/// The machine's load over one minute.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// What happens now, for whoever waits for the table.
fn progress(text: &str) {
    eprintln!("bench-kafka: {text}");
}
