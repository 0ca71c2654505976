//! `make bench-latency`: what the operator costs and how fast it is, on a real control plane with the HPA controller at the
//! defaults of Kubernetes (sync 15 s, stabilisation 5 min) and a real RabbitMQ, beside the figures of KEDA and the bars that
//! are to be met. It measures from outside: watches, audit log, external metrics API, `/proc`. A missed bar is no error.

mod bed;
mod latency;
mod many;
mod metrics;
mod stats;
mod table;
mod watch;
mod webhook;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use windlass_tests::program;

use crate::bed::Bed;
use crate::table::Table;

/// Measures publish -> `/scale` -> ready, adoption, a wake of many sources at once, cost at rest, metric latency.
///
/// Starts its own control plane, RabbitMQ and operator, and ends them again. A busy machine makes everything slower: the
/// load is printed with the result.
#[derive(Debug, Parser)]
#[command(
    name = "bench-latency",
    after_help = "\
Examples:
  make bench-latency                                            everything, many minutes
  make bench-latency ARGS='--only latency --runs 10'            one part, fewer runs
  make bench-latency ARGS='--only adopt,wake --objects 300'     fewer objects
  make bench-latency ARGS='--json /tmp/bench.json'              figures for programs

WINDLASS_BIN names the operator to measure, WINDLASS_RIG_BIN the folder of the control plane's programs."
)]
struct Args {
    /// The parts to run, separated by commas. [default: all]
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// How often publish -> ready is measured for each setting.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: u32,
    /// How many objects are adopted, woken and looked at.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    objects: u32,
    /// How long cost at rest is measured, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3600))]
    rest_seconds: u64,
    /// Writes all figures as JSON into this file too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Log level of the operator.
    #[arg(long, default_value = "info")]
    operator_log: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Publish -> `/scale` written -> all ready.
    Latency,
    /// A webhook's event -> `/scale` written, beside bare writes.
    Webhook,
    /// Time and writes until many new objects are Ready.
    Adopt,
    /// Many sources that wake at one instant.
    Wake,
    /// Latency and cost of an external metric.
    Metrics,
    /// Memory, processor time and writes while nothing happens.
    Rest,
    /// From kill -9 until every object is read again.
    Restart,
}

impl Args {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    program::run(bench(args))
}

async fn bench(args: Args) -> anyhow::Result<()> {
    let mut table = Table::new(&args);
    let mut bed = Bed::start(&args.operator_log).await?;
    let measured = parts(&args, &mut bed, &mut table).await;
    // What was measured before a failure is worth being seen.
    println!("{table}");
    if let Some(file) = &args.json {
        std::fs::write(file, format!("{:#}\n", table.to_json()))
            .with_context(|| format!("cannot write {} (--json)", file.display()))?;
    }
    measured.with_context(|| format!("not all was measured; the operator's log is {}", bed.operator_log()))
}

async fn parts(args: &Args, bed: &mut Bed, table: &mut Table) -> anyhow::Result<()> {
    if args.wants(Part::Latency) {
        latency::measure(bed, args.runs, table).await?;
    }
    if args.wants(Part::Webhook) {
        // Each is short: a 99th percentile wants many.
        webhook::measure(bed, args.runs.saturating_mul(4), table).await?;
    }
    let many = [Part::Adopt, Part::Wake, Part::Metrics, Part::Rest, Part::Restart];
    if many.iter().any(|part| args.wants(*part)) {
        let window = Duration::from_secs(args.rest_seconds);
        Box::pin(many::measure(bed, args.objects, window, |part| args.wants(part), table)).await?;
    }
    Ok(())
}

/// What happens now, for whoever waits for the table.
fn progress(text: impl AsRef<str>) {
    eprintln!("bench-latency: {}", text.as_ref());
}
