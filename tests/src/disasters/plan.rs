//! What happens in one disaster: objects, their load over time, and the faults. Everything is drawn from one seed; nothing
//! here runs anything.

use std::fmt;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use super::events::{Change, Edit, Flow};
use super::fault::{ApiAction, Fault, FaultKind, Moment, Resource, WatchAction};

/// Faults begin no earlier than this: until then everything is new.
const CALM: u64 = 10;
/// Faults, edits and load changes end by this second.
const CHAOS: u64 = 180;
/// Half-tenths: the share of scenarios with a feature.
const TENTHS: u32 = 10;

/// One disaster, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// The seed it was drawn from; also the seed of all randomness in it.
    pub seed: u64,
    /// How many replicas of the operator there are.
    pub replicas: u8,
    /// The scaled objects.
    pub objects: Vec<ObjectPlan>,
    /// What goes wrong, by time.
    pub faults: Vec<Fault>,
}

/// One scaled object, its target and its queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectPlan {
    /// Name of the object, of its Deployment and of its queue.
    pub name: String,
    /// Host name of its broker.
    pub broker: String,
    /// Messages for each replica.
    pub target: u32,
    /// Active above this many.
    pub activation: u32,
    /// `minReplicaCount`.
    pub min: u32,
    /// `maxReplicaCount`.
    pub max: u32,
    /// `cooldownPeriod`, seconds.
    pub cooldown: u32,
    /// `pollingInterval`, seconds; `None` for the source's default.
    pub polling: Option<u32>,
    /// The HPA's scale-down window, seconds; `None` for Kubernetes' default of 300.
    pub window: Option<u32>,
    /// How many pods the HPA may add in 15 s; `None` for Kubernetes' default.
    pub step: Option<u32>,
    /// Milliseconds until a new pod is ready.
    pub ready_ms: u32,
    /// Replicas the Deployment is made with.
    pub initial: u32,
    /// From which second on the queue holds how many messages; the last holds for ever.
    pub load: Vec<(u64, u32)>,
    /// What people do to it, by time.
    #[serde(default)]
    pub edits: Vec<Edit>,
    /// Whether scaling is paused, and at how many replicas, if it is said.
    #[serde(default)]
    pub pause: Option<Option<u32>>,
    /// What comes and is worked off, in place of `load`.
    #[serde(default)]
    pub flow: Option<Flow>,
    /// The replicas of its fallback, if it has one, which never takes any away.
    #[serde(default)]
    pub fallback: Option<u32>,
    /// Whether its broker's password stands in a Secret.
    #[serde(default)]
    pub secret: bool,
}

impl Scenario {
    /// The scenario of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let replicas = if rng.random_range(0..TENTHS) < 4 { 2 } else { 1 };
        let brokers = rng.random_range(1..=2);
        let count = rng.random_range(1..=3);
        let mut objects: Vec<_> = (0..count).map(|nth| ObjectPlan::draw(&mut rng, nth, brokers)).collect();
        let mut faults: Vec<_> =
            (0..rng.random_range(1..=5)).map(|_| draw_fault(&mut rng, replicas, brokers)).collect();
        for nth in 0..faults.len() {
            let stale = stale_start(&mut rng, &faults[nth]);
            faults.extend(stale);
        }
        faults.sort_by_key(|fault| fault.at_ms);
        for object in &mut objects {
            object.edits = Edit::draw(&mut rng, object, CALM..CHAOS);
            object.flow = Flow::draw(&mut rng, object, CHAOS);
        }
        for object in &mut objects {
            object.fallback = (rng.random_range(0..TENTHS) < 2).then(|| rng.random_range(1..=object.max));
            object.secret = rng.random_range(0..TENTHS) < 2;
            let rotations = if object.secret { rng.random_range(0..=2) } else { 0 };
            let rotate = |nth| Edit { at: rng.random_range(CALM..CHAOS), change: Change::Rotate(nth) };
            object.edits.extend((1..=rotations).map(rotate));
            object.edits.sort_by_key(|edit| edit.at);
        }
        Self { seed, replicas, objects, faults }
    }

    /// The same without its faults: what should come of it.
    #[must_use]
    pub fn calm(&self) -> Self {
        Self { faults: Vec::new(), ..self.clone() }
    }

    /// When the last fault is over and the load stays as it is, since the start.
    #[must_use]
    pub fn chaos_ends(&self) -> Duration {
        let faults = self.faults.iter().map(|fault| fault.at_ms + fault.lasts_ms).max().unwrap_or(0);
        let lives = self.objects.iter().flat_map(|object| {
            let load = object.load.last().map(|(at, _)| *at);
            let edit = object.edits.last().map(|edit| edit.at);
            load.into_iter().chain(edit).chain(object.flow.as_ref().map(|flow| flow.until))
        });
        Duration::from_millis(faults.max(lives.max().unwrap_or(0) * 1000))
    }

    /// How long everything may take to come to rest after that: a watch that broke, a lease that has to run out, a
    /// cooldown, the HPA's window and some of its syncs.
    #[must_use]
    pub fn settling(&self) -> Duration {
        let slowest = |object: &ObjectPlan| {
            let cooldowns = object.versions(Duration::MAX).into_iter().map(|version| version.cooldown);
            let draining = object.flow.as_ref().map_or(0, |flow| flow.draining(object));
            u64::from(cooldowns.max().unwrap_or(0)) + u64::from(object.window.unwrap_or(300)) + draining
        };
        let slowest = self.objects.iter().map(slowest).max().unwrap_or(0);
        // Eight replicas, one each 15 s.
        let growing = if self.objects.iter().any(|object| object.step.is_some()) { 120 } else { 0 };
        Duration::from_secs(slowest + growing + 150)
    }
}

