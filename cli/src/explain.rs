//! `windlass explain trigger <type>`: the page of a source, as it is in the repository.

use anyhow::bail;

use crate::stdout::put;

/// Print the documentation of a trigger type: what it reads, an example, every key.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  windlass explain trigger             the trigger types there are
  windlass explain trigger rabbitmq    what a trigger of type rabbitmq may say")]
pub(crate) struct Args {
    /// What to explain.
    #[arg(value_parser = ["trigger"])]
    topic: String,
    /// The trigger type; none lists them.
    kind: Option<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let text = match &args.kind {
        None => list(),
        Some(kind) => match windlass_crd::trigger_docs(kind) {
            Some(page) => page.to_owned(),
            None => {
                let known: Vec<_> = windlass_crd::trigger_kinds().collect();
                bail!("{kind:?} is not a trigger type that this version knows; it knows {}", known.join(", "))
            }
        },
    };
    put(&text, "print the page")
}

/// Each type with the first sentence of its page.
fn list() -> String {
    let line = |kind: &str| {
        let page = windlass_crd::trigger_docs(kind).unwrap_or_default();
        let first = page.split("\n\n").nth(1).unwrap_or_default().replace('\n', " ");
        format!("{kind:<16} {}\n", first.split_inclusive(". ").next().unwrap_or_default().trim_end())
    };
    let hpa = "cpu, memory      Passed to the HPA, which reads them by itself.\n";
    windlass_crd::trigger_kinds().map(line).chain([hpa.to_owned()]).collect()
}
