//! Makes timelines from a seed: specs, edits, outside writes and failures. The replicas that pods and figures follow are
//! those the algorithm itself gives, so that a life looks like one; what either side makes of it is judged elsewhere.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use windlass_decision::hpa::Controller;

use super::format::{Behaviour, Change, Event, Hpa, Metric, Policy, Rules, SYNC_MS, Source, Target, Timeline};
use super::metrics::Figures;
use super::pods::Deployment;
use super::replay::Replay;

/// `count` timelines; the same ones for the same seed.
#[must_use]
pub fn generate(seed: u64, count: usize) -> Vec<Timeline> {
    (0..count as u64)
        .map(|id| one(id, SmallRng::seed_from_u64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ id)))
        .collect()
}

/// What may happen in one timeline besides load: a life with everything in it would show nothing for long.
struct Character {
    outside_writes: bool,
    edits: bool,
    conflicts: bool,
    refusals: bool,
    lost_selectors: bool,
    unreadable_scales: bool,
    lagging_status: bool,
}

/// A timeline while it is made, and the world it leads to.
struct Draft {
    random: SmallRng,
    world: Replay,
    events: Vec<Event>,
}

impl Draft {
    fn happen(&mut self, at: i64, change: Change) {
        self.world.apply(&change);
        self.events.push(Event { at, change });
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability)
    }
}

fn one(id: u64, mut random: SmallRng) -> Timeline {
    let syncs = random.random_range(20..=120);
    let character = Character {
        outside_writes: random.random_bool(0.35),
        edits: random.random_bool(0.3),
        conflicts: random.random_bool(0.1),
        refusals: random.random_bool(0.08),
        lost_selectors: random.random_bool(0.04),
        unreadable_scales: random.random_bool(0.05),
        lagging_status: random.random_bool(0.2),
    };
    let hpa = hpa(&mut random);
    let mut deployment = Deployment::new(&mut random);
    let mut figures = Figures::new(&mut random);
    let first = random.random_range(0..=(hpa.max + 2).min(40));
    let mut draft = Draft { random, world: Replay::new(Controller::default()), events: Vec::new() };
    draft.happen(0, Change::Hpa(hpa));
    draft.happen(0, Change::Replicas(first));
    for sync in 0..syncs as i64 {
        let base = sync * SYNC_MS;
        // The very first events are there before the controller; all others keep away from the syncs.
        let at = |draft: &mut Draft, from: i64, to: i64| {
            if sync == 0 { 0 } else { base + draft.random.random_range(from..to) }
        };
        let now = at(&mut draft, 2_500, 6_000);
        if sync > 0 {
            disturb(&mut draft, &character, now, &mut figures);
        }
        let now = at(&mut draft, 6_500, 9_000);
        let replicas = draft.world.replicas;
        for change in deployment.follow(&mut draft.random, replicas, now, character.lagging_status) {
            draft.happen(now, change);
        }
        let now = at(&mut draft, 9_500, 12_500);
        let spec = draft.world.hpa().cloned();
        for change in figures.measure(&mut draft.random, spec.as_ref(), replicas, &deployment, now) {
            draft.happen(now, change);
        }
        draft.world.sync((base + SYNC_MS) * 1_000_000, None);
    }
    Timeline { id, syncs, events: draft.events }
}

fn disturb(draft: &mut Draft, character: &Character, now: i64, figures: &mut Figures) {
    let (replicas, max) = (draft.world.replicas, draft.world.hpa().map_or(1, |hpa| hpa.max));
    if character.outside_writes && draft.chance(if replicas == 0 { 0.2 } else { 0.05 }) {
        let to = match draft.random.random_range(0..4) {
            0 => 0,
            1 => max + draft.random.random_range(1..5),
            _ => draft.random.random_range(1..=max.min(40)),
        };
        draft.happen(now, Change::Replicas(to));
    }
    if character.edits && draft.chance(0.04) {
        let edited = edit(&mut draft.random, draft.world.hpa().cloned());
        figures.forget();
        draft.happen(now, Change::Hpa(edited));
    }
    if character.conflicts && draft.chance(0.1) {
        let next = draft.random.random_range(0..7);
        draft.happen(now, Change::Conflicts(next));
    }
    if character.refusals && draft.chance(0.2) {
        let work = draft.chance(0.6);
        draft.happen(now, Change::Writes(work));
    }
    if character.lost_selectors && draft.chance(0.2) {
        let there = draft.chance(0.6);
        draft.happen(now, Change::Selector(there));
    }
    if character.unreadable_scales && draft.chance(0.2) {
        let work = draft.chance(0.6);
        draft.happen(now, Change::ScaleReads(work));
    }
}

