//! One AMQP connection: opening it, its pool of channels, and asking for one queue. Nothing here waits for a broker when it
//! is dropped: the socket is shut down under the client, whose thread then ends by itself.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::{RustlsConnector, RustlsConnectorConfig};
use lapin::types::{FieldTable, ShortString};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{AsyncTcpStream, Channel, ConnectionProperties, ErrorKind};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::Semaphore;
use windlass_decision::{Activity, Clock, FailureKind, Outcome};

use super::config::{Connection, Query};
use super::outcome::{Problem, measured, no_such_queue, shortened};
use crate::NetworkPolicy;
use crate::cause::root_cause;

/// More channels make a read no faster, and each costs the broker a process.
const MAX_CHANNELS: u16 = 32;
/// After how many questions a channel is opened anew: the client keeps a note of every queue that a channel was asked for.
const QUESTIONS: u32 = 512;
/// What is negotiated at most: room for channels that are still closing after a 404.
const NEGOTIATED_CHANNELS: u16 = 500;
const HEARTBEAT_SECONDS: u16 = 30;
/// Names and counts only are exchanged, so the smallest frame will do; the client keeps 64 frames as buffers.
const FRAME_BYTES: u32 = 8192;

/// An open connection.
pub(super) struct Session {
    connection: lapin::Connection,
    /// Those that nobody uses now, each with how often it was asked.
    channels: Mutex<Vec<(Channel, u32)>>,
    permits: Semaphore,
    // Dropped last, so that a close that was asked for can leave first.
    socket: Socket,
}

/// The connection's socket once more, to end the connection whatever the client is waiting for.
struct Socket(std::net::TcpStream);

