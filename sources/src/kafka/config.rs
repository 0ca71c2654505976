//! A Kafka trigger's metadata, understood once. This module never connects and never prints a credential.

use std::fmt;
use std::time::Duration;

use super::login::{self, Login};
use super::partitions::Partitions;
use super::rules::{Cap, Reset, Rules};
pub use crate::http::Tls;
use crate::http::{certificates, key_password};
use crate::metadata::normalised;
use crate::{Metadata, Parsed};

/// The longest name of a topic that Kafka allows, in bytes.
const MAX_TOPIC: usize = 249;
/// A group's name is a string of the protocol, whose length has 15 bits.
const MAX_GROUP: usize = 32_767;
const DEFAULT_PORT: u16 = 9092;
const DEFAULT_THRESHOLD: u64 = 10;
/// Above this a count is no longer exact as a 64-bit float.
const MAX_THRESHOLD: u64 = 1 << 53;

/// Which cluster, as whom: whoever has an equal connection shares it. Credentials and TLS are part of it, so that a
/// rotated credential is another connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Connection {
    /// Where the cluster is first asked, sorted.
    pub bootstrap: Vec<Endpoint>,
    /// How connections are encrypted; `None` means not at all.
    pub tls: Option<Tls>,
    /// As whom; `None` means as nobody, or as the subject of the client certificate.
    pub login: Option<Login>,
}

/// Where a broker listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// What to ask of a cluster: how far a group is behind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Query {
    /// The consumer group.
    pub group: String,
    /// The topic; `None` means all that the group has committed offsets for.
    pub topic: Option<String>,
    /// The partitions that count; `None` means all.
    pub partitions: Option<Partitions>,
    /// How offsets become a figure.
    pub rules: Rules,
}

impl Query {
    /// The query, if it is one of this source.
    #[cfg(feature = "connect")]
    pub(super) fn of(query: &crate::Query) -> Option<&Self> {
        if let crate::Query::Kafka(query) = query { Some(query) } else { None }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Understands the metadata of a `kafka` trigger. No error shows a value that could be a credential.
pub fn parse(metadata: &mut Metadata<'_>) -> Option<Parsed> {
    metadata.no_effect("version", "which version of the protocol is spoken is agreed upon with each broker");
    metadata.no_effect("fullMetadata", "only the topics that are read are ever asked for");
    metadata.no_effect("metricName", "the metric is named after the topic, or else the group");
    let bootstrap = bootstrap(metadata);
    let group = metadata.required("consumerGroup", "write the name of the consumer group that reads the topic");
    check_group(metadata, group.unwrap_or_default());
    let topic = metadata.optional("topic");
    check_topic(metadata, topic);
    let partitions = partitions(metadata, topic);
    let threshold = threshold(metadata);
    let activation: u64 = metadata.parsed("activationLagThreshold", 0, "a whole number of at least 0");
    let rules = rules(metadata, topic, threshold);
    let tls = tls(metadata);
    let login = login::parse(metadata, bootstrap.as_deref().unwrap_or_default(), tls.as_ref());

    let (bootstrap, group) = (bootstrap?, group?);
    let metric_name = match topic {
        Some(topic) => format!("kafka-{topic}"),
        None => format!("kafka-{group}-topics"),
    };
    Some(Parsed {
        connection: crate::Connection::Kafka(Connection { bootstrap, tls, login }),
        query: crate::Query::Kafka(Query {
            group: group.to_owned(),
            topic: topic.map(str::to_owned),
            partitions,
            rules,
        }),
        target: threshold as f64,
        activation: activation as f64,
        metric_name: normalised(&metric_name),
        default_interval: Duration::from_millis(500),
    })
}

fn bootstrap(metadata: &mut Metadata<'_>) -> Option<Vec<Endpoint>> {
    const KEY: &str = "bootstrapServers";
    let fix = "write host:port of one broker or more, separated by commas";
    let written = metadata.required(KEY, fix)?;
    let mut endpoints = Vec::new();
    for one in written.split(',').map(str::trim).filter(|one| !one.is_empty()) {
        let Some(endpoint) = endpoint(one, DEFAULT_PORT) else {
            // Not repeated: who takes it for a URL may have written a password into it.
            metadata.error(KEY, format!("its part {} is not host:port", endpoints.len() + 1), fix);
            return None;
        };
        metadata.check_host(KEY, &endpoint.host);
        endpoints.push(endpoint);
    }
    endpoints.sort();
    endpoints.dedup();
    if endpoints.is_empty() {
        metadata.error(KEY, "names no broker", fix);
        return None;
    }
    Some(endpoints)
}

/// `host`, `host:port`, `[::1]:port`; `usual` is the port where none is written.
pub(super) fn endpoint(written: &str, usual: u16) -> Option<Endpoint> {
    let (host, port) = match written.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => match written.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (written, None),
        },
    };
    let port = match port {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok().filter(|port| *port > 0)?,
        Some(_) => return None,
        None => usual,
    };
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let named = !host.is_empty() && host.len() <= 253 && (written.starts_with('[') || host.bytes().all(fine));
    named.then(|| Endpoint { host: host.to_ascii_lowercase(), port })
}

