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
use serde_json::{Value, json};
use tokio::time::sleep;
use tower::Service;

use super::cluster::{Cluster, at};
use super::faults::{RequestFault, RequestInfo};
use super::kind::Kind;
use super::lists::list;
use super::patch::Patch;
use super::query::{Asked, Query, Route};
use super::selector::Selector;
use super::status::Status;
use super::store::{Audited, version_of};
use super::watch::Watch;
use super::write::{By, Deletion, Part};
use super::{aggregate, discovery, scale, table};

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

/// What is answered: the code, and either a value or a stream.
pub(super) enum Answer {
    Value(u16, Value),
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
        let answer = self.objects(user, &kind, asked, verb, query, &request, stale);
        let (code, version) = match &answer {
            Ok(Answer::Value(code, value)) => (*code, Some(version_of(value)).filter(|version| *version > 0)),
            Ok(Answer::Watch(_)) => (200, None),
            Err(status) => (status.code, None),
        };
        let written = version.filter(|_| !matches!(verb, "get" | "list" | "watch"));
        self.noted(user, verb, Some(asked), code, written);
        match answer {
            Ok(Answer::Value(code, value)) if wants_table && matches!(verb, "get" | "list") => {
                json_response(code, &table::of(&kind, &value, self.now()))
            }
            Ok(Answer::Value(code, value)) => json_response(code, &value),
            Ok(Answer::Watch(watch)) => match watch.lines() {
                Some(lines) => {
                    let body = Body::from_stream(lines.map(Ok::<_, Infallible>));
                    let mut response = Response::new(body);
                    response
                        .headers_mut()
                        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
                    response
                }
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
        refusal(&Status::no_such_path())
    }

    #[expect(clippy::too_many_arguments, reason = "one request has that many sides")]
    fn objects(
        &self,
        user: &Arc<str>,
        kind: &Arc<Kind>,
        asked: &Asked,
        verb: &str,
        query: &Query,
        request: &Request<Bytes>,
        stale: Option<Duration>,
    ) -> Result<Answer, Status> {
        let part = asked.part().ok_or_else(Status::no_such_path)?;
        if (part == Part::Status && !kind.has_status) || (part == Part::Scale && kind.scale.is_none()) {
            return Err(Status::no_such_path());
        }
        if kind.namespaced && asked.namespace.is_none() && (asked.name.is_some() || verb == "create") {
            return Err(Status::no_such_path());
        }
        let namespace = asked.namespace.clone().filter(|_| kind.namespaced).unwrap_or_default();
        let name = asked.name.clone().unwrap_or_default();
        let at = at(&namespace, &name);
        let agent =
            request.headers().get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or("unknown");
        let manager = Some(query.text("fieldManager")).filter(|manager| !manager.is_empty());
        let manager = manager.unwrap_or_else(|| agent.split('/').next().unwrap_or(agent));
        let by = By { manager, tracks: true, now: self.now(), dry_run: query.text("dryRun") == "All" };
        let body = || parse(request.body());
        match verb {
            "list" => self.list_request(kind, asked, query, stale).map(|list| Answer::Value(200, list)),
            "watch" => self.watch_request(user, kind, asked, query, stale).map(|watch| Answer::Watch(Box::new(watch))),
            "get" => {
                let object = self.store().get(kind, &at).ok_or_else(|| Status::not_found(kind, &name))?;
                let shown = if part == Part::Scale { scale::of(kind, &object) } else { Some((*object).clone()) };
                Ok(Answer::Value(200, shown.ok_or_else(Status::no_such_path)?))
            }
            "create" => {
                if asked.name.is_some() {
                    return Err(Status::new(
                        405,
                        "MethodNotAllowed",
                        "the server does not allow this method on the requested resource",
                    ));
                }
                let object = self.store().create(kind, &namespace, body()?, by)?;
                Ok(Answer::Value(201, (*object).clone()))
            }
            "update" => {
                let object = body()?;
                let updated = self.store().update(kind, part, &at, object, by)?;
                Ok(Answer::Value(200, shown(kind, part, &updated)))
            }
            "patch" => {
                let patch = patch(request, query)?;
                let mut store = self.store();
                let is_new = store.get(kind, &at).is_none();
                if matches!(patch, Patch::Apply { .. }) && query.text("fieldManager").is_empty() {
                    return Err(Status::new(
                        422,
                        "Invalid",
                        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
                    ));
                }
                let patched = store.patch(kind, part, &at, &patch, by)?;
                drop(store);
                Ok(Answer::Value(if is_new { 201 } else { 200 }, shown(kind, part, &patched)))
            }
            "delete" => {
                let options = if request.body().is_empty() { json!({}) } else { body()? };
                let deleted = self.store().delete(kind, &at, &deletion(&options, query), by)?;
                Ok(Answer::Value(200, after_deletion(kind, &deleted)))
            }
            "deletecollection" => {
                let selector = Selector::parse(query.text("labelSelector"), query.text("fieldSelector"))?;
                let within = asked.namespace.as_deref();
                let mut store = self.store();
                let found = store.table(&kind.group, &kind.plural).map(|table| table.list(within, &selector));
                for object in found.iter().flatten() {
                    store.delete(kind, &super::store::at_of(object), &Deletion::default(), by)?;
                }
                let version = store.version;
                drop(store);
                Ok(Answer::Value(200, list(kind, &found.unwrap_or_default(), version, None)))
            }
            _ => Err(Status::new(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            )),
        }
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

fn parse(body: &Bytes) -> Result<Value, Status> {
    serde_json::from_slice(body).map_err(|error| {
        Status::bad_request(format!("the object provided is unrecognized (must be of type JSON): {error}"))
    })
}

fn patch(request: &Request<Bytes>, query: &Query) -> Result<Patch, Status> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().unwrap_or_default() {
        "application/merge-patch+json" => parse(request.body()).map(Patch::Merge),
        "application/json-patch+json" => match parse(request.body())? {
            Value::Array(operations) => Ok(Patch::Json(operations)),
            _ => Err(Status::bad_request("a JSON patch is a list of operations")),
        },
        "application/apply-patch+yaml" => {
            Ok(Patch::Apply { object: parse(request.body())?, force: query.is_set("force") })
        }
        _ => Err(Status::new(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: \
             application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        )),
    }
}

fn deletion(options: &Value, query: &Query) -> Deletion {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let policy = text(&options["propagationPolicy"]).unwrap_or_else(|| query.text("propagationPolicy").to_owned());
    Deletion {
        uid: text(&options["preconditions"]["uid"]),
        version: text(&options["preconditions"]["resourceVersion"]),
        orphan: policy == "Orphan",
    }
}

fn shown(kind: &Kind, part: Part, object: &Value) -> Value {
    let scale = if part == Part::Scale { scale::of(kind, object) } else { None };
    scale.unwrap_or_else(|| object.clone())
}

/// What a deletion answers: the object while finalizers hold it, else that it is gone.
fn after_deletion(kind: &Kind, deleted: &Value) -> Value {
    let held = deleted["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
    if held || kind.kind == "Pod" {
        return deleted.clone();
    }
    let mut details =
        json!({"name": deleted["metadata"]["name"], "kind": kind.plural, "uid": deleted["metadata"]["uid"]});
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
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
    let mut response = Response::new(Body::from(value.to_string()));
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
