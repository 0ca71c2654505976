//! Kubernetes quantities (`resource.Quantity`) as thousandths and back, with its rounding and its canonical spelling. Never
//! keeps more than thousandths: nothing the controllers compare is finer.

/// A quantity in thousandths, rounded up, as `MilliValue()` does; what does not fit into 64 bits becomes the largest number
/// that does. `None`: not a quantity.
#[must_use]
pub fn milli(text: &str) -> Option<i64> {
    let (negative, digits, scale) = parse(text)?;
    // digits * scale is the value; in thousandths it is digits * 1000 * scale, rounded away from zero.
    let thousandths = match scale {
        Scale::Power(power) => times_power_of_ten(digits, power + 3),
        Scale::Binary(shift) => {
            let (value, fraction) = digits.shifted()?;
            let scaled = value.checked_mul(1000)?.checked_mul(1_u128 << shift);
            scaled.map_or(u128::MAX, |scaled| scaled.div_ceil(10_u128.pow(fraction)))
        }
    };
    let bounded = i64::try_from(thousandths).unwrap_or(i64::MAX);
    Some(if negative { -bounded } else { bounded })
}

/// A quantity as a floating point number, as `AsApproximateFloat64()` gives it: the digits times a power of ten (or two).
#[must_use]
pub fn approximate(text: &str) -> Option<f64> {
    let (negative, digits, scale) = parse(text)?;
    #[allow(clippy::cast_precision_loss, reason = "approximate by name")]
    let whole = digits.value as f64;
    let value = match scale {
        Scale::Power(power) => whole * 10_f64.powi(power - digits.fraction),
        Scale::Binary(shift) => whole * 10_f64.powi(-digits.fraction) * 2_f64.powi(shift.try_into().ok()?),
    };
    Some(if negative { -value } else { value })
}

/// Thousandths in the canonical spelling with decimal suffixes: the largest one that leaves no fraction.
#[must_use]
pub fn decimal(milli: i64) -> String {
    const SUFFIXES: [&str; 8] = ["m", "", "k", "M", "G", "T", "P", "E"];
    let mut value = milli;
    let mut suffix = 0;
    while value != 0 && value % 1000 == 0 && suffix + 1 < SUFFIXES.len() {
        value /= 1000;
        suffix += 1;
    }
    if value == 0 { "0".to_owned() } else { format!("{value}{}", SUFFIXES[suffix]) }
}

/// Thousandths in the canonical spelling with binary suffixes, as memory has; what is no whole number keeps its decimal
/// spelling.
#[must_use]
pub fn binary(milli: i64) -> String {
    const SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if milli % 1000 != 0 || (milli / 1000).abs() < 1024 {
        return decimal(milli);
    }
    let mut value = milli / 1000;
    let mut suffix = 0;
    while value % 1024 == 0 && suffix + 1 < SUFFIXES.len() {
        value /= 1024;
        suffix += 1;
    }
    format!("{value}{}", SUFFIXES[suffix])
}

/// Digits without their decimal point, and how many of them were behind it.
#[derive(Debug, Clone, Copy)]
struct Digits {
    value: u128,
    fraction: i32,
}

impl Digits {
    fn shifted(self) -> Option<(u128, u32)> {
        Some((self.value, u32::try_from(self.fraction).ok()?))
    }
}

#[derive(Debug, Clone, Copy)]
enum Scale {
    Power(i32),
    Binary(u32),
}

fn parse(text: &str) -> Option<(bool, Digits, Scale)> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() + fraction.len() > 30 {
        return None;
    }
    let value = format!("0{whole}{fraction}").parse().ok()?;
    let digits = Digits { value, fraction: i32::try_from(fraction.len()).ok()? };
    let scale = match suffix {
        "n" => Scale::Power(-9),
        "u" => Scale::Power(-6),
        "m" => Scale::Power(-3),
        "" => Scale::Power(0),
        "k" => Scale::Power(3),
        "M" => Scale::Power(6),
        "G" => Scale::Power(9),
        "T" => Scale::Power(12),
        "P" => Scale::Power(15),
        "E" => Scale::Power(18),
        "Ki" => Scale::Binary(10),
        "Mi" => Scale::Binary(20),
        "Gi" => Scale::Binary(30),
        "Ti" => Scale::Binary(40),
        "Pi" => Scale::Binary(50),
        "Ei" => Scale::Binary(60),
        other => {
            let exponent = other.strip_prefix(['e', 'E'])?;
            Scale::Power(exponent.parse().ok().filter(|power: &i32| power.abs() <= 64)?)
        }
    };
    Some((negative, digits, scale))
}

fn times_power_of_ten(digits: Digits, power: i32) -> u128 {
    let shift = power - digits.fraction;
    match u32::try_from(shift) {
        Ok(up) => 10_u128.checked_pow(up).and_then(|factor| digits.value.checked_mul(factor)).unwrap_or(u128::MAX),
        Err(_) => 10_u128.checked_pow(shift.unsigned_abs()).map_or_else(
            // Less than a thousandth of a thousandth of anything, but not nothing: rounded up.
            || u128::from(digits.value > 0),
            |divisor| digits.value.div_ceil(divisor),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_becomes_thousandths_rounded_up() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1", Some(1000)),
            ("1.5", Some(1500)),
            (".5", Some(500)),
            ("5.", Some(5000)),
            ("50m", Some(50)),
            ("1u", Some(1)),
            ("1n", Some(1)),
            ("1500u", Some(2)),
            ("-1500m", Some(-1500)),
            ("-1u", Some(-1)),
            ("+3", Some(3000)),
            ("2k", Some(2_000_000)),
            ("1Ki", Some(1_024_000)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("0.1Ki", Some(102_400)),
            ("1e3", Some(1_000_000)),
            ("1E-2", Some(10)),
            ("2E", Some(i64::MAX)),
            ("9223372036854775807", Some(i64::MAX)),
            ("8Ei", Some(i64::MAX)),
            ("", None),
            ("m", None),
            (".", None),
            ("1.2.3", None),
            ("1x", None),
            ("1 ", None),
            ("one", None),
            ("1e999999", None),
        ] {
            assert_eq!(milli(text), expected, "{text:?}");
        }
    }

    #[test]
    fn thousandths_are_spelt_canonically() {
        for (value, text) in [
            (0, "0"),
            (1, "1m"),
            (1500, "1500m"),
            (2000, "2"),
            (1_000_000, "1k"),
            (1_500_000, "1500"),
            (-2000, "-2"),
            (i64::MAX, "9223372036854775807m"),
        ] {
            assert_eq!(decimal(value), text);
        }
        for (value, text) in [
            (1_048_576_000, "1Mi"),
            (1000, "1"),
            (1_536_000, "1536"),
            (1_023_000, "1023"),
            (2_500_000, "2500"),
            (500, "500m"),
            (0, "0"),
        ] {
            assert_eq!(binary(value), text);
        }
    }

    #[test]
    fn a_spelling_reads_back_as_what_it_was() {
        for value in [1, 999, 1000, 123_456_789, 1_024_000, 1_048_576_000, -77, i64::MAX] {
            assert_eq!(milli(&decimal(value)), Some(value));
            assert_eq!(milli(&binary(value)), Some(value));
        }
    }

    #[test]
    fn a_tolerance_is_its_digits_times_a_power_of_ten() {
        assert_eq!(approximate("50m"), Some(50.0 * 1e-3));
        assert_eq!(approximate("0.05"), Some(5.0 * 1e-2));
        assert_eq!(approximate("1Ki"), Some(1024.0));
        assert_eq!(approximate("x"), None);
    }
}
