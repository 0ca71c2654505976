//! The naive forecasters: the last value, and the last season. They never smooth, average or extrapolate a trend.
//!
//! Source of both: Hyndman and Athanasopoulos, "Forecasting: Principles and Practice", 3rd edition, section 5.2.

use std::time::Duration;

use jiff::Timestamp;

use crate::series::after;
use crate::{Error, Forecast, Forecaster, MAX_HORIZON, Series};

/// Every forecast is the last value of the series: `y(T+h) = y(T)`.
#[derive(Debug, Clone, Default)]
pub struct LastValue {
    fitted: Option<Cycle>,
}

impl LastValue {
    /// A forecaster without a fit.
    #[must_use]
    pub const fn new() -> Self {
        Self { fitted: None }
    }
}

impl Forecaster for LastValue {
    fn name(&self) -> &'static str {
        "last-value"
    }

    fn fit(&mut self, series: &Series) -> Result<(), Error> {
        self.fitted = None;
        self.fitted = Some(Cycle::of_last(series, 1)?);
        Ok(())
    }

    fn predict(&self, horizon: usize) -> Result<Forecast, Error> {
        self.fitted.as_ref().ok_or(Error::NotFitted)?.repeat(horizon)
    }
}

/// Every forecast is the value of the same place in the last whole season: `y(T+h) = y(T+h-m*k)` with the season's
/// length `m` and the smallest `k` that reaches back into the series.
#[derive(Debug, Clone)]
pub struct SeasonalNaive {
    period: usize,
    fitted: Option<Cycle>,
}

impl SeasonalNaive {
    /// A forecaster for seasons of `period` steps, without a fit.
    ///
    /// # Errors
    /// [`Error::Period`] where the period is 0.
    pub const fn try_new(period: usize) -> Result<Self, Error> {
        if period == 0 {
            return Err(Error::Period);
        }
        Ok(Self { period, fitted: None })
    }

    /// The length of a season, in steps.
    #[must_use]
    pub const fn period(&self) -> usize {
        self.period
    }
}

impl Forecaster for SeasonalNaive {
    fn name(&self) -> &'static str {
        "seasonal-naive"
    }

    fn fit(&mut self, series: &Series) -> Result<(), Error> {
        self.fitted = None;
        self.fitted = Some(Cycle::of_last(series, self.period)?);
        Ok(())
    }

    fn predict(&self, horizon: usize) -> Result<Forecast, Error> {
        self.fitted.as_ref().ok_or(Error::NotFitted)?.repeat(horizon)
    }
}

/// The end of a series, to be repeated. Holds at least one value.
#[derive(Debug, Clone)]
struct Cycle {
    start: Timestamp,
    step: Duration,
    values: Vec<f64>,
}

impl Cycle {
    /// The last `need` values of the series.
    fn of_last(series: &Series, need: usize) -> Result<Self, Error> {
        let all = series.values();
        let from = all.len().checked_sub(need).ok_or(Error::TooShort { have: all.len(), need })?;
        Ok(Self { start: series.end()?, step: series.step(), values: all[from..].to_vec() })
    }

    fn repeat(&self, horizon: usize) -> Result<Forecast, Error> {
        if horizon > MAX_HORIZON {
            return Err(Error::Horizon { horizon });
        }
        // The whole forecast has to lie in representable time, not only its first value.
        after(self.start, self.step, horizon)?;
        let values = self.values.iter().copied().cycle().take(horizon).collect();
        Ok(Forecast { start: self.start, step: self.step, values })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn series(values: &[f64]) -> Series {
        Series::try_new(Timestamp::UNIX_EPOCH, MINUTE, values.to_vec()).expect("a valid series")
    }

    fn fitted(mut forecaster: impl Forecaster, values: &[f64]) -> impl Forecaster {
        forecaster.fit(&series(values)).expect("long enough");
        forecaster
    }

    #[test]
    fn last_value_repeats_the_last_value() {
        let forecast = fitted(LastValue::new(), &[1.0, 5.0, 3.0]).predict(3).expect("a forecast");
        assert_eq!(forecast.values, [3.0, 3.0, 3.0]);
        assert_eq!(forecast.step, MINUTE);
        assert_eq!(forecast.start.as_second(), 180, "one step after the last value, which was read at second 120");
    }

    #[test]
    fn seasonal_naive_repeats_the_last_season_and_not_an_older_one() {
        let seasonal = SeasonalNaive::try_new(3).expect("a period");
        let forecast = fitted(seasonal, &[9.0, 9.0, 1.0, 2.0, 3.0]).predict(7).expect("a forecast");
        assert_eq!(forecast.values, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0]);
    }

