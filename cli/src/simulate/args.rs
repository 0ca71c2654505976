//! The flags of `windlass simulate`. Parsed and checked here; read by nobody else.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use jiff::Timestamp;
use windlass_simulate::{Fill, Model, Object, Reading, Unit, Workload};

/// Replay a recorded load through ScaledObjects, without a cluster, and compare what they would have cost.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  windlass simulate --series orders.csv --policy orders.yaml --service-rate 5
                                           a queue whose consumers take 5 messages a second each
  windlass simulate --series web.csv --policy a.yaml --policy b.yaml --model request --service-rate 50 --slo 500ms
                                           two policies side by side, requests instead of messages
  windlass simulate --prometheus http://prometheus:9090 --query 'sum(rate(orders_total[1m]))' \\
      --start now-7d --step 15s --policy orders.yaml --service-rate 5 --report week.html
                                           the last week as Prometheus knows it, with a chart
  windlass simulate --series orders.csv --policy orders.yaml --service-rate 5 --sweep --budget 0.1%
                                           the cheapest target, cooldown and minimum that violate 0.1 % of the time

The series: `timestamp,value` in each line, Unix seconds or RFC 3339, ascending; the header is optional. A value holds until
the next row. Where rows are missing (more than one and a half steps) a straight line is drawn; see --holes.")]
pub(crate) struct Args {
    /// CSV file with the load to replay.
    #[arg(long, value_name = "FILE", required_unless_present = "prometheus", conflicts_with = "prometheus")]
    pub(super) series: Option<PathBuf>,
    #[command(flatten)]
    pub(super) prometheus: Prometheus,
    /// File with a ScaledObject (several are several policies); can be given more than once.
    #[arg(long = "policy", value_name = "FILE", required = true)]
    pub(super) policies: Vec<PathBuf>,
    /// What is compared with besides; each takes target and maximum of the first policy.
    #[arg(long, value_delimiter = ',', default_value = "plain-hpa,static-max,oracle")]
    pub(super) baseline: Vec<Baseline>,
    /// What the values of the series count.
    #[arg(long, default_value = "per-second")]
    values: Values,
    /// Multiply every value by this.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    scale: f64,
    /// What is put where the series has no rows.
    #[arg(long, default_value = "line")]
    holes: Holes,
    /// What becomes of arrivals: wait in a queue, or are requests that are served at once or time out.
    #[arg(long, default_value = "queue")]
    model: ModelName,
    /// What one replica serves per second. [default: with requests the target of the first policy]
    #[arg(long, value_name = "RATE")]
    service_rate: Option<f64>,
    /// From the creation of a replica until it is ready.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    startup: Duration,
    /// The longest acceptable wait. [default: 60s for a queue, 1s for requests]
    #[arg(long, value_name = "TIME", value_parser = time)]
    slo: Option<Duration>,
    /// How long a request waits before it is lost; 0s loses at once what cannot be served.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    timeout: Duration,
    /// The time between two readings of a trigger. [default: the object's pollingInterval, else the source's own]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) poll: Option<Duration>,
    /// Find the cheapest target, cooldown and minimum of the first policy.
    #[arg(long)]
    pub(super) sweep: bool,
    /// The most time that may be violated, in percent.
    #[arg(long, value_name = "PERCENT", default_value = "0.1%", value_parser = percent, requires = "sweep")]
    pub(super) budget: f64,
    /// Targets to try. [default: 0.25 to 2 times that of the policy]
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "sweep")]
    pub(super) targets: Vec<f64>,
    /// Cooldown periods to try. [default: 30s, 300s, 1800s and that of the policy]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = time, requires = "sweep")]
    pub(super) cooldowns: Vec<Duration>,
    /// Minima to try. [default: 0, 1, 2, 4 and that of the policy]
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "sweep")]
    pub(super) mins: Vec<u32>,
    /// How to print.
    #[arg(short, long, default_value = "table")]
    pub(super) output: Format,
    /// Write a chart with its numbers to this file, .html or .svg.
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Say on standard error how long each replay took.
    #[arg(long)]
    pub(super) timing: bool,
}

