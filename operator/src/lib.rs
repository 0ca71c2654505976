//! The operator: observe, decide, plan, apply.
//!
//! ```text
//!  API server ─watch─▶ world ─┐                    ┌─▶ external_metrics (table) ─▶ HPA controller
//!  brokers ─▶ poller ─▶ readings ─▶ engine::look ──┤
//!                               decision::decide   └─▶ plan ─▶ apply::writer ─▶ API server
//!  Lease ─▶ lease ─▶ leadership ──────────────────────────────────┘ (no write without it)
//! ```
//!
//! Clock, randomness, the Kubernetes client and the source registry are arguments of [`run`]. Only `apply` writes to
//! Kubernetes; a decision is never made here, only asked for.

pub mod apply;
mod backoff;
mod cache;
pub mod certificates;
pub mod clock;
mod deadline;
mod engine;
mod environment;
pub mod external_metrics;
mod givens;
mod hpa;
mod keda;
pub mod key;
mod lead;
pub mod leadership;
pub mod lease;
pub mod mutant;
mod options;
mod owners;
mod plan;
mod queue;
mod readings;
mod run;
mod seen;
mod status;
pub mod telemetry;
pub mod webhook;
mod world;

pub use key::ObjectKey;
pub use options::Options;
pub use plan::{Effect, Note, Scale, Snapshot, plan};
pub use run::{Dependencies, RunError, Serve, Surfaces, run};
pub use windlass_sources::{Dependencies as SourceDependencies, NetworkPolicy, Process, connect};
