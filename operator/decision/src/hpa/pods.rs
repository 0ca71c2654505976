//! Sorts the pods of a target into those whose figure counts and those whose figure is missing or not to be trusted.
//! Never calculates replicas.

use jiff::Timestamp;

use super::replicas::Context;
use super::{Controller, MetricError, Phase, Pod, PodValue, Pods};

/// The pods of a target by what their figures are worth, and what the figures add up to (thousandths).
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Pods whose figure counts.
    pub(super) ready: u32,
    pub(super) ready_sum: i128,
    pub(super) ready_requests: i128,
    /// Pods whose figure does not count because they are starting or not ready.
    pub(super) unready: u32,
    pub(super) unready_requests: i128,
    /// Pods without a figure.
    pub(super) missing: u32,
    missing_requests: Vec<i64>,
    /// Figures of pods that are not in the list: the metrics API may be behind, or ahead.
    strangers: u32,
    pub(super) strangers_sum: i128,
}

impl Tally {
    /// How many figures count.
    pub(super) fn values(&self) -> i128 {
        i128::from(self.ready) + i128::from(self.strangers)
    }

    /// What the pods without a figure request.
    pub(super) fn missing_requests(&self) -> i128 {
        self.missing_requests.iter().copied().map(i128::from).sum()
    }

    /// What the pods without a figure use if each uses `percent` of its request, each cut to a whole thousandth.
    pub(super) fn missing_at(&self, percent: i128) -> i128 {
        self.missing_requests.iter().map(|request| i128::from(*request) * percent / 100).sum()
    }
}

enum Class {
    Ignored,
    Unready,
    Missing,
    Ready(i64),
}

/// Sorts the pods; at least one figure counts in what is returned. `request` says what a pod requests, and is asked about
/// every pod, also about those that end.
pub(super) fn tally(
    context: &Context<'_>,
    values: &[PodValue<'_>],
    distrust_starting: bool,
    request: impl Fn(&Pod<'_>) -> Result<i64, MetricError>,
) -> Result<Tally, MetricError> {
    if values.is_empty() {
        return Err(MetricError::NoValues);
    }
    let pods = match context.observed.pods {
        Pods::Listed([]) | Pods::Counted { all: 0, .. } => return Err(MetricError::NoPods),
        Pods::Counted { .. } => return Err(MetricError::PodsOnlyCounted),
        Pods::Listed(pods) => pods,
    };
    let values = by_name(values);
    let mut tally = Tally::default();
    let (mut known, mut known_sum) = (0_usize, 0_i128);
    let mut unrequested = None;
    for pod in pods {
        let value = values.binary_search_by(|value| value.pod.cmp(pod.name)).ok().map(|found| values[found]);
        if let Some(value) = value {
            known += 1;
            known_sum += i128::from(value.milli);
        }
        let requested = request(pod).unwrap_or_else(|error| {
            unrequested.get_or_insert(error);
            0
        });
        match classify(pod, value, distrust_starting, context.controller, context.now) {
            Class::Ignored => {}
            Class::Unready => {
                tally.unready += 1;
                tally.unready_requests += i128::from(requested);
            }
            Class::Missing => {
                tally.missing += 1;
                tally.missing_requests.push(requested);
            }
            Class::Ready(milli) => {
                tally.ready += 1;
                tally.ready_sum += i128::from(milli);
                tally.ready_requests += i128::from(requested);
            }
        }
    }
    tally.strangers = u32::try_from(values.len().saturating_sub(known)).unwrap_or(u32::MAX);
    tally.strangers_sum = values.iter().map(|value| i128::from(value.milli)).sum::<i128>() - known_sum;
    // In this order, because the first is the better explanation.
    if tally.values() == 0 {
        return Err(MetricError::NoUsablePods);
    }
    unrequested.map_or(Ok(tally), Err)
}

/// The values sorted by pod; of two values of one pod, the later one.
fn by_name<'v, 'a>(values: &'v [PodValue<'a>]) -> Vec<&'v PodValue<'a>> {
    let mut sorted: Vec<_> = values.iter().rev().collect();
    sorted.sort_by_key(|value| value.pod);
    sorted.dedup_by_key(|value| value.pod);
    sorted
}

fn classify(
    pod: &Pod<'_>,
    value: Option<&PodValue<'_>>,
    distrust_starting: bool,
    controller: &Controller,
    now: Timestamp,
) -> Class {
    if pod.deleting || pod.phase == Phase::Failed {
        return Class::Ignored;
    }
    if pod.phase == Phase::Pending {
        return Class::Unready;
    }
    match value {
        None => Class::Missing,
        Some(value) if distrust_starting && is_starting(pod, value, controller, now) => Class::Unready,
        Some(value) => Class::Ready(value.milli),
    }
}

/// Whether a CPU figure is the work of starting rather than of load.
fn is_starting(pod: &Pod<'_>, value: &PodValue<'_>, controller: &Controller, now: Timestamp) -> bool {
    let (Some(ready), Some(started)) = (pod.ready, pod.started) else { return true };
    let unready = ready.status == Some(false);
    if later(started, controller.cpu_initialisation) > now {
        // The window of the figure must lie after the last change, or it still holds some of the start.
        unready || value.at < later(ready.since, value.window)
    } else {
        // Unready since its start: it has never been ready. Unready later: it is overloaded, and its figure counts.
        unready && later(started, controller.initial_readiness) > ready.since
    }
}

fn later(at: Timestamp, span: std::time::Duration) -> Timestamp {
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}
