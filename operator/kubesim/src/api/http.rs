//! The HTTP surface: which request does what. What is written is decided in `write`, what goes wrong in `faults`.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::time::sleep;
use tower::Service;

use super::cluster::Cluster;
use super::faults::{RequestFault, RequestInfo};
use super::lists::List;
use super::query::{Asked, Query, Route};
use super::status::Status;
use super::store::{Audited, version_of};
use super::verbs::Asking;
use super::watch::Watch;
use super::{aggregate, discovery, table};

/// The largest body that is read.
const MAX_BODY: usize = 3 * 1024 * 1024;

/// The connection was closed without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("connection closed before the answer was complete")]
pub struct Closed;

/// The API server as one user reaches it: a `tower::Service` for `kube::Client::new`.
#[derive(Debug, Clone)]
pub struct ApiService {
    cluster: Cluster,
    user: Arc<str>,
    /// Whether a bearer token names the user.
    by_token: bool,
}

impl ApiService {
    pub(super) fn new(cluster: Cluster, user: &str) -> Self {
        Self { cluster, user: user.into(), by_token: false }
    }

    /// The same, speaking as whom a bearer token says, if there is one.
    pub(super) fn by_token(self) -> Self {
        Self { by_token: true, ..self }
    }
}

impl<B> Service<Request<B>> for ApiService
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Closed;
    type Future = BoxFuture<'static, Result<Response<Body>, Closed>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self { cluster, mut user, by_token } = self.clone();
        if by_token {
            let token = request.headers().get(header::AUTHORIZATION).and_then(|token| token.to_str().ok());
            user = token.and_then(|token| token.strip_prefix("Bearer ")).map_or(user, Arc::from);
        }
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = http_body_util::Limited::new(body, MAX_BODY).collect().await;
            let Ok(body) = body.map(http_body_util::Collected::to_bytes) else {
                return Ok(refusal(&Status::new(
                    413,
                    "RequestEntityTooLarge",
                    "Request entity too large: limit is 3145728",
                )));
            };
            cluster.handle(&user, Request::from_parts(parts, body)).await
        })
    }
}

/// What is answered.
pub(super) enum Answer {
    Object(u16, Arc<Value>),
    List(List),
    Watch(Box<Watch>),
}

impl Cluster {
    /// Answers one request of `user`, as if it had come over a connection.
    ///
    /// # Errors
    /// The connection was closed, by a fault.
    pub async fn handle(&self, user: &Arc<str>, request: Request<Bytes>) -> Result<Response<Body>, Closed> {
        let route = Route::of(request.uri().path());
        let query = Query::parse(request.uri().query());
        let asked = match &route {
            Route::Objects(asked) => Some(asked),
            _ => None,
        };
        let verb = verb(request.method(), asked, &query);
        let fault = self.fault(user, verb, asked);
        match fault {
            RequestFault::Delay(late) => sleep(late).await,
            RequestFault::CloseBefore => return Err(Closed),
            RequestFault::HangBefore => return futures::future::pending().await,
            RequestFault::Refuse { code, retry_after } => {
                self.noted(user, verb, asked, code, None);
                let mut response = refusal(&refused(code));
                if let Some(after) = retry_after {
                    response.headers_mut().insert(header::RETRY_AFTER, after.as_secs().into());
                }
                return Ok(response);
            }
            _ => {}
        }
        let stale = if let RequestFault::Stale(age) = fault { Some(age) } else { None };
        let response = self.serve_request(user, &route, verb, &query, request, stale).await;
        match fault {
            RequestFault::CloseAfter => Err(Closed),
            RequestFault::HangAfter => futures::future::pending().await,
            RequestFault::Truncate => Ok(cut(response).await),
            _ => Ok(response),
        }
    }

