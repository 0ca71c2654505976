//! When each query of one upstream is due. Pure bookkeeping over given instants: this module never reads and never waits.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;
use windlass_decision::{FailureKind, Outcome};

use super::{Asked, Demand, Interval, Subscriber, Timing};
use crate::Query;

/// How long a new query waits for others that come at the same moment.
pub(super) const WINDOW: Duration = Duration::from_millis(10);
/// Poll times are spread by this part of the interval, both ways.
const JITTER: f64 = 0.1;
/// ... but by no more than this, so that a written interval holds to the second.
const MAX_JITTER: Duration = Duration::from_millis(500);
/// The longest a backoff lasts, unless the interval is longer.
const BACKOFF_CAP: Duration = Duration::from_secs(5);
/// A default interval is stretched to this many times what a reading takes, ...
const STRETCH: u32 = 4;
/// ... and no further than this.
const STRETCH_CAP: Duration = Duration::from_secs(30);
/// The quickest of so many good readings says how slow an upstream is: one that was slow by chance (the first, which
/// connects; a moment without a processor) makes nobody wait half a minute for the next.
const JUDGED_BY: usize = 3;

/// The timetable of one upstream.
pub(super) struct Plan {
    entries: Vec<Entry>,
    rng: StdRng,
    /// Counts the changes of `entries`, so that a batch knows whether its places still hold.
    generation: u64,
    /// What the last good readings took, the newest first.
    took: [Option<Duration>; JUDGED_BY],
    /// Consecutive batches in which the upstream itself failed for all.
    failures: u32,
    /// While the upstream backs off, nothing is read before.
    resume: Option<Instant>,
    last_attempt: Option<Instant>,
    /// The places and queries of the last batch of healthy and of failing queries: prepared once, used until something
    /// changes.
    prepared: [Prepared; 2],
}

type Prepared = (Vec<usize>, Arc<[Query]>);

struct Entry {
    query: Query,
    subscribers: Arc<Vec<Subscriber>>,
    due: Instant,
    /// A batch that starts anyway takes the query along from here on.
    earliest: Instant,
    in_flight: bool,
    /// How much later than it was due its last reading began.
    late: Duration,
    failures: u32,
    health: Health,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Unread,
    Good,
    /// The query itself failed or is absent.
    Failing,
    /// The upstream failed it.
    Cut,
}

/// Queries read together.
pub(super) struct Batch {
    generation: u64,
    places: Vec<usize>,
    pub(super) queries: Arc<[Query]>,
    started: Instant,
}

