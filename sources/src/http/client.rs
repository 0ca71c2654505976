//! The one HTTP client of all sources: it keeps to the network policy, follows no redirect, uses no proxy, and gives up on answers
//! that are too slow or too large. It never repeats what a server says.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use std::{fmt, io};

use futures::{StreamExt, stream};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Certificate, Identity, StatusCode, redirect};
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};
use windlass_decision::Outcome;

use super::policy::{Denied, NetworkPolicy};
use super::{Endpoint, Tls};
use crate::Secret;
use crate::cause::{chain, root_cause};

/// Requests in flight at once, per server and credential.
pub(crate) const IN_FLIGHT: usize = 8;

/// The clients in use, by port and trust. One that nobody holds any more is gone, and its keys with it.
#[derive(Debug, Clone, Default)]
pub(super) struct Clients(pub(super) Arc<Mutex<BTreeMap<Key, Weak<Client>>>>);

/// Port, and trust where TLS is spoken.
type Key = (u16, Option<Tls>);

/// A client for one port and one trust. Servers share it: what belongs to one of them stands in each request.
#[derive(Debug)]
pub(crate) struct Client {
    inner: reqwest::Client,
    guard: Guard,
}

/// A request.
pub(crate) struct Request<'a> {
    pub(crate) url: Url,
    pub(crate) basic: Option<(&'a str, Option<&'a Secret>)>,
    pub(crate) headers: Vec<(&'a str, &'a Secret)>,
    /// What it may take, from connecting to the last byte.
    pub(crate) time: Duration,
    /// Bytes of an answer that are read at most.
    pub(crate) limit: usize,
}

impl fmt::Debug for Request<'_> {
    /// Without the URL: it may hold a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Request").field("headers", &names).field("time", &self.time).finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The policy does not allow the address.
    Denied(Denied),
    /// The address or a header cannot be used.
    Unusable,
    /// No answer in time.
    Timeout,
    /// No TLS, and why.
    Tls(String),
    /// No connection, or one that broke; and why.
    Unreachable(String),
    /// More than this many bytes.
    TooLarge(usize),
}

impl NetworkPolicy {
    /// The client for `endpoint`, shared with whoever trusts the same.
    pub(crate) fn client(&self, endpoint: &Endpoint, tls: &Tls) -> Result<Arc<Client>, Trouble> {
        let key = (endpoint.port, endpoint.tls.then(|| tls.clone()));
        let mut clients = self.clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key).and_then(Weak::upgrade) {
            return Ok(client);
        }
        let client = Arc::new(Client::new(self, endpoint.port, key.1.as_ref())?);
        clients.retain(|_, client| client.strong_count() > 0);
        clients.insert(key, Arc::downgrade(&client));
        Ok(client)
    }

    /// The addresses of a host that may be connected to: at least one.
    pub(crate) async fn resolve(&self, host: &str, port: u16) -> io::Result<Result<Vec<SocketAddr>, Denied>> {
        if let Err(denied) = self.check_name(host) {
            return Ok(Err(denied));
        }
        let (mut good, mut bad) = (Vec::new(), None);
        for address in tokio::net::lookup_host((host, port)).await? {
            match self.check(address) {
                Ok(()) => good.push(address),
                Err(denied) => bad = Some(denied),
            }
        }
        Ok(match bad {
            Some(denied) if good.is_empty() => Err(denied),
            _ => Ok(good),
        })
    }
}

