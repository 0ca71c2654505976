//! Turns what the simulated API server commits into lines for a person: who scaled what, and why. The reasons are those of
//! the Events that the operator and the HPA controller write.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use windlass_kubesim::api::{Change, ChangeKind};
use windlass_kubesim::load::Loads;

use super::lives::LIVES;

/// Moves of the HPA are told together, at most once in this time for each workload.
const CONDENSED: Duration = Duration::from_secs(1200);

/// What is known of one workload.
#[derive(Debug, Clone, Default)]
pub(super) struct Workload {
    pub(super) replicas: u32,
    pub(super) ready: u32,
    /// The newest reason.
    pub(super) why: String,
    /// Whether its source can be read.
    pub(super) failing: bool,
    most: u32,
    by_windlass: u32,
    by_hpa: u32,
    /// Replicas times seconds so far, and until when they are counted.
    pod_seconds: f64,
    counted: Duration,
    /// Replicas at the start of a mishap, and the fewest since.
    in_mishap: Option<(u32, u32)>,
    steps: Option<Steps>,
    /// The replicas after the newest event.
    told: u32,
}

/// Moves of the HPA that are not told yet.
#[derive(Debug, Clone)]
struct Steps {
    from: u32,
    count: u32,
    since: Duration,
    why: String,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) workloads: BTreeMap<String, Workload>,
    lines: Vec<String>,
}

impl Story {
    pub(super) fn new() -> Self {
        let workloads = LIVES.iter().map(|life| (life.name.to_owned(), Workload::default())).collect();
        Self { workloads, lines: Vec::new() }
    }

    /// Takes a change in.
    pub(super) fn see(&mut self, change: &Change, now: Duration) {
        if change.kind == ChangeKind::Deleted {
            return;
        }
        match change.resource.kind.as_str() {
            "Deployment" => self.see_deployment(&change.object, now),
            "Event" => self.see_event(&change.object, now),
            _ => {}
        }
    }

    fn see_deployment(&mut self, object: &Value, now: Duration) {
        let Some(workload) = self.workloads.get_mut(text(&object["metadata"]["name"])) else { return };
        let count = |value: &Value| value.as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
        workload.count(now);
        workload.replicas = count(&object["spec"]["replicas"]);
        workload.ready = count(&object["status"]["readyReplicas"]);
        workload.most = workload.most.max(workload.replicas);
        if workload.failing
            && let Some((_, fewest)) = &mut workload.in_mishap
        {
            *fewest = (*fewest).min(workload.replicas);
        }
    }

    fn see_event(&mut self, event: &Value, now: Duration) {
        let (reason, message) = (text(&event["reason"]), text(&event["message"]));
        let named = text(&event["involvedObject"]["name"]);
        let name = named.strip_prefix("windlass-hpa-").unwrap_or(named);
        let Some(workload) = self.workloads.get_mut(name) else { return };
        match reason {
            "KEDAScaleTargetActivated" | "KEDAScaleTargetDeactivated" => {
                let told = message.split_once(" from ").map_or(message, |(_, told)| told);
                let (step, why) = told.split_once(": ").unwrap_or((told, ""));
                why.clone_into(&mut workload.why);
                workload.by_windlass += 1;
                let before = workload.flush(name, now);
                workload.told = step.rsplit(' ').next().and_then(|to| to.parse().ok()).unwrap_or(0);
                self.lines.extend(before);
                self.lines.push(line(now, name, &step.replace(" to ", " -> "), "Windlass", why));
            }
            "SuccessfulRescale" => {
                workload.by_hpa += 1;
                let why = message.split_once("reason: ").map_or(message, |(_, why)| why);
                format!("HPA: {why}").clone_into(&mut workload.why);
                let from = workload.told;
                let steps = workload.steps.get_or_insert(Steps { from, count: 0, since: now, why: String::new() });
                steps.count += 1;
                why.clone_into(&mut steps.why);
                let size = message.strip_prefix("New size: ").and_then(|rest| rest.split(';').next());
                workload.told = size.and_then(|size| size.parse().ok()).unwrap_or(from);
            }
            "KEDAScalerFailed" => {
                workload.failing = true;
                message.clone_into(&mut workload.why);
                workload.in_mishap = Some((workload.replicas, workload.replicas));
                self.lines.push(line(now, name, "source fails", "Windlass", message));
            }
            "ScaledObjectReady" if workload.failing => {
                workload.failing = false;
                "its source is read again".clone_into(&mut workload.why);
                let kept = workload
                    .in_mishap
                    .map(|(before, fewest)| format!("{before} replicas before, never fewer than {fewest}"));
                self.lines.push(line(now, name, "source is back", "Windlass", &kept.unwrap_or_default()));
            }
            _ => {}
        }
    }

