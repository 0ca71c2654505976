//! The upstream: a bounded number of queues at once, each of them asked once however many queries it answers, since each
//! request is billed. Whatever the service does, every query is answered within the deadline.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;
use windlass_decision::Outcome;

use super::answer::Counts;
use super::config::{Connection, Query, Queue};
use super::problem::{NoFigure, Problem};
use super::session::Session;
use crate::aws::{Base, Credential};
use crate::{Dependencies, Upstream};

/// Queues that are asked at once.
const AT_ONCE: usize = 16;

/// A region of SQS, as seen with one credential.
pub(super) struct Reader {
    connection: Connection,
    dependencies: Dependencies,
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl Reader {
    pub(super) fn new(connection: Connection, dependencies: Dependencies) -> Self {
        Self { connection, dependencies, session: tokio::sync::Mutex::default() }
    }

    async fn read_all(&self, queries: &[&Query]) -> Vec<Outcome> {
        let clock = &*self.dependencies.clock;
        let until = Instant::now() + self.dependencies.deadline;
        let queues: BTreeMap<&Queue, ()> = queries.iter().map(|query| (&query.queue, ())).collect();
        let answers = match timeout_at(until, self.session()).await {
            Ok(session) => self.ask(&session, queues.into_keys(), until).await,
            Err(_) => BTreeMap::new(),
        };
        let outcome = |query: &&Query| match answers.get(&query.queue) {
            Some(Ok(counts)) => counts.outcome(query, &self.connection, clock),
            Some(Err(none)) => none.clone().outcome(clock),
            None => NoFigure::Failed(Problem::timeout(&self.connection, false)).outcome(clock),
        };
        queries.iter().map(outcome).collect()
    }

    /// Asks for all queues, the first ones first.
    async fn ask<'q>(
        &self,
        session: &Arc<Session>,
        queues: impl Iterator<Item = &'q Queue>,
        until: Instant,
    ) -> BTreeMap<&'q Queue, Result<Counts, NoFigure>> {
        let refused: OnceLock<NoFigure> = OnceLock::new();
        let refused = &refused;
        let asked = queues.map(|queue| async move {
            let answer = match refused.get() {
                Some(refused) => Err(refused.clone()),
                None if Instant::now() >= until => Err(session.timeout(&self.connection).into()),
                None => {
                    // Nothing of the SDK is logged: it repeats the answers of STS, which may repeat what was signed.
                    let answer = session.counts(&self.connection, queue).with_subscriber(NoSubscriber::default());
                    let mut answer = Box::pin(answer);
                    match timeout_at(until, &mut answer).await {
                        Ok(answer) => answer,
                        // Told while the request is still there: it knows what it waits for.
                        Err(_) => Err(session.timeout(&self.connection).into()),
                    }
                }
            };
            if let Err(none) = &answer
                && none.of_credential().is_some()
            {
                refused.get_or_init(|| none.clone());
            }
            (queue, answer)
        });
        let asked: Vec<_> = asked.collect();
        let answers: BTreeMap<_, _> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
        // A connection that hangs, or an identity that was refused and may have been mended since.
        let hangs = answers.values().all(|answer| answer.as_ref().is_err_and(NoFigure::is_timeout));
        if hangs || (refused.get().is_some() && self.can_change()) {
            self.forget(session).await;
        }
        answers
    }

    /// Whether the same credential may be another identity later on.
    const fn can_change(&self) -> bool {
        !matches!(self.connection.credential, Credential { base: Base::Keys(_), role: None })
    }

    async fn session(&self) -> Arc<Session> {
        let mut slot = self.session.lock().await;
        match &*slot {
            Some(session) => Arc::clone(session),
            None => {
                let Dependencies { deadline, network, .. } = &self.dependencies;
                let session = Box::pin(Session::open(&self.connection, *deadline, network)).await;
                Arc::clone(slot.insert(Arc::new(session)))
            }
        }
    }

    /// Drops a client with its connections, its identity and the URLs that it found, unless a newer one has taken its place.
    async fn forget(&self, session: &Arc<Session>) {
        self.session.lock().await.take_if(|current| Arc::ptr_eq(current, session));
    }
}

impl Upstream for Reader {
    fn read<'a>(&'a self, queries: &'a [crate::Query]) -> BoxFuture<'a, Vec<Outcome>> {
        let own = |query: &'a crate::Query| match query {
            crate::Query::AwsSqs(query) => Some(query),
            _ => None,
        };
        let clock = &*self.dependencies.clock;
        Box::pin(crate::upstream::read_own(queries, clock, own, move |own| async move {
            if own.is_empty() { Vec::new() } else { self.read_all(&own).await }
        }))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.session.lock().await.take();
        })
    }
}
