//! The Deployment controller: one replica set for each pod template, the new one growing and the old ones shrinking within
//! maxSurge and maxUnavailable, and the status that tells of it. Never touches pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::json::{
    NsName, count, deleting, key, list, name, number, omit_zero, owned_by, set_condition, short_hash, status_patch,
    text,
};
use super::store::Kind;
use super::world::{Work, World, uid_of};

const HASH_LABEL: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";

impl World {
    pub(super) fn sync_deployment(&mut self, work: &Work, key: &NsName) {
        let Some(deployment) = self.object(Kind::Deployment, key) else { return };
        if deleting(&deployment) {
            return;
        }
        let sets = self.sets_of(&uid_of(&deployment));
        let template = deployment.pointer("/spec/template").unwrap_or(&Value::Null);
        let hash = short_hash(template);
        let current = sets.iter().find(|set| text(set, &format!("/metadata/labels/{HASH_LABEL}")) == hash);
        let wanted = count(&deployment, "/spec/replicas").unwrap_or(1);
        let paused = deployment.pointer("/spec/paused").and_then(Value::as_bool) == Some(true);
        match current {
            None if !paused => {
                let first = first_size(&deployment, &sets, wanted);
                let set = replica_set(&deployment, &hash, first, revision(&sets) + 1);
                let created = self.store.create(Kind::ReplicaSet, &key.0, set);
                self.settle(work, created);
                // Its arrival in the feed brings the rest.
            }
            Some(current) if !paused => self.roll(work, &deployment, current, &sets, wanted),
            // While it is paused only its size is followed, by its newest set.
            _ => {
                if let Some(newest) = sets.iter().max_by_key(|set| set_revision(set)) {
                    self.resize(work, newest, wanted);
                }
            }
        }
        self.write_deployment_status(work, key, &deployment, &hash, wanted);
    }

    fn sets_of(&self, owner_uid: &str) -> Vec<Arc<Value>> {
        let names = self.owned_sets.get(owner_uid).into_iter().flat_map(BTreeMap::keys);
        names.filter_map(|name| self.object(Kind::ReplicaSet, name)).collect()
    }

    /// One step of a rollout: what the limits allow now. Later steps follow as pods become ready or go.
    fn roll(&mut self, work: &Work, deployment: &Value, current: &Arc<Value>, sets: &[Arc<Value>], wanted: u32) {
        let old: Vec<_> = sets.iter().filter(|set| name(set) != name(current) && size(set) > 0).collect();
        if old.is_empty() {
            self.resize(work, current, wanted);
            return;
        }
        if text(deployment, "/spec/strategy/type") == "Recreate" {
            for set in &old {
                self.resize(work, set, 0);
            }
            if old.iter().all(|set| count(set, "/status/replicas").unwrap_or(0) == 0) {
                self.resize(work, current, wanted);
            }
            return;
        }
        let (surge, unavailable) = limits(deployment, wanted);
        let total: u32 = sets.iter().map(|set| size(set)).sum();
        let room = (wanted + surge).saturating_sub(total);
        let grown = wanted.min(size(current) + room);
        if grown != size(current) {
            self.resize(work, current, grown);
            return;
        }
        // Counted by what the sets are asked for, not by their status alone, which lags behind.
        let least = wanted.saturating_sub(unavailable);
        let starting = size(current).saturating_sub(available(current));
        let mut allowed = total.saturating_sub(least).saturating_sub(starting);
        let mut spare = sets.iter().map(|set| available(set)).sum::<u32>().saturating_sub(least);
        for set in old {
            // What is not available serves nobody and goes first.
            let idle = size(set).saturating_sub(available(set)).min(allowed);
            allowed -= idle;
            let serving = (size(set) - idle).min(spare).min(allowed);
            allowed -= serving;
            spare -= serving;
            self.resize(work, set, size(set) - idle - serving);
        }
    }

    fn resize(&mut self, work: &Work, set: &Arc<Value>, replicas: u32) {
        if size(set) != replicas {
            let resized = self.store.patch(Kind::ReplicaSet, &key(set), json!({ "spec": { "replicas": replicas } }));
            self.settle(work, resized);
        }
    }

