//! The TLS server. It verifies client certificates where they are presented, follows changes of the serving certificate
//! and of the front proxy's CA without a restart, and bounds everything a stranger could make it hold.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use windlass_decision::Clock;

use super::front_proxy::{Peer, Trust, TrustError};
use super::routes::{Surface, router};
use super::table::ServedTable;
use crate::certificates::ServingCertificate;
use crate::leadership::Leadership;
use crate::telemetry::Telemetry;

const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADER_READ: Duration = Duration::from_secs(30);
/// How long requests under way may take after a connection is to end.
const GRACE: Duration = Duration::from_secs(5);
/// How long a connection may last that does not come from the front proxy; enough for a health probe.
const STRANGER_LIFETIME: Duration = Duration::from_secs(30);
/// How long one of the front proxy's may last, so that an expired client certificate is noticed.
const PROXY_LIFETIME: Duration = Duration::from_secs(3600);
/// How many connections may be open that are not (yet) known to come from the front proxy.
const STRANGERS: usize = 256;
const MAX_HEADERS: u32 = 64 * 1024;
const MAX_STREAMS: u32 = 256;

/// Everything the server of the external metrics API needs; [`Self::serve`] runs it.
#[derive(Debug)]
pub struct ExternalMetrics {
    /// What is served.
    pub table: Arc<ServedTable>,
    /// Only the leader answers for metrics; discovery is answered by every replica.
    pub leadership: Leadership,
    /// Judges freshness of values and validity of client certificates.
    pub clock: Arc<dyn Clock>,
    /// The certificate to serve with; until there is one, handshakes fail.
    pub certificate: Arc<ServingCertificate>,
    /// Whom to trust; until it is known, everybody is answered 401.
    pub trust: watch::Receiver<Option<Arc<Trust>>>,
    /// Counts the requests.
    pub telemetry: Telemetry,
}

/// Why the TLS configuration cannot be built.
#[derive(Debug, thiserror::Error)]
enum TlsError {
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// The time of the operator, for the validity of client certificates.
#[derive(Debug)]
struct TlsClock(Arc<dyn Clock>);

impl TimeProvider for TlsClock {
    fn current_time(&self) -> Option<UnixTime> {
        let second = u64::try_from(self.0.now().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(second)))
    }
}

/// A TLS configuration and the trust it was made from. Connections end with their generation, because what was verified
/// under one CA means nothing under another.
struct Generation {
    trust: Option<Arc<Trust>>,
    acceptor: TlsAcceptor,
    ended: CancellationToken,
}

impl ExternalMetrics {
    /// Serves on `listener` until `shutdown`, then lets requests under way finish for some seconds.
    ///
    /// # Errors
    /// The TLS configuration cannot be built at all; nothing that happens later ends the server.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> io::Result<()> {
        let Self { table, leadership, clock, certificate, mut trust, telemetry } = self;
        let app = router(Surface::new(table, leadership, Arc::clone(&clock), telemetry));
        let mut generation = new_generation(trust.borrow_and_update().clone(), &certificate, &clock, &shutdown)
            .map_err(io::Error::other)?;
        let strangers = Arc::new(Semaphore::new(STRANGERS));
        let connections = TaskTracker::new();
        let mut trust_may_change = true;
        loop {
            let accepted = async {
                // The semaphore is never closed; if it were, nobody would be let in.
                let place = Arc::clone(&strangers).acquire_owned().await.map_err(io::Error::other)?;
                listener.accept().await.map(|(socket, _)| (socket, place))
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                changed = trust.changed(), if trust_may_change => {
                    trust_may_change = changed.is_ok();
                    let new = trust.borrow_and_update().clone();
                    if changed.is_ok() && new != generation.trust {
                        match new_generation(new, &certificate, &clock, &shutdown) {
                            Ok(new) => std::mem::replace(&mut generation, new).ended.cancel(),
                            Err(error) => tracing::error!(error = %error, "new front proxy trust cannot be used"),
                        }
                    }
                }
                accepted = accepted => match accepted {
                    Ok((socket, place)) => {
                        let acceptor = generation.acceptor.clone();
                        let (trust, ended) = (generation.trust.clone(), generation.ended.clone());
                        connections.spawn(connection(socket, acceptor, trust, app.clone(), ended, place));
                    }
                    Err(error) => {
                        tracing::warn!(error = %error, "connection cannot be accepted");
                        sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        }
        drop(listener);
        connections.close();
        // Each connection ends by itself within GRACE of the cancellation.
        connections.wait().await;
        Ok(())
    }
}

fn new_generation(
    trust: Option<Arc<Trust>>,
    certificate: &Arc<ServingCertificate>,
    clock: &Arc<dyn Clock>,
    shutdown: &CancellationToken,
) -> Result<Generation, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(TlsClock(Arc::clone(clock))))
        .with_safe_default_protocol_versions()?;
    let builder = match &trust {
        Some(trust) => {
            let roots = Arc::new(trust.roots()?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).allow_unauthenticated();
            builder.with_client_cert_verifier(verifier.build()?)
        }
        None => builder.with_no_client_auth(),
    };
    let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(certificate) as _;
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A resumed session would carry a client identity that nobody verifies again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Generation { trust, acceptor: TlsAcceptor::from(Arc::new(config)), ended: shutdown.child_token() })
}

async fn connection(
    socket: TcpStream,
    acceptor: TlsAcceptor,
    trust: Option<Arc<Trust>>,
    app: Router,
    ended: CancellationToken,
    place: OwnedSemaphorePermit,
) {
    // Answers are small and waited for; without nodelay they may lie around. It works without, only slower.
    let _ = socket.set_nodelay(true);
    let tls = tokio::select! {
        () = ended.cancelled() => return,
        handshake = timeout(HANDSHAKE, acceptor.accept(socket)) => match handshake {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => return tracing::debug!(error = %error, "tls handshake failed"),
            Err(_) => return tracing::debug!("tls handshake took too long"),
        }
    };
    let session = tls.get_ref().1;
    let peer = Peer::judge(trust.as_ref(), session.peer_certificates());
    let speaks_http2 = session.alpn_protocol() == Some(b"h2");
    // The front proxy's connections do not compete with strangers for a place.
    let (lifetime, _place) = if peer.is_front_proxy() {
        drop(place);
        (PROXY_LIFETIME, None)
    } else {
        (STRANGER_LIFETIME, Some(place))
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        app.clone().oneshot(request)
    });
    let builder = http(speaks_http2);
    let serving = builder.serve_connection(TokioIo::new(tls), service);
    tokio::pin!(serving);
    let ending = async {
        tokio::select! { () = ended.cancelled() => {}, () = sleep(lifetime) => {} }
    };
    tokio::select! {
        served = serving.as_mut() => return report(served),
        () = ending => {}
    }
    serving.as_mut().graceful_shutdown();
    if let Ok(served) = timeout(GRACE, serving).await {
        report(served);
    }
}

fn http(speaks_http2: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_READ).max_buf_size(MAX_HEADERS as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEADER_READ)
        .keep_alive_timeout(HANDSHAKE)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADERS);
    // The protocol was agreed in the handshake; guessing it from the first bytes would wait for them without a limit.
    if speaks_http2 { builder.http2_only() } else { builder.http1_only() }
}

fn report(served: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = served {
        tracing::debug!(error = %error, "connection ended");
    }
}
