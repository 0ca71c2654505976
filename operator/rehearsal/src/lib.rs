//! The real operator on a simulated cluster with simulated brokers, in virtual time.
//!
//! ```text
//!  Loads / script ──▶ Brokers ──connect──▶ Replica (windlass_operator::run, a Process that can be frozen or killed)
//!                                             │ requests through Wire
//!  VirtualClock ──▶ Cluster (kubesim) ◀───────┘
//! ```
//!
//! It assembles; it decides nothing and judges nothing. Everything runs on one thread of a tokio runtime with paused
//! time: no sockets, no threads, and the same seed gives the same run.

mod broker;
mod clock;
mod replica;
mod wire;
mod world;

pub use broker::{Brokers, Mood, QueueName, Read};
pub use clock::{EPOCH, VirtualClock};
pub use replica::{Replica, ReplicaOptions};
pub use windlass_operator::Process;
pub use wire::Wire;
pub use world::{SYSTEM_NAMESPACE, World, WorldError, WorldOptions};
