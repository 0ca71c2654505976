//! Metrics API: a number out of what a URL answers, as JSON, YAML, XML or Prometheus' text. This module never sends anything but a
//! GET.
#![doc = ""]
#![doc = include_str!("README.md")]

mod config;
mod path;
#[cfg(feature = "connect")]
mod reader;
mod selector;
#[cfg(feature = "connect")]
mod value;
#[cfg(feature = "connect")]
mod walk;
#[cfg(feature = "connect")]
mod xml;

pub use config::{Aggregation, Connection, Location, Query, Service, parse, service};
pub use path::{Condition, Operator, Path, Step};
pub use selector::{Matcher, Selector};
#[cfg(feature = "connect")]
pub(crate) use value::{Answer, Missing};

/// Makes the reader of a server. Connects at the first reading.
#[cfg(feature = "connect")]
pub(crate) fn connect(
    connection: &Connection,
    dependencies: &crate::Dependencies,
) -> std::sync::Arc<dyn crate::Upstream> {
    std::sync::Arc::new(reader::MetricsApi::new(connection.clone(), dependencies.clone()))
}
