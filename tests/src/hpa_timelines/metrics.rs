//! The figures of the timelines: load that ramps, jumps, swings, rests exactly on a tolerance, vanishes or fails. Knows
//! what replicas there are, never what should come of it.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use super::format::{Answer, Change, Hpa, Metric, MetricEvent, PodFigure, Source, Target};
use super::pods::Deployment;

/// The answers of the metrics APIs.
#[derive(Debug)]
pub struct Figures {
    loads: BTreeMap<usize, Load>,
    told: BTreeMap<usize, Answer>,
    character: Character,
}

#[derive(Debug)]
struct Character {
    failures: bool,
    /// How many pods have no figure, of 1.
    missing: f64,
    strangers: bool,
    noise: bool,
    /// Values at the end of the range of numbers.
    absurd: bool,
    window: i64,
    late: i64,
}

/// The load behind one metric, in pods that it would keep exactly busy.
#[derive(Debug)]
struct Load {
    now: f64,
    mode: Mode,
    failing: Option<Failure>,
}

#[derive(Debug, Clone, Copy)]
enum Mode {
    Hold,
    /// This much more at each sync.
    Ramp(f64),
    /// A swing of this height and this many syncs.
    Swing(f64, f64),
    /// Exactly this share of what the replicas serve.
    Share(i64),
    Nothing,
}

#[derive(Debug, Clone, Copy)]
enum Failure {
    Error,
    Empty,
}

impl Figures {
    /// No answer yet.
    pub fn new(random: &mut SmallRng) -> Self {
        let character = Character {
            failures: random.random_bool(0.35),
            missing: if random.random_bool(0.3) { random.random_range(0.02..0.5) } else { 0.0 },
            strangers: random.random_bool(0.1),
            noise: random.random_bool(0.6),
            absurd: random.random_bool(0.03),
            window: *[10_000, 15_000, 30_000, 60_000].choose(random).unwrap_or(&30_000),
            late: *[1, 5_000, 45_000].choose(random).unwrap_or(&1),
        };
        Self { loads: BTreeMap::new(), told: BTreeMap::new(), character }
    }

    /// The metrics have changed: everything must be said again.
    pub fn forget(&mut self) {
        self.told.clear();
    }

    /// Moves the loads by one sync and says which answers have changed.
    pub fn measure(
        &mut self,
        random: &mut SmallRng,
        hpa: Option<&Hpa>,
        replicas: i32,
        deployment: &Deployment,
        now: i64,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for (index, metric) in hpa.iter().flat_map(|hpa| hpa.metrics.iter().enumerate()) {
            let most = hpa.map_or(10.0, |hpa| f64::from(hpa.max.min(60)) * 1.4);
            let load = self.loads.entry(index).or_insert_with(|| Load::new(random, most));
            load.step(random, most, self.character.failures);
            let answer = match load.failing {
                Some(Failure::Error) => Answer::Error("told to fail".to_owned()),
                Some(Failure::Empty) if metric.source.is_per_pod() => Answer::Pods(Vec::new()),
                Some(Failure::Empty) if metric.source == Source::External => Answer::Values(Vec::new()),
                Some(Failure::Empty) => Answer::Error("not found".to_owned()),
                None => self.character.answer(random, load, metric, replicas, deployment, now),
            };
            if self.told.get(&index) != Some(&answer) {
                self.told.insert(index, answer.clone());
                changes.push(Change::Metric(MetricEvent { index, answer }));
            }
        }
        changes
    }
}

impl Load {
    fn new(random: &mut SmallRng, most: f64) -> Self {
        Self { now: random.random_range(0.0..most), mode: Mode::Hold, failing: None }
    }

