//! Webhooks: events that others send by HTTP, counted from memory and pushed at once. This module never listens: whoever
//! receives hands over what came ([`events`]) and, once it is kept, has it counted ([`Hub::apply`]).
#![doc = ""]
#![doc = include_str!("README.md")]

#[cfg(feature = "connect")]
mod cloudevents;
mod config;
#[cfg(feature = "connect")]
mod hub;
#[cfg(feature = "connect")]
mod reader;
#[cfg(feature = "connect")]
mod receive;
#[cfg(feature = "connect")]
mod stream;
#[cfg(feature = "connect")]
mod verify;

pub use config::{Connection, LARGEST_BODY, LONGEST_WINDOW, Location, Query, Signature, parse};
#[cfg(feature = "connect")]
pub use hub::{Hub, Registration};
#[cfg(feature = "connect")]
pub use receive::{Refusal, events};
#[cfg(feature = "connect")]
pub use stream::{Event, EventId, StreamKey};

/// Makes the reader of an endpoint, and has events for it received from now on.
#[cfg(feature = "connect")]
pub(crate) fn connect(
    connection: &Connection,
    dependencies: &crate::Dependencies,
) -> std::sync::Arc<dyn crate::Upstream> {
    std::sync::Arc::new(reader::Webhook::new(connection, dependencies))
}
