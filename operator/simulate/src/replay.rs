//! One replay: a series through one policy, event after event in virtual time. No runtime, no clock, no randomness: the
//! same arguments give the same answer.

use serde::Serialize;

use crate::Series;
use crate::autoscaler::Autoscaler;
use crate::load::Load;
use crate::operated::Operated;
use crate::oracle::Oracle;
use crate::pods::Pods;
use crate::policy::{Figure, Kind, Policy};
use crate::tally::{Bucket, Buckets, Elasticity, Moment, Tally};
use crate::workload::{Model, Workload};

/// How a replay is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// When the HPA controller syncs for the first time, in milliseconds after the start; every 15 s from then on. The
    /// default of 7 s lies between the steps of the usual series.
    pub hpa_phase: u64,
    /// How many stretches the chart has.
    pub buckets: u64,
    /// Takes every reading of a ScaledObject instead of those that can change something: slow, the same replicas, and a
    /// check of that very claim.
    pub every_reading: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { hpa_phase: 7_000, buckets: 480, every_reading: false }
    }
}

/// What one policy came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The policy.
    pub policy: String,
    /// Seconds in which the oldest that waited was older than the objective, or requests were lost.
    pub violation_seconds: f64,
    /// The same as a share of all time, in percent.
    pub violation_percent: f64,
    /// What arrived.
    pub arrived: f64,
    /// What was served.
    pub served: f64,
    /// What waited for longer than the objective.
    pub late: f64,
    /// What was lost.
    pub lost: f64,
    /// What was waiting or being served at the end.
    pub backlog_end: f64,
    /// The largest backlog.
    pub backlog_max: f64,
    /// The mean backlog over time.
    pub backlog_mean: f64,
    /// The longest wait that was seen, in seconds.
    pub wait_max_seconds: f64,
    /// Replicas times hours, start-up included.
    pub pod_hours: f64,
    /// The most replicas at one time.
    pub replicas_max: u32,
    /// How often replicas were added.
    pub scale_out: u64,
    /// How often replicas were taken away.
    pub scale_in: u64,
    /// Wrong provisioning by the SPEC RG.
    pub elasticity: Elasticity,
    /// What a chart shows.
    #[serde(skip)]
    pub buckets: Vec<Bucket>,
}

enum Scaler<'a> {
    Operated(Box<Operated<'a>>),
    PlainHpa { hpa: Autoscaler<'a>, backlog: bool },
    Static,
    Oracle(Oracle),
}

/// Replays `series` through `policy`. It starts settled: with the replicas that the first value needs, all ready, and
/// nothing waiting.
#[must_use]
pub fn replay(series: &Series, workload: &Workload, policy: &Policy, settings: &Settings) -> Outcome {
    let (scaler, replicas) = start(series, workload, policy, settings);
    let startup = u64::try_from(workload.startup.as_millis()).unwrap_or(u64::MAX / 2);
    let run = Run {
        series,
        workload,
        scaler,
        pods: Pods::new(replicas, startup),
        load: Load::new(*workload, replicas),
        tally: Tally::default(),
        buckets: Buckets::new(series.end(), settings.buckets),
        demand: 0,
        pod_seconds: 0.0,
        replicas_max: replicas,
        scale_out: 0,
        scale_in: 0,
    };
    run.run(&policy.name)
}

fn start<'a>(series: &Series, workload: &Workload, policy: &'a Policy, settings: &Settings) -> (Scaler<'a>, u32) {
    let first = series.points().first().map_or(0.0, |point| point.rate);
    let needed = workload.needed(first);
    match &policy.kind {
        Kind::Object(object) => {
            let bounds = object.config.bounds();
            let replicas = match bounds.resting() {
                Some(resting) if needed == 0 => resting,
                _ => bounds.clamp_active(needed),
            };
            let operated = Operated::new(object, workload.model, series.start(), settings, replicas);
            (Scaler::Operated(Box::new(operated)), replicas)
        }
        Kind::PlainHpa { hpa, figure } => {
            let most = u32::try_from(hpa.max).unwrap_or(1).max(1);
            let least = u32::try_from(hpa.min).unwrap_or(1).clamp(1, most);
            let backlog = *figure == Figure::OfModel && workload.model == Model::Queue;
            let hpa = Autoscaler::new(hpa, settings.hpa_phase);
            (Scaler::PlainHpa { hpa, backlog }, needed.clamp(least, most))
        }
        Kind::Static(replicas) => (Scaler::Static, *replicas),
        Kind::Oracle { max } => {
            let oracle = Oracle::new(series, workload, *max);
            let replicas = oracle.first();
            (Scaler::Oracle(oracle), replicas)
        }
    }
}

