//! `windlass crd`: the resource types as YAML.

use anyhow::Context;
use clap::ValueEnum;
use windlass_crd::Group;

use crate::stdout::put;

/// Which types to print.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  windlass crd | kubectl apply --server-side -f -                    the types of windlass.dev
  windlass crd --group keda.sh | kubectl apply --server-side -f -    KEDA's types, where KEDA's own are not installed")]
pub(crate) struct Args {
    /// The API group.
    #[arg(long, default_value = "windlass.dev")]
    group: GroupName,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum GroupName {
    /// Windlass's own types.
    #[value(name = "windlass.dev")]
    Windlass,
    /// KEDA's types, for `windlass operator --keda-compat`.
    #[value(name = "keda.sh")]
    Keda,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let group = match args.group {
        GroupName::Windlass => Group::Windlass,
        GroupName::Keda => Group::Keda,
    };
    let yaml = windlass_crd::manifest(group).context("write the CRDs as YAML")?;
    put(&yaml, "print the CRDs")
}
