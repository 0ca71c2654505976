//! One replica of the operator in a simulation: a process of its own, with an identity, a clock, an address and a
//! connection to the API server. It starts the real [`windlass_operator::run`] and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use windlass_decision::Clock;
use windlass_kubesim::api::Cluster;
use windlass_operator::external_metrics::Peer;
use windlass_operator::lease::Timing;
use windlass_operator::{Dependencies, Options, Process, RunError, Serve, Surfaces, run};

use crate::broker::Brokers;
use crate::clock::VirtualClock;
use crate::wire::Wire;
use crate::world::SYSTEM_NAMESPACE;

/// What distinguishes one replica from another.
#[derive(Debug, Clone)]
pub struct ReplicaOptions {
    /// Its name in the Lease.
    pub identity: String,
    /// As whom it speaks to the API server.
    pub user: String,
    /// Where it answers for metrics; virtual, never bound.
    pub address: SocketAddr,
    /// The seed of its random numbers; another one for each start.
    pub seed: u64,
    /// The times of the election.
    pub timing: Timing,
    /// How long one reading of a source may take.
    pub read_deadline: Duration,
    /// How long one write to Kubernetes may take.
    pub write_deadline: Duration,
    /// How long an activation waits for its pods.
    pub startup_limit: Duration,
}

impl ReplicaOptions {
    /// A replica with the product's times.
    #[must_use]
    pub fn new(identity: &str, address: SocketAddr, seed: u64) -> Self {
        let product = Options::default();
        Self {
            identity: identity.to_owned(),
            user: format!("system:serviceaccount:{SYSTEM_NAMESPACE}:{identity}"),
            address,
            seed,
            timing: product.timing,
            read_deadline: product.read_deadline,
            write_deadline: product.write_deadline,
            startup_limit: product.startup_limit,
        }
    }
}

/// A running replica.
#[derive(Debug)]
pub struct Replica {
    /// Its process: freeze, thaw or kill it.
    process: Process,
    stop: CancellationToken,
    task: JoinHandle<Result<(), RunError>>,
    cluster: Cluster,
    address: SocketAddr,
    health: Arc<std::sync::Mutex<Option<Router>>>,
    clock: Arc<VirtualClock>,
}

impl Replica {
    /// Starts a replica on `cluster`. Its clock shows the time of `clock`, with an error of its own.
    #[must_use]
    pub fn start(cluster: &Cluster, brokers: &Brokers, clock: &VirtualClock, options: &ReplicaOptions) -> Self {
        let process = Process::simulated();
        let clock = Arc::new(clock.twin());
        let wire = Wire::new(cluster.service(&options.user), process.clone());
        let client = kube::Client::new(wire, "default");
        let (stop, health) = (CancellationToken::new(), Arc::new(std::sync::Mutex::new(None)));
        let serve = {
            let (cluster, process, health, address) =
                (cluster.clone(), process.clone(), health.clone(), options.address);
            Serve::HandedOver(Box::new(move |surfaces: Surfaces| {
                *health.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(surfaces.health);
                cluster.listen(address, front_door(surfaces.external_metrics, process));
            }))
        };
        let connect =
            brokers.connect(&options.identity, clock.clone() as Arc<dyn Clock>, options.read_deadline, &process);
        let dependencies = Dependencies {
            client,
            clock: clock.clone(),
            seed: options.seed,
            hub: Arc::default(),
            connect,
            serve,
            process: process.clone(),
        };
        let operator = Options {
            namespace: SYSTEM_NAMESPACE.to_owned(),
            identity: options.identity.clone(),
            advertise_address: Some(options.address.ip()),
            advertise_port: Some(options.address.port()),
            metrics_address: options.address,
            timing: options.timing,
            read_deadline: options.read_deadline,
            write_deadline: options.write_deadline,
            startup_limit: options.startup_limit,
            ..Options::default()
        };
        let task = tokio::spawn(process.own(Box::pin(run(operator, dependencies, stop.clone()))));
        Self { process, stop, task, cluster: cluster.clone(), address: options.address, health, clock }
    }

    /// Stops it where it stands, as SIGSTOP does. Its connections stay open.
    pub fn freeze(&self) {
        self.process.freeze();
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.process.thaw();
    }

    /// Ends it where it stands, as `kill -9` does: its connections close.
    pub fn kill(&self) {
        self.process.kill();
        self.cluster.unlisten(self.address);
        self.task.abort();
    }

    /// Its process, for whoever has to end it in the middle of a request.
    #[must_use]
    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> &VirtualClock {
        &self.clock
    }

    /// Whether [`run`] has ended, which it only does when it is stopped.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Health and Prometheus metrics, once it has started.
    #[must_use]
    pub fn health(&self) -> Option<Router> {
        self.health.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Stops it as SIGTERM does, and waits for its end.
    ///
    /// # Errors
    /// How it ended, if not well.
    pub async fn stop(self) -> Result<(), String> {
        self.stop.cancel();
        let ended = self.task.await;
        self.cluster.unlisten(self.address);
        match ended {
            Ok(ended) => ended.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The external metrics API as the aggregator reaches it: who asks is the front proxy, and a process that stands still
/// answers when it goes on.
fn front_door(router: Router, process: Process) -> Router {
    router.layer(from_fn(move |mut request: Request, next: Next| {
        request.extensions_mut().insert(Peer::simulated());
        let answer = process.own(next.run(request));
        async move { answer.await.into_response() as Response }
    }))
}
