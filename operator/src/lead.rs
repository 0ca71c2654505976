//! What a replica does while it leads: publishes itself as the endpoint, keeps the certificate, and runs the engine. All
//! of it ends with the leadership, and nothing of it is remembered.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use windlass_crd::Settings;
use windlass_decision::Clock;
use windlass_sources::Process;
use windlass_sources::poller::{Connect, Poller};

use crate::apply::writer::Writer;
use crate::apply::{Ctx, Events, endpoint_slice};
use crate::certificates::{Manager, ServingCertificate};
use crate::engine::Engine;
use crate::external_metrics::ServedTable;
use crate::givens::Givens;
use crate::leadership::Leadership;
use crate::options::Options;
use crate::queue::Queue;
use crate::readings::Readings;
use crate::telemetry::Telemetry;
use crate::world::World;

/// How often the endpoint is looked at again, in case somebody changed it.
const ENDPOINT_CHECK: Duration = Duration::from_secs(30);
const ENDPOINT_RETRY: Duration = Duration::from_millis(500);
/// How long certificates wait for the endpoint, which they need only after a take-over.
const ENDPOINT_WAIT: Duration = Duration::from_secs(2);
/// How long the endpoint may take to reach the nodes. What connects to the old one in between waits for itself alone.
const ENDPOINT_SPREAD: Duration = Duration::from_millis(500);
/// How long the sources may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Leader {
    pub options: Options,
    pub client: Client,
    pub clock: Arc<dyn Clock>,
    pub seed: u64,
    pub connect: Arc<Connect>,
    pub leads: Leadership,
    pub world: Arc<World>,
    pub givens: Arc<Givens>,
    pub queue: Arc<Queue>,
    pub table: Arc<ServedTable>,
    /// The serving certificate; `None` where nothing is served over TLS.
    pub serving: Option<Arc<ServingCertificate>>,
    pub telemetry: Telemetry,
    pub metrics_port: u16,
    pub process: Process,
}

impl Leader {
    /// Leads whenever this replica holds the Lease, until `stop`. Nothing writes any more when it returns.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        let mut term = 0;
        loop {
            let leads = self.leads.clone();
            if stop.run_until_cancelled(leads.gained()).await.is_none() {
                return;
            }
            tracing::info!(identity = self.options.identity, "leading");
            term += 1;
            self.lead(stop, term).await;
            if stop.is_cancelled() {
                return;
            }
            tracing::warn!(identity = self.options.identity, "no longer leading");
        }
    }

    async fn lead(&self, stop: &CancellationToken, term: u64) {
        let lost = self.leads.clone();
        let end = stop.child_token();
        let writer = Writer::fenced(self.client.clone(), self.leads.clone(), self.options.write_deadline)
            .measured(self.telemetry.clone());
        self.givens.lead(writer.clone());
        let tasks = TaskTracker::new();
        let (published, reachable) = oneshot::channel();
        if let Some(address) = self.options.advertise_address {
            let port = self.options.advertise_port.unwrap_or(self.metrics_port);
            let publish = publish(writer.clone(), self.options.namespace.clone(), address, port, published);
            tasks.spawn(self.process.own(end.clone().run_until_cancelled_owned(publish)));
        } else {
            drop(published);
        }
        if let Some(serving) = self.serving.clone().filter(|_| self.options.tls_files.is_none()) {
            let manager = Manager {
                writer: writer.clone(),
                leadership: self.leads.clone(),
                namespace: self.options.namespace.clone(),
                identity: self.options.identity.clone(),
                clock: self.clock.clone(),
                serving,
            };
            let end_of_term = end.clone();
            tasks.spawn(self.process.own(async move {
                // It has the aggregator connect anew, which must come to us and not to the leader before.
                let spread = async {
                    if matches!(timeout(ENDPOINT_WAIT, reachable).await, Ok(Ok(()))) {
                        sleep(ENDPOINT_SPREAD).await;
                    }
                };
                if end_of_term.run_until_cancelled(spread).await.is_some() {
                    manager.run(end_of_term).await;
                }
            }));
        }
        let users = self.givens.clone().tell_users(writer.clone(), self.world.clone(), self.clock.clone());
        tasks.spawn(self.process.own(end.clone().run_until_cancelled_owned(users)));
        if self.options.keda_compat {
            let goodbyes = self.givens.clone().let_go(writer.clone(), self.world.keda.clone(), self.clock.clone());
            tasks.spawn(self.process.own(end.clone().run_until_cancelled_owned(goodbyes)));
        }
        let readings = Readings::new(self.queue.clone());
        let seed = self.seed.wrapping_add(term);
        let poller = Poller::with_connect(self.connect.clone(), seed, readings.clone()).within(self.process.clone());
        let poller = Arc::new(poller);
        let engine = Engine {
            world: self.world.clone(),
            queue: self.queue.clone(),
            givens: self.givens.clone(),
            readings,
            poller: poller.clone(),
            source_zones: self.options.source_zones.clone(),
            table: self.table.clone(),
            ctx: Ctx { writer, events: Events::new(self.clock.clone(), &self.options.identity, seed) },
            clock: self.clock.clone(),
            telemetry: self.telemetry.clone(),
            settings: Settings {
                startup_limit: self.options.startup_limit,
                webhooks: self.options.receives_webhooks(),
            },
        };
        let work = async {
            self.world.listed().await;
            engine.run().await;
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = lost.lost() => {}
            () = work => {}
        }
        end.cancel();
        self.table.clear();
        self.telemetry.forget_all();
        self.givens.clear();
        tasks.close();
        tasks.wait().await;
        if timeout(GOODBYE, poller.shutdown()).await.is_err() {
            tracing::debug!("sources did not say goodbye in time");
        }
    }
}

/// Keeps this replica published as the one endpoint of the metrics Service; tells when it first is.
async fn publish(
    writer: Writer,
    namespace: String,
    address: std::net::IpAddr,
    port: u16,
    published: oneshot::Sender<()>,
) {
    let mut published = Some(published);
    let mut failing = false;
    loop {
        let pause = match endpoint_slice::publish(&writer, &namespace, address, port).await {
            Ok(()) => {
                failing = false;
                if let Some(published) = published.take() {
                    // Nobody waits where the certificates are files.
                    let _nobody_waits = published.send(());
                }
                ENDPOINT_CHECK
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "endpoint not published, retrying");
                }
                ENDPOINT_RETRY
            }
        };
        sleep(pause).await;
    }
}
