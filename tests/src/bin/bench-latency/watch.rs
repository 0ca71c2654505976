//! When each object of a namespace first came into a wanted state, by one watch for all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::bail;
use futures::{StreamExt, pin_mut};
use jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

type Times = HashMap<String, Timestamp>;

/// A running record of first times; ends when dropped.
#[derive(Debug)]
pub struct Firsts {
    times: Arc<Mutex<Times>>,
    changed: watch::Receiver<usize>,
    _tasks: JoinSet<()>,
}

impl Firsts {
    /// Notes when each object of this kind first is as `wanted`.
    pub fn start(
        client: Client,
        namespace: &str,
        kind: &ApiResource,
        wanted: impl Fn(&DynamicObject) -> bool + Send + 'static,
    ) -> Self {
        let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, kind);
        let times = Arc::new(Mutex::new(Times::new()));
        let (sender, changed) = watch::channel(0);
        let mut tasks = JoinSet::new();
        let noted = Arc::clone(&times);
        tasks.spawn(async move {
            let events = watcher(api, watcher::Config::default()).default_backoff();
            pin_mut!(events);
            while let Some(event) = events.next().await {
                let (Ok(Event::Apply(object)) | Ok(Event::InitApply(object))) = event else { continue };
                if wanted(&object) {
                    let count = {
                        let mut times = noted.lock().unwrap_or_else(PoisonError::into_inner);
                        times.entry(object.name_any()).or_insert_with(windlass_tests::now);
                        times.len()
                    };
                    // Never while the times are locked: who waits holds the other lock.
                    sender.send_replace(count);
                }
            }
        });
        Self { times, changed, _tasks: tasks }
    }

    /// Waits until this many objects are as wanted, and gives all first times.
    ///
    /// # Errors
    /// With how many there are, when there are not enough within `deadline`.
    pub async fn wait(&self, count: usize, deadline: Duration, what: &str) -> anyhow::Result<Times> {
        let end = Instant::now() + deadline;
        let mut changed = self.changed.clone();
        let enough = tokio::time::timeout_at(end, changed.wait_for(|seen| *seen >= count)).await.map(drop);
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if enough.is_err() {
            bail!("not within {deadline:?}: {what}; {} of {count} are", times.len());
        }
        Ok(times)
    }
}
