//! Whether a window is open, by the clock that is given. This module asks no server and never fails to answer in time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use jiff::Timestamp;
use windlass_decision::{Activity, Clock, Failure, FailureKind, Outcome, Sample};

use super::config::Query;
use super::schedule::{Schedule, zone};
use crate::Upstream;

/// Windows that are remembered at most; all are forgotten when there are more, which costs a calculation each.
const REMEMBERED: usize = 20_000;

/// The reader of all windows.
#[derive(Debug)]
pub(super) struct Cron {
    clock: Arc<dyn Clock>,
    known: Mutex<BTreeMap<Query, Window>>,
}

/// What was found out about a window: it holds from `from` until just before `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    open: bool,
    from: Timestamp,
    until: Timestamp,
}

impl Cron {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, known: Mutex::default() }
    }

    fn outcome(&self, query: &Query) -> Outcome {
        let now = self.clock.now();
        let Some(window) = self.window(query, now) else {
            let message = "the time zone or a schedule cannot be used; correct timezone, start or end".to_owned();
            let field = Some("metadata.timezone");
            return Outcome::Failed(Failure { kind: FailureKind::BadAnswer, message, field, at: now });
        };
        let value = if window.open { f64::from(query.desired) } else { 0.0 };
        Outcome::Ok(Sample { value, activity: Activity::Decided(window.open), limit: None, at: now })
    }

    fn window(&self, query: &Query, now: Timestamp) -> Option<Window> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(window) = known.get(query).filter(|window| window.from <= now && now < window.until) {
            return Some(*window);
        }
        let window = window(query, now)?;
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(query.clone(), window);
        Some(window)
    }
}

/// A window is open if it closes before it opens again, or at that very moment (KEDA's rule).
fn window(query: &Query, now: Timestamp) -> Option<Window> {
    let zoned = now.to_zoned(zone(&query.timezone)?);
    let next = |schedule: &str| Schedule::parse(schedule).ok()?.next(&zoned);
    let (opens, closes) = (next(&query.start)?, next(&query.end)?);
    Some(Window { open: closes <= opens, from: now, until: opens.min(closes) })
}

impl Upstream for Cron {
    fn read<'a>(&'a self, queries: &'a [crate::Query]) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(crate::upstream::read_own(
            queries,
            &*self.clock,
            |query| if let crate::Query::Cron(query) = query { Some(query) } else { None },
            move |own| async move { own.into_iter().map(|query| self.outcome(query)).collect() },
        ))
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
