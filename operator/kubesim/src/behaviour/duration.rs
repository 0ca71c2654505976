//! How long things take in the simulated cluster: a fixed time or one drawn from a distribution, as a setting or written in
//! an annotation. Never sleeps.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::load::normal;

/// A length of time, or where to draw one from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Spread {
    /// Always the same.
    Fixed(Duration),
    /// Anything between two lengths, all equally likely.
    Uniform {
        /// The shortest.
        from: Duration,
        /// The longest.
        to: Duration,
    },
    /// Lognormal: half of them below the median, with a long tail.
    Lognormal {
        /// The median.
        median: Duration,
        /// The standard deviation of the logarithm; 0.5 puts one in twenty beyond 2.3 times the median.
        sigma: f64,
    },
}

/// No draw is longer than a week: a lognormal tail has no end, and a timer must have one.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Why a text is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no time: write milliseconds as 1500, 500..2000 (any between) or ~3000*0.5 (median, sigma of the logarithm)"
)]
pub struct InvalidSpread(String);

impl Spread {
    /// Always `millis` milliseconds.
    #[must_use]
    pub const fn millis(millis: u64) -> Self {
        Self::Fixed(Duration::from_millis(millis))
    }

    /// Draws one; the same seed draws the same.
    #[must_use]
    pub fn draw(&self, seed: u64) -> Duration {
        match *self {
            Self::Fixed(length) => length,
            Self::Uniform { from, to } if from >= to => from,
            Self::Uniform { from, to } => {
                let mut random = SmallRng::seed_from_u64(seed);
                from + (to - from).mul_f64(random.random::<f64>())
            }
            Self::Lognormal { median, sigma } => {
                let mut random = SmallRng::seed_from_u64(seed);
                let seconds = median.as_secs_f64() * (sigma * normal(&mut random)).exp();
                Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST)
            }
        }
    }
}

impl std::str::FromStr for Spread {
    type Err = InvalidSpread;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidSpread(text.to_owned());
        let millis = |part: &str| part.trim().parse().map(Duration::from_millis).map_err(|_| invalid());
        if let Some((from, to)) = text.split_once("..") {
            return Ok(Self::Uniform { from: millis(from)?, to: millis(to)? });
        }
        if let Some(lognormal) = text.trim().strip_prefix('~') {
            let (median, sigma) = lognormal.split_once('*').ok_or_else(invalid)?;
            let sigma = sigma.trim().parse().ok().filter(|sigma| (0.0..=5.0).contains(sigma)).ok_or_else(invalid)?;
            return Ok(Self::Lognormal { median: millis(median)?, sigma });
        }
        millis(text).map(Self::Fixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_how_long() {
        let millis = Duration::from_millis;
        for (text, expected) in [
            ("1500", Some(Spread::millis(1500))),
            (" 0 ", Some(Spread::millis(0))),
            ("500..2000", Some(Spread::Uniform { from: millis(500), to: millis(2000) })),
            ("~3000*0.5", Some(Spread::Lognormal { median: millis(3000), sigma: 0.5 })),
            ("3s", None),
            ("", None),
            ("-1", None),
            ("~3000", None),
            ("~3000*NaN", None),
            ("~3000*9", None),
            ("1..x", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text:?}");
        }
        assert!("3s".parse::<Spread>().unwrap_err().to_string().contains("milliseconds"));
    }

    #[test]
    fn draws_follow_their_distribution_and_their_seed() {
        let draws = |spread: Spread| -> Vec<f64> { (0..10_000).map(|seed| spread.draw(seed).as_secs_f64()).collect() };
        let uniform = draws("1000..3000".parse().unwrap());
        assert!(uniform.iter().all(|seconds| (1.0..=3.0).contains(seconds)));
        assert!((uniform.iter().sum::<f64>() / 1e4 - 2.0).abs() < 0.03);
        let mut lognormal = draws("~2000*0.5".parse().unwrap());
        lognormal.sort_by(f64::total_cmp);
        assert!((lognormal[5_000] - 2.0).abs() < 0.06, "median {}", lognormal[5_000]);
        let sigma = (lognormal[8_413] / lognormal[5_000]).ln();
        assert!((sigma - 0.5).abs() < 0.04, "sigma {sigma}");
        assert_eq!(lognormal, {
            let mut again = draws("~2000*0.5".parse().unwrap());
            again.sort_by(f64::total_cmp);
            again
        });
        assert_eq!(Spread::Uniform { from: Duration::from_secs(2), to: Duration::from_secs(1) }.draw(1).as_secs(), 2);
    }
}
