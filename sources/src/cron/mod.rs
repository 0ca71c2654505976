//! Cron: a window of time within which a number of replicas is wanted. This module asks no server: it answers from the
//! clock it is given, and reads no other.
#![doc = ""]
#![doc = include_str!("README.md")]

mod config;
#[cfg(feature = "connect")]
mod reader;
mod schedule;

pub use config::{Query, parse};

/// Makes the reader: one for all triggers, since there is no server to tell apart.
#[cfg(feature = "connect")]
pub(crate) fn connect(dependencies: &crate::Dependencies) -> std::sync::Arc<dyn crate::Upstream> {
    std::sync::Arc::new(reader::Cron::new(std::sync::Arc::clone(&dependencies.clock)))
}