/// Whom to tell of an outcome.
pub(super) struct Delivery {
    pub(super) subscribers: Arc<Vec<Subscriber>>,
    pub(super) outcome: Outcome,
    pub(super) timing: Timing,
}

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            entries: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
            generation: 0,
            took: [None; JUDGED_BY],
            failures: 0,
            resume: None,
            last_attempt: None,
            prepared: Default::default(),
        }
    }

    /// Takes over what is asked now. Both lists are sorted by query, so one pass is enough.
    pub(super) fn update(&mut self, demand: &Demand, now: Instant) {
        let mut present = std::mem::take(&mut self.entries).into_iter().peekable();
        let mut moved = false;
        for (query, subscribers) in demand {
            while present.next_if(|entry| entry.query < *query).is_some() {
                moved = true;
            }
            let entry = match present.next_if(|entry| entry.query == *query) {
                Some(entry) if Arc::ptr_eq(&entry.subscribers, subscribers) => entry,
                Some(mut entry) => {
                    // New and changed subscribers stand at the end of the list.
                    if subscribers.last().is_some_and(|last| !entry.subscribers.contains(last)) {
                        entry.due = entry.due.min(now + WINDOW);
                        entry.earliest = entry.earliest.min(now);
                        self.try_sooner(subscribers, now);
                    }
                    entry.subscribers = Arc::clone(subscribers);
                    entry
                }
                None => {
                    moved = true;
                    self.try_sooner(subscribers, now);
                    Entry {
                        query: query.clone(),
                        subscribers: Arc::clone(subscribers),
                        due: now + WINDOW,
                        earliest: now,
                        in_flight: false,
                        late: Duration::ZERO,
                        failures: 0,
                        health: Health::Unread,
                    }
                }
            };
            self.entries.push(entry);
        }
        if moved || present.next().is_some() {
            self.generation += 1;
            self.prepared = Default::default();
        }
    }

    /// Somebody new may try a failing upstream sooner, but no more often than it asks to be read.
    fn try_sooner(&mut self, subscribers: &[Subscriber], now: Instant) {
        if let (Some(resume), Some(last)) = (self.resume, self.last_attempt) {
            self.resume = Some(resume.min((last + period(subscribers, Duration::ZERO)).max(now + WINDOW)));
        }
    }

    /// Who asks `query`, and how often it is read.
    pub(super) fn subscribers(&self, query: &Query) -> Option<(Arc<Vec<Subscriber>>, Duration)> {
        let place = self.entries.binary_search_by(|entry| entry.query.cmp(query)).ok()?;
        let subscribers = Arc::clone(&self.entries.get(place)?.subscribers);
        let interval = period(&subscribers, self.read_time());
        Some((subscribers, interval))
    }

    /// How slow the upstream is: the quickest of the last good readings, zero until there were enough.
    fn read_time(&self) -> Duration {
        self.took.iter().copied().min().flatten().unwrap_or_default()
    }

    /// When to come back.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let due = self.entries.iter().filter(|entry| !entry.in_flight).map(|entry| entry.due).min()?;
        Some(self.resume.map_or(due, |resume| resume.max(due)))
    }

    /// What is to be read now: at most one batch of healthy queries and one of failing ones; a single one of all where the
    /// upstream as a whole was failing.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Batch> {
        if self.resume.is_some_and(|resume| resume > now) {
            return Vec::new();
        }
        // While it backs off nothing is due.
        let (probing, resumed) = (self.resume.is_some(), self.resume);
        let mut batches = Vec::new();
        let lanes: &[fn(&Entry) -> bool] =
            if probing { &[|_| true] } else { &[|entry| entry.failures == 0, |entry| entry.failures > 0] };
        for (lane, belongs) in lanes.iter().enumerate() {
            let idle = |entry: &Entry| !entry.in_flight && belongs(entry);
            if !self.entries.iter().any(|entry| idle(entry) && entry.due <= now) {
                continue;
            }
            let taken = |entry: &Entry| idle(entry) && entry.earliest <= now;
            let places: Vec<usize> =
                self.entries.iter().enumerate().filter(|(_, entry)| taken(entry)).map(|(place, _)| place).collect();
            if places.is_empty() {
                continue;
            }
            for &place in &places {
                let entry = &mut self.entries[place];
                let due = resumed.map_or(entry.due, |resume| resume.max(entry.due));
                (entry.in_flight, entry.late) = (true, now.saturating_duration_since(due));
            }
            if places != self.prepared[lane].0 {
                let queries = places.iter().map(|&place| self.entries[place].query.clone()).collect();
                self.prepared[lane] = (places.clone(), queries);
            }
            let queries = Arc::clone(&self.prepared[lane].1);
            self.last_attempt = Some(now);
            self.resume = None;
            batches.push(Batch { generation: self.generation, places, queries, started: now });
        }
        batches
    }

    /// Takes the outcomes of a batch: says whom to tell, and when each query is due again. Fewer outcomes than queries (a
    /// reader that broke) count as failures without a message.
    pub(super) fn finish(&mut self, batch: &Batch, outcomes: Vec<Outcome>, now: Instant) -> Vec<Delivery> {
        let complete = outcomes.len() == batch.queries.len();
        let took_in_all = now - batch.started;
        if complete && !outcomes.iter().any(|outcome| matches!(outcome, Outcome::Failed(_))) {
            self.took.rotate_right(1);
            self.took[0] = Some(took_in_all);
        }
        // One draw for all: queries that were read together stay together.
        let spread = self.rng.random_range(-JITTER..=JITTER);
        let mut deliveries = Vec::with_capacity(outcomes.len());
        let mut outcomes = outcomes.into_iter();
        let read_time = self.read_time();
        for (nth, query) in batch.queries.iter().enumerate() {
            let outcome = outcomes.next();
            let place = if batch.generation == self.generation {
                batch.places.get(nth).copied()
            } else {
                self.entries.binary_search_by(|entry| entry.query.cmp(query)).ok()
            };
            let Some(entry) = place.and_then(|place| self.entries.get_mut(place)) else { continue };
            let interval = period(&entry.subscribers, read_time);
            entry.health = outcome.as_ref().map_or(Health::Cut, health);
            entry.failures = if entry.health == Health::Good { 0 } else { entry.failures.saturating_add(1) };
            let wait = backoff(interval, entry.failures);
            entry.due = (batch.started + jittered(wait, spread)).max(now);
            entry.earliest = batch.started + jittered(wait, -JITTER);
            entry.in_flight = false;
            if let Some(outcome) = outcome {
                let asked = Some(Asked { late: entry.late, took: took_in_all });
                let timing = Timing { interval, asked };
                deliveries.push(Delivery { subscribers: Arc::clone(&entry.subscribers), outcome, timing });
            }
        }
        self.judge(batch, spread, now);
        deliveries
    }

    /// Whether the upstream itself is failing: then it is tried as one, by the shortest interval anybody asks, and by those
    /// who are due. An outage makes nobody's readings more frequent than was asked.
    fn judge(&mut self, batch: &Batch, spread: f64, now: Instant) {
        let cut = !self.entries.is_empty()
            && self.entries.iter().all(|entry| matches!(entry.health, Health::Cut | Health::Unread))
            && self.entries.iter().any(|entry| entry.health == Health::Cut);
        if !cut {
            if std::mem::take(&mut self.failures) > 0 {
                // The upstream is back: nobody waits for the rest of a backoff that was the upstream's.
                for entry in self.entries.iter_mut().filter(|entry| entry.health == Health::Cut) {
                    (entry.due, entry.earliest) = (now, now);
                }
            }
            self.resume = None;
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let read_time = self.read_time();
        let shortest = self.entries.iter().map(|entry| period(&entry.subscribers, read_time)).min();
        let wait = jittered(backoff(shortest.unwrap_or(BACKOFF_CAP), self.failures), spread);
        self.resume = Some((batch.started + wait).max(now));
    }
}

