//! Asks `/api/v1/query` and takes one number from the answer. This module never repeats what the server says.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use futures::future::BoxFuture;
use reqwest::StatusCode;
use serde_json::Value;
use url::Url;
use windlass_decision::{FailureKind, Outcome};

use super::config::{Connection, Query, Signer};
use crate::aws::{Keeper, Scope, encoded};
use crate::http::{Auth, Client, Endpoint, NoFigure, Problem, Request, Site, Tokens, Trouble, ask_as, each, measured};
use crate::{Dependencies, Secret, Upstream};

/// What one request may take where the trigger names no `timeout`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);
/// One number is small; a query with too many results is not, and is refused all the same.
const MAX_BYTES: usize = 4 << 20;

/// What a request is signed with, and the headers that do it.
type Signed = (Credentials, Vec<(String, Secret)>);

/// A server that answers queries as Prometheus does.
#[derive(Debug)]
pub(super) struct Prometheus {
    connection: Connection,
    dependencies: Dependencies,
    client: OnceLock<Result<Arc<Client>, Trouble>>,
    tokens: Tokens,
    keeper: Keeper,
}

impl Prometheus {
    pub(super) fn new(connection: Connection, dependencies: Dependencies) -> Self {
        Self { connection, dependencies, client: OnceLock::new(), tokens: Tokens::default(), keeper: Keeper::default() }
    }

    fn site(&self) -> Site<&Endpoint> {
        Site { what: "Prometheus", place: &self.connection.endpoint, field: "metadata.serverAddress" }
    }

    async fn read_all(&self, queries: Vec<&Query>) -> Vec<Outcome> {
        let clock = &*self.dependencies.clock;
        let timeout = || NoFigure::Failed(self.site().trouble(Trouble::Timeout)).outcome(clock);
        let ask = |query| async move {
            match self.figure(query).await {
                Ok(figure) => measured(figure, "metadata.query", clock),
                Err(none) => none.outcome(clock),
            }
        };
        each(queries, self.dependencies.deadline, timeout, ask).await
    }

    async fn figure(&self, query: &Query) -> Result<f64, NoFigure> {
        let body = self.ask(query).await?;
        match result(&body) {
            Ok(Some(figure)) => Ok(figure),
            Ok(None) if query.ignore_null => Ok(0.0),
            Ok(None) => {
                let message = "the query has no result, or one that is not a finite number; check that what it asks for is scraped";
                Err(NoFigure::Absent(Problem::new(FailureKind::NotFound, "metadata.query", message)))
            }
            Err(Bad::Foreign) => Err(self.site().bad("its answer is not one of Prometheus").into()),
            Err(Bad::Result(what)) => {
                Err(Problem::new(FailureKind::BadAnswer, "metadata.query", format!("the query gives {what}")).into())
            }
        }
    }

    async fn ask(&self, query: &Query) -> Result<Vec<u8>, NoFigure> {
        let Connection { endpoint, auth, aws, headers, tls, timeout } = &self.connection;
        let trouble = |trouble| NoFigure::from(self.site().trouble(trouble));
        let client = self.client.get_or_init(|| self.dependencies.network.client(endpoint, tls));
        let client = client.as_ref().map_err(|found| trouble(found.clone()))?;
        let mut url =
            Url::parse(&format!("{}/api/v1/query", endpoint.base())).map_err(|_| trouble(Trouble::Unusable))?;
        let own = [("query", query.query.as_str())].into_iter();
        let namespace = query.namespace.iter().map(|namespace| ("namespace", namespace.as_str()));
        let others = query.parameters.iter().map(|(name, value)| (name.as_str(), value.expose()));
        url.set_query(Some(&encoded(own.chain(namespace).chain(others))));
        let time = timeout.unwrap_or(DEFAULT_TIMEOUT);
        let signed = match aws {
            Some(signer) => Some(self.sign(signer, &url, time / 2).await?),
            None => None,
        };
        let signature = signed.iter().flat_map(|(_, headers)| headers);
        let headers = headers.iter().chain(signature).map(|(name, value)| (name.as_str(), value)).collect();
        let request = Request { url, basic: None, headers, time, limit: MAX_BYTES };
        let whose = (auth, &self.tokens);
        let (status, body) = ask_as(whose, (client, &self.dependencies.network), &request, trouble).await?;
        match status {
            status if status.is_success() => Ok(body),
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
                let message = "Prometheus cannot evaluate the query; try it in Prometheus' own page and correct it";
                Err(Problem::new(FailureKind::BadAnswer, "metadata.query", message).into())
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if aws.is_some() => {
                let Some((signer, (credentials, _))) = aws.as_ref().zip(signed) else {
                    return Err(self.site().status(status, true));
                };
                self.keeper.refused(&credentials);
                let message = format!(
                    "Prometheus at {endpoint} refuses {}; allow it aps:QueryMetrics on the workspace, and check awsRegion and the \
                     clock of the operator's node",
                    signer.credential
                );
                Err(Problem::new(FailureKind::Unauthorised, signer.credential.field(), message).into())
            }
            status => Err(self.site().status(status, *auth != Auth::default() || tls.cert.is_some())),
        }
    }

