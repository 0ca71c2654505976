//! Carries out effects. Together with `writer` this is the only module that writes to Kubernetes; it decides nothing.

pub mod endpoint_slice;
mod event;
pub mod token;
pub mod writer;

use k8s_openapi::api::autoscaling::v1::{Scale as ScaleObject, ScaleSpec};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{DynamicObject, ObjectMeta};
use kube::{Api, Client};
use serde_json::Value;
use windlass_crd::{Group, ScaledObjectStatus};
use windlass_decision::Verdict;

use crate::apply::writer::{WriteError, Writer};
use crate::cache::version;
use crate::key::ObjectKey;
use crate::mutant::{self, Mutant};
use crate::plan::{Effect, Mark, Note, Scale};
use crate::seen::SeenHpa;

pub use event::Events;

/// What an effect has brought about: it is believed until the watch has caught up.
#[derive(Debug, Clone, PartialEq)]
pub enum Applied {
    /// The HPA as it was written.
    Hpa(Box<SeenHpa>),
    /// The status as it was written.
    Status {
        /// What was written.
        status: Box<ScaledObjectStatus>,
        /// The object's new resourceVersion.
        version: u64,
    },
    /// The replicas as they were written.
    Scaled {
        /// The effect.
        scale: Box<Scale>,
        /// The target's new resourceVersion.
        version: u64,
    },
    /// The HPA of this uid is deleted.
    HpaDeleted(String),
    /// Nothing that needs to be remembered.
    Nothing,
}

/// Why an effect was not carried out, or is not known to have been.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The write failed.
    #[error("{what}: {source}")]
    Write {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        source: WriteError,
    },
    /// An HPA of that name exists and is not ours.
    #[error(
        "spec.advanced.horizontalPodAutoscalerConfig.name: the HPA {0:?} exists and was not made for this object; delete \
         that HPA or give this object's HPA another name"
    )]
    ForeignHpa(String),
}

impl ApplyError {
    /// Whether the world has moved on, so that deciding again is all that is needed.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Write { source, .. } if source.is_conflict())
    }

    /// A short name for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::ForeignHpa(_) => "foreign_hpa",
            Self::Write { source: WriteError::NotLeader, .. } => "not_leader",
            Self::Write { source: WriteError::Deadline(_), .. } => "deadline",
            Self::Write { source, .. } if source.is_conflict() => "conflict",
            Self::Write { .. } => "api_error",
        }
    }
}

/// What effects need.
#[derive(Debug, Clone)]
pub struct Ctx {
    /// Sends the writes.
    pub writer: Writer,
    /// Writes events.
    pub events: Events,
}

