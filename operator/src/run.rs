//! Starts everything, waits for the end, and stops everything in the right order: what writes first, the Lease last.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use windlass_api::{Check, Health};
use windlass_crd::Group;
use windlass_decision::Clock;
use windlass_sources::Process;
use windlass_sources::poller::Connect;
use windlass_sources::webhook::Hub;

use crate::certificates::{CertificateFiles, FileError, ServingCertificate, follow_secret};
use crate::external_metrics::{Answered, ExternalMetrics, ServedTable, Surface, follow_trust, router};
use crate::givens::Givens;
use crate::lead::Leader;
use crate::leadership::leadership;
use crate::lease::{Elector, InvalidElection, KubeLeases};
use crate::options::Options;
use crate::queue::Queue;
use crate::telemetry::Telemetry;
use crate::webhook::{self, Receiver};
use crate::world::World;

/// How long giving up the Lease may take at the end.
const RELEASE_DEADLINE: Duration = Duration::from_secs(3);

/// What the operator is given, so that a simulated run can be repeated.
pub struct Dependencies {
    /// The API server. Its client must not retry by itself: a write may leave only while this process leads.
    pub client: Client,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The seed of all random numbers.
    pub seed: u64,
    /// Where events that others send meet their readers: the one that the readers of `connect` were given.
    pub hub: Arc<Hub>,
    /// Makes the readers of the sources.
    pub connect: Arc<Connect>,
    /// Where the operator's own HTTP surfaces are served.
    pub serve: Serve,
    /// The process that all tasks belong to: the default one, except in a simulation.
    pub process: Process,
}

/// Where the operator's own HTTP surfaces are served.
pub enum Serve {
    /// On [`Options::health_address`] and, over TLS, on [`Options::metrics_address`].
    Sockets,
    /// By whoever takes them: a simulation has no sockets. No certificate is made, and who asks for a metric is whom
    /// [`Peer`](crate::external_metrics::Peer) in the request's extensions says.
    HandedOver(Box<dyn FnOnce(Surfaces) + Send>),
}

impl std::fmt::Debug for Serve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sockets => "Sockets",
            Self::HandedOver(_) => "HandedOver",
        })
    }
}

/// The operator's own HTTP surfaces.
#[derive(Debug, Clone)]
pub struct Surfaces {
    /// Liveness, readiness and the Prometheus metrics.
    pub health: Router,
    /// The external metrics API.
    pub external_metrics: Router,
}

