//! Turns what the simulated API server and the brokers have seen into a [`Log`]. It asks the simulation, never the operator.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Once;
use std::time::Duration;

use serde_json::{Value, json};
use windlass_kubesim::api::{Audited, Change, ChangeKind, Changes, Cluster, Deletion, Gr, Part, Patch, Selector};
use windlass_rehearsal::{EPOCH, World};

use super::events;
use super::log::{Author, Log, Scaled, SeenRead, Write};
use super::run::LEASE_NAMESPACE;

const HPA_CONTROLLER: &str = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";
const READING: [&str; 3] = ["get", "list", "watch"];
const LEASES: Gr<'static> = ("coordination.k8s.io", "leases");
const LEASE: &str = "windlass";

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Has panics of this thread noted, in place of being printed where a simulation runs. The first call counts.
pub(super) fn watch_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            before(info);
        }));
    });
    PANICS.take();
}

/// The panics of this thread since the last call.
pub(super) fn panics() -> Vec<String> {
    PANICS.take()
}

/// CPU time of this thread so far; 0 where the system does not tell.
pub(super) fn cpu_time() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = told.split_whitespace().next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

/// Somebody deletes the Lease.
pub(super) fn delete_lease(cluster: &Cluster, user: &str) {
    // There may be none at this moment.
    let _ = cluster.delete(user, LEASES, (LEASE_NAMESPACE, LEASE), &Deletion::default());
}

/// Somebody writes its own name into the Lease.
pub(super) fn steal_lease(cluster: &Cluster, user: &str) {
    let theft = json!({"spec": {"holderIdentity": user}});
    let _ = cluster.patch(user, LEASES, Part::Main, (LEASE_NAMESPACE, LEASE), &Patch::Merge(theft));
}

/// Somebody edits a scaled object, or scales its target by hand.
pub(super) fn edit(cluster: &Cluster, user: &str, name: &str, change: events::Change) {
    let (kind, part) = match change {
        events::Change::Replicas(_) => (("apps", "deployments"), Part::Scale),
        events::Change::Rotate(_) => (("", "secrets"), Part::Main),
        _ => (("windlass.dev", "scaledobjects"), Part::Main),
    };
    let edited = cluster.patch(user, kind, part, ("default", name), &Patch::Merge(change.patch()));
    edited.expect("what a scenario edits is valid");
}

/// What is noted while a run goes on.
#[derive(Debug)]
pub(super) struct Feed {
    changes: Changes,
    notes: Vec<(Duration, String)>,
}

impl Feed {
    /// Notes what happens on `cluster` from now on.
    pub(super) fn of(cluster: &Cluster) -> Self {
        Self { changes: cluster.subscribe(), notes: Vec::new() }
    }

    /// Notes something that the harness does.
    pub(super) fn note(&mut self, world: &World, what: &str) {
        self.notes.push((world.elapsed(), what.to_owned()));
    }

