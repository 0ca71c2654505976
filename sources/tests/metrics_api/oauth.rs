//! `authMode: oauth` of both sources that have it, against a token server and an API that takes its tokens only.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use windlass_decision::{FailureKind, Outcome};
use windlass_sources::{Dependencies, Given, NetworkPolicy, Query, Secret, TriggerInput, Upstream, connect, parse};

use super::{Still, failed, value};

/// A token server and an API.
#[derive(Default)]
struct Login {
    /// Whether the client is known by the body alone, as with some servers.
    in_body: bool,
    /// Whether it gives no token.
    refuses: Option<StatusCode>,
    /// What it says how long a token is good, in seconds.
    expires: Option<f64>,
    /// Tokens given.
    given: usize,
    /// Tokens that the API takes: those from this number on.
    good_from: usize,
    /// The forms that were sent, and the `Authorization` with each.
    asked: Vec<(String, String)>,
    /// The tokens that the API was sent.
    sent: Vec<String>,
}

type Shared = Arc<Mutex<Login>>;

fn authorization(headers: &HeaderMap) -> String {
    headers.get("authorization").map(|value| value.to_str().expect("ASCII").to_owned()).unwrap_or_default()
}

async fn token(State(login): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    // As a server takes a moment, in which others ask.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut login = login.lock().expect("no panic");
    let form = String::from_utf8(body.to_vec()).expect("a form");
    assert_eq!(
        headers.get("content-type").map(|kind| kind.as_bytes()),
        Some(&b"application/x-www-form-urlencoded"[..])
    );
    login.asked.push((form.clone(), authorization(&headers)));
    if let Some(status) = login.refuses {
        return (status, r#"{"error": "invalid_client", "error_description": "S3CR3T"}"#).into_response();
    }
    // The name and password are encoded before they are joined (RFC 6749, 2.3.1).
    let is_known = if login.in_body {
        form.contains("client_id=me%3A&client_secret=S3CR3T%26x")
    } else {
        authorization(&headers) == "Basic bWUlM0E6UzNDUjNUJTI2eA=="
    };
    if !is_known {
        return (StatusCode::UNAUTHORIZED, "S3CR3T").into_response();
    }
    login.given += 1;
    let mut answer = serde_json::json!({"access_token": format!("token-{}", login.given), "token_type": "Bearer"});
    if let Some(expires) = login.expires {
        answer["expires_in"] = expires.into();
    }
    answer.to_string().into_response()
}

async fn api(State(login): State<Shared>, headers: HeaderMap, uri: Uri) -> Response {
    let mut login = login.lock().expect("no panic");
    let sent = authorization(&headers);
    login.sent.push(sent.clone());
    let number: usize = sent.strip_prefix("Bearer token-").and_then(|number| number.parse().ok()).unwrap_or(0);
    if number == 0 || number < login.good_from {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    assert!(uri.path().starts_with("/api/"), "{uri}");
    // What either source reads.
    r#"{"n": 7, "status": "success", "data": {"resultType": "scalar", "result": [0, "7"]}}"#.into_response()
}

async fn start() -> (Shared, SocketAddr) {
    let login = Shared::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let app = Router::new()
        .route("/token", post(token))
        .route("/moved", post(async || Redirect::temporary("/token")))
        .route("/text", post(async || "S3CR3T"))
        .route("/slow", post(async || tokio::time::sleep(Duration::from_secs(60)).await))
        .route("/api/{*path}", get(api))
        .with_state(login.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
    (login, address)
}

fn trigger(network: NetworkPolicy, address: SocketAddr, more: &[(&str, &str)]) -> (Arc<dyn Upstream>, Query) {
    let url = format!("http://{address}/api/q");
    let own = [("url", url.as_str()), ("valueLocation", "n"), ("targetValue", "5")];
    trigger_of("metrics-api", &own, network, address, more)
}

fn trigger_of(
    kind: &str,
    own: &[(&str, &str)],
    network: NetworkPolicy,
    address: SocketAddr,
    more: &[(&str, &str)],
) -> (Arc<dyn Upstream>, Query) {
    let mut metadata: BTreeMap<String, String> =
        own.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    metadata.insert("authMode".to_owned(), "oauth".to_owned());
    metadata.insert("oauthTokenURI".to_owned(), format!("http://{address}/token"));
    metadata.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let parameters = [("clientID", "me:"), ("clientSecret", "S3CR3T&x")];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), Secret::new(value))).into();
    let given = Given { parameters, ..Given::default() };
    let parsed = parse(TriggerInput::new(kind, &metadata, &given)).expect("good metadata").0;
    let (network, deadline) = (Arc::new(network), Duration::from_secs(5));
    let dependencies = Dependencies { clock: Arc::new(Still), deadline, network, hub: Arc::default() };
    (connect(&parsed.connection, &dependencies), parsed.query)
}

