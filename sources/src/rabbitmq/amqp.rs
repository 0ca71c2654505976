//! Ready messages by passive declare: one connection per broker, virtual host and credential, at most 32 channels on it,
//! kept open between readings. Never declares, consumes or trusts the consumer count (a quorum queue counts fetches in it).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use tokio::time::{Instant, timeout_at};
use windlass_decision::Outcome;

use super::config::{Connection, Query};
use super::outcome::Problem;
use super::session::Session;
use crate::{Dependencies, Upstream};

/// How long a goodbye may take before the socket is shut down.
const GOODBYE: Duration = Duration::from_secs(1);

/// A broker, read over AMQP.
pub(super) struct Amqp {
    connection: Connection,
    dependencies: Dependencies,
    session: Mutex<Option<Arc<Session>>>,
    /// Held while connecting, so that concurrent readings connect once.
    connecting: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Amqp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Amqp").field("connection", &self.connection).finish_non_exhaustive()
    }
}

/// The answers so far; a place that stays empty was not answered.
struct Answers(Mutex<Vec<Option<Outcome>>>);

impl Answers {
    fn new(count: usize) -> Self {
        Self(Mutex::new(vec![None; count]))
    }

    fn put(&self, index: usize, outcome: Outcome) {
        if let Some(place) = self.lock().get_mut(index) {
            *place = Some(outcome);
        }
    }

    fn open(&self) -> Vec<usize> {
        self.lock().iter().enumerate().filter(|(_, answer)| answer.is_none()).map(|(index, _)| index).collect()
    }

    /// All answers; what is missing gets `problem`.
    fn or_else(self, problem: impl Fn() -> Outcome) -> Vec<Outcome> {
        let answers = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        answers.into_iter().map(|answer| answer.unwrap_or_else(&problem)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Outcome>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Amqp {
    pub(super) fn new(connection: Connection, dependencies: Dependencies) -> Self {
        Self { connection, dependencies, session: Mutex::new(None), connecting: tokio::sync::Mutex::new(()) }
    }

    async fn read_all(&self, queries: &[&Query]) -> Vec<Outcome> {
        let clock = &*self.dependencies.clock;
        let until = Instant::now() + self.dependencies.deadline;
        let answers = Answers::new(queries.len());
        let mut problem = Problem::timeout(&self.connection);
        // A second round only where the first one found that the connection of an earlier reading is gone.
        for _ in 0..2 {
            let (session, reused) = match timeout_at(until, self.session()).await {
                Ok(Ok(found)) => found,
                Ok(Err(refused)) => {
                    problem = refused;
                    break;
                }
                Err(_) => break,
            };
            let open = answers.open();
            match timeout_at(until, self.round(&session, queries, &open, &answers)).await {
                Ok(Ok(())) => break,
                Ok(Err(lost)) => {
                    self.forget(&session);
                    problem = lost;
                    if !reused {
                        break;
                    }
                }
                Err(_) => {
                    // A broker that answers some is slow; one that answers none is gone or frozen.
                    if answers.open().len() == queries.len() {
                        self.forget(&session);
                    }
                    problem = Problem::timeout(&self.connection);
                    break;
                }
            }
        }
        answers.or_else(|| problem.clone().failed(clock))
    }

    /// The open connection, or a new one; and whether it is an earlier one.
    async fn session(&self) -> Result<(Arc<Session>, bool), Problem> {
        if let Some(session) = self.connected() {
            return Ok((session, true));
        }
        let _connecting = self.connecting.lock().await;
        if let Some(session) = self.connected() {
            return Ok((session, false));
        }
        let session = Arc::new(Session::open(&self.connection, &self.dependencies.network).await?);
        *self.slot() = Some(Arc::clone(&session));
        Ok((session, false))
    }

    fn connected(&self) -> Option<Arc<Session>> {
        self.slot().as_ref().filter(|session| session.is_connected()).cloned()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Session>>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn round(
        &self,
        session: &Session,
        queries: &[&Query],
        open: &[usize],
        answers: &Answers,
    ) -> Result<(), Problem> {
        let taken = AtomicUsize::new(0);
        let next = || {
            let index = *open.get(taken.fetch_add(1, Ordering::Relaxed))?;
            queries.get(index).map(|query| (index, *query))
        };
        let workers = session.capacity().min(open.len());
        let answer = |index, outcome| answers.put(index, outcome);
        let work = (0..workers).map(|_| session.work(&self.connection, &*self.dependencies.clock, next, answer));
        join_all(work).await.into_iter().collect()
    }

    /// Drops a connection, unless a newer one has taken its place.
    fn forget(&self, session: &Arc<Session>) {
        self.slot().take_if(|current| Arc::ptr_eq(current, session));
    }
}

impl Upstream for Amqp {
    fn read<'a>(&'a self, queries: &'a [crate::Query]) -> BoxFuture<'a, Vec<Outcome>> {
        let clock = &*self.dependencies.clock;
        Box::pin(crate::upstream::read_own(queries, clock, Query::of, move |own| async move {
            if own.is_empty() { Vec::new() } else { self.read_all(&own).await }
        }))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let session = self.slot().take();
            if let Some(session) = session {
                session.close(GOODBYE).await;
            }
        })
    }
}
