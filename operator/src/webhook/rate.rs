//! A bound on the events of each endpoint: so many a second, and so many at once. It counts genuine events only, so that strangers
//! cannot use up what is a sender's.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many endpoints are remembered before those that are full again are forgotten.
const MANY: usize = 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Rates {
    rate: f64,
    burst: f64,
    buckets: Mutex<HashMap<(String, String), Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Rates {
    pub(super) fn new(rate: f64, burst: f64) -> Self {
        Self { rate, burst, buckets: Mutex::default() }
    }

    /// Takes one event.
    ///
    /// # Errors
    /// How long to wait until there is room for another.
    pub(super) fn take(&self, namespace: &str, name: &str) -> Result<(), Duration> {
        let now = Instant::now();
        let filled =
            |bucket: &Bucket| self.burst.min((now - bucket.at).as_secs_f64().mul_add(self.rate, bucket.tokens));
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MANY {
            buckets.retain(|_, bucket| filled(bucket) < self.burst);
        }
        let new = Bucket { tokens: self.burst, at: now };
        let bucket = buckets.entry((namespace.to_owned(), name.to_owned())).or_insert(new);
        let tokens = filled(bucket);
        if tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - tokens) / self.rate));
        }
        *bucket = Bucket { tokens: tokens - 1.0, at: now };
        Ok(())
    }
}