impl ObjectPlan {
    fn draw(rng: &mut SmallRng, nth: u32, brokers: u32) -> Self {
        let max = rng.random_range(1..=8);
        let min = if rng.random_range(0..TENTHS) < 7 { 0 } else { rng.random_range(0..=max.min(3)) };
        let target = [1, 5, 10, 100][rng.random_range(0..4)];
        let activation = if rng.random_range(0..TENTHS) < 8 { 0 } else { rng.random_range(0..=target) };
        let mut load = vec![(0, draw_level(rng, target, activation, max))];
        let mut at = 0;
        for _ in 0..rng.random_range(1..=5) {
            at += rng.random_range(5..=60);
            if at < CHAOS {
                load.push((at, draw_level(rng, target, activation, max)));
            }
        }
        Self {
            name: format!("worker-{nth}"),
            broker: format!("broker-{}", rng.random_range(0..brokers)),
            target,
            activation,
            min,
            max,
            cooldown: [5, 15, 30, 60][rng.random_range(0..4)],
            polling: [None, Some(1), Some(2), Some(5), Some(10)][rng.random_range(0..5)],
            window: [Some(0), Some(15), Some(30), Some(60), Some(60), Some(60), Some(60), None][rng.random_range(0..8)],
            step: if rng.random_range(0..TENTHS) < 3 { Some(rng.random_range(1..=2)) } else { None },
            ready_ms: [0, 200, 2_000, 20_000][rng.random_range(0..4)],
            initial: if rng.random_range(0..TENTHS) < 7 { 0 } else { rng.random_range(0..=max) },
            load,
            edits: Vec::new(),
            pause: None,
            flow: None,
            fallback: None,
            secret: false,
        }
    }

    /// The password of its broker that was the last to be written by `at`.
    #[must_use]
    pub fn password(&self, at: Duration) -> String {
        let until = self.edits.iter().filter(|edit| Duration::from_secs(edit.at) <= at);
        let nth =
            until.filter_map(|edit| if let Change::Rotate(nth) = edit.change { Some(nth) } else { None }).next_back();
        format!("password-{}", nth.unwrap_or(0))
    }

    /// The object as it was said to be until `at`, the newest first: whoever acts may not know of the last edit yet.
    #[must_use]
    pub fn versions(&self, at: Duration) -> Vec<Self> {
        let mut versions = vec![self.clone()];
        for edit in self.edits.iter().filter(|edit| Duration::from_secs(edit.at) <= at) {
            let mut next = versions[0].clone();
            edit.change.apply(&mut next);
            versions.insert(0, next);
        }
        versions
    }

    /// Whether somebody pauses it at some time: its HPA is then deleted, or not, as the orders of things will have it.
    #[must_use]
    pub fn is_ever_paused(&self) -> bool {
        self.edits.iter().any(|edit| matches!(edit.change, Change::Pause(_)))
    }

    /// What the queue holds at a time since the start.
    #[must_use]
    pub fn level(&self, at: Duration) -> u32 {
        let held = self.load.iter().rev().find(|(from, _)| Duration::from_secs(*from) <= at);
        held.map_or(0, |(_, level)| *level)
    }

