//! Who may write. A handle that every write asks before it leaves; it judges by the monotonic clock alone.
//!
//! The election (`lease.rs`) extends the right each time it has renewed the Lease; nobody takes it away by force: it
//! runs out by itself, earlier than any stand-by may take the Lease, even if this process was frozen meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::mutant::{self, Mutant};

/// The right to write, as seen by those who write. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Leadership(watch::Receiver<Option<Instant>>);

/// The election's end of a [`Leadership`].
#[derive(Debug, Clone)]
pub struct Grant(Arc<watch::Sender<Option<Instant>>>);

/// A handle nobody holds yet, and the end that grants it.
#[must_use]
pub fn leadership() -> (Grant, Leadership) {
    let (sender, receiver) = watch::channel(None);
    (Grant(Arc::new(sender)), Leadership(receiver))
}

impl Grant {
    /// Grants the right to write until `until`.
    pub fn extend(&self, until: Instant) {
        self.0.send_replace(Some(until));
    }

    /// Ends the right to write now.
    pub fn end(&self) {
        if mutant::is(Mutant::NoFencing) {
            return;
        }
        self.0.send_replace(None);
    }
}

impl Leadership {
    /// How long writes may still be sent; `None` when this process does not lead.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let until = (*self.0.borrow())?;
        if mutant::is(Mutant::NoFencing) {
            return Some(Duration::from_secs(60));
        }
        until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// Whether this process leads now.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.remaining().is_some()
    }

    /// Waits until this process leads.
    pub async fn gained(&mut self) {
        while !self.holds() {
            if self.0.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until this process no longer leads.
    pub async fn lost(&mut self) {
        loop {
            let Some(left) = self.remaining() else { return };
            tokio::select! {
                biased;
                () = tokio::time::sleep(left) => {}
                changed = self.0.changed() => if changed.is_err() { return }
            }
        }
    }
}