fn hpa(random: &mut SmallRng) -> Hpa {
    let min = if random.random_bool(0.6) { 1 } else { random.random_range(1..=6) };
    let max = match random.random_range(0..10) {
        0 => min,
        1 => 1_000,
        2 => 100,
        _ => min + random.random_range(1..30),
    };
    let behaviour = random.random_bool(0.6).then(|| behaviour(random));
    Hpa { min, max, metrics: metrics(random), behaviour }
}

fn edit(random: &mut SmallRng, before: Option<Hpa>) -> Hpa {
    let fresh = hpa(random);
    let Some(before) = before else { return fresh };
    match random.random_range(0..5) {
        0 => Hpa { min: fresh.min, max: fresh.max, ..before },
        1 | 2 => Hpa { behaviour: fresh.behaviour, ..before },
        3 => Hpa { metrics: fresh.metrics, ..before },
        _ => fresh,
    }
}

fn metrics(random: &mut SmallRng) -> Vec<Metric> {
    let count = *[1, 1, 1, 1, 2, 2, 3].choose(random).unwrap_or(&1);
    let mut metrics: Vec<Metric> = Vec::new();
    while metrics.len() < count {
        let metric = metric(random);
        // One resource of one container has one metric: the APIs are asked by its name.
        let taken = |other: &Metric| {
            !metric.resource.is_empty() && (other.source, &other.resource) == (metric.source, &metric.resource)
        };
        if !metrics.iter().any(taken) {
            metrics.push(metric);
        }
    }
    metrics
}

fn metric(random: &mut SmallRng) -> Metric {
    let (source, target) = match random.random_range(0..20) {
        0..=6 => (Source::External, Target::Average),
        7..=10 => (Source::External, Target::Value),
        11..=13 => (Source::Resource, Target::Utilization),
        14 | 15 => (Source::Resource, Target::Average),
        16 => (Source::Pods, Target::Average),
        17 => (Source::Object, Target::Value),
        18 => (Source::Object, Target::Average),
        _ if random.random_bool(0.5) => (Source::Container, Target::Utilization),
        _ => (Source::Container, Target::Average),
    };
    let resource = match source {
        Source::Resource | Source::Container if random.random_bool(0.7) => "cpu",
        Source::Resource | Source::Container => "memory",
        Source::External | Source::Object | Source::Pods => "",
    };
    let amount = match (target, resource) {
        (Target::Utilization, _) => *[1, 20, 50, 70, 80, 80, 100, 150].choose(random).unwrap_or(&80),
        (_, "cpu") => *[100, 250, 500, 333].choose(random).unwrap_or(&100),
        // Thousandths of a byte.
        (_, "memory") => *[64_000_000_000, 300_000_000_000].choose(random).unwrap_or(&1),
        _ => *[1, 500, 1_000, 5_000, 10_000, 10_000, 33_333, 100_000, 1_000_000].choose(random).unwrap_or(&1_000),
    };
    Metric { source, resource: resource.to_owned(), target, amount }
}

fn behaviour(random: &mut SmallRng) -> Behaviour {
    Behaviour {
        up: random.random_bool(0.75).then(|| rules(random)),
        down: random.random_bool(0.75).then(|| rules(random)),
    }
}

fn rules(random: &mut SmallRng) -> Rules {
    const WINDOWS: &[u32] = &[0, 0, 15, 30, 40, 60, 90, 120, 300, 600, 3_600];
    const PERIODS: &[u32] = &[1, 15, 15, 20, 30, 60, 60, 90, 300, 1_800];
    const TOLERANCES: &[u32] = &[0, 10, 50, 100, 150, 200, 300, 500, 1_000];
    let policy = |random: &mut SmallRng| {
        let pods = random.random_bool(0.5);
        let value = if pods {
            random.random_range(1..=8)
        } else {
            *[1, 5, 10, 25, 50, 90, 100, 200].choose(random).unwrap_or(&9)
        };
        let kind = if pods { "Pods" } else { "Percent" };
        Policy { kind: kind.to_owned(), value, period: *PERIODS.choose(random).unwrap_or(&15) }
    };
    Rules {
        window: random.random_bool(0.7).then(|| *WINDOWS.choose(random).unwrap_or(&0)),
        select: random
            .random_bool(0.4)
            .then(|| (*["Max", "Max", "Min", "Min", "Disabled"].choose(random).unwrap_or(&"Max")).to_owned()),
        policies: random.random_bool(0.6).then(|| {
            let count = random.random_range(1..=3);
            (0..count).map(|_| policy(random)).collect()
        }),
        tolerance: random.random_bool(0.25).then(|| *TOLERANCES.choose(random).unwrap_or(&100)),
    }
}
