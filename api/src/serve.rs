//! Serves a router on a listener until it is told to stop. HTTP/1 only: probes and scrapers speak nothing else, and a
//! connection that says nothing can then be cut by one timer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How long a client may take for the head of a request, and how long a connection may lie idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests may go on after the stop.
const DRAIN: Duration = Duration::from_secs(5);
/// How many connections are open at once. More wait in the kernel's queue.
const CONNECTIONS: usize = 512;
/// How long to wait after a failed accept (out of file descriptors, mostly) before the next one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, then lets running requests end, for at most 5 seconds. A client gets 10 seconds for its headers.
///
/// # Errors
/// Where the listener's own address cannot be read, which is how a listener that can never accept shows itself. A failed
/// accept is logged and tried again.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> io::Result<()> {
    serve_named("health and metrics", listener, router, stop).await
}

/// The same for another surface, which the log calls `what`.
///
/// # Errors
/// As [`serve`].
pub async fn serve_named(
    what: &'static str,
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let limit = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    tracing::info!(%address, what, "serving");
    while let Some((stream, permit)) = stop.run_until_cancelled(accept(&listener, &limit)).await {
        let service = TowerToHyperService::new(router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(%error, what, "connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!(after = ?DRAIN, what, "connections were still open at shutdown");
    }
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    limit: &Arc<Semaphore>,
) -> (tokio::net::TcpStream, Option<tokio::sync::OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there always is a permit.
    let permit = Arc::clone(limit).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) => {
                tracing::warn!(%error, "health connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    struct Server {
        address: SocketAddr,
        stop: CancellationToken,
        task: JoinHandle<io::Result<()>>,
    }

    async fn start(router: Router) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, router, stop.clone()));
        Server { address, stop, task }
    }

    async fn ended(server: Server) {
        timeout(SOON, server.task).await.expect("in time").expect("no panic").expect("no error");
    }

    #[tokio::test]
    async fn a_running_request_ends_before_the_server_does() {
        let (entered, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (entered_too, go_too) = (Arc::clone(&entered), Arc::clone(&go));
        let slow = get(async move || {
            entered_too.notify_one();
            go_too.notified().await;
            "done"
        });
        let server = start(Router::new().route("/slow", slow)).await;
        let mut client = TcpStream::connect(server.address).await.expect("connected");
        client.write_all(b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("sent");
        timeout(SOON, entered.notified()).await.expect("the request arrives");

        server.stop.cancel();
        go.notify_one();
        let mut answer = String::new();
        timeout(SOON, client.read_to_string(&mut answer)).await.expect("in time").expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
        let address = server.address;
        ended(server).await;
        assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_no_headers_is_cut() {
        let server = start(Router::new()).await;
        let mut client = TcpStream::connect(server.address).await.expect("connected");
        client.write_all(b"GET / HT").await.expect("sent");
        let mut answer = Vec::new();
        // Paused time: this passes at once if the timer exists, and fails at the test's own limit if it does not.
        let cut = timeout(HEADER_TIMEOUT * 2, client.read_to_end(&mut answer)).await;
        assert!(cut.is_ok(), "the connection is still open after twice the header timeout");
        server.stop.cancel();
        ended(server).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_does_not_hold_up_the_stop() {
        let server = start(Router::new()).await;
        let client = TcpStream::connect(server.address).await.expect("connected");
        client.writable().await.expect("writable");
        server.stop.cancel();
        ended(server).await;
        drop(client);
    }
}
