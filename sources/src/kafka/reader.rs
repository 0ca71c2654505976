//! The reader of one cluster: takes queries to the cluster and offsets through the formula. It never applies a threshold.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use tokio::time::{Instant, timeout_at};
use windlass_decision::{Activity, FailureKind, Outcome, Sample};

use super::cluster::{Cluster, Place};
use super::config::{Connection, Query};
use super::lag::{self, Partition};
use super::outcome::Problem;
use super::stuck::Memory;
use crate::{Dependencies, Upstream};

/// Of a reading's time this part (1 / n) is kept for the way back.
const SPARE: u32 = 20;

/// A cluster, read.
pub(super) struct Kafka {
    connection: Connection,
    dependencies: Dependencies,
    cluster: Cluster,
    memory: Mutex<Memory>,
}

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kafka").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl Kafka {
    pub(super) fn new(connection: Connection, dependencies: Dependencies) -> Self {
        let Dependencies { network, clock, .. } = &dependencies;
        let cluster = Cluster::new(connection.clone(), Arc::clone(network), Arc::clone(clock));
        Self { connection, dependencies, cluster, memory: Mutex::default() }
    }

    async fn read_all(&self, queries: &[&Query]) -> Vec<Outcome> {
        let deadline = self.dependencies.deadline;
        let until = Instant::now() + deadline.saturating_sub(deadline / SPARE);
        match timeout_at(until, self.cluster.read(queries, until)).await {
            Ok(answers) => queries.iter().zip(answers).map(|(query, answer)| self.outcome(query, answer)).collect(),
            Err(_) => {
                let problem = Problem::too_late(&self.connection);
                queries.iter().map(|_| problem.clone().outcome(&*self.dependencies.clock)).collect()
            }
        }
    }

    fn outcome(&self, query: &Query, answer: Result<Vec<Place>, Problem>) -> Outcome {
        let clock = &*self.dependencies.clock;
        let at = clock.now();
        let places = match answer {
            Ok(places) => places,
            Err(problem) => return problem.outcome(clock),
        };
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stuck = |place: &Place| {
            query.rules.exclude_persistent
                && place.committed.is_some_and(|committed| {
                    memory.note(query, &place.topic, place.partition, committed, at.as_second())
                })
        };
        let partitions: Vec<Partition> = places
            .iter()
            .map(|place| Partition { end: place.end, committed: place.committed, stuck: stuck(place) })
            .collect();
        drop(memory);
        let lag = lag::total(query.rules, &partitions);
        let sample =
            Sample { value: lag.value as f64, activity: Activity::Number(lag.activity as f64), limit: lag.limit, at };
        match sample.checked() {
            Ok(sample) => Outcome::Ok(sample),
            Err(why) => Problem::new(FailureKind::BadAnswer, "metadata.topic", why).outcome(clock),
        }
    }
}

impl Upstream for Kafka {
    fn read<'a>(&'a self, queries: &'a [crate::Query]) -> BoxFuture<'a, Vec<Outcome>> {
        let clock = &*self.dependencies.clock;
        Box::pin(crate::upstream::read_own(queries, clock, Query::of, move |own| async move {
            if own.is_empty() { Vec::new() } else { self.read_all(&own).await }
        }))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.cluster.close() })
    }
}

/// Makes the reader of a cluster. Connects at the first reading.
pub(crate) fn connect(connection: &Connection, dependencies: &Dependencies) -> Arc<dyn Upstream> {
    Arc::new(Kafka::new(connection.clone(), dependencies.clone()))
}
