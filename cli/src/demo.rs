//! `windlass demo`: the real operator on a simulated cluster with simulated brokers, a day in two minutes. It needs no
//! cluster and no network; it decides nothing and invents nothing: every reason it prints was written by the operator or by
//! the HPA controller.

mod doors;
mod lives;
mod stage;
mod story;
mod table;

use std::time::Duration;

use anyhow::{Context, bail};

use crate::stdout::put;

/// Show the product without a cluster: five workloads live a day in two minutes.
///
/// The operator is the real one; the Kubernetes API, the pods, the HPA controller and the brokers are simulated in this
/// process. Everything listens on 127.0.0.1 only.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  windlass demo                          a day in two minutes, with a live table
  windlass demo --speed 60 --for 10m     slower, and ten hours of it
  windlass demo --headless --for 30s     plain lines, for a log or for CI
  windlass demo --seed 7                 another day

While it runs, kubectl works against it: the first line says how.")]
pub(crate) struct Args {
    /// How many seconds of the day pass in a second.
    #[arg(long, default_value_t = 720.0, value_parser = speed)]
    speed: f64,
    /// The seed of everything that is drawn: the same seed gives the same day.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Plain lines in place of the live table.
    #[arg(long)]
    headless: bool,
    /// How long to run, in real time. [default: until the day is over]
    #[arg(long = "for", value_name = "TIME", value_parser = crate::operator::duration)]
    lasts: Option<Duration>,
    /// Port of the simulated Kubernetes API on 127.0.0.1. [default: any that is free]
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    api_port: u16,
    /// Port of the operator's /healthz, /readyz and /metrics on 127.0.0.1. [default: any that is free]
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    metrics_port: u16,
}

/// The speeds at which the day can be followed and calculated.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.1..=20_000.0;

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "it must be a number, for example 720".to_owned())?;
    if SPEEDS.contains(&speed) {
        Ok(speed)
    } else {
        Err(format!("it must be between {} and {}", SPEEDS.start(), SPEEDS.end()))
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let day = Duration::from_secs(86_400).div_f64(args.speed);
    let lasts = args.lasts.unwrap_or(day);
    if lasts.is_zero() {
        bail!("--for: it must be longer than nothing");
    }
    let doors = doors::Doors::bind(args.api_port, args.metrics_port)?;
    let first = format!(
        "Windlass demo, {} s of a day in a second, seed {}. kubectl --server {} get so,hpa,deploy   metrics {}/metrics\n",
        args.speed,
        args.seed,
        doors.api(),
        doors.metrics()
    );
    put(&first, "print")?;
    let shows_table = !args.headless && std::io::IsTerminal::is_terminal(&std::io::stdout());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.context("start the simulation")?;
    let (stop, opener) = doors.open()?;
    let stage = stage::Stage { speed: args.speed, seed: args.seed, lasts, shows_table, stop };
    runtime.block_on(stage.play(opener))
}
