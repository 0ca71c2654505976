//! The HTTP client that SQS is asked by: the SDK's own, kept to the network policy. What is asked for an identity (STS, the
//! agent of EKS, the node's metadata) is named by the operator's own environment and does not pass here.

use std::sync::OnceLock;

use aws_sdk_sqs::config::{HttpClient, RuntimeComponents, SharedHttpClient};
use aws_sdk_sqs::error::ConnectorError;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use url::Url;

use super::config::Connection;
use super::place;
use crate::NetworkPolicy;
use crate::http::{Guard, Trouble};

/// Where the operator's environment names a proxy for HTTPS.
const PROXIES: &[&str] = &["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// The client for a connection. `None` leaves the SDK its own, which honours the proxies of the environment: that is for AWS's
/// own address only, which no trigger can turn elsewhere, and only where there is a proxy.
pub(super) fn guarded(connection: &Connection, network: &NetworkPolicy) -> Option<SharedHttpClient> {
    let proxied = || PROXIES.iter().any(|name| std::env::var_os(name).is_some_and(|proxy| !proxy.is_empty()));
    if connection.endpoint == place::own(&connection.region) && proxied() {
        return None;
    }
    // An endpoint without a port is not parsed to begin with; port 0 is never asked.
    let port = Url::parse(&connection.endpoint).ok().and_then(|url| url.port_or_known_default()).unwrap_or(0);
    let guard = Guard::new(network.clone(), port);
    Some(SharedHttpClient::new(Guarded { guard, connector: OnceLock::new() }))
}

/// A client for one endpoint. It has no proxy and follows no redirect.
#[derive(Debug)]
struct Guarded {
    guard: Guard,
    /// All requests have the same settings, so one keeps all connections.
    connector: OnceLock<SharedHttpConnector>,
}

impl HttpClient for Guarded {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let connector = self.connector.get_or_init(|| {
            let mut builder = Connector::builder().connector_settings(settings.clone());
            builder.set_sleep_impl(components.sleep_impl());
            let inner = builder
                .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                .build_with_resolver(Resolver(self.guard.clone()));
            SharedHttpConnector::new(Checked { guard: self.guard.clone(), inner })
        });
        connector.clone()
    }
}

/// Looks at each request before it is sent: an address written as such is never resolved.
#[derive(Debug)]
struct Checked {
    guard: Guard,
    inner: Connector,
}

impl HttpConnector for Checked {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let checked = match Url::parse(request.uri()) {
            Ok(url) => self.guard.check(&url),
            Err(_) => Err(Trouble::Unusable),
        };
        match checked {
            Ok(()) => self.inner.call(request),
            Err(Trouble::Denied(denied)) => HttpConnectorFuture::ready(Err(ConnectorError::user(denied.into()))),
            Err(_) => HttpConnectorFuture::ready(Err(ConnectorError::user("the address cannot be used".into()))),
        }
    }
}

/// Resolves a name once, to addresses that may be connected to: those are what is then connected to.
#[derive(Debug, Clone)]
struct Resolver(Guard);

impl ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let found = self.0.addresses(name).await.map_err(ResolveDnsError::new)?;
            let found = found.map_err(ResolveDnsError::new)?;
            Ok(found.into_iter().map(|address| address.ip()).collect())
        })
    }
}
