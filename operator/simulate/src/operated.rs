//! A ScaledObject at work: the operator's readings and decisions, and its HPA. Which readings it takes is chosen so that
//! the replicas are those that reading at every interval would give; it never decides anything itself.
//!
//! Of all the readings of a series only few can change anything: the last before each HPA sync (it is what the HPA is
//! told), the first that sees work begin or end, enough of them during the cooldown that its clock runs on, and the moment
//! at which the cooldown is over. The load model says in closed form when work begins or ends, so all others are left out.

use std::time::Duration;

use jiff::Timestamp;
use windlass_decision::{
    Activity, Hand, HpaAnswer, Observation, Outcome, Reading, Sample, Served, State, Trigger, decide, fresh_window,
};

use crate::autoscaler::Autoscaler;
use crate::load::Load;
use crate::pods::Pods;
use crate::policy::{Figure, Object};
use crate::replay::Settings;
use crate::workload::Model;

/// One ScaledObject at work.
#[derive(Debug)]
pub(crate) struct Operated<'a> {
    object: &'a Object,
    hpa: Autoscaler<'a>,
    observation: Observation,
    state: State,
    served: Option<Served>,
    /// The time of the series' beginning, in milliseconds since 1970.
    start: i64,
    interval: u64,
    last_reading: Option<u64>,
    last_decision: u64,
    saw_work: bool,
    /// Whether the metric comes from the backlog, which moves between events.
    moves: bool,
    every_reading: bool,
    next: u64,
}

impl<'a> Operated<'a> {
    pub(crate) fn new(object: &'a Object, model: Model, start: Timestamp, settings: &Settings, replicas: u32) -> Self {
        let interval = u64::try_from(object.interval.as_millis()).unwrap_or(u64::MAX).max(1);
        // The object is as old as it takes for nothing to be new to it.
        let long_ago = start.saturating_sub(jiff::SignedDuration::from_hours(24 * 365)).unwrap_or(Timestamp::MIN);
        let reading = Reading { interval: object.interval, ..Reading::default() };
        Self {
            object,
            hpa: Autoscaler::new(&object.hpa, settings.hpa_phase),
            observation: Observation {
                triggers: vec![reading],
                replicas,
                ready: replicas,
                created_at: long_ago,
                last_active_time: Some(long_ago),
                hpa_answer: None,
                since_last: None,
                hand: Hand::default(),
            },
            state: State::default(),
            served: None,
            start: start.as_millisecond(),
            interval,
            last_reading: None,
            last_decision: 0,
            saw_work: false,
            moves: model == Model::Queue && object.figure == Figure::OfModel,
            every_reading: settings.every_reading,
            next: 0,
        }
    }

    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    fn at(&self, now: u64) -> Timestamp {
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(self.start.saturating_add(now)).unwrap_or(Timestamp::MAX)
    }

    fn trigger(&self) -> &Trigger {
        // A configuration has at least one trigger.
        &self.object.config.triggers()[0]
    }

    fn figure(&self, load: &Load) -> f64 {
        if self.moves { load.backlog() } else { load.rate() }
    }

    /// The first reading is half an interval after the start, and at the very start there is one too: the object was
    /// there before.
    fn reads_at(&self, now: u64) -> bool {
        now == 0 || (now >= self.interval / 2 && (now - self.interval / 2).is_multiple_of(self.interval))
    }

    fn reading_from(&self, now: u64) -> u64 {
        let phase = self.interval / 2;
        phase + now.saturating_sub(phase).div_ceil(self.interval) * self.interval
    }

    fn reading_until(&self, now: u64) -> Option<u64> {
        let phase = self.interval / 2;
        now.checked_sub(phase).map(|since| phase + since / self.interval * self.interval)
    }

    /// Does what is due at `now`.
    pub(crate) fn act(&mut self, now: u64, load: &Load, pods: &mut Pods) {
        let reads = self.reads_at(now) && self.last_reading.is_none_or(|last| now > last);
        if reads {
            self.read(now, load);
        }
        let cooled = self.cooled() == Some(now);
        if reads || cooled {
            self.decide(now, pods);
        }
        if now == self.hpa.next() {
            let at = self.at(now);
            let served = self.served.as_ref().filter(|served| at < served.fresh_until);
            let figure = served.map(|served| served.milli).ok_or("no fresh reading");
            if pods.all() > 0 && figure.is_ok() {
                self.observation.hpa_answer = Some(HpaAnswer { any: at, by_hpa: Some(at) });
            }
            self.hpa.sync(now, at, pods, figure);
        }
    }

    fn read(&mut self, now: u64, load: &Load) {
        let value = self.figure(load);
        let sample = Sample { value, activity: Activity::Number(value), limit: None, at: self.at(now) };
        self.saw_work = self.trigger().is_active(&sample);
        if let Some(reading) = self.observation.triggers.first_mut() {
            reading.latest = Some(Outcome::Ok(sample));
            reading.last_ok = Some(sample);
        }
        self.last_reading = Some(now);
    }

    fn decide(&mut self, now: u64, pods: &mut Pods) {
        let at = self.at(now);
        self.observation.replicas = pods.all();
        self.observation.ready = pods.ready();
        let decision = decide(&self.observation, &self.object.config, &self.state, at);
        if decision.marks_activation(self.observation.last_active_time) {
            self.observation.last_active_time = Some(at);
        }
        if let Some(replicas) = decision.verdict.write() {
            pods.scale_to(replicas, now);
        }
        self.served = decision.served.into_iter().next();
        self.state = decision.next;
        self.last_decision = now;
    }

    /// When the cooldown is over if everything stays as it was seen.
    fn cooled(&self) -> Option<u64> {
        if self.saw_work || self.object.config.bounds().resting().is_none() {
            return None;
        }
        let left = self.object.config.cooldown().saturating_sub(self.state.cooldown.quiet);
        self.last_decision.checked_add(millis(left))
    }

    /// Finds the next moment at which something is due, given that nothing but the backlog changes until `until`.
    pub(crate) fn plan(&mut self, now: u64, until: u64, load: &Load, pods: &Pods) {
        let sync = self.hpa.next();
        let before_sync = self.reading_until(sync).filter(|at| *at > now);
        let mut next = before_sync.unwrap_or(sync).min(sync);
        if let Some(resting) = self.object.config.bounds().resting() {
            let works = self.figure(load) > self.trigger().activation;
            let turns = if works != self.saw_work {
                Some(now)
            } else if self.moves {
                let turns = load.passes(self.trigger().activation, until.min(next));
                turns.map(|at| (at.ceil() as u64).max(now))
            } else {
                None
            };
            if let Some(turns) = turns {
                next = next.min(self.reading_from(turns.max(self.last_reading.map_or(0, |last| last + 1))));
            }
            if pods.all() > resting && !self.saw_work {
                let window = millis(fresh_window(self.object.interval));
                let to_run_on = self.reading_until(self.last_decision + window.saturating_sub(1));
                let cooled = self.cooled();
                next = [to_run_on, cooled].into_iter().flatten().filter(|at| *at > now).fold(next, u64::min);
            }
        }
        if self.every_reading {
            next = next.min(self.reading_from(now + 1));
        }
        self.next = next.max(now + 1);
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
