//! The load model: what waits, what is served, what is late and what is lost, in closed form between two changes. It knows
//! arrivals and ready replicas; never decides how many there should be.
//!
//! Flows are continuous, as in the fluid limit of a queue with n servers (W. Whitt, *Stochastic-Process Limits*, 2002,
//! chapter 10): with backlog B, n ready replicas and the service rate m of each, `dB/dt = rate - m * min(B, n)`. So with
//! B > n the backlog is a straight line, else it approaches rate / m, which is what is being served (Little's law).
//! Below [`TRICKLE`] arrivals are single messages at even distances and each is served by one replica for 1/m, because a
//! queue that gets a message each hour is empty most of the time and its workload may rest.

use crate::curve::{Cursor, Curve, Past};
use crate::workload::{ENOUGH, Model, Workload};

/// Arrivals per second below which they come one by one.
pub(crate) const TRICKLE: f64 = 0.2;

/// What has happened so far. All sums; times in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ledger {
    pub(crate) served: f64,
    pub(crate) lost: f64,
    /// What waited for longer than the objective, whether it was served then or not.
    pub(crate) late: f64,
    /// Seconds in which the oldest that waits is older than the objective, or something is lost.
    pub(crate) violated: f64,
    /// Backlog times seconds.
    pub(crate) backlog: f64,
    pub(crate) backlog_most: f64,
    /// The longest wait seen, in seconds.
    pub(crate) wait_most: f64,
}

/// One workload under load.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    workload: Workload,
    /// Seconds.
    now: f64,
    rate: f64,
    ready: f64,
    /// Queue: waiting and being served. Requests: waiting.
    backlog: f64,
    /// The part of a message that is on its way, while arrivals are single.
    due: f64,
    due_since: f64,
    arrivals: Curve,
    late: Cursor,
    expired: Cursor,
    oldest: Cursor,
    pub(crate) ledger: Ledger,
}

/// How the backlog moves until something changes.
#[derive(Debug, Clone, Copy)]
struct Flow {
    /// What the backlog approaches, or by how much it moves per second.
    shape: Shape,
    /// What is served per second; follows from the balance where the backlog is no straight line.
    served: f64,
    lost: f64,
    /// Seconds until the shape changes, and what the backlog is exactly then.
    ends: Option<(f64, f64)>,
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Line(f64),
    Towards(f64),
}

impl Load {
    pub(crate) fn new(workload: Workload, ready: u32) -> Self {
        let arrivals = Curve::new();
        let cursor = arrivals.cursor();
        Self {
            workload,
            now: 0.0,
            rate: 0.0,
            ready: f64::from(ready),
            backlog: 0.0,
            due: 0.0,
            due_since: 0.0,
            arrivals,
            late: cursor,
            expired: cursor,
            oldest: cursor,
            ledger: Ledger::default(),
        }
    }

    fn singly(&self) -> bool {
        self.workload.model == Model::Queue && self.rate < TRICKLE
    }

    /// Arrivals per second that flow rather than come one by one.
    fn flowing(&self) -> f64 {
        if self.singly() { 0.0 } else { self.rate }
    }

    pub(crate) fn set_rate(&mut self, rate: f64) {
        if self.singly() {
            self.due += self.rate * (self.now - self.due_since);
        }
        self.due_since = self.now;
        self.rate = rate;
        self.arrivals.set_rate(self.now, self.flowing());
    }

    pub(crate) fn set_ready(&mut self, ready: u32) {
        self.ready = f64::from(ready);
    }

    /// When the next single message comes, in milliseconds.
    pub(crate) fn next_arrival(&self) -> Option<u64> {
        if !self.singly() || self.rate <= 0.0 {
            return None;
        }
        let at = self.due_since + ((1.0 - self.due) / self.rate).max(0.0);
        // `as` saturates: a rate of nearly nothing is never.
        Some((at * 1000.0).ceil() as u64)
    }

    /// The single message that `next_arrival` announced.
    pub(crate) fn arrive(&mut self) {
        self.due = 0.0;
        self.due_since = self.now;
        self.backlog += 1.0;
        self.arrivals.arrive(self.now);
        self.ledger.backlog_most = self.ledger.backlog_most.max(self.backlog);
    }

    /// What a source would answer as the backlog: whole messages where they come one by one.
    pub(crate) fn backlog(&self) -> f64 {
        if self.singly() { whole(self.backlog) } else { self.backlog }
    }

    /// The same without rounding, for the balance: arrived = served + backlog + lost.
    pub(crate) fn amount(&self) -> f64 {
        self.backlog
    }

    /// What has arrived so far.
    pub(crate) fn arrived(&self) -> f64 {
        self.arrivals.sum(self.now)
    }

    pub(crate) fn rate(&self) -> f64 {
        self.rate
    }

    fn waiting(&self, backlog: f64) -> f64 {
        match self.workload.model {
            Model::Queue => (backlog - self.ready).max(0.0),
            Model::Request { .. } => backlog,
        }
    }

