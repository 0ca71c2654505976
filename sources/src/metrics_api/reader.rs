//! Asks each URL once, whatever is wanted of its answer. This module never repeats what the server says.

use std::collections::BTreeMap;
use std::net::IpAddr;
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
    Auth, Client, Endpoint, IN_FLIGHT, NoFigure, Problem, Request, Site, Tokens, Trouble, ask_as, measured,
};
use crate::{Dependencies, Secret, Upstream};

/// What one request may take where the trigger names no `timeout`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);
/// Members of a Service that are asked at once, as in KEDA.
const MEMBERS_IN_FLIGHT: usize = 5;
const LOCATION: &str = "metadata.valueLocation";
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
        let queries = &queries;
        let asked: Vec<_> = targets
            .into_iter()
            .map(|(target, places)| async move {
                let wanted: Vec<&Query> = places.iter().filter_map(|place| queries.get(*place).copied()).collect();
                let numbers = timeout_at(until, self.numbers(target, &wanted)).await;
                (places, numbers)
            })
            .collect();
        let mut answers = stream::iter(asked).buffer_unordered(IN_FLIGHT);
        while let Some((places, numbers)) = answers.next().await {
            for (place, number) in places.into_iter().zip(numbers.into_iter().flatten()) {
                if let Some(outcome) = outcomes.get_mut(place) {
                    *outcome = match number {
                        Ok(number) => measured(number, LOCATION, clock),
                        Err(none) => none.outcome(clock),
                    };
                }
            }
        }
        outcomes
    }

    /// The number of each query, all of which are about `target`.
    async fn numbers(&self, target: &Secret, queries: &[&Query]) -> Vec<Result<f64, NoFigure>> {
        let Some(members) = &self.connection.members else { return self.of_one(None, target, queries).await };
        if members.is_empty() {
            let place = &self.connection.endpoint;
            let message =
                format!("the Service at {place} has no endpoint that is ready; start its pods, or correct its name");
            let none = NoFigure::Absent(Problem::new(FailureKind::NotFound, "metadata.url", message));
            return vec![Err(none); queries.len()];
        }
        let asked: Vec<_> = members.iter().map(|member| self.of_one(Some(*member), target, queries)).collect();
        let answers: Vec<_> = stream::iter(asked).buffered(MEMBERS_IN_FLIGHT).collect().await;
        let combined = |(nth, query): (usize, &&Query)| {
            // Without the figure of one of them there is none of all: it would be too small, and replicas be taken away.
            let all: Result<Vec<f64>, NoFigure> =
                answers.iter().filter_map(|answer| answer.get(nth).cloned()).collect();
            let number = query.aggregation.of(&all?);
            number.ok_or_else(|| self.site().bad("none of its endpoints has a number").into())
        };
        queries.iter().enumerate().map(combined).collect()
    }

    /// The same, as one member says, or as the host does.
    async fn of_one(&self, member: Option<IpAddr>, target: &Secret, queries: &[&Query]) -> Vec<Result<f64, NoFigure>> {
        match self.ask(member, target).await {
            Ok(body) => {
                let mut answer = Answer::new(&body);
                let number = |query: &&Query| answer.number(&query.location).map_err(|none| self.missing(none));
                queries.iter().map(number).collect()
            }
            Err(none) => vec![Err(none); queries.len()],
        }
    }

    fn missing(&self, missing: Missing) -> NoFigure {
        let field = LOCATION;
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

    async fn ask(&self, member: Option<IpAddr>, target: &Secret) -> Result<Vec<u8>, NoFigure> {
        let Connection { endpoint, auth, tls, timeout, .. } = &self.connection;
        let trouble = |trouble| NoFigure::from(self.site().trouble(trouble));
        let client = self.client.get_or_init(|| self.dependencies.network.client(endpoint, tls));
        let client = client.as_ref().map_err(|found| trouble(found.clone()))?;
        let base = match member {
            Some(member) => Endpoint { host: member.to_string(), ..endpoint.clone() }.base(),
            None => endpoint.base(),
        };
        let url = Url::parse(&format!("{base}{}", target.expose()));
        let mut url = url.map_err(|_| trouble(Trouble::Unusable))?;
        if let Some((name, value)) = &auth.parameter {
            url.query_pairs_mut().append_pair(name, value.expose());
        }
        let time = timeout.unwrap_or(DEFAULT_TIMEOUT);
        let request = Request { url, basic: None, headers: Vec::new(), time, limit: MAX_BYTES };
        let whose = (auth, &self.tokens);
        let (status, body) = ask_as(whose, (client, &self.dependencies.network), &request, trouble).await?;
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
