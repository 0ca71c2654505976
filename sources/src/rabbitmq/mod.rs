//! RabbitMQ: figures of queues over AMQP or the management API. This module never changes a queue, never consumes and never
//! applies a threshold.
#![doc = ""]
#![doc = include_str!("README.md")]

#[cfg(feature = "connect")]
mod amqp;
mod config;
#[cfg(feature = "connect")]
mod figures;
mod host;
#[cfg(feature = "connect")]
mod http;
#[cfg(feature = "connect")]
mod outcome;
#[cfg(feature = "connect")]
mod session;

pub use config::{Connection, Endpoint, Mode, Operation, Protocol, Query, Selection, Tls, parse};

/// Makes the reader of a broker. Connects at the first reading.
#[cfg(feature = "connect")]
pub(crate) fn connect(
    connection: &Connection,
    dependencies: &crate::Dependencies,
) -> std::sync::Arc<dyn crate::Upstream> {
    match connection.protocol {
        Protocol::Amqp => std::sync::Arc::new(amqp::Amqp::new(connection.clone(), dependencies.clone())),
        Protocol::Http => std::sync::Arc::new(http::Http::new(connection.clone(), dependencies.clone())),
    }
}
