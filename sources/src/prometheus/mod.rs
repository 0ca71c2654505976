//! Prometheus: the result of a query. This module asks for the present only, and never for a range or for what is stored where.
#![doc = ""]
#![doc = include_str!("README.md")]

mod config;
#[cfg(feature = "connect")]
mod reader;

pub use config::{Connection, Query, parse};

/// Makes the reader of a server. Connects at the first reading.
#[cfg(feature = "connect")]
pub(crate) fn connect(
    connection: &Connection,
    dependencies: &crate::Dependencies,
) -> std::sync::Arc<dyn crate::Upstream> {
    std::sync::Arc::new(reader::Prometheus::new(connection.clone(), dependencies.clone()))
}