impl Drop for Socket {
    fn drop(&mut self) {
        // Fails only if the peer was faster.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Session {
    /// Connects and authenticates.
    pub(super) async fn open(connection: &Connection, network: &NetworkPolicy) -> Result<Self, Problem> {
        let runtime = lapin::runtime::default_runtime().map_err(|error| refusal(connection, &error))?;
        let unreachable = |error: io::Error| Problem::unreachable(connection, &root_cause(&error).0);
        let endpoint = &connection.endpoint;
        let found = network.resolve(&endpoint.host, endpoint.port).await.map_err(unreachable)?;
        let addresses = found.map_err(|denied| Problem::denied(connection, denied))?;
        let stream = AsyncTcpStream::connect(&runtime, addresses).await.map_err(unreachable)?;
        let AsyncTcpStream::Plain(plain) = &stream else {
            return Err(Problem::unreachable(connection, "the client gave no plain socket"));
        };
        plain.get_ref().set_nodelay(true).map_err(unreachable)?;
        let socket = Socket(plain.get_ref().as_fd().try_clone_to_owned().map_err(unreachable)?.into());
        let stream = if endpoint.tls { secured(connection, stream).await? } else { stream };
        // The client takes the stream as it is: connected here, it ends with the deadline of the reading like all else.
        let slot = Mutex::new(Some(stream));
        let dialled = async move |_: AMQPUri, _| {
            let stream = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            // Asked a second time only if the broker hung up before its first word: there is nothing to go on with.
            stream.ok_or_else(|| lapin::Error::from(io::Error::from(io::ErrorKind::ConnectionAborted)))
        };
        let properties = ConnectionProperties::default().with_connection_name("windlass".into());
        let opened = lapin::Connection::connector(uri(connection), runtime, dialled, properties).await;
        let connection = opened.map_err(|error| refusal(connection, &error))?;
        let channels = connection.configuration().channel_max().clamp(1, MAX_CHANNELS);
        Ok(Self {
            connection,
            channels: Mutex::new(Vec::new()),
            permits: Semaphore::new(usize::from(channels)),
            socket,
        })
    }

    /// Whether the connection still stands, as far as is known without asking.
    pub(super) fn is_connected(&self) -> bool {
        self.connection.status().connected()
    }

    /// How many queries can be under way at once.
    pub(super) fn capacity(&self) -> usize {
        usize::from(self.connection.configuration().channel_max().clamp(1, MAX_CHANNELS))
    }

    /// Asks for one queue after another, taking the next from `next`, on one channel.
    pub(super) async fn work<'q>(
        &self,
        connection: &Connection,
        clock: &dyn Clock,
        next: impl Fn() -> Option<(usize, &'q Query)>,
        answer: impl Fn(usize, Outcome),
    ) -> Result<(), Problem> {
        let closed = |_| Problem::unreachable(connection, "the connection was closed");
        let _permit = self.permits.acquire().await.map_err(closed)?;
        let usable = |(channel, asked): &(Channel, u32)| *asked < QUESTIONS && channel.status().connected();
        let mut channel = self.lock().pop();
        while let Some((index, query)) = next() {
            let (open, asked) = match channel.take().filter(usable) {
                Some((open, asked)) => (open, asked + 1),
                None => (self.connection.create_channel().await.map_err(|error| refusal(connection, &error))?, 1),
            };
            let options = QueueDeclareOptions::default().passive();
            let name = query.name();
            let declared = match ShortString::try_new(name) {
                Ok(name) => open.queue_declare(name, options, FieldTable::default()).await,
                Err(_) => {
                    answer(index, no_such_queue(name, &connection.vhost, "").absent(clock));
                    channel = Some((open, asked));
                    continue;
                }
            };
            match declared {
                Ok(queue) => {
                    let ready = f64::from(queue.message_count());
                    answer(index, measured(ready, Activity::Number(ready), clock));
                    channel = Some((open, asked));
                }
                Err(error) => match refused_queue(connection, name, &error, clock) {
                    // The broker has closed this channel, and this one only.
                    Some(outcome) => answer(index, outcome),
                    None => return Err(refusal(connection, &error)),
                },
            }
        }
        if let Some(open) = channel.filter(usable) {
            self.lock().push(open);
        }
        Ok(())
    }

    /// Says goodbye, if the broker listens.
    pub(super) async fn close(&self, patience: Duration) {
        let goodbye = self.connection.close(200, ShortString::from("OK"));
        if tokio::time::timeout(patience, goodbye).await.is_err() {
            tracing::debug!(patience_ms = patience.as_millis(), "broker did not confirm the close in time");
        }
        let _ = self.socket.0.shutdown(Shutdown::Both);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Channel, u32)>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the broker says of one queue; `None` if the error is not about the queue.
fn refused_queue(connection: &Connection, name: &str, error: &lapin::Error, clock: &dyn Clock) -> Option<Outcome> {
    let ErrorKind::ProtocolError(error) = error.kind() else { return None };
    let AMQPErrorKind::Soft(soft) = error.kind() else { return None };
    let said = shortened(error.get_message().as_str());
    if *soft == AMQPSoftError::NOTFOUND {
        return Some(no_such_queue(name, &connection.vhost, &said).absent(clock));
    }
    let field = "metadata.queueName";
    let problem = if *soft == AMQPSoftError::ACCESSREFUSED {
        let user = connection.username.as_deref().unwrap_or("guest");
        let message = format!(
            "user {user:?} may not inspect the queue {name:?}: {said}; grant the permission, or use another user"
        );
        Problem::new(FailureKind::Unauthorised, field, message)
    } else if *soft == AMQPSoftError::RESOURCELOCKED {
        let message = format!(
            "the queue {name:?} belongs to another connection alone: {said}; use a queue that is not exclusive"
        );
        Problem::new(FailureKind::BadAnswer, field, message)
    } else {
        Problem::new(
            FailureKind::BadAnswer,
            field,
            format!("the broker does not tell about the queue {name:?}: {said}"),
        )
    };
    Some(problem.failed(clock))
}

/// What an error of the whole connection means.
fn refusal(connection: &Connection, error: &lapin::Error) -> Problem {
    let vhost = &connection.vhost;
    match error.kind() {
        ErrorKind::ProtocolError(error) => {
            let said = shortened(error.get_message().as_str());
            match error.kind() {
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => Problem::credentials(connection),
                AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) if said.contains("not found") => {
                    let message = format!(
                        "there is no virtual host {vhost:?} on the broker; create it, or correct vhostName or the path of host"
                    );
                    Problem::new(FailureKind::NotFound, "metadata.vhostName", message)
                }
                AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) if said.contains("refused") => {
                    let user = connection.username.as_deref().unwrap_or("guest");
                    let message = format!(
                        "user {user:?} has no access to the virtual host {vhost:?}; grant it with rabbitmqctl set_permissions"
                    );
                    Problem::new(FailureKind::Unauthorised, "metadata.vhostName", message)
                }
                AMQPErrorKind::Hard(AMQPHardError::CONNECTIONFORCED) => Problem::unreachable(connection, &said),
                _ => Problem::new(
                    FailureKind::BadAnswer,
                    "metadata.host",
                    format!("the broker ended the connection: {said}"),
                ),
            }
        }
        ErrorKind::IOError(error) => {
            let (why, tls) = root_cause(error.as_ref());
            if tls { Problem::tls(connection, &why) } else { Problem::unreachable(connection, &why) }
        }
        ErrorKind::MissingHeartbeatError => Problem::timeout(connection),
        ErrorKind::ParsingError(_) | ErrorKind::InvalidProtocolVersion(_) => {
            let message = format!("what listens at {} does not speak AMQP 0-9-1; check the port", connection.endpoint);
            Problem::new(FailureKind::BadAnswer, "metadata.host", message)
        }
        ErrorKind::ChannelsLimitReached => Problem::unreachable(connection, "the broker allows no more channels"),
        _ => Problem::unreachable(connection, "the connection was lost"),
    }
}

