//! The management API's answers as figures, and the formulas of the five modes (facts of KEDA's `rabbitmq_scaler.go`).
//! A queue without a count has no figure yet; it is never taken for an empty one.

use serde::Deserialize;
use windlass_decision::{Activity, Clock, FailureKind, Outcome};

use super::config::{Mode, Operation, Query};
use super::outcome::{Problem, measured};

/// What is known of one queue, or of several together.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Queue {
    /// Ready and unacknowledged messages; `None` until the broker's first statistics.
    pub(super) messages: Option<f64>,
    /// Ready messages.
    pub(super) ready: Option<f64>,
    /// Published per second: 0 without traffic, `None` where the broker counts but computes no rates.
    pub(super) published: Option<f64>,
    /// Delivered or fetched per second, likewise.
    pub(super) delivered: Option<f64>,
}

/// The first page of a listing.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) pages: u64,
    pub(super) queues: Vec<Queue>,
}

#[derive(Deserialize)]
struct WireQueue {
    // Demanded so that any other object is not taken for a queue without a figure.
    #[serde(rename = "name")]
    _name: String,
    messages: Option<f64>,
    messages_ready: Option<f64>,
    #[serde(default)]
    message_stats: WireStats,
}

#[derive(Deserialize, Default)]
struct WireStats {
    publish: Option<f64>,
    publish_details: Option<WireRate>,
    deliver_get: Option<f64>,
    deliver_get_details: Option<WireRate>,
}

#[derive(Deserialize)]
struct WireRate {
    rate: f64,
}

#[derive(Deserialize)]
struct WireListing {
    items: Vec<WireQueue>,
    page_count: u64,
}

impl From<WireQueue> for Queue {
    fn from(wire: WireQueue) -> Self {
        let rate = |counter: Option<f64>, details: Option<WireRate>| match (counter, details) {
            (_, Some(details)) => Some(details.rate),
            (None, None) => Some(0.0),
            (Some(_), None) => None,
        };
        let stats = wire.message_stats;
        Self {
            messages: wire.messages,
            ready: wire.messages_ready,
            published: rate(stats.publish, stats.publish_details),
            delivered: rate(stats.deliver_get, stats.deliver_get_details),
        }
    }
}

/// One queue's answer.
pub(super) fn queue(body: &[u8]) -> Option<Queue> {
    serde_json::from_slice::<WireQueue>(body).ok().map(Queue::from)
}

/// A listing's answer.
pub(super) fn listing(body: &[u8]) -> Option<Listing> {
    let wire = serde_json::from_slice::<WireListing>(body).ok()?;
    Some(Listing { pages: wire.page_count, queues: wire.items.into_iter().map(Queue::from).collect() })
}

/// Several queues as one. No queue at all is an empty one. Queues without a count yet are left out, but where the others
/// have nothing either, there is no figure.
pub(super) fn composed(queues: &[Queue], operation: Operation) -> Queue {
    let counts = |figure: fn(&Queue) -> Option<f64>| {
        let known: Vec<f64> = queues.iter().filter_map(figure).collect();
        let count = combined(&known, operation);
        (known.len() == queues.len() || count > 0.0).then_some(count)
    };
    let rates = |figure: fn(&Queue) -> Option<f64>| {
        queues.iter().map(figure).collect::<Option<Vec<_>>>().map(|rates| combined(&rates, operation))
    };
    Queue {
        messages: counts(|queue| queue.messages),
        ready: counts(|queue| queue.ready),
        published: rates(|queue| queue.published),
        delivered: rates(|queue| queue.delivered),
    }
}

/// The mean keeps its fraction: one message among two queues is work.
#[expect(clippy::cast_precision_loss, reason = "a page holds at most 500 queues")]
fn combined(figures: &[f64], operation: Operation) -> f64 {
    let sum: f64 = figures.iter().sum();
    match operation {
        Operation::Sum => sum,
        Operation::Avg if figures.is_empty() => 0.0,
        Operation::Avg => sum / figures.len() as f64,
        Operation::Max => figures.iter().copied().fold(0.0, f64::max),
    }
}

/// The mode's formula.
pub(super) fn outcome(query: &Query, queue: &Queue, clock: &dyn Clock) -> Outcome {
    let count = if query.exclude_unacknowledged { queue.ready } else { queue.messages };
    let Some(messages) = count else {
        let message = format!(
            "the broker has no figures of {:?} yet; they come some seconds after a queue is declared, if its node runs",
            query.name()
        );
        return Problem::new(FailureKind::NotFound, "metadata.queueName", message).absent(clock);
    };
    if query.mode == Mode::QueueLength {
        return measured(messages, Activity::Number(messages), clock);
    }
    let (Some(published), Some(delivered)) = (queue.published, queue.delivered) else {
        let message =
            "the broker computes no rates; remove management.rates_mode = none there, or use mode QueueLength";
        return Problem::new(FailureKind::BadAnswer, "metadata.mode", message).failed(clock);
    };
    let (value, activity) = match query.mode {
        Mode::QueueLength => (messages, Activity::Number(messages)),
        Mode::MessageRate => (published, Activity::Number(published.max(messages))),
        Mode::DeliverGetRate => (delivered, Activity::Number(delivered)),
        Mode::PublishedToDeliveredRatio if published > 0.0 && delivered == 0.0 => {
            (query.stalled_value(), Activity::Decided(true))
        }
        Mode::PublishedToDeliveredRatio => {
            let ratio = if published > 0.0 { published / delivered } else { 0.0 };
            (ratio, Activity::Number(ratio))
        }
        Mode::ExpectedQueueConsumptionTime if messages == 0.0 => (0.0, Activity::Number(0.0)),
        Mode::ExpectedQueueConsumptionTime if delivered == 0.0 => (query.stalled_value(), Activity::Decided(true)),
        Mode::ExpectedQueueConsumptionTime => {
            // Below zero where less is published than delivered and little is left: it is as good as consumed.
            let seconds = ((published - delivered) / delivered + messages / delivered).max(0.0);
            (seconds, Activity::Number(seconds))
        }
    };
    measured(value, activity, clock)
}

#[cfg(test)]
#[path = "figures_tests.rs"]
mod tests;
