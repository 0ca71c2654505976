//! A cron trigger's metadata, understood once. This module never reads a clock.

use std::time::Duration;

use super::schedule::{Schedule, zone};
use crate::metadata::normalised;
use crate::{Metadata, Parsed};

/// A window that opens and closes again and again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Query {
    /// The name of the time zone that both schedules are meant in, as in the IANA database.
    pub timezone: String,
    /// When the window opens: five fields of cron.
    pub start: String,
    /// When it closes.
    pub end: String,
    /// The replicas wanted while it is open, at least 1.
    pub desired: u32,
}

const SCHEDULE: &str = "write minute, hour, day of month, month and day of week, for example 0 8 * * 1-5";

/// Understands the metadata of a `cron` trigger.
pub fn parse(metadata: &mut Metadata<'_>) -> Option<Parsed> {
    let timezone = metadata.required("timezone", "write a name of the IANA database, for example Europe/Berlin");
    if timezone.is_some_and(|name| zone(name).is_none()) {
        let fix = "write a name of the IANA database, for example Europe/Berlin or Etc/UTC";
        metadata.error("timezone", "is not a time zone that is known", fix);
    }
    let start = schedule(metadata, "start");
    let end = schedule(metadata, "end");
    if start.is_some() && start == end {
        metadata.error("end", "is the same as start", "let the window close at another time than it opens");
    }
    let expected = "a whole number above 0";
    metadata.required("desiredReplicas", "write how many replicas the window is for");
    let desired: Option<u32> = metadata.parsed_optional("desiredReplicas", expected);
    if desired == Some(0) {
        metadata.error("desiredReplicas", "0 is not a number of replicas to hold", "write a whole number above 0");
    }
    metadata.no_effect("metricName", "the metric is named after time zone, start and end");

    let (timezone, start, end) = (timezone?, start?, end?);
    let metric_name = metric_name(timezone, &start, &end);
    Some(Parsed {
        connection: crate::Connection::Cron,
        query: crate::Query::Cron(Query { timezone: timezone.to_owned(), start, end, desired: desired? }),
        target: 1.0,
        activation: 0.0,
        metric_name,
        default_interval: Duration::from_millis(500),
    })
}

/// A schedule as it was written, with single spaces.
fn schedule(metadata: &mut Metadata<'_>, key: &'static str) -> Option<String> {
    let written = metadata.required(key, SCHEDULE)?;
    if let Err(problem) = Schedule::parse(written) {
        metadata.error(key, problem, SCHEDULE);
    }
    Some(written.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// What KEDA calls the metric (its `cron_scaler.go`).
fn metric_name(timezone: &str, start: &str, end: &str) -> String {
    let plain =
        |text: &str| text.replace(' ', "").replace('*', "x").replace('/', "Sl").replace('?', "Qm").replace(',', "Cm");
    normalised(&format!("cron-{timezone}-{}-{}", plain(start), plain(end)))
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