fn local() -> NetworkPolicy {
    NetworkPolicy::default().allow_loopback(true)
}

async fn read(upstream: &Arc<dyn Upstream>, query: &Query) -> Outcome {
    upstream.read(std::slice::from_ref(query)).await.remove(0)
}

#[tokio::test]
async fn a_token_is_had_once_and_used_until_it_runs_out() {
    let (login, address) = start().await;
    login.lock().unwrap().expires = Some(2.0);
    let more = [("scopes", "read, metrics"), ("endpointParams", "audience=a%26b&resource=r")];
    let (upstream, query) = trigger(local(), address, &more);
    // Several who ask at once.
    let others = ["/api/1", "/api/2", "/api/3"].map(|path| {
        let Query::MetricsApi(mut query) = query.clone() else { panic!("{query:?}") };
        query.target = Secret::new(path);
        Query::MetricsApi(query)
    });
    for outcome in upstream.read(&others).await {
        assert_eq!(value(&outcome), 7.0);
    }
    assert_eq!(value(&read(&upstream, &query).await), 7.0);
    {
        let login = login.lock().unwrap();
        assert_eq!(login.given, 1, "{:?}", login.asked);
        let form = "grant_type=client_credentials&scope=read+metrics&audience=a%26b&resource=r";
        assert_eq!(login.asked[0].0, form);
        assert_eq!(login.sent, vec!["Bearer token-1"; 4]);
    }
    tokio::time::sleep(Duration::from_millis(1900)).await;
    assert_eq!(value(&read(&upstream, &query).await), 7.0);
    assert_eq!(login.lock().unwrap().given, 2, "nine tenths of its life are over");
}

#[tokio::test]
async fn a_token_that_the_server_refuses_is_replaced_within_the_reading() {
    let (login, address) = start().await;
    let (upstream, query) = trigger(local(), address, &[]);
    assert_eq!(value(&read(&upstream, &query).await), 7.0);
    login.lock().unwrap().good_from = 2;
    assert_eq!(value(&read(&upstream, &query).await), 7.0);
    assert_eq!(login.lock().unwrap().sent, ["Bearer token-1", "Bearer token-1", "Bearer token-2"]);
    // A server that takes none does not cost a new one at each reading.
    login.lock().unwrap().good_from = 100;
    for _ in 0..3 {
        let outcome = read(&upstream, &query).await;
        assert_eq!((failed(&outcome).0, failed(&outcome).1), (FailureKind::Unauthorised, Some("metadata.authModes")));
        assert_eq!(login.lock().unwrap().given, 2);
    }
}

#[tokio::test]
async fn prometheus_is_sent_a_token_too() {
    let (login, address) = start().await;
    let server = format!("http://{address}");
    let own = [("serverAddress", server.as_str()), ("query", "up"), ("threshold", "5")];
    let (upstream, query) = trigger_of("prometheus", &own, local(), address, &[]);
    assert_eq!(value(&read(&upstream, &query).await), 7.0);
    login.lock().unwrap().good_from = 2;
    assert_eq!(value(&read(&upstream, &query).await), 7.0, "a token that is refused is replaced");
    assert_eq!(login.lock().unwrap().sent, ["Bearer token-1", "Bearer token-1", "Bearer token-2"]);
}

