//! Stands for the cluster's network between the API server and the leader's metrics port.
//!
//! The API server of the rig reaches the metrics Service through one port of loopback. Behind it, this forwarder
//! connects each new connection to the operator whose advertised endpoint stands in the EndpointSlice at that moment,
//! and closes it at once when there is none. As with kube-proxy, an established connection stays where it is when
//! the slice changes, unless a test wants otherwise.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::ports;

const POLL: Duration = Duration::from_millis(100);

/// A running forwarder; ends when dropped.
#[derive(Debug)]
pub struct Forwarder {
    port: u16,
    shared: Arc<Shared>,
    target: watch::Receiver<Option<SocketAddr>>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Shared {
    behind: Mutex<BTreeMap<SocketAddr, u16>>,
    cut_on_move: AtomicBool,
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl Forwarder {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(client: Client) -> anyhow::Result<Self> {
        let port = ports::single()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let shared = Arc::new(Shared::default());
        let (sender, target) = watch::channel(None);
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(client, Arc::clone(&shared), sender));
        tasks.spawn(accept(listener, Arc::clone(&shared), target.clone()));
        Ok(Self { port, shared, target, _tasks: tasks })
    }

    /// The port of loopback it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Says what stands behind an endpoint: a port of loopback.
    pub fn register(&self, advertised: SocketAddr, local_port: u16) {
        self.shared.behind.lock().unwrap_or_else(PoisonError::into_inner).insert(advertised, local_port);
    }

    /// The advertised endpoint to which a new connection goes now.
    #[must_use]
    pub fn target(&self) -> Option<SocketAddr> {
        *self.target.borrow()
    }

    /// Whether a connection is cut when the slice no longer names its endpoint. Off, as with kube-proxy: a frozen
    /// leader keeps the connections it has.
    pub fn cut_on_move(&self, cut: bool) {
        self.shared.cut_on_move.store(cut, Ordering::Relaxed);
    }

    /// Connections forwarded so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Connections closed so far because nobody stood in the slice, or nobody listened behind it.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }
}

/// Follows the slice. Polled, so that no watch that has silently ended can make a take-over look slow.
async fn follow(client: Client, shared: Arc<Shared>, target: watch::Sender<Option<SocketAddr>>) {
    let slices: Api<EndpointSlice> = Api::namespaced(client, crate::SYSTEM_NAMESPACE);
    loop {
        sleep(POLL).await;
        let known = !shared.behind.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if !known {
            continue;
        }
        // While the API server is away, the last endpoint stands, as it does on a node.
        if let Ok(Ok(slice)) = timeout(Duration::from_secs(2), slices.get_opt(crate::METRICS_SERVICE)).await {
            let now = slice.as_ref().and_then(endpoint);
            target.send_if_modified(|last| std::mem::replace(last, now) != now);
        }
    }
}

/// The first endpoint that is not said to be unready.
fn endpoint(slice: &EndpointSlice) -> Option<SocketAddr> {
    let port = slice.ports.iter().flatten().find_map(|port| port.port)?;
    let ready =
        |e: &&k8s_openapi::api::discovery::v1::Endpoint| e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
    let address = slice.endpoints.iter().find(ready)?.addresses.first()?;
    Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, u16::try_from(port).ok()?))
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, target: watch::Receiver<Option<SocketAddr>>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((inbound, _)) = listener.accept().await else { continue };
        connections.spawn(forward(inbound, Arc::clone(&shared), target.clone()));
    }
}

async fn forward(mut inbound: TcpStream, shared: Arc<Shared>, mut target: watch::Receiver<Option<SocketAddr>>) {
    let advertised = *target.borrow_and_update();
    let port = advertised.and_then(|a| {
        let behind = shared.behind.lock().unwrap_or_else(PoisonError::into_inner);
        behind.get(&a).copied()
    });
    let outbound = match port {
        Some(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok(),
        None => None,
    };
    let Some(mut outbound) = outbound else {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        return;
    };
    // Or the two kernels' ideas of when to send and when to acknowledge add 40 ms to an answer now and then.
    let _slower_without = inbound.set_nodelay(true).and_then(|()| outbound.set_nodelay(true));
    shared.accepted.fetch_add(1, Ordering::Relaxed);
    let moved = async {
        while target.changed().await.is_ok() {
            if *target.borrow() != advertised && shared.cut_on_move.load(Ordering::Relaxed) {
                return;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut inbound, &mut outbound) => {}
        () = moved => {}
    }
}
