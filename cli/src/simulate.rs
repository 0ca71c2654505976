//! `windlass simulate`: reads a series and ScaledObjects, replays them and prints what they would have cost. It computes
//! nothing itself: `windlass-simulate` does.

mod args;
mod input;
mod prometheus;
mod sweep;
mod table;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use windlass_simulate::{Kind, Object, Policy, Report, Settings, Workload, html, replay, svg};

use crate::stdout::put;
pub(crate) use args::Args;
use args::{Baseline, Format};

/// No source is read more often.
const SHORTEST_POLL: Duration = Duration::from_millis(100);
/// Into how many stretches of time a chart is cut.
const BUCKETS: u64 = 480;

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let drawn = args.report.as_deref().map(drawing).transpose()?;
    if let Some(poll) = args.poll.filter(|poll| *poll < SHORTEST_POLL) {
        bail!("--poll: {poll:?} is shorter than a source is read; write at least {SHORTEST_POLL:?}");
    }
    let mut policies = input::policies(&args)?;
    let first = first_object(&policies)?.clone();
    let workload = args.workload(&first)?;
    let (name, series) = input::series(&args)?;
    let wanted = policies.len();
    policies.extend(baselines(&args.baseline, &first)?);
    unique(&policies)?;

    let settings = Settings { buckets: BUCKETS, ..Settings::default() };
    let mut outcomes = Vec::with_capacity(policies.len());
    for policy in &policies {
        let start = Instant::now();
        outcomes.push(replay(&series, &workload, policy, &settings));
        if args.timing {
            let took = start.elapsed().as_secs_f64();
            eprintln!("{}: {} points in {took:.3} s", policy.name, series.points().len());
        }
    }
    let mut report = Report::new(&name, &series, &workload, outcomes, BUCKETS);
    report.notes = policies.iter().take(wanted).flat_map(|policy| policy.notes.clone()).collect();
    if args.sweep {
        report.sweep = Some(sweep::run(&args, &series, &workload, &policies[0])?);
    }

    if let (Some(path), Some(draw)) = (&args.report, drawn) {
        std::fs::write(path, draw(&report)).with_context(|| format!("write {} (--report)", path.display()))?;
    }
    let text = match args.output {
        Format::Table => table::text(&report),
        Format::Json => format!("{}\n", serde_json::to_string_pretty(&report).context("write JSON")?),
    };
    put(&text, "print the result")
}

type Draw = fn(&Report) -> String;

/// What is drawn follows from the name of the file; a wrong one is said before anything is computed.
fn drawing(path: &Path) -> anyhow::Result<Draw> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("html") => Ok(html),
        Some("svg") => Ok(svg),
        _ => bail!("--report: {} is neither .html nor .svg; name the file so", path.display()),
    }
}

fn first_object(policies: &[Policy]) -> anyhow::Result<&Object> {
    let first = policies.iter().find_map(|policy| match &policy.kind {
        Kind::Object(object) => Some(object.as_ref()),
        _ => None,
    });
    first.context("--policy: no ScaledObject is given")
}

fn baselines(wanted: &[Baseline], first: &Object) -> anyhow::Result<Vec<Policy>> {
    if wanted.contains(&Baseline::None) && wanted.len() > 1 {
        bail!("--baseline: none cannot stand beside others; write one or the other");
    }
    let make = |baseline: &Baseline| match baseline {
        Baseline::PlainHpa => Some(first.plain_hpa()),
        Baseline::StaticMax => Some(first.static_max()),
        Baseline::Oracle => Some(first.oracle()),
        Baseline::None => None,
    };
    Ok(wanted.iter().filter_map(make).collect())
}

/// Two rows of one name could not be told apart.
fn unique(policies: &[Policy]) -> anyhow::Result<()> {
    let mut names = BTreeSet::new();
    for policy in policies {
        if !names.insert(policy.name.as_str()) {
            bail!("--policy: two policies are called {}; rename one of the files or objects", policy.name);
        }
    }
    Ok(())
}

/// What `Args::workload` needs of the first policy: the target is what one replica is for.
fn target(object: &Object) -> Option<f64> {
    object.config.triggers().first().map(|trigger| trigger.target)
}

/// Checks what clap cannot.
fn checked(workload: Workload) -> anyhow::Result<Workload> {
    workload.checked().map_err(|error| anyhow::anyhow!("--service-rate: {error}"))
}
