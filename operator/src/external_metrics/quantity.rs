//! Writes a number of thousandths in the canonical form of Kubernetes' `resource.Quantity`. It never parses one.

use std::fmt;

/// Thousandths, printed as a canonical decimal quantity: no fraction, and the largest suffix that loses nothing
/// (`2500` is `2500m`, `12000` is `12`, `12000000` is `12k`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MilliQuantity(pub i64);

/// Suffixes of the decimal form, each a thousand times the one before (kubernetes `resource.Quantity`, DecimalSI).
const SUFFIXES: [&str; 8] = ["m", "", "k", "M", "G", "T", "P", "E"];

impl fmt::Display for MilliQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0");
        }
        let mut mantissa = self.0;
        let mut suffix = 0;
        while mantissa % 1000 == 0 && suffix + 1 < SUFFIXES.len() {
            mantissa /= 1000;
            suffix += 1;
        }
        write!(f, "{mantissa}{}", SUFFIXES[suffix])
    }
}

#[cfg(test)]
mod tests {
    use super::MilliQuantity;

    #[test]
    fn every_figure_has_its_canonical_form() {
        let table = [
            (0, "0"),
            (1, "1m"),
            (999, "999m"),
            (1_000, "1"),
            (2_500, "2500m"),
            (12_000, "12"),
            (12_500, "12500m"),
            (100_000, "100"),
            (999_000, "999"),
            (1_000_000, "1k"),
            (1_500_000, "1500"),
            (1_000_000_000, "1M"),
            (9_200_000_000_000_000_000, "9200T"),
            (i64::MAX, "9223372036854775807m"),
            (-1_500, "-1500m"),
        ];
        for (milli, wanted) in table {
            assert_eq!(MilliQuantity(milli).to_string(), wanted, "{milli} thousandths");
        }
    }
}
