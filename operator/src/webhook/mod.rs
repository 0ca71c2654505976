//! The receiver of webhooks: who sends is answered once an event is on disk and counted. It judges no signature and counts
//! nothing itself (`windlass_sources::webhook` does both), knows nothing of Kubernetes, and never logs or keeps a body.
//!
//! ```text
//!  POST ─▶ routes: leader? endpoint? body, signature, rate ─▶ keeper (one thread): duplicate? journal, fsync ─▶ Hub::apply ─▶ 202
//!                                                                                                               └▶ push to the poller
//! ```

mod journal;
mod keeper;
mod rate;
mod record;
mod routes;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use windlass_decision::Clock;
use windlass_sources::webhook::Hub;

use crate::leadership::Leadership;
use crate::telemetry::Telemetry;
use keeper::Keeper;

pub use journal::{Journal, JournalError, Replay, Room};
pub use routes::router;

/// What readings say while there is no journal.
const CLOSED: &str = "the journal of webhooks is not open; see the operator's log";
/// How long to wait before a journal that cannot be opened is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How much a receiver takes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The room of the journal.
    pub room: Room,
    /// Events of one endpoint a second.
    pub rate: f64,
    /// Events of one endpoint at once.
    pub burst: f64,
    /// Requests that are worked on at once.
    pub requests: usize,
    /// Bytes of bodies that are held at once.
    pub bodies: usize,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// How long after it began to lead a replica may not know all endpoints yet.
    pub settle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            room: Room::default(),
            rate: 500.0,
            burst: 1000.0,
            requests: 512,
            bodies: 64 << 20,
            body_timeout: Duration::from_secs(10),
            settle: Duration::from_secs(10),
        }
    }
}

/// See the module. Shared by the routes and by [`Receiver::follow`], which opens the journal while this replica leads.
#[derive(Debug)]
pub struct Receiver {
    hub: Arc<Hub>,
    leads: Leadership,
    clock: Arc<dyn Clock>,
    data_dir: PathBuf,
    limits: Limits,
    telemetry: Telemetry,
    /// The journal, and since when it is open; `None` while this replica does not lead.
    open: RwLock<Option<(Arc<Keeper>, Instant)>>,
}

impl Receiver {
    /// A receiver that keeps its events in `data_dir`. It takes none before [`Receiver::follow`] runs.
    #[must_use]
    pub fn new(
        hub: Arc<Hub>,
        leads: Leadership,
        clock: Arc<dyn Clock>,
        data_dir: PathBuf,
        limits: Limits,
        telemetry: Telemetry,
    ) -> Arc<Self> {
        hub.close(CLOSED);
        Arc::new(Self { hub, leads, clock, data_dir, limits, telemetry, open: RwLock::default() })
    }

    /// Opens the journal whenever this replica leads, and lets go of it when it no longer does, until `stop`.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        while stop.run_until_cancelled(self.leads.gained()).await.is_some() {
            let term = async {
                let opened = self.opened();
                tokio::select! {
                    biased;
                    () = self.leads.lost() => {}
                    keeper = opened => {
                        self.set(Some((keeper, Instant::now())));
                        self.leads.lost().await;
                    }
                }
            };
            let ended = stop.run_until_cancelled(term).await;
            self.set(None);
            self.hub.close(CLOSED);
            if ended.is_none() {
                return;
            }
        }
    }

    /// The journal, as soon as it can be had.
    async fn opened(&self) -> Arc<Keeper> {
        let mut failing = false;
        loop {
            let (dir, room) = (self.data_dir.clone(), self.limits.room);
            let (hub, clock, telemetry) = (self.hub.clone(), self.clock.clone(), self.telemetry.clone());
            let opening = tokio::task::spawn_blocking(move || Keeper::open(&dir, room, hub, clock, telemetry));
            match opening.await {
                Ok(Ok(keeper)) => return Arc::new(keeper),
                Ok(Err(error)) if !std::mem::replace(&mut failing, true) => {
                    tracing::error!(%error, "webhooks are refused, retrying");
                }
                Ok(Err(_)) => {}
                Err(error) => tracing::error!(%error, "journal of webhooks was not opened"),
            }
            sleep(RETRY).await;
        }
    }

    fn set(&self, open: Option<(Arc<Keeper>, Instant)>) {
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = open;
    }

    /// The journal and since when it is open, if this replica may take events now.
    fn keeper(&self) -> Option<(Arc<Keeper>, Instant)> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.clone().filter(|_| self.leads.holds())
    }
}

#[cfg(test)]
mod tests;