/// The stream with TLS around it.
async fn secured<S>(connection: &Connection, stream: AsyncTcpStream<S>) -> Result<AsyncTcpStream<S>, Problem>
where
    S: futures::AsyncRead + futures::AsyncWrite + Send + Unpin + 'static,
{
    let opened = connection.tls.opened().await;
    let tls = opened.map_err(|(field, message)| Problem::new(FailureKind::Tls, field, message))?;
    let settings = Connection { tls, ..connection.clone() };
    let connector = tokio::task::spawn_blocking(move || connector(&settings))
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the certificates could not be read")));
    let failed = |error: io::Error| Problem::tls(connection, &root_cause(&error).0);
    stream.into_rustls(&connector.map_err(failed)?, &connection.endpoint.host).await.map_err(failed)
}

/// The system's authorities, the trigger's own, and the client certificate.
fn connector(connection: &Connection) -> io::Result<RustlsConnector> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let tls = &connection.tls;
    let mut config = match RustlsConnectorConfig::new_with_native_certs() {
        Ok(config) => config,
        // An image without certificates is no obstacle to a broker with its own authority.
        Err(_) if tls.ca.is_some() => RustlsConnectorConfig::default(),
        Err(error) => return Err(error),
    };
    let certificates = |pem: &crate::Secret| {
        CertificateDer::pem_slice_iter(pem.expose().as_bytes()).collect::<Result<Vec<_>, _>>().map_err(invalid)
    };
    if let Some(ca) = &tls.ca {
        config.add_parsable_certificates(certificates(ca)?);
    }
    match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(invalid)?;
            config.connector_with_single_cert(certificates(cert)?, key)
        }
        _ => config.connector_with_no_client_auth(),
    }
}

fn uri(connection: &Connection) -> AMQPUri {
    let endpoint = &connection.endpoint;
    let userinfo = AMQPUserInfo {
        username: connection.username.clone().unwrap_or_else(|| "guest".to_owned()),
        password: connection.password.as_ref().map_or("guest", |password| password.expose()).to_owned(),
    };
    AMQPUri {
        // The stream is connected already: the client must not wrap it once more.
        scheme: if endpoint.tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority { userinfo, host: endpoint.host.clone(), port: endpoint.port },
        vhost: connection.vhost.clone(),
        query: AMQPQueryString {
            heartbeat: Some(HEARTBEAT_SECONDS),
            channel_max: Some(NEGOTIATED_CHANNELS),
            frame_max: Some(FRAME_BYTES),
            ..AMQPQueryString::default()
        },
    }
}