/// What a failure says of the upstream as a whole.
fn health(outcome: &Outcome) -> Health {
    use FailureKind::{BadAnswer, NotFound, Timeout, Tls, Unauthorised, Unreachable};
    match outcome {
        Outcome::Ok(_) => Health::Good,
        Outcome::Absent(_) => Health::Failing,
        Outcome::Failed(failure) => match failure.kind {
            // Not found, but not absent: what the queries are looked for in, a virtual host for example.
            Unreachable | Timeout | Unauthorised | Tls | NotFound => Health::Cut,
            BadAnswer => Health::Failing,
        },
    }
}

/// How often a query is read while all is well: the shortest interval that anybody asks.
fn period(subscribers: &[Subscriber], read_time: Duration) -> Duration {
    let stretched = read_time.saturating_mul(STRETCH);
    let in_force = |interval| match interval {
        Interval::Written(written) => written,
        Interval::Default(default) => default.max(stretched.min(STRETCH_CAP)),
    };
    let shortest = subscribers.iter().map(|subscriber| in_force(subscriber.interval)).min();
    shortest.unwrap_or(STRETCH_CAP).max(Duration::from_millis(1))
}

/// The interval doubled for each consecutive failure, up to five seconds or the interval itself.
fn backoff(interval: Duration, failures: u32) -> Duration {
    let doubled = interval.saturating_mul(2_u32.saturating_pow(failures.min(20)));
    if failures == 0 { interval } else { doubled.min(BACKOFF_CAP.max(interval)) }
}

/// `wait`, longer or shorter by the part `spread` of it.
fn jittered(wait: Duration, spread: f64) -> Duration {
    let shift = wait.mul_f64(spread.abs()).min(MAX_JITTER);
    if spread < 0.0 { wait.saturating_sub(shift) } else { wait.saturating_add(shift) }
}
