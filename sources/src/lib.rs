//! Event sources. A source turns metadata into a typed configuration, and queries into outcomes.
//!
//! ```text
//!  trigger metadata ──parse()──▶ Parsed { connection, query, target, activation, metric name }
//!                                      │          │
//!                                      ▼          ▼
//!  one Upstream per connection key:  connect() ▶ read(&[Query]) ─▶ one Outcome per query
//! ```
//!
//! A source never applies a threshold, never knows replicas, and never knows Kubernetes: it reads figures.
//! Without the feature `connect` this crate is typed configuration only.

pub mod aws;
pub mod aws_sqs;
#[cfg(feature = "connect")]
mod cause;
pub mod cron;
mod given;
pub mod http;
pub mod kafka;
mod metadata;
pub mod metrics_api;
#[cfg(feature = "connect")]
pub mod poller;
#[cfg(feature = "connect")]
mod private_key;
#[cfg(feature = "connect")]
mod process;
pub mod prometheus;
mod quantity;
pub mod rabbitmq;
mod registry;
mod secret;
#[cfg(feature = "connect")]
mod token;
#[cfg(feature = "connect")]
mod upstream;
pub mod webhook;

pub use given::{Given, PodIdentity, takes_bytes};
pub use http::form;
#[cfg(feature = "connect")]
pub use http::{NetworkPolicy, Zone};
pub use metadata::{ConfigError, Metadata};
pub use metrics_api::{Service, service};
#[cfg(feature = "connect")]
pub use process::{Owned, Process};
pub use quantity::quantity;
pub use registry::{Connection, Parsed, Query, TriggerInput, docs, kinds, parse};
#[cfg(feature = "connect")]
pub use registry::{Dependencies, connect};
pub use secret::Secret;
#[cfg(feature = "connect")]
pub use upstream::{Push, Upstream};
