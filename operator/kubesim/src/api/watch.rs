//! Watches: the changes of one kind as a stream of lines, from the history and then as they come. A watch holds no lock
//! while it waits.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::cluster::Cluster;
use super::faults::{WatchFault, WatchInfo};
use super::kind::Kind;
use super::selector::Selector;
use super::status::Status;
use super::store::{Change, ChangeKind, Recorded};

/// How often a bookmark says how far a quiet watch is.
const BOOKMARK: Duration = Duration::from_secs(60);

/// What is watched, and from where.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) cluster: Cluster,
    pub(super) user: Arc<str>,
    pub(super) kind: Arc<Kind>,
    pub(super) namespace: Option<String>,
    pub(super) selector: Selector,
    /// The last version that is known already.
    pub(super) position: u64,
    pub(super) ends: Instant,
    pub(super) bookmarks: bool,
    /// How far behind the server is that serves this watch: a fault.
    pub(super) lag: Duration,
    /// Lines to send before anything else.
    pub(super) first: VecDeque<Bytes>,
}

struct Watching {
    watch: Watch,
    changed: Arc<Notify>,
    lines: VecDeque<Line>,
    /// An event that waits for the next one.
    held: Option<Bytes>,
    bookmark_at: Instant,
    /// When a change that is there already is seen by a server that lags behind.
    late_at: Option<Instant>,
    ended: bool,
}

struct Line {
    bytes: Bytes,
    late: Duration,
}

impl Watch {
    /// The stream of its lines; `None` where the kind is not there any more.
    pub(super) fn lines(mut self) -> Option<impl Stream<Item = Bytes> + Send + 'static> {
        let changed = self.cluster.store().table(&self.kind.group, &self.kind.plural)?.changed.clone();
        let first = std::mem::take(&mut self.first);
        let lines = first.into_iter().map(|bytes| Line { bytes, late: Duration::ZERO }).collect();
        let bookmark_at = Instant::now() + BOOKMARK;
        let watching = Watching { watch: self, changed, lines, held: None, bookmark_at, late_at: None, ended: false };
        Some(futures::stream::unfold(watching, |mut watching| async move {
            let line = watching.next().await?;
            Some((line, watching))
        }))
    }
}