/// A range of a Prometheus server, instead of a file.
#[derive(Debug, clap::Args)]
#[group(id = "range", multiple = true)]
pub(super) struct Prometheus {
    /// Address of a Prometheus server to ask for the load, instead of --series.
    #[arg(long, value_name = "URL", requires = "query", requires = "start")]
    pub(super) prometheus: Option<url::Url>,
    /// The expression; its answer must be one series of arrivals per second.
    #[arg(long, value_name = "PROMQL", requires = "prometheus")]
    pub(super) query: Option<String>,
    /// First moment: RFC 3339, Unix seconds, or such as now-24h.
    #[arg(long, value_name = "WHEN", requires = "prometheus", value_parser = moment)]
    pub(super) start: Option<Moment>,
    /// Last moment, written like --start.
    #[arg(long, value_name = "WHEN", requires = "prometheus", default_value = "now", value_parser = moment)]
    pub(super) end: Moment,
    /// The distance of two rows.
    #[arg(long, value_name = "TIME", requires = "prometheus", default_value = "15s", value_parser = time)]
    pub(super) step: Duration,
}

/// A moment that may be relative to the present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// A fixed time.
    At(Timestamp),
    /// So long before the present.
    Ago(Duration),
}

/// The built-in policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Baseline {
    /// An HPA alone: at least 1 replica, Kubernetes' own behaviour.
    PlainHpa,
    /// The maximum, always.
    StaticMax,
    /// Knows the future and orders replicas a start-up time ahead.
    Oracle,
    /// No baseline.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Values {
    /// Arrivals per second.
    PerSecond,
    /// Arrivals in the step that begins with the row.
    PerInterval,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Holes {
    /// A straight line between both sides.
    Line,
    /// The last value.
    Hold,
    /// Nothing arrives.
    Zero,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModelName {
    /// Messages wait until they are served; the metric is the backlog.
    Queue,
    /// Requests are served at once, wait or are lost; the metric is their rate.
    Request,
}

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Columns for people.
    Table,
    /// One JSON object.
    Json,
}

impl Args {
    /// The workload that the flags describe.
    pub(super) fn workload(&self, first: &Object) -> anyhow::Result<Workload> {
        let (model, slo) = match self.model {
            ModelName::Queue => (Model::Queue, Duration::from_secs(60)),
            ModelName::Request => (Model::Request { timeout: self.timeout }, Duration::from_secs(1)),
        };
        let of_target = (self.model == ModelName::Request).then(|| super::target(first)).flatten();
        let service_rate = self
            .service_rate
            .or(of_target)
            .context("--service-rate: is needed for a queue; say how many messages one replica serves per second")?;
        super::checked(Workload { model, service_rate, startup: self.startup, slo: self.slo.unwrap_or(slo) })
    }

    /// How rows become a series.
    pub(super) fn reading(&self) -> anyhow::Result<Reading> {
        if !(self.scale.is_finite() && self.scale > 0.0) {
            bail!("--scale: {} must be a number above 0", self.scale);
        }
        let unit = match self.values {
            Values::PerSecond => Unit::PerSecond,
            Values::PerInterval => Unit::PerStep,
        };
        let fill = match self.holes {
            Holes::Line => Fill::Line,
            Holes::Hold => Fill::Hold,
            Holes::Zero => Fill::Zero,
        };
        Ok(Reading { unit, fill, scale: self.scale })
    }
}

/// `7d`, `1h`, `5m`, `15s`, `500ms`, or several of those from hours down together.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{why}; write a time such as 15s, 500ms, 5m or 7d");
    if let Some(days) = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok()) {
        return Ok(Duration::from_secs(u64::from(days) * 86_400));
    }
    let span: jiff::SignedDuration = text.parse().map_err(|error: jiff::Error| wrong(&error))?;
    Duration::try_from(span).map_err(|_| wrong(&"a time cannot be negative"))
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("write a percentage from 0 to 100, such as 0.1%".to_owned()),
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    if text == "now" {
        return Ok(Moment::Ago(Duration::ZERO));
    }
    if let Some(ago) = text.strip_prefix("now-") {
        return time(ago).map(Moment::Ago);
    }
    let seconds = text.parse::<i64>().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    seconds
        .or_else(|| text.parse().ok())
        .map(Moment::At)
        .ok_or_else(|| "write RFC 3339 such as 2026-01-31T12:00:00Z, Unix seconds, or now-24h".to_owned())
}
