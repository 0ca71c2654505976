//! The clock of this crate's tests: wall time that runs with tokio's.

use jiff::Timestamp;
use tokio::time::Instant;
use windlass_decision::Clock;

/// Began in 2026, at this instant.
#[derive(Debug)]
pub(crate) struct TestClock(pub(crate) Instant);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        start + self.0.elapsed()
    }
}