impl Watching {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                if !line.late.is_zero() {
                    sleep(line.late).await;
                }
                return Some(line.bytes);
            }
            if self.ended {
                return None;
            }
            let changed = self.changed.clone();
            let mut changed = pin!(changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            self.read_history();
            if !self.lines.is_empty() || self.ended {
                continue;
            }
            let (bookmarks, late_at) = (self.watch.bookmarks, self.late_at);
            tokio::select! {
                biased;
                () = changed => {}
                () = sleep_until(self.watch.ends) => return self.held.take(),
                () = sleep_until(late_at.unwrap_or(self.watch.ends)), if late_at.is_some() => {}
                () = sleep_until(self.bookmark_at), if bookmarks => {
                    self.bookmark_at = Instant::now() + BOOKMARK;
                    return Some(self.bookmark());
                }
            }
        }
    }

    /// Takes what is new in the history.
    fn read_history(&mut self) {
        let (recorded, is_over) = match self.news() {
            Ok(recorded) => recorded,
            Err(gone) => {
                if let Some(gone) = gone {
                    self.push(error(&gone), Duration::ZERO);
                }
                self.ended = true;
                return;
            }
        };
        for recorded in recorded {
            self.watch.position = recorded.change.version;
            if let Some(meaning) = self.meaning(&recorded.change) {
                self.send(line(&recorded, meaning));
                if self.ended {
                    return;
                }
            }
        }
        self.ended = is_over;
    }

    /// What the history has beyond the watch's position, and whether nothing more will come; an error ends the watch, and is
    /// told if it has words.
    fn news(&mut self) -> Result<(Vec<Recorded>, bool), Option<Status>> {
        let Watch { cluster, kind, position, lag, .. } = &self.watch;
        let store = cluster.store();
        let served = store.table(&kind.group, &kind.plural);
        let table = served.or_else(|| store.retired(&kind.group, &kind.plural)).ok_or(None)?;
        let is_over = served.is_none();
        if *position < table.forgotten {
            return Err(Some(Status::expired(*position, table.forgotten)));
        }
        let from = table.history.partition_point(|recorded| recorded.change.version <= *position);
        let seen_at = |recorded: &Recorded| recorded.change.at + *lag;
        let now = Instant::now();
        let upto = if lag.is_zero() {
            table.history.len()
        } else {
            table.history.partition_point(|recorded| seen_at(recorded) <= now).max(from)
        };
        let late_at = table.history.get(upto).map(seen_at);
        let news = table.history.range(from..upto).cloned().collect();
        drop(store);
        self.late_at = late_at;
        Ok((news, is_over && late_at.is_none()))
    }

    /// What a change is to whoever sees only what the selector lets through.
    fn meaning(&self, change: &Change) -> Option<Meaning> {
        let sees = |object: &Value| {
            self.watch.namespace.as_deref().is_none_or(|namespace| object["metadata"]["namespace"] == namespace)
                && (self.watch.selector.is_everything() || self.watch.selector.matches(object))
        };
        let before = change.old.as_deref().is_some_and(sees);
        let after = change.kind != ChangeKind::Deleted && sees(&change.object);
        match (before, after) {
            (false, true) => Some(Meaning::Added),
            (true, true) => Some(Meaning::Modified),
            (true, false) if change.kind == ChangeKind::Deleted => Some(Meaning::Deleted),
            (true, false) => Some(Meaning::Lost),
            (false, false) => None,
        }
    }

    fn send(&mut self, bytes: Bytes) {
        let info =
            WatchInfo { user: &self.watch.user, group: &self.watch.kind.group, resource: &self.watch.kind.plural };
        let fault = self.watch.cluster.faults().map_or(WatchFault::Pass, |faults| faults.watch(&info));
        match fault {
            WatchFault::Pass => self.push(bytes, Duration::ZERO),
            WatchFault::Duplicate => {
                self.push(bytes.clone(), Duration::ZERO);
                self.push(bytes, Duration::ZERO);
            }
            WatchFault::Delay(late) => self.push(bytes, late),
            WatchFault::HoldUntilNext if self.held.is_none() => {
                self.held = Some(bytes);
                return;
            }
            WatchFault::HoldUntilNext => self.push(bytes, Duration::ZERO),
            WatchFault::Cut => {
                self.ended = true;
                return;
            }
            WatchFault::Gone => {
                let newest = self.watch.position;
                self.push(error(&Status::expired(newest, newest)), Duration::ZERO);
                self.ended = true;
                return;
            }
        }
        if let Some(held) = self.held.take() {
            self.push(held, Duration::ZERO);
        }
    }

    fn push(&mut self, bytes: Bytes, late: Duration) {
        self.lines.push_back(Line { bytes, late });
    }

    fn bookmark(&self) -> Bytes {
        // A server that lags behind does not know how far the others are.
        let newest = if self.watch.lag.is_zero() { self.watch.cluster.store().version } else { 0 };
        bookmark(&self.watch.kind, self.watch.position.max(newest), false)
    }
}

/// What a change is to a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Added,
    Modified,
    Deleted,
    /// It is there, but is not selected any more.
    Lost,
}

/// The line of a change, written once for all watches.
fn line(recorded: &Recorded, meaning: Meaning) -> Bytes {
    let change = &recorded.change;
    let [added, modified, deleted, lost] = &*recorded.lines;
    match meaning {
        Meaning::Added => added.get_or_init(|| event("ADDED", &change.object)),
        Meaning::Modified => modified.get_or_init(|| event("MODIFIED", &change.object)),
        Meaning::Deleted => deleted.get_or_init(|| event("DELETED", &change.object)),
        // Whoever watches sees the object as it was when it was selected, at the version of the change.
        Meaning::Lost => lost.get_or_init(|| {
            let mut was = change.old.as_deref().cloned().unwrap_or_default();
            was["metadata"]["resourceVersion"] = json!(change.version.to_string());
            event("DELETED", &was)
        }),
    }
    .clone()
}

/// One line of a watch.
pub(super) fn event(name: &str, object: &Value) -> Bytes {
    let mut bytes = format!("{{\"type\":\"{name}\",\"object\":").into_bytes();
    // Writing into memory cannot fail, and JSON values have no keys that are not text.
    let _ = serde_json::to_writer(&mut bytes, object);
    bytes.extend_from_slice(b"}\n");
    bytes.into()
}

/// A line that says how far a watch is.
pub(super) fn bookmark(kind: &Kind, version: u64, ends_the_beginning: bool) -> Bytes {
    let mut metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
    if ends_the_beginning {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    event("BOOKMARK", &json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": metadata}))
}

fn error(status: &Status) -> Bytes {
    event("ERROR", &status.to_value())
}
