//! Runs Kubernetes' own controller over timelines and says where the product's algorithm did anything else. Never
//! explains a difference away: replicas, status, figures and conditions must be equal at every sync.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use windlass_decision::hpa::Controller;

use super::format::{Figure, Row, Rows, SYNC_MS, Status, Timeline};
use super::replay::{OwnRow, replay};

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Report {
    /// How many timelines were compared.
    pub timelines: usize,
    /// How many syncs.
    pub syncs: usize,
    /// How many of these wrote the scale.
    pub rescales: usize,
    /// How often each condition was seen with each reason, in Kubernetes' own rows: what the timelines cover.
    pub seen: BTreeMap<String, usize>,
    /// The first difference of each timeline that has one.
    pub differences: Vec<Difference>,
}

/// The first sync of one timeline at which both sides differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The timeline.
    pub timeline: u64,
    /// The sync, the first being 0.
    pub sync: usize,
    /// When, in nanoseconds since the start.
    pub at: i64,
    /// What differs: field, this side, Kubernetes.
    pub fields: Vec<(String, String, String)>,
}

impl Display for Difference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let seconds = self.at as f64 / 1e9;
        write!(f, "timeline {}, sync {} at {seconds} s:", self.timeline, self.sync)?;
        self.fields.iter().try_for_each(|(field, own, theirs)| write!(f, " {field}: {own}, Kubernetes {theirs};"))
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { timelines, syncs, rescales, seen, differences } = self;
        writeln!(f, "{timelines} timelines, {syncs} syncs, {rescales} rescales, {} different", differences.len())?;
        for (what, count) in seen {
            writeln!(f, "  {count:>7} {what}")?;
        }
        differences.iter().take(10).try_for_each(|difference| writeln!(f, "  {difference}"))
    }
}

/// Runs Kubernetes' controller, the compiled test `tests/cluster/hpa`, over `timelines`.
///
/// # Errors
/// When it cannot be run, fails, or does not answer for each timeline.
pub fn kubernetes(program: &Path, timelines: &[Timeline]) -> anyhow::Result<Vec<Rows>> {
    let folder = tempfile::tempdir().context("cannot create a folder for the timelines")?;
    let (input, output) = (folder.path().join("timelines.jsonl"), folder.path().join("rows.jsonl"));
    let mut file = std::io::BufWriter::new(std::fs::File::create(&input).context("cannot create the timelines")?);
    for timeline in timelines {
        serde_json::to_writer(&mut file, timeline).context("cannot write a timeline")?;
        file.write_all(b"\n").context("cannot write a timeline")?;
    }
    file.into_inner().context("cannot write the timelines")?;
    let ran = Command::new(program)
        .args(["-test.run", "^TestReplay$", "-test.timeout", "10m"])
        .env("WINDLASS_HPA_TIMELINES", &input)
        .env("WINDLASS_HPA_ROWS", &output)
        .current_dir(folder.path())
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let said = String::from_utf8_lossy(&ran.stdout);
    ensure!(ran.status.success(), "{} failed: {said}{}", program.display(), String::from_utf8_lossy(&ran.stderr));
    let text = std::fs::read_to_string(&output).context("cannot read the rows")?;
    let rows: Vec<Rows> =
        text.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("cannot parse the rows")?;
    let answered = rows.iter().map(|rows| rows.id).eq(timelines.iter().map(|timeline| timeline.id));
    ensure!(answered, "the rows do not belong to the timelines");
    Ok(rows)
}

/// Compares this side, with `controller`'s settings, to what Kubernetes did.
///
/// # Errors
/// When Kubernetes' rows cannot be right: too few syncs, or syncs away from their time.
pub fn compare(timelines: &[Timeline], theirs: &[Rows], controller: Controller) -> anyhow::Result<Report> {
    let mut report = Report { timelines: timelines.len(), ..Report::default() };
    for (timeline, theirs) in timelines.iter().zip(theirs) {
        ensure!(theirs.rows.len() == timeline.syncs, "timeline {}: {} syncs", timeline.id, theirs.rows.len());
        let own = replay(timeline, theirs, controller);
        let mut standing = Status::default();
        let mut first = None;
        for (sync, (own, row)) in own.iter().zip(&theirs.rows).enumerate() {
            ensure!(on_time(sync, row), "timeline {}: sync {sync} at {} ns", timeline.id, row.at);
            if let Some(status) = &row.status {
                standing = status.clone();
            }
            report.syncs += 1;
            report.rescales += usize::from(row.wrote.is_some());
            for (kind, words) in &standing.conditions {
                *report.seen.entry(format!("{kind} {words}")).or_default() += 1;
            }
            let fields = differing(own, row, &standing);
            if !fields.is_empty() && first.is_none() {
                first = Some(Difference { timeline: timeline.id, sync, at: row.at, fields });
            }
        }
        report.differences.extend(first);
    }
    Ok(report)
}

