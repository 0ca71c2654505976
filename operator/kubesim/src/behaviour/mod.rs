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
mod pod_metrics;
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

use std::net::SocketAddr;

use axum::Router;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::api::{Cluster, Status};
use crate::load::Loads;

pub use duration::{InvalidSpread, Spread};
pub use settings::Settings;

/// As whom the workload controllers write.
const CONTROLLERS: &str = "system:kube-controller-manager";

/// Running controllers; they end when it is dropped.
#[derive(Debug)]
pub struct Handle {
    cluster: Cluster,
    settings: Settings,
    pods: pods::PodCache,
    pod_metrics: pod_metrics::PodMetrics,
    hpa: Option<DropGuard>,
    _world: DropGuard,
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
    let pod_metrics = pod_metrics::PodMetrics::new(cluster.clone(), loads, pods.clone());
    let mut handle =
        Handle { cluster: cluster.clone(), settings, pods, pod_metrics, hpa: None, _world: stop.drop_guard() };
    handle.restart_hpa();
    handle
}

impl Handle {
    /// Ends the HPA controller: a sync that waits for a metric ends without having written anything.
    pub fn stop_hpa(&mut self) {
        self.hpa = None;
    }

    /// Starts the HPA controller, or ends it and starts another one. As after a restart of the real one, everything it
    /// remembered (recommendations, scale events) is lost and every autoscaler is synced one period from now.
    pub fn restart_hpa(&mut self) {
        let stop = CancellationToken::new();
        let (settings, pods, metrics) = (self.settings.clone(), self.pods.clone(), self.pod_metrics.clone());
        let autoscalers = hpa::Controller::new(self.cluster.clone(), settings, pods, metrics);
        tokio::spawn(autoscalers.run(store::Feed::new(&self.cluster), stop.clone()));
        self.hpa = Some(stop.drop_guard());
    }

    /// The API `metrics.k8s.io/v1beta1`, for whoever wants to serve it himself.
    pub fn pod_metrics(&self) -> Router {
        self.pod_metrics.clone().router()
    }

    /// Serves `metrics.k8s.io/v1beta1` at a virtual address and registers it, as an installed metrics-server would be. The
    /// HPA controller then asks there, through the API server. Without it, it is given the same figures directly.
    ///
    /// # Errors
    /// What the API server answers; the namespace `kube-system` must be there.
    pub fn publish_pod_metrics(&self, at: SocketAddr) -> Result<(), Status> {
        self.cluster.listen(at, self.pod_metrics());
        for object in metrics_server(at) {
            self.cluster.apply_manifest(CONTROLLERS, object)?;
        }
        Ok(())
    }
}

/// What leads the API server to the pod metrics.
fn metrics_server(at: SocketAddr) -> [Value; 3] {
    let metadata = json!({"name": "metrics-server", "namespace": "kube-system"});
    let port = json!({"name": "https", "port": at.port(), "protocol": "TCP"});
    [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [port]}}),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "metrics-server", "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": "metrics-server"},
            },
            "addressType": if at.is_ipv4() { "IPv4" } else { "IPv6" },
            "endpoints": [{"addresses": [at.ip().to_string()], "conditions": {"ready": true}}],
            "ports": [port],
        }),
        json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
                "service": {"name": "metrics-server", "namespace": "kube-system", "port": at.port()},
            },
        }),
    ]
}
