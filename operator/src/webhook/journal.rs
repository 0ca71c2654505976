//! The journal of accepted events: files that are only appended to, each record with a checksum, synced before anybody is
//! answered. It knows no request and no secret, and one process at a time writes it.
//!
//! The files are segments. Old events go with the segment that they stand in, so nothing is ever rewritten; the newest numbers
//! are carried over to the beginning of each new one.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use windlass_sources::webhook::Event;

use super::record::{decode, encode};

const MAGIC: &[u8] = b"WLHOOK1\n";
/// How long events are kept, where there is room.
pub(super) const KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long one segment is written to at most.
const SEGMENT_AGE: Duration = Duration::from_secs(3600);

/// How much room a journal may take.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// All of it, in bytes.
    pub total: u64,
    /// One segment, in bytes: what is deleted at once.
    pub segment: u64,
}

impl Default for Room {
    fn default() -> Self {
        Self { total: 64 << 20, segment: 4 << 20 }
    }
}

/// Why a journal cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has it.
    #[error("another process has the journal of webhooks in {}; give each replica its own --data-dir, or wait until it ends", .0.display())]
    Locked(PathBuf),
    /// There is no room left.
    #[error("the journal of webhooks is full")]
    Full,
    /// The disk does not do what it should.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    move |source| JournalError::Io { what, path: path.to_owned(), source }
}

/// The right to write the journal.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would do, but for a process that is being started at this moment and still holds all files of ours.
        let _ = self.0.unlock();
    }
}

#[derive(Debug)]
struct Segment {
    number: u64,
    path: PathBuf,
    bytes: u64,
    /// When the newest event came that counts, in milliseconds; `None` if none did.
    newest: Option<i64>,
}

impl Segment {
    fn note(&mut self, event: &Event) {
        if event.counts {
            self.newest = self.newest.max(Some(event.at));
        }
    }
}

/// A journal that is being read: an iterator over its events, oldest first. [`Replay::finish`] makes it one that is written.
#[derive(Debug)]
pub struct Replay {
    dir: PathBuf,
    room: Room,
    lock: Lock,
    paths: VecDeque<(u64, PathBuf)>,
    events: std::vec::IntoIter<Event>,
    segments: VecDeque<Segment>,
    failed: Option<JournalError>,
}

impl Replay {
    /// Locks the journal in `dir`, which is made if it is not there. The lock ends with the process, however it ends.
    ///
    /// # Errors
    /// Another process has it, or the directory cannot be used.
    pub fn open(dir: &Path, room: Room) -> Result<Self, JournalError> {
        fs::create_dir_all(dir).map_err(io("make", dir))?;
        let path = dir.join("webhooks.lock");
        let options = OpenOptions::new().create(true).truncate(false).write(true).clone();
        let lock = options.open(&path).map_err(io("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Locked(dir.to_owned())),
            Err(TryLockError::Error(error)) => return Err(io("lock", &path)(error)),
        }
        let mut paths = Vec::new();
        for entry in fs::read_dir(dir).map_err(io("list", dir))? {
            let path = entry.map_err(io("list", dir))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let number = name.strip_prefix("webhooks-").and_then(|rest| rest.strip_suffix(".log"));
            if let Some(number) = number.and_then(|number| number.parse().ok()) {
                paths.push((number, path));
            }
        }
        paths.sort();
        let (paths, segments) = (paths.into(), VecDeque::new());
        let lock = Lock(lock);
        Ok(Self { dir: dir.to_owned(), room, lock, paths, events: Vec::new().into_iter(), segments, failed: None })
    }

    fn load(&mut self, number: u64, path: PathBuf) -> Result<(), JournalError> {
        let bytes = fs::read(&path).map_err(io("read", &path))?;
        let (events, length) = match bytes.strip_prefix(MAGIC) {
            Some(records) => {
                let (events, taken) = decode(records);
                (events, MAGIC.len() + taken)
            }
            None => (Vec::new(), 0),
        };
        if length < bytes.len() {
            // What was not synced whole was not acknowledged. In the middle of the journal it is a defect of the disk.
            tracing::warn!(path = %path.display(), cut = bytes.len() - length, "journal of webhooks cut after its last whole record");
            let file = OpenOptions::new().write(true).open(&path).map_err(io("open", &path))?;
            file.set_len(length as u64).and_then(|()| file.sync_all()).map_err(io("cut", &path))?;
        }
        let mut segment = Segment { number, path, bytes: length as u64, newest: None };
        events.iter().for_each(|event| segment.note(event));
        self.segments.push_back(segment);
        self.events = events.into_iter();
        Ok(())
    }

    /// Begins to write, in a segment of its own. `carried` are the newest numbers.
    ///
    /// # Errors
    /// What was read was not all there is, or nothing can be written.
    pub fn finish(mut self, carried: &[Event], now: Timestamp) -> Result<Journal, JournalError> {
        self.by_ref().for_each(drop);
        let Self { dir, room, lock, segments, failed, .. } = self;
        if let Some(error) = failed {
            return Err(error);
        }
        let number = segments.back().map_or(1, |last| last.number + 1);
        let (active, file) = create(&dir, number, carried)?;
        let began = now.as_millisecond();
        Ok(Journal { dir, room, _lock: lock, segments, active, file, began, broken: false })
    }
}

impl Iterator for Replay {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.next() {
                return Some(event);
            }
            let (number, path) = self.paths.pop_front()?;
            if let Err(error) = self.load(number, path) {
                self.paths.clear();
                self.failed = Some(error);
            }
        }
    }
}

