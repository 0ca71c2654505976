//! The ReplicaSet controller: as many pods as are asked for, and their counts in the status. Never adopts pods that have no
//! controller, and never paces itself: all missing pods are created at once.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::json::{
    NsName, annotation, count, deleting, fields, name, namespace, number, omit_zero, owned_by, status_patch,
};
use super::pods::{Phase, Pod};
use super::store::Kind;
use super::world::{Timer, Work, World, uid_of};

/// The counts of pods that every workload's status has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) replicas: u32,
    pub(super) ready: u32,
    pub(super) available: u32,
}

impl World {
    pub(super) fn sync_replica_set(&mut self, work: &Work, key: &NsName) {
        let Some(set) = self.object(Kind::ReplicaSet, key) else { return };
        let mut pods: Vec<_> = self.pods_of(&uid_of(&set)).into_iter().filter(|pod| pod.active()).collect();
        let wanted = count(&set, "/spec/replicas").unwrap_or(1);
        let present = u32::try_from(pods.len()).unwrap_or(u32::MAX);
        if !deleting(&set) {
            for _ in present..wanted {
                let pod = self.pod_from(&set, "apps/v1", "ReplicaSet", None);
                let created = self.store.create(Kind::Pod, &key.0, pod);
                if self.settle(work, created).is_none() {
                    break;
                }
            }
            if present > wanted {
                pods.sort_by_cached_key(|pod| first_to_go(pod));
                for pod in pods.iter().take((present - wanted) as usize) {
                    let deleted =
                        self.store.delete(Kind::Pod, &(key.0.clone(), name(&pod.object).to_owned()), &pod.uid);
                    self.settle(work, deleted);
                }
            }
        }
        // The counts of this round are those before it, as in the real controller: the next change brings the next.
        let counts = self.counts(work, &set, &pods);
        let status = json!({
            "replicas": counts.replicas,
            "fullyLabeledReplicas": omit_zero(counts.replicas),
            "readyReplicas": omit_zero(counts.ready),
            "availableReplicas": omit_zero(counts.available),
            "observedGeneration": number(&set, "/metadata/generation"),
            "conditions": set.pointer("/status/conditions"),
        });
        if let Some(patch) = status_patch(&set, status) {
            let written = self.store.patch_status(Kind::ReplicaSet, key, patch);
            self.settle(work, written);
        }
    }

    /// Counts pods; looks again when the next one has been ready for `minReadySeconds`.
    pub(super) fn counts(&mut self, work: &Work, owner: &Value, pods: &[Arc<Pod>]) -> Counts {
        let min_ready = Duration::from_secs(count(owner, "/spec/minReadySeconds").unwrap_or(0).into());
        let now = self.now();
        let mut counts = Counts { replicas: u32::try_from(pods.len()).unwrap_or(u32::MAX), ..Counts::default() };
        let mut next: Option<Duration> = None;
        for since in pods.iter().filter_map(|pod| pod.ready) {
            counts.ready += 1;
            let age = Duration::try_from(now.duration_since(since)).unwrap_or(Duration::ZERO);
            match min_ready.checked_sub(age) {
                Some(left) if !left.is_zero() => next = Some(next.map_or(left, |next| next.min(left))),
                _ => counts.available += 1,
            }
        }
        if let Some(next) = next {
            self.after(next, Timer::Look(work.clone()));
        }
        counts
    }

    /// A pod out of the template of `owner`: with a fixed name, or one the API server makes.
    pub(super) fn pod_from(&self, owner: &Value, api_version: &str, kind: &str, fixed: Option<&str>) -> Value {
        let template = owner.pointer("/spec/template").unwrap_or(&Value::Null);
        let mut spec = template.get("spec").cloned().unwrap_or_else(|| json!({}));
        if let Some(spec) = spec.as_object_mut() {
            spec.entry("nodeName").or_insert_with(|| self.settings.node.clone().into());
        }
        let mut metadata = fields([
            ("namespace", namespace(owner).into()),
            ("ownerReferences", owned_by(owner, api_version, kind)),
            match fixed {
                Some(fixed) => ("name", fixed.into()),
                None => ("generateName", format!("{}-", name(owner)).into()),
            },
        ]);
        for field in ["labels", "annotations", "finalizers"] {
            if let Some(value) = template.pointer("/metadata").and_then(|metadata| metadata.get(field)) {
                metadata[field] = value.clone();
            }
        }
        fields([
            ("apiVersion", "v1".into()),
            ("kind", "Pod".into()),
            ("metadata", metadata),
            ("spec", spec),
            ("status", fields([("phase", "Pending".into())])),
        ])
    }
}

/// The order in which pods are deleted: not running, not ready, cheap by annotation, ready for a short time, young; as the
/// real controller sorts (`ActivePodsWithRanks`), but for nodes, of which there is one, and the logarithm of ages.
type Rank = (Phase, bool, i64, Reverse<Timestamp>, Reverse<Timestamp>, String);

fn first_to_go(pod: &Pod) -> Rank {
    let cost = annotation(&pod.object, "controller.kubernetes.io/pod-deletion-cost").and_then(|cost| cost.parse().ok());
    (
        pod.phase,
        pod.ready.is_some(),
        cost.unwrap_or(0),
        Reverse(pod.ready.unwrap_or(Timestamp::MAX)),
        Reverse(pod.created()),
        name(&pod.object).to_owned(),
    )
}
