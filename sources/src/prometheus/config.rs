//! A Prometheus trigger's metadata, understood once. This module never connects and never prints a credential.

use std::time::Duration;

use crate::aws::{self, Credential};
use crate::http::{Auth, Endpoint, Mode, Tls, authentication, headers, parameters, url};
use crate::{Metadata, Parsed, Secret};

/// Which server, as whom. Credentials, headers and TLS are part of it, so that a rotated credential is another connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Connection {
    /// Where it listens, and what stands before `/api/v1` in its paths.
    pub endpoint: Endpoint,
    /// As whom it is asked.
    pub auth: Auth,
    /// Who signs its requests.
    pub aws: Option<Signer>,
    /// Further headers: often they name a tenant.
    pub headers: Vec<(String, Secret)>,
    /// Certificates.
    pub tls: Tls,
    /// How long one request may take; `None` means 3 s.
    pub timeout: Option<Duration>,
}

/// An identity of AWS that signs requests to its managed Prometheus.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signer {
    /// The region of the workspace.
    pub region: String,
    /// As whom it is asked.
    pub credential: Credential,
}

/// What to ask.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Query {
    /// PromQL; its result is one number.
    pub query: String,
    /// The namespace that a proxy such as Thanos' confines the query to.
    pub namespace: Option<String>,
    /// Further parameters of the request.
    pub parameters: Vec<(String, Secret)>,
    /// Whether no result, NaN and infinity count as 0.
    pub ignore_null: bool,
}

impl Query {
    /// The query, if it is one of this source.
    #[cfg(feature = "connect")]
    pub(super) fn of(query: &crate::Query) -> Option<&Self> {
        if let crate::Query::Prometheus(query) = query { Some(query) } else { None }
    }
}

const ADDRESS: &str = "write the server's address, for example http://prometheus.monitoring:9090";

/// Understands the metadata of a `prometheus` trigger.
pub fn parse(metadata: &mut Metadata<'_>) -> Option<Parsed> {
    metadata.no_effect("metricName", "the metric is named after the type");
    let endpoint = server(metadata);
    let query = metadata.required("query", "write a PromQL query whose result is one number");
    metadata.required("threshold", "write how much one replica is for");
    let target = metadata.number("threshold", true);
    let activation = metadata.number("activationThreshold", false).unwrap_or(0.0);
    let namespace = metadata.optional("namespace").map(str::to_owned);
    let parameters = parameters(metadata, "queryParameters");
    if parameters.iter().any(|(name, _)| matches!(name.as_str(), "query" | "time")) {
        metadata.error(
            "queryParameters",
            "sets query or time",
            "write the query as query; it is asked for the present",
        );
    }
    let headers = headers(metadata, "customHeaders");
    let choices = [("true", true), ("false", false), ("1", true), ("0", false)];
    let ignore_null = metadata.choice("ignoreNullValues", &choices).unwrap_or(true);
    let timeout = metadata.milliseconds("timeout");
    let encrypted = endpoint.as_ref().is_none_or(|endpoint| endpoint.tls);
    let (auth, tls) =
        authentication(metadata, &[Mode::Basic, Mode::Bearer, Mode::Custom, Mode::OAuth, Mode::Tls], encrypted);

    let aws = signer(metadata, &auth);

    let (endpoint, query) = (endpoint?, query?.to_owned());
    Some(Parsed {
        connection: crate::Connection::Prometheus(Connection { endpoint, auth, aws, headers, tls, timeout }),
        query: crate::Query::Prometheus(Query { query, namespace, parameters, ignore_null }),
        target: target?,
        activation,
        metric_name: "prometheus".to_owned(),
        default_interval: Duration::from_secs(1),
    })
}

/// Who signs requests to Amazon's managed Prometheus, if they are to be signed.
fn signer(metadata: &mut Metadata<'_>, auth: &Auth) -> Option<Signer> {
    if metadata.optional("awsRegion").is_none() {
        for key in aws::KEYS.into_iter().chain(["identityOwner"]) {
            metadata.optional(key);
            if metadata.is_public(key) {
                metadata.no_effect(key, "it says as whom requests are signed, which needs awsRegion");
            }
        }
        return None;
    }
    let header = |(name, _): &(String, Secret)| name.eq_ignore_ascii_case("authorization");
    if auth.basic.is_some() || auth.oauth.is_some() || auth.headers.iter().any(header) {
        metadata.error("awsRegion", "excludes another way of saying who asks", "remove it, or authModes");
    }
    let region = aws::region(metadata, "write the region of the workspace, such as eu-west-1");
    let credential = aws::parse(metadata);
    Some(Signer { region: region?, credential: credential? })
}

fn server(metadata: &mut Metadata<'_>) -> Option<Endpoint> {
    let (url, mut endpoint) = url(metadata, "serverAddress", ADDRESS)?;
    if url.query().is_some() {
        metadata.error("serverAddress", "has a query string", "write its parameters as queryParameters");
    }
    endpoint.path = url.path().trim_end_matches('/').to_owned();
    Some(endpoint)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
