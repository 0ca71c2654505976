//! A small Deployment for the timelines: its pods follow the replicas, start late, become unready, fail and end. Only
//! plausible, not faithful: what matters is that both sides see the same.

use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use super::format::{Change, Container, MAIN, Readiness, SYNC_MS, SimPod};

/// More pods than this only make the file longer.
const MOST_PODS: usize = 30;
/// Pods that are there at the start were started up to this long ago.
const OLDEST_MS: i64 = 600_000;

/// A pod whose node is silent: it still counts as running, and nobody knows whether it is ready.
const LOST: &str = "Lost";

/// The pods of the target.
#[derive(Debug)]
pub struct Deployment {
    pods: Vec<Pod>,
    named: u32,
    status: Option<i32>,
    character: Character,
}

#[derive(Debug)]
struct Character {
    pending_ms: i64,
    ready_ms: i64,
    flaps: bool,
    failures: bool,
    sidecar: bool,
    /// From when to when the containers of every other pod have no requests.
    unrequested: Option<(i64, i64)>,
    /// From when to when no pod is created, as by a quota.
    blocked: Option<(i64, i64)>,
}

#[derive(Debug)]
struct Pod {
    shown: Option<SimPod>,
    name: String,
    born: i64,
    pending_ms: i64,
    /// `None`: it never becomes ready.
    ready_ms: Option<i64>,
    /// Since when it has not been ready although it was.
    flapped: Option<i64>,
    recovered: Option<i64>,
    phase: &'static str,
    deleting: bool,
    /// This long after its start it became unready for good: around the time until which that means it was never ready.
    broke: Option<i64>,
    /// Without the condition or the start time: what an old or odd kubelet leaves out.
    odd: bool,
    request: i64,
}

impl Deployment {
    /// No pods yet.
    pub fn new(random: &mut SmallRng) -> Self {
        let from = random.random_range(0..900_000);
        let character = Character {
            pending_ms: random.random_range(0..40_000),
            ready_ms: random.random_range(1_000..120_000),
            flaps: random.random_bool(0.3),
            failures: random.random_bool(0.15),
            sidecar: random.random_bool(0.25),
            unrequested: random.random_bool(0.06).then_some((from, from + 60_000)),
            blocked: random.random_bool(0.08).then(|| (random.random_range(0..2) * from, from + 90_000)),
        };
        Self { pods: Vec::new(), named: 0, status: None, character }
    }

    /// The pods that run: name, request (thousandths of CPU), and since when they have been as ready as they are.
    pub fn running(&self) -> impl Iterator<Item = (&str, i64, Option<i64>)> {
        let running = |pod: &&Pod| pod.shown.as_ref().is_some_and(|shown| shown.phase == "Running");
        let since = |pod: &Pod| pod.shown.as_ref().and_then(|shown| shown.ready.as_ref()).map(|ready| ready.since);
        self.pods.iter().filter(running).map(move |pod| (pod.name.as_str(), pod.request, since(pod)))
    }

    /// Moves towards `replicas` and says what has changed.
    pub fn follow(&mut self, random: &mut SmallRng, replicas: i32, now: i64, lagging: bool) -> Vec<Change> {
        let mut changes = Vec::new();
        self.pods.retain(|pod| {
            let stays = !(pod.deleting && random.random_bool(0.6));
            if !stays {
                changes.push(Change::Gone(pod.name.clone()));
            }
            stays
        });
        let wanted = usize::try_from(replicas).unwrap_or(0);
        let living = self.pods.iter().filter(|pod| !pod.deleting).count();
        let within = |span: Option<(i64, i64)>| span.is_some_and(|(from, to)| (from..to).contains(&now));
        if !within(self.character.blocked) {
            for _ in living..wanted.min(MOST_PODS) {
                self.create(random, now);
            }
        }
        for pod in self.pods.iter_mut().rev().filter(|pod| !pod.deleting).take(living.saturating_sub(wanted)) {
            pod.deleting = true;
        }
        let unrequested = within(self.character.unrequested);
        for pod in &mut self.pods {
            pod.live(random, &self.character, now);
            let requested = !(unrequested && pod.is_even());
            let shown = pod.show(&self.character, requested, now);
            if pod.shown.as_ref() != Some(&shown) {
                changes.push(Change::Pod(shown.clone()));
                pod.shown = Some(shown);
            }
        }
        let beyond = i32::try_from(wanted.saturating_sub(MOST_PODS)).unwrap_or(0);
        let status = beyond + i32::try_from(self.pods.iter().filter(|pod| !pod.deleting).count()).unwrap_or(0);
        if self.status != Some(status) && !(lagging && now > 0 && random.random_bool(0.6)) {
            changes.push(Change::StatusReplicas(status));
            self.status = Some(status);
        }
        changes
    }