fn check_group(metadata: &mut Metadata<'_>, group: &str) {
    if group.len() > MAX_GROUP {
        let fix = format!("a name has at most {MAX_GROUP} bytes");
        metadata.error("consumerGroup", format!("has {} bytes", group.len()), fix);
    }
}

/// Kafka's own rule for names of topics: what breaks it can never be there.
fn check_topic(metadata: &mut Metadata<'_>, topic: Option<&str>) {
    let Some(topic) = topic else { return };
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if topic.len() > MAX_TOPIC || topic == "." || topic == ".." || !topic.bytes().all(fine) {
        let fix = format!("write one name of at most {MAX_TOPIC} letters, digits, dots, underscores and hyphens");
        metadata.error("topic", "cannot be the name of a topic", fix);
    }
}

fn partitions(metadata: &mut Metadata<'_>, topic: Option<&str>) -> Option<Partitions> {
    const KEY: &str = "partitionLimitation";
    if topic.is_none() {
        metadata.no_effect(KEY, "without topic all partitions of all topics of the group count");
        return None;
    }
    metadata.parsed_optional(KEY, "a list of partitions such as 1,2,10-20")
}

fn threshold(metadata: &mut Metadata<'_>) -> u64 {
    let expected = "a whole number above 0";
    let threshold = metadata.parsed("lagThreshold", DEFAULT_THRESHOLD, expected);
    if threshold == 0 || threshold > MAX_THRESHOLD {
        metadata.error("lagThreshold", format!("{threshold} is not {expected}"), format!("write {expected}"));
        return DEFAULT_THRESHOLD;
    }
    threshold
}

fn rules(metadata: &mut Metadata<'_>, topic: Option<&str>, threshold: u64) -> Rules {
    let resets = [("latest", Reset::Latest), ("earliest", Reset::Earliest)];
    let reset = metadata.choice("offsetResetPolicy", &resets).unwrap_or_default();
    let idle = metadata.flag("allowIdleConsumers");
    let with_lag = metadata.flag("limitToPartitionsWithLag");
    let even = metadata.flag("ensureEvenDistributionOfPartitions");
    for (given, key) in [(with_lag, "limitToPartitionsWithLag"), (even, "ensureEvenDistributionOfPartitions")] {
        if given && topic.is_none() {
            metadata.error(key, "needs a topic", "write topic, or remove it");
        }
    }
    for (other_given, other) in [(idle, "allowIdleConsumers"), (even, "ensureEvenDistributionOfPartitions")] {
        if with_lag && other_given {
            metadata.error("limitToPartitionsWithLag", format!("excludes {other}"), "keep one of the two");
        }
    }
    let cap = match (even, with_lag, idle) {
        (true, ..) => Cap::Even(threshold),
        (false, true, _) => Cap::PartitionsWithLag(threshold),
        (false, false, false) => Cap::Partitions(threshold),
        (false, false, true) => Cap::None,
    };
    Rules {
        reset,
        zero_without_commit: metadata.flag("scaleToZeroOnInvalidOffset"),
        exclude_persistent: metadata.flag("excludePersistentLag"),
        cap,
    }
}

fn tls(metadata: &mut Metadata<'_>) -> Option<Tls> {
    const KEYS: [&str; 5] = ["ca", "cert", "key", "keyPassword", "unsafeSsl"];
    let written = metadata.choice("tls", &[("disable", false), ("enable", true)]);
    if written != Some(true) {
        // It is whom a token server is trusted by, too.
        let serves_token = metadata.optional("oauthTokenEndpointUri").is_some();
        for key in KEYS {
            // A shared authentication may bring certificates along that a trigger says not to use.
            if written.is_some() || !metadata.is_public(key) || (key == "ca" && serves_token) {
                metadata.optional(key);
            } else {
                metadata.no_effect(key, "the connection is not encrypted unless tls is enable");
            }
        }
        return None;
    }
    let found = certificates(metadata);
    Some(Tls { key_password: key_password(metadata, &found), ..found })
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
