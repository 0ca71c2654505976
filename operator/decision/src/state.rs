//! What a decision remembers for the next one. Plain values: lost on restart without harm, and never changed in place.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The memory of one scaled object. `State::default()` is what a new or restarted operator knows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct State {
    /// How long the triggers have been seen quiet.
    pub cooldown: Cooldown,
    /// The demand an activation was made from, kept until the HPA has taken over.
    pub hold: Option<Hold>,
    /// Since when not every trigger could be served, if so: the HPA has recorded nothing meanwhile.
    #[serde(default)]
    pub unserved_since: Option<Timestamp>,
}

/// A clock that runs on good, quiet readings only: an outage pauses it, an active reading resets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cooldown {
    /// The sum of all gaps between decisions that both saw every trigger good, fresh and not active.
    pub quiet: Duration,
    /// When the previous decision was made.
    pub last: Option<Timestamp>,
    /// Whether the previous decision saw every trigger good, fresh and not active.
    pub last_was_quiet: bool,
    /// Whether work was ever seen: an object that had replicas before it was adopted needs no activation to be active,
    /// and still has something to cool down from.
    #[serde(default)]
    pub seen_active: bool,
}

/// After an activation the HPA has no history of its own and would follow a sudden drop at its first sync. Until it has
/// seen the new replicas, it is told no less than the demand that set them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// The replicas that the activation set.
    pub replicas: u32,
    /// When it was decided.
    pub since: Timestamp,
    /// The least value to serve, per trigger; 0 for a trigger that held nothing.
    pub floor: Vec<f64>,
    /// When the HPA first was answered with the held values.
    #[serde(default)]
    pub by_hpa: Option<Timestamp>,
    /// When anybody first was answered with the held values.
    #[serde(default)]
    pub by_anybody: Option<Timestamp>,
}
