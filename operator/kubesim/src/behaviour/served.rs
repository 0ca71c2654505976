//! How many pods of each target do work, told to the load model at each change: a pod counts for its controller and for the
//! controller of that one. Never lists pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::json::{NsName, owner};
use super::pods::Pod;
use super::store::Kind;
use crate::load::{Loads, TargetKey};

/// Which pods work for which targets.
#[derive(Debug, Default)]
pub(super) struct ServedTargets {
    loads: Option<Loads>,
    pods: BTreeMap<NsName, Vec<TargetKey>>,
    counts: BTreeMap<TargetKey, u32>,
}

impl ServedTargets {
    pub(super) fn new(loads: Option<Loads>) -> Self {
        Self { loads, ..Self::default() }
    }

    /// Takes note of whether a pod works.
    pub(super) fn pod(
        &mut self,
        key: &NsName,
        pod: &Pod,
        serves: bool,
        objects: &BTreeMap<Kind, BTreeMap<NsName, Arc<Value>>>,
    ) {
        let Some(loads) = &self.loads else { return };
        if serves == self.pods.contains_key(key) {
            return;
        }
        // When it stops, its owners may be gone already: those it started with are remembered.
        let targets = if serves { targets(key, pod, objects) } else { self.pods.remove(key).unwrap_or_default() };
        for target in &targets {
            let count = self.counts.entry(target.clone()).or_default();
            *count = if serves { *count + 1 } else { count.saturating_sub(1) };
            loads.set_ready(target, *count);
        }
        if serves {
            self.pods.insert(key.clone(), targets);
        }
    }
}

fn targets(key: &NsName, pod: &Pod, objects: &BTreeMap<Kind, BTreeMap<NsName, Arc<Value>>>) -> Vec<TargetKey> {
    let Some(direct) = &pod.owner else { return Vec::new() };
    let mut found = vec![TargetKey::new(&key.0, &direct.kind, &direct.name)];
    let kind = match direct.kind.as_str() {
        "ReplicaSet" => Kind::ReplicaSet,
        "Job" => Kind::Job,
        _ => return found,
    };
    let middle = objects.get(&kind).and_then(|objects| objects.get(&(key.0.clone(), direct.name.clone())));
    if let Some(upper) = middle.and_then(|middle| owner(middle)) {
        found.push(TargetKey::new(&key.0, &upper.kind, &upper.name));
    }
    found
}
