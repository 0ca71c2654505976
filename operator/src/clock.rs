//! The one module that reads the wall clock and the entropy of the machine. Everything else is given them.

use jiff::Timestamp;
use windlass_decision::Clock;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A seed for the operator's random numbers, different in each process.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that draws entropy")]
pub fn entropy() -> u64 {
    use rand::RngExt;
    rand::rng().random()
}
