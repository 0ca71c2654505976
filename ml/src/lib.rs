//! Forecasters: what a series of readings will say next.
//!
//! Synchronous and deterministic. This crate never reads a clock, never does IO, knows no Kubernetes and never panics
//! on data: a series it cannot forecast is an [`Error`] that says what is missing.
//!
//! The forecasters here are the naive ones. They are the bar that every better forecaster has to beat on an object's
//! own past before it may move a replica.

mod naive;
mod series;

pub use naive::{LastValue, SeasonalNaive};
pub use series::{Forecast, MAX_HORIZON, Series};

/// Why there is no forecast.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The step between two values is not above zero.
    #[error("step is {step:?}: it must be above zero")]
    Step {
        /// The step that was given.
        step: std::time::Duration,
    },
    /// A value is NaN or infinite. Gaps have to be filled, or the series cut, before it is given to a forecaster.
    #[error("value {index} of the series is not a finite number: fill the gap or cut the series after it")]
    NotFinite {
        /// The position of the first such value, from 0.
        index: usize,
    },
    /// The series is shorter than the forecaster needs.
    #[error("the series has {have} values and this forecaster needs {need}: keep more history or wait")]
    TooShort {
        /// How many values there are.
        have: usize,
        /// How many values there must be.
        need: usize,
    },
    /// The length of a season is zero.
    #[error("period is 0: it must be at least 1 step")]
    Period,
    /// The forecast is asked for too far ahead.
    #[error("horizon is {horizon} steps: the most is {MAX_HORIZON}")]
    Horizon {
        /// The horizon that was asked for, in steps.
        horizon: usize,
    },
    /// The times of the series or of the forecast lie outside what a timestamp can hold.
    #[error("the series or its forecast ends beyond the largest timestamp: check start and step")]
    Time,
    /// There was no successful fit before the forecast.
    #[error("predict was called before a successful fit")]
    NotFitted,
}

/// Something that learns from a series and says how it goes on.
///
/// The same series gives the same forecast. A failed [`fit`](Forecaster::fit) leaves the forecaster without a fit, so
/// that a forecast is never made from older data than the caller believes.
pub trait Forecaster: std::fmt::Debug + Send + Sync {
    /// A short, constant name for logs and metrics, such as `last-value`.
    fn name(&self) -> &'static str;

    /// Learns from the series.
    ///
    /// # Errors
    /// [`Error::TooShort`] where the series does not hold enough values for this forecaster.
    fn fit(&mut self, series: &Series) -> Result<(), Error>;

    /// The next `horizon` values (in steps of the series) after its last one. A horizon of 0 is an empty forecast.
    ///
    /// # Errors
    /// [`Error::NotFitted`] before a successful fit, [`Error::Horizon`] beyond [`MAX_HORIZON`].
    fn predict(&self, horizon: usize) -> Result<Forecast, Error>;
}
