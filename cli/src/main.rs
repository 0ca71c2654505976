//! `windlass`: one binary for the operator and for the commands a person types. It parses arguments and prints; the work
//! is done in the crates behind it.

mod crd;
mod demo;
mod explain;
mod get;
mod operator;
mod simulate;
mod stdout;

use clap::{Parser, Subcommand};

/// Event-driven autoscaling for Kubernetes.
#[derive(Debug, Parser)]
#[command(
    name = "windlass",
    version,
    about,
    max_term_width = 120,
    after_help = "\
Examples:
  windlass demo                                      see it work, without a cluster
  windlass crd | kubectl apply --server-side -f -    install the resource types
  windlass operator --help                           the settings of the operator
  windlass explain trigger kafka                     what a trigger of type kafka may say
  windlass get so -A                                 what is scaled, and why
  windlass simulate --series load.csv --policy so.yaml --service-rate 5
                                                     what a ScaledObject would have done with a recorded load"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the product without a cluster: a day of five workloads in two minutes.
    Demo(demo::Args),
    /// Run one replica of the operator.
    Operator(Box<operator::Args>),
    /// Print the CustomResourceDefinitions as YAML.
    Crd(crd::Args),
    /// Print the documentation of a trigger type.
    Explain(explain::Args),
    /// List what is scaled.
    Get(get::Args),
    /// Replay a recorded load through ScaledObjects, without a cluster.
    Simulate(Box<simulate::Args>),
    /// Print the version.
    Version,
}

fn main() -> anyhow::Result<()> {
    // One TLS stack for everything: rustls with aws-lc-rs. It fails only if one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Operator(args) => operator::run(*args),
        Command::Crd(args) => crd::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Get(args) => get::run(args),
        Command::Simulate(args) => simulate::run(*args),
        Command::Version => stdout::put(concat!("windlass ", env!("CARGO_PKG_VERSION"), "\n"), "print the version"),
    }
}