impl std::fmt::Debug for Dependencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dependencies").field("clock", &self.clock).field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// Why the operator could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({flag}): {source}")]
    Listen {
        /// The flag that named it.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The election cannot be taken part in.
    #[error(transparent)]
    Election(#[from] InvalidElection),
    /// The certificate files cannot be used.
    #[error(transparent)]
    Certificate(#[from] FileError),
}

/// Runs one replica until `stop`, then stops it cleanly.
///
/// # Errors
/// What is wrong with the options; whatever happens later is retried.
pub async fn run(options: Options, dependencies: Dependencies, stop: CancellationToken) -> Result<(), RunError> {
    let Dependencies { client, clock, seed, hub, connect, serve, process } = dependencies;
    let doors = Doors::open(&options, serve).await?;
    let metrics_port = doors.metrics_port(&options);
    let telemetry = Telemetry::new(&options.version, options.keda_metrics);
    let (grant, leads) = leadership();
    let store = KubeLeases::new(client.clone(), &options.namespace, options.timing);
    let identity = options.identity.clone();
    let mut elector = Elector::new(store, identity, options.timing, grant, clock.clone(), telemetry.clone(), seed)?;

    let tasks = TaskTracker::new();
    let queue = Arc::new(Queue::default());
    let namespaces = options.watch_namespaces.clone();
    let groups = if options.keda_compat { vec![Group::Windlass, Group::Keda] } else { vec![Group::Windlass] };
    let givens = Givens::start(
        client.clone(),
        &groups,
        &options,
        queue.clone(),
        stop.clone(),
        &process,
        seed.wrapping_add(1 << 32),
    );
    telemetry.also_registered({
        let givens = givens.clone();
        move || givens.registered()
    });
    let world = World::start(client.clone(), (groups, namespaces), queue.clone(), stop.clone(), &process, seed);
    let (answers, answered) = mpsc::unbounded_channel();
    let table = ServedTable::new(Some(answers));
    tasks.spawn(process.own(stop.clone().run_until_cancelled_owned(pass_on(answered, queue.clone()))));

    let health = windlass_api::router(Arc::new(Listed(world.clone(), clock.clone())), telemetry.registry());
    let serving = match doors {
        Doors::HandedOver(take) => {
            let surface = Surface::new(table.clone(), leads.clone(), clock.clone(), telemetry.clone());
            take(Surfaces { health, external_metrics: router(surface) });
            None
        }
        Doors::Open { health: health_listener, metrics: metrics_listener, webhooks } => {
            if let Some((listener, data_dir)) = webhooks {
                let receiver = Receiver::new(
                    hub,
                    leads.clone(),
                    clock.clone(),
                    data_dir,
                    webhook::Limits::default(),
                    telemetry.clone(),
                );
                let routes = webhook::router(receiver.clone());
                tasks.spawn(receiver.follow(stop.clone()));
                let server = windlass_api::serve_named("webhooks", listener, routes, stop.clone());
                tasks.spawn(logged("webhooks", server));
            }
            let serving = certificate(&options, &client, &tasks, &stop).await?;
            tasks.spawn(logged("health and metrics", windlass_api::serve(health_listener, health, stop.clone())));
            let (trust_sender, trust) = watch::channel(None);
            tasks.spawn(follow_trust(client.clone(), trust_sender, stop.clone()));
            let external = ExternalMetrics {
                table: table.clone(),
                leadership: leads.clone(),
                clock: clock.clone(),
                certificate: serving.clone(),
                trust,
                telemetry: telemetry.clone(),
            };
            tasks.spawn(logged("external metrics", external.serve(metrics_listener, stop.clone())));
            Some(serving)
        }
    };

    let end_of_election = CancellationToken::new();
    let election = tokio::spawn(process.own({
        let end = end_of_election.clone();
        async move {
            elector.run(&end).await;
            elector
        }
    }));

    let leader = Leader {
        options,
        client,
        clock,
        seed,
        connect,
        leads,
        world: world.clone(),
        givens: givens.clone(),
        queue,
        table,
        serving,
        telemetry,
        metrics_port,
        process,
    };
    leader.run(&stop).await;

    tracing::info!("stopping");
    world.stopped().await;
    givens.stopped().await;
    tasks.close();
    tasks.wait().await;
    end_of_election.cancel();
    if let Ok(elector) = election.await {
        match tokio::time::timeout(RELEASE_DEADLINE, elector.release()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "lease not released, it will expire"),
            Err(_) => tracing::warn!("lease not released in time, it will expire"),
        }
    }
    tracing::info!("stopped");
    Ok(())
}

/// The operator's surfaces before there is anything to serve: bound at once, so that an address in use is told at once.
enum Doors {
    Open { health: TcpListener, metrics: TcpListener, webhooks: Option<(TcpListener, PathBuf)> },
    HandedOver(Box<dyn FnOnce(Surfaces) + Send>),
}

impl Doors {
    async fn open(options: &Options, serve: Serve) -> Result<Self, RunError> {
        Ok(match serve {
            Serve::Sockets => Self::Open {
                health: listen(options.health_address, "--health-address").await?,
                metrics: listen(options.metrics_address, "--metrics-address").await?,
                webhooks: match (options.webhook_address, &options.data_dir) {
                    (Some(address), Some(dir)) => Some((listen(address, "--webhook-address").await?, dir.clone())),
                    _ => None,
                },
            },
            Serve::HandedOver(take) => Self::HandedOver(take),
        })
    }

    fn metrics_port(&self, options: &Options) -> u16 {
        let bound = match self {
            Self::Open { metrics, .. } => metrics.local_addr().ok(),
            Self::HandedOver(_) => None,
        };
        bound.unwrap_or(options.metrics_address).port()
    }
}

/// The serving certificate: from files, or from the Secret that the leader keeps.
async fn certificate(
    options: &Options,
    client: &Client,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Arc<ServingCertificate>, FileError> {
    let serving = ServingCertificate::new();
    if let Some((certificate, key)) = &options.tls_files {
        let files = CertificateFiles::load(certificate.clone(), key.clone(), serving.clone()).await?;
        tasks.spawn(files.follow(stop.clone()));
    } else {
        tasks.spawn(follow_secret(client.clone(), options.namespace.clone(), serving.clone(), stop.clone()));
    }
    Ok(serving)
}

async fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen { flag, address, source })
}

async fn logged(what: &'static str, server: impl Future<Output = std::io::Result<()>>) {
    if let Err(error) = server.await {
        tracing::error!(what, %error, "server ended");
    }
}

/// Has an object looked at when the HPA was answered for it.
async fn pass_on(mut answered: mpsc::UnboundedReceiver<Answered>, queue: Arc<Queue>) {
    while let Some(key) = answered.recv().await {
        queue.mark(&key);
    }
}

/// Ready once objects are listed, on stand-bys too.
struct Listed(Arc<World>, Arc<dyn Clock>);

impl Health for Listed {
    fn checks(&self) -> Vec<Check> {
        let check = |name, ok| Check { name, ok, detail: if ok { String::new() } else { "not listed yet".to_owned() } };
        vec![
            check("scaledobjects listed", self.0.objects.is_listed()),
            check("horizontalpodautoscalers listed", self.0.hpas.is_listed()),
        ]
    }

    fn remarks(&self) -> Vec<String> {
        self.0.kedas_sign(self.1.now()).map(|sign| sign.to_string()).into_iter().collect()
    }
}
