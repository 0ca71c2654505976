//! Figures from the management API: counts with unacknowledged messages, rates, and several queues by regular expression.
//! Never follows a redirect (the credentials would go with it) and never repeats an answer's body.

use std::error::Error;
use std::sync::OnceLock;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Certificate, Client, Identity, StatusCode, redirect};
use tokio::time::{Instant, timeout_at};
use windlass_decision::{FailureKind, Outcome};

use super::config::{Connection, Query, Selection};
use super::figures::{self, Listing, Queue};
use super::outcome::{Problem, no_such_queue, root_cause};
use crate::{Dependencies, Upstream};

/// What one request may take where the trigger names no `timeout`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);
/// Requests in flight at once, per broker.
const IN_FLIGHT: usize = 8;
const MAX_QUEUE_BYTES: usize = 4 << 20;
const MAX_LISTING_BYTES: usize = 64 << 20;
/// Bytes that a path segment or query value leaves as they are.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A broker, read over its management API.
#[derive(Debug)]
pub(super) struct Http {
    connection: Connection,
    dependencies: Dependencies,
    client: OnceLock<Result<Client, Problem>>,
}

/// Why a query has no figure.
enum NoFigure {
    /// The broker could not be asked, or did not answer as it should.
    Failed(Problem),
    /// The broker says that there is none.
    Absent(Problem),
}

impl From<Problem> for NoFigure {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

impl Http {
    pub(super) fn new(connection: Connection, dependencies: Dependencies) -> Self {
        Self { connection, dependencies, client: OnceLock::new() }
    }

