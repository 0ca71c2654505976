//! How many messages per second arrive, as a function of time, and the same compiled so that the number expected between
//! two moments is cheap to ask. Draws nothing and remembers nothing.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

/// The most messages per second that are modelled: beyond it two messages would arrive in the same nanosecond.
pub const MAX_PER_SECOND: f64 = 1e9;

/// A rate of arrival over time. Times are seconds from the moment the process was given to its queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Rate {
    /// Nothing arrives.
    Silent,
    /// Always the same.
    Constant {
        /// Messages per second.
        per_second: f64,
    },
    /// A message once in a while: the rate `1 / every`.
    Trickle {
        /// Seconds between two messages, on average.
        every: f64,
    },
    /// A wave from `low` to `high` and back. With `sharpness` 1 it is a sine, with more the peak gets narrower.
    Daily {
        /// Messages per second in the valley.
        low: f64,
        /// Messages per second at the peak.
        high: f64,
        /// Seconds from peak to peak.
        period: f64,
        /// When the first peak is.
        peak_at: f64,
        /// The power the wave is raised to, at least 1.
        sharpness: u32,
    },
    /// `high` for a while, `low` for the rest, again and again.
    Bursts {
        /// Messages per second between bursts.
        low: f64,
        /// Messages per second in a burst.
        high: f64,
        /// Seconds from the start of one burst to the start of the next.
        every: f64,
        /// Seconds a burst lasts; not longer than `every`.
        lasts: f64,
        /// When the first burst starts.
        first_at: f64,
    },
    /// Recorded figures. Before the first point its value holds, after the last point the last one, unless it repeats.
    Trace {
        /// Seconds (rising) and messages per second.
        points: Vec<(f64, f64)>,
        /// What holds between two points.
        between: Between,
        /// Whether it starts again after the last point. The last point is then the first of the next round.
        repeat: bool,
    },
    /// All of them together.
    Sum(Vec<Rate>),
}

/// What holds between two points of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Between {
    /// The value of the earlier point.
    Step,
    /// The straight line from one to the other.
    Line,
}

/// Why a rate cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidRate {
    /// A figure is negative, infinite, not a number or too large.
    #[error("{field}: {value} is not usable: give a number from {least} to 1e9")]
    Figure {
        /// Its name.
        field: &'static str,
        /// What was given.
        value: f64,
        /// The smallest usable value.
        least: f64,
    },
    /// The work of a pod cannot be used.
    #[error("per_pod: {0} messages per second is not usable: give a number from 0 to 1e6")]
    Service(f64),
    /// A burst is longer than the time between bursts.
    #[error("lasts: {lasts} s is longer than every ({every} s): shorten it, or use a constant rate")]
    BurstTooLong {
        /// How long it lasts.
        lasts: f64,
        /// How often it comes.
        every: f64,
    },
    /// A trace has no points.
    #[error("points: the trace is empty: give at least one point")]
    NoPoints,
    /// The times of a trace do not rise.
    #[error("points: the time of point {index} ({at} s) is not after the one before: sort the points")]
    NotRising {
        /// Which point, from 0.
        index: usize,
        /// Its time.
        at: f64,
    },
    /// A trace that repeats must last.
    #[error("points: a trace that repeats needs at least two points")]
    NothingToRepeat,
}

/// A rate made ready to be asked.
#[derive(Debug, Clone)]
pub(super) enum Curve {
    Silent,
    Constant(f64),
    Wave { low: f64, rise: f64, period: f64, peak_at: f64, sharpness: i32 },
    Bursts { low: f64, rise: f64, every: f64, lasts: f64, first_at: f64 },
    Trace { points: Vec<(f64, f64)>, sums: Vec<f64>, between: Between, repeat: bool },
    Sum(Vec<Curve>),
}

impl Rate {
    /// Checks every figure.
    ///
    /// # Errors
    /// Names the first field that cannot be used.
    pub fn validate(&self) -> Result<(), InvalidRate> {
        match self {
            Self::Silent => Ok(()),
            Self::Constant { per_second } => figure("per_second", *per_second, 0.0),
            Self::Trickle { every } => figure("every", *every, 1e-9),
            Self::Daily { low, high, period, peak_at, sharpness } => {
                figure("low", *low, 0.0)?;
                figure("high", *high, *low)?;
                figure("period", *period, 1.0)?;
                figure("peak_at", *peak_at, 0.0)?;
                figure("sharpness", f64::from(*sharpness), 1.0)
            }
            Self::Bursts { low, high, every, lasts, first_at } => {
                figure("low", *low, 0.0)?;
                figure("high", *high, *low)?;
                figure("every", *every, 1e-3)?;
                figure("lasts", *lasts, 0.0)?;
                figure("first_at", *first_at, 0.0)?;
                if lasts > every {
                    return Err(InvalidRate::BurstTooLong { lasts: *lasts, every: *every });
                }
                Ok(())
            }
            Self::Trace { points, repeat, .. } => {
                if points.is_empty() {
                    return Err(InvalidRate::NoPoints);
                }
                if *repeat && points.len() < 2 {
                    return Err(InvalidRate::NothingToRepeat);
                }
                for (index, (at, value)) in points.iter().enumerate() {
                    figure("points: time", *at, 0.0)?;
                    figure("points: value", *value, 0.0)?;
                    if index > 0 && *at <= points[index - 1].0 {
                        return Err(InvalidRate::NotRising { index, at: *at });
                    }
                }
                Ok(())
            }
            Self::Sum(parts) => parts.iter().try_for_each(Self::validate),
        }
    }

