//! The product's autoscaling algorithm (`windlass_decision::hpa`) held against Kubernetes' own: random timelines, lived by
//! both, must come out equal at every sync. The other side is the controller of kube-controller-manager, run in virtual
//! time by `tests/cluster/hpa`; nothing here imitates it.
//!
//! ```text
//!  generate ──timelines──▶ Kubernetes (Go) ──rows──▶ compare ──▶ Report
//!      │                                               ▲
//!      └────────timelines──▶ replay (this side) ───────┘
//! ```

mod compare;
pub mod format;
mod generate;
mod metrics;
mod pods;
pub mod replay;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
pub use compare::{Difference, Report, compare, kubernetes, shrink};
pub use format::{Rows, Timeline};
pub use generate::generate;
use windlass_decision::hpa::Controller;

/// What holding the algorithm against Kubernetes came to. Good when both sides are equal, the timelines show every rule,
/// and each wrong setting is noticed.
#[derive(Debug)]
pub struct Verdict {
    /// The comparison under the product's defaults.
    pub report: Report,
    /// The first timeline that differs, made small, and how it differs.
    pub smallest: Option<(Timeline, Difference)>,
    /// Wrong settings that would have passed.
    pub unnoticed: Vec<&'static str>,
    /// Conditions and reasons that no timeline has led to.
    pub unseen: Vec<&'static str>,
}

impl Verdict {
    /// Whether the algorithm is Kubernetes' own, as far as these timelines can tell.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.report.differences.is_empty() && self.unnoticed.is_empty() && self.unseen.is_empty()
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.report)?;
        if let Some((timeline, difference)) = &self.smallest {
            let text = serde_json::to_string(timeline).unwrap_or_default();
            writeln!(f, "made small: {difference}\n  {text}")?;
        }
        self.unnoticed.iter().try_for_each(|setting| writeln!(f, "a wrong setting goes unnoticed: {setting}"))?;
        self.unseen.iter().try_for_each(|reason| writeln!(f, "no timeline leads to: {reason}"))
    }
}

/// Generates `count` timelines from `seed`, lives them with Kubernetes' controller (`program`, the compiled Go test of
/// `tests/cluster/hpa`) and with the product's algorithm, and judges. About 2,000 timelines show everything.
///
/// # Errors
/// When the program fails. Differences are no error: they are in the verdict.
pub fn hold_against_kubernetes(program: &Path, seed: u64, count: usize) -> anyhow::Result<Verdict> {
    let timelines = generate(seed, count);
    let rows = kubernetes(program, &timelines)?;
    let report = compare(&timelines, &rows, Controller::default())?;
    let smallest = match report.differences.first() {
        None => None,
        Some(first) => {
            let timeline = timelines.iter().find(|timeline| timeline.id == first.timeline);
            Some(shrink(program, timeline.context("the timeline that differs")?, Controller::default())?)
        }
    };
    let mut unnoticed = Vec::new();
    for (setting, wrong) in wrong_settings() {
        if !notices(&timelines, &rows, wrong)? {
            unnoticed.push(setting);
        }
    }
    let unseen = EVERYTHING.iter().copied().filter(|reason| !report.seen.contains_key(*reason)).collect();
    Ok(Verdict { report, smallest, unnoticed, unseen })
}

/// Settings that Kubernetes does not have, each by as little as a person could get it wrong. A comparison that does not
/// notice one proves nothing about the rule behind it.
#[must_use]
pub fn wrong_settings() -> Vec<(&'static str, Controller)> {
    let right = Controller::default();
    let seconds = Duration::from_secs;
    vec![
        ("a tolerance of 0.11", Controller { tolerance: 0.11, ..right }),
        ("a tolerance of 0.09", Controller { tolerance: 0.09, ..right }),
        ("a downscale window of 284 s", Controller { downscale_stabilisation: seconds(284), ..right }),
        ("a downscale window of 301 s", Controller { downscale_stabilisation: seconds(301), ..right }),
        ("a CPU initialisation of 299 s", Controller { cpu_initialisation: seconds(299), ..right }),
        ("a CPU initialisation of 301 s", Controller { cpu_initialisation: seconds(301), ..right }),
        ("an initial readiness of 29 s", Controller { initial_readiness: seconds(29), ..right }),
        ("an initial readiness of 31 s", Controller { initial_readiness: seconds(31), ..right }),
    ]
}

/// Whether a comparison under `wrong` settings finds any difference; looks no further than to the first.
///
/// # Errors
/// As [`compare`].
pub fn notices(timelines: &[Timeline], rows: &[Rows], wrong: Controller) -> anyhow::Result<bool> {
    const AT_ONCE: usize = 50;
    for (timelines, rows) in timelines.chunks(AT_ONCE).zip(rows.chunks(AT_ONCE)) {
        if !compare(timelines, rows, wrong)?.differences.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the conditions of an autoscaler can say, but for a second autoscaler on the same pods.
const EVERYTHING: &[&str] = &[
    "AbleToScale False FailedGetScale",
    "AbleToScale False FailedUpdateScale",
    "AbleToScale True ReadyForNewScale",
    "AbleToScale True ScaleDownStabilized",
    "AbleToScale True ScaleUpStabilized",
    "AbleToScale True SucceededGetScale",
    "AbleToScale True SucceededRescale",
    "ScalingActive False FailedGetContainerResourceMetric",
    "ScalingActive False FailedGetExternalMetric",
    "ScalingActive False FailedGetObjectMetric",
    "ScalingActive False FailedGetPodsMetric",
    "ScalingActive False FailedGetResourceMetric",
    "ScalingActive False InvalidSelector",
    "ScalingActive False ScalingDisabled",
    "ScalingActive True ValidMetricFound",
    "ScalingLimited False DesiredWithinRange",
    "ScalingLimited True ScaleDownLimit",
    "ScalingLimited True ScaleUpLimit",
    "ScalingLimited True TooFewReplicas",
    "ScalingLimited True TooManyReplicas",
];