    /// The lines that are to be told by now.
    pub(super) fn tell(&mut self, now: Duration) -> Vec<String> {
        for (name, workload) in &mut self.workloads {
            if workload.steps.as_ref().is_some_and(|steps| now >= steps.since + CONDENSED) {
                self.lines.extend(workload.flush(name, now));
            }
        }
        std::mem::take(&mut self.lines)
    }

    /// What became of the day.
    pub(super) fn summary(&mut self, loads: &Loads, now: Duration) -> Vec<String> {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header([
            "WORKLOAD",
            "ARRIVED",
            "SERVED",
            "WAITING",
            "MOST",
            "BY WINDLASS",
            "BY HPA",
            "POD-HOURS",
            "AT MAX ALL DAY",
            "MISHAP",
        ]);
        for life in &LIVES {
            let Some(workload) = self.workloads.get_mut(life.name) else { continue };
            workload.count(now);
            let figures = loads.figures(&life.queue());
            let number = |figure: Option<u64>| figure.unwrap_or(0).to_string();
            table.add_row([
                life.name.to_owned(),
                number(figures.as_ref().map(|figures| figures.arrived)),
                number(figures.as_ref().map(|figures| figures.served)),
                number(figures.as_ref().map(|figures| figures.ready + figures.unacked)),
                workload.most.to_string(),
                workload.by_windlass.to_string(),
                workload.by_hpa.to_string(),
                format!("{:.1}", workload.pod_seconds / 3600.0),
                format!("{:.1}", f64::from(life.max) * now.as_secs_f64() / 3600.0),
                workload
                    .in_mishap
                    .map_or_else(String::new, |(before, fewest)| format!("{before} replicas, then {fewest} or more")),
            ]);
        }
        let rest = self.workloads.iter_mut().flat_map(|(name, workload)| workload.flush(name, now));
        let mut lines: Vec<_> = rest.collect();
        lines.push(String::new());
        lines.extend(table.to_string().lines().map(|line| line.trim_end().to_owned()));
        lines
    }
}

impl Workload {
    fn count(&mut self, now: Duration) {
        self.pod_seconds += f64::from(self.replicas) * now.saturating_sub(self.counted).as_secs_f64();
        self.counted = now;
    }

    /// Tells the HPA's moves that are not told yet.
    fn flush(&mut self, name: &str, now: Duration) -> Option<String> {
        // Moves that came to nothing are no news.
        let steps = self.steps.take().filter(|steps| steps.from != self.told)?;
        let in_steps = if steps.count == 1 { String::new() } else { format!(" in {} steps", steps.count) };
        Some(line(now, name, &format!("{} -> {}{in_steps}", steps.from, self.told), "HPA", &steps.why))
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The time of day, from the day's beginning.
pub(super) fn clock(now: Duration) -> String {
    let seconds = now.as_secs();
    let day = seconds / 86_400;
    let time = format!("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    if day == 0 { time } else { format!("day {} {time}", day + 1) }
}

fn line(now: Duration, name: &str, what: &str, who: &str, why: &str) -> String {
    let line = format!("{}  {name:<11} {what:<20} {who}: {why}", clock(now));
    line.trim_end_matches([' ', ':']).to_owned()
}
