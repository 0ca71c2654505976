//! What the HPA is told. This module shapes values; it never serves them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::MAX_VALUE;

/// One external metric value, good until `fresh_until`. A trigger without a usable reading has none: the HPA then gets
/// an error, never 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Served {
    /// Index of the trigger.
    pub trigger: usize,
    /// Thousandths, as `resource.Quantity` counts.
    pub milli: i64,
    /// When the source answered.
    pub at: Timestamp,
    /// From this moment on the value must no longer be served.
    pub fresh_until: Timestamp,
}

/// Thousandths of `value`, rounded as a quantity of three decimals, and kept within what the HPA's 64-bit arithmetic
/// holds (kubernetes `resource.Quantity`, `MilliValue`). What is not a number is 0.
pub(crate) fn to_milli(value: f64) -> i64 {
    // `as` saturates, and turns NaN into 0.
    (value.clamp(0.0, MAX_VALUE) * 1000.0).round() as i64
}
