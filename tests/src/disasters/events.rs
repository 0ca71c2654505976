//! What happens to an object although nothing fails: people edit it or scale its target by hand, and work comes to its queue
//! and is worked off. Drawn from a seed; nothing here runs anything.

use std::fmt;
use std::ops::Range;

use k8s_openapi::ByteString;
use rand::RngExt;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::plan::ObjectPlan;

/// The most replicas anywhere: with more, the next number lies within the HPA's tolerance.
const MOST: u32 = 8;

const PAUSED: &str = "autoscaling.keda.sh/paused";
const PAUSED_REPLICAS: &str = "autoscaling.keda.sh/paused-replicas";

/// One thing that somebody does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// At which second since the start.
    pub at: u64,
    /// What.
    pub change: Change,
}

/// What somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Scales the Deployment by hand.
    Replicas(u32),
    /// Sets `minReplicaCount`.
    Min(u32),
    /// Sets `maxReplicaCount`.
    Max(u32),
    /// Sets `cooldownPeriod`, seconds.
    Cooldown(u32),
    /// Pauses scaling: as it is, or at a number of replicas.
    Pause(Option<u32>),
    /// Ends the pause.
    Resume,
    /// Writes the password of this number into its Secret.
    Rotate(u32),
}

/// Work that comes at an even rate until it stops, and pods that work it off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Messages a minute.
    pub per_minute: u32,
    /// Messages a minute that one pod works off.
    pub per_pod: u32,
    /// The second at which no more comes.
    pub until: u64,
}

impl Edit {
    pub(super) fn draw(rng: &mut SmallRng, object: &ObjectPlan, within: Range<u64>) -> Vec<Self> {
        let count = if rng.random_range(0..10) < 3 { rng.random_range(1..=3) } else { 0 };
        let mut moments: Vec<_> = (0..count).map(|_| rng.random_range(within.clone())).collect();
        moments.sort_unstable();
        let mut edited = object.clone();
        let mut edits = Vec::new();
        for at in moments {
            let change = match rng.random_range(0..9) {
                6 => Change::Pause(None),
                7 => Change::Pause(Some(rng.random_range(0..=MOST))),
                8 => Change::Resume,
                0..3 => Change::Replicas(rng.random_range(0..=edited.max + 2)),
                3 => Change::Min(rng.random_range(0..=edited.max.min(3))),
                4 => Change::Max(rng.random_range(edited.min.max(1)..=MOST)),
                _ => Change::Cooldown([5, 15, 30, 60][rng.random_range(0..4)]),
            };
            change.apply(&mut edited);
            edits.push(Self { at, change });
        }
        if edited.pause == Some(None)
            && let Some(last) = edits.last().map(|last| last.at)
        {
            // Else the end would be whatever the replicas happened to be.
            edits.push(Self { at: last + rng.random_range(5..40), change: Change::Resume });
        }
        edits
    }
}

impl Change {
    pub(super) const fn apply(self, object: &mut ObjectPlan) {
        match self {
            Self::Replicas(_) | Self::Rotate(_) => {}
            Self::Min(min) => object.min = min,
            Self::Max(max) => object.max = max,
            Self::Cooldown(seconds) => object.cooldown = seconds,
            Self::Pause(replicas) => object.pause = Some(replicas),
            Self::Resume => object.pause = None,
        }
    }

    /// What is merged into the scaled object, or into the scale of its target.
    pub(super) fn patch(self) -> Value {
        match self {
            Self::Replicas(replicas) => json!({"spec": {"replicas": replicas}}),
            Self::Min(min) => json!({"spec": {"minReplicaCount": min}}),
            Self::Max(max) => json!({"spec": {"maxReplicaCount": max}}),
            Self::Cooldown(seconds) => json!({"spec": {"cooldownPeriod": seconds}}),
            Self::Pause(None) => annotated(json!({PAUSED: "true", PAUSED_REPLICAS: null})),
            Self::Pause(Some(replicas)) => annotated(json!({PAUSED: null, PAUSED_REPLICAS: replicas.to_string()})),
            Self::Rotate(nth) => json!({"data": {"password": secret_text(&format!("password-{nth}"))}}),
            Self::Resume => annotated(json!({PAUSED: null, PAUSED_REPLICAS: null})),
        }
    }
}

/// As a Secret holds it.
pub(super) fn secret_text(text: &str) -> Value {
    json!(ByteString(text.as_bytes().to_vec()))
}

fn annotated(annotations: Value) -> Value {
    json!({"metadata": {"annotations": annotations}})
}

impl Flow {
    pub(super) fn draw(rng: &mut SmallRng, object: &ObjectPlan, until: u64) -> Option<Self> {
        if rng.random_range(0..10) >= 2 {
            return None;
        }
        // What one replica is there for is done in 10 or 20 s, and what comes is less or more than all can do.
        let per_pod = object.target * [6, 3][rng.random_range(0..2)];
        let per_minute = (per_pod * object.max * [3, 7, 12][rng.random_range(0..3)]).div_ceil(10);
        Some(Self { per_minute, per_pod, until: rng.random_range(20..until) })
    }

    /// Seconds until the worst backlog is worked off: of all that ever came, by the fewest that may be the most.
    pub(super) fn draining(&self, object: &ObjectPlan) -> u64 {
        let fewest = object.versions(std::time::Duration::MAX).into_iter().map(|version| version.max).min();
        let work = u64::from(self.per_minute) * self.until;
        // And a minute in which fewer and fewer do the rest.
        work.div_ceil(u64::from(self.per_pod * fewest.unwrap_or(1).max(1))) + 120
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, change } = self;
        match change {
            Change::Replicas(replicas) => write!(f, "scaled to {replicas} by hand@{at}s"),
            Change::Min(min) => write!(f, "minimum set to {min}@{at}s"),
            Change::Max(max) => write!(f, "maximum set to {max}@{at}s"),
            Change::Cooldown(seconds) => write!(f, "cooldown set to {seconds} s@{at}s"),
            Change::Pause(None) => write!(f, "paused@{at}s"),
            Change::Pause(Some(replicas)) => write!(f, "paused at {replicas}@{at}s"),
            Change::Resume => write!(f, "pause ended@{at}s"),
            Change::Rotate(nth) => write!(f, "password {nth} in its Secret@{at}s"),
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { per_minute, per_pod, until } = self;
        write!(f, "{per_minute} a minute until {until} s, {per_pod} a minute done by each pod")
    }
}
