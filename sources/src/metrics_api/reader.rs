//! Asks each URL once, whatever is wanted of its answer. This module never repeats what the server says.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use tokio::time::{Instant, timeout_at};
use url::Url;
use windlass_decision::{FailureKind, Outcome};

use super::config::{Connection, Query};
use super::value::{Answer, Missing};
use crate::http::{
    Auth, Client, Endpoint, IN_FLIGHT, NoFigure, Problem, Request, Site, Tokens, Trouble, measured, with_token,
};
use crate::{Dependencies, Secret, Upstream};

/// What one request may take where the trigger names no `timeout`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);
/// A document takes many times its size in memory.
const MAX_BYTES: usize = 4 << 20;

/// A server that answers with numbers.
#[derive(Debug)]
pub(super) struct MetricsApi {
    connection: Connection,
    dependencies: Dependencies,
    client: OnceLock<Result<Arc<Client>, Trouble>>,
    tokens: Tokens,
}

impl MetricsApi {
    pub(super) fn new(connection: Connection, dependencies: Dependencies) -> Self {
        Self { connection, dependencies, client: OnceLock::new(), tokens: Tokens::default() }
    }

    fn site(&self) -> Site<&Endpoint> {
        Site { what: "the API", place: &self.connection.endpoint, field: "metadata.url" }
    }

    async fn read_all(&self, queries: Vec<&Query>) -> Vec<Outcome> {
        let clock = &*self.dependencies.clock;
        let until = Instant::now() + self.dependencies.deadline;
        let none = NoFigure::Failed(self.site().trouble(Trouble::Timeout)).outcome(clock);
        let mut outcomes = vec![none; queries.len()];
        // Those who want something of the same answer, by their places.
        let mut targets: BTreeMap<&Secret, Vec<usize>> = BTreeMap::new();
        for (place, query) in queries.iter().enumerate() {
            targets.entry(&query.target).or_default().push(place);
        }
        let asked: Vec<_> = targets
            .into_iter()
            .map(|(target, places)| async move { (places, timeout_at(until, self.ask(target)).await) })
            .collect();
        let mut answers = stream::iter(asked).buffer_unordered(IN_FLIGHT);
        while let Some((places, answer)) = answers.next().await {
            let Ok(answer) = answer else { continue };
            let mut read = answer.as_ref().map(|body| Answer::new(body));
            for place in places {
                if let (Some(outcome), Some(query)) = (outcomes.get_mut(place), queries.get(place)) {
                    *outcome = match &mut read {
                        Ok(answer) => match answer.number(&query.location) {
                            Ok(number) => measured(number, "metadata.valueLocation", clock),
                            Err(missing) => self.missing(missing).outcome(clock),
                        },
                        Err(none) => none.clone().outcome(clock),
                    };
                }
            }
        }
        outcomes
    }

    fn missing(&self, missing: Missing) -> NoFigure {
        let field = "metadata.valueLocation";
        let place = &self.connection.endpoint;
        match missing {
            Missing::Nothing => {
                let message = format!(
                    "the answer of the API at {place} has nothing at valueLocation; correct the path, or have the API say a number there"
                );
                NoFigure::Absent(Problem::new(FailureKind::NotFound, field, message))
            }
            Missing::Bad(what) => {
                let message = format!("the API at {place}: {what}; correct valueLocation, or format");
                Problem::new(FailureKind::BadAnswer, field, message).into()
            }
        }
    }

    async fn ask(&self, target: &Secret) -> Result<Vec<u8>, NoFigure> {
        let Connection { endpoint, auth, tls, timeout } = &self.connection;
        let trouble = |trouble| NoFigure::from(self.site().trouble(trouble));
        let client = self.client.get_or_init(|| self.dependencies.network.client(endpoint, tls));
        let client = client.as_ref().map_err(|found| trouble(found.clone()))?;
        let mut url =
            Url::parse(&format!("{}{}", endpoint.base(), target.expose())).map_err(|_| trouble(Trouble::Unusable))?;
        if let Some((name, value)) = &auth.parameter {
            url.query_pairs_mut().append_pair(name, value.expose());
        }
        let (url, time) = (&url, timeout.unwrap_or(DEFAULT_TIMEOUT));
        let send = |token: Option<Secret>| async move {
            let headers = auth.headers.iter().map(|(name, value)| (name.as_str(), value));
            let request = Request {
                url: url.clone(),
                basic: auth.basic.as_ref().map(|(user, password)| (user.as_str(), Some(password))),
                headers: headers.chain(token.iter().map(|token| ("authorization", token))).collect(),
                time,
                limit: MAX_BYTES,
            };
            client.get(request).await.map_err(trouble)
        };
        let whose = (auth.oauth.as_ref(), &*self.dependencies.network);
        let (status, body) = with_token(&self.tokens, whose, time, send).await?;
        if status.is_success() {
            return Ok(body);
        }
        Err(self.site().status(status, *auth != Auth::default() || tls.cert.is_some()))
    }
}

impl Upstream for MetricsApi {
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
