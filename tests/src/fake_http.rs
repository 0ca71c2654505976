//! An HTTP server that answers what a test says: for answers that no real server gives on demand.

use std::collections::VecDeque;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::ports;

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
    /// How long after the request it is sent.
    pub after: Duration,
}

impl Answer {
    /// 200 with this body, at once.
    #[must_use]
    pub fn json(body: &Value) -> Self {
        Self { status: 200, body: body.to_string(), after: Duration::ZERO }
    }

    /// An error status with a body that says so, at once.
    #[must_use]
    pub fn error(status: u16) -> Self {
        Self { status, body: format!(r#"{{"error":"scripted {status}"}}"#), after: Duration::ZERO }
    }

    /// The same, this much later.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.after = delay;
        self
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, ...
    pub method: String,
    /// Path and query, not decoded.
    pub path: String,
    /// The head, header lines included.
    pub head: String,
    /// The body.
    pub body: String,
}

type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

/// A running server; ends when dropped.
pub struct FakeHttp {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    handler: Mutex<Arc<Handler>>,
    requests: Mutex<Vec<Request>>,
}

impl fmt::Debug for FakeHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeHttp").field("address", &self.address).finish_non_exhaustive()
    }
}

impl FakeHttp {
    /// Listens on a free port of loopback and answers each request by `handler`.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> anyhow::Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST, handler).await
    }

    /// The same on another address of this machine.
    ///
    /// # Errors
    /// When no port is free, or the address is none of this machine's.
    pub async fn start_at(
        address: Ipv4Addr,
        handler: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let address = SocketAddr::from((address, ports::single()?));
        let listener = TcpListener::bind(address).await?;
        let shared = Arc::new(Shared { handler: Mutex::new(Arc::new(handler)), requests: Mutex::default() });
        let mut tasks = JoinSet::new();
        let state = Arc::clone(&shared);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                while connections.try_join_next().is_some() {}
                if let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(serve(stream, Arc::clone(&state)));
                }
            }
        });
        Ok(Self { address, shared, _tasks: tasks })
    }

    /// Answers in this order; the last one is repeated.
    ///
    /// # Errors
    /// When no port is free, or the script is empty.
    pub async fn script(answers: Vec<Answer>) -> anyhow::Result<Self> {
        ensure!(!answers.is_empty(), "a script needs an answer");
        let left = Mutex::new(VecDeque::from(answers));
        Self::start(move |_| {
            let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
            let last = left.len() == 1;
            let next = if last { left.front().cloned() } else { left.pop_front() };
            next.expect("a script is never empty")
        })
        .await
    }

    /// Answers by another handler from now on.
    pub fn set(&self, handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        *self.shared.handler.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(handler);
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    // A client that goes away is its own affair.
    let Ok(request) = read(&mut stream).await else { return };
    shared.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
    let handler = Arc::clone(&shared.handler.lock().unwrap_or_else(PoisonError::into_inner));
    let Answer { status, body, after } = handler(&request);
    sleep(after).await;
    let head = format!(
        "HTTP/1.1 {status} scripted\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _client_gone = stream.write_all(format!("{head}{body}").as_bytes()).await;
    let _client_gone = stream.shutdown().await;
}

async fn read(stream: &mut TcpStream) -> anyhow::Result<Request> {
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; 8 * 1024]);
    loop {
        let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = head_end {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if bytes.len() >= end + 4 + length.unwrap_or(0) {
                let mut words = head.split_whitespace();
                let method = words.next().context("no method")?.to_owned();
                let path = words.next().context("no path")?.to_owned();
                let body = String::from_utf8_lossy(&bytes[end + 4..]).into_owned();
                return Ok(Request { method, path, head, body });
            }
        }
        let read = stream.read(&mut chunk).await?;
        ensure!(read > 0, "the client closed before its request was complete");
        bytes.extend_from_slice(&chunk[..read]);
    }
}