    fn create(&mut self, random: &mut SmallRng, now: i64) {
        self.named += 1;
        let born = if now == 0 { -random.random_range(0..OLDEST_MS) } else { now };
        let spread = |random: &mut SmallRng, most: i64| random.random_range(most / 2..=most);
        let mut pending_ms = spread(random, self.character.pending_ms);
        if random.random_bool(0.15) {
            // Started at the time of a sync or just beside it, so that what ends after whole seconds ends there too.
            let beside = *[0, 500, SYNC_MS - 500].choose(random).unwrap_or(&0);
            pending_ms += SYNC_MS - (born + pending_ms).rem_euclid(SYNC_MS) + beside;
        }
        self.pods.push(Pod {
            shown: None,
            name: format!("p{}", self.named),
            born,
            pending_ms,
            ready_ms: random.random_bool(0.95).then(|| spread(random, self.character.ready_ms)),
            flapped: None,
            recovered: None,
            phase: "Running",
            deleting: false,
            broke: random
                .random_bool(0.06)
                .then(|| *[10_000, 29_000, 29_999, 30_000, 30_001, 31_000, 60_000].choose(random).unwrap_or(&30_000)),
            odd: random.random_bool(0.02),
            request: *[100, 201, 333, 500].choose(random).unwrap_or(&100),
        });
    }
}

impl Pod {
    fn live(&mut self, random: &mut SmallRng, character: &Character, now: i64) {
        if character.failures && random.random_bool(0.01) {
            self.phase = *["Failed", "Succeeded", "Unknown", LOST].choose(random).unwrap_or(&LOST);
        }
        match self.flapped {
            None if character.flaps && random.random_bool(0.03) => self.flapped = Some(now),
            Some(_) if random.random_bool(0.3) => (self.flapped, self.recovered) = (None, Some(now)),
            _ => {}
        }
    }

    fn show(&self, character: &Character, requested: bool, now: i64) -> SimPod {
        let started = self.born + self.pending_ms;
        let pending = now < started;
        let ready_at = self.ready_ms.map(|ready| started + ready).filter(|ready| *ready <= now);
        let ready = match (ready_at, self.flapped) {
            _ if pending => None,
            _ if self.broke.is_some_and(|broke| started + broke <= now) => {
                Some(("False", started + self.broke.unwrap_or(0)))
            }
            (None, _) => Some(("False", started)),
            (Some(ready), Some(flapped)) if flapped > ready => Some(("False", flapped)),
            (Some(ready), _) => Some(("True", self.recovered.unwrap_or(ready).max(ready))),
        };
        let ready = match ready {
            Some((_, since)) if self.phase == LOST => Some(("Unknown", since)),
            other => other,
        };
        let phase = if self.phase == LOST { "Running" } else { self.phase };
        let without_start = self.odd && self.is_even();
        let container = |name: &str, share: i64| Container {
            name: name.to_owned(),
            cpu: requested.then_some(self.request / share),
            memory: requested.then_some(self.request * 1_000_000_000 / share),
        };
        let mut containers = vec![container(MAIN, 1)];
        if character.sidecar {
            containers.push(container("side", 4));
        }
        SimPod {
            name: self.name.clone(),
            phase: if pending { "Pending" } else { phase }.to_owned(),
            ready: ready.filter(|_| !self.odd).map(|(status, since)| Readiness { status: status.to_owned(), since }),
            started: (!pending && !without_start).then_some(started),
            deleting: self.deleting,
            containers,
        }
    }

    fn is_even(&self) -> bool {
        self.name.ends_with(['0', '2', '4', '6', '8'])
    }
}
