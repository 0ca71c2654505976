//! The figures of one replay: the SPEC RG elasticity metrics, pod-hours and scale events, and buckets for the chart. It adds
//! up what it is told; never looks at a policy.
//!
//! The metrics are those of the SPEC Research Group for the replicas in demand `d` (the least that keep up with what
//! arrives) and in supply `s` (the ready ones) over the time T, all in percent, lower is better, 0 is ideal (N. Herbst et
//! al., "Ready for Rain? A View from SPEC Research on the Future of Cloud Metrics", SPEC-RG-2016-01, and "Quantifying
//! Cloud Performance and Dependability", ACM ToMPECS 3(4), 2018; A. Bauer et al., "Chameleon", IEEE TPDS 30(4), 2019):
//!
//! * accuracy U = 100/T * sum of max(d - s, 0) / d * dt, accuracy O = 100/T * sum of max(s - d, 0) / d * dt. This is the
//!   form that is divided by the demand, not the older one of BUNGEE. Where d is 0, which these papers do not have, it is
//!   divided by 1.
//! * time share U = 100/T * sum of dt where d > s, time share O the same where s > d.
//! * instability = 100/(T - t1) * sum over the samples from the second on of min(|sgn(Ds) - sgn(Dd)|, 1) * dt: the time in
//!   which demand and supply do not move in the same direction, sampled once each step of the series.
//!
//! All but the last are integrals over the exact step functions, which is what the sums come to with short enough steps.

use serde::Serialize;

/// The SPEC RG elasticity metrics; see the formulas in the source of this module. All in percent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Elasticity {
    /// How much of the demand was missing, on average over all time.
    pub accuracy_under: f64,
    /// By how much of the demand there was too much, on average over all time.
    pub accuracy_over: f64,
    /// The share of time with too little.
    pub time_share_under: f64,
    /// The share of time with too much.
    pub time_share_over: f64,
    /// The share of time in which supply did not move as demand did.
    pub instability: f64,
}

/// Demand and supply, added up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    under: f64,
    over: f64,
    under_time: f64,
    over_time: f64,
    total: f64,
    sampled: Option<(u32, u32)>,
    first_sample: f64,
    last_sample: f64,
    unstable: f64,
}

impl Tally {
    /// For `seconds` there were `supply` ready replicas and `demand` were needed.
    pub(crate) fn pass(&mut self, seconds: f64, demand: u32, supply: u32) {
        let (d, s) = (f64::from(demand), f64::from(supply));
        self.under += (d - s).max(0.0) / d.max(1.0) * seconds;
        self.over += (s - d).max(0.0) / d.max(1.0) * seconds;
        self.under_time += if demand > supply { seconds } else { 0.0 };
        self.over_time += if supply > demand { seconds } else { 0.0 };
        self.total += seconds;
    }

    /// One sample at `at` seconds for the instability.
    pub(crate) fn sample(&mut self, at: f64, demand: u32, supply: u32) {
        match self.sampled {
            None => self.first_sample = at,
            Some((before_demand, before_supply)) => {
                if demand.cmp(&before_demand) != supply.cmp(&before_supply) {
                    self.unstable += at - self.last_sample;
                }
            }
        }
        self.sampled = Some((demand, supply));
        self.last_sample = at;
    }

    pub(crate) fn elasticity(&self) -> Elasticity {
        let share = |sum: f64, of: f64| if of > 0.0 { 100.0 * sum / of } else { 0.0 };
        Elasticity {
            accuracy_under: share(self.under, self.total),
            accuracy_over: share(self.over, self.total),
            time_share_under: share(self.under_time, self.total),
            time_share_over: share(self.over_time, self.total),
            instability: share(self.unstable, self.last_sample - self.first_sample),
        }
    }
}

/// What a chart shows of one stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bucket {
    /// The mean of all replicas, ready or not.
    pub replicas: f64,
    /// The mean of the ready ones.
    pub ready: f64,
    /// The largest backlog.
    pub backlog: f64,
    /// For how many seconds the objective was not met.
    pub violated: f64,
}

/// The length of each of `count` equal stretches of `end` milliseconds.
pub(crate) fn width(end: u64, count: u64) -> u64 {
    end.div_ceil(count.max(1)).max(1)
}

/// Equal stretches of time with what happened in each.
#[derive(Debug, Clone)]
pub(crate) struct Buckets {
    width: u64,
    all: Vec<Bucket>,
}

/// One moment of the chart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) replicas: u32,
    pub(crate) ready: u32,
    pub(crate) backlog: f64,
    /// Which share of the time between two events was violated.
    pub(crate) violated: f64,
}

impl Buckets {
    pub(crate) fn new(end: u64, count: u64) -> Self {
        let width = width(end, count);
        let count = usize::try_from(end.div_ceil(width)).unwrap_or(1);
        Self { width, all: vec![Bucket::default(); count] }
    }

    /// From `from` to `to` milliseconds everything was as in `moment`.
    pub(crate) fn pass(&mut self, from: u64, to: u64, moment: &Moment) {
        let mut at = from;
        while at < to {
            let index = at / self.width;
            let until = ((index + 1) * self.width).min(to);
            let Some(bucket) = usize::try_from(index).ok().and_then(|index| self.all.get_mut(index)) else { return };
            let share = (until - at) as f64 / self.width as f64;
            bucket.replicas += f64::from(moment.replicas) * share;
            bucket.ready += f64::from(moment.ready) * share;
            bucket.backlog = bucket.backlog.max(moment.backlog);
            bucket.violated += moment.violated * (until - at) as f64 / 1000.0;
            at = until;
        }
    }

    /// The last bucket may reach beyond the end: its means count the time that there was.
    pub(crate) fn finish(mut self, end: u64) -> Vec<Bucket> {
        let over = self.width * self.all.len() as u64 - end;
        if let Some(last) = self.all.last_mut().filter(|_| over > 0) {
            let share = (self.width - over) as f64 / self.width as f64;
            last.replicas /= share;
            last.ready /= share;
        }
        self.all
    }
}
