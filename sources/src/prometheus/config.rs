//! A Prometheus trigger's metadata, understood once. This module never connects and never prints a credential.

use std::time::Duration;

use crate::aws::{self, Base, Credential};
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

const REGION: &str = "awsRegion";
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

    let aws = signer(metadata, &auth, endpoint.as_ref());
    let of_signature =
        |name: &str| name.eq_ignore_ascii_case("authorization") || name.to_ascii_lowercase().starts_with("x-amz-");
    if aws.is_some() && headers.iter().any(|(name, _)| of_signature(name)) {
        metadata.error("customHeaders", "sets a header of the signature that awsRegion asks for", "remove it");
    }

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

/// Who signs requests to Amazon's managed Prometheus, if they are to be signed. What a shared authentication brings along beyond need
/// is left alone.
fn signer(metadata: &mut Metadata<'_>, auth: &Auth, endpoint: Option<&Endpoint>) -> Option<Signer> {
    let (named, is_given) = (metadata.optional(REGION).is_some(), aws::is_given(metadata));
    let own = named && metadata.is_public(REGION);
    let header = |(name, _): &(String, Secret)| name.eq_ignore_ascii_case("authorization");
    let otherwise = auth.basic.is_some() || auth.oauth.is_some() || auth.headers.iter().any(header);
    if !named || (!own && (otherwise || !is_given)) {
        let why = "it says as whom requests are signed, which needs awsRegion";
        metadata.unused(&[&aws::KEYS[..], &["identityOwner"]].concat(), why);
        return None;
    }
    if otherwise {
        metadata.error(REGION, "excludes another way of saying who asks", "remove it, or authModes");
    }
    let region = aws::region(metadata, "write the region of the workspace, such as eu-west-1");
    let credential = aws::parse(metadata);
    let signer = Signer { region: region?, credential: credential? };
    if endpoint.is_some_and(|endpoint| !signer.may_ask(endpoint)) {
        let fix = "write https:// and the address of the workspace; the operator's own identity is shown to nobody else, keys of a \
                   Secret to any server";
        metadata.error("serverAddress", format!("is no managed Prometheus in {}", signer.region), fix);
    }
    Some(signer)
}

impl Signer {
    /// Whether `endpoint` may be shown a signature: what is the operator's own goes to AWS alone.
    fn may_ask(&self, endpoint: &Endpoint) -> bool {
        let (region, domain) = (&self.region, aws::domain(&self.region));
        let of_aws =
            endpoint.host.strip_suffix(&format!(".{region}.{domain}")).is_some_and(|name| name.starts_with("aps-"))
                || endpoint.host.ends_with(&format!(".aps-workspaces.{region}.vpce.{domain}"));
        (endpoint.tls && of_aws) || matches!(self.credential.base, Base::Keys(_))
    }
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
