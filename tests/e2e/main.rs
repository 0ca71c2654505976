//! Proofs on a real control plane and real brokers. Each file is about one matter; `rig.rs` proves the helpers.
//!
//! Tests that only use share one control plane, one operator and one broker (`shared()`), each in its own namespace;
//! tests that stop, freeze or need other settings start their own.

mod authentication;
mod conformance;
mod crashes;
mod credentials;
mod defaults;
mod fallback;
mod hpa_wiring;
mod keda;
mod keda_defects;
mod leader;
mod metrics;
mod mistakes;
mod moves;
mod outages;
mod owned_hpa;
mod pages;
mod pausing;
mod rest;
mod rig;
mod rights;
mod scaling;
mod sources;
mod webhooks;
mod workers;
