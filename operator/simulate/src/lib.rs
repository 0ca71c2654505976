//! Replays a recorded load through a ScaledObject in virtual time and says what it would have cost.
//!
//! ```text
//!  rows ──▶ Series ──┐                 ┌─ load     what waits, is served, late, lost
//!  Workload ─────────┼─▶ replay() loop ┼─ pods     ready and starting
//!  Policy ───────────┘                 └─ scaler   decide() + hpa::sync(), an HPA alone, static, oracle
//!                           │
//!                           ▼
//!                  Outcome (numbers, SPEC elasticity, chart) ──▶ report, sweep
//! ```
//!
//! No runtime, no clock, no randomness, no files and no network: the same arguments give the same bytes. The decision and
//! the HPA are those of `windlass_decision`; this crate holds no scaling rule of its own. README.md says what the model
//! leaves out.

mod autoscaler;
mod behaviour;
mod chart;
mod curve;
mod load;
mod operated;
mod oracle;
mod page;
mod pods;
mod policy;
mod read;
mod replay;
mod report;
mod series;
mod sweep;
mod tally;
mod words;
mod workload;

#[cfg(test)]
mod tests;

pub use chart::svg;
pub use page::html;
pub use policy::{Change, Figure, Kind, Object, Policy, PolicyError};
pub use read::{csv, prometheus};
pub use replay::{Outcome, Settings, replay};
pub use report::{Chart, Compared, Report, SeriesFacts, WorkloadFacts};
pub use series::{Fill, Holes, Point, Reading, Row, Series, SeriesError, Unit};
pub use sweep::{Candidate, Grid, Row as SweepRow, Setting, Sweep, judge};
pub use tally::{Bucket, Elasticity};
pub use words::{amount, percent, span};
pub use workload::{InvalidWorkload, Model, Workload};
