//! A metrics-api trigger's metadata, understood once. This module never connects and never prints a credential.

use std::net::IpAddr;
use std::time::Duration;

use url::Host;

use super::path::Path;
use super::selector::Selector;
use crate::http::{Auth, Endpoint, Mode, Tls, authentication, url};
use crate::metadata::normalised;
use crate::{Metadata, Parsed, Secret, TriggerInput};

/// Which server, as whom. Credentials and TLS are part of it, so that a rotated credential is another connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Connection {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// As whom it is asked.
    pub auth: Auth,
    /// Certificates.
    pub tls: Tls,
    /// How long one request may take; `None` means 3 s.
    pub timeout: Option<Duration>,
    /// The addresses that are asked in place of the host, each by itself; `None` asks the host.
    pub members: Option<Vec<IpAddr>>,
}

/// What to ask, and where in the answer the number stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Query {
    /// Path and query string of the URL. The latter may hold a key.
    pub target: Secret,
    /// Where the number stands.
    pub location: Location,
    /// What is made of the numbers of several members.
    pub aggregation: Aggregation,
}

/// What is made of several numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Aggregation {
    /// Their mean.
    #[default]
    Average,
    /// All of them together.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

impl Aggregation {
    /// The one number; `None` of none.
    #[must_use]
    pub fn of(self, numbers: &[f64]) -> Option<f64> {
        let (first, rest) = numbers.split_first()?;
        // Not by f64::max and min: they would hide NaN.
        let pick = |better: fn(f64, f64) -> bool| {
            rest.iter().fold(*first, |best, n| if best.is_nan() || better(best, *n) { best } else { *n })
        };
        let sum = || numbers.iter().sum::<f64>();
        Some(match self {
            #[expect(clippy::cast_precision_loss, reason = "a count of members")]
            Self::Average => sum() / numbers.len() as f64,
            Self::Sum => sum(),
            Self::Max => pick(|best, n| best >= n),
            Self::Min => pick(|best, n| best <= n),
        })
    }
}

/// Where in an answer of which format a number stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Location {
    /// A GJSON path.
    Json(Path),
    /// Names and positions.
    Yaml(Path),
    /// Names of elements and positions.
    Xml(Path),
    /// The first sample that matches.
    Prometheus(Selector),
}

impl Query {
    /// The query, if it is one of this source.
    #[cfg(feature = "connect")]
    pub(super) fn of(query: &crate::Query) -> Option<&Self> {
        if let crate::Query::MetricsApi(query) = query { Some(query) } else { None }
    }
}

/// A Service of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

const AGGREGATE: &str = "aggregateFromKubeServiceEndpoints";
const AGGREGATIONS: &[(&str, Aggregation)] = &[
    ("average", Aggregation::Average),
    ("sum", Aggregation::Sum),
    ("max", Aggregation::Max),
    ("min", Aggregation::Min),
];
const SERVICE: &str = "write http://<service>.<namespace>:<port of its pods>/<path>";

/// Formats of an answer.
#[derive(Clone, Copy)]
enum Format {
    Json,
    Xml,
    Yaml,
    Prometheus,
}

const FORMATS: &[(&str, Format)] =
    &[("json", Format::Json), ("xml", Format::Xml), ("yaml", Format::Yaml), ("prometheus", Format::Prometheus)];
const LOCATION: &str = "write where the number stands, for example workers.queue.length";

/// Understands the metadata of a `metrics-api` trigger.
pub fn parse(metadata: &mut Metadata<'_>) -> Option<Parsed> {
    let aggregates = metadata.flag(AGGREGATE);
    let aggregation = if aggregates {
        metadata.choice("aggregationType", AGGREGATIONS).unwrap_or_default()
    } else {
        metadata.no_effect("aggregationType", "aggregateFromKubeServiceEndpoints is not true");
        Aggregation::default()
    };
    metadata.no_effect("metricName", "the metric is named after valueLocation");
    let found =
        url(metadata, "url", "write the URL that answers with the number, for example http://api.shop:8080/queue");
    let format = metadata.choice("format", FORMATS).unwrap_or(Format::Json);
    let written = metadata.required("valueLocation", LOCATION);
    let location = written.and_then(|written| location(metadata, format, written));
    metadata.required("targetValue", "write how much one replica is for");
    let target = metadata.number("targetValue", true);
    let activation = metadata.number("activationTargetValue", false).unwrap_or(0.0);
    let timeout = metadata.milliseconds("timeout");
    let encrypted = found.as_ref().is_none_or(|(_, endpoint)| endpoint.tls);
    let modes = [Mode::ApiKey, Mode::Basic, Mode::Bearer, Mode::Custom, Mode::OAuth, Mode::Tls];
    let (auth, tls) = authentication(metadata, &modes, encrypted);

    let (url, endpoint) = found?;
    let members = if aggregates {
        if let Err(problem) = named_by(url.host()) {
            metadata.error("url", problem, SERVICE);
        }
        Some(metadata.input().given.endpoints.clone())
    } else {
        None
    };
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    Some(Parsed {
        connection: crate::Connection::MetricsApi(Connection { endpoint, auth, tls, timeout, members }),
        query: crate::Query::MetricsApi(Query { target: Secret::new(path), location: location?, aggregation }),
        target: target?,
        activation,
        metric_name: normalised(&format!("metric-api-{}", written?)),
        default_interval: Duration::from_secs(if aggregates { 5 } else { 1 }),
    })
}

/// The Service whose endpoints a trigger wants asked, if it does and names one.
#[must_use]
pub fn service(input: TriggerInput<'_>) -> Option<Service> {
    if input.kind != "metrics-api" {
        return None;
    }
    let mut metadata = Metadata::new(input);
    if !metadata.flag(AGGREGATE) {
        return None;
    }
    let (url, _) = url(&mut metadata, "url", SERVICE)?;
    named_by(url.host()).ok()
}

/// `name.namespace`, perhaps with `.svc` and the cluster's domain. A name of the outside world is none, whatever namespaces there are.
fn named_by<S: AsRef<str>>(host: Option<Host<S>>) -> Result<Service, &'static str> {
    const WRONG: &str = "names no Service and namespace, whose endpoints could be asked";
    let Some(Host::Domain(host)) = host else { return Err(WRONG) };
    let host = host.as_ref().trim_end_matches('.').to_ascii_lowercase();
    let mut parts = host.split('.');
    let (name, namespace) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if parts.next().is_some_and(|part| part != "svc") || !is_label(name) || !is_label(namespace) {
        return Err(WRONG);
    }
    if (name, namespace) == ("kubernetes", "default") {
        return Err("names the API server, which is not asked");
    }
    Ok(Service { namespace: namespace.to_owned(), name: name.to_owned() })
}

/// RFC 1123, as the names of Services and namespaces are.
fn is_label(text: &str) -> bool {
    let inner = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    inner && !text.is_empty() && text.len() <= 63 && !text.starts_with('-') && !text.ends_with('-')
}

fn location(metadata: &mut Metadata<'_>, format: Format, written: &str) -> Option<Location> {
    let location = match format {
        Format::Json => Path::gjson(written).map(Location::Json),
        Format::Yaml => Path::plain(written).map(Location::Yaml),
        Format::Xml => Path::plain(written).map(Location::Xml),
        Format::Prometheus => Selector::parse(written).map(Location::Prometheus),
    };
    match location {
        Ok(location) => Some(location),
        Err(problem) => {
            metadata.error("valueLocation", problem, LOCATION);
            None
        }
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