/// The first sync comes one period after the start and each other one a period later; only retried writes delay it.
fn on_time(sync: usize, row: &Row) -> bool {
    let due = (sync as i64 + 1) * SYNC_MS * 1_000_000;
    (due..due + 2_000_000_000).contains(&row.at)
}

fn differing(own: &OwnRow, row: &Row, status: &Status) -> Vec<(String, String, String)> {
    let mut fields = Vec::new();
    let mut check = |field: &str, own: String, theirs: String| {
        if own != theirs {
            fields.push((field.to_owned(), own, theirs));
        }
    };
    check("replicas before", own.before.to_string(), row.before.to_string());
    check("replicas", own.replicas.to_string(), row.replicas.to_string());
    // When it wrote is given to this side; whether it did is not.
    check("wrote", own.wrote.is_some().to_string(), row.wrote.is_some().to_string());
    check("currentReplicas", own.status.current.to_string(), status.current.to_string());
    check("desiredReplicas", own.status.desired.to_string(), status.desired.to_string());
    check("lastScaleTime", format!("{:?}", own.status.last_scale), format!("{:?}", status.last_scale));
    check("conditions", format!("{:?}", own.status.conditions), format!("{:?}", status.conditions));
    let shown = |metrics: &[Option<Figure>]| {
        let comparable = |figure: Figure| if own.divided_by_zero { Figure { average: None, ..figure } } else { figure };
        format!("{:?}", metrics.iter().map(|figure| figure.map(comparable)).collect::<Vec<_>>())
    };
    check("currentMetrics", shown(&own.status.metrics), shown(&status.metrics));
    fields
}

/// Makes a timeline that differs smaller, as long as it still differs: later syncs go, then events by ever smaller groups.
///
/// # Errors
/// As [`kubernetes`] and [`compare`].
pub fn shrink(program: &Path, timeline: &Timeline, controller: Controller) -> anyhow::Result<(Timeline, Difference)> {
    let differs = |timelines: &[Timeline]| -> anyhow::Result<Vec<Option<Difference>>> {
        let rows = kubernetes(program, timelines)?;
        let one = |(timeline, rows): (&Timeline, &Rows)| {
            let report = compare(std::slice::from_ref(timeline), std::slice::from_ref(rows), controller)?;
            Ok(report.differences.into_iter().next())
        };
        timelines.iter().zip(&rows).map(one).collect()
    };
    let first = differs(std::slice::from_ref(timeline))?.pop().flatten();
    let mut found = first.with_context(|| format!("timeline {} does not differ", timeline.id))?;
    let mut least = Timeline { syncs: found.sync + 1, ..timeline.clone() };
    least.events.retain(|event| event.at * 1_000_000 < found.at);
    let mut group = least.events.len().div_ceil(2).max(1);
    loop {
        let count = least.events.len().div_ceil(group);
        let without = |part: usize| {
            let part = part * group..(part + 1) * group;
            // What is there from the start is kept: a world without a spec is no world.
            let kept = least.events.iter().enumerate().filter(|(at, event)| event.at == 0 || !part.contains(at));
            Timeline { events: kept.map(|(_, event)| event.clone()).collect(), ..least.clone() }
        };
        let candidates: Vec<_> =
            (0..count).map(without).filter(|candidate| candidate.events.len() < least.events.len()).collect();
        let outcomes = if candidates.is_empty() { Vec::new() } else { differs(&candidates)? };
        let smaller = candidates.into_iter().zip(outcomes).find_map(|(candidate, found)| Some((candidate, found?)));
        match smaller {
            Some((candidate, difference)) => (least, found) = (candidate, difference),
            None if group == 1 => return Ok((least, found)),
            None => group = (group / 2).max(1),
        }
    }
}
