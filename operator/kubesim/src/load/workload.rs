//! One queue and the pods that work on it, in exact whole-number arithmetic: moving it from one moment to a later one gives
//! the same however many stops are made on the way. Never reads a clock, never looks at pods: it is told.
//!
//! Messages arrive one by one, work is done evenly: `n` ready pods of rate `r` do `n * r` messages a second while there is
//! any work. Between two changes the work left is a closed formula (the reflection of a random walk at 0, Lindley 1952;
//! within a train of evenly spaced arrivals only the first and the last can be decisive), so nothing is done per message.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::arrivals::{ArrivalProcess, Stream, Train};
use super::rate::InvalidRate;

/// One message, in the unit of work: 10^-15 of a message, so that 10^-6 messages a second times nanoseconds is whole.
const MESSAGE: i128 = 1_000_000_000_000_000;

/// How often usage is measured, as metrics-server does by default (`--metric-resolution`), in nanoseconds.
const SCRAPE: u64 = 15_000_000_000;

/// How many groups of waiting messages are told apart. When there are more, neighbours become one group; only the age of
/// the oldest message then is an estimate.
const MAX_GROUPS: usize = 4096;

/// What a pod can do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Service {
    /// Messages per second that one ready pod works off.
    pub per_pod: f64,
    /// Messages a ready pod holds without having finished them (the prefetch count of a consumer). 0: a message is
    /// taken from the queue when it is done.
    #[serde(default)]
    pub in_flight: u32,
}

impl Service {
    /// Messages per second, and nothing held.
    #[must_use]
    pub fn per_pod(per_pod: f64) -> Self {
        Self { per_pod, in_flight: 0 }
    }
}

/// The figures of a queue at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Messages waiting in the queue.
    pub ready: u64,
    /// Messages that pods hold.
    pub unacked: u64,
    /// Messages that ever came in.
    pub arrived: u64,
    /// Messages worked off.
    pub served: u64,
    /// Messages that were purged, or that came while the queue did not exist.
    pub lost: u64,
    /// How long the oldest message has waited; zero if there is none.
    pub oldest: Duration,
    /// How much of what the pods could have done they did, 0 to 1, between the last two measurements of usage.
    pub utilisation: f64,
    /// The pods at work.
    pub pods: u32,
}

/// One queue and the pods that work on it. Times are nanoseconds from a common start.
#[derive(Debug, Clone)]
pub struct Workload {
    at: u64,
    arrivals: Stream,
    /// What still arrives in the current step.
    train: Train,
    step_end: u64,
    /// Millionths of a message per second and pod, which is also units of work per nanosecond.
    per_pod: i128,
    in_flight: u32,
    pods: u32,
    exists: bool,
    work: i128,
    done: i128,
    could: i128,
    arrived: u64,
    lost: u64,
    waiting: VecDeque<Train>,
    waiting_count: u64,
    scrape: Scrape,
}

/// The last two measurements of usage.
#[derive(Debug, Clone, Copy, Default)]
struct Scrape {
    next: u64,
    done: i128,
    could: i128,
    utilisation: f64,
}

impl Workload {
    /// A queue with nothing in it at `at`, and no pods.
    ///
    /// # Errors
    /// The rate of arrival or of service cannot be used.
    pub fn new(process: &ArrivalProcess, service: Service, seed: u64, at: u64) -> Result<Self, InvalidRate> {
        let arrivals = Stream::new(process, seed, at)?;
        Ok(Self {
            at,
            step_end: arrivals.start(),
            arrivals,
            train: Train::default(),
            per_pod: millionths(service)?,
            in_flight: service.in_flight,
            pods: 0,
            exists: true,
            work: 0,
            done: 0,
            could: 0,
            arrived: 0,
            lost: 0,
            waiting: VecDeque::new(),
            waiting_count: 0,
            scrape: Scrape { next: (at / SCRAPE + 1) * SCRAPE, ..Scrape::default() },
        })
    }

    /// Moves to `to`; an earlier time than the present one does nothing.
    pub fn advance(&mut self, to: u64) {
        while self.at < to {
            if self.work == 0 && self.train.count == 0 && self.arrivals.is_silent() {
                self.rest(to);
                return;
            }
            if self.at == self.step_end {
                self.step_end = self.arrivals.next_end();
                self.train = self.arrivals.next();
            }
            let end = to.min(self.step_end).min(self.scrape.next);
            self.stretch(end);
            if end == self.scrape.next {
                self.measure();
            }
        }
    }

    /// The pods that are ready, from now on.
    pub fn set_pods(&mut self, at: u64, pods: u32) {
        self.advance(at);
        self.pods = pods;
    }

    /// What a pod can do, from now on.
    ///
    /// # Errors
    /// The rate cannot be used; nothing changes then.
    pub fn set_service(&mut self, at: u64, service: Service) -> Result<(), InvalidRate> {
        let per_pod = millionths(service)?;
        self.advance(at);
        self.per_pod = per_pod;
        self.in_flight = service.in_flight;
        Ok(())
    }

    /// How messages arrive, from now on; `at` is time 0 of the process.
    ///
    /// # Errors
    /// The rate cannot be used; nothing changes then.
    pub fn set_arrivals(&mut self, at: u64, process: &ArrivalProcess, seed: u64) -> Result<(), InvalidRate> {
        self.advance(at);
        self.arrivals = Stream::new(process, seed, at.max(self.at))?;
        self.train = Train::default();
        self.step_end = self.arrivals.start();
        Ok(())
    }

    /// Puts messages in at once.
    pub fn push(&mut self, at: u64, messages: u64) {
        self.advance(at);
        self.accept(Train { first: self.at, spacing: 0, count: messages });
        self.work += self.entering(messages);
    }

