//! What is remembered of the events of one endpoint: when they came, their ids and their newest numbers. It knows no secret and
//! no body.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::config::{LONGEST_WINDOW, Query, Signature};

/// Whose events are counted together: those of one endpoint that are signed in one way, so that an unsigned event never counts
/// for a trigger that asks for signed ones. A rotated secret changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey {
    /// The namespace of the endpoint.
    pub namespace: String,
    /// The name of the endpoint.
    pub name: String,
    /// How its events are signed.
    pub signature: Signature,
}

/// The first half of the SHA-256 of an event's id, so that a long id takes no more room than a short one.
pub type EventId = [u8; 16];

/// One event that is to be remembered.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// For which triggers it counts.
    pub stream: StreamKey,
    /// Its id, if it has one.
    pub id: Option<EventId>,
    /// When it came, in milliseconds since 1970.
    pub at: i64,
    /// The number at each location that a trigger asks for.
    pub values: Vec<(String, f64)>,
    /// Whether it counts; what only carries numbers over does not.
    pub counts: bool,
}

/// See the module. Times are in milliseconds since 1970.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// When events came, and how many had come by then: ascending.
    times: VecDeque<(i64, u64)>,
    /// How many had come by the newest time that is forgotten.
    forgotten: u64,
    ids: HashMap<EventId, i64>,
    /// The same, oldest first.
    ages: VecDeque<(i64, EventId)>,
    gauges: BTreeMap<String, f64>,
    newest: i64,
}

impl Stream {
    pub(super) fn has_seen(&self, id: &EventId) -> bool {
        self.ids.contains_key(id)
    }

    /// Remembers an event; one whose id is known already changes nothing.
    pub(super) fn apply(&mut self, event: &Event) {
        if let Some(id) = event.id {
            if self.ids.contains_key(&id) {
                return;
            }
            self.ids.insert(id, event.at);
            self.ages.push_back((event.at, id));
        }
        for (location, value) in &event.values {
            self.gauges.insert(location.clone(), *value);
        }
        self.newest = event.at;
        if event.counts {
            self.heal(event.at);
            let before = self.times.back().map_or(self.forgotten, |(_, count)| *count);
            match self.times.back_mut() {
                Some((at, count)) if *at == event.at => *count += 1,
                _ => self.times.push_back((event.at, before + 1)),
            }
        }
        self.forget_before(event.at.saturating_sub(millis(LONGEST_WINDOW)), event.at);
    }

    /// Forgets ids that are older than `ids`, and times that no window reaches.
    pub(super) fn forget_before(&mut self, ids: i64, now: i64) {
        while let Some((at, id)) = self.ages.front().filter(|(at, _)| *at < ids) {
            if self.ids.get(id) == Some(at) {
                self.ids.remove(id);
            }
            self.ages.pop_front();
        }
        let longest = now.saturating_sub(millis(LONGEST_WINDOW));
        while let Some((_, count)) = self.times.front().filter(|(at, _)| *at <= longest) {
            self.forgotten = *count;
            self.times.pop_front();
        }
    }

    /// The clock was set back: what came in its future came before now.
    fn heal(&mut self, now: i64) {
        let Some(&(_, count)) = self.times.back().filter(|(at, _)| *at > now) else { return };
        while self.times.back().is_some_and(|(at, _)| *at >= now) {
            self.times.pop_back();
        }
        self.times.push_back((now, count));
    }

    /// How many events came after `now - window`.
    fn count(&mut self, window: Duration, now: i64) -> u64 {
        self.heal(now);
        let since = now.saturating_sub(millis(window));
        let outside = self.times.partition_point(|(at, _)| *at <= since);
        let until = |place: Option<usize>| place.and_then(|place| self.times.get(place)).map(|(_, count)| *count);
        let total = until(self.times.len().checked_sub(1)).unwrap_or(self.forgotten);
        total - until(outside.checked_sub(1)).unwrap_or(self.forgotten)
    }

    /// What a trigger asks for; `None` for a number that no event has had yet.
    #[expect(clippy::cast_precision_loss, reason = "no journal holds 2^53 events")]
    pub(super) fn answer(&mut self, query: &Query, now: i64) -> Option<f64> {
        match query {
            Query::Count(window) => Some(self.count(*window, now) as f64),
            Query::Rate(window) => Some(self.count(*window, now) as f64 / window.as_secs_f64()),
            Query::Gauge(location) => self.gauges.get(&location.written).copied(),
        }
    }

    /// The newest numbers as an event that does not count.
    pub(super) fn carried(&self, key: &StreamKey) -> Option<Event> {
        let values: Vec<_> = self.gauges.iter().map(|(location, value)| (location.clone(), *value)).collect();
        let event = |values| Event { stream: key.clone(), id: None, at: self.newest, values, counts: false };
        (!values.is_empty()).then(|| event(values))
    }

    /// When the newest event came.
    pub(super) const fn newest(&self) -> i64 {
        self.newest
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
