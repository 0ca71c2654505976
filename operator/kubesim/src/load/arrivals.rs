//! Whole messages out of a rate: how many arrive in each second and when, as a function of the seed and of time alone, so
//! that looking more often changes nothing. Never reads a clock.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use super::rate::{Curve, InvalidRate, Rate};

/// One step of the process, in nanoseconds: the messages of a step are spread evenly over it, and their number is drawn
/// once per step.
pub(super) const STEP: u64 = 1_000_000_000;

/// Above this mean a Poisson number is drawn from the normal distribution, whose error is then below a percent.
const LARGE_MEAN: f64 = 64.0;

/// How messages arrive: a rate, and whether chance plays a part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArrivalProcess {
    /// Messages per second over time.
    pub rate: Rate,
    /// How the messages of a rate fall.
    pub spread: Spread,
}

/// How the messages of a rate fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Spread {
    /// As evenly as whole messages can.
    Even,
    /// By chance, each second's number from a Poisson distribution.
    Poisson,
}

impl ArrivalProcess {
    /// Nothing arrives.
    #[must_use]
    pub fn silent() -> Self {
        Self { rate: Rate::Silent, spread: Spread::Even }
    }

    /// Evenly, `per_second` messages in a second.
    #[must_use]
    pub fn constant(per_second: f64) -> Self {
        Self { rate: Rate::Constant { per_second }, spread: Spread::Even }
    }

    /// By chance around `rate`.
    #[must_use]
    pub fn poisson(rate: Rate) -> Self {
        Self { rate, spread: Spread::Poisson }
    }
}

/// The messages of one step: `count` of them, the first at `first`, one each `spacing` (nanoseconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Train {
    pub first: u64,
    pub spacing: u64,
    pub count: u64,
}

impl Train {
    /// How many have arrived by `at`.
    pub(super) fn by(&self, at: u64) -> u64 {
        if self.count == 0 || at < self.first {
            return 0;
        }
        match (at - self.first).checked_div(self.spacing) {
            Some(whole) => (whole + 1).min(self.count),
            None => self.count,
        }
    }

    /// Takes the first `count` away.
    pub(super) fn drop_first(&mut self, count: u64) {
        let count = count.min(self.count);
        self.first += self.spacing * count;
        self.count -= count;
    }

    /// When the last one arrives.
    pub(super) fn last(&self) -> u64 {
        self.first + self.spacing * self.count.saturating_sub(1)
    }
}

/// A process at work: gives the trains of one step after the other.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    curve: Curve,
    spread: Spread,
    seed: u64,
    /// Where time 0 of the process is.
    origin: u64,
    /// The step that comes next, from 0.
    step: u64,
    /// What even spreading has not yet made a message of, in billionths of one.
    carried: u64,
}

impl Stream {
    pub(super) fn new(process: &ArrivalProcess, seed: u64, origin: u64) -> Result<Self, InvalidRate> {
        Ok(Self { curve: process.rate.compile()?, spread: process.spread, seed, origin, step: 0, carried: 0 })
    }

    pub(super) fn is_silent(&self) -> bool {
        self.curve.is_silent()
    }

    /// When the first step begins: never, if nothing ever arrives.
    pub(super) fn start(&self) -> u64 {
        if self.is_silent() { u64::MAX } else { self.origin }
    }

    /// The end of the next step.
    pub(super) fn next_end(&self) -> u64 {
        self.origin.saturating_add((self.step + 1).saturating_mul(STEP))
    }

    /// The train of the next step; its messages lie after the step's start and not after its end.
    pub(super) fn next(&mut self) -> Train {
        let start = self.origin.saturating_add(self.step.saturating_mul(STEP));
        #[allow(clippy::cast_precision_loss, reason = "a step number stays far below 2^53")]
        let from = self.step as f64;
        let expected = self.curve.expected(from, from + 1.0).clamp(0.0, super::rate::MAX_PER_SECOND);
        let train = match self.spread {
            Spread::Even => self.even(expected),
            Spread::Poisson if expected == 0.0 => Train::default(),
            Spread::Poisson => {
                let mut random = SmallRng::seed_from_u64(mix(self.seed, self.step));
                random_train(poisson(expected, &mut random), &mut random)
            }
        };
        self.step += 1;
        Train { first: start + train.first, ..train }
    }

    /// Whole messages where the running sum of the expected ones passes a whole number.
    fn even(&mut self, expected: f64) -> Train {
        const WHOLE: u64 = 1_000_000_000;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1e18")]
        let parts = (expected * 1e9).round() as u64;
        let missing = WHOLE - self.carried;
        let sum = self.carried + parts;
        self.carried = sum % WHOLE;
        match sum / WHOLE {
            0 => Train::default(),
            count => {
                let share = |amount: u64| {
                    u64::try_from(u128::from(amount) * u128::from(STEP) / u128::from(parts)).unwrap_or(STEP)
                };
                let first = share(missing);
                // Rounding must not push the last one out of the step.
                let spacing = share(WHOLE).min((STEP - first) / (count - 1).max(1));
                Train { first, spacing, count }
            }
        }
    }
}

/// `count` messages at the same distance, beginning anywhere.
fn random_train(count: u64, random: &mut SmallRng) -> Train {
    match STEP.checked_div(count) {
        None => Train::default(),
        Some(spacing) => Train { first: random.random_range(0..spacing.max(1)) + 1, spacing, count },
    }
}

/// A number from the Poisson distribution: by inversion for a small mean (Devroye, *Non-Uniform Random Variate
/// Generation*, 1986, X.3), rounded from the normal distribution of the same mean and variance for a large one.
pub(super) fn poisson(mean: f64, random: &mut SmallRng) -> u64 {
    if mean >= LARGE_MEAN {
        let drawn = mean + mean.sqrt() * normal(random);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded, positive, below 1.1e9")]
        return drawn.round().clamp(0.0, super::rate::MAX_PER_SECOND) as u64;
    }
    let drawn: f64 = random.random();
    let mut probability = (-mean).exp();
    let mut sum = probability;
    let mut count = 0_u32;
    // 2^-53 of the mass is out of reach of the drawn number; without the limit its rounding could loop for ever.
    while drawn >= sum && count < 512 {
        count += 1;
        probability *= mean / f64::from(count);
        sum += probability;
    }
    count.into()
}

/// A number from the standard normal distribution (Box and Muller, 1958).
pub(crate) fn normal(random: &mut SmallRng) -> f64 {
    let radius: f64 = 1.0 - random.random::<f64>();
    let angle: f64 = random.random();
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

/// A seed out of two numbers, so that neighbouring inputs share nothing (the finaliser of SplitMix64, Steele et al. 2014).
pub(crate) fn mix(seed: u64, salt: u64) -> u64 {
    let mut word = seed ^ salt.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A seed out of a number and a text (FNV-1a).
pub(crate) fn mix_text(seed: u64, text: &str) -> u64 {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mix(seed, hash)
}