    /// Asks for a path as `user`, through everything that a request over HTTP goes through. The answer's body is JSON, or
    /// null where it is none; 0 stands for a closed connection.
    pub async fn raw_get(&self, user: &str, path: &str) -> (u16, Value) {
        let Ok(request) = Request::get(path).body(Bytes::new()) else { return (400, Value::Null) };
        let Ok(response) = self.handle(&user.into(), request).await else { return (0, Value::Null) };
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        (code, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn serve_request(
        &self,
        user: &Arc<str>,
        route: &Route,
        verb: &'static str,
        query: &Query,
        request: Request<Bytes>,
        stale: Option<Duration>,
    ) -> Response<Body> {
        let asked = match route {
            Route::Objects(asked) => asked,
            Route::Discovery(parts) => return self.discover(user, parts, request).await,
            Route::Version => return json_response(200, &discovery::version()),
            Route::Health => return Response::new(Body::from("ok")),
            Route::Unknown => return refusal(&Status::no_such_path()),
        };
        let known = self.kind((&asked.group, &asked.plural)).filter(|kind| kind.version == asked.version);
        let Some(kind) = known else {
            let answered = aggregate::pass_on(self, user, &asked.group, &asked.version, request).await;
            let response = answered.unwrap_or_else(|| self.nothing_there(&asked.group));
            self.noted(user, verb, Some(asked), response.status().as_u16(), None);
            return response;
        };
        let wants_table = table::is_wanted(request.headers());
        let answer = self.objects(Asking { user, kind: &kind, asked, verb, query, request: &request, stale });
        let (code, version) = match &answer {
            Ok(Answer::Object(code, object)) => (*code, Some(version_of(object)).filter(|version| *version > 0)),
            Ok(Answer::List(_) | Answer::Watch(_)) => (200, None),
            Err(status) => (status.code, None),
        };
        let written = version.filter(|_| !matches!(verb, "get" | "list" | "watch"));
        self.noted(user, verb, Some(asked), code, written);
        match answer {
            Ok(Answer::Object(_, object)) if wants_table && verb == "get" => {
                let metadata = &object["metadata"];
                json_response(200, &table::of(&kind, std::slice::from_ref(&object), metadata, self.now()))
            }
            Ok(Answer::List(list)) if wants_table && verb == "list" => {
                json_response(200, &table::of(&kind, &list.items, &list.metadata(), self.now()))
            }
            Ok(Answer::Object(code, object)) => json_response(code, &object),
            Ok(Answer::List(list)) => answered(200, Body::from(list.to_bytes())),
            Ok(Answer::Watch(watch)) => match watch.lines() {
                Some(lines) => answered(200, Body::from_stream(lines.map(Ok::<_, Infallible>))),
                None => refusal(&Status::no_such_path()),
            },
            Err(status) => refusal(&status),
        }
    }

    /// A path of a known group is answered with a Status, any other in plain text.
    fn nothing_there(&self, group: &str) -> Response<Body> {
        if self.store().kinds().any(|kind| kind.group == group) {
            return refusal(&Status::no_such_path());
        }
        let mut response = Response::new(Body::from("404 page not found\n"));
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    }

    async fn discover(&self, user: &Arc<str>, parts: &[String], request: Request<Bytes>) -> Response<Body> {
        if let Some(found) = discovery::answer(self, parts) {
            return json_response(200, &found);
        }
        if let [_, group, version] = parts
            && let Some(response) = aggregate::pass_on(self, user, group, version, request).await
        {
            return response;
        }
        parts.get(1).map_or_else(|| refusal(&Status::no_such_path()), |group| self.nothing_there(group))
    }

    fn fault(&self, user: &str, verb: &str, asked: Option<&Asked>) -> RequestFault {
        let (Some(faults), Some(asked)) = (self.faults(), asked) else { return RequestFault::Pass };
        faults.request(&RequestInfo {
            user,
            verb,
            group: &asked.group,
            resource: &asked.plural,
            subresource: &asked.subresource,
            namespace: asked.namespace.as_deref().unwrap_or_default(),
            name: asked.name.as_deref().unwrap_or_default(),
        })
    }

    fn noted(&self, user: &str, verb: &'static str, asked: Option<&Asked>, code: u16, version: Option<u64>) {
        let Some(asked) = asked else { return };
        self.note(|| Audited {
            at: self.now(),
            user: user.to_owned(),
            verb,
            resource: asked.plural.clone(),
            subresource: asked.subresource.clone(),
            namespace: asked.namespace.clone().unwrap_or_default(),
            name: asked.name.clone().unwrap_or_default(),
            code,
            version,
        });
    }
}

fn verb(method: &Method, asked: Option<&Asked>, query: &Query) -> &'static str {
    let named = asked.is_some_and(|asked| asked.name.is_some());
    match *method {
        Method::GET if query.is_set("watch") => "watch",
        Method::GET if named || asked.is_none() => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ => "other",
    }
}

/// A refusal that a fault asks for.
fn refused(code: u16) -> Status {
    match code {
        409 => Status::new(
            409,
            "Conflict",
            "the object has been modified; please apply your changes to the latest version and try again",
        ),
        429 => Status::new(
            429,
            "TooManyRequests",
            "the server has received too many requests and has asked us to try again later",
        ),
        503 => Status::unavailable("the server is currently unable to handle the request"),
        504 => Status::new(504, "Timeout", "the server was unable to return a response in the time allotted"),
        code => Status::new(code, "InternalError", "an error on the server has prevented the request from succeeding"),
    }
}

pub(super) fn refusal(status: &Status) -> Response<Body> {
    json_response(status.code, &status.to_value())
}

pub(super) fn json_response(code: u16, value: &Value) -> Response<Body> {
    answered(code, Body::from(value.to_string()))
}

fn answered(code: u16, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// The first half of an answer.
async fn cut(response: Response<Body>) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let whole = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let half = whole.slice(..whole.len() / 2);
    Response::from_parts(parts, Body::from(half))
}