    async fn read_all(&self, queries: &[crate::Query]) -> Vec<Outcome> {
        let until = Instant::now() + self.dependencies.deadline;
        let clock = &*self.dependencies.clock;
        let mut outcomes = vec![Problem::timeout(&self.connection).failed(clock); queries.len()];
        let asked: Vec<_> = queries
            .iter()
            .enumerate()
            .map(|(index, crate::Query::Rabbitmq(query))| async move {
                (index, timeout_at(until, self.outcome(query)).await)
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

    async fn outcome(&self, query: &Query) -> Outcome {
        let clock = &*self.dependencies.clock;
        match self.figures(query).await {
            Ok(queue) => figures::outcome(query, &queue, clock),
            Err(NoFigure::Failed(problem)) => problem.failed(clock),
            Err(NoFigure::Absent(problem)) => problem.absent(clock),
        }
    }

    async fn figures(&self, query: &Query) -> Result<Queue, NoFigure> {
        match &query.selection {
            Selection::Queue(name) => {
                let path = format!("/{}", escaped(name));
                let body = self.get(query, &path, MAX_QUEUE_BYTES).await?;
                Ok(figures::queue(&body).ok_or_else(|| self.bad_answer("its answer is not that of a queue"))?)
            }
            Selection::Regex { pattern, operation, page_size } => {
                let path =
                    format!("?page=1&use_regex=true&pagination=false&name={}&page_size={page_size}", escaped(pattern));
                let body = self.get(query, &path, MAX_LISTING_BYTES).await?;
                let listing = figures::listing(&body).ok_or_else(|| {
                    self.bad_answer("its answer is not a list of queues; check the regular expression")
                })?;
                let Listing { pages, queues } = listing;
                if pages > 1 {
                    let message = format!(
                        "more than {page_size} queues match {pattern:?}; raise pageSize (at most 500) or narrow queueName"
                    );
                    return Err(Problem::new(FailureKind::BadAnswer, "metadata.pageSize", message).into());
                }
                Ok(figures::composed(&queues, *operation))
            }
        }
    }

    /// The body of `/api/queues/<vhost><rest>`.
    async fn get(&self, query: &Query, rest: &str, limit: usize) -> Result<Vec<u8>, NoFigure> {
        let connection = &self.connection;
        let client = self.client.get_or_init(|| client(connection)).as_ref().map_err(Clone::clone)?;
        let endpoint = &connection.endpoint;
        let scheme = if endpoint.tls { "https" } else { "http" };
        let url = format!("{scheme}://{endpoint}/api/queues/{}{rest}", escaped(&connection.vhost));
        let mut request = client.get(url).timeout(connection.timeout.unwrap_or(DEFAULT_TIMEOUT));
        if let Some(user) = &connection.username {
            request = request.basic_auth(user, connection.password.as_ref().map(crate::Secret::expose));
        }
        let mut response = request.send().await.map_err(|error| self.problem(error))?;
        self.check(query, response.status())?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.problem(error))? {
            if body.len() + chunk.len() > limit {
                return Err(self.bad_answer(&format!("its answer is larger than {} MiB", limit >> 20)).into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn check(&self, query: &Query, status: StatusCode) -> Result<(), NoFigure> {
        let connection = &self.connection;
        let name = query.name();
        let vhost = &connection.vhost;
        match status {
            StatusCode::OK => Ok(()),
            StatusCode::NOT_FOUND => match query.selection {
                Selection::Queue(_) => Err(NoFigure::Absent(no_such_queue(name, vhost, ""))),
                Selection::Regex { .. } => {
                    let message = format!(
                        "there is no virtual host {vhost:?} on the broker; create it, or correct vhostName or the path of host"
                    );
                    Err(NoFigure::Absent(Problem::new(FailureKind::NotFound, "metadata.vhostName", message)))
                }
            },
            StatusCode::UNAUTHORIZED => match &connection.username {
                Some(user) => {
                    let message = format!(
                        "the management API refused user {user:?}; check user and password in host, or in the Secret they come \
                         from, and that the user has the tag management and access to the virtual host {vhost:?}"
                    );
                    Err(Problem::new(FailureKind::Unauthorised, "metadata.host", message).into())
                }
                None => {
                    let message =
                        "the management API wants credentials; write them into host, or give username and password";
                    Err(Problem::new(FailureKind::Unauthorised, "metadata.host", message).into())
                }
            },
            StatusCode::FORBIDDEN => {
                let user = connection.username.as_deref().unwrap_or_default();
                let message = format!(
                    "user {user:?} may not read the queues of the virtual host {vhost:?}; give it the tag monitoring and a permission there"
                );
                Err(Problem::new(FailureKind::Unauthorised, "metadata.host", message).into())
            }
            status if status.is_redirection() => Err(self
                .bad_answer(&format!(
                    "it redirects (status {}), which is not followed; write the final address as host",
                    status.as_u16()
                ))
                .into()),
            status => Err(self.bad_answer(&format!("it answers with status {}", status.as_u16())).into()),
        }
    }

    fn bad_answer(&self, what: &str) -> Problem {
        let message = format!(
            "the management API at {}: {what}; check that host is the management API's address",
            self.connection.endpoint
        );
        Problem::new(FailureKind::BadAnswer, "metadata.host", message)
    }

    fn problem(&self, error: reqwest::Error) -> Problem {
        let error = error.without_url();
        if error.is_timeout() {
            return Problem::timeout(&self.connection);
        }
        let (why, tls) = root_cause(error.source().unwrap_or(&error));
        if tls {
            Problem::tls(&self.connection, &why)
        } else if error.is_builder() {
            self.bad_answer("its address cannot be used")
        } else {
            Problem::unreachable(&self.connection, &why)
        }
    }
}

impl Upstream for Http {
    fn read<'a>(&'a self, queries: &'a [crate::Query]) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(self.read_all(queries))
    }
}

fn escaped(part: &str) -> String {
    utf8_percent_encode(part, UNRESERVED).to_string()
}

/// One client per connection: its trust and its credentials are the connection's own.
fn client(connection: &Connection) -> Result<Client, Problem> {
    let unusable = |error: reqwest::Error| {
        let error = error.without_url();
        Problem::tls(connection, &root_cause(error.source().unwrap_or(&error)).0)
    };
    let tls = &connection.tls;
    let builder = || -> Result<reqwest::ClientBuilder, Problem> {
        let builder = Client::builder()
            .user_agent(concat!("windlass/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(IN_FLIGHT)
            .pool_idle_timeout(Duration::from_secs(90))
            .tls_danger_accept_invalid_certs(tls.unsafe_ssl);
        match (&tls.cert, &tls.key) {
            (Some(cert), Some(key)) => {
                let pem = format!("{}\n{}\n", key.expose(), cert.expose());
                Ok(builder.identity(Identity::from_pem(pem.as_bytes()).map_err(unusable)?))
            }
            _ => Ok(builder),
        }
    };
    let own = match &tls.ca {
        Some(ca) => Certificate::from_pem_bundle(ca.expose().as_bytes()).map_err(unusable)?,
        None => Vec::new(),
    };
    if !connection.endpoint.tls {
        // No authority is needed, and an image may have none.
        return builder()?.tls_certs_only([]).build().map_err(unusable);
    }
    match builder()?.tls_certs_merge(own.clone()).build() {
        Ok(client) => Ok(client),
        Err(_) if !own.is_empty() => builder()?.tls_certs_only(own).build().map_err(unusable),
        Err(error) => Err(unusable(error)),
    }
}
