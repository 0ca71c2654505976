//! What is kept of the objects that are watched: the parts that are needed and no more, since there may be thousands.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec};
use kube::Resource;
use kube::api::{ApiResource, DynamicObject, ObjectMeta};
use serde::{Deserialize, Serialize};
use windlass_crd::{Group, ScaledObjectSpec, ScaledObjectStatus};
use windlass_decision::Hand;

use crate::cache::version;
use crate::environment::{Containers, Template};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A scaled object as it was last seen.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenObject {
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub version: u64,
    /// Its generation.
    pub generation: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations, but for the copy of itself that kubectl keeps there.
    pub annotations: BTreeMap<String, String>,
    /// Who is to be asked before it goes.
    pub finalizers: Vec<String>,
    /// What a person has asked for by annotations, or why that cannot be understood.
    pub hand: Result<Hand, String>,
    /// Its spec, or why it cannot be understood.
    pub spec: Result<ScaledObjectSpec, String>,
    /// Its status; an unreadable one counts as empty.
    pub status: ScaledObjectStatus,
}

/// An HPA as it was last seen.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenHpa {
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub version: u64,
    /// Its metadata, without managed fields.
    pub meta: ObjectMeta,
    /// Its spec.
    pub spec: HorizontalPodAutoscalerSpec,
    /// Whether it can scale, by its own words; `None` before its first sync.
    pub scaling_active: Option<Arc<ScalingActive>>,
}

/// The condition `ScalingActive` of an HPA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalingActive {
    /// Whether it can scale.
    pub is_true: bool,
    /// The reason.
    pub reason: String,
    /// The words for a person.
    pub message: String,
}

/// A target as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenTarget {
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub version: u64,
    /// `spec.replicas`, 1 where it is not given, as Kubernetes defaults it.
    pub replicas: u32,
    /// `status.readyReplicas`.
    pub ready: u32,
    /// The environment of its containers; `None` where it has no pod template.
    pub containers: Option<Containers>,
    /// Who last wrote its replicas, by the name it has in `managedFields`.
    pub scaled_by: Option<String>,
}

impl From<DynamicObject> for SeenObject {
    fn from(mut object: DynamicObject) -> Self {
        let part = |name: &str, data: &mut serde_json::Value| data.get_mut(name).map(serde_json::Value::take);
        let spec = match part("spec", &mut object.data) {
            Some(spec) => serde_json::from_value(spec).map_err(|error| error.to_string()),
            None => Err("spec is missing".to_owned()),
        };
        let status = part("status", &mut object.data).map(ScaledObjectStatus::read).unwrap_or_default();
        let mut annotations = object.metadata.annotations.take().unwrap_or_default();
        annotations.remove(LAST_APPLIED);
        Self {
            version: version(&object.metadata),
            generation: object.metadata.generation.unwrap_or_default(),
            created_at: object.metadata.creation_timestamp.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            deleting: object.metadata.deletion_timestamp.is_some(),
            hand: windlass_crd::hand(&annotations).map_err(|error| error.to_string()),
            labels: object.metadata.labels.unwrap_or_default(),
            annotations,
            finalizers: object.metadata.finalizers.unwrap_or_default(),
            uid: object.metadata.uid.unwrap_or_default(),
            spec,
            status,
        }
    }
}

impl SeenObject {
    /// Whether it carries the finalizer by which we are asked before it goes.
    #[must_use]
    pub fn waits_for(&self, group: Group) -> bool {
        self.finalizers.iter().any(|name| name == group.finalizer())
    }
}

impl SeenHpa {
    /// The name of the scaled object of `group` that this HPA was made for.
    #[must_use]
    pub fn owner(&self, group: Group) -> Option<&str> {
        self.meta.labels.as_ref()?.get(group.name_label()).map(String::as_str)
    }
}

impl From<HorizontalPodAutoscaler> for SeenHpa {
    fn from(hpa: HorizontalPodAutoscaler) -> Self {
        let mut meta = hpa.metadata;
        meta.managed_fields = None;
        let conditions = hpa.status.and_then(|status| status.conditions).unwrap_or_default();
        let active = conditions.into_iter().find(|condition| condition.type_ == "ScalingActive");
        let scaling_active = active.filter(|condition| condition.status != "Unknown").map(|condition| {
            Arc::new(ScalingActive {
                is_true: condition.status == "True",
                reason: condition.reason.unwrap_or_default(),
                message: condition.message.unwrap_or_default(),
            })
        });
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            version: version(&meta),
            meta,
            spec: hpa.spec.unwrap_or_default(),
            scaling_active,
        }
    }
}

/// The part of a target that is needed: a small shape, since there may be thousands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ScaleTarget {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: ScaleTargetSpec,
    #[serde(default)]
    status: ScaleTargetStatus,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct ScaleTargetSpec {
    replicas: Option<i32>,
    /// What is no pod template to us must not hide the rest.
    template: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScaleTargetStatus {
    ready_replicas: Option<i32>,
}

impl Resource for ScaleTarget {
    type DynamicType = ApiResource;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(dt: &ApiResource) -> Cow<'_, str> {
        dt.kind.as_str().into()
    }

    fn group(dt: &ApiResource) -> Cow<'_, str> {
        dt.group.as_str().into()
    }

    fn version(dt: &ApiResource) -> Cow<'_, str> {
        dt.version.as_str().into()
    }

    fn plural(dt: &ApiResource) -> Cow<'_, str> {
        dt.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Whoever owns the replicas; the latest, if several do.
fn scaled_by(metadata: &ObjectMeta) -> Option<String> {
    let entries = metadata.managed_fields.iter().flatten();
    let owners = entries.filter(|entry| {
        entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer("/f:spec/f:replicas").is_some())
    });
    owners.max_by(|one, other| one.time.cmp(&other.time))?.manager.clone()
}

impl From<ScaleTarget> for SeenTarget {
    fn from(target: ScaleTarget) -> Self {
        let count = |replicas: Option<i32>, default| replicas.map_or(default, |n| u32::try_from(n).unwrap_or(0));
        Self {
            version: version(&target.metadata),
            scaled_by: scaled_by(&target.metadata),
            uid: target.metadata.uid.unwrap_or_default(),
            replicas: count(target.spec.replicas, 1),
            ready: count(target.status.ready_replicas, 0),
            containers: target
                .spec
                .template
                .and_then(|template| serde_json::from_value::<Template>(template).ok())
                .and_then(Template::containers),
        }
    }
}
