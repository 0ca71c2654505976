//! Figures as people write them: times, amounts, escaped text. The same in the table, the page and the chart.

/// Seconds in one or two units: `45s`, `3m20s`, `2h05m`, `30d`, `0.5s`.
#[must_use]
pub fn span(seconds: f64) -> String {
    if seconds < 10.0 && seconds.fract() != 0.0 {
        let short = format!("{seconds:.1}s");
        return if short == "0.0s" { "<0.1s".to_owned() } else { short };
    }
    // `as` saturates.
    let whole = seconds.round() as u64;
    let (days, hours, minutes, left) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours, minutes, left) {
        (0, 0, 0, left) => format!("{left}s"),
        (0, 0, minutes, 0) => format!("{minutes}m"),
        (0, 0, minutes, left) => format!("{minutes}m{left:02}s"),
        (0, hours, 0, _) => format!("{hours}h"),
        (0, hours, minutes, _) => format!("{hours}h{minutes:02}m"),
        (days, 0, ..) => format!("{days}d"),
        (days, hours, ..) => format!("{days}d{hours:02}h"),
    }
}

/// A figure with about three digits that count and thousands apart: `0`, `0.042`, `1.5`, `318`, `1 204 300`.
#[must_use]
pub fn amount(figure: f64) -> String {
    let size = figure.abs();
    if size < 0.000_5 {
        return if figure == 0.0 || size < 1e-6 { "0".to_owned() } else { "<0.001".to_owned() };
    }
    let decimals = if size >= 99.95 {
        0
    } else if size >= 9.995 {
        1
    } else if size >= 0.995 {
        2
    } else {
        3
    };
    let text = format!("{figure:.decimals$}");
    let text = if decimals > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    grouped(text)
}

/// A percentage with two decimals; what is not nothing does not look like it.
#[must_use]
pub fn percent(value: f64) -> String {
    if value > 0.0 && value < 0.005 { "<0.01".to_owned() } else { format!("{value:.2}") }
}

fn grouped(text: &str) -> String {
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let digits = whole.len();
    let mut out = String::with_capacity(text.len() + digits / 3);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && digits > 4 && (digits - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out + rest
}

/// Text that may stand in XML and HTML, in attributes too.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Not allowed in XML at all.
            c if c.is_control() && c != '\n' && c != '\t' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// At most `most` characters, the rest as an ellipsis.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}
