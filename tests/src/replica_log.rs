//! The timeline of the Deployments of one namespace: every change of their replica counts, and whose it was.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::{StreamExt, pin_mut};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// A Deployment as it was at one resource version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// When this process saw it.
    pub at: Timestamp,
    /// The Deployment.
    pub name: String,
    /// `spec.replicas`.
    pub spec: i32,
    /// `status.replicas`.
    pub replicas: i32,
    /// `status.readyReplicas`.
    pub ready: i32,
    /// The field manager that wrote `spec.replicas` last: `windlass`, `kube-controller-manager` (the HPA), `somebody`
    /// (the test), ...; `unknown` for a client without name; empty after a write of 0 to `/scale`, which Kubernetes
    /// does not attribute. Who wrote how often is in the audit log.
    pub owner: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// Whether this is its deletion.
    pub deleted: bool,
}

#[derive(Debug, Default)]
struct Log {
    rows: Vec<Row>,
    lists: u32,
}

/// A running record; ends when dropped.
#[derive(Debug)]
pub struct ReplicaLog {
    log: Arc<Mutex<Log>>,
    changed: watch::Receiver<()>,
    _tasks: JoinSet<()>,
}

impl ReplicaLog {
    /// Starts a record, and waits until it has seen what is there.
    ///
    /// # Errors
    /// When the API server does not answer within 30 s.
    pub async fn start(client: Client, namespace: &str) -> anyhow::Result<Self> {
        let log = Arc::new(Mutex::new(Log::default()));
        let (sender, mut changed) = watch::channel(());
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(Api::namespaced(client, namespace), Arc::clone(&log), sender));
        let listed = async {
            while locked(&log).lists == 0 {
                changed.changed().await.context("the record has ended")?;
            }
            anyhow::Ok(())
        };
        timeout(Duration::from_secs(30), listed).await.context("no list of Deployments after 30 s")??;
        Ok(Self { log, changed, _tasks: tasks })
    }

    /// All rows of one Deployment, oldest first.
    #[must_use]
    pub fn rows(&self, name: &str) -> Vec<Row> {
        locked(&self.log).rows.iter().filter(|row| row.name == name).cloned().collect()
    }

    /// Its newest row.
    #[must_use]
    pub fn latest(&self, name: &str) -> Option<Row> {
        locked(&self.log).rows.iter().rev().find(|row| row.name == name).cloned()
    }

    /// Its values of `spec.replicas` one after the other, without repetitions, and who wrote each.
    #[must_use]
    pub fn specs(&self, name: &str) -> Vec<(i32, String)> {
        let mut specs: Vec<(i32, String)> =
            self.rows(name).into_iter().filter(|row| !row.deleted).map(|row| (row.spec, row.owner)).collect();
        specs.dedup_by_key(|(replicas, _)| *replicas);
        specs
    }

    /// Fails unless `spec.replicas` went exactly this way, e.g. `[0, 4, 0]`.
    ///
    /// # Errors
    /// With the whole timeline.
    pub fn ensure_went(&self, name: &str, expected: &[i32]) -> anyhow::Result<()> {
        self.ensure_complete()?;
        let specs: Vec<i32> = self.specs(name).into_iter().map(|(replicas, _)| replicas).collect();
        ensure!(specs == expected, "replicas went {specs:?}, not {expected:?}:\n{}", self.timeline(name));
        Ok(())
    }

    /// Fails if any row since `start` is one that must never be.
    ///
    /// # Errors
    /// With the row and the whole timeline.
    pub fn ensure_never(
        &self,
        name: &str,
        start: Timestamp,
        what: &str,
        wrong: impl Fn(&Row) -> bool,
    ) -> anyhow::Result<()> {
        self.ensure_complete()?;
        if let Some(row) = self.rows(name).into_iter().find(|row| row.at >= start && wrong(row)) {
            bail!("never expected: {what}, but at {}:\n{}", row.at, self.timeline(name));
        }
        Ok(())
    }

    /// Watches for the whole of `window` that no row is one that must never be; the newest row counts too.
    ///
    /// # Errors
    /// As soon as there is one.
    pub async fn never(
        &self,
        name: &str,
        window: Duration,
        what: &str,
        wrong: impl Fn(&Row) -> bool,
    ) -> anyhow::Result<()> {
        let newest = self.latest(name).with_context(|| format!("no Deployment {name} to watch"))?.at;
        let end = Instant::now() + window;
        let mut changed = self.changed.clone();
        loop {
            changed.borrow_and_update();
            self.ensure_never(name, newest, what, &wrong)?;
            if tokio::time::timeout_at(end, changed.changed()).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Waits until `spec.replicas` is `replicas` and as many pods are ready; returns that row.
    ///
    /// # Errors
    /// With the whole timeline when it is not within `deadline`.
    pub async fn wait_for(&self, name: &str, replicas: i32, deadline: Duration) -> anyhow::Result<Row> {
        let what = format!("{replicas} replicas, all ready");
        self.wait(name, deadline, &what, |row| (row.spec, row.replicas, row.ready) == (replicas, replicas, replicas))
            .await
    }

    /// Waits until `spec.replicas` is `replicas`, whatever the pods do; returns the first row of that value.
    ///
    /// # Errors
    /// With the whole timeline when it is not within `deadline`.
    pub async fn wait_spec(&self, name: &str, replicas: i32, deadline: Duration) -> anyhow::Result<Row> {
        self.wait(name, deadline, &format!("spec.replicas {replicas}"), |row| row.spec == replicas).await
    }

    /// Waits until the newest row is as wanted, and returns it.
    ///
    /// # Errors
    /// With the whole timeline when it is not within `deadline`.
    pub async fn wait(
        &self,
        name: &str,
        deadline: Duration,
        what: &str,
        wanted: impl Fn(&Row) -> bool,
    ) -> anyhow::Result<Row> {
        let end = Instant::now() + deadline;
        let mut changed = self.changed.clone();
        loop {
            changed.borrow_and_update();
            if let Some(row) = self.latest(name).filter(|row| !row.deleted && wanted(row)) {
                return Ok(row);
            }
            if tokio::time::timeout_at(end, changed.changed()).await.is_err() {
                bail!("not within {deadline:?}: {what} of {name}:\n{}", self.timeline(name));
            }
        }
    }

    /// The rows of one Deployment, for a person.
    #[must_use]
    pub fn timeline(&self, name: &str) -> String {
        let line = |row: Row| {
            let deleted = if row.deleted { " deleted" } else { "" };
            let Row { at, spec, replicas, ready, owner, .. } = row;
            format!("  {at} spec {spec} (by {owner}) replicas {replicas} ready {ready}{deleted}\n")
        };
        self.rows(name).into_iter().map(line).collect()
    }

    /// A watch that had to list again may have missed rows between; "it never happened" is not known then.
    fn ensure_complete(&self) -> anyhow::Result<()> {
        let lists = locked(&self.log).lists;
        ensure!(lists == 1, "the record listed {lists} times and may have missed a change: the watch was broken");
        Ok(())
    }
}

fn locked(log: &Mutex<Log>) -> std::sync::MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn follow(deployments: Api<Deployment>, log: Arc<Mutex<Log>>, changed: watch::Sender<()>) {
    let events = watcher(deployments, watcher::Config::default()).default_backoff();
    pin_mut!(events);
    while let Some(event) = events.next().await {
        {
            let mut log = locked(&log);
            match event {
                Ok(Event::Apply(deployment) | Event::InitApply(deployment)) => {
                    let row = row(&deployment, false);
                    let seen = |old: &&Row| old.name == row.name;
                    // A second list repeats what is known.
                    if log.rows.iter().rev().find(seen).is_none_or(|old| old.resource_version != row.resource_version) {
                        log.rows.push(row);
                    }
                }
                Ok(Event::Delete(deployment)) => log.rows.push(row(&deployment, true)),
                Ok(Event::InitDone) => log.lists += 1,
                Ok(Event::Init) | Err(_) => continue,
            }
        }
        changed.send_replace(());
    }
}

fn row(deployment: &Deployment, deleted: bool) -> Row {
    let metadata = &deployment.metadata;
    let status = deployment.status.clone().unwrap_or_default();
    let owns = |fields: &serde_json::Value| !fields["f:spec"]["f:replicas"].is_null();
    let owner =
        metadata.managed_fields.iter().flatten().find(|entry| entry.fields_v1.as_ref().is_some_and(|f| owns(&f.0)));
    Row {
        at: crate::now(),
        name: metadata.name.clone().unwrap_or_default(),
        spec: deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
        replicas: status.replicas.unwrap_or(0),
        ready: status.ready_replicas.unwrap_or(0),
        owner: owner.and_then(|entry| entry.manager.clone()).unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        deleted,
    }
}
