//! How long a broken watch waits before it is tried again: twice as long each time, spread so that the replicas of an
//! operator do not come back together. Its randomness is seeded, so that a simulated run can be repeated.

use std::time::Duration;

use kube::runtime::utils::Backoff;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// The first wait and the longest one, before they are spread.
const WAIT: (Duration, Duration) = (Duration::from_millis(800), Duration::from_secs(30));

/// See the module.
#[derive(Debug)]
pub struct WatchBackoff {
    rng: SmallRng,
    wait: Duration,
}

impl WatchBackoff {
    /// `seed` spreads the waits.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed), wait: WAIT.0 }
    }
}

impl Iterator for WatchBackoff {
    type Item = Duration;

    /// Between the wait and twice the wait; never ends.
    fn next(&mut self) -> Option<Duration> {
        let wait = self.wait;
        self.wait = (wait * 2).min(WAIT.1);
        Some(wait.mul_f64(self.rng.random_range(1.0..2.0)))
    }
}

impl Backoff for WatchBackoff {
    fn reset(&mut self) {
        self.wait = WAIT.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_begin_anew_after_success() {
        let mut backoff = WatchBackoff::new(7);
        let wanted = [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0];
        for (nth, least) in wanted.into_iter().enumerate() {
            let wait = backoff.next().expect("it never ends").as_secs_f64();
            assert!((least..least * 2.0).contains(&wait), "wait {nth} is {wait} s");
        }
        backoff.reset();
        assert!(backoff.next().expect("it never ends") < Duration::from_millis(1600));
        let waits = |seed| WatchBackoff::new(seed).take(5).collect::<Vec<_>>();
        assert_eq!(waits(1), waits(1), "the same seed gives the same waits");
        assert_ne!(waits(1), waits(2));
    }
}
