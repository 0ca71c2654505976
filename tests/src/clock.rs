//! The one place of the helpers that reads the wall clock: tests compare it with the timestamps of the audit log.

use jiff::Timestamp;

/// The wall-clock time now.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a test stands outside: it compares with the API server's own clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}
