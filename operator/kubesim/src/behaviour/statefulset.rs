//! The StatefulSet controller: pods with fixed names, all at once (`podManagementPolicy: Parallel`, whatever the object
//! says), highest number deleted first; a new template replaces one pod at a time. Never makes volumes.

use std::sync::Arc;

use serde_json::{Value, json};

use super::json::{NsName, count, deleting, name, number, omit_zero, short_hash, status_patch, text};
use super::pods::Pod;
use super::store::Kind;
use super::world::{Work, World, uid_of};

const REVISION_LABEL: &str = "controller-revision-hash";

impl World {
    pub(super) fn sync_stateful_set(&mut self, work: &Work, key: &NsName) {
        let Some(set) = self.object(Kind::StatefulSet, key) else { return };
        if deleting(&set) {
            return;
        }
        let pods = self.pods_of(&uid_of(&set));
        let wanted = count(&set, "/spec/replicas").unwrap_or(1);
        let first = count(&set, "/spec/ordinals/start").unwrap_or(0);
        let update = format!("{}-{}", name(&set), short_hash(set.pointer("/spec/template").unwrap_or(&Value::Null)));
        let members = first..first.saturating_add(wanted);

        for number in members.clone() {
            let pod_name = format!("{}-{number}", name(&set));
            if !pods.iter().any(|pod| name(&pod.object) == pod_name) {
                let mut pod = self.pod_from(&set, "apps/v1", "StatefulSet", Some(&pod_name));
                pod["metadata"]["labels"][REVISION_LABEL] = update.clone().into();
                pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] = pod_name.into();
                let created = self.store.create(Kind::Pod, &key.0, pod);
                self.settle(work, created);
            }
        }

        let mut leaving: Vec<&Arc<Pod>> = pods
            .iter()
            .filter(|pod| pod.finished() || !ordinal(&pod.object).is_some_and(|number| members.contains(&number)))
            .collect();
        leaving.sort_by_key(|pod| std::cmp::Reverse(ordinal(&pod.object)));
        let outdated = pods.iter().filter(|pod| revision(pod) != update).max_by_key(|pod| ordinal(&pod.object));
        let all_ready = pods.len() == wanted as usize && pods.iter().all(|pod| pod.ready.is_some());
        let on_delete = text(&set, "/spec/updateStrategy/type") == "OnDelete";
        if let Some(outdated) =
            outdated.filter(|pod| leaving.is_empty() && !on_delete && (all_ready || pod.ready.is_none()))
        {
            leaving.push(outdated);
        }
        for pod in leaving.iter().filter(|pod| !pod.deleting) {
            let deleted = self.store.delete(Kind::Pod, &(key.0.clone(), name(&pod.object).to_owned()), &pod.uid);
            self.settle(work, deleted);
        }

        let active: Vec<_> = pods.iter().filter(|pod| pod.active()).cloned().collect();
        let counts = self.counts(work, &set, &active);
        let updated = u32::try_from(active.iter().filter(|pod| revision(pod) == update).count()).unwrap_or(u32::MAX);
        let done = updated == counts.replicas && counts.replicas == wanted;
        let current = match text(&set, "/status/currentRevision") {
            before if before.is_empty() || done => update.clone(),
            before => before.to_owned(),
        };
        let on_current = if current == update { updated } else { counts.replicas - updated };
        let status = json!({
            "observedGeneration": number(&set, "/metadata/generation"),
            "replicas": counts.replicas,
            "readyReplicas": omit_zero(counts.ready),
            "availableReplicas": counts.available,
            "currentReplicas": omit_zero(on_current),
            "updatedReplicas": omit_zero(updated),
            "currentRevision": current,
            "updateRevision": update,
            "collisionCount": 0,
        });
        if let Some(patch) = status_patch(&set, status) {
            let written = self.store.patch_status(Kind::StatefulSet, key, patch);
            self.settle(work, written);
        }
    }
}

fn ordinal(pod: &Value) -> Option<u32> {
    name(pod).rsplit_once('-')?.1.parse().ok()
}

fn revision(pod: &Pod) -> &str {
    text(&pod.object, &format!("/metadata/labels/{REVISION_LABEL}"))
}
