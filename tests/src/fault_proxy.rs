//! A TCP proxy before a real server that can make it look gone, frozen, slow or broken, at any moment.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::ports;

/// No protocol begins with it: no letter, no small number.
const GARBAGE: u8 = 0xfe;

/// What the proxy does from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Passes everything.
    Pass,
    /// Nobody listens: connections are refused, open ones are reset.
    Refuse,
    /// Accepts, and passes no byte in either direction. What was held goes on when the mode ends.
    Silence,
    /// Passes each chunk of an answer this much later.
    Delay(Duration),
    /// Passes other bytes in place of each answer, as many as there were.
    Garbage,
    /// Resets open connections, and new ones once this many bytes of answers have passed.
    Reset {
        /// Bytes from the server that still pass.
        after: usize,
    },
}

/// A running proxy; ends when dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    accepted: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl FaultProxy {
    /// Listens on a free port of loopback, before `target`, in mode `Pass`.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(target: SocketAddr) -> anyhow::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::single()?));
        let listener = TcpListener::bind(address).await?;
        let (mode, receiver) = watch::channel(Mode::Pass);
        let accepted = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, address, target, receiver, Arc::clone(&accepted)));
        Ok(Self { address, mode, accepted, _tasks: tasks })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the mode, for open connections too.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

async fn accept(
    listener: TcpListener,
    address: SocketAddr,
    target: SocketAddr,
    mut mode: watch::Receiver<Mode>,
    accepted: Arc<AtomicU64>,
) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let refuse = *mode.borrow_and_update() == Mode::Refuse;
        if refuse {
            // Only a closed port refuses.
            listener = None;
            if mode.changed().await.is_err() {
                return;
            }
            continue;
        }
        let open = match listener.take() {
            Some(open) => open,
            None => match TcpListener::bind(address).await {
                Ok(open) => open,
                Err(error) => {
                    eprintln!("fault proxy: cannot listen on {address} again: {error}");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        tokio::select! {
            changed = mode.changed() => if changed.is_err() { return },
            stream = open.accept() => if let Ok((stream, _)) = stream {
                accepted.fetch_add(1, Ordering::Relaxed);
                connections.spawn(serve(stream, target, mode.clone()));
            },
        }
        listener = Some(open);
    }
}

async fn serve(mut client: TcpStream, target: SocketAddr, mode: watch::Receiver<Mode>) {
    let broken = match pass(&mut client, target, mode).await {
        Ok(()) => false,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    };
    if broken {
        // Zero linger makes the close a reset.
        let _best_effort = client.set_zero_linger();
    }
}

/// Passes bytes until an end closes; the error `ConnectionReset` asks for a reset.
async fn pass(client: &mut TcpStream, target: SocketAddr, mut mode: watch::Receiver<Mode>) -> io::Result<()> {
    gate(&mut mode.clone(), false).await;
    let mut server = TcpStream::connect(target).await?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let mut up_mode = mode.clone();
    let up = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = from_client.read(&mut buffer).await?;
            gate(&mut up_mode, false).await;
            if read == 0 {
                return to_server.shutdown().await;
            }
            to_server.write_all(&buffer[..read]).await?;
        }
    };
    let mut down_mode = mode.clone();
    let down = async {
        let (mut buffer, mut passed) = (vec![0; 16 * 1024], 0);
        loop {
            let mut read = from_server.read(&mut buffer).await?;
            gate(&mut down_mode, true).await;
            if read == 0 {
                return to_client.shutdown().await;
            }
            let limit = match *down_mode.borrow() {
                Mode::Reset { after } => Some(after),
                _ => None,
            };
            if let Some(after) = limit {
                read = read.min(after.saturating_sub(passed));
            }
            if *down_mode.borrow() == Mode::Garbage {
                buffer[..read].fill(GARBAGE);
            }
            to_client.write_all(&buffer[..read]).await?;
            passed += read;
            if limit.is_some_and(|after| passed >= after) {
                // Without this pause the reset would overtake the bytes before it.
                sleep(Duration::from_millis(20)).await;
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
    };
    mode.mark_unchanged();
    let cut = async {
        while mode.changed().await.is_ok() {
            if matches!(*mode.borrow_and_update(), Mode::Refuse | Mode::Reset { .. }) {
                return;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = async { tokio::try_join!(up, down) } => ended.map(drop),
        () = cut => Err(io::ErrorKind::ConnectionReset.into()),
    }
}

/// Waits while the mode lets nothing through.
async fn gate(mode: &mut watch::Receiver<Mode>, answer: bool) {
    loop {
        let now = *mode.borrow_and_update();
        match now {
            Mode::Silence => {
                if mode.changed().await.is_err() {
                    return;
                }
            }
            Mode::Delay(delay) if answer => return sleep(delay).await,
            _ => return,
        }
    }
}
