//! A RabbitMQ trigger's metadata, understood once. This module never connects and never prints a credential.

use std::time::Duration;

use percent_encoding::utf8_percent_encode;

use super::host::{self, Host};
pub use crate::http::{Endpoint, OAuth, Tls};
use crate::http::{OAUTH_KEYS, UNRESERVED, certificates, key_password, oauth};
use crate::metadata::normalised;
use crate::{Metadata, Parsed, Secret};

/// AMQP carries names of queues and virtual hosts as short strings of at most this many bytes.
const MAX_NAME: usize = 255;
/// The largest page that the management API gives out.
const MAX_PAGE_SIZE: u32 = 500;
const DEFAULT_QUEUE_LENGTH: f64 = 20.0;
/// Which of the broker's two doors is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// AMQP 0-9-1: exact at once, ready messages only.
    Amqp,
    /// The management HTTP API: rates and unacknowledged messages too, some seconds old.
    Http,
}

/// Which broker, as whom: whoever has an equal connection shares it. Credentials and TLS are part of it, so that a
/// rotated credential is another connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Connection {
    /// AMQP or the management API.
    pub protocol: Protocol,
    /// Where the broker listens.
    pub endpoint: Endpoint,
    /// The virtual host, decoded.
    pub vhost: String,
    /// The user; `None` means the protocol's default (AMQP: guest, HTTP: no credentials).
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// Who hands out tokens to show instead. Never set with AMQP.
    pub oauth: Option<OAuth>,
    /// Certificates.
    pub tls: Tls,
    /// How long one HTTP request may take; `None` means 3 s. Never set with AMQP.
    pub timeout: Option<Duration>,
}

/// What to ask of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Query {
    /// Which queue or queues.
    pub selection: Selection,
    /// Which figure.
    pub mode: Mode,
    /// Whether only ready messages count (HTTP only; AMQP never counts unacknowledged ones).
    pub exclude_unacknowledged: bool,
    /// The bits of `activationValue` where the mode's formula answers with it; 0 for all others, so that queries which
    /// differ in their threshold alone are asked once.
    pub(super) stalled: u64,
}

/// One queue, or several by regular expression.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Selection {
    /// The queue of this name.
    Queue(String),
    /// All queues of the virtual host whose name matches, in one request.
    Regex {
        /// The expression, as the management API understands it (Erlang's `re`).
        pattern: String,
        /// How several figures become one.
        operation: Operation,
        /// The most queues that may match.
        page_size: u32,
    },
}

/// How the figures of several queues become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Their sum.
    #[default]
    Sum,
    /// Their mean.
    Avg,
    /// The largest of each figure.
    Max,
}

/// Which figure of a queue is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// The number of messages.
    QueueLength,
    /// Messages published per second.
    MessageRate,
    /// Messages delivered or fetched per second.
    DeliverGetRate,
    /// Published by delivered.
    PublishedToDeliveredRatio,
    /// Seconds until the queue is empty at the present pace.
    ExpectedQueueConsumptionTime,
}

const MODES: &[(&str, Mode)] = &[
    ("QueueLength", Mode::QueueLength),
    ("MessageRate", Mode::MessageRate),
    ("DeliverGetRate", Mode::DeliverGetRate),
    ("PublishedToDeliveredRatio", Mode::PublishedToDeliveredRatio),
    ("ExpectedQueueConsumptionTime", Mode::ExpectedQueueConsumptionTime),
];

impl Mode {
    /// Whether the mode answers with the activation value itself while nothing is delivered.
    const fn answers_activation(self) -> bool {
        matches!(self, Self::PublishedToDeliveredRatio | Self::ExpectedQueueConsumptionTime)
    }
}

impl Query {
    /// The query, if it is one of this source.
    #[cfg(feature = "connect")]
    pub(super) fn of(query: &crate::Query) -> Option<&Self> {
        if let crate::Query::Rabbitmq(query) = query { Some(query) } else { None }
    }

    /// A query for the number of messages of one queue.
    #[must_use]
    pub fn queue_length(queue: impl Into<String>) -> Self {
        Self {
            selection: Selection::Queue(queue.into()),
            mode: Mode::QueueLength,
            exclude_unacknowledged: false,
            stalled: 0,
        }
    }

