//! The thread that writes the journal: all requests that wait are written and synced together, then counted, then answered. It
//! alone judges what is a duplicate, so two deliveries of one event at once are one event.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::oneshot;
use windlass_decision::Clock;
use windlass_sources::webhook::{Event, EventId, Hub, StreamKey};

use super::journal::{Journal, JournalError, KEPT, Replay, Room};
use crate::telemetry::Telemetry;

/// How many requests may wait for the disk.
const WAITING: usize = 1024;
/// How often the journal is looked after while nothing comes.
const IDLE: Duration = Duration::from_secs(30);
/// How often it is looked after while events come and all is well.
const TIDY: Duration = Duration::from_secs(1);

/// What became of a request's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// On disk and counted.
    New,
    /// All of them were there before.
    Duplicate,
    /// There is no room.
    Full,
    /// The disk failed, or too many wait for it.
    Failed,
}

struct Job {
    events: Vec<Event>,
    answer: oneshot::Sender<Kept>,
}

/// The way to the thread. It ends, and gives up the journal, when the last of these is dropped.
#[derive(Debug)]
pub(super) struct Keeper(SyncSender<Job>);

impl Keeper {
    /// Opens the journal in `dir`, has the hub know what is in it, and starts to write it.
    pub(super) fn open(
        dir: &Path,
        room: Room,
        hub: Arc<Hub>,
        clock: Arc<dyn Clock>,
        telemetry: Telemetry,
    ) -> Result<Self, JournalError> {
        let now = clock.now();
        let mut replay = Replay::open(dir, room)?;
        hub.open(replay.by_ref(), now);
        let opened = replay.finish(&hub.carried(), now);
        if opened.is_err() {
            hub.close(super::CLOSED);
        }
        let writer = Writer { journal: opened?, hub, clock, telemetry, failing: false, tidied: None };
        let (sender, jobs) = sync_channel(WAITING);
        let thread = std::thread::Builder::new().name("webhook-journal".into());
        thread.spawn(move || writer.run(&jobs)).map_err(|source| JournalError::Io {
            what: "start the thread for",
            path: dir.to_owned(),
            source,
        })?;
        Ok(Self(sender))
    }

    /// Keeps events: when this says so, they are on disk and counted.
    pub(super) async fn keep(&self, events: Vec<Event>) -> Kept {
        let (answer, answered) = oneshot::channel();
        if self.0.try_send(Job { events, answer }).is_err() {
            return Kept::Failed;
        }
        answered.await.unwrap_or(Kept::Failed)
    }
}

struct Writer {
    journal: Journal,
    hub: Arc<Hub>,
    clock: Arc<dyn Clock>,
    telemetry: Telemetry,
    failing: bool,
    tidied: Option<Instant>,
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            if self.failing || self.tidied.is_none_or(|last| last.elapsed() >= TIDY) {
                self.tidy();
                self.tidied = Some(Instant::now());
            }
            match jobs.recv_timeout(IDLE) {
                Ok(first) => self.keep(std::iter::once(first).chain(jobs.try_iter().take(WAITING)).collect()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn tidy(&mut self) {
        let (now, needed) = (self.clock.now(), self.hub.needed());
        let result = self.journal.tidy(now, needed, || self.hub.carried());
        let forgotten = self.told(result).flatten().map_or(i64::MIN, |newest| newest.saturating_add(1));
        let day = now.as_millisecond().saturating_sub(i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX));
        let ids = Timestamp::from_millisecond(day.max(forgotten)).unwrap_or(now);
        self.hub.forget_before(ids, now);
        self.telemetry.webhook_journal(self.journal.size());
    }

    fn keep(&mut self, jobs: Vec<Job>) {
        let mut news: Vec<Event> = Vec::new();
        let mut ids: HashSet<(StreamKey, EventId)> = HashSet::new();
        let mut answers = Vec::with_capacity(jobs.len());
        for Job { events, answer } in jobs {
            let before = news.len();
            for event in events {
                let is_new = event
                    .id
                    .is_none_or(|id| !self.hub.has_seen(&event.stream, &id) && ids.insert((event.stream.clone(), id)));
                if is_new {
                    news.push(event);
                }
            }
            answers.push((answer, if news.len() > before { Kept::New } else { Kept::Duplicate }));
        }
        let began = Instant::now();
        let result = if news.is_empty() { Ok(()) } else { self.journal.append(&news) };
        if result.is_ok() && !news.is_empty() {
            self.telemetry.webhook_kept(news.len(), began.elapsed(), self.journal.size());
        }
        let trouble = match &result {
            Ok(()) => None,
            Err(JournalError::Full) => Some(Kept::Full),
            Err(_) => Some(Kept::Failed),
        };
        if self.told(result).is_some() {
            self.hub.apply(&news);
        }
        for (answer, kept) in answers {
            // Who has gone away is not told. A duplicate of what could not be written is none.
            let _gone = answer.send(trouble.unwrap_or(kept));
        }
    }

    /// The result; a failure is logged once until all is well again.
    fn told<T>(&mut self, result: Result<T, JournalError>) -> Option<T> {
        match result {
            Ok(value) => {
                self.failing = false;
                Some(value)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "webhooks are refused");
                }
                None
            }
        }
    }
}
