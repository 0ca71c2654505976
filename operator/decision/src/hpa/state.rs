//! What the controller remembers of one autoscaler between two syncs. Plain values that a restart loses, as the real
//! controller does; never grows beyond what the windows and policies need plus what was already there.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Behaviour, Rules};

/// The memory of one autoscaler. `State::default()` is what a controller knows of an object it has never synced.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// What the metrics asked for at earlier syncs, before any window or limit. The order is Kubernetes' (an old entry's
    /// place is used again), because a longer window may bring old entries back.
    pub recommendations: Vec<Recommendation>,
    /// Growths that were written, for the policies.
    pub scale_up: Vec<ScaleEvent>,
    /// Reductions that were written, for the policies.
    pub scale_down: Vec<ScaleEvent>,
    /// `status.lastScaleTime`.
    pub last_scale: Option<Timestamp>,
}

/// What the metrics asked for at one sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recommendation {
    /// The replicas.
    pub replicas: i32,
    /// When.
    pub at: Timestamp,
}

/// A change of the target's scale that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleEvent {
    /// By how many replicas, never negative.
    pub change: i32,
    /// When.
    pub at: Timestamp,
    /// Whether its place may be used again. Once set it stays, as in Kubernetes.
    pub outdated: bool,
}

impl State {
    /// Remembers that the scale was written. The controller calls this after a write that succeeded and never else:
    /// what failed did not use up any policy. Without `behaviour` there are no policies and no event is kept.
    pub fn scaled(&mut self, behaviour: Option<&Behaviour>, from: i32, to: i32, now: Timestamp) {
        self.last_scale = Some(now);
        let Some(behaviour) = behaviour else { return };
        if to > from {
            store(&mut self.scale_up, &behaviour.scale_up, to.saturating_sub(from), now);
        } else {
            store(&mut self.scale_down, &behaviour.scale_down, from.saturating_sub(to), now);
        }
    }

    /// Keeps `replicas` in the place of the last entry that `is_old`, or as a new one.
    pub(super) fn recommend(&mut self, replicas: i32, now: Timestamp, is_old: impl Fn(&Recommendation) -> bool) {
        let entry = Recommendation { replicas, at: now };
        match self.recommendations.iter_mut().rev().find(|earlier| is_old(earlier)) {
            Some(place) => *place = entry,
            None => self.recommendations.push(entry),
        }
    }
}

fn store(events: &mut Vec<ScaleEvent>, rules: &Rules, change: i32, now: Timestamp) {
    let longest = rules.policies.iter().map(|policy| policy.period).max().unwrap_or(0);
    let cutoff = ago(now, Duration::from_secs(longest.into()));
    for event in events.iter_mut().filter(|event| event.at < cutoff) {
        event.outdated = true;
    }
    let entry = ScaleEvent { change, at: now, outdated: false };
    match events.iter_mut().rev().find(|event| event.outdated) {
        Some(place) => *place = entry,
        None => events.push(entry),
    }
}

/// The replicas that `events` changed in the last `period` seconds, its very beginning left out.
pub(super) fn changed_within(events: &[ScaleEvent], period: u32, now: Timestamp) -> i32 {
    let cutoff = ago(now, Duration::from_secs(period.into()));
    events.iter().filter(|event| event.at > cutoff).fold(0, |sum: i32, event| sum.saturating_add(event.change))
}

/// `now` less `span`, or the beginning of time.
pub(super) fn ago(now: Timestamp, span: Duration) -> Timestamp {
    now.checked_sub(span).unwrap_or(Timestamp::MIN)
}