    /// The log of the run, which ends now.
    pub(super) fn log(&mut self, world: &World, replicas: Vec<String>, ended: Vec<(Duration, String)>) -> Log {
        let audited = world.cluster.take_audit();
        let mut changes = Vec::new();
        while let Ok(change) = self.changes.try_recv() {
            changes.push(change);
        }
        let by_version: BTreeMap<u64, &Audited> =
            audited.iter().filter_map(|entry| Some((entry.version?, entry))).collect();
        let mut log = Log { replicas, ended, ends_at: world.elapsed(), ..Log::default() };
        for entry in &audited {
            if let Some(replica) = replica_of(&entry.user, &log.replicas)
                && !READING.contains(&entry.verb)
            {
                log.writes.push(Write {
                    at: since_start(entry),
                    replica: replica.to_owned(),
                    verb: entry.verb.to_owned(),
                    resource: with_part(entry),
                    name: entry.name.clone(),
                    code: entry.code,
                });
            }
        }
        let mut hpas = [0_u32; 2];
        for change in &changes {
            let entry = by_version.get(&change.version);
            let at = entry.map_or(Duration::ZERO, |entry| since_start(entry));
            match (change.resource.kind.as_str(), change.kind) {
                ("Deployment", ChangeKind::Modified) => {
                    log.scaled.extend(scaled(change, entry.copied(), at, &log.replicas))
                }
                ("Lease", _) => {
                    let holder = change.object["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
                    if log.holders.last().map(|(_, holder)| holder) != Some(&holder) {
                        log.holders.push((at, holder));
                    }
                }
                ("HorizontalPodAutoscaler", ChangeKind::Added) => hpas[0] += 1,
                ("HorizontalPodAutoscaler", ChangeKind::Deleted) => hpas[1] += 1,
                _ => {}
            }
        }
        log.reads = world
            .brokers
            .reads()
            .into_iter()
            .map(|read| SeenRead {
                at: read.at,
                object: read.queue.queue,
                value: read.value,
                password: read.password.map(|password| password.expose().to_owned()).unwrap_or_default(),
            })
            .collect();
        log.end_state = end_state(&world.cluster, hpas);
        log.trace = self.trace(&audited, &changes, &log);
        log
    }

    fn trace(&self, audited: &[Audited], changes: &[std::sync::Arc<Change>], log: &Log) -> String {
        let mut trace = String::new();
        // Writing into a string cannot fail.
        for (at, what) in &self.notes {
            let _ = writeln!(trace, "{:.3} {what}", at.as_secs_f64());
        }
        for entry in audited {
            let _ = writeln!(trace, "{entry}");
        }
        for read in &log.reads {
            let _ = writeln!(trace, "{:.3} {} reads {}", read.at.as_secs_f64(), read.object, read.value);
        }
        for change in changes {
            let _ = writeln!(trace, "{:?} {} {}", change.kind, change.resource.plural, change.object);
        }
        trace
    }
}

fn since_start(entry: &Audited) -> Duration {
    Duration::try_from(entry.at.duration_since(EPOCH)).unwrap_or_default()
}

fn with_part(entry: &Audited) -> String {
    if entry.subresource.is_empty() {
        entry.resource.clone()
    } else {
        format!("{}/{}", entry.resource, entry.subresource)
    }
}

fn replica_of<'a>(user: &str, replicas: &'a [String]) -> Option<&'a str> {
    replicas.iter().map(String::as_str).find(|replica| user.ends_with(&format!(":{replica}")))
}

fn scaled(change: &Change, entry: Option<&Audited>, at: Duration, replicas: &[String]) -> Option<Scaled> {
    let count = |object: &Value| object["spec"]["replicas"].as_u64().and_then(|count| u32::try_from(count).ok());
    let (from, to) = (count(change.old.as_deref()?)?, count(&change.object)?);
    let user = entry.map_or("", |entry| entry.user.as_str());
    let by = match replica_of(user, replicas) {
        Some(replica) => Author::Replica(replica.to_owned()),
        None if user == HPA_CONTROLLER => Author::Hpa,
        None => Author::Other,
    };
    let object = change.object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    (from != to).then_some(Scaled { at, object, from, to, by })
}

/// What must be the same at the end, whatever happened before.
fn end_state(cluster: &Cluster, [made, deleted]: [u32; 2]) -> String {
    let mut state = String::new();
    let everything = Selector::default();
    for deployment in cluster.list(("apps", "deployments"), None, &everything) {
        let ready = deployment["status"]["readyReplicas"].as_u64().unwrap_or(0);
        let _ = writeln!(
            state,
            "deployment {} {} ready {ready}",
            deployment["metadata"]["name"], deployment["spec"]["replicas"]
        );
    }
    for object in cluster.list(("windlass.dev", "scaledobjects"), None, &everything) {
        let _ = write!(state, "scaledobject {}", object["metadata"]["name"]);
        let mut conditions: Vec<_> = object["status"]["conditions"].as_array().into_iter().flatten().collect();
        conditions.sort_by_key(|condition| condition["type"].as_str());
        for condition in conditions {
            let _ = write!(state, " {}={} {}", condition["type"], condition["status"], condition["reason"]);
        }
        let _ = writeln!(state, " hpa {}", object["status"]["hpaName"]);
    }
    for hpa in cluster.list(("autoscaling", "horizontalpodautoscalers"), None, &everything) {
        let _ = writeln!(state, "hpa {} {}", hpa["metadata"]["name"], hpa["spec"]);
    }
    let _ = writeln!(state, "{made} HPAs made, {deleted} deleted");
    state
}