    fn flow(&self, backlog: f64, cap: Option<(f64, f64)>) -> Flow {
        match self.workload.model {
            Model::Queue => self.queue_flow(backlog),
            Model::Request { .. } => self.request_flow(backlog, cap),
        }
    }

    fn queue_flow(&self, backlog: f64) -> Flow {
        let (rate, pace, ready) = (self.flowing(), self.workload.service_rate, self.ready);
        let line = |slope: f64, served: f64, ends| Flow { shape: Shape::Line(slope), served, lost: 0.0, ends };
        if ready == 0.0 {
            return line(rate, 0.0, None);
        }
        if backlog > ready || (backlog == ready && rate > pace * ready) {
            let slope = rate - pace * ready;
            return line(slope, pace * ready, (slope < 0.0).then(|| ((backlog - ready) / -slope, ready)));
        }
        if self.singly() {
            let busy = whole(backlog);
            let ends = (busy > 0.0).then(|| ((backlog - (busy - 1.0)) / (pace * busy), busy - 1.0));
            return line(-pace * busy, pace * busy, ends);
        }
        let limit = rate / pace;
        let ends = (limit > ready).then(|| (((limit - backlog) / (limit - ready)).ln() / pace, ready));
        Flow { shape: Shape::Towards(limit), served: 0.0, lost: 0.0, ends }
    }

    /// `cap`: the most that may wait, which is what came within the time-out, and how fast that moves.
    fn request_flow(&self, backlog: f64, cap: Option<(f64, f64)>) -> Flow {
        let (rate, capacity) = (self.rate, self.workload.service_rate * self.ready);
        let slope = rate - capacity;
        // Within the same millionth of a replica by which `Workload::needed` calls a capacity enough.
        if backlog <= 0.0 && slope <= ENOUGH * self.workload.service_rate {
            return Flow { shape: Shape::Line(0.0), served: rate, lost: 0.0, ends: None };
        }
        let empties = (slope < 0.0).then(|| (backlog / -slope, 0.0));
        let Some((most, moves)) = cap.filter(|(_, moves)| slope > *moves) else {
            return Flow { shape: Shape::Line(slope), served: capacity, lost: 0.0, ends: empties };
        };
        if backlog >= most - self.negligible() {
            return Flow { shape: Shape::Line(moves), served: capacity, lost: slope - moves, ends: None };
        }
        let fills = (most - backlog) / (slope - moves);
        let filled = (fills, most + moves * fills);
        let ends = empties.filter(|(empties, _)| *empties <= fills).unwrap_or(filled);
        Flow { shape: Shape::Line(slope), served: capacity, lost: 0.0, ends: Some(ends) }
    }

    /// Less than what adding up so many arrivals can be wrong by.
    fn negligible(&self) -> f64 {
        (self.arrivals.sum(self.now) * 1e-12).max(1e-6)
    }

    fn cap(&mut self, now: f64) -> Option<(f64, f64, f64)> {
        let Model::Request { timeout } = self.workload.model else { return None };
        let past = self.arrivals.past(&mut self.expired, now, timeout.as_secs_f64());
        Some((self.arrivals.sum(now) - past.sum, self.rate - past.rate, past.until))
    }

    /// Lets time pass until `to` milliseconds, in which neither arrivals nor replicas change.
    pub(crate) fn advance(&mut self, to: u64) {
        let to = to as f64 / 1000.0;
        while self.now < to {
            let cap = self.cap(self.now);
            let flow = self.flow(self.backlog, cap.map(|(most, moves, _)| (most, moves)));
            let waits = self.waiting(self.backlog) > 0.0 || matches!(flow.shape, Shape::Line(slope) if slope > 0.0);
            let past = waits.then(|| {
                let slo = self.workload.slo.as_secs_f64();
                self.arrivals.past(&mut self.late, self.now, slo)
            });
            let breaks = [past.map(|past| past.until), cap.filter(|_| waits).map(|(_, _, until)| until)];
            let next = breaks.into_iter().flatten().fold(to, f64::min);
            let mut span = next - self.now;
            let mut ends = None;
            if let Some((after, backlog)) = flow.ends.filter(|(after, _)| *after <= span) {
                span = after;
                ends = Some(backlog);
            }
            // A tenth of a microsecond at least, so that rounding cannot stop time.
            let span = span.max(1e-7);
            self.pass(span, &flow, past, ends);
            self.now = if self.now + span >= to - 1e-9 { to } else { self.now + span };
            self.remember_wait();
        }
        self.arrivals.past(&mut self.late, self.now, self.workload.slo.as_secs_f64());
        if self.workload.model == Model::Queue {
            self.expired = self.late;
        }
        self.arrivals.forget(&[self.late, self.expired, self.oldest]);
    }

