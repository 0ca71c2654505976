//! The controllers of the simulated cluster: Deployments, ReplicaSets, StatefulSets and Jobs make pods, pods become ready
//! and end, HPAs scale. They use the API server as anybody does, and know no Windlass.
//!
//! ```text
//!  change feed ─▶ World (workload controllers, kubelet) ─▶ Store ─▶ API server
//!             └─▶ hpa::Controller ─ external.metrics.k8s.io ─▶ decision::hpa::sync ─▶ /scale, status, events
//! ```

mod deployment;
mod duration;
mod hpa;
mod job;
mod json;
mod kubelet;
mod namespaces;
mod pods;
mod quantity;
mod replicaset;
mod served;
mod settings;
mod statefulset;
mod store;
mod world;

#[cfg(test)]
mod tests;

use tokio_util::sync::{CancellationToken, DropGuard};

use crate::api::Cluster;
use crate::load::Loads;

pub use duration::Spread;
pub use settings::Settings;

/// As whom the workload controllers write.
const CONTROLLERS: &str = "system:kube-controller-manager";

/// Running controllers; they end when it is dropped.
#[derive(Debug)]
pub struct Handle {
    _stop: DropGuard,
}

/// Starts the controllers of `cluster` on the present tokio runtime. `loads` is told how many pods of each target work,
/// and says how busy they are. `seed` decides start-up times.
#[must_use]
pub fn start(cluster: &Cluster, settings: Settings, loads: Option<Loads>, seed: u64) -> Handle {
    let stop = CancellationToken::new();
    let pods = pods::PodCache::default();
    let served = served::ServedTargets::new(loads.clone());
    let store = store::Store::new(cluster.clone(), CONTROLLERS);
    let world = world::World::new(store, settings.clone(), seed, pods.clone(), cluster.clock(), served);
    tokio::spawn(world.run(store::Feed::new(cluster), stop.clone()));
    let autoscalers = hpa::Controller::new(cluster.clone(), settings, loads, pods);
    tokio::spawn(autoscalers.run(store::Feed::new(cluster), stop.clone()));
    Handle { _stop: stop.drop_guard() }
}
