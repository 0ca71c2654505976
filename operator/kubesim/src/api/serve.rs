//! A plain HTTP listener, so that `kubectl` works against a simulated cluster. For loopback: whoever connects may do
//! anything.

use std::io;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cluster::Cluster;

/// The user of requests that name none.
const NOBODY: &str = "kubectl";

impl Cluster {
    /// Serves on a listener until `stop`. May run on a runtime of its own, on real time. The user is what a bearer token
    /// says.
    ///
    /// # Errors
    /// The listener is not one of loopback, or its address cannot be read.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        if !listener.local_addr()?.ip().is_loopback() {
            return Err(io::Error::other("a simulated cluster is served on loopback only"));
        }
        let connections = TaskTracker::new();
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let Ok((socket, _)) = accepted else { continue };
            let service = TowerToHyperService::new(self.service(NOBODY).by_token());
            let stopped = stop.clone();
            connections.spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                let serving = builder.serve_connection(TokioIo::new(socket), service);
                // A connection that breaks is the client's affair.
                let _ = stopped.run_until_cancelled(serving).await;
            });
        }
        connections.close();
        connections.wait().await;
        Ok(())
    }
}
