//! Five fields of cron and a time zone: when the next time is that they name. This module never reads a clock.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
#[cfg(feature = "connect")]
use jiff::{Timestamp, Zoned};

const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// When something begins or ends.
#[derive(Debug, Clone)]
pub(super) struct Schedule(Cron);

/// The time zone of this name in the IANA database: the system's, which may be newer, or else the one in this program.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    jiff::tz::db().get(name).or_else(|_| TimeZoneDatabase::bundled().get(name)).ok()
}

impl Schedule {
    /// Understands `minute hour day-of-month month day-of-week`.
    ///
    /// # Errors
    /// What is wrong, in words that follow the field's name.
    pub(super) fn parse(written: &str) -> Result<Self, String> {
        let fields: Vec<&str> = written.split_whitespace().collect();
        let &[minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(format!("has {} fields instead of five", fields.len()));
        };
        let named = [(minute, &[][..]), (hour, &[]), (day, &[]), (month, MONTHS), (weekday, DAYS)];
        for (field, names) in named {
            check(field, names)?;
        }
        // With KEDA's parser a question mark is a star.
        let pattern = [minute, hour, day, month, weekday].join(" ").replace('?', "*");
        // Sloppy ranges are `5/10`, which KEDA's parser knows too.
        let parser =
            CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).sloppy_ranges(true).build();
        let schedule =
            Self(parser.parse(&pattern).map_err(|_| "has a number or a range that its field does not allow")?);
        // Whether there is such a day at all does not depend on when it is asked, nor where.
        let asked = date(2000, 1, 1).to_zoned(TimeZone::UTC).map_err(|_| "cannot be understood")?;
        match schedule.0.find_next_occurrence(&asked, false) {
            Ok(_) => Ok(schedule),
            Err(_) => Err("names a day that never comes".to_owned()),
        }
    }

    /// The first time after `now`, in the zone of `now`. Where a clock is put forward, a time of day that is skipped comes
    /// at the first moment after the gap; where it is put back, a time of day comes once, and a repeated one (`*/5`) goes
    /// through both hours.
    #[cfg(feature = "connect")]
    pub(super) fn next(&self, now: &Zoned) -> Option<Timestamp> {
        self.0.find_next_occurrence(now, false).ok().map(|next| next.timestamp())
    }
}

/// Lists of `*`, `?`, a value or a range, each with a step where wanted; what other dialects know besides is refused.
fn check(field: &str, names: &[&str]) -> Result<(), String> {
    let number = |text: &str| !text.is_empty() && text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let value = |text: &str| number(text) || names.iter().any(|name| name.eq_ignore_ascii_case(text));
    let base = |text: &str| match text.split_once('-') {
        Some((from, to)) => value(from) && value(to),
        None => matches!(text, "*" | "?") || value(text),
    };
    let good = field.split(',').all(|item| match item.split_once('/') {
        Some((from, step)) => base(from) && number(step) && step.bytes().any(|byte| byte != b'0'),
        None => base(item),
    });
    if good {
        return Ok(());
    }
    Err("has a field that is none of *, 5, 1-5, */15, 1,3 and names of months and weekdays".to_owned())
}

#[cfg(all(test, feature = "connect"))]
#[path = "schedule_tests.rs"]
mod tests;