    /// The value that the two ratio modes answer with while nothing is delivered.
    #[must_use]
    pub fn stalled_value(&self) -> f64 {
        f64::from_bits(self.stalled)
    }

    /// The queue's name or the regular expression.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.selection {
            Selection::Queue(name) | Selection::Regex { pattern: name, .. } => name,
        }
    }
}

/// Understands the metadata of a `rabbitmq` trigger. No error shows a value that could be a credential.
pub fn parse(metadata: &mut Metadata<'_>) -> Option<Parsed> {
    refuse_unsupported(metadata);
    let queue = metadata.required("queueName", "write the name of the queue, or a regular expression with useRegex");
    let host = host::parse(metadata);
    let over_amqp = host.as_ref().is_some_and(|host| host.protocol == Protocol::Amqp);
    let (mode, target) = figure(metadata, over_amqp);
    let activation = metadata.number("activationValue", false).unwrap_or(0.0);
    let (username, password) = credentials(metadata, host.as_ref());
    let tls = tls(metadata, host.as_ref(), over_amqp);
    let oauth = tokens(metadata, &tls, over_amqp);
    // As in KEDA, a token comes before a user, within host too.
    let (username, password) = if oauth.is_some() { (None, None) } else { (username, password) };
    let vhost_name = metadata.optional("vhostName");
    let exclude_unacknowledged = metadata.flag("excludeUnacknowledged");
    if exclude_unacknowledged && over_amqp {
        let fix = "remove it: over AMQP only ready messages are counted anyway";
        metadata.error("excludeUnacknowledged", "needs the management API", fix);
    }
    let timeout = metadata.milliseconds("timeout");
    if timeout.is_some() && over_amqp {
        metadata.error("timeout", "is for the management API only", "remove it, or use an http:// or https:// host");
    }
    let selection = selection(metadata, queue.unwrap_or_default(), over_amqp);
    check_name(metadata, "vhostName", vhost_name.unwrap_or_default());

    let (host, queue, mode) = (host?, queue?, mode?);
    let stalled = if mode.answers_activation() { activation.to_bits() } else { 0 };
    let default_interval = Duration::from_millis(if over_amqp { 500 } else { 1000 });
    Some(Parsed {
        connection: crate::Connection::Rabbitmq(Connection {
            protocol: host.protocol,
            endpoint: host.endpoint,
            vhost: vhost_name.map_or(host.vhost, str::to_owned),
            username,
            password,
            oauth,
            tls,
            timeout,
        }),
        query: crate::Query::Rabbitmq(Query { selection, mode, exclude_unacknowledged, stalled }),
        target,
        activation,
        metric_name: metric_name(queue),
        default_interval,
    })
}

/// `rabbitmq-<queue>` with the queue escaped as in a query string first: what KEDA calls the metric.
fn metric_name(queue: &str) -> String {
    let escaped = utf8_percent_encode(queue, UNRESERVED).to_string().replace("%20", "+");
    normalised(&format!("rabbitmq-{escaped}"))
}

/// Keys that exist in KEDA and have no counterpart here yet.
fn refuse_unsupported(metadata: &mut Metadata<'_>) {
    metadata
        .unsupported("workloadIdentityResource", "give a username and a password, or a client of another token server");
    metadata.no_effect("metricName", "the metric is named after the queue");
}

/// The mode and the target. `mode` and `value` belong together; `queueLength` alone is their deprecated form; nothing at
/// all means 20 messages per replica.
fn figure(metadata: &mut Metadata<'_>, over_amqp: bool) -> (Option<Mode>, f64) {
    let [mode_given, value_given, length_given] =
        ["mode", "value", "queueLength"].map(|key| metadata.optional(key).is_some());
    let mode = metadata.choice("mode", MODES);
    let value = metadata.number("value", true);
    let length = metadata.number("queueLength", true);
    if length_given && (mode_given || value_given) {
        metadata.error("queueLength", "is the deprecated form of mode and value", "remove it and keep mode and value");
    } else if mode_given && !value_given {
        metadata.error("value", "is required with mode", "write how many one replica is for");
    } else if value_given && !mode_given {
        metadata.error("mode", "is required with value", "write QueueLength for the number of messages");
    }
    if over_amqp && mode.is_some_and(|mode| mode != Mode::QueueLength) {
        let fix = "use an http:// or https:// host (port 15672 by default), or mode QueueLength";
        metadata.error("mode", "rates are known to the management API only", fix);
    }
    let mode = if mode_given { mode } else { Some(Mode::QueueLength) };
    (mode, value.or(length).unwrap_or(DEFAULT_QUEUE_LENGTH))
}

