//! AWS SQS: how many messages a queue holds. This module never receives, sends or changes anything and never applies a
//! threshold.
#![doc = ""]
#![doc = include_str!("README.md")]

#[cfg(feature = "connect")]
mod answer;
mod config;
#[cfg(feature = "connect")]
mod guarded;
mod place;
#[cfg(feature = "connect")]
mod problem;
#[cfg(feature = "connect")]
mod reader;
#[cfg(feature = "connect")]
mod session;

pub use config::{Connection, Query, Queue, parse};

/// Makes the reader of a region, as seen with one credential. Connects at the first reading.
#[cfg(feature = "connect")]
pub(crate) fn connect(
    connection: &Connection,
    dependencies: &crate::Dependencies,
) -> std::sync::Arc<dyn crate::Upstream> {
    std::sync::Arc::new(reader::Reader::new(connection.clone(), dependencies.clone()))
}
