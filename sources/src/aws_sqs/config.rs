//! An SQS trigger's metadata, understood once. This module never connects and never prints a credential.

use std::time::Duration;

use super::place;
use crate::aws::{self, Credential};
use crate::metadata::normalised;
use crate::{Metadata, Parsed};

const DEFAULT_QUEUE_LENGTH: f64 = 5.0;
/// Each request is billed.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);

/// Which service, as whom: whoever has an equal connection shares it. The credential is part of it, so that a rotated one
/// is another connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Connection {
    /// The region, as requests are signed for.
    pub region: String,
    /// The service's address, `scheme://host:port` and perhaps a path, without a slash at the end.
    pub endpoint: String,
    /// As whom it is asked.
    pub credential: Credential,
}

/// What to ask of the service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Query {
    /// Which queue.
    pub queue: Queue,
    /// Whether messages count that a consumer has received and not deleted yet.
    pub in_flight: bool,
    /// Whether messages count that are delayed and not to be received yet.
    pub delayed: bool,
}

/// A queue, by its URL or by its name alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Queue {
    /// The name, which ends in `.fifo` with a FIFO queue.
    pub name: String,
    /// The URL; `None` means that the service is asked for it, within the credential's own account.
    pub url: Option<String>,
}

/// Understands the metadata of an `aws-sqs-queue` trigger. No error shows a value that could be a credential.
pub fn parse(metadata: &mut Metadata<'_>) -> Option<Parsed> {
    metadata.no_effect("metricName", "the metric is named after the queue");
    let queue = place::queue(metadata);
    let region = place::region(metadata, queue.as_ref());
    let endpoint = place::endpoint(metadata, queue.as_ref(), region.as_deref());
    let target = metadata.number("queueLength", true).unwrap_or(DEFAULT_QUEUE_LENGTH);
    let activation = metadata.number("activationQueueLength", false).unwrap_or(0.0);
    let yes = [("true", true), ("false", false), ("1", true), ("0", false)];
    let in_flight = metadata.choice("scaleOnInFlight", &yes).unwrap_or(true);
    let delayed = metadata.flag("scaleOnDelayed");
    let credential = aws::parse(metadata);

    let (queue, region, endpoint, credential) = (queue?, region?, endpoint?, credential?);
    let metric_name = normalised(&format!("aws-sqs-{}", queue.name));
    Some(Parsed {
        connection: crate::Connection::AwsSqs(Connection { region, endpoint, credential }),
        query: crate::Query::AwsSqs(Query { queue, in_flight, delayed }),
        target,
        activation,
        metric_name,
        default_interval: DEFAULT_INTERVAL,
    })
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
