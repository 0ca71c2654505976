//! What one metric asks for: replicas from a figure, a target and the pods. Never looks at bounds, windows or policies.

use jiff::Timestamp;

use super::pods::{Tally, tally};
use super::{
    Controller, Current, Metric, MetricError, Observed, PodValue, Pods, Proposal, Reading, Request, Source, Spec,
    Target,
};

/// How far usage / target may be from 1 in each direction before anything moves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tolerances {
    down: f64,
    up: f64,
}

impl Tolerances {
    pub(super) fn of(spec: &Spec, controller: &Controller) -> Self {
        let own = spec.behaviour.as_ref();
        Self {
            down: own.and_then(|own| own.scale_down.tolerance).unwrap_or(controller.tolerance),
            up: own.and_then(|own| own.scale_up.tolerance).unwrap_or(controller.tolerance),
        }
    }

    fn cover(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// What the metrics of one sync have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) controller: &'a Controller,
    pub(super) observed: &'a Observed<'a>,
    pub(super) tolerances: Tolerances,
    pub(super) now: Timestamp,
}

/// The replicas that `metric` asks for after its API gave `reading`.
pub(super) fn propose(
    context: &Context<'_>,
    metric: &Metric,
    reading: Option<&Result<Reading<'_>, &str>>,
) -> Result<Proposal, MetricError> {
    let reading = match reading {
        Some(Ok(reading)) => *reading,
        Some(Err(why)) => return Err(MetricError::NoAnswer((*why).to_owned())),
        None => return Err(MetricError::NoValues),
    };
    match (&metric.source, metric.target, reading) {
        (Source::External { .. }, Target::AverageValue(target), Reading::External(values)) => {
            Ok(average(context, sum_for_average(values)?, target))
        }
        (Source::External { .. }, Target::Value(target), Reading::External(values)) => {
            whole(context, sum_for_value(values)?, target)
        }
        (Source::Object { .. }, Target::AverageValue(target), Reading::Object(value)) => {
            Ok(average(context, value, target))
        }
        (Source::Object { .. }, Target::Value(target), Reading::Object(value)) => whole(context, value, target),
        (Source::Pods { .. }, Target::AverageValue(target), Reading::PerPod(values)) => {
            usage(context, values, target, false)
        }
        (
            Source::Resource { resource } | Source::ContainerResource { resource, .. },
            Target::AverageValue(target),
            Reading::PerPod(values),
        ) => usage(context, values, target, resource == CPU),
        (Source::Resource { resource }, Target::Utilization(target), Reading::PerPod(values)) => {
            utilization(context, values, target, resource, None)
        }
        (Source::ContainerResource { resource, container }, Target::Utilization(target), Reading::PerPod(values)) => {
            utilization(context, values, target, resource, Some(container))
        }
        (Source::External { .. } | Source::Object { .. }, Target::Utilization(_), _)
        | (Source::Pods { .. }, Target::Utilization(_) | Target::Value(_), _)
        | (Source::Resource { .. } | Source::ContainerResource { .. }, Target::Value(_), _) => {
            Err(MetricError::WrongTarget)
        }
        (Source::External { .. } | Source::Object { .. }, Target::Value(_) | Target::AverageValue(_), _)
        | (Source::Pods { .. }, Target::AverageValue(_), _)
        | (
            Source::Resource { .. } | Source::ContainerResource { .. },
            Target::AverageValue(_) | Target::Utilization(_),
            _,
        ) => Err(MetricError::WrongReading),
    }
}

/// The only resource whose readings are distrusted while a pod starts.
const CPU: &str = "cpu";

/// A sum below 0 counts as an overflow, as in Kubernetes: also if it is one honest negative value.
fn sum_for_average(values: &[i64]) -> Result<i64, MetricError> {
    if values.is_empty() {
        return Err(MetricError::NoValues);
    }
    let sum = values.iter().try_fold(0_i64, |sum, value| sum.checked_add(*value).filter(|sum| *sum >= 0));
    Ok(sum.unwrap_or(i64::MAX))
}

fn sum_for_value(values: &[i64]) -> Result<i64, MetricError> {
    if values.is_empty() {
        return Err(MetricError::NoValues);
    }
    let mut sum = 0_i64;
    for value in values {
        if *value > 0 && sum > i64::MAX - *value {
            return Ok(i64::MAX);
        }
        sum = sum.saturating_add(*value);
    }
    Ok(sum)
}

/// A figure to be shared by the pods. Counts `status.replicas`, ready or not, because that is what shares it.
fn average(context: &Context<'_>, figure: i64, target: i64) -> Proposal {
    let pods = context.observed.status_replicas;
    let ratio = figure as f64 / (target as f64 * f64::from(pods));
    let replicas = if context.tolerances.cover(ratio) { pods } else { (figure as f64 / target as f64).ceil() as i32 };
    let each = if figure == i64::MAX { figure } else { (figure as f64 / f64::from(pods)).ceil() as i64 };
    Proposal { replicas, current: Current { average_value: Some(each), ..Current::default() } }
}

/// A figure as a whole: the pods that produced it are the ready ones.
fn whole(context: &Context<'_>, figure: i64, target: i64) -> Result<Proposal, MetricError> {
    let ratio = figure as f64 / target as f64;
    let replicas = if context.tolerances.cover(ratio) {
        context.observed.spec_replicas
    } else {
        (ratio * f64::from(ready(context.observed.pods)?)).ceil() as i32
    };
    Ok(Proposal { replicas, current: Current { value: Some(figure), ..Current::default() } })
}

fn ready(pods: Pods<'_>) -> Result<u32, MetricError> {
    let (all, ready) = match pods {
        Pods::Counted { all, ready } => (all, ready),
        Pods::Listed(pods) => {
            (clamp_count(pods.len()), clamp_count(pods.iter().filter(|pod| pod.runs_and_is_ready()).count()))
        }
    };
    if all == 0 { Err(MetricError::NoPods) } else { Ok(ready) }
}

fn clamp_count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A figure of every pod, held against an absolute target.
fn usage(
    context: &Context<'_>,
    values: &[PodValue<'_>],
    target: i64,
    distrust_starting: bool,
) -> Result<Proposal, MetricError> {
    let tally = tally(context, values, distrust_starting, |_| Ok(0))?;
    let count = tally.values();
    let total = tally.ready_sum + tally.strangers_sum;
    let usage = clamp(total / count);
    let ratio = usage as f64 / target as f64;
    let replicas = correct(context, &tally, ratio, |adds| {
        let missing = i128::from(tally.missing);
        let more = if adds.missing_at_full { missing * i128::from(target) } else { 0 };
        Ok(clamp((total + more) / adds.values) as f64 / target as f64)
    })?;
    Ok(Proposal { replicas, current: Current { average_value: Some(usage), ..Current::default() } })
}

/// A figure of every pod, held against what the pods request.
fn utilization(
    context: &Context<'_>,
    values: &[PodValue<'_>],
    target: i32,
    resource: &str,
    container: Option<&str>,
) -> Result<Proposal, MetricError> {
    let asked = |request: &Request<'_>| request.resource == resource && request.container == container;
    let tally = tally(context, values, resource == CPU, |pod| {
        let request = pod.requests.iter().find(|request| asked(request)).map(|request| request.milli);
        request.ok_or_else(|| MetricError::MissingRequest { pod: pod.name.to_owned(), resource: resource.to_owned() })
    })?;
    let percent = percent(tally.ready_sum, tally.ready_requests)?;
    let each = clamp(tally.ready_sum / i128::from(tally.ready));
    let replicas = correct(context, &tally, f64::from(percent) / f64::from(target), |adds| {
        let used = if adds.missing_at_full { tally.missing_at(i128::from(target.max(100))) } else { 0 };
        let missing = if adds.missing { tally.missing_requests() } else { 0 };
        let unready = if adds.unready { tally.unready_requests } else { 0 };
        let percent = self::percent(tally.ready_sum + used, tally.ready_requests + missing + unready)?;
        Ok(f64::from(percent) / f64::from(target))
    })?;
    let current = Current { average_value: Some(each), average_utilization: Some(percent), ..Current::default() };
    Ok(Proposal { replicas, current })
}

fn percent(used: i128, requested: i128) -> Result<i32, MetricError> {
    let percent = (used * 100).checked_div(requested).ok_or(MetricError::NothingRequested)?;
    Ok(i32::try_from(percent).unwrap_or(if percent < 0 { i32::MIN } else { i32::MAX }))
}

/// Which pods without a figure are counted in the second look.
#[derive(Debug, Clone, Copy)]
struct Adds {
    /// Pods without a figure take part.
    missing: bool,
    /// They take part as if they used all they may, else as if they used nothing.
    missing_at_full: bool,
    /// Pods that are not ready take part as if they used nothing.
    unready: bool,
    /// How many figures there are then.
    values: i128,
}

/// Replicas from `ratio`, the usage of the ready pods over the target. Pods that are not ready or have no figure are
/// assumed to pull against the move: `again` gives the ratio with them, and it may make a move smaller or stop it, never
/// turn it.
fn correct(
    context: &Context<'_>,
    tally: &Tally,
    ratio: f64,
    again: impl Fn(&Adds) -> Result<f64, MetricError>,
) -> Result<i32, MetricError> {
    let replicas = context.observed.spec_replicas;
    let unready = tally.unready > 0 && ratio > 1.0;
    if !unready && tally.missing == 0 {
        let moved = (ratio * f64::from(tally.ready)).ceil() as i32;
        return Ok(if context.tolerances.cover(ratio) { replicas } else { moved });
    }
    let missing = ratio != 1.0;
    let values = tally.values()
        + i128::from(if missing { tally.missing } else { 0 })
        + i128::from(if unready { tally.unready } else { 0 });
    let ratio_again = again(&Adds { missing, missing_at_full: ratio < 1.0, unready, values })?;
    let turned = (ratio < 1.0 && ratio_again > 1.0) || (ratio > 1.0 && ratio_again < 1.0);
    if context.tolerances.cover(ratio_again) || turned {
        return Ok(replicas);
    }
    let moved = (ratio_again * values as f64).ceil() as i32;
    let against = (ratio_again < 1.0 && moved > replicas) || (ratio_again > 1.0 && moved < replicas);
    Ok(if against { replicas } else { moved })
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}