    /// Makes it ready to be asked.
    pub(super) fn compile(&self) -> Result<Curve, InvalidRate> {
        self.validate()?;
        Ok(match self {
            Self::Silent => Curve::Silent,
            Self::Constant { per_second } => Curve::Constant(*per_second),
            Self::Trickle { every } => Curve::Constant(1.0 / every),
            Self::Daily { low, high, period, peak_at, sharpness } => Curve::Wave {
                low: *low,
                rise: high - low,
                period: *period,
                peak_at: *peak_at,
                sharpness: i32::try_from(*sharpness).unwrap_or(i32::MAX),
            },
            Self::Bursts { low, high, every, lasts, first_at } => {
                Curve::Bursts { low: *low, rise: high - low, every: *every, lasts: *lasts, first_at: *first_at }
            }
            Self::Trace { points, between, repeat } => Curve::Trace {
                sums: running_sums(points, *between),
                points: points.clone(),
                between: *between,
                repeat: *repeat,
            },
            Self::Sum(parts) => Curve::Sum(parts.iter().map(Self::compile).collect::<Result<_, _>>()?),
        })
    }
}

impl Curve {
    /// The messages expected from `from` to `to` (seconds).
    pub(super) fn expected(&self, from: f64, to: f64) -> f64 {
        match self {
            Self::Silent => 0.0,
            Self::Constant(per_second) => per_second * (to - from),
            Self::Wave { low, rise, period, peak_at, sharpness } => {
                let shape = |at: f64| (0.5 + 0.5 * (TAU * (at - peak_at) / period).cos()).powi(*sharpness);
                // Simpson's rule: over one step of a wave of minutes or hours its error is below any message.
                let mean = (shape(from) + 4.0 * shape((from + to) / 2.0) + shape(to)) / 6.0;
                (low + rise * mean) * (to - from)
            }
            Self::Bursts { low, rise, every, lasts, first_at } => {
                let bursting = |at: f64| {
                    let since = (at - first_at).max(0.0);
                    let round = (since / every).floor();
                    round * lasts + (since - round * every).min(*lasts)
                };
                low * (to - from) + rise * (bursting(to) - bursting(from))
            }
            Self::Trace { points, sums, between, repeat } => {
                trace_sum(points, sums, *between, *repeat, to) - trace_sum(points, sums, *between, *repeat, from)
            }
            Self::Sum(parts) => parts.iter().map(|part| part.expected(from, to)).sum(),
        }
    }

    /// Whether nothing will ever arrive.
    pub(super) fn is_silent(&self) -> bool {
        match self {
            Self::Silent => true,
            Self::Constant(per_second) => *per_second == 0.0,
            Self::Sum(parts) => parts.iter().all(Self::is_silent),
            Self::Wave { .. } | Self::Bursts { .. } | Self::Trace { .. } => false,
        }
    }
}

fn figure(field: &'static str, value: f64, least: f64) -> Result<(), InvalidRate> {
    if value.is_finite() && value >= least && value <= MAX_PER_SECOND {
        Ok(())
    } else {
        Err(InvalidRate::Figure { field, value, least })
    }
}

/// What has arrived at each point since the first one.
fn running_sums(points: &[(f64, f64)], between: Between) -> Vec<f64> {
    let mut sum = 0.0;
    let mut sums = Vec::with_capacity(points.len());
    for (index, (at, _)) in points.iter().enumerate() {
        if index > 0 {
            let (before, _) = points[index - 1];
            sum += piece(points, between, index - 1, at - before);
        }
        sums.push(sum);
    }
    sums
}

/// What arrives in the first `seconds` after point `index`.
fn piece(points: &[(f64, f64)], between: Between, index: usize, seconds: f64) -> f64 {
    let (at, value) = points[index];
    match (between, points.get(index + 1)) {
        (Between::Line, Some((next_at, next_value))) => {
            let slope = (next_value - value) / (next_at - at);
            (value + slope * seconds / 2.0) * seconds
        }
        _ => value * seconds,
    }
}

/// What has arrived at `at` since time 0.
fn trace_sum(points: &[(f64, f64)], sums: &[f64], between: Between, repeat: bool, at: f64) -> f64 {
    let (Some(first), Some(last), Some(total)) = (points.first(), points.last(), sums.last()) else { return 0.0 };
    let before = first.1 * at.min(first.0);
    if at <= first.0 {
        return before;
    }
    let length = last.0 - first.0;
    let mut since = at - first.0;
    let mut rounds = 0.0;
    if repeat {
        rounds = (since / length).floor();
        since -= rounds * length;
    }
    let place = first.0 + since;
    let index = points.partition_point(|point| point.0 <= place).saturating_sub(1);
    before + rounds * total + sums[index] + piece(points, between, index, place - points[index].0)
}
