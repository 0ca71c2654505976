//! A management API in memory: users, virtual hosts, queues, pages, and the faults a test asks for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What a queue answers instead of its figures.
#[derive(Clone)]
pub enum Fault {
    Status(u16),
    Body(String),
    Redirect(String),
    Slow(Duration),
}

#[derive(Default)]
pub struct Broker {
    /// Virtual host, then queue, then its document without the name.
    pub queues: BTreeMap<String, BTreeMap<String, Value>>,
    pub faults: BTreeMap<String, Fault>,
    /// The listings' answer where it is not that of the queues.
    pub listing_fault: Option<Fault>,
    /// `Authorization` headers that are let in; none means that everybody is.
    pub allowed: Vec<String>,
    pub requests: Vec<String>,
    in_flight: usize,
    pub most_in_flight: usize,
}

#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<Broker>>);

impl Fake {
    /// Starts it; gives `host:port`.
    pub async fn start() -> (Self, String) {
        let fake = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let api = Router::new().route("/api/queues/{vhost}", get(list)).route("/api/queues/{vhost}/{queue}", get(one));
        let app = Router::new().nest("/behind/proxy", api.clone()).merge(api).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (fake, address)
    }

    pub fn lock(&self) -> MutexGuard<'_, Broker> {
        self.0.lock().expect("no test panicked with it")
    }

    pub fn queue(&self, vhost: &str, name: &str, document: Value) {
        self.lock().queues.entry(vhost.to_owned()).or_default().insert(name.to_owned(), document);
    }

    pub fn fault(&self, name: &str, fault: Fault) {
        self.lock().faults.insert(name.to_owned(), fault);
    }

    /// Counts the request in and out, and checks who asks.
    async fn serve(
        &self,
        what: String,
        headers: &HeaderMap,
        fault: Option<Fault>,
        answer: impl FnOnce(&Broker) -> Response,
    ) -> Response {
        {
            let mut broker = self.lock();
            broker.requests.push(what);
            broker.in_flight += 1;
            broker.most_in_flight = broker.most_in_flight.max(broker.in_flight);
        }
        let _leaving = Leaving(self.clone());
        tokio::task::yield_now().await;
        let authorization =
            headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let allowed = {
            let broker = self.lock();
            broker.allowed.is_empty() || broker.allowed.iter().any(|known| known == authorization)
        };
        if !allowed {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        match fault {
            Some(Fault::Status(status)) => (StatusCode::from_u16(status).expect("a status"), "S3CR3T").into_response(),
            Some(Fault::Body(body)) => Body::from(body).into_response(),
            Some(Fault::Redirect(to)) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
            Some(Fault::Slow(wait)) => {
                tokio::time::sleep(wait).await;
                answer(&self.lock())
            }
            None => answer(&self.lock()),
        }
    }
}

struct Leaving(Fake);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.lock().in_flight -= 1;
    }
}

fn not_found() -> Response {
    let body = json!({ "error": "Object Not Found", "reason": "Not Found" });
    (StatusCode::NOT_FOUND, body.to_string()).into_response()
}

fn document(name: &str, figures: &Value) -> Value {
    let mut document = figures.clone();
    document["name"] = json!(name);
    document
}

async fn one(State(fake): State<Fake>, Path((vhost, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let fault = fake.lock().faults.get(&name).cloned();
    let what = format!("{vhost} {name}");
    fake.serve(what, &headers, fault, |broker| match broker.queues.get(&vhost).and_then(|queues| queues.get(&name)) {
        Some(figures) => document(&name, figures).to_string().into_response(),
        None => not_found(),
    })
    .await
}

async fn list(
    State(fake): State<Fake>,
    Path(vhost): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let fault = fake.lock().listing_fault.clone();
    let asked = query.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("&");
    fake.serve(format!("{vhost} ?{asked}"), &headers, fault, |broker| {
        let Some(queues) = broker.queues.get(&vhost) else { return not_found() };
        let (page, regex) = (query.get("page").map(String::as_str), query.get("use_regex").map(String::as_str));
        assert_eq!((page, regex), (Some("1"), Some("true")), "a page and a regular expression");
        let size: usize = query.get("page_size").and_then(|size| size.parse().ok()).expect("a page size");
        let pattern = query.get("name").expect("a pattern");
        let found: Vec<_> = queues.iter().filter(|(name, _)| matches(pattern, name)).collect();
        let items: Vec<_> = found.iter().take(size).map(|(name, figures)| document(name, figures)).collect();
        let pages = found.len().div_ceil(size).max(1);
        json!({ "items": items, "page": 1, "page_count": pages, "page_size": size, "filtered_count": found.len() })
            .to_string()
            .into_response()
    })
    .await
}

/// The anchors and nothing else of a regular expression: all that the tests ask for.
fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.strip_prefix('^'), pattern.strip_suffix('$')) {
        (Some(rest), Some(_)) => rest.strip_suffix('$') == Some(name),
        (Some(start), None) => name.starts_with(start),
        (None, Some(end)) => name.ends_with(end),
        (None, None) => name.contains(pattern),
    }
}