impl Client {
    fn new(policy: &NetworkPolicy, port: u16, tls: Option<&Tls>) -> Result<Self, Trouble> {
        let unusable = |error: reqwest::Error| {
            let error = error.without_url();
            Trouble::Tls(root_cause(error.source().unwrap_or(&error)).0)
        };
        let guard = Guard::new(policy.clone(), port);
        let builder = || -> Result<reqwest::ClientBuilder, Trouble> {
            let builder = reqwest::Client::builder()
                .user_agent(concat!("windlass/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::none())
                .no_proxy()
                .dns_resolver(Arc::new(guard.clone()))
                .pool_max_idle_per_host(IN_FLIGHT)
                .pool_idle_timeout(Duration::from_secs(90))
                .tls_danger_accept_invalid_certs(tls.is_some_and(|tls| tls.unsafe_ssl));
            match tls.map(|tls| (&tls.cert, &tls.key)) {
                Some((Some(cert), Some(key))) => {
                    let pem = format!("{}\n{}\n", key.expose(), cert.expose());
                    Ok(builder.identity(Identity::from_pem(pem.as_bytes()).map_err(unusable)?))
                }
                _ => Ok(builder),
            }
        };
        let Some(tls) = tls else {
            // No authority is needed, and an image may have none.
            let inner = builder()?.tls_certs_only([]).build().map_err(unusable)?;
            return Ok(Self { inner, guard });
        };
        let own = match &tls.ca {
            Some(ca) => Certificate::from_pem_bundle(ca.expose().as_bytes()).map_err(unusable)?,
            None => Vec::new(),
        };
        let inner = match builder()?.tls_certs_merge(own.clone()).build() {
            Ok(client) => client,
            Err(_) if !own.is_empty() => builder()?.tls_certs_only(own).build().map_err(unusable)?,
            Err(error) => return Err(unusable(error)),
        };
        Ok(Self { inner, guard })
    }

    /// The status of the answer, and its body where the status is one of success.
    pub(crate) async fn get(&self, request: Request<'_>) -> Result<(StatusCode, Vec<u8>), Trouble> {
        self.send(self.inner.get(request.url.clone()), request).await
    }

    /// The same for a form that is sent by POST.
    pub(crate) async fn post_form(&self, request: Request<'_>, form: String) -> Result<(StatusCode, Vec<u8>), Trouble> {
        let asked = self.inner.post(request.url.clone()).body(form);
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        self.send(asked.header(CONTENT_TYPE, kind), request).await
    }

    async fn send(
        &self,
        asked: reqwest::RequestBuilder,
        request: Request<'_>,
    ) -> Result<(StatusCode, Vec<u8>), Trouble> {
        self.guard.check(&request.url)?;
        let mut asked = asked.timeout(request.time);
        if let Some((user, password)) = request.basic {
            asked = asked.basic_auth(user, password.map(Secret::expose));
        }
        for (name, value) in request.headers {
            let name = HeaderName::try_from(name).map_err(|_| Trouble::Unusable)?;
            let mut value = HeaderValue::try_from(value.expose()).map_err(|_| Trouble::Unusable)?;
            value.set_sensitive(true);
            asked = asked.header(name, value);
        }
        let mut response = asked.send().await.map_err(trouble)?;
        let status = response.status();
        let mut body = Vec::new();
        if !status.is_success() {
            return Ok((status, body));
        }
        while let Some(chunk) = response.chunk().await.map_err(trouble)? {
            if body.len() + chunk.len() > request.limit {
                return Err(Trouble::TooLarge(request.limit));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, body))
    }
}

/// Without the URL: it may hold a credential.
fn trouble(error: reqwest::Error) -> Trouble {
    let error = error.without_url();
    if let Some(denied) = chain(&error).find_map(|error| error.downcast_ref::<Denied>()) {
        return Trouble::Denied(*denied);
    }
    if error.is_timeout() {
        return Trouble::Timeout;
    }
    let (why, tls) = root_cause(error.source().unwrap_or(&error));
    match (tls, error.is_builder()) {
        (true, _) => Trouble::Tls(why),
        (false, true) => Trouble::Unusable,
        (false, false) => Trouble::Unreachable(why),
    }
}

/// The policy at the place where it cannot be evaded: a name is resolved once, and what the policy denies is not among the addresses
/// that are then connected to. An address written as such is never resolved, so it is checked before.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    policy: NetworkPolicy,
    port: u16,
}

impl Guard {
    /// The guard of whoever connects to this port only.
    pub(crate) const fn new(policy: NetworkPolicy, port: u16) -> Self {
        Self { policy, port }
    }

    /// Whether `url` may be asked for, as far as it can be told without resolving its host.
    pub(crate) fn check(&self, url: &Url) -> Result<(), Trouble> {
        if url.port_or_known_default() != Some(self.port) {
            return Err(Trouble::Unusable);
        }
        let address = |ip: IpAddr| self.policy.check(SocketAddr::new(ip, self.port)).map_err(Trouble::Denied);
        match url.host() {
            Some(Host::Ipv4(ip)) => address(ip.into()),
            Some(Host::Ipv6(ip)) => address(ip.into()),
            Some(Host::Domain(name)) => self.policy.check_name(name).map_err(Trouble::Denied),
            None => Err(Trouble::Unusable),
        }
    }

    /// The addresses of `name` that may be connected to.
    pub(crate) async fn addresses(&self, name: &str) -> io::Result<Result<Vec<SocketAddr>, Denied>> {
        self.policy.resolve(name, self.port).await
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = guard.addresses(name.as_str()).await??;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Asks one after the other, a bounded number at once; gives the outcomes in order. What has none when time is up is
/// `timeout`.
pub(crate) async fn each<Q, F>(
    queries: Vec<Q>,
    deadline: Duration,
    timeout: impl Fn() -> Outcome,
    ask: impl Fn(Q) -> F,
) -> Vec<Outcome>
where
    F: Future<Output = Outcome>,
{
    let until = Instant::now() + deadline;
    let mut outcomes = vec![timeout(); queries.len()];
    let asked: Vec<_> = queries
        .into_iter()
        .enumerate()
        .map(|(index, query)| {
            let asked = ask(query);
            async move { (index, timeout_at(until, asked).await) }
        })
        .collect();
    let mut answers = stream::iter(asked).buffer_unordered(IN_FLIGHT);
    while let Some((index, answer)) = answers.next().await {
        if let (Some(place), Ok(outcome)) = (outcomes.get_mut(index), answer) {
            *place = outcome;
        }
    }
    outcomes
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