    /// The headers that sign a request to `url`, and what they are signed with.
    async fn sign(&self, signer: &Signer, url: &Url, time: Duration) -> Result<Signed, NoFigure> {
        let Signer { region, credential } = signer;
        let now = SystemTime::from(self.dependencies.clock.now());
        let problem = |(kind, message): (FailureKind, String)| Problem::new(kind, credential.field(), message);
        let credentials = self.keeper.get(credential, region, now, time).await.map_err(problem)?;
        let signed = Scope { region, service: "aps", now }.headers(&credentials, url);
        let unsigned = || format!("no request could be signed by {credential}; check its keys and serverAddress");
        match signed {
            Some(headers) => Ok((credentials, headers)),
            None => Err(problem((FailureKind::BadAnswer, unsigned())).into()),
        }
    }
}

/// Why an answer holds no figure.
#[derive(Debug, PartialEq)]
enum Bad {
    /// It is not in the form of Prometheus' API.
    Foreign,
    /// The query gives something else than one number; what, in words.
    Result(&'static str),
}

/// The one number of an answer; `None` for no result, NaN and infinity.
fn result(body: &[u8]) -> Result<Option<f64>, Bad> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| Bad::Foreign)?;
    if answer["status"] != "success" {
        return Err(Bad::Foreign);
    }
    let result = answer["data"]["result"].as_array().ok_or(Bad::Foreign)?;
    let pair = match answer["data"]["resultType"].as_str() {
        Some("scalar") => result,
        Some("vector") => match result.as_slice() {
            [] => return Ok(None),
            [one] if one["histogram"].is_array() => {
                return Err(Bad::Result("a histogram; take a number from it, for example with histogram_quantile"));
            }
            [one] => one["value"].as_array().ok_or(Bad::Foreign)?,
            _ => return Err(Bad::Result("more than one result; sum them up, for example with sum(...)")),
        },
        Some("matrix") => return Err(Bad::Result("a range; take a number from it, for example with rate(...)")),
        Some("string") => return Err(Bad::Result("a text, which is no number")),
        _ => return Err(Bad::Foreign),
    };
    match pair.as_slice() {
        [] => Ok(None),
        [_, Value::Null] => Ok(None),
        [_, Value::String(figure)] => {
            let figure: f64 = figure.parse().map_err(|_| Bad::Foreign)?;
            Ok(Some(figure).filter(|figure| figure.is_finite()))
        }
        _ => Err(Bad::Foreign),
    }
}

impl Upstream for Prometheus {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(result: &str) -> Result<Option<f64>, Bad> {
        result_of("vector", result)
    }

    fn result_of(kind: &str, text: &str) -> Result<Option<f64>, Bad> {
        result(format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{text}}}}}"#).as_bytes())
    }

    #[test]
    fn one_number_is_taken_and_nothing_else() {
        assert_eq!(vector(r#"[{"metric":{"a":"b"},"value":[1700000000.1,"12.5"]}]"#), Ok(Some(12.5)));
        assert_eq!(vector(r#"[{"metric":{},"value":[1,"1e3"]}]"#), Ok(Some(1000.0)));
        assert_eq!(vector(r#"[{"metric":{},"value":[1,"-4"]}]"#), Ok(Some(-4.0)));
        assert_eq!(result_of("scalar", r#"[1700000000.1,"7"]"#), Ok(Some(7.0)));
        for none in ["[]", r#"[{"value":[]}]"#, r#"[{"value":[1,null]}]"#] {
            assert_eq!(vector(none), Ok(None), "{none}");
        }
        for figure in ["NaN", "+Inf", "-Inf"] {
            assert_eq!(vector(&format!(r#"[{{"value":[1,"{figure}"]}}]"#)), Ok(None), "{figure}");
        }
        let table = [
            ("vector", r#"[{"value":[1,"1"]},{"value":[1,"2"]}]"#),
            ("vector", r#"[{"metric":{},"histogram":[1,{"count":"1"}]}]"#),
            ("matrix", r#"[{"metric":{},"values":[[1,"1"]]}]"#),
            ("string", r#"[1,"1"]"#),
        ];
        for (kind, text) in table {
            assert!(matches!(result_of(kind, text), Err(Bad::Result(_))), "{kind} {text}");
        }
        for text in [
            r#"[{"value":[1]}]"#,
            r#"[{"value":[1,2]}]"#,
            r#"[{"value":[1,"x"]}]"#,
            r#"[{"value":[1,"2",3]}]"#,
            "{}",
            "[3]",
        ] {
            assert_eq!(vector(text), Err(Bad::Foreign), "{text}");
        }
        for body in ["", "{}", "[]", "null", "12", "<html>", r#"{"status":"error"}"#, r#"{"status":"success"}"#] {
            assert_eq!(result(body.as_bytes()), Err(Bad::Foreign), "{body}");
        }
        assert_eq!(result("[".repeat(100_000).as_bytes()), Err(Bad::Foreign));
    }
}