/// A new segment, on disk when this returns.
fn create(dir: &Path, number: u64, carried: &[Event]) -> Result<(Segment, File), JournalError> {
    let path = dir.join(format!("webhooks-{number:020}.log"));
    let mut bytes = MAGIC.to_vec();
    for event in carried {
        if encode(event, &mut bytes).is_none() {
            tracing::error!("numbers of a webhook are too many to be carried over");
        }
    }
    let made = || {
        let mut file = File::create(&path)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        File::open(dir)?.sync_all()?;
        Ok(file)
    };
    match made() {
        Ok(file) => Ok((Segment { number, path, bytes: bytes.len() as u64, newest: None }, file)),
        Err(error) => {
            // Nothing in it was ever acknowledged; where it stays, it is read as what it is.
            let _ = fs::remove_file(&path);
            Err(io("write", &path)(error))
        }
    }
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    room: Room,
    _lock: Lock,
    /// Oldest first, without the active one.
    segments: VecDeque<Segment>,
    active: Segment,
    file: File,
    /// When the active one was begun, in milliseconds.
    began: i64,
    /// Whether a write failed: what then is in the file is nobody's knowledge, so it is not written to again.
    broken: bool,
}

impl Journal {
    /// Appends events and syncs them: when this returns without an error, they are there after a crash.
    ///
    /// # Errors
    /// They may or may not be there.
    pub fn append(&mut self, events: &[Event]) -> Result<(), JournalError> {
        let mut bytes = Vec::new();
        for event in events {
            encode(event, &mut bytes).ok_or(JournalError::Full)?;
        }
        if self.size() + bytes.len() as u64 > self.room.total {
            return Err(JournalError::Full);
        }
        if self.broken {
            return Err(io("go on with", &self.active.path)(io::Error::other("an earlier write failed")));
        }
        if let Err(error) = self.file.write_all(&bytes).and_then(|()| self.file.sync_data()) {
            self.broken = true;
            // What was not acknowledged should not count, but nobody can be sure after a failed sync.
            let _ = self.file.set_len(self.active.bytes);
            return Err(io("write", &self.active.path)(error));
        }
        self.active.bytes += bytes.len() as u64;
        events.iter().for_each(|event| self.active.note(event));
        Ok(())
    }

    /// How many bytes it takes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.active.bytes + self.segments.iter().map(|segment| segment.bytes).sum::<u64>()
    }

    /// Begins a new segment where the active one is large, old or broken, and deletes what is older than a day, or, to make
    /// room, older than `needed`. Gives the time up to which events were forgotten, in milliseconds.
    ///
    /// # Errors
    /// The new segment cannot be written.
    pub fn tidy(
        &mut self,
        now: Timestamp,
        needed: Duration,
        carried: impl FnOnce() -> Vec<Event>,
    ) -> Result<Option<i64>, JournalError> {
        let now = now.as_millisecond();
        let before = |age: Duration| now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let is_old = self.active.newest.is_some() && self.began < before(SEGMENT_AGE);
        if self.broken || is_old || self.active.bytes >= self.room.segment {
            let (active, file) = create(&self.dir, self.active.number + 1, &carried())?;
            let full = std::mem::replace(&mut self.active, active);
            self.segments.push_back(full);
            (self.file, self.began, self.broken) = (file, now, false);
        }
        let mut forgotten = None;
        while let Some(oldest) = self.segments.front() {
            let is_full = self.size() + self.room.segment > self.room.total;
            let age = if is_full { needed } else { KEPT };
            if oldest.newest.is_some_and(|newest| newest >= before(age)) {
                break;
            }
            fs::remove_file(&oldest.path).map_err(io("delete", &oldest.path))?;
            forgotten = forgotten.max(oldest.newest);
            self.segments.pop_front();
        }
        Ok(forgotten)
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
