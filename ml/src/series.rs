//! A series of readings at a fixed step, checked once at the door, and the forecast that continues it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::Error;

/// The most steps a forecast may reach ahead: a week of seconds, rounded up to a power of two.
pub const MAX_HORIZON: usize = 1 << 20;

/// Readings at equal distances in time. Every value is finite and the step is above zero: whoever holds a `Series`
/// need not check again.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    start: Timestamp,
    step: Duration,
    values: Vec<f64>,
}

impl Series {
    /// A series whose first value was read at `start` and each later one `step` after its predecessor. No values is a
    /// series too: nothing can be forecast from it.
    ///
    /// # Errors
    /// [`Error::Step`], [`Error::NotFinite`], or [`Error::Time`] where the last value would lie beyond the largest
    /// timestamp.
    pub fn try_new(start: Timestamp, step: Duration, values: Vec<f64>) -> Result<Self, Error> {
        if step.is_zero() {
            return Err(Error::Step { step });
        }
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::NotFinite { index });
        }
        let series = Self { start, step, values };
        series.end()?;
        Ok(series)
    }

    /// When the first value was read.
    #[must_use]
    pub const fn start(&self) -> Timestamp {
        self.start
    }

    /// The time between two values.
    #[must_use]
    pub const fn step(&self) -> Duration {
        self.step
    }

    /// The values, oldest first.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// One step after the last value: the time of the first value of a forecast.
    pub(crate) fn end(&self) -> Result<Timestamp, Error> {
        after(self.start, self.step, self.values.len())
    }
}

/// What a forecaster says: one point value a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// The time of the first value: one step after the last value of the series.
    pub start: Timestamp,
    /// The time between two values: that of the series.
    pub step: Duration,
    /// The forecast values, the nearest first. Each is finite.
    pub values: Vec<f64>,
}

/// `start` plus `steps` times `step`.
pub(crate) fn after(start: Timestamp, step: Duration, steps: usize) -> Result<Timestamp, Error> {
    let steps = i32::try_from(steps).map_err(|_| Error::Time)?;
    let distance = SignedDuration::try_from(step).ok().and_then(|step| step.checked_mul(steps)).ok_or(Error::Time)?;
    start.checked_add(distance).map_err(|_| Error::Time)
}
