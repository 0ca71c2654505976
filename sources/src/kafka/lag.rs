//! From offsets to a figure, as KEDA computes it (`pkg/scalers/kafka_scaler.go`, `getLagForPartition` and `getTotalLag`).
//! Pure: this module never asks a broker and never looks at a clock.

use super::rules::{Cap, Reset, Rules};

/// One partition, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Partition {
    /// The high watermark: the offset that the next message gets.
    pub(super) end: i64,
    /// The offset that the group reads next; `None` without a commit.
    pub(super) committed: Option<i64>,
    /// Whether the commit has not moved for a while.
    pub(super) stuck: bool,
}

/// What a group's partitions come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lag {
    /// Messages that ask for replicas.
    pub(super) value: u64,
    /// Messages that say whether there is work: those of stuck partitions too.
    pub(super) activity: u64,
    /// The most replicas that `value` may ask for.
    pub(super) limit: Option<u32>,
}

/// How far a group is behind. `value` served with `limit` replicas at most is KEDA's figure to the message.
pub(super) fn total(rules: Rules, partitions: &[Partition]) -> Lag {
    let (mut value, mut activity, mut with_lag) = (0_u64, 0_u64, 0_u64);
    for partition in partitions {
        let lag = lag(rules, partition);
        activity = activity.saturating_add(lag);
        let stuck = rules.exclude_persistent && partition.stuck && partition.committed.is_some();
        if !stuck {
            value = value.saturating_add(lag);
            with_lag += u64::from(lag > 0);
        }
    }
    let count = partitions.len() as u64;
    let limit = match rules.cap {
        Cap::None => None,
        Cap::Partitions(threshold) => Some(limit(value, threshold, count)),
        Cap::PartitionsWithLag(threshold) => Some(limit(value, threshold, with_lag)),
        Cap::Even(threshold) => {
            value = even(value, threshold, count).saturating_mul(threshold);
            Some(limit(value, threshold, count))
        }
    };
    Lag { value, activity, limit }
}

fn lag(rules: Rules, partition: &Partition) -> u64 {
    let end = u64::try_from(partition.end).unwrap_or(0);
    match (partition.committed, rules.reset) {
        // A commit beyond the end (the topic was made anew) is no lag, and takes none from other partitions.
        (Some(committed), _) => end.saturating_sub(u64::try_from(committed).unwrap_or(0)),
        (None, _) if rules.zero_without_commit => 0,
        // One message wakes a consumer, which then commits.
        (None, Reset::Latest) => 1,
        (None, Reset::Earliest) => end,
    }
}

/// The bound in replicas. KEDA cuts a lag to `most` thresholds only where it holds **more whole** thresholds: what lies
/// between keeps its rest and asks for one replica more. Kept, so that a workload that moves here behaves as before.
fn limit(value: u64, threshold: u64, most: u64) -> u32 {
    let threshold = threshold.max(1);
    let rest = u64::from(value / threshold == most && !value.is_multiple_of(threshold));
    u32::try_from(most + rest).unwrap_or(u32::MAX)
}

/// The smallest divisor of `partitions` that holds the lag, else `partitions`.
fn even(value: u64, threshold: u64, partitions: u64) -> u64 {
    let holds = |replicas: &u64| partitions.is_multiple_of(*replicas) && replicas.saturating_mul(threshold) >= value;
    (1..=partitions).find(holds).unwrap_or(partitions)
}

#[cfg(test)]
#[path = "lag_tests.rs"]
mod tests;
