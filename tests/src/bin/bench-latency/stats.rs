//! Figures of many measurements.

use serde_json::{Value, json};

/// Measurements in one unit, sorted.
#[derive(Debug, Clone, Default)]
pub struct Stats(Vec<f64>);

impl Stats {
    /// In any order.
    pub fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest value that is not below this part of all (nearest rank); the smallest of all for 0; 0 where there is none.
    pub fn quantile(&self, part: f64) -> f64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let rank = (part * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// The median.
    pub fn p50(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The 99th percentile.
    pub fn p99(&self) -> f64 {
        self.quantile(0.99)
    }

    /// The largest.
    pub fn max(&self) -> f64 {
        self.quantile(1.0)
    }

    /// `p50 / p99 / max` with this many digits and a unit.
    pub fn text(&self, digits: usize, unit: &str) -> String {
        format!("{:.digits$} / {:.digits$} / {:.digits$} {unit}", self.p50(), self.p99(), self.max())
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        json!({"n": self.count(), "p50": self.p50(), "p99": self.p99(), "max": self.max()})
    }
}
