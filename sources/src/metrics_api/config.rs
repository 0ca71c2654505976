//! A metrics-api trigger's metadata, understood once. This module never connects and never prints a credential.

use std::time::Duration;

use super::path::Path;
use super::selector::Selector;
use crate::http::{Auth, Endpoint, Mode, Tls, authentication, url};
use crate::metadata::normalised;
use crate::{Metadata, Parsed, Secret};

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
}

/// What to ask, and where in the answer the number stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Query {
    /// Path and query string of the URL. The latter may hold a key.
    pub target: Secret,
    /// Where the number stands.
    pub location: Location,
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
    if metadata.flag("aggregateFromKubeServiceEndpoints") {
        let fix = "remove it, and have the service answer for all its pods";
        metadata.error("aggregateFromKubeServiceEndpoints", "is not supported yet", fix);
    }
    metadata.no_effect("aggregationType", "answers of several pods are not put together");
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
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    Some(Parsed {
        connection: crate::Connection::MetricsApi(Connection { endpoint, auth, tls, timeout }),
        query: crate::Query::MetricsApi(Query { target: Secret::new(path), location: location? }),
        target: target?,
        activation,
        metric_name: normalised(&format!("metric-api-{}", written?)),
        default_interval: Duration::from_secs(1),
    })
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
