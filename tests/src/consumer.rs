//! Workers that are as many as a Deployment has ready pods: the fake kubelet runs no program, so the work is done here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::apps::v1::Deployment;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::Broker;

const TICK: Duration = Duration::from_millis(100);

/// Takes messages at `rate` per second and ready replica until dropped.
#[derive(Debug)]
pub struct Consumer {
    consumed: Arc<AtomicU64>,
    ready: watch::Receiver<i32>,
    _tasks: JoinSet<()>,
}

impl Consumer {
    /// Starts the workers of a Deployment, on a queue.
    #[must_use]
    pub fn start(
        client: Client,
        namespace: &str,
        deployment: &str,
        broker: Arc<dyn Broker>,
        queue: &str,
        rate: f64,
    ) -> Self {
        let (sender, ready) = watch::channel(0);
        let consumed = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(Api::namespaced(client, namespace), deployment.to_owned(), sender));
        tasks.spawn(work(broker, queue.to_owned(), rate, ready.clone(), Arc::clone(&consumed)));
        Self { consumed, ready, _tasks: tasks }
    }

    /// Messages taken so far.
    #[must_use]
    pub fn consumed(&self) -> u64 {
        self.consumed.load(Ordering::Relaxed)
    }

    /// Ready replicas, as the workers know them.
    #[must_use]
    pub fn ready(&self) -> i32 {
        *self.ready.borrow()
    }
}

async fn follow(deployments: Api<Deployment>, name: String, ready: watch::Sender<i32>) {
    let changes = watch_object(deployments, &name).default_backoff();
    pin_mut!(changes);
    while let Some(change) = changes.next().await {
        // An error leaves the workers as they are: pods live on without an API server.
        if let Ok(deployment) = change {
            let now = deployment.and_then(|d| d.status).and_then(|status| status.ready_replicas).unwrap_or(0);
            ready.send_replace(now);
        }
    }
}

async fn work(
    broker: Arc<dyn Broker>,
    queue: String,
    rate: f64,
    ready: watch::Receiver<i32>,
    consumed: Arc<AtomicU64>,
) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut last, mut owed) = (Instant::now(), 0.0_f64);
    loop {
        ticks.tick().await;
        let per_second = rate * f64::from(*ready.borrow());
        // Never more than a second's work at once: a broker that was away is not emptied in one gulp.
        owed = (owed + per_second * last.elapsed().as_secs_f64()).min(per_second.max(1.0));
        last = Instant::now();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and not negative")]
        let whole = owed.floor() as u64;
        if whole == 0 || *ready.borrow() == 0 {
            continue;
        }
        owed = owed.fract();
        if let Ok(taken) = broker.take(&queue, whole).await {
            consumed.fetch_add(taken, Ordering::Relaxed);
        }
    }
}
