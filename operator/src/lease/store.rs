//! Where the Lease lies: three calls with optimistic concurrency. An implementation never retries and never guesses: a
//! write without an answer is an error, whatever became of it.

use std::error::Error;
use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};

use super::{LEASE_NAME, Timing};
use crate::apply::writer::{WriteError, Writer};

/// Why a call about the Lease failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The write had no effect: the Lease was changed, made or removed since it was read (409 or 404).
    #[error("the lease was changed meanwhile")]
    Changed,
    /// No answer in time. A write may or may not have had its effect, and may still have it later.
    #[error("no answer from the API server within {0:?}")]
    Deadline(Duration),
    /// The API server refused it, or the connection failed. A write may or may not have had its effect.
    #[error(transparent)]
    Failed(Box<dyn Error + Send + Sync>),
}

/// Reads and writes the one Lease.
pub trait LeaseStore: Debug + Send + Sync + 'static {
    /// The Lease, newer than anything this process has read or written before; `None` where there is none.
    fn read(&self) -> impl Future<Output = Result<Option<Lease>, StoreError>> + Send;

    /// Makes the Lease, if there is none.
    fn create(&self, lease: Lease) -> impl Future<Output = Result<Lease, StoreError>> + Send;

    /// Replaces the Lease, if it still is at the resourceVersion inside.
    fn replace(&self, lease: Lease) -> impl Future<Output = Result<Lease, StoreError>> + Send;
}

/// The Lease in a cluster.
#[derive(Debug, Clone)]
pub struct KubeLeases {
    api: Api<Lease>,
    writer: Writer,
}

impl KubeLeases {
    /// The Lease `windlass` in `namespace`.
    #[must_use]
    pub fn new(client: Client, namespace: &str, timing: Timing) -> Self {
        let writer = Writer::unfenced(client.clone(), timing.call_deadline());
        Self { api: Api::namespaced(client, namespace), writer }
    }
}

impl LeaseStore for KubeLeases {
    async fn read(&self) -> Result<Option<Lease>, StoreError> {
        // Without a resourceVersion the API server reads from etcd, not from its watch cache.
        self.api.get_opt(LEASE_NAME).await.map_err(|error| StoreError::Failed(Box::new(error)))
    }

    async fn create(&self, lease: Lease) -> Result<Lease, StoreError> {
        self.writer.create(&self.api, &lease).await.map_err(StoreError::from)
    }

    async fn replace(&self, lease: Lease) -> Result<Lease, StoreError> {
        self.writer.replace(&self.api, LEASE_NAME, &lease).await.map_err(StoreError::from)
    }
}

impl From<WriteError> for StoreError {
    fn from(error: WriteError) -> Self {
        if error.is_conflict() || error.is_not_found() {
            return Self::Changed;
        }
        match error {
            WriteError::Deadline(deadline) => Self::Deadline(deadline),
            other => Self::Failed(Box::new(other)),
        }
    }
}
