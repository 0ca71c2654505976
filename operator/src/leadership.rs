//! Who may write. A handle that every write asks before it leaves; it judges by the monotonic clock alone.
//!
//! The election (`lease.rs`) extends the right each time it has renewed the Lease; nobody takes it away by force: it
//! runs out by itself, earlier than any stand-by may take the Lease, even if this process was frozen meanwhile.

use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::mutant::{self, Mutant};

/// The right to write, as seen by those who write. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Leadership(Arc<Right>);

/// The election's end of a [`Leadership`].
#[derive(Debug, Clone)]
pub struct Grant(Arc<Right>);

/// Not a `tokio::sync::watch`: that one wakes who waits in an order by chance, and a simulated run must be repeatable.
#[derive(Debug, Default)]
struct Right {
    until: RwLock<Option<Instant>>,
    changed: Notify,
}

/// A handle nobody holds yet, and the end that grants it.
#[must_use]
pub fn leadership() -> (Grant, Leadership) {
    let right = Arc::<Right>::default();
    (Grant(right.clone()), Leadership(right))
}

impl Grant {
    /// Grants the right to write until `until`.
    pub fn extend(&self, until: Instant) {
        self.0.set(Some(until));
    }

    /// Ends the right to write now.
    pub fn end(&self) {
        if mutant::is(Mutant::NoFencing) {
            return;
        }
        self.0.set(None);
    }
}

impl Right {
    fn set(&self, until: Option<Instant>) {
        *self.until.write().unwrap_or_else(PoisonError::into_inner) = until;
        self.changed.notify_waiters();
    }

    fn until(&self) -> Option<Instant> {
        *self.until.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leadership {
    /// How long writes may still be sent; `None` when this process does not lead.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let until = self.0.until()?;
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
    pub async fn gained(&self) {
        loop {
            let mut changed = pin!(self.0.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            if self.holds() {
                return;
            }
            changed.await;
        }
    }

    /// Waits until this process no longer leads.
    pub async fn lost(&self) {
        loop {
            let mut changed = pin!(self.0.changed.notified());
            changed.as_mut().enable();
            let Some(left) = self.remaining() else { return };
            tokio::select! {
                biased;
                () = tokio::time::sleep(left) => {}
                () = changed => {}
            }
        }
    }
}
