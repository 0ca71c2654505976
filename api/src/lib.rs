//! The HTTP surface for machines that look after the operator: is it alive, is it ready, what does it count.
//!
//! This crate owns the trait it reads through, [`Health`]; it never imports a Kubernetes client, never writes anything
//! and never answers with more than the checks and the metrics it was given.

mod routes;
mod serve;

pub use routes::{METRICS_CONTENT_TYPE, router};
pub use serve::{serve, serve_named};

/// One thing that must be so before this process is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// A short, constant name in lower case, such as `scaledobjects listed`.
    pub name: &'static str,
    /// Whether it is so.
    pub ok: bool,
    /// For a person: what is missing and since when. May be empty. Never a secret.
    pub detail: String,
}

/// What the operator says of its own health. Called on each probe: it answers from memory and at once.
pub trait Health: Send + Sync + 'static {
    /// What must be so before this process is ready. Ready means every check is ok; a stand-by can be ready.
    fn checks(&self) -> Vec<Check>;

    /// What a person who looks should know although it is no reason not to be ready, a line each.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
}
