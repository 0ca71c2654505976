//! Numbers in texts, as Kubernetes writes quantities (its `resource.Quantity`): `12`, `1.5k`, `250m`, `2Gi`, `1e3`.

/// The number, or `None` if it is none.
#[must_use]
pub fn quantity(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = digits.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(digits.len());
    let (number, suffix) = text.split_at(text.len() - digits.len() + end);
    if !number.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        "Ei" => 1_152_921_504_606_846_976.0,
        exponent => {
            let exponent: i16 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            10_f64.powi(i32::from(exponent))
        }
    };
    Some(number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_those_of_kubernetes() {
        let table = [
            ("12", 12.0),
            (" 7 ", 7.0),
            ("1.5", 1.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("-3", -3.0),
            ("+3", 3.0),
            ("1k", 1000.0),
            ("250m", 0.25),
            ("2Gi", 2_147_483_648.0),
            ("1Ki", 1024.0),
            ("1e3", 1000.0),
            ("1E3", 1000.0),
            ("12e-1", 1.2),
            ("1E", 1e18),
        ];
        for (text, wanted) in table {
            let found = quantity(text).unwrap_or_else(|| panic!("{text} is none"));
            assert!((found - wanted).abs() <= wanted.abs() * 1e-12, "{text}: {found}");
        }
        for text in [
            "", " ", "NaN", "inf", "-", ".", "k", "1K", "1kb", "1 k", "1..2", "0x10", "1e", "e3", "1,5", "--1",
            "1e99999",
        ] {
            assert_eq!(quantity(text), None, "{text}");
        }
    }
}