    #[test]
    fn a_series_is_checked_at_the_door() {
        let new = |step, values: &[f64]| Series::try_new(Timestamp::UNIX_EPOCH, step, values.to_vec());
        assert_eq!(new(Duration::ZERO, &[1.0]), Err(Error::Step { step: Duration::ZERO }));
        assert_eq!(new(MINUTE, &[1.0, f64::NAN]), Err(Error::NotFinite { index: 1 }));
        assert_eq!(new(MINUTE, &[f64::NEG_INFINITY]), Err(Error::NotFinite { index: 0 }));
        assert_eq!(new(Duration::MAX, &[1.0]), Err(Error::Time));
        assert!(new(MINUTE, &[]).is_ok());
    }

    #[test]
    fn too_little_data_is_an_error_that_says_how_much_is_needed() {
        assert_eq!(LastValue::new().fit(&series(&[])), Err(Error::TooShort { have: 0, need: 1 }));
        let mut seasonal = SeasonalNaive::try_new(4).expect("a period");
        assert_eq!(seasonal.fit(&series(&[1.0, 2.0, 3.0])), Err(Error::TooShort { have: 3, need: 4 }));
        assert_eq!(SeasonalNaive::try_new(0).err(), Some(Error::Period));
    }

    #[test]
    fn a_failed_fit_leaves_no_older_fit_behind() {
        let mut forecaster = LastValue::new();
        assert_eq!(forecaster.predict(1), Err(Error::NotFitted));
        forecaster.fit(&series(&[1.0])).expect("one value is enough");
        assert!(forecaster.fit(&series(&[])).is_err());
        assert_eq!(forecaster.predict(1), Err(Error::NotFitted));
    }

    #[test]
    fn the_horizon_is_bounded_by_length_and_by_time() {
        let forecaster = fitted(LastValue::new(), &[1.0]);
        assert_eq!(forecaster.predict(0).expect("an empty forecast").values, [] as [f64; 0]);
        assert_eq!(forecaster.predict(MAX_HORIZON + 1), Err(Error::Horizon { horizon: MAX_HORIZON + 1 }));
        let century = Duration::from_secs(100 * 366 * 86_400);
        let mut slow = LastValue::new();
        slow.fit(&Series::try_new(Timestamp::UNIX_EPOCH, century, vec![1.0]).expect("a valid series")).expect("a fit");
        assert_eq!(slow.predict(1_000), Err(Error::Time));
    }

    fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![8 => -1e12..1e12, 1 => any::<f64>(), 1 => Just(f64::NAN), 1 => Just(f64::INFINITY)]
    }

    proptest! {
        #[test]
        fn a_purely_seasonal_series_is_predicted_exactly(
            season in prop::collection::vec(-1e12_f64..1e12, 1..40),
            seasons in 1_usize..5,
            offset in 0_usize..40,
            horizon in 0_usize..200,
        ) {
            let length = season.len() * seasons + offset;
            let truth = |at: usize| season[at % season.len()];
            let mut forecaster = SeasonalNaive::try_new(season.len()).expect("not empty");
            forecaster.fit(&series(&(0..length).map(truth).collect::<Vec<_>>())).expect("at least one season");
            let forecast = forecaster.predict(horizon).expect("a forecast");
            prop_assert_eq!(forecast.values, (length..length + horizon).map(truth).collect::<Vec<_>>());
        }

        #[test]
        fn nothing_panics_and_every_forecast_is_finite(
            second in -377_705_023_201_i64..=253_402_207_200,
            step in any::<(u64, u32)>(),
            values in prop::collection::vec(any_value(), 0..20),
            period in prop_oneof![0_usize..30, any::<usize>()],
            horizon in prop_oneof![0_usize..100, any::<usize>()],
        ) {
            let start = Timestamp::from_second(second).expect("within the range of timestamps");
            let step = Duration::new(step.0, step.1 % 1_000_000_000);
            let Ok(series) = Series::try_new(start, step, values) else { return Ok(()) };
            let mut forecasters: Vec<Box<dyn Forecaster>> = vec![Box::new(LastValue::new())];
            forecasters.extend(SeasonalNaive::try_new(period).ok().map(|it| Box::new(it) as Box<dyn Forecaster>));
            for mut forecaster in forecasters {
                let fit = forecaster.fit(&series);
                if let Ok(forecast) = forecaster.predict(horizon) {
                    prop_assert!(fit.is_ok());
                    prop_assert_eq!(forecast.values.len(), horizon);
                    prop_assert!(forecast.values.iter().all(|value| value.is_finite()));
                }
            }
        }

        #[test]
        fn one_value_is_a_season_of_its_own(values in prop::collection::vec(-1e12_f64..1e12, 1..20), horizon in 0_usize..20) {
            let seasonal = SeasonalNaive::try_new(1).expect("a period");
            prop_assert_eq!(
                fitted(seasonal, &values).predict(horizon),
                fitted(LastValue::new(), &values).predict(horizon)
            );
        }
    }
}
