//! The only code that sends a writing request to Kubernetes. Every write has a deadline and, unless it is about the
//! Lease itself, is sent only while this process leads, with a deadline that ends before the leadership does.
//! It never retries: a caller that gets an error looks at the world again first.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::leadership::Leadership;
use crate::telemetry::{Telemetry, WriteOutcome};

/// The name under which fields are owned in server-side apply, and the name of the operator in written objects.
pub const FIELD_MANAGER: &str = "windlass";

/// Why a write did not happen, or is not known to have happened.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// This process does not lead (any more).
    #[error("not the leader")]
    NotLeader,
    /// No answer in time; the write may or may not have happened.
    #[error("no answer from the API server within {0:?}")]
    Deadline(Duration),
    /// The API server refused it, or the connection failed.
    #[error("{}", brief(.0))]
    Api(#[from] kube::Error),
}

impl WriteError {
    /// The HTTP status code, if the API server gave one.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }

    /// Whether somebody else wrote in between (409).
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// Whether the object is not there (404).
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }
}

/// Sends writes. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    leadership: Option<Leadership>,
    deadline: Duration,
    telemetry: Option<Telemetry>,
}

impl Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Writer {
    /// A writer that sends only while `leadership` holds.
    #[must_use]
    pub const fn fenced(client: Client, leadership: Leadership, deadline: Duration) -> Self {
        Self { client, leadership: Some(leadership), deadline, telemetry: None }
    }

    /// A writer for the Lease alone, which is how leadership is won.
    #[must_use]
    pub const fn unfenced(client: Client, deadline: Duration) -> Self {
        Self { client, leadership: None, deadline, telemetry: None }
    }

    /// The same writer, which also counts and times its writes.
    #[must_use]
    pub fn measured(self, telemetry: Telemetry) -> Self {
        Self { telemetry: Some(telemetry), ..self }
    }

    /// The client, for reading.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Server-side apply, forced, as [`FIELD_MANAGER`].
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn apply<K>(
        &self,
        api: &Api<K>,
        name: &str,
        body: &(impl Serialize + Debug + Sync),
    ) -> Result<K, WriteError>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        self.write(short_name::<K>(), api.patch(name, &Self::apply_params(), &Patch::Apply(body))).await
    }

    /// Server-side apply of the status subresource of a `kind`, forced, as [`FIELD_MANAGER`].
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn apply_status<K>(
        &self,
        kind: &'static str,
        api: &Api<K>,
        name: &str,
        body: &(impl Serialize + Debug + Sync),
    ) -> Result<K, WriteError>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        self.write(kind, api.patch_status(name, &Self::apply_params(), &Patch::Apply(body))).await
    }

    /// Merge patch of the status subresource of a `kind`.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn merge_status<K>(
        &self,
        kind: &'static str,
        api: &Api<K>,
        name: &str,
        body: &serde_json::Value,
    ) -> Result<K, WriteError>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        self.write(kind, api.patch_status(name, &Self::merge_params(), &Patch::Merge(body))).await
    }

    /// Merge patch of a `kind`.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn merge<K>(
        &self,
        kind: &'static str,
        api: &Api<K>,
        name: &str,
        body: &serde_json::Value,
    ) -> Result<K, WriteError>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        self.write(kind, api.patch(name, &Self::merge_params(), &Patch::Merge(body))).await
    }

    /// PUT of an object that was read: its uid and resourceVersion make it conditional.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn replace<K>(&self, api: &Api<K>, name: &str, body: &K) -> Result<K, WriteError>
    where
        K: Clone + DeserializeOwned + Debug + Serialize,
    {
        self.write(short_name::<K>(), api.replace(name, &Self::post_params(), body)).await
    }

    /// PUT of a Scale that was read: its uid and resourceVersion make it conditional.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn replace_scale<K>(&self, api: &Api<K>, name: &str, scale: &Scale) -> Result<Scale, WriteError>
    where
        K: Clone + DeserializeOwned,
    {
        self.write("Scale", api.replace_scale(name, &Self::post_params(), scale)).await
    }

    /// POST of a new object.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn create<K>(&self, api: &Api<K>, body: &K) -> Result<K, WriteError>
    where
        K: Clone + DeserializeOwned + Debug + Serialize + Resource,
    {
        self.write(short_name::<K>(), api.create(&Self::post_params(), body)).await
    }

    /// POST for a token of a `ServiceAccount`. Nothing of it is kept by the API server, but whoever has it may act with it.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn create_token(
        &self,
        api: &Api<ServiceAccount>,
        name: &str,
        request: &TokenRequest,
    ) -> Result<TokenRequest, WriteError> {
        self.write("TokenRequest", api.create_token_request(name, &PostParams::default(), request)).await
    }

    /// DELETE of the object with that uid, in the background.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn delete<K>(&self, api: &Api<K>, name: &str, uid: &str) -> Result<(), WriteError>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams::background().preconditions(preconditions);
        self.write(short_name::<K>(), api.delete(name, &params)).await.map(drop)
    }

    /// Any read, with the deadline of a write.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn read<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, WriteError> {
        self.send(request).await
    }

    fn post_params() -> PostParams {
        PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
    }

    fn merge_params() -> PatchParams {
        PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
    }

    fn apply_params() -> PatchParams {
        PatchParams::apply(FIELD_MANAGER).force()
    }

    async fn write<T>(
        &self,
        kind: &'static str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, WriteError> {
        let started = Instant::now();
        let result = self.send(request).await;
        if let Some(telemetry) = &self.telemetry {
            let outcome = WriteOutcome::from(&result);
            telemetry.api_write(kind, outcome, started.elapsed());
        }
        result
    }

    async fn send<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, WriteError> {
        let deadline = match &self.leadership {
            Some(leadership) => leadership.remaining().ok_or(WriteError::NotLeader)?.min(self.deadline),
            None => self.deadline,
        };
        match tokio::time::timeout(deadline, request).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(WriteError::Deadline(deadline)),
        }
    }
}

/// The last part of a type's name: the kind, for the types of the Kubernetes API.
fn short_name<K>() -> &'static str {
    std::any::type_name::<K>().rsplit("::").next().unwrap_or_default()
}

/// The message of the API server without the rest of its Status.
fn brief(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({} {})", status.message, status.code, status.reason),
        other => other.to_string(),
    }
}
