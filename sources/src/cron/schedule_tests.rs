//! Dialect, days that never come, and the two nights a year on which clocks are put forward and back.

use std::time::{Duration, Instant};

use super::*;

fn next(schedule: &str, zone_name: &str, now: &str) -> String {
    let zone = zone(zone_name).expect("a zone");
    let now: Timestamp = now.parse().expect("a time");
    let next = Schedule::parse(schedule).expect("a schedule").next(&now.to_zoned(zone.clone())).expect("a next time");
    next.to_zoned(zone).strftime("%a %F %T %z").to_string()
}

#[test]
fn the_next_time_is_after_now_and_never_now() {
    let table = [
        ("0 8 * * *", "UTC", "2026-03-02T07:59:59.999Z", "Mon 2026-03-02 08:00:00 +0000"),
        ("0 8 * * *", "UTC", "2026-03-02T08:00:00Z", "Tue 2026-03-03 08:00:00 +0000"),
        ("0 8 * * *", "Asia/Kolkata", "2026-03-02T02:29:00Z", "Mon 2026-03-02 08:00:00 +0530"),
        ("0 8 * * *", "America/New_York", "2026-03-02T12:00:00Z", "Mon 2026-03-02 08:00:00 -0500"),
        ("30 6-10/2 * * *", "UTC", "2026-03-02T06:31:00Z", "Mon 2026-03-02 08:30:00 +0000"),
        ("5/20 * * * *", "UTC", "2026-03-02T06:31:00Z", "Mon 2026-03-02 06:45:00 +0000"),
        ("0 0 ? * fri", "UTC", "2026-03-02T06:31:00Z", "Fri 2026-03-06 00:00:00 +0000"),
        ("0 0 1 JAN-mar,Dec *", "UTC", "2026-03-02T06:31:00Z", "Tue 2026-12-01 00:00:00 +0000"),
        ("0 0 29 2 *", "UTC", "2026-03-02T06:31:00Z", "Tue 2028-02-29 00:00:00 +0000"),
        // A day of month and a day of week: either of them.
        ("0 0 13 * 5", "UTC", "2026-03-02T06:31:00Z", "Fri 2026-03-06 00:00:00 +0000"),
        ("0 0 */31 * MON", "UTC", "2026-03-03T06:31:00Z", "Mon 2026-03-09 00:00:00 +0000"),
        ("0 0 * * 0", "UTC", "2026-03-02T06:31:00Z", "Sun 2026-03-08 00:00:00 +0000"),
    ];
    for (schedule, zone, now, wanted) in table {
        assert_eq!(next(schedule, zone, now), wanted, "{schedule} in {zone} after {now}");
    }
}

#[test]
fn a_time_of_day_that_is_skipped_comes_right_after_the_gap() {
    // Berlin goes from 02:00 to 03:00 on 29 March 2026.
    let before = "2026-03-29T00:59:00Z";
    assert_eq!(next("30 2 * * *", "Europe/Berlin", before), "Sun 2026-03-29 03:00:00 +0200");
    assert_eq!(next("*/30 * * * *", "Europe/Berlin", before), "Sun 2026-03-29 03:00:00 +0200");
    assert_eq!(next("30 2 * * *", "Europe/Berlin", "2026-03-29T01:00:00Z"), "Mon 2026-03-30 02:30:00 +0200");
    assert_eq!(next("0 8 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z"), "Sun 2026-03-29 08:00:00 +0200");
}

#[test]
fn a_time_of_day_that_comes_twice_counts_once() {
    // Berlin goes from 03:00 back to 02:00 on 25 October 2026.
    assert_eq!(next("30 2 * * *", "Europe/Berlin", "2026-10-24T23:00:00Z"), "Sun 2026-10-25 02:30:00 +0200");
    assert_eq!(next("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z"), "Mon 2026-10-26 02:30:00 +0100");
    assert_eq!(next("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:30:00Z"), "Sun 2026-10-25 02:00:00 +0100");
    assert_eq!(next("0 8 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z"), "Sun 2026-10-25 08:00:00 +0100");
}

#[test]
fn zones_have_the_names_of_the_database() {
    for name in ["UTC", "Etc/UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Asia/Kolkata"] {
        assert!(zone(name).is_some() && TimeZoneDatabase::bundled().get(name).is_ok(), "{name}");
    }
    for name in ["", "Berlin", "Europe/Nowhere", "+02:00", "../../etc/passwd", "/etc/localtime", "UTC\0"] {
        assert!(zone(name).is_none(), "{name}");
    }
}

#[test]
fn other_dialects_are_refused() {
    let table = [
        "",
        "* * * *",
        "0 * * * * *",
        "0 0 * * * 2027",
        "@daily",
        "@every 5m",
        "TZ=UTC 0 8 * * *",
        "60 * * * *",
        "0 24 * * *",
        "0 0 0 * *",
        "0 0 32 * *",
        "0 0 * 13 *",
        "0 0 * * 8",
        "0 0 L * *",
        "0 0 15W * *",
        "0 0 * * MON#1",
        "0 0 * * 5L",
        "0 8 * * MONDAY",
        "0 8 * * 5-1",
        "*/0 * * * *",
        "/5 * * * *",
        "1-2-3 * * * *",
        "1, * * * *",
        "-1 * * * *",
        "** * * * *",
        "JAN * * * *",
        "+1 * * * *",
        "é * * * *",
        "０ 8 * * *",
    ];
    for schedule in table {
        assert!(Schedule::parse(schedule).is_err(), "{schedule}");
    }
}

#[test]
fn a_day_that_never_comes_is_refused_and_soon() {
    let began = Instant::now();
    for schedule in ["0 0 30 2 *", "59 23 31 2,4,6,9,11 *"] {
        let problem = Schedule::parse(schedule).expect_err(schedule);
        assert!(problem.contains("never comes"), "{problem}");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    println!("{:?}", began.elapsed());
}