    /// The replicas that a level asks for, at rest 0 or the minimum.
    #[must_use]
    pub fn demand(&self, level: f64) -> u32 {
        if level > f64::from(self.activation) {
            let asked = (level / f64::from(self.target)).ceil().min(1000.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
            let asked = asked as u32;
            asked.clamp(self.min.max(1), self.max)
        } else {
            self.min
        }
    }
}

/// A whole number of replicas' worth, so that there is one right answer whatever way the HPA came there: with at most 8
/// replicas, the next number is more than its tolerance away.
fn draw_level(rng: &mut SmallRng, target: u32, activation: u32, max: u32) -> u32 {
    match rng.random_range(0..TENTHS) {
        0..4 => 0,
        4 => activation,
        5 => target * (max + rng.random_range(1..=20)),
        _ => (target * rng.random_range(1..=max)).max(activation + target),
    }
}

/// Whoever lists anew may come to an API server that is behind: the third of Sieve's patterns needs both at once.
fn stale_start(rng: &mut SmallRng, fault: &Fault) -> Option<Fault> {
    let lists_anew = match &fault.kind {
        FaultKind::Kill { .. } | FaultKind::Restart { .. } | FaultKind::KillAtWrite { .. } => true,
        FaultKind::Watch { action, .. } => *action == WatchAction::Gone,
        _ => false,
    };
    (lists_anew && rng.random_range(0..TENTHS) < 5).then(|| Fault {
        at_ms: fault.at_ms,
        lasts_ms: fault.lasts_ms + 5_000,
        kind: FaultKind::Api {
            replica: None,
            on: Resource::WATCHED[rng.random_range(0..Resource::WATCHED.len())],
            writes_only: false,
            every: 1,
            action: ApiAction::Stale,
        },
    })
}

fn draw_fault(rng: &mut SmallRng, replicas: u8, brokers: u32) -> Fault {
    let at_ms = rng.random_range(CALM * 1000..CHAOS * 1000);
    let replica = rng.random_range(0..replicas);
    let lasts_ms = [500, 2_000, 5_000, 12_000, 20_000, 40_000][rng.random_range(0..6)];
    let down_ms = [100, 1_000, 5_000, 20_000][rng.random_range(0..4)];
    let kind = match rng.random_range(0..14) {
        0..4 => FaultKind::Api {
            replica: if rng.random() { Some(replica) } else { None },
            on: Resource::ALL[rng.random_range(0..Resource::ALL.len())],
            writes_only: rng.random(),
            every: rng.random_range(1..=3),
            action: ApiAction::ALL[rng.random_range(0..ApiAction::ALL.len())],
        },
        4..6 => FaultKind::Watch {
            on: Resource::WATCHED[rng.random_range(0..Resource::WATCHED.len())],
            every: rng.random_range(1..=4),
            action: WatchAction::ALL[rng.random_range(0..WatchAction::ALL.len())],
        },
        6 => FaultKind::Kill { replica, down_ms },
        7..9 => FaultKind::KillAtWrite {
            replica,
            nth: rng.random_range(1..=6),
            moment: Moment::ALL[rng.random_range(0..Moment::ALL.len())],
            down_ms,
        },
        9 => FaultKind::Freeze { replica },
        10 => match rng.random_range(0..3) {
            0 => FaultKind::LeaseDeleted,
            1 => FaultKind::LeaseStolen,
            _ => FaultKind::Restart { replica, down_ms },
        },
        11 => FaultKind::Clock {
            replica,
            error_ms: [3_600_000, -3_600_000, 20_000, -20_000, 315_360_000_000][rng.random_range(0..5)],
        },
        _ => FaultKind::Broker {
            broker: format!("broker-{}", rng.random_range(0..brokers)),
            mood: super::fault::BrokerMood::ALL[rng.random_range(0..super::fault::BrokerMood::ALL.len())],
        },
    };
    // A kill and an edit are over at once; what comes of a kill lasts until the restart.
    let lasts_ms = match &kind {
        FaultKind::Kill { down_ms, .. } | FaultKind::Restart { down_ms, .. } => *down_ms,
        FaultKind::KillAtWrite { down_ms, .. } => lasts_ms.max(20_000) + down_ms,
        FaultKind::LeaseDeleted | FaultKind::LeaseStolen => 0,
        _ => lasts_ms,
    };
    Fault { at_ms, lasts_ms, kind }
}

impl fmt::Display for Scenario {
    /// The story, for a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {} replica(s) of the operator", self.seed, self.replicas)?;
        for object in &self.objects {
            writeln!(f, "  {object}")?;
        }
        for fault in &self.faults {
            writeln!(f, "  {fault}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ObjectPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} on {}: {} to {} replicas, 1 for {} messages, active above {}, cooldown {} s, ",
            self.name, self.broker, self.min, self.max, self.target, self.activation, self.cooldown
        )?;
        match self.polling {
            Some(seconds) => write!(f, "read every {seconds} s, ")?,
            None => f.write_str("read at the default, ")?,
        }
        match self.window {
            Some(seconds) => write!(f, "HPA window {seconds} s, ")?,
            None => f.write_str("HPA window by default, ")?,
        }
        if let Some(pods) = self.step {
            write!(f, "growing by {pods} each 15 s, ")?;
        }
        if let Some(replicas) = self.fallback {
            write!(f, "fallback of {replicas} or what is there, ")?;
        }
        if self.secret {
            f.write_str("password in a Secret, ")?;
        }
        write!(f, "pods ready after {} ms, {} at first; load", self.ready_ms, self.initial)?;
        match &self.flow {
            Some(flow) => write!(f, " {flow}")?,
            None => self.load.iter().try_for_each(|(at, level)| write!(f, " {level}@{at}s"))?,
        }
        self.edits.iter().try_for_each(|edit| write!(f, ", {edit}"))
    }
}