    /// Throws away every message that waits or is held, and says how many.
    pub fn purge(&mut self, at: u64) -> u64 {
        self.advance(at);
        let lost = self.waiting_count;
        self.lost += lost;
        self.work = 0;
        self.waiting.clear();
        self.waiting_count = 0;
        lost
    }

    /// Whether the queue exists, from now on. Deleting it loses what is in it and what arrives until it is back.
    pub fn set_exists(&mut self, at: u64, exists: bool) {
        self.advance(at);
        if !exists {
            self.purge(at);
        }
        self.exists = exists;
    }

    /// Whether the queue exists.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.exists
    }

    /// The figures at the time it was last moved to.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let held = u64::from(self.pods) * u64::from(self.in_flight);
        let unacked = self.waiting_count.min(held);
        Figures {
            ready: self.waiting_count - unacked,
            unacked,
            arrived: self.arrived,
            served: self.arrived - self.lost - self.waiting_count,
            lost: self.lost,
            oldest: self
                .waiting
                .front()
                .map_or(Duration::ZERO, |oldest| Duration::from_nanos(self.at.saturating_sub(oldest.first))),
            utilisation: self.scrape.utilisation,
            pods: self.pods,
        }
    }

    /// From `self.at` to `end`, over which the pods and the spacing of arrivals do not change.
    fn stretch(&mut self, end: u64) {
        let arriving = Train { count: self.train.by(end), ..self.train };
        let before = self.work;
        let entering = self.entering(arriving.count);
        let rate = self.per_pod * i128::from(self.pods);
        let mut left = (before + entering - rate * i128::from(end - self.at)).max(0);
        if entering > 0 {
            left = left.max(entering - rate * i128::from(end - arriving.first));
            left = left.max(MESSAGE - rate * i128::from(end - arriving.last()));
        }
        self.work = left;
        self.done += before + entering - left;
        self.could += rate * i128::from(end - self.at);
        self.accept(arriving);
        self.train.drop_first(arriving.count);
        self.at = end;
        self.forget_done();
    }

    /// Nothing to do and nothing to come: only usage is measured on the way.
    fn rest(&mut self, to: u64) {
        let rate = self.per_pod * i128::from(self.pods);
        if to >= self.scrape.next {
            self.could += rate * i128::from(self.scrape.next - self.at);
            self.at = self.scrape.next;
            self.measure();
            if to >= self.scrape.next {
                self.could += rate * i128::from(to / SCRAPE * SCRAPE - self.at);
                self.at = to / SCRAPE * SCRAPE;
                self.measure();
            }
        }
        self.could += rate * i128::from(to - self.at);
        self.at = to;
    }

    fn entering(&self, messages: u64) -> i128 {
        if self.exists { i128::from(messages) * MESSAGE } else { 0 }
    }

    fn accept(&mut self, train: Train) {
        if train.count == 0 {
            return;
        }
        self.arrived += train.count;
        if !self.exists {
            self.lost += train.count;
            return;
        }
        self.waiting_count += train.count;
        self.waiting.push_back(train);
        if self.waiting.len() > MAX_GROUPS {
            self.waiting = halve(&self.waiting);
        }
    }

    /// Takes out of the waiting ones, oldest first, what has been worked off.
    fn forget_done(&mut self) {
        let left = u64::try_from((self.work + MESSAGE - 1) / MESSAGE).unwrap_or(u64::MAX);
        let mut finished = self.waiting_count.saturating_sub(left);
        self.waiting_count -= finished;
        while finished > 0 {
            let Some(oldest) = self.waiting.front_mut() else { break };
            if oldest.count > finished {
                oldest.drop_first(finished);
                break;
            }
            finished -= oldest.count;
            self.waiting.pop_front();
        }
    }

    fn measure(&mut self) {
        let done = self.done - self.scrape.done;
        let could = self.could - self.scrape.could;
        #[allow(clippy::cast_precision_loss, reason = "a share needs no more than 15 digits")]
        let utilisation = if could > 0 { done as f64 / could as f64 } else { 0.0 };
        self.scrape = Scrape {
            next: (self.at / SCRAPE + 1) * SCRAPE,
            done: self.done,
            could: self.could,
            utilisation: utilisation.clamp(0.0, 1.0),
        };
    }
}

/// How long ago the last measurement of usage was, and over how long it measured. `elapsed` is the time since the common
/// start.
pub(crate) fn usage_interval(elapsed: Duration) -> (Duration, Duration) {
    let interval = Duration::from_nanos(SCRAPE);
    let since = elapsed.as_nanos() % interval.as_nanos();
    (Duration::from_nanos(u64::try_from(since).unwrap_or(0)), interval)
}

fn millionths(service: Service) -> Result<i128, InvalidRate> {
    if !service.per_pod.is_finite() || !(0.0..=1e6).contains(&service.per_pod) {
        return Err(InvalidRate::Service(service.per_pod));
    }
    #[allow(clippy::cast_possible_truncation, reason = "at most 1e12")]
    Ok((service.per_pod * 1e6).round() as i128)
}

/// Every two neighbours as one train over the same time.
fn halve(waiting: &VecDeque<Train>) -> VecDeque<Train> {
    let mut merged = VecDeque::with_capacity(waiting.len() / 2 + 1);
    let mut trains = waiting.iter();
    while let Some(earlier) = trains.next() {
        let Some(later) = trains.next() else {
            merged.push_back(*earlier);
            break;
        };
        let count = earlier.count + later.count;
        let spacing = (later.last() - earlier.first) / (count - 1).max(1);
        merged.push_back(Train { first: earlier.first, spacing, count });
    }
    merged
}