struct Run<'a> {
    series: &'a Series,
    workload: &'a Workload,
    scaler: Scaler<'a>,
    pods: Pods,
    load: Load,
    tally: Tally,
    buckets: Buckets,
    demand: u32,
    pod_seconds: f64,
    replicas_max: u32,
    scale_out: u64,
    scale_in: u64,
}

impl Run<'_> {
    fn run(mut self, policy: &str) -> Outcome {
        let end = self.series.end();
        let mut points = self.series.points().iter().peekable();
        let mut now = 0;
        loop {
            // Pods that are due now are ready for what comes now; a scaler sees both.
            self.pods.start_up(now);
            let step = points.next_if(|point| point.at <= now);
            if let Some(point) = step {
                self.load.set_rate(point.rate);
                self.demand = self.workload.needed(point.rate);
            }
            if self.load.next_arrival().is_some_and(|at| at <= now) {
                self.load.arrive();
            }
            self.load.set_ready(self.pods.ready());
            self.scale(now);
            self.load.set_ready(self.pods.ready());
            if step.is_some() {
                self.tally.sample(now as f64 / 1000.0, self.demand, self.pods.ready());
            }
            let known = [
                points.peek().map(|point| point.at),
                self.pods.next_ready(),
                self.load.next_arrival().map(|at| at.max(now + 1)),
            ];
            let outside = known.into_iter().flatten().fold(end, u64::min);
            let next = outside.min(self.scaler_next(now, outside)).max(now + 1).min(end);
            self.pass(now, next);
            if next >= end {
                return self.finish(policy);
            }
            now = next;
        }
    }

    fn scale(&mut self, now: u64) {
        let before = self.pods.all();
        match &mut self.scaler {
            Scaler::Operated(operated) => {
                // What an unchanged plan foresaw, or a reading that happens to be due with something else.
                operated.act(now, &self.load, &mut self.pods);
            }
            Scaler::PlainHpa { hpa, backlog } => {
                if hpa.next() == now {
                    let figure = if *backlog { self.load.backlog() } else { self.load.rate() };
                    // Thousandths, as `resource.Quantity` has; `as` saturates.
                    let milli = (figure * 1000.0).round() as i64;
                    let since = jiff::SignedDuration::from_millis(i64::try_from(now).unwrap_or(i64::MAX));
                    let at = self.series.start().saturating_add(since).unwrap_or(jiff::Timestamp::MAX);
                    hpa.sync(now, at, &mut self.pods, Ok(milli));
                }
            }
            Scaler::Static => {}
            Scaler::Oracle(oracle) => {
                if oracle.next() <= now || oracle.must_look(&self.load, &self.pods) {
                    oracle.act(now, &self.load, &mut self.pods);
                }
            }
        }
        let after = self.pods.all();
        self.replicas_max = self.replicas_max.max(after);
        self.scale_out += u64::from(after > before);
        self.scale_in += u64::from(after < before);
    }

    fn scaler_next(&mut self, now: u64, outside: u64) -> u64 {
        match &mut self.scaler {
            Scaler::Operated(operated) => {
                operated.plan(now, outside, &self.load, &self.pods);
                operated.next()
            }
            Scaler::PlainHpa { hpa, .. } => hpa.next(),
            Scaler::Static => u64::MAX,
            Scaler::Oracle(oracle) => oracle.next(),
        }
    }

    fn pass(&mut self, now: u64, next: u64) {
        let seconds = (next - now) as f64 / 1000.0;
        let violated = self.load.ledger.violated;
        self.load.advance(next);
        let violated = (self.load.ledger.violated - violated) / seconds;
        let (replicas, ready) = (self.pods.all(), self.pods.ready());
        self.pod_seconds += f64::from(replicas) * seconds;
        self.tally.pass(seconds, self.demand, ready);
        self.buckets.pass(now, next, &Moment { replicas, ready, backlog: self.load.backlog(), violated });
    }

    fn finish(self, policy: &str) -> Outcome {
        let seconds = self.series.end() as f64 / 1000.0;
        let ledger = self.load.ledger;
        Outcome {
            policy: policy.to_owned(),
            violation_seconds: ledger.violated,
            violation_percent: 100.0 * ledger.violated / seconds,
            arrived: self.load.arrived(),
            served: ledger.served,
            late: ledger.late,
            lost: ledger.lost,
            backlog_end: self.load.amount(),
            backlog_max: ledger.backlog_most,
            backlog_mean: ledger.backlog / seconds,
            wait_max_seconds: ledger.wait_most,
            pod_hours: self.pod_seconds / 3600.0,
            replicas_max: self.replicas_max,
            scale_out: self.scale_out,
            scale_in: self.scale_in,
            elasticity: self.tally.elasticity(),
            buckets: self.buckets.finish(self.series.end()),
        }
    }
}
