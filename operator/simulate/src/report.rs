//! Everything one comparison comes to, in the shape that JSON output and charts have. It computes ratios of what was
//! replayed; never replays.

use serde::Serialize;

use crate::{Holes, Model, Outcome, Series, Sweep, Workload};

/// A comparison of policies under one load.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The load.
    pub series: SeriesFacts,
    /// The workload.
    pub workload: WorkloadFacts,
    /// What is left out or taken for something else, for the reader.
    pub notes: Vec<String>,
    /// The policies, in the order in which they were given, then the baselines.
    pub policies: Vec<Compared>,
    /// What a sweep found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
    /// The chart.
    #[serde(skip)]
    pub chart: Chart,
}

/// The load in figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SeriesFacts {
    /// Its name.
    pub name: String,
    /// The time of the first row, RFC 3339.
    pub start: String,
    /// How long it is, in seconds.
    pub seconds: f64,
    /// The usual distance of two rows, in seconds.
    pub step_seconds: f64,
    /// How many points it has, filled holes included.
    pub points: usize,
    /// What was missing.
    pub holes: Holes,
    /// The mean of the arrivals per second.
    pub rate_mean: f64,
    /// The most arrivals per second.
    pub rate_max: f64,
}

/// The workload in figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadFacts {
    /// `queue` or `request`.
    pub model: &'static str,
    /// What one replica serves per second.
    pub service_rate: f64,
    /// Seconds until a replica is ready.
    pub startup_seconds: f64,
    /// The longest acceptable wait, in seconds.
    pub slo_seconds: f64,
    /// How long a request waits before it is lost, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
}

/// One policy among others.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    /// What it came to.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How much better it provisions than `plain-hpa`: the geometric mean of the ratios of the four SPEC RG metrics of
    /// accuracy and time share, each at least 0.01 (elastic speed-up; Herbst et al., see `tally`). Above 1 is better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elastic_speedup: Option<f64>,
}

/// The load over time, in the same stretches as [`Outcome::buckets`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chart {
    /// The length of one stretch, in milliseconds.
    pub width: u64,
    /// The mean of the arrivals per second of each.
    pub load: Vec<f64>,
    /// The mean of the replicas needed of each.
    pub needed: Vec<f64>,
    /// Milliseconds since 1970 at the start.
    pub start: i64,
    /// How long all is, in milliseconds.
    pub end: u64,
}

/// The name of the policy that others are held against.
const REFERENCE: &str = "plain-hpa";

impl Report {
    /// Puts together what was replayed with `buckets` stretches.
    #[must_use]
    pub fn new(name: &str, series: &Series, workload: &Workload, outcomes: Vec<Outcome>, buckets: u64) -> Self {
        let seconds = series.end() as f64 / 1000.0;
        let spans = spans(series);
        let weighed: f64 = spans.iter().map(|(from, to, rate)| (to - from) as f64 / 1000.0 * rate).sum();
        let reference = outcomes.iter().find(|outcome| outcome.policy == REFERENCE).cloned();
        let speedup = |outcome: &Outcome| Some(elastic_speedup(outcome, reference.as_ref()?));
        let policies =
            outcomes.into_iter().map(|outcome| Compared { elastic_speedup: speedup(&outcome), outcome }).collect();
        let (model, timeout_seconds) = match workload.model {
            Model::Queue => ("queue", None),
            Model::Request { timeout } => ("request", Some(timeout.as_secs_f64())),
        };
        Self {
            series: SeriesFacts {
                name: name.to_owned(),
                start: series.start().to_string(),
                seconds,
                step_seconds: series.step() as f64 / 1000.0,
                points: series.points().len(),
                holes: series.holes(),
                rate_mean: weighed / seconds,
                rate_max: series.points().iter().map(|point| point.rate).fold(0.0, f64::max),
            },
            workload: WorkloadFacts {
                model,
                service_rate: workload.service_rate,
                startup_seconds: workload.startup.as_secs_f64(),
                slo_seconds: workload.slo.as_secs_f64(),
                timeout_seconds,
            },
            notes: Vec::new(),
            policies,
            sweep: None,
            chart: chart(series, workload, buckets),
        }
    }
}

/// From when to when which rate holds.
fn spans(series: &Series) -> Vec<(u64, u64, f64)> {
    let points = series.points();
    let ends = points.iter().skip(1).map(|point| point.at).chain([series.end()]);
    points.iter().zip(ends).map(|(point, end)| (point.at, end, point.rate)).collect()
}

fn chart(series: &Series, workload: &Workload, buckets: u64) -> Chart {
    let end = series.end();
    let width = crate::tally::width(end, buckets);
    let count = usize::try_from(end.div_ceil(width)).unwrap_or(1);
    let (mut load, mut needed) = (vec![0.0; count], vec![0.0; count]);
    for (from, to, rate) in spans(series) {
        let mut at = from;
        while at < to {
            let index = at / width;
            let until = ((index + 1) * width).min(to);
            // The last stretch may be shorter.
            let share = (until - at) as f64 / (end.min((index + 1) * width) - index * width) as f64;
            if let Some(place) = usize::try_from(index).ok().filter(|index| *index < count) {
                load[place] += rate * share;
                needed[place] += f64::from(workload.needed(rate)) * share;
            }
            at = until;
        }
    }
    Chart { width, load, needed, start: series.start().as_millisecond(), end }
}

fn elastic_speedup(outcome: &Outcome, reference: &Outcome) -> f64 {
    let four = |outcome: &Outcome| {
        let spec = outcome.elasticity;
        [spec.accuracy_under, spec.accuracy_over, spec.time_share_under, spec.time_share_over]
    };
    let ratios = four(reference).into_iter().zip(four(outcome)).map(|(theirs, ours)| theirs.max(0.01) / ours.max(0.01));
    ratios.product::<f64>().powf(0.25)
}