#[tokio::test]
async fn a_server_that_takes_the_client_in_the_body_is_asked_so() {
    let (login, address) = start().await;
    (login.lock().unwrap().in_body, login.lock().unwrap().expires) = (true, Some(1.0));
    let (upstream, query) = trigger(local(), address, &[("endpointParams", "grant_type=password&username=u")]);
    assert_eq!(value(&read(&upstream, &query).await), 7.0);
    tokio::time::sleep(Duration::from_millis(1000)).await;
    assert_eq!(value(&read(&upstream, &query).await), 7.0);
    let login = login.lock().unwrap();
    assert_eq!(login.asked.len(), 3, "the second time as it went the first time: {:?}", login.asked);
    assert_eq!(login.asked[2].1, "");
    assert_eq!(login.asked[2].0, "grant_type=password&username=u&client_id=me%3A&client_secret=S3CR3T%26x");
}

#[tokio::test]
async fn without_a_token_nothing_is_asked_and_nothing_is_repeated() {
    let (login, address) = start().await;
    let at = |path: &str| format!("http://{address}{path}");
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        format!("http://{}/token", listener.local_addr().expect("an address"))
    };
    let table = [
        (at("/token"), Some(StatusCode::BAD_REQUEST), FailureKind::Unauthorised, "metadata.clientID"),
        (at("/token"), Some(StatusCode::FORBIDDEN), FailureKind::Unauthorised, "metadata.clientID"),
        (at("/token"), Some(StatusCode::BAD_GATEWAY), FailureKind::BadAnswer, "metadata.oauthTokenURI"),
        (at("/none"), None, FailureKind::NotFound, "metadata.oauthTokenURI"),
        (at("/moved"), None, FailureKind::BadAnswer, "metadata.oauthTokenURI"),
        (at("/text"), None, FailureKind::BadAnswer, "metadata.oauthTokenURI"),
        (at("/slow"), None, FailureKind::Timeout, "metadata.oauthTokenURI"),
        (closed, None, FailureKind::Unreachable, "metadata.oauthTokenURI"),
    ];
    for (uri, refuses, kind, field) in table {
        login.lock().unwrap().refuses = refuses;
        let (upstream, query) = trigger(local(), address, &[("oauthTokenURI", &uri), ("timeout", "1000")]);
        let outcome = read(&upstream, &query).await;
        let (found, at, message) = failed(&outcome);
        assert_eq!((found, at), (kind, Some(field)), "{uri} {refuses:?}: {message}");
        assert!(!message.contains("S3CR3T") && !message.contains("me:"), "{message}");
    }
    assert!(login.lock().unwrap().sent.is_empty(), "asked without a token");
}

#[tokio::test]
async fn the_token_server_is_under_the_same_network_policy() {
    let (login, address) = start().await;
    // The API itself may be asked, the token server may not.
    let other = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let denied = other.local_addr().expect("an address");
    for uri in [format!("http://{denied}/token"), format!("http://[::ffff:127.0.0.1]:{}/token", denied.port())] {
        let (upstream, query) = trigger(local().deny(denied), address, &[("oauthTokenURI", &uri)]);
        let outcome = read(&upstream, &query).await;
        let (kind, field, message) = failed(&outcome);
        assert_eq!((kind, field), (FailureKind::Unreachable, Some("metadata.oauthTokenURI")), "{message}");
        assert!(message.contains("is not allowed"), "{message}");
    }
    let (upstream, query) = trigger(local(), address, &[("oauthTokenURI", "http://169.254.169.254/token")]);
    assert!(failed(&read(&upstream, &query).await).2.contains("a link-local address"));
    assert!(login.lock().unwrap().sent.is_empty());
}
