//! The clock as an argument. This module names the trait only; it never reads a time.

use jiff::Timestamp;

/// Wall-clock time, given to everything that needs it, so that a simulated run can be repeated.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The time now.
    fn now(&self) -> Timestamp;
}
