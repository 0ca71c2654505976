//! The task of one upstream: waits for the next poll time or change, starts readings and hands out what they give. It never
//! waits for a reading, so that a slow one delays neither a change nor another query.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use windlass_decision::Outcome;

use super::plan::{Batch, Plan};
use super::{Shared, Sink, Timing, lock};
use crate::{Process, Push, Upstream};

/// How long an upstream may take to close.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);

pub(super) struct Task {
    upstream: Arc<dyn Upstream>,
    shared: Arc<Shared>,
    sink: Arc<dyn Sink>,
    plan: Plan,
    process: Process,
    readings: JoinSet<Vec<Outcome>>,
    /// The batches of `readings`: few, so a list will do.
    batches: Vec<(Id, Batch)>,
    pushes: Option<BoxStream<'static, Push>>,
}

impl Task {
    pub(super) fn new(
        upstream: Arc<dyn Upstream>,
        shared: Arc<Shared>,
        sink: Arc<dyn Sink>,
        seed: u64,
        process: Process,
    ) -> Self {
        let (pushes, plan) = (upstream.watch(), Plan::new(seed));
        Self { upstream, shared, sink, plan, process, readings: JoinSet::new(), batches: Vec::new(), pushes }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let shared = Arc::clone(&self.shared);
        loop {
            let next = self.plan.next_due();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // Before the readings: what nobody asks for any more is not handed out.
                () = shared.changed.notified() => self.plan.update(&lock(&shared.demand), Instant::now()),
                Some(finished) = self.readings.join_next_with_id() => self.finish(finished),
                push = next_push(&mut self.pushes) => self.pushed(push),
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => self.start(),
            }
        }
        self.readings.abort_all();
        if timeout(CLOSE_PATIENCE, self.upstream.close()).await.is_err() {
            tracing::warn!(upstream = ?self.upstream, "upstream did not close in time");
        }
    }

    fn start(&mut self) {
        for batch in self.plan.due(Instant::now()) {
            let (upstream, queries) = (Arc::clone(&self.upstream), Arc::clone(&batch.queries));
            let handle = self.readings.spawn(self.process.own(async move { upstream.read(&queries).await }));
            self.batches.push((handle.id(), batch));
        }
    }

    fn finish(&mut self, finished: Result<(Id, Vec<Outcome>), JoinError>) {
        let (id, outcomes) = match finished {
            Ok(finished) => finished,
            Err(error) => {
                tracing::error!(upstream = ?self.upstream, %error, "reading ended without an answer");
                (error.id(), Vec::new())
            }
        };
        let Some(place) = self.batches.iter().position(|(known, _)| *known == id) else { return };
        let (_, batch) = self.batches.swap_remove(place);
        for delivery in self.plan.finish(&batch, outcomes, Instant::now()) {
            for subscriber in delivery.subscribers.iter() {
                self.sink.reading(&subscriber.key, subscriber.index, delivery.outcome.clone(), delivery.timing);
            }
        }
    }

    fn pushed(&mut self, push: Option<Push>) {
        let Some(Push { query, outcome }) = push else {
            self.pushes = None;
            return;
        };
        if let Some((subscribers, interval)) = self.plan.subscribers(&query) {
            let timing = Timing { interval, asked: None };
            for subscriber in subscribers.iter() {
                self.sink.reading(&subscriber.key, subscriber.index, outcome.clone(), timing);
            }
        }
    }
}

/// The next reading that the server sends by itself; waits for ever where it sends none.
async fn next_push(pushes: &mut Option<BoxStream<'static, Push>>) -> Option<Push> {
    match pushes {
        Some(pushes) => pushes.next().await,
        None => pending().await,
    }
}
