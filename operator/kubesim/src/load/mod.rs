//! The work that the simulated workloads have: how messages arrive, how pods work them off, and what can be seen of it
//! (backlog, age, usage of the pods). Never touches the API server but to read which pods are ready.
//!
//! ```text
//!  Rate ─▶ ArrivalProcess ─▶ Workload (one queue, exact arithmetic) ─▶ Loads (by name, on tokio's clock) ─▶ a simulated broker
//!                               ▲ ready pods, from the change feed                 └─▶ metrics.k8s.io
//! ```

mod arrivals;
mod loads;
mod rate;
mod workload;

#[cfg(test)]
mod tests;

pub use arrivals::{ArrivalProcess, Spread};
pub(crate) use arrivals::{mix_text, normal};
pub use loads::{LoadError, Loads, QueueKey, TargetKey};
pub use rate::{Between, InvalidRate, MAX_PER_SECOND, Rate};
pub(crate) use workload::usage_interval;
pub use workload::{Figures, Service, Workload};
