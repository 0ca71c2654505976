//! The election in virtual time, against a complete Lease API in memory.

mod fake;
mod kube_store;
mod property;
mod replica;
mod rules;
mod scenarios;

use super::*;
