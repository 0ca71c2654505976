//! Wall time in a simulation: a fixed beginning plus tokio's time, plus an error that a process's own clock may have. It
//! never reads the machine's clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::{self, ThreadId};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use windlass_decision::Clock;

/// When every simulation begins: a Monday at midnight UTC.
pub const EPOCH: Timestamp = Timestamp::constant(1_767_571_200, 0);

/// A clock that follows the virtual time of the thread it was made on. Other threads see the time that was last read there.
#[derive(Debug)]
pub struct VirtualClock {
    base: Timestamp,
    start: Instant,
    thread: ThreadId,
    error_ms: AtomicI64,
    last_us: AtomicI64,
}

impl VirtualClock {
    /// A clock that shows [`EPOCH`] now. Make it within the runtime of the simulation.
    #[must_use]
    pub fn new() -> Self {
        Self::showing(EPOCH, Instant::now())
    }

    fn showing(base: Timestamp, start: Instant) -> Self {
        let last_us = AtomicI64::new(base.as_microsecond());
        Self { base, start, thread: thread::current().id(), error_ms: AtomicI64::new(0), last_us }
    }

    /// Another clock that shows the same time, and whose error is its own.
    #[must_use]
    pub fn twin(&self) -> Self {
        Self::showing(self.base, self.start)
    }

    /// Sets how far this clock is ahead (or, if negative, behind), in milliseconds.
    pub fn set_error_ms(&self, ms: i64) {
        self.error_ms.store(ms, Ordering::Relaxed);
    }

    /// How long the simulation has run.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Default for VirtualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        if thread::current().id() != self.thread {
            return Timestamp::from_microsecond(self.last_us.load(Ordering::Relaxed)).unwrap_or(self.base);
        }
        let elapsed = SignedDuration::try_from(self.start.elapsed()).unwrap_or(SignedDuration::MAX);
        let error = SignedDuration::from_millis(self.error_ms.load(Ordering::Relaxed));
        let now = self.base.saturating_add(elapsed.saturating_add(error)).unwrap_or(Timestamp::MAX);
        self.last_us.store(now.as_microsecond(), Ordering::Relaxed);
        now
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_follows_virtual_time_on_its_thread_and_is_seen_from_others() {
        let clock = Arc::new(VirtualClock::new());
        assert_eq!(clock.now(), EPOCH);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let hour = EPOCH.saturating_add(SignedDuration::from_hours(1)).expect("within time");
        assert_eq!(clock.now(), hour);
        let seen = thread::spawn({
            let clock = clock.clone();
            move || clock.now()
        });
        assert_eq!(seen.join().expect("no panic"), hour);

        let twin = clock.twin();
        clock.set_error_ms(-60_000);
        assert_eq!(twin.now(), hour);
        assert_eq!(hour.duration_since(clock.now()), SignedDuration::from_mins(1));
    }
}
