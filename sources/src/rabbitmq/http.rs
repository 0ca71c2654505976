//! Figures from the management API: counts with unacknowledged messages, rates, and several queues by regular expression.
//! Never follows a redirect (the credentials would go with it) and never repeats an answer's body.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use percent_encoding::utf8_percent_encode;
use reqwest::StatusCode;
use tokio::sync::OnceCell;
use url::Url;
use windlass_decision::{FailureKind, Outcome};

use super::config::{Connection, Query, Selection};
use super::figures::{self, Listing, Queue};
use super::outcome::{Problem, no_such_queue};
use crate::http::{self, Auth, Client, Request, Tokens, Trouble, UNRESERVED, ask_as, each};
use crate::{Dependencies, Secret, Upstream};

/// What one request may take where the trigger names no `timeout`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);
const MAX_QUEUE_BYTES: usize = 4 << 20;
const MAX_LISTING_BYTES: usize = 64 << 20;
/// A broker, read over its management API.
#[derive(Debug)]
pub(super) struct Http {
    connection: Connection,
    dependencies: Dependencies,
    auth: Auth,
    tokens: Tokens,
    /// A failure is kept too: other keys and certificates make another reader.
    client: OnceCell<Result<Arc<Client>, Problem>>,
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

impl From<http::NoFigure> for NoFigure {
    fn from(none: http::NoFigure) -> Self {
        match none {
            http::NoFigure::Failed(problem) => Self::Failed(problem.into()),
            http::NoFigure::Absent(problem) => Self::Absent(problem.into()),
        }
    }
}

impl Http {
    pub(super) fn new(connection: Connection, dependencies: Dependencies) -> Self {
        let password = connection.password.clone().unwrap_or_else(|| Secret::new(""));
        let basic = connection.username.clone().map(|user| (user, password));
        let auth = Auth { basic, oauth: connection.oauth.clone(), ..Auth::default() };
        Self { connection, dependencies, auth, tokens: Tokens::default(), client: OnceCell::new() }
    }

    async fn open(&self) -> Result<Arc<Client>, Problem> {
        let Connection { endpoint, tls, .. } = &self.connection;
        let tls = tls.opened().await.map_err(|(field, message)| Problem::new(FailureKind::Tls, field, message))?;
        self.dependencies.network.client(endpoint, &tls).map_err(|trouble| self.problem(trouble))
    }

    async fn read_all(&self, queries: Vec<&Query>) -> Vec<Outcome> {
        let timeout = || Problem::timeout(&self.connection).failed(&*self.dependencies.clock);
        each(queries, self.dependencies.deadline, timeout, |query| self.outcome(query)).await
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
        let client = self.client.get_or_init(|| self.open()).await.as_ref().map_err(Problem::clone)?;
        let base = connection.endpoint.base();
        let url = format!("{base}/api/queues/{}{rest}", escaped(&connection.vhost));
        let url = Url::parse(&url).map_err(|_| self.problem(Trouble::Unusable))?;
        let time = connection.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let request = Request { url, basic: None, headers: Vec::new(), time, limit };
        let trouble = |trouble| http::NoFigure::from(http::Problem::from(self.problem(trouble)));
        let whose = (&self.auth, &self.tokens);
        let (status, body) = ask_as(whose, (client, &self.dependencies.network), &request, trouble).await?;
        self.check(query, status)?;
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
            StatusCode::UNAUTHORIZED => match (&connection.username, &connection.oauth) {
                (_, Some(oauth)) => {
                    let message = format!(
                        "the management API takes no token of the client {:?}; check scopes, and that the broker trusts the token server \
                         (rabbitmq_auth_backend_oauth2)",
                        oauth.client_id
                    );
                    Err(Problem::new(FailureKind::Unauthorised, "metadata.oauthTokenURI", message).into())
                }
                (Some(user), None) => {
                    let message = format!(
                        "the management API refused user {user:?}; check user and password in host, or in the Secret they come \
                         from, and that the user has the tag management and access to the virtual host {vhost:?}"
                    );
                    Err(Problem::new(FailureKind::Unauthorised, "metadata.host", message).into())
                }
                (None, None) => {
                    let message =
                        "the management API wants credentials; write them into host, or give username and password";
                    Err(Problem::new(FailureKind::Unauthorised, "metadata.host", message).into())
                }
            },
            StatusCode::FORBIDDEN => {
                let client = connection.oauth.as_ref().map(|oauth| oauth.client_id.as_str());
                let user = connection.username.as_deref().or(client).unwrap_or_default();
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

    fn problem(&self, trouble: Trouble) -> Problem {
        let connection = &self.connection;
        match trouble {
            Trouble::Denied(denied) => Problem::denied(connection, denied),
            Trouble::Unusable => self.bad_answer("its address cannot be used"),
            Trouble::Timeout => Problem::timeout(connection),
            Trouble::Tls(why) => Problem::tls(connection, &why),
            Trouble::Unreachable(why) => Problem::unreachable(connection, &why),
            Trouble::TooLarge(limit) => self.bad_answer(&format!("its answer is larger than {} MiB", limit >> 20)),
        }
    }
}

impl Upstream for Http {
    fn read<'a>(&'a self, queries: &'a [crate::Query]) -> BoxFuture<'a, Vec<Outcome>> {
        let clock = &*self.dependencies.clock;
        Box::pin(crate::upstream::read_own(
            queries,
            clock,
            Query::of,
            move |own| async move { self.read_all(own).await },
        ))
    }
}

fn escaped(part: &str) -> String {
    utf8_percent_encode(part, UNRESERVED).to_string()
}