/// Carries out one effect for the object `key` with the uid `uid`.
///
/// # Errors
/// See [`ApplyError`]. A conflict means that the object changed meanwhile.
pub async fn apply(effect: &Effect, key: &ObjectKey, uid: &str, ctx: &Ctx) -> Result<Applied, ApplyError> {
    let failed = |what| move |source| ApplyError::Write { what, source };
    let client = ctx.writer.client().clone();
    match effect {
        Effect::ApplyHpa { name, body, known } => {
            let api: Api<HorizontalPodAutoscaler> = Api::namespaced(client, &key.namespace);
            if !known {
                refuse_foreign(&ctx.writer, &api, name, uid).await?;
            }
            let hpa = ctx.writer.apply(&api, name, body).await.map_err(failed("write the HPA"))?;
            tracing::info!(object = %key, hpa = name, "HPA written");
            Ok(Applied::Hpa(Box::new(hpa.into())))
        }
        Effect::DeleteHpa { name, uid } => {
            let api: Api<HorizontalPodAutoscaler> = Api::namespaced(client, &key.namespace);
            match ctx.writer.delete(&api, name, uid).await {
                Ok(()) => tracing::info!(object = %key, hpa = name, "HPA deleted"),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(failed("delete the HPA")(error)),
            }
            Ok(Applied::HpaDeleted(uid.clone()))
        }
        Effect::Scale(scale) => {
            let version = write_scale(scale, key, client, &ctx.writer).await.map_err(failed("write the replicas"))?;
            // People read of it in the line of its event.
            tracing::debug!(
                object = %key, from = scale.seen.replicas, to = scale.to, verdict = scale.verdict.map_or("restore", Verdict::as_str), why = scale.why,
                "scaled"
            );
            Ok(Applied::Scaled { scale: scale.clone(), version })
        }
        Effect::Status { status, only_at, before } => {
            let api = scaled_objects(client, key);
            let mut body = serde_json::json!({
                "apiVersion": key.group.api_version(), "kind": "ScaledObject",
                "metadata": {"name": &*key.name, "namespace": &*key.namespace, "uid": uid},
            });
            if let Some(version) = only_at {
                body["metadata"]["resourceVersion"] = version.to_string().into();
            }
            let written = if key.group == Group::Keda {
                // What KEDA has written is KEDA's own to an apply, which could not take it away.
                body["status"] = difference(&serde_json::json!(before), &serde_json::json!(status));
                ctx.writer.merge_status("ScaledObject", &api, &key.name, &body).await
            } else {
                body["status"] = serde_json::json!(status);
                ctx.writer.apply_status("ScaledObject", &api, &key.name, &body).await
            };
            let written = written.map_err(failed("write the status"))?;
            Ok(Applied::Status { status: status.clone(), version: version(&written.metadata) })
        }
        Effect::Mark(Mark { version, labels, finalizers }) => {
            let body = serde_json::json!({"metadata": {
                "uid": uid, "resourceVersion": version.to_string(), "labels": labels, "finalizers": finalizers,
            }});
            match ctx.writer.merge("ScaledObject", &scaled_objects(client, key), &key.name, &body).await {
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(failed("write the object's finalizers")(error)),
            }
            Ok(Applied::Nothing)
        }
        Effect::Event(note) | Effect::Tell(note) => {
            log(note, key);
            tell(note, key, uid, ctx).await;
            Ok(Applied::Nothing)
        }
    }
}

/// The merge patch (RFC 7386) that makes `new` of `old`.
fn difference(old: &Value, new: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return new.clone() };
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = new.iter().filter_map(|(key, value)| match old.get(key) {
        Some(before) if before == value => None,
        Some(before) => Some((key.clone(), difference(before, value))),
        None => Some((key.clone(), value.clone())),
    });
    Value::Object(gone.chain(changed).collect())
}

fn scaled_objects(client: Client, key: &ObjectKey) -> Api<DynamicObject> {
    Api::namespaced_with(client, &key.namespace, &crate::world::scaled_objects(key.group))
}

/// Writes a note down in the log.
pub fn log(note: &Note, key: &ObjectKey) {
    if note.warning {
        tracing::warn!(object = %key, reason = note.reason, message = note.message, "object changed state");
    } else {
        tracing::info!(object = %key, reason = note.reason, message = note.message, "object changed state");
    }
}

/// Writes an event. One that cannot be written is logged and lost: it must not hold up scaling.
pub async fn tell(note: &Note, key: &ObjectKey, uid: &str, ctx: &Ctx) {
    if let Err(error) = ctx.events.write(note, key, uid, &ctx.writer).await {
        tracing::warn!(object = %key, %error, "event not written");
    }
}

/// PUT of the Scale as it was seen: if the target changed meanwhile, the API server answers 409.
async fn write_scale(scale: &Scale, key: &ObjectKey, client: Client, writer: &Writer) -> Result<u64, WriteError> {
    let api: Api<DynamicObject> = Api::namespaced_with(client, &key.namespace, &scale.resource);
    let body = ScaleObject {
        metadata: ObjectMeta {
            name: Some(scale.target.name.clone()),
            namespace: Some(key.namespace.to_string()),
            uid: Some(scale.seen.uid.clone()),
            resource_version: Some(scale.seen.version.to_string()).filter(|_| !mutant::is(Mutant::StaleCacheTrusted)),
            ..ObjectMeta::default()
        },
        spec: Some(ScaleSpec { replicas: i32::try_from(scale.to).ok() }),
        status: None,
    };
    let written = writer.replace_scale(&api, &scale.target.name, &body).await?;
    Ok(version(&written.metadata))
}

