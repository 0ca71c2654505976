//! The load to replay: rows of (time, value) made into a step function of arrivals per second. It fills holes in the way it
//! is told and says how many there were; never guesses a unit and never reads a file.

use jiff::Timestamp;
use serde::Serialize;

/// One row as it was recorded: milliseconds since 1970 and the value, or `None` where the source has no figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Milliseconds since 1970-01-01 UTC.
    pub at: i64,
    /// The value; `None` is a hole of one row.
    pub value: Option<f64>,
}

/// What the values count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unit {
    /// Arrivals per second.
    #[default]
    PerSecond,
    /// Arrivals in the step that begins with the row.
    PerStep,
}

/// What is put where the series has no rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fill {
    /// A straight line between the values on both sides.
    #[default]
    Line,
    /// The last value before the hole.
    Hold,
    /// Nothing arrives.
    Zero,
}

/// How rows become a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// What the values count.
    pub unit: Unit,
    /// What is put into holes.
    pub fill: Fill,
    /// Every value is multiplied by this; above 0.
    pub scale: f64,
}

impl Default for Reading {
    fn default() -> Self {
        Self { unit: Unit::default(), fill: Fill::default(), scale: 1.0 }
    }
}

/// The value that holds from one moment until the next point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Milliseconds since the start of the series.
    pub at: u64,
    /// Arrivals per second from then on.
    pub rate: f64,
}

/// What was missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Holes {
    /// How many stretches without rows there were.
    pub count: u64,
    /// How long they are together, in seconds.
    pub seconds: u64,
}

/// Arrivals per second as a step function from 0 to [`Series::end`].
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    start: Timestamp,
    step: u64,
    end: u64,
    points: Vec<Point>,
    holes: Holes,
}

/// Why rows are no series. Lines count from 1, the header included.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SeriesError {
    /// A line of a file cannot be read.
    #[error("line {line}: {problem}; {fix}")]
    Line {
        /// The line.
        line: usize,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        fix: &'static str,
    },
    /// Two rows are needed to know a step.
    #[error("the series has {rows} usable rows; give at least 2")]
    TooShort {
        /// How many there are.
        rows: usize,
    },
    /// The series is longer than can be replayed.
    #[error(
        "the series has {points} points with its holes filled, more than {most}; give a part of it or a longer step"
    )]
    TooLong {
        /// How many points.
        points: u64,
        /// How many are possible.
        most: u64,
    },
    /// A value is no rate that anything could have.
    #[error("{rate} arrivals per second are more than can be replayed ({most}); lower the scale or correct the series")]
    TooMuch {
        /// The rate.
        rate: f64,
        /// The most that is possible.
        most: f64,
    },
    /// The answer of Prometheus is not a range of one series.
    #[error("the answer of Prometheus {problem}; {fix}")]
    Prometheus {
        /// What is wrong with it.
        problem: String,
        /// What to do.
        fix: &'static str,
    },
}

/// Above this the sums of a month lose whole messages.
const MOST_RATE: f64 = 1e9;

/// Ten years of minutes: more is a mistake in a timestamp.
const MOST_POINTS: u64 = 5_300_000;

impl Series {
    /// Makes a series of rows in ascending order. The step is the most frequent distance of two rows; a distance of more
    /// than one and a half steps is a hole, and so is a row without a value.
    ///
    /// # Errors
    /// Fewer than two rows with a value, or so many points that a timestamp must be wrong.
    pub fn new(rows: &[Row], reading: Reading) -> Result<Self, SeriesError> {
        let known: Vec<(i64, f64)> = rows.iter().filter_map(|row| Some((row.at, row.value?))).collect();
        let ([(first, _), .., (last, _)], Some(step)) = (known.as_slice(), usual_distance(&known)) else {
            return Err(SeriesError::TooShort { rows: known.len() });
        };
        let expected = last.abs_diff(*first) / step;
        if expected > MOST_POINTS {
            return Err(SeriesError::TooLong { points: expected, most: MOST_POINTS });
        }
        let per_second = match reading.unit {
            Unit::PerSecond => reading.scale,
            Unit::PerStep => reading.scale * 1000.0 / step as f64,
        };
        let mut series = Self {
            start: Timestamp::from_millisecond(*first).unwrap_or(Timestamp::UNIX_EPOCH),
            step,
            end: last.abs_diff(*first) + step,
            points: Vec::with_capacity(known.len()),
            holes: Holes::default(),
        };
        for (index, (at, value)) in known.iter().enumerate() {
            let (at, rate) = (at.abs_diff(*first), value * per_second);
            if rate > MOST_RATE {
                return Err(SeriesError::TooMuch { rate, most: MOST_RATE });
            }
            series.points.push(Point { at, rate });
            if let Some((next, value)) = known.get(index + 1) {
                series.fill(
                    Point { at, rate },
                    Point { at: next.abs_diff(*first), rate: value * per_second },
                    reading.fill,
                );
            }
        }
        Ok(series)
    }

    /// Puts points between two rows that lie too far apart.
    fn fill(&mut self, from: Point, to: Point, fill: Fill) {
        let distance = to.at - from.at;
        if distance * 2 <= self.step * 3 {
            return;
        }
        self.holes.count += 1;
        self.holes.seconds += (distance - self.step) / 1000;
        let mut at = from.at + self.step;
        while at * 2 + self.step <= to.at * 2 {
            let rate = match fill {
                Fill::Hold => from.rate,
                Fill::Zero => 0.0,
                Fill::Line => from.rate + (to.rate - from.rate) * ((at - from.at) as f64 / distance as f64),
            };
            self.points.push(Point { at, rate });
            at += self.step;
        }
    }

    /// The time of the first row.
    #[must_use]
    pub const fn start(&self) -> Timestamp {
        self.start
    }

    /// The usual distance of two rows, in milliseconds.
    #[must_use]
    pub const fn step(&self) -> u64 {
        self.step
    }

    /// How long the series is, in milliseconds: the last value holds for one step.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// The points, ascending; the first is at 0.
    #[must_use]
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// What was missing and has been filled in.
    #[must_use]
    pub const fn holes(&self) -> Holes {
        self.holes
    }
}

/// The most frequent distance of two rows in milliseconds, the smaller of two equally frequent ones.
fn usual_distance(rows: &[(i64, f64)]) -> Option<u64> {
    let mut distances: Vec<u64> = rows.windows(2).map(|pair| pair[1].0.abs_diff(pair[0].0)).collect();
    distances.sort_unstable();
    let mut best: Option<(usize, u64)> = None;
    for group in distances.chunk_by(|a, b| a == b) {
        if best.is_none_or(|(count, _)| group.len() > count) {
            best = Some((group.len(), group[0]));
        }
    }
    best.map(|(_, distance)| distance).filter(|distance| *distance > 0)
}
