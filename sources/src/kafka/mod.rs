//! Kafka: how far a consumer group is behind. This module never joins a group, never consumes or commits, and never applies a
//! threshold.
#![doc = ""]
#![doc = include_str!("README.md")]

#[cfg(feature = "connect")]
mod bearer;
#[cfg(feature = "connect")]
mod brokers;
#[cfg(feature = "connect")]
mod cluster;
#[cfg(feature = "connect")]
mod codec;
mod config;
#[cfg(feature = "connect")]
mod dialogue;
#[cfg(all(test, feature = "connect"))]
mod fake;
mod kerberos;
#[cfg(feature = "connect")]
mod lag;
#[cfg(feature = "connect")]
mod link;
mod login;
#[cfg(feature = "connect")]
mod messages;
#[cfg(feature = "connect")]
mod outcome;
mod partitions;
#[cfg(feature = "connect")]
mod reader;
mod rules;
#[cfg(feature = "connect")]
mod sasl;
#[cfg(feature = "connect")]
mod stuck;
#[cfg(feature = "connect")]
mod tls;
#[cfg(feature = "connect")]
mod vanished;

pub use config::{Connection, Endpoint, Query, Tls, parse};
pub use kerberos::{Etype, Kerberos, KeytabKey, Proof};
pub use login::{Bearer, Iam, Login, Mechanism, Password};
pub use partitions::Partitions;
#[cfg(feature = "connect")]
pub(crate) use reader::connect;
pub use rules::{Cap, Reset, Rules};
