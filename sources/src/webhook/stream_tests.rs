//! Windows that slide, clocks that are set, ids that age.

use proptest::prelude::*;

use super::*;

fn key() -> StreamKey {
    StreamKey { namespace: "shop".into(), name: "orders".into(), signature: Signature::Github }
}

fn event(at: i64, id: Option<u8>) -> Event {
    Event { stream: key(), id: id.map(|id| [id; 16]), at, values: Vec::new(), counts: true }
}

fn count(stream: &mut Stream, seconds: u64, now: i64) -> f64 {
    stream.answer(&Query::Count(Duration::from_secs(seconds)), now).expect("a count")
}

#[test]
fn a_window_slides_to_the_millisecond() {
    let mut stream = Stream::default();
    assert_eq!(count(&mut stream, 60, 0), 0.0);
    for at in [1000, 1000, 2000, 61_000] {
        stream.apply(&event(at, None));
    }
    for (now, wanted) in [(60_999, 4.0), (61_000, 2.0), (61_999, 2.0), (62_000, 1.0), (120_999, 1.0), (121_000, 0.0)] {
        // A clone each, since asking about the past moves the future there.
        let mut stream = Stream { times: stream.times.clone(), ..Stream::default() };
        assert_eq!(count(&mut stream, 60, now), wanted, "{now}");
    }
    assert_eq!(stream.answer(&Query::Rate(Duration::from_secs(60)), 61_000), Some(2.0 / 60.0));
}

#[test]
fn an_id_counts_once_until_it_is_forgotten() {
    let mut stream = Stream::default();
    for at in [1000, 2000] {
        stream.apply(&event(at, Some(1)));
    }
    stream.apply(&event(2000, Some(2)));
    assert_eq!(count(&mut stream, 60, 3000), 2.0);
    stream.forget_before(1001, 3000);
    assert!(!stream.has_seen(&[1; 16]) && stream.has_seen(&[2; 16]));
    assert_eq!(count(&mut stream, 60, 3000), 2.0, "what came is not forgotten with its id");
    stream.apply(&event(2000 + millis(LONGEST_WINDOW), None));
    assert!(stream.has_seen(&[2; 16]), "24 hours");
    stream.apply(&event(2001 + millis(LONGEST_WINDOW), None));
    assert!(!stream.has_seen(&[2; 16]), "and no longer");
}

#[test]
fn a_clock_that_was_a_year_ahead_does_not_count_for_a_year() {
    let mut stream = Stream::default();
    let year = 365 * 24 * 3_600_000;
    stream.apply(&event(year, Some(1)));
    stream.apply(&event(year + 5, Some(2)));
    assert_eq!(count(&mut stream, 60, 1000), 2.0);
    stream.apply(&event(2000, Some(3)));
    assert_eq!(count(&mut stream, 60, 60_999), 3.0);
    assert_eq!(count(&mut stream, 60, 61_000), 1.0);
    assert_eq!(count(&mut stream, 60, 62_000), 0.0);
}

#[test]
fn a_number_stays_and_is_carried_over() {
    let mut stream = Stream::default();
    let location = crate::webhook::Location {
        written: "queue.length".into(),
        path: crate::metrics_api::Path::gjson("queue.length").expect("a path"),
    };
    let query = Query::Gauge(location);
    assert_eq!((stream.answer(&query, 0), stream.carried(&key())), (None, None));
    for value in [7.0, 0.0] {
        stream.apply(&Event { values: vec![("queue.length".into(), value)], ..event(5, None) });
        assert_eq!(stream.answer(&query, 1 << 50), Some(value));
    }
    let carried = stream.carried(&key()).expect("a number");
    let mut after = Stream::default();
    after.apply(&carried);
    assert_eq!((after.answer(&query, 5), count(&mut after, 60, 5)), (Some(0.0), 0.0));
}

proptest! {
    /// However the clock goes, a count is never more than what came, and with a clock that goes forward it is exact.
    #[test]
    fn counts_are_those_of_a_plain_list(steps in prop::collection::vec((0_i64..40_000_000, any::<bool>()), 1..60)) {
        let mut stream = Stream::default();
        let (mut now, mut list) = (0, Vec::new());
        for (step, comes) in steps {
            now += step;
            if comes {
                stream.apply(&event(now, None));
                list.push(now);
            }
            for seconds in [1, 3600, 86_400] {
                let since = now - 1000 * i64::try_from(seconds).expect("small");
                let wanted = list.iter().filter(|at| **at > since).count();
                prop_assert_eq!(count(&mut stream, seconds, now), f64::from(u32::try_from(wanted).expect("few")));
            }
        }
    }

    #[test]
    fn no_clock_makes_more_of_them(times in prop::collection::vec(any::<i32>(), 1..60)) {
        let mut stream = Stream::default();
        for (nth, at) in times.iter().enumerate() {
            stream.apply(&event(i64::from(*at), None));
            let counted = count(&mut stream, 60, i64::from(*at));
            prop_assert!(counted >= 1.0 && counted <= f64::from(u32::try_from(nth).expect("few")) + 1.0);
        }
    }
}
