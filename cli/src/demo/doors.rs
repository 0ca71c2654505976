//! What the demo serves on loopback, on a thread and in a time of its own: the simulated Kubernetes API, the operator's
//! health and metrics. It also hears the signals that end the demo.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::Context;
use axum::Router;
use tokio_util::sync::CancellationToken;
use windlass_kubesim::api::Cluster;

/// Listeners that nobody serves yet.
pub(super) struct Doors {
    api: (TcpListener, SocketAddr),
    metrics: (TcpListener, SocketAddr),
}

/// What is behind the doors, once it is there.
pub(super) struct Behind {
    pub(super) cluster: Cluster,
    pub(super) health: Router,
}

impl Doors {
    /// Binds both ports on 127.0.0.1.
    pub(super) fn bind(api_port: u16, metrics_port: u16) -> anyhow::Result<Self> {
        Ok(Self { api: bind("--api-port", api_port)?, metrics: bind("--metrics-port", metrics_port)? })
    }

    pub(super) fn api(&self) -> String {
        format!("http://{}", self.api.1)
    }

    pub(super) fn metrics(&self) -> String {
        format!("http://{}", self.metrics.1)
    }

    /// Serves, from the moment that something is sent, until the token that is given is cancelled: by a signal or by whoever
    /// has it.
    pub(super) fn open(self) -> anyhow::Result<(CancellationToken, Sender<Behind>)> {
        let stop = CancellationToken::new();
        let (sender, behind) = channel();
        let token = stop.clone();
        let serve = move || {
            if let Err(error) = serve(self, &behind, token) {
                eprintln!("windlass demo: {error:#}");
            }
        };
        std::thread::Builder::new().name("doors".to_owned()).spawn(serve).context("start a thread")?;
        Ok((stop, sender))
    }
}

fn bind(flag: &str, port: u16) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = listener.with_context(|| format!("listen on 127.0.0.1:{port} ({flag}): choose another port"))?;
    listener.set_nonblocking(true).context("use a listener")?;
    let address = listener.local_addr().context("read the address of a listener")?;
    Ok((listener, address))
}

fn serve(doors: Doors, behind: &Receiver<Behind>, stop: CancellationToken) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    runtime.block_on(async move {
        crate::operator::stop_on_signal(stop.clone())?;
        // The simulation sends this in its first moments, or ends without.
        let Ok(Behind { cluster, health }) = behind.recv() else { return Ok(()) };
        let api = tokio::net::TcpListener::from_std(doors.api.0).context("serve the Kubernetes API")?;
        let metrics = tokio::net::TcpListener::from_std(doors.metrics.0).context("serve metrics")?;
        let (api, metrics) =
            tokio::join!(cluster.serve(api, stop.clone()), windlass_api::serve(metrics, health, stop.clone()));
        api.and(metrics).context("serve on loopback")
    })
}