    fn write_deployment_status(&mut self, work: &Work, key: &NsName, deployment: &Value, hash: &str, wanted: u32) {
        let sets = self.sets_of(&uid_of(deployment));
        let sum = |field: &str| -> u32 { sets.iter().map(|set| count(set, field).unwrap_or(0)).sum() };
        let replicas = sum("/status/replicas");
        let available = sum("/status/availableReplicas");
        let updated = sets
            .iter()
            .filter(|set| text(set, &format!("/metadata/labels/{HASH_LABEL}")) == hash)
            .map(|set| count(set, "/status/replicas").unwrap_or(0))
            .sum();

        let (_, unavailable) = limits(deployment, wanted);
        let now = self.now();
        let mut conditions = list(deployment, "/status/conditions").to_vec();
        let enough = available >= wanted.saturating_sub(unavailable);
        let (reason, message) = if enough {
            ("MinimumReplicasAvailable", "the deployment has the replicas it needs at least")
        } else {
            ("MinimumReplicasUnavailable", "the deployment has fewer replicas than it needs")
        };
        set_condition(&mut conditions, "Available", enough, reason, message, now);
        let complete = updated == wanted && replicas == wanted && available == wanted;
        let was_complete = conditions.iter().any(|condition| text(condition, "/reason") == "NewReplicaSetAvailable");
        // Once complete it stays so while it is only scaled; a new template starts again.
        let (reason, message) = if complete || (was_complete && updated == replicas) {
            ("NewReplicaSetAvailable", "the replica set has progressed successfully")
        } else {
            ("ReplicaSetUpdated", "the replica set is progressing")
        };
        set_condition(&mut conditions, "Progressing", true, reason, message, now);

        let status = json!({
            "observedGeneration": number(deployment, "/metadata/generation"),
            "replicas": omit_zero(replicas),
            "updatedReplicas": omit_zero(updated),
            "readyReplicas": omit_zero(sum("/status/readyReplicas")),
            "availableReplicas": omit_zero(available),
            "unavailableReplicas": omit_zero(replicas.max(wanted).saturating_sub(available)),
            "conditions": conditions,
        });
        if let Some(patch) = status_patch(deployment, status) {
            let written = self.store.patch_status(Kind::Deployment, key, patch);
            self.settle(work, written);
        }
    }
}

fn size(set: &Value) -> u32 {
    count(set, "/spec/replicas").unwrap_or(1)
}

fn available(set: &Value) -> u32 {
    count(set, "/status/availableReplicas").unwrap_or(0)
}

fn set_revision(set: &Value) -> u64 {
    super::json::annotation(set, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn revision(sets: &[Arc<Value>]) -> u64 {
    sets.iter().map(|set| set_revision(set)).max().unwrap_or(0)
}

/// How large a new set begins: all of it, if there is no other; else what the surge leaves.
fn first_size(deployment: &Value, sets: &[Arc<Value>], wanted: u32) -> u32 {
    let total: u32 = sets.iter().map(|set| size(set)).sum();
    if total == 0 {
        wanted
    } else if text(deployment, "/spec/strategy/type") == "Recreate" {
        0
    } else {
        wanted.min((wanted + limits(deployment, wanted).0).saturating_sub(total))
    }
}

/// maxSurge (rounded up) and maxUnavailable (rounded down) as pods; both 25 % by default, and never both 0.
fn limits(deployment: &Value, wanted: u32) -> (u32, u32) {
    if text(deployment, "/spec/strategy/type") == "Recreate" {
        return (0, 0);
    }
    let part = |field: &str, up: bool| -> u32 {
        let value = deployment.pointer(&format!("/spec/strategy/rollingUpdate/{field}"));
        if let Some(pods) = value.and_then(Value::as_u64) {
            return u32::try_from(pods).unwrap_or(u32::MAX);
        }
        let text = value.and_then(Value::as_str).unwrap_or("25%");
        let percent: u64 = text.trim_end_matches('%').parse().unwrap_or(25);
        let pods = u64::from(wanted) * percent;
        u32::try_from(if up { pods.div_ceil(100) } else { pods / 100 }).unwrap_or(u32::MAX)
    };
    let (surge, unavailable) = (part("maxSurge", true), part("maxUnavailable", false));
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

fn replica_set(deployment: &Value, hash: &str, replicas: u32, revision: u64) -> Value {
    let mut template = deployment.pointer("/spec/template").cloned().unwrap_or_else(|| json!({}));
    if !template.get("metadata").is_some_and(Value::is_object) {
        template["metadata"] = json!({});
    }
    if !template["metadata"].get("labels").is_some_and(Value::is_object) {
        template["metadata"]["labels"] = json!({});
    }
    template["metadata"]["labels"][HASH_LABEL] = hash.into();
    let labels = template["metadata"]["labels"].clone();
    let mut selector = deployment.pointer("/spec/selector").cloned().unwrap_or_else(|| json!({}));
    if !selector.get("matchLabels").is_some_and(Value::is_object) {
        selector["matchLabels"] = json!({});
    }
    selector["matchLabels"][HASH_LABEL] = hash.into();
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{}-{hash}", name(deployment)),
            "namespace": deployment.pointer("/metadata/namespace"),
            "labels": labels,
            "annotations": { (REVISION): revision.to_string() },
            "ownerReferences": owned_by(deployment, "apps/v1", "Deployment"),
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": number(deployment, "/spec/minReadySeconds").unwrap_or(0),
            "selector": selector,
            "template": template,
        },
    })
}
