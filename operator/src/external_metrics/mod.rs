//! The aggregated API `external.metrics.k8s.io/v1beta1`: what the HPA is told. Answers come from a table in memory that
//! the reconciler keeps; nothing here asks a broker or the API server on behalf of a request, and nothing here ever
//! answers 0 or an empty list because a figure is missing.
//!
//! ```text
//!  reconciler ──set──▶ ServedTable ◀──lookup── routes ◀── TLS server ◀── aggregator ◀── HPA
//!       ▲                   │                                │
//!       └──── answered ─────┘        front_proxy: who may ask ┘
//! ```

mod answer;
mod discovery;
mod front_proxy;
mod openapi;
mod quantity;
mod routes;
mod selector;
mod server;
mod table;

pub use front_proxy::{CONFIG_MAP, CONFIG_MAP_NAMESPACE, Peer, Refusal, Trust, TrustError, follow_trust};
pub use quantity::MilliQuantity;
pub use routes::{Surface, router};
pub use selector::SelectorError;
pub use server::ExternalMetrics;
pub use table::{Answered, Asker, LookupError, ServedMetric, ServedObject, ServedTable, ServedValue};

#[cfg(test)]
mod tests;
