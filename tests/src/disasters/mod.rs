//! Deterministic disaster testing: the real operator on a simulated cluster in virtual time, with faults drawn from a seed,
//! judged by oracles that know nothing of its inside.
//!
//! ```text
//!  seed ─▶ plan::Scenario ─▶ run (World + Replicas + Chaos) ─▶ log::Log ─▶ oracles::judge ─▶ shrink ─▶ a story
//! ```
//!
//! A run has one thread, no sockets and no clock but tokio's paused one: the same seed gives the same trace, byte for byte.

mod chaos;
pub mod events;
pub mod fault;
pub mod hunt;
pub mod log;
pub mod oracles;
pub mod plan;
mod record;
pub mod run;
pub mod shrink;

pub use hunt::{Failure, Hunt, hunt};
pub use oracles::{Oracle, Violation};
pub use plan::Scenario;
pub use run::{Outcome, run};
