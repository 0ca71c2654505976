//! Answers from the hub's memory, and pushes what an event changes at once. It never waits for anybody.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, unfold};
use windlass_decision::{Clock, Outcome};

use super::config::{Connection, Query};
use super::hub::{Hub, Registration};
use crate::{Dependencies, Push, Upstream};

/// How long after a reading was pushed the next one is: a storm of events is not one of readings.
const PAUSE: Duration = Duration::from_millis(10);

pub(super) struct Webhook {
    connection: Arc<Connection>,
    hub: Arc<Hub>,
    clock: Arc<dyn Clock>,
    /// The endpoint is known as long as somebody reads it.
    registration: Registration,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = format!("{}/{}", self.connection.namespace, self.connection.name);
        f.debug_struct("Webhook").field("endpoint", &place).finish_non_exhaustive()
    }
}

impl Webhook {
    pub(super) fn new(connection: &Connection, dependencies: &Dependencies) -> Self {
        let Dependencies { clock, hub, .. } = dependencies.clone();
        let registration = hub.register(connection);
        Self { connection: Arc::new(connection.clone()), hub, clock, registration }
    }
}

impl Upstream for Webhook {
    fn read<'a>(&'a self, queries: &'a [crate::Query]) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(crate::upstream::read_own(queries, &*self.clock, Query::of, move |own| async move {
            own.into_iter().map(|query| self.hub.outcome(&self.connection, query, self.clock.now())).collect()
        }))
    }

    fn watch(&self) -> Option<BoxStream<'static, Push>> {
        let (connection, hub, clock) = (Arc::clone(&self.connection), Arc::clone(&self.hub), Arc::clone(&self.clock));
        let pushes = unfold((self.registration.news.clone(), false), move |(mut news, pause)| {
            let (connection, hub, clock) = (Arc::clone(&connection), Arc::clone(&hub), Arc::clone(&clock));
            async move {
                if pause {
                    tokio::time::sleep(PAUSE).await;
                }
                news.changed().await.ok()?;
                let outcome = hub.outcome(&connection, &connection.query, clock.now());
                let query = crate::Query::Webhook(connection.query.clone());
                Some((Push { query, outcome }, (news, true)))
            }
        });
        Some(pushes.boxed())
    }
}