async fn refuse_foreign(
    writer: &Writer,
    api: &Api<HorizontalPodAutoscaler>,
    name: &str,
    uid: &str,
) -> Result<(), ApplyError> {
    let read = writer.read(api.get_opt(name)).await;
    let found = read.map_err(|source| ApplyError::Write { what: "look for the HPA", source })?;
    let Some(found) = found else { return Ok(()) };
    // The label may have been taken off by hand, which is put right; an owner's uid cannot be met by accident.
    let owned = found.metadata.owner_references.iter().flatten().any(|owner| owner.uid == uid);
    if owned { Ok(()) } else { Err(ApplyError::ForeignHpa(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::json;
    use tokio::time::Instant;
    use windlass_crd::NAME_LABEL;

    use super::{Applied, ApplyError, Ctx, Events, Value, apply, difference};
    use crate::apply::writer::Writer;
    use crate::certificates::fake::FakeApi;
    use crate::clock::SystemClock;
    use crate::key::ObjectKey;
    use crate::leadership::leadership;
    use crate::plan::Effect;

    const PATH: &str = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/windlass-hpa-web";

    fn hpa(labels: &Value, owner: &str) -> Value {
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "windlass-hpa-web", "namespace": "shop", "uid": "h", "labels": labels, "ownerReferences":
                [{"apiVersion": "windlass.dev/v1alpha1", "kind": "ScaledObject", "name": "web", "uid": owner}]},
            "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
        })
    }

    #[tokio::test]
    async fn an_hpa_is_ours_by_its_owner_and_not_by_a_label_that_anybody_can_write() {
        let ours = json!({NAME_LABEL: "web"});
        for (labels, owner, is_ours) in [
            (&ours, "mine", true),
            (&json!({}), "mine", true),
            (&ours, "another", false),
            (&json!({}), "another", false),
        ] {
            let (api, client) = FakeApi::new();
            let (grant, leadership) = leadership();
            grant.extend(Instant::now() + Duration::from_secs(60));
            let events = Events::new(Arc::new(SystemClock), "test", 0);
            let ctx = Ctx { writer: Writer::fenced(client, leadership, Duration::from_secs(5)), events };
            api.lock().unwrap().put(PATH, hpa(labels, owner));
            let name = "windlass-hpa-web".to_owned();
            let effect = Effect::ApplyHpa { name, body: hpa(&ours, "mine"), known: false };
            let applied = apply(&effect, &ObjectKey::new("shop", "web"), "mine", &ctx).await;
            let writes = api.lock().unwrap().writes.len();
            match applied {
                Ok(Applied::Hpa(_)) => assert!(is_ours && writes == 1, "{labels} {owner}: written"),
                Err(ApplyError::ForeignHpa(_)) => assert!(!is_ours && writes == 0, "{labels} {owner}: refused"),
                other => panic!("{labels} {owner}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_merge_patch_takes_away_what_is_gone_and_leaves_what_is_the_same() {
        let old = json!({"a": 1, "map": {"x": 1, "y": {"z": 1}}, "list": [1], "same": {"k": 1}});
        let new = json!({"map": {"y": {"z": 2}, "n": 3}, "list": [1, 2], "same": {"k": 1}});
        let patch = difference(&old, &new);
        assert_eq!(patch, json!({"a": null, "map": {"x": null, "y": {"z": 2}, "n": 3}, "list": [1, 2]}));
        assert_eq!(difference(&new, &new), json!({}));
    }
}
