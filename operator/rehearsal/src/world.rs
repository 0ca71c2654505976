//! A simulated cluster with everything the operator needs: its resource types, its namespace, the metrics Service and the
//! APIService that leads to whichever replica has published itself. Nothing here scales or judges.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use windlass_decision::Clock;
use windlass_kubesim::api::{Cluster, Faults, Options, Status};
use windlass_kubesim::behaviour::{self, Settings};
use windlass_kubesim::load::Loads;

use crate::broker::{Brokers, Figure};
use crate::clock::VirtualClock;

/// The namespace of the operator's own objects.
pub const SYSTEM_NAMESPACE: &str = "windlass-system";
/// Where the simulated metrics-server answers.
const POD_METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254)), 443);
/// Who sets a world up.
const ADMIN: &str = "admin";

/// Why a world could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The simulated API server refused an object.
    #[error("create {kind} {name}: {problem}")]
    Create {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// The answer.
        problem: String,
    },
    /// A resource type cannot be written as JSON.
    #[error("write the resource types as JSON: {0}")]
    Types(#[from] serde_json::Error),
}

/// What distinguishes one world from another.
pub struct WorldOptions {
    /// The seed of all randomness in the cluster.
    pub seed: u64,
    /// What queues hold.
    pub figure: Box<Figure>,
    /// What goes wrong at the API server, if anything.
    pub faults: Option<Arc<dyn Faults>>,
    /// How Deployments, Jobs and HPAs behave.
    pub behaviour: Settings,
    /// Told how many pods work, and asked how busy they are: where there are some, `metrics.k8s.io` is served.
    pub loads: Option<Loads>,
    /// How many of the latest requests are kept for [`Cluster::audit`].
    pub audit: usize,
}

impl std::fmt::Debug for WorldOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorldOptions").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// A simulated cluster, its brokers and its clock.
#[derive(Debug)]
pub struct World {
    /// The cluster.
    pub cluster: Cluster,
    /// The brokers.
    pub brokers: Brokers,
    /// The right time.
    pub clock: Arc<VirtualClock>,
    /// The controllers; they end when this is dropped.
    controllers: behaviour::Handle,
}

impl World {
    /// Sets a world up. Must be called within the runtime of the simulation.
    ///
    /// # Errors
    /// See [`WorldError`].
    pub fn new(options: WorldOptions) -> Result<Self, WorldError> {
        let clock = Arc::new(VirtualClock::new());
        let cluster = Cluster::new(Options {
            seed: options.seed,
            faults: options.faults,
            audit: options.audit,
            ..Options::new(clock.clone() as Arc<dyn Clock>)
        });
        let has_loads = options.loads.is_some();
        let controllers = behaviour::start(&cluster, options.behaviour, options.loads, options.seed);
        let world = Self { cluster, brokers: Brokers::new(options.figure), clock, controllers };
        for namespace in ["default", "kube-system", SYSTEM_NAMESPACE] {
            world.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}))?;
        }
        for crd in windlass_crd::crds(windlass_crd::Group::Windlass) {
            world.create(serde_json::to_value(crd)?)?;
        }
        for object in metrics_service() {
            world.create(object)?;
        }
        if has_loads {
            let published = world.controllers.publish_pod_metrics(POD_METRICS);
            published.map_err(|status| refused("APIService", "v1beta1.metrics.k8s.io", &status))?;
        }
        Ok(world)
    }

    /// Creates an object, as a person would.
    ///
    /// # Errors
    /// What the API server answers.
    pub fn create(&self, object: Value) -> Result<Arc<Value>, WorldError> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
        self.cluster.apply_manifest(ADMIN, object).map_err(|status| refused(&kind, &name, &status))
    }

    /// How long this world has existed.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }
}

fn refused(kind: &str, name: &str, status: &Status) -> WorldError {
    WorldError::Create { kind: kind.to_owned(), name: name.to_owned(), problem: status.to_string() }
}

/// What leads the API server to the operator, as the manifests for a cluster have it.
fn metrics_service() -> [Value; 2] {
    [
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "windlass-metrics", "namespace": SYSTEM_NAMESPACE},
            "spec": {"type": "ClusterIP", "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}]},
        }),
        json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
            "spec": {
                "group": "external.metrics.k8s.io", "version": "v1beta1",
                "groupPriorityMinimum": 100, "versionPriority": 100,
                "service": {"name": "windlass-metrics", "namespace": SYSTEM_NAMESPACE, "port": 443},
            },
        }),
    ]
}
