//! Kubernetes Events about scaled objects.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::ObjectMeta;
use windlass_decision::Clock;

use crate::apply::writer::{FIELD_MANAGER, WriteError, Writer};
use crate::key::ObjectKey;
use crate::plan::Note;

/// Writes events under names that never repeat.
#[derive(Debug, Clone)]
pub struct Events {
    clock: Arc<dyn Clock>,
    identity: Arc<str>,
    seed: u64,
    count: Arc<AtomicU64>,
}

impl Events {
    /// `identity` is reported as the instance; `seed` keeps the names of two processes apart.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, identity: &str, seed: u64) -> Self {
        Self { clock, identity: identity.into(), seed, count: Arc::default() }
    }

    /// Writes one event.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn write(&self, note: &Note, key: &ObjectKey, uid: &str, writer: &Writer) -> Result<(), WriteError> {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let now = Time(self.clock.now());
        let event = Event {
            metadata: ObjectMeta {
                name: Some(format!("{}.{:016x}{count:x}", key.name, self.seed)),
                namespace: Some(key.namespace.to_string()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some(key.group.api_version()),
                kind: Some("ScaledObject".to_owned()),
                name: Some(key.name.to_string()),
                namespace: Some(key.namespace.to_string()),
                uid: Some(uid.to_owned()),
                ..ObjectReference::default()
            },
            type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(note.reason.to_owned()),
            message: Some(note.message.chars().take(1000).collect()),
            source: Some(EventSource { component: Some(FIELD_MANAGER.to_owned()), host: None }),
            reporting_component: Some(FIELD_MANAGER.to_owned()),
            reporting_instance: Some(self.identity.to_string()),
            count: Some(1),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            ..Event::default()
        };
        let api: Api<Event> = Api::namespaced(writer.client().clone(), &key.namespace);
        writer.create(&api, &event).await.map(drop)
    }
}
