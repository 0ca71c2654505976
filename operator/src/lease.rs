//! Leader election by a `coordination.k8s.io/v1` Lease: the loop that reads and writes the Lease and grants the right to
//! write to the rest of the operator.
//!
//! ```text
//!  LeaseStore ──read──▶ Election::step ──Action──▶ LeaseStore ──written──▶ Grant::extend(sent + renew deadline)
//! ```
//!
//! What it never does: compare the Lease's `renewTime` with a clock, or believe in a renewal it has no answer for.
//! A stand-by may take the Lease once it has itself seen it unchanged for the whole lease duration, by its monotonic
//! clock; a leader may write until the renew deadline counted from *before* its last successful renewal was sent. As the
//! deadline is shorter than the duration, the first has ended when the second begins, however late requests arrive.
//! Wall-clock skew does not matter; only clocks that run at different rates, or stand still while a machine is
//! suspended, do, and for those every other write carries a precondition of its own.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use windlass_decision::Clock;

use crate::leadership::Grant;
use crate::telemetry::Telemetry;

mod election;
mod store;

#[cfg(test)]
mod tests;

use election::{Action, Election, Event};
pub use store::{KubeLeases, LeaseStore, StoreError};

/// The name of the Lease.
pub const LEASE_NAME: &str = "windlass";

/// No call about the Lease takes longer, whatever the renew deadline.
const LONGEST_CALL: Duration = Duration::from_secs(5);
/// No lease is longer: a Lease whose duration somebody edited to years must not stop the election for years.
const LONGEST_LEASE: Duration = Duration::from_secs(300);

/// Why an election cannot be held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidElection {
    /// The three times do not fit together.
    #[error(
        "lease duration {lease:?} must be above renew deadline {renew:?}, and that above retry period {retry:?}, which \
         must be at least 10 ms: set --lease-duration, --renew-deadline and --retry-period"
    )]
    Order {
        /// The lease duration.
        lease: Duration,
        /// The renew deadline.
        renew: Duration,
        /// The retry period.
        retry: Duration,
    },
    /// The lease duration cannot be written into a Lease or would make a take-over endless.
    #[error("lease duration {0:?} must be between 1 s and 5 min: set --lease-duration")]
    Duration(Duration),
    /// The identity is empty, which in a Lease means that nobody holds it.
    #[error("the identity of this replica is empty: set --identity, unique to each replica")]
    Identity,
}

/// The times of an election, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    lease: Duration,
    renew: Duration,
    retry: Duration,
}

impl Default for Timing {
    /// The times that Kubernetes' own components use: 15 s lease, 10 s renew deadline, 2 s retry period.
    fn default() -> Self {
        Self { lease: Duration::from_secs(15), renew: Duration::from_secs(10), retry: Duration::from_secs(2) }
    }
}

impl Timing {
    /// `lease`: how long a Lease nobody renews keeps stand-bys out. `renew`: how long after its last renewal the leader
    /// may write. `retry`: how often the leader renews; a stand-by looks twice as often.
    ///
    /// # Errors
    /// Where they do not fit together.
    pub fn try_new(lease: Duration, renew: Duration, retry: Duration) -> Result<Self, InvalidElection> {
        if lease <= renew || renew <= retry || retry < Duration::from_millis(10) {
            return Err(InvalidElection::Order { lease, renew, retry });
        }
        if lease < Duration::from_secs(1) || lease > LONGEST_LEASE {
            return Err(InvalidElection::Duration(lease));
        }
        Ok(Self { lease, renew, retry })
    }

    /// The longest a single call about the Lease may take: half the renew deadline, at most 5 s.
    #[must_use]
    pub fn call_deadline(&self) -> Duration {
        LONGEST_CALL.min(self.renew / 2)
    }
}

/// Takes part in the election for one replica.
#[derive(Debug)]
pub struct Elector<S> {
    store: S,
    election: Election,
    grant: Grant,
    clock: Arc<dyn Clock>,
    telemetry: Telemetry,
    timing: Timing,
    granted: Option<Instant>,
}

