//! Rows from text: CSV and the JSON of a Prometheus range query. It names the line or the field that is wrong; never opens a
//! file or a connection.

use jiff::Timestamp;
use serde::Deserialize;

use crate::series::{Row, SeriesError};

/// Rows of a CSV text `timestamp,value`: Unix seconds (whole or with a fraction) or RFC 3339, ascending. A first line
/// that is no row is a header, empty lines and lines that begin with `#` are left out, further columns are not looked at,
/// an empty value is a hole.
///
/// # Errors
/// The first line that is no row, with what to write instead.
pub fn csv(text: &str) -> Result<Vec<Row>, SeriesError> {
    let mut rows: Vec<Row> = Vec::new();
    let mut first = true;
    for (index, line) in text.lines().enumerate() {
        let line = if index == 0 { line.trim_start_matches('\u{feff}') } else { line };
        let fields = line.trim();
        if fields.is_empty() || fields.starts_with('#') {
            continue;
        }
        let wrong = |problem: String, fix| SeriesError::Line { line: index + 1, problem, fix };
        let header = std::mem::take(&mut first) && is_header(fields);
        if header {
            continue;
        }
        let mut columns = fields.split(',').map(|field| field.trim().trim_matches('"'));
        let (Some(at), Some(value)) = (columns.next(), columns.next()) else {
            return Err(wrong(format!("{fields:?} has no comma"), "write timestamp,value"));
        };
        let at = timestamp(at).ok_or_else(|| {
            wrong(format!("{at:?} is no time"), "write Unix seconds or RFC 3339, such as 2026-01-31T12:00:00Z")
        })?;
        let value = match value {
            "" => None,
            text => {
                Some(text.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0).ok_or_else(|| {
                    wrong(
                        format!("{text:?} is no number of arrivals"),
                        "write a number of at least 0, or nothing for a hole",
                    )
                })?)
            }
        };
        if rows.last().is_some_and(|before| before.at >= at) {
            return Err(wrong(
                "its time is not after that of the row before".to_owned(),
                "sort the rows and leave out doubles",
            ));
        }
        rows.push(Row { at, value });
    }
    Ok(rows)
}

/// A first line none of whose first two fields begins like a number or a time.
fn is_header(line: &str) -> bool {
    let like_a_number = |field: &str| {
        let field = field.trim().trim_matches('"');
        field.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
    };
    !line.split(',').take(2).any(like_a_number)
}

/// Milliseconds since 1970.
fn timestamp(text: &str) -> Option<i64> {
    match text.parse::<f64>() {
        // Above: milliseconds or worse, which would be read as a year far ahead.
        Ok(seconds) if (0.0..1e11).contains(&seconds) => Some((seconds * 1000.0).round() as i64),
        Ok(_) => None,
        Err(_) => text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond),
    }
}

/// The envelope of the Prometheus HTTP API, as far as it is needed
/// (<https://prometheus.io/docs/prometheus/latest/querying/api/>).
#[derive(Debug, Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    data: Option<Data>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: serde_json::Value,
}

#[derive(Debug, Deserialize)]
struct Ranged {
    #[serde(default)]
    values: Vec<(f64, String)>,
}

/// Rows of the answer to `/api/v1/query_range`, none where there is no data. `NaN` and infinities are holes.
///
/// # Errors
/// The server's own error, an answer that is not one series, or a value that is no number of arrivals.
pub fn prometheus(json: &str) -> Result<Vec<Row>, SeriesError> {
    let wrong = |problem: String, fix| SeriesError::Prometheus { problem, fix };
    let shape = "check that --prometheus is the address of the server, without /api";
    let answer: Answer =
        serde_json::from_str(json).map_err(|error| wrong(format!("cannot be read ({error})"), shape))?;
    if answer.status != "success" {
        let why = answer.error.unwrap_or_else(|| "it does not say why".to_owned());
        return Err(wrong(format!("is an error: {why}"), "correct --query, --start, --end or --step"));
    }
    let data = answer.data.ok_or_else(|| wrong("has no data".to_owned(), shape))?;
    if data.result_type != "matrix" {
        return Err(wrong(format!("is a {}, not a matrix", data.result_type), shape));
    }
    let series: Vec<Ranged> =
        serde_json::from_value(data.result).map_err(|error| wrong(format!("cannot be read ({error})"), shape))?;
    let only = match series.as_slice() {
        // A part of a range may lie in a hole.
        [] => return Ok(Vec::new()),
        [only] => only,
        _ => {
            let problem = format!("has {} series, not one", series.len());
            return Err(wrong(problem, "wrap --query in sum(...), so that one series is left"));
        }
    };
    let mut rows = Vec::with_capacity(only.values.len());
    for (seconds, text) in &only.values {
        let value = match text.parse::<f64>() {
            Ok(value) if !value.is_finite() => None,
            Ok(value) if value >= 0.0 => Some(value),
            _ => {
                let problem = format!("has the value {text:?} at {seconds}");
                return Err(wrong(problem, "ask for a number of at least 0, such as sum(rate(...))"));
            }
        };
        rows.push(Row { at: (seconds * 1000.0).round() as i64, value });
    }
    if rows.windows(2).any(|pair| pair[1].at <= pair[0].at) {
        return Err(wrong("is not in the order of time".to_owned(), shape));
    }
    Ok(rows)
}
