//! Pure scaling decisions: what should the replica count be, and why.
//!
//! ```text
//!  Observation ─┐
//!  Config ──────┤                      ┌─ desired, verdict   what to do
//!  State ───────┼─▶ decide() ─▶ Decision ─ trail             why
//!  now ─────────┘                      ├─ served             what the HPA is told
//!                                      └─ next, wake_after   what to remember, when to ask again
//! ```
//!
//! This crate never reads a clock, never logs, never does IO and knows no Kubernetes client: the same inputs give the
//! same answer, so a decision can be replayed from its record and a simulator can run it in virtual time.

mod clock;
mod config;
mod decide;
mod fallback;
mod hand;
pub mod hpa;
mod observation;
mod reason;
mod rules;
mod sentence;
mod served;
mod state;

#[cfg(test)]
mod tests;

pub use clock::Clock;
pub use config::{
    Bounds, Config, InvalidConfig, PolicyKind, ScaleUp, ScalingPolicy, SelectPolicy, TargetKind, Trigger,
};
pub use decide::{Decision, Verdict, decide};
pub use fallback::{Fallback, FallbackBehavior};
pub use hand::{Hand, Pause};
pub use observation::{
    Activity, Failure, FailureKind, HpaAnswer, MAX_VALUE, Observation, Outcome, Reading, Sample, fresh_window,
};
pub use reason::{FirstStep, Reason, Rule, Step};
pub use rules::fallback::in_fallback;
pub use served::Served;
pub use state::{Cooldown, Hold, State};
