//! Which partitions a group does not get ahead in: commits remembered from one reading to the next. Pure bookkeeping over
//! given times; it never asks a broker.

use std::collections::HashMap;

use super::config::Query;

/// How long a commit stands still before its partition is stuck: the interval at which KEDA compares by default. Readings that
/// come every 500 ms must not make a consumer that commits every 5 s look stuck.
pub(super) const STANDS_STILL: i64 = 30;
/// After how long without a reading a query is forgotten.
const FORGOTTEN: i64 = 24 * 3600;

/// The commits of the queries that exclude persistent lag, each with the second since when it is so.
#[derive(Debug, Default)]
pub(super) struct Memory(HashMap<Query, Seen>);

#[derive(Debug, Default)]
struct Seen {
    read: i64,
    commits: HashMap<(String, i32), (i64, i64)>,
}

impl Memory {
    /// Whether the commit of a partition has stood still; times in seconds.
    pub(super) fn note(&mut self, query: &Query, topic: &str, partition: i32, committed: i64, now: i64) -> bool {
        if !self.0.contains_key(query) {
            self.0.retain(|_, seen| now.saturating_sub(seen.read) < FORGOTTEN);
        }
        let seen = self.0.entry(query.clone()).or_default();
        seen.read = now;
        let (commit, since) = seen.commits.entry((topic.to_owned(), partition)).or_insert((committed, now));
        // A clock that was set back must not keep a partition from ever being stuck.
        if *commit != committed || now < *since {
            (*commit, *since) = (committed, now);
        }
        now.saturating_sub(*since) >= STANDS_STILL
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::{Cap, Reset, Rules};
    use super::*;

    fn query(group: &str) -> Query {
        let rules =
            Rules { reset: Reset::Latest, zero_without_commit: false, exclude_persistent: true, cap: Cap::None };
        Query { group: group.to_owned(), topic: None, partitions: None, rules }
    }

    #[test]
    fn a_commit_that_does_not_move_for_half_a_minute_is_stuck() {
        let mut memory = Memory::default();
        let (one, other) = (query("one"), query("other"));
        // query, partition, commit, second, stuck
        let timeline = [
            (&one, 0, 5, 100, false),
            (&one, 0, 5, 101, false),
            (&one, 1, 5, 110, false),
            (&one, 0, 5, 129, false),
            (&one, 0, 5, 130, true),
            (&one, 1, 5, 130, false),
            (&other, 0, 5, 130, false),
            (&one, 0, 6, 131, false),
            (&one, 0, 6, 160, false),
            (&one, 0, 6, 161, true),
            // back, as a reset of the group's offsets goes
            (&one, 0, 2, 162, false),
            (&one, 0, 2, 192, true),
            // the clock is set back
            (&one, 0, 2, 50, false),
            (&one, 0, 2, 80, true),
        ];
        for (query, partition, commit, now, stuck) in timeline {
            assert_eq!(memory.note(query, "topic", partition, commit, now), stuck, "{commit} at {now}");
        }
    }

    #[test]
    fn what_nobody_reads_any_more_is_forgotten() {
        let mut memory = Memory::default();
        memory.note(&query("one"), "topic", 0, 5, 0);
        memory.note(&query("two"), "topic", 0, 5, FORGOTTEN);
        assert_eq!(memory.0.len(), 1);
    }
}
