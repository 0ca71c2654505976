//! An in-process Kubernetes API server: it stores what it is given, watches it for whoever asks, and knows no controller.
//!
//! ```text
//!  kube::Client ─▶ Service ─▶ http ─▶ [faults] ─▶ Cluster ─▶ write ─▶ store ─▶ history ─▶ watch
//!  controllers ──────────────────────────────────────▲                   └─▶ change feed
//!  external.metrics.k8s.io ─▶ aggregate ─▶ whoever listens at the address of an EndpointSlice
//! ```
//!
//! Everything is on tokio's clock and behind one lock that is held for microseconds: it may be used from other threads.

mod admit;
mod aggregate;
mod autoscaler;
mod cluster;
mod delete;
mod discovery;
mod faults;
mod fields;
mod http;
mod kind;
mod lists;
mod metadata;
mod owned;
mod patch;
mod places;
mod query;
mod rules;
mod scale;
mod schema;
mod selector;
mod serve;
mod status;
mod store;
mod table;
mod token;
mod verbs;
mod watch;
mod write;

#[cfg(test)]
mod tests;

pub use cluster::{Cluster, Gr, Options};
pub use delete::{Deletion, Propagation};
pub use faults::{Faults, RequestFault, RequestInfo, WatchFault, WatchInfo};
pub use http::{ApiService, Closed};
pub use kind::{Kind, ScalePaths};
pub use patch::Patch;
pub use selector::Selector;
pub use status::{Cause, Status};
pub use store::{At, Audited, Change, ChangeKind, Changes};
pub use write::Part;