    fn step(&mut self, random: &mut SmallRng, most: f64, failures: bool) {
        if random.random_bool(0.12) {
            self.mode = match random.random_range(0..8) {
                0 => Mode::Hold,
                1 => {
                    self.now = random.random_range(0.0..most);
                    Mode::Hold
                }
                2 | 3 => Mode::Ramp(random.random_range(-most / 8.0..most / 8.0)),
                4 => Mode::Swing(random.random_range(0.0..most / 3.0), random.random_range(1.0..20.0)),
                5 | 6 => Mode::Share(
                    *[0, 800, 890, 899, 900, 901, 950, 1_000, 1_050, 1_099, 1_100, 1_101, 1_105, 1_150, 1_500, 1_501]
                        .choose(random)
                        .unwrap_or(&1_000),
                ),
                _ => Mode::Nothing,
            };
        }
        match self.mode {
            Mode::Ramp(by) => self.now = (self.now + by).clamp(0.0, most * 2.0),
            Mode::Swing(height, period) => {
                let angle = random.random_range(0.0..std::f64::consts::TAU / period.max(1.0));
                self.now = (self.now + height * angle.sin() * if random.random_bool(0.5) { 1.0 } else { -1.0 })
                    .clamp(0.0, most * 2.0);
            }
            Mode::Hold | Mode::Share(_) | Mode::Nothing => {}
        }
        self.failing = match self.failing {
            None if failures && random.random_bool(0.05) => {
                Some(if random.random_bool(0.6) { Failure::Error } else { Failure::Empty })
            }
            Some(failing) if random.random_bool(0.7) => Some(failing),
            _ => None,
        };
    }

    /// The figure of all pods together, if each replica should have `target`.
    fn total(&self, target: i64, replicas: i32) -> i64 {
        match self.mode {
            Mode::Nothing => 0,
            Mode::Share(share) => target.saturating_mul(i64::from(replicas)).saturating_mul(share) / 1_000,
            Mode::Hold | Mode::Ramp(_) | Mode::Swing(..) => (self.now * target as f64) as i64,
        }
    }
}

impl Character {
    fn answer(
        &self,
        random: &mut SmallRng,
        load: &Load,
        metric: &Metric,
        replicas: i32,
        deployment: &Deployment,
        now: i64,
    ) -> Answer {
        let total = load.total(metric.amount, replicas);
        let average = total / i64::from(replicas.max(1));
        match (metric.source, metric.target) {
            (Source::External, target) => {
                Answer::Values(self.split(random, if target == Target::Value { average } else { total }))
            }
            (Source::Object, Target::Value) => Answer::Object(average),
            (Source::Object, _) => Answer::Object(total),
            (Source::Pods | Source::Resource | Source::Container, target) => {
                Answer::Pods(self.pods(random, average, target, &metric.resource, deployment, now))
            }
        }
    }

    /// One figure as several values of one name.
    fn split(&self, random: &mut SmallRng, total: i64) -> Vec<i64> {
        if self.absurd && random.random_bool(0.1) {
            return match random.random_range(0..4) {
                0 => vec![i64::MAX],
                1 => vec![i64::MAX / 2 + 1, i64::MAX / 2 + 1],
                2 => vec![-1_000, 500],
                _ => vec![4_000_000_000_000_000_000],
            };
        }
        match random.random_range(0..6) {
            0 => vec![total / 3, total - total / 3],
            1 => vec![0, total],
            _ => vec![total],
        }
    }

    fn pods(
        &self,
        random: &mut SmallRng,
        average: i64,
        target: Target,
        resource: &str,
        deployment: &Deployment,
        now: i64,
    ) -> Vec<PodFigure> {
        let mut figures = Vec::new();
        let late = random.random_range(0..self.late);
        let noise = |random: &mut SmallRng| if self.noise { random.random_range(700..1_300) } else { 1_000 };
        for (name, request, since) in deployment.running() {
            if self.missing > 0.0 && random.random_bool(self.missing) {
                continue;
            }
            // For utilization `average` is percent of the request; the noise is in thousandths.
            let request = if resource == "memory" { request * 1_000_000_000 } else { request };
            let exact = if target == Target::Utilization { average * request / 100 } else { average };
            let milli = (i128::from(exact) * noise(random) / 1_000) as i64;
            // Now and then exactly the first figure that lies after the pod's last change.
            let first = since.map(|since| since + self.window).filter(|at| (now - 60_000..=now).contains(at));
            let at = first.filter(|_| random.random_bool(0.2)).unwrap_or(now - late);
            figures.push(PodFigure { pod: name.to_owned(), milli, at, window: self.window });
        }
        if self.strangers && random.random_bool(0.3) {
            figures.push(PodFigure { pod: "stranger".to_owned(), milli: average, at: now, window: self.window });
        }
        if random.random_bool(0.2) {
            figures.reverse();
        }
        figures
    }
}