    /// One stretch in which nothing changes its shape.
    fn pass(&mut self, span: f64, flow: &Flow, past: Option<Past>, ends: Option<f64>) {
        let before = self.backlog;
        let (after, area) = moved(before, flow.shape, self.workload.service_rate, span);
        let after = ends.unwrap_or(after).max(0.0);
        self.backlog = after;
        self.ledger.backlog += area;
        self.ledger.backlog_most = self.ledger.backlog_most.max(after);
        self.ledger.lost += flow.lost * span;
        self.ledger.served += match flow.shape {
            Shape::Line(_) => flow.served * span,
            Shape::Towards(_) => self.flowing() * span - (after - before),
        };
        let overdue = past.map_or(0.0, |past| self.overdue(span, before, after, past));
        self.ledger.violated += if flow.lost > 0.0 { span } else { overdue };
    }

    /// For how much of `span` the oldest that waits was older than the objective: what waits is more than what came
    /// within it. Both are straight lines here.
    fn overdue(&mut self, span: f64, before: f64, after: f64, past: Past) -> f64 {
        let (waited, waits) = (self.waiting(before), self.waiting(after));
        let excess = waited - (self.arrivals.sum(self.now) - past.sum);
        let excess_after = excess + (waits - waited) - (self.flowing() - past.rate) * span;
        let least = self.negligible();
        if excess > least {
            self.ledger.late += past.jumped.min(excess);
        }
        let overdue = match (excess > least, excess_after > least) {
            (true, true) => span,
            (false, false) => 0.0,
            (true, false) => span * (excess / (excess - excess_after)).clamp(0.0, 1.0),
            (false, true) => span * (excess_after / (excess_after - excess)).clamp(0.0, 1.0),
        };
        self.ledger.late += past.rate * overdue;
        overdue
    }

    fn remember_wait(&mut self) {
        let waits = self.waiting(self.backlog);
        if waits > self.negligible() {
            let came = self.arrivals.reached(&mut self.oldest, self.arrivals.sum(self.now) - waits);
            self.ledger.wait_most = self.ledger.wait_most.max(self.now - came);
        } else {
            self.arrivals.reached(&mut self.oldest, self.arrivals.sum(self.now));
        }
    }

    /// When the backlog that a source answers passes `level`, upwards or downwards, if nothing else changes until `until`
    /// milliseconds. In milliseconds, and never before now.
    pub(crate) fn passes(&self, level: f64, until: u64) -> Option<f64> {
        // Where messages are counted whole, more than 2.5 begins just above 2.
        let level = if self.singly() { level.floor() } else { level };
        let (mut at, until, mut backlog) = (self.now, until as f64 / 1000.0, self.backlog);
        let above = backlog > level;
        while at < until {
            let flow = self.flow(backlog, None);
            let span = flow.ends.map_or(until - at, |(after, _)| after.min(until - at)).max(1e-7);
            if let Some(after) = reaches(backlog, level, flow.shape, self.workload.service_rate).filter(|t| *t <= span)
            {
                return Some((at + after) * 1000.0);
            }
            let (moved, _) = moved(backlog, flow.shape, self.workload.service_rate, span);
            backlog = flow.ends.filter(|(after, _)| *after <= span).map_or(moved, |(_, exactly)| exactly);
            at += span;
            if (backlog > level) != above {
                return Some(at * 1000.0);
            }
        }
        None
    }
}

/// Whole messages: a part of one is still one.
fn whole(backlog: f64) -> f64 {
    (backlog - 1e-9).ceil().max(0.0)
}

/// The backlog after `span` seconds, and its area over them.
fn moved(backlog: f64, shape: Shape, pace: f64, span: f64) -> (f64, f64) {
    match shape {
        Shape::Line(slope) => {
            let after = backlog + slope * span;
            (after, (backlog + after) / 2.0 * span)
        }
        Shape::Towards(limit) => {
            let shrinks = (-pace * span).exp();
            let after = limit + (backlog - limit) * shrinks;
            (after, limit * span + (backlog - limit) * (1.0 - shrinks) / pace)
        }
    }
}

/// After how many seconds `level` is reached, if ever.
fn reaches(backlog: f64, level: f64, shape: Shape, pace: f64) -> Option<f64> {
    let after = match shape {
        Shape::Line(slope) if slope != 0.0 => (level - backlog) / slope,
        Shape::Line(_) => return None,
        Shape::Towards(limit) => {
            let ratio = (backlog - limit) / (level - limit);
            if backlog == level {
                0.0
            } else if ratio.is_finite() && ratio > 0.0 {
                ratio.ln() / pace
            } else {
                return None;
            }
        }
    };
    // Who stands on the level and leaves it upwards passes it now.
    let leaves = backlog == level
        && match shape {
            Shape::Line(slope) => slope > 0.0,
            Shape::Towards(limit) => limit > level,
        };
    (after > 0.0 || leaves).then_some(after.max(0.0))
}
