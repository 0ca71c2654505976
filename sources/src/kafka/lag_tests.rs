//! The formula, as tables.

use proptest::prelude::*;

use super::*;

const PLAIN: Rules =
    Rules { reset: Reset::Latest, zero_without_commit: false, exclude_persistent: false, cap: Cap::Partitions(10) };

fn at(end: i64, committed: i64) -> Partition {
    Partition { end, committed: Some(committed), stuck: false }
}

fn uncommitted(end: i64) -> Partition {
    Partition { end, committed: None, stuck: false }
}

/// `(value, activity, limit)`
fn result(rules: Rules, partitions: &[Partition]) -> (u64, u64, Option<u32>) {
    let Lag { value, activity, limit } = total(rules, partitions);
    (value, activity, limit)
}

#[test]
fn one_partition() {
    use Reset::{Earliest, Latest};
    // end, commit, policy, zero without a commit, lag
    let table = [
        (100, Some(40), Latest, false, 60),
        (100, Some(40), Earliest, true, 60),
        (100, Some(100), Latest, false, 0),
        (0, Some(0), Latest, false, 0),
        // the topic was made anew
        (5, Some(100), Latest, false, 0),
        (i64::MAX, Some(0), Latest, false, i64::MAX as u64),
        (100, None, Latest, false, 1),
        (0, None, Latest, false, 1),
        (100, None, Latest, true, 0),
        (100, None, Earliest, false, 100),
        (0, None, Earliest, false, 0),
        (100, None, Earliest, true, 0),
    ];
    for (end, committed, reset, zero_without_commit, wanted) in table {
        let rules = Rules { reset, zero_without_commit, cap: Cap::None, ..PLAIN };
        let partition = Partition { end, committed, stuck: false };
        assert_eq!(result(rules, &[partition]), (wanted, wanted, None), "{partition:?} {rules:?}");
    }
}

#[test]
fn the_cap_in_replicas() {
    // lags, cap, then: value, limit
    let table: &[(&[i64], Cap, u64, Option<u32>)] = &[
        (&[10, 10, 10], Cap::Partitions(10), 30, Some(3)),
        (&[500, 0, 0], Cap::Partitions(10), 500, Some(3)),
        // 39 / 10 is 3 in whole numbers, which is not above 3: KEDA serves 39, which asks for 4
        (&[39, 0, 0], Cap::Partitions(10), 39, Some(4)),
        (&[40, 0, 0], Cap::Partitions(10), 40, Some(3)),
        (&[30, 0, 0], Cap::Partitions(10), 30, Some(3)),
        (&[5, 0, 0], Cap::Partitions(10), 5, Some(3)),
        (&[0, 0, 0], Cap::Partitions(10), 0, Some(3)),
        (&[500, 0, 0], Cap::None, 500, None),
        (&[500, 0, 7], Cap::PartitionsWithLag(10), 507, Some(2)),
        (&[25, 0, 0], Cap::PartitionsWithLag(10), 25, Some(1)),
        (&[0, 0, 0], Cap::PartitionsWithLag(10), 0, Some(0)),
    ];
    for (lags, cap, value, limit) in table {
        let partitions: Vec<_> = lags.iter().map(|lag| at(1000, 1000 - lag)).collect();
        let rules = Rules { cap: *cap, ..PLAIN };
        let activity = lags.iter().sum::<i64>() as u64;
        assert_eq!(result(rules, &partitions), (*value, activity, *limit), "{lags:?} {cap:?}");
    }
}

#[test]
fn an_even_distribution_takes_the_next_divisor() {
    // lag, threshold, partitions, then: value
    let table = [
        (0, 10, 12, 10),
        (10, 10, 12, 10),
        (11, 10, 12, 20),
        (31, 10, 12, 40),
        (41, 10, 12, 60),
        (61, 10, 12, 120),
        (9999, 10, 12, 120),
        (21, 10, 7, 70),
        (5, 10, 1, 10),
        (50, 10, 1, 10),
    ];
    for (lag, threshold, count, wanted) in table {
        let mut partitions = vec![at(lag, 0)];
        partitions.resize(count, at(0, 0));
        let rules = Rules { cap: Cap::Even(threshold), ..PLAIN };
        let expected = (wanted, lag as u64, Some(count as u32));
        assert_eq!(result(rules, &partitions), expected, "{lag} in {count}");
    }
}

#[test]
fn a_stuck_partition_keeps_the_workload_awake_and_asks_for_nothing() {
    let stuck = Partition { stuck: true, ..at(100, 0) };
    let excluding = Rules { exclude_persistent: true, ..PLAIN };
    assert_eq!(result(PLAIN, &[stuck, at(7, 0)]), (107, 107, Some(2)));
    assert_eq!(result(excluding, &[stuck, at(7, 0)]), (7, 107, Some(2)));
    let with_lag = Rules { cap: Cap::PartitionsWithLag(10), ..excluding };
    assert_eq!(result(with_lag, &[stuck, at(7, 0)]), (7, 107, Some(1)));
    let without_commit = Partition { stuck: true, ..uncommitted(9) };
    assert_eq!(result(excluding, &[without_commit]), (1, 1, Some(1)));
}

/// KEDA's last paragraph, in its own whole numbers.
fn served_by_keda(mut total: u64, with_lag: u64, count: u64, cap: Cap) -> u64 {
    let (threshold, mut bound) = match cap {
        Cap::None => return total,
        Cap::Partitions(threshold) | Cap::Even(threshold) => (threshold, count),
        Cap::PartitionsWithLag(threshold) => (threshold, with_lag),
    };
    if let Cap::Even(_) = cap {
        let divisors = (1..=count).filter(|divisor| count.is_multiple_of(*divisor));
        total = divisors.into_iter().find(|factor| factor * threshold >= total).unwrap_or(count) * threshold;
        bound = count;
    }
    if total / threshold > bound { bound * threshold } else { total }
}

proptest! {
    #[test]
    fn what_is_served_is_what_keda_serves(
        lags in prop::collection::vec(0..200_u64, 1..30),
        threshold in 1..60_u64,
        kind in 0..4_usize,
    ) {
        let cap = [Cap::None, Cap::Partitions(threshold), Cap::PartitionsWithLag(threshold), Cap::Even(threshold)][kind];
        let partitions: Vec<_> = lags.iter().map(|lag| at(1000, 1000 - *lag as i64)).collect();
        let lag = total(Rules { cap, ..PLAIN }, &partitions);
        let served = lag.limit.map_or(lag.value, |limit| lag.value.min(u64::from(limit) * threshold));
        let with_lag = lags.iter().filter(|lag| **lag > 0).count() as u64;
        prop_assert_eq!(served, served_by_keda(lags.iter().sum(), with_lag, lags.len() as u64, cap));
        prop_assert_eq!(lag.activity, lags.iter().sum::<u64>());
    }

    #[test]
    fn no_offsets_break_it(
        offsets in prop::collection::vec((any::<i64>(), any::<Option<i64>>(), any::<bool>()), 0..9),
        threshold in 1..=u64::MAX,
        kind in 0..4_usize,
        exclude_persistent: bool,
    ) {
        let cap = [Cap::None, Cap::Partitions(threshold), Cap::PartitionsWithLag(threshold), Cap::Even(threshold)][kind];
        let partitions: Vec<_> =
            offsets.into_iter().map(|(end, committed, stuck)| Partition { end, committed, stuck }).collect();
        let lag = total(Rules { cap, exclude_persistent, ..PLAIN }, &partitions);
        prop_assert!(matches!(cap, Cap::Even(_)) || lag.value <= lag.activity);
    }
}