fn credentials(metadata: &mut Metadata<'_>, host: Option<&Host>) -> (Option<String>, Option<Secret>) {
    let username = metadata.optional("username");
    let password = metadata.optional("password");
    match (username, password) {
        (Some(username), Some(password)) => (Some(username.to_owned()), Some(Secret::new(password))),
        (None, None) => host.map(|host| (host.username.clone(), host.password.clone())).unwrap_or_default(),
        (Some(_), None) => {
            metadata.error("password", "is required with username", "give both, or both within host");
            (None, None)
        }
        (None, Some(_)) => {
            metadata.error("username", "is required with password", "give both, or both within host");
            (None, None)
        }
    }
}

/// Who hands out tokens, where the trigger is given that: by `oauth2` of its authentication, say.
fn tokens(metadata: &mut Metadata<'_>, tls: &Tls, over_amqp: bool) -> Option<OAuth> {
    const URI: &str = "oauthTokenURI";
    let named = metadata.choice("authModes", &[("oauth", ())]).is_some();
    if metadata.optional(URI).is_none() && !named {
        metadata.unused(&OAUTH_KEYS, "it belongs to oauthTokenURI");
        return None;
    }
    let key = if named { "authModes" } else { URI };
    if over_amqp {
        let fix = "use an http:// or https:// host (port 15672 by default), or give a username and a password";
        metadata.error(key, "tokens are shown to the management API only", fix);
    }
    metadata.unused(&["username", "password"], "a token is shown instead of a user");
    oauth(metadata, tls)
}

fn tls(metadata: &mut Metadata<'_>, host: Option<&Host>, over_amqp: bool) -> Tls {
    let written = metadata.choice("tls", &[("disable", false), ("enable", true)]);
    let found = certificates(metadata);
    let found = Tls { key_password: key_password(metadata, &found), ..found };
    if found.unsafe_ssl && over_amqp {
        let fix = "remove it and give the authority of the broker's certificate as ca";
        metadata.error("unsafeSsl", "is for the management API only", fix);
    }
    if written == Some(false) {
        // Certificates of a shared TriggerAuthentication that this trigger says not to use.
        return Tls { unsafe_ssl: found.unsafe_ssl, ..Tls::default() };
    }
    let plain = host.is_some_and(|host| !host.endpoint.tls);
    // It is whom a token server is trusted by, too.
    let unused_ca = found.ca.is_some() && metadata.optional("oauthTokenURI").is_none();
    if plain && (written == Some(true) || unused_ca || found.cert.is_some() || found.key.is_some()) {
        let fix = "write amqps:// or https:// and the port of that listener, or tls: disable";
        metadata.error("host", "is not encrypted, so that the certificates would not be used", fix);
    }
    found
}

fn selection(metadata: &mut Metadata<'_>, queue: &str, over_amqp: bool) -> Selection {
    let regex = metadata.flag("useRegex");
    let operations = [("sum", Operation::Sum), ("avg", Operation::Avg), ("max", Operation::Max)];
    let operation = metadata.choice("operation", &operations).unwrap_or_default();
    let page_size = metadata.parsed("pageSize", 100_u32, "a whole number from 1 to 500");
    if !(1..=MAX_PAGE_SIZE).contains(&page_size) {
        metadata.error("pageSize", "is not what the management API allows", "write a whole number from 1 to 500");
    }
    if !regex {
        check_name(metadata, "queueName", queue);
        return Selection::Queue(queue.to_owned());
    }
    if over_amqp {
        let fix = "use an http:// or https:// host (port 15672 by default), or name one queue";
        metadata.error("useRegex", "needs the management API", fix);
    }
    Selection::Regex { pattern: queue.to_owned(), operation, page_size }
}

fn check_name(metadata: &mut Metadata<'_>, key: &str, name: &str) {
    if name.len() > MAX_NAME {
        metadata.error(key, format!("has {} bytes", name.len()), format!("a name has at most {MAX_NAME} bytes"));
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
