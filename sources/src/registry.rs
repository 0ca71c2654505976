//! The list of sources: one line per kind, sorted. To add one, see NEW_SOURCE.md.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{ConfigError, Given, Metadata, aws_sqs, cron, kafka, metrics_api, prometheus, rabbitmq, webhook};

/// What a trigger says, and what is given to it from elsewhere.
#[derive(Clone, Copy)]
pub struct TriggerInput<'a> {
    /// `spec.triggers[].type`.
    pub kind: &'a str,
    /// `spec.triggers[].metadata`.
    pub metadata: &'a BTreeMap<String, String>,
    /// What does not stand in the trigger itself.
    pub given: &'a Given,
    /// The namespace of the object; empty where it is not known.
    pub namespace: &'a str,
    /// Whether keys that are not known are passed over, as KEDA does, and only remarked upon.
    pub lenient: bool,
}

impl<'a> TriggerInput<'a> {
    /// A trigger whose unknown keys are errors.
    #[must_use]
    pub const fn new(kind: &'a str, metadata: &'a BTreeMap<String, String>, given: &'a Given) -> Self {
        Self { kind, metadata, given, namespace: "", lenient: false }
    }
}

impl std::fmt::Debug for TriggerInput<'_> {
    /// Shows the keys only: a value may be a credential.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TriggerInput").field("kind", &self.kind).field("keys", &self.metadata.keys()).finish()
    }
}

/// A trigger's metadata, understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// Where to ask. Triggers with equal connections share an upstream.
    pub connection: Connection,
    /// What to ask. Equal queries on one connection are asked once.
    pub query: Query,
    /// The value that one replica is for (always above 0).
    pub target: f64,
    /// Active when the source's activity figure is greater than this.
    pub activation: f64,
    /// The metric's name without the `s<index>-` prefix, normalised as KEDA does (`/ . : % ( )` become `-`).
    pub metric_name: String,
    /// How often this source is read where the object names no `pollingInterval`.
    pub default_interval: Duration,
}

/// Where to ask: server, credential and TLS. Its `Ord` is the upstream key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Connection {
    /// A region of AWS SQS.
    AwsSqs(aws_sqs::Connection),
    /// The clock: there is no server, so all cron triggers share it.
    Cron,
    /// A Kafka cluster.
    Kafka(kafka::Connection),
    /// A server that answers with a number.
    MetricsApi(metrics_api::Connection),
    /// A Prometheus server.
    Prometheus(prometheus::Connection),
    /// A RabbitMQ broker.
    Rabbitmq(rabbitmq::Connection),
    /// An endpoint of our own that others send events to.
    Webhook(webhook::Connection),
}

impl Connection {
    /// The type of the triggers that it belongs to.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::AwsSqs(_) => "aws-sqs-queue",
            Self::Cron => "cron",
            Self::Kafka(_) => "kafka",
            Self::MetricsApi(_) => "metrics-api",
            Self::Prometheus(_) => "prometheus",
            Self::Rabbitmq(_) => "rabbitmq",
            Self::Webhook(_) => "webhook",
        }
    }
}

/// What to ask.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Query {
    /// An SQS queue.
    AwsSqs(aws_sqs::Query),
    /// A window of time.
    Cron(cron::Query),
    /// How far a Kafka consumer group is behind.
    Kafka(kafka::Query),
    /// A number in an answer.
    MetricsApi(metrics_api::Query),
    /// A PromQL query.
    Prometheus(prometheus::Query),
    /// A RabbitMQ queue, or several by regular expression.
    Rabbitmq(rabbitmq::Query),
    /// What is asked of an endpoint's events.
    Webhook(webhook::Query),
}

/// Understands the metadata of one kind of source; `None` only after an error was recorded.
type Parse = fn(&mut Metadata<'_>) -> Option<Parsed>;

/// One kind of source.
struct Source {
    kind: &'static str,
    parse: Parse,
    /// Its README.
    docs: &'static str,
}

/// All sources, sorted by type.
const SOURCES: &[Source] = &[
    Source { kind: "aws-sqs-queue", parse: aws_sqs::parse, docs: include_str!("aws_sqs/README.md") },
    Source { kind: "cron", parse: cron::parse, docs: include_str!("cron/README.md") },
    Source { kind: "kafka", parse: kafka::parse, docs: include_str!("kafka/README.md") },
    Source { kind: "metrics-api", parse: metrics_api::parse, docs: include_str!("metrics_api/README.md") },
    Source { kind: "prometheus", parse: prometheus::parse, docs: include_str!("prometheus/README.md") },
    Source { kind: "rabbitmq", parse: rabbitmq::parse, docs: include_str!("rabbitmq/README.md") },
    Source { kind: "webhook", parse: webhook::parse, docs: include_str!("webhook/README.md") },
];

/// The known trigger types, sorted.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    SOURCES.iter().map(|source| source.kind)
}

/// The page about a trigger type, as Markdown: what it reads, an example, all keys, what each failure means.
#[must_use]
pub fn docs(kind: &str) -> Option<&'static str> {
    find(kind).map(|source| source.docs)
}

fn find(kind: &str) -> Option<&'static Source> {
    SOURCES.iter().find(|source| source.kind == kind)
}

/// Understands a trigger; gives what is remarked upon besides.
///
/// # Errors
/// Every field that is wrong, each with its fix; an unknown type lists the known ones.
pub fn parse(input: TriggerInput<'_>) -> Result<(Parsed, Vec<ConfigError>), Vec<ConfigError>> {
    let Some(source) = find(input.kind) else {
        return Err(vec![ConfigError {
            field: "type".to_owned(),
            problem: format!("{:?} is not a trigger type that this version knows", input.kind),
            fix: format!("use one of {}", kinds().collect::<Vec<_>>().join(", ")),
        }]);
    };
    let mut metadata = Metadata::new(input);
    let parsed = (source.parse)(&mut metadata);
    let (errors, remarks) = metadata.finish();
    match parsed {
        Some(parsed) if errors.is_empty() => Ok((parsed, remarks)),
        _ => Err(errors),
    }
}

/// What a connector needs from outside.
#[cfg(feature = "connect")]
#[derive(Debug, Clone)]
pub struct Dependencies {
    /// Stamps the outcomes.
    pub clock: std::sync::Arc<dyn windlass_decision::Clock>,
    /// How long one `read` may take in all.
    pub deadline: Duration,
    /// What sources may connect to.
    pub network: std::sync::Arc<crate::NetworkPolicy>,
    /// Where events that others send are received; the default one receives none.
    pub hub: std::sync::Arc<webhook::Hub>,
}

#[cfg(feature = "connect")]
impl Dependencies {
    /// The same for the sources of a zone.
    #[must_use]
    pub fn within(&self, zone: &crate::Zone) -> Self {
        Self { network: self.network.within(zone), ..self.clone() }
    }
}

/// Makes the reader of a connection. Connects at the first reading, never here.
#[cfg(feature = "connect")]
#[must_use]
pub fn connect(connection: &Connection, dependencies: &Dependencies) -> std::sync::Arc<dyn crate::Upstream> {
    match connection {
        Connection::AwsSqs(connection) => aws_sqs::connect(connection, dependencies),
        Connection::Cron => cron::connect(dependencies),
        Connection::Kafka(connection) => kafka::connect(connection, dependencies),
        Connection::MetricsApi(connection) => metrics_api::connect(connection, dependencies),
        Connection::Prometheus(connection) => prometheus::connect(connection, dependencies),
        Connection::Rabbitmq(connection) => rabbitmq::connect(connection, dependencies),
        Connection::Webhook(connection) => webhook::connect(connection, dependencies),
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