impl<S: LeaseStore> Elector<S> {
    /// A replica named `identity`, which must be unique to it and stay its own when its container restarts (the pod's
    /// name). `seed` spreads the polls of stand-bys.
    ///
    /// # Errors
    /// Where the identity is empty.
    pub fn new(
        store: S,
        identity: String,
        timing: Timing,
        grant: Grant,
        clock: Arc<dyn Clock>,
        telemetry: Telemetry,
        seed: u64,
    ) -> Result<Self, InvalidElection> {
        if identity.is_empty() {
            return Err(InvalidElection::Identity);
        }
        let election = Election::new(identity, timing, seed);
        Ok(Self { store, election, grant, clock, telemetry, timing, granted: None })
    }

    /// Takes part until `stop`: grants the right to write while this replica holds the Lease, and is a candidate again
    /// when it has lost it. Never fails: an API server that does not answer is waited for.
    ///
    /// Stop it only when everything that writes has stopped, so that nobody else leads while a write is under way;
    /// then call [`release`](Self::release). The grant has ended when this returns.
    pub async fn run(&mut self, stop: &CancellationToken) {
        let stopped = stop.run_until_cancelled(Box::pin(self.take_part())).await;
        debug_assert!(stopped.is_none(), "an election has no end of its own");
        self.set_leading(None);
    }

    /// Gives the Lease up, so that a stand-by need not wait for it to expire. Says whether there was something to give
    /// up. For the very end, when [`run`](Self::run) has returned and nothing writes any more.
    ///
    /// # Errors
    /// Where the API server refused it or gave no answer. The Lease then expires as if this process had been killed.
    pub async fn release(mut self) -> Result<bool, StoreError> {
        self.set_leading(None);
        let held = self.limited(self.store.read()).await?;
        let Some(released) = held.and_then(|lease| self.election.released(lease, self.clock.now())) else {
            return Ok(false);
        };
        self.limited(self.store.replace(released)).await?;
        tracing::info!(lease = LEASE_NAME, "lease released");
        Ok(true)
    }

    async fn take_part(&mut self) -> std::convert::Infallible {
        let mut event = Event::Tick;
        loop {
            let action = self.election.step(event, Instant::now(), self.clock.now());
            self.set_leading(self.election.leading_until());
            event = self.act(action).await;
        }
    }

    async fn act(&mut self, action: Action) -> Event {
        match action {
            Action::Sleep(time) => {
                tokio::time::sleep(time).await;
                Event::Tick
            }
            Action::Read => match self.limited(self.store.read()).await {
                Ok(lease) => Event::Read(lease),
                Err(error) => Self::failed("read", &error),
            },
            Action::Create(lease) => self.written("create", self.store.create(lease)).await,
            Action::Replace(lease) => self.written("renew", self.store.replace(lease)).await,
        }
    }

    async fn written(&self, attempt: &'static str, request: impl Future<Output = Result<Lease, StoreError>>) -> Event {
        // Before the request leaves: the stand-bys cannot have seen its effect any earlier.
        let sent = Instant::now();
        match self.limited(request).await {
            Ok(lease) => Event::Written { lease, sent },
            Err(StoreError::Changed) => Event::Conflict,
            Err(error) => Self::failed(attempt, &error),
        }
    }

    fn failed(attempt: &'static str, error: &StoreError) -> Event {
        tracing::warn!(lease = LEASE_NAME, attempt, %error, "lease call failed");
        Event::Failed
    }

    /// Ends a call at its deadline, or at the end of the leadership, so that a loss is noticed on time.
    async fn limited<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let left = self.election.leading_until().map(|until| until.saturating_duration_since(Instant::now()));
        let deadline = left.filter(|left| !left.is_zero()).unwrap_or(LONGEST_CALL).min(self.timing.call_deadline());
        tokio::time::timeout(deadline, call).await.unwrap_or(Err(StoreError::Deadline(deadline)))
    }

    fn set_leading(&mut self, until: Option<Instant>) {
        if until == self.granted {
            return;
        }
        self.granted = until;
        match until {
            Some(until) => self.grant.extend(until),
            None => self.grant.end(),
        }
        self.telemetry.leading(until.is_some());
    }
}
