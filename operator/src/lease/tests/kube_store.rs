//! The Lease through the real Kubernetes client, against the API in memory behind HTTP.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use kube::Client;
use serde_json::json;

use super::fake::FakeApi;
use super::replica::TestClock;
use super::*;
use crate::leadership::leadership;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/harbour/leases";

fn failure(code: StatusCode, reason: &str) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason,
        "code": code.as_u16()});
    (code, Json(body)).into_response()
}

async fn read(State(api): State<FakeApi>, Path(name): Path<String>) -> Response {
    match api.read().filter(|lease| lease.metadata.name.as_deref() == Some(name.as_str())) {
        Some(lease) => Json(lease).into_response(),
        None => failure(StatusCode::NOT_FOUND, "NotFound"),
    }
}

async fn create(State(api): State<FakeApi>, Json(lease): Json<Lease>) -> Response {
    match api.create(lease) {
        Ok(lease) => (StatusCode::CREATED, Json(lease)).into_response(),
        Err(_) => failure(StatusCode::CONFLICT, "AlreadyExists"),
    }
}

async fn replace(State(api): State<FakeApi>, Path(_): Path<String>, Json(lease): Json<Lease>) -> Response {
    if api.read().is_none() {
        return failure(StatusCode::NOT_FOUND, "NotFound");
    }
    match api.replace(lease) {
        Ok(lease) => Json(lease).into_response(),
        Err(_) => failure(StatusCode::CONFLICT, "Conflict"),
    }
}

fn client(api: &FakeApi) -> Client {
    let routes = Router::new()
        .route(LEASES, axum::routing::post(create))
        .route(&format!("{LEASES}/{{name}}"), get(read).put(replace))
        .with_state(api.clone());
    Client::new(routes, "harbour")
}

fn leases(api: &FakeApi) -> KubeLeases {
    KubeLeases::new(client(api), "harbour", Timing::default())
}

fn named() -> Lease {
    let mut lease = Lease::default();
    lease.metadata.name = Some(LEASE_NAME.to_owned());
    lease
}

#[tokio::test]
async fn writes_are_conditional() {
    let api = FakeApi::default();
    let store = leases(&api);
    assert!(store.read().await.expect("an answer").is_none());
    assert!(matches!(store.replace(named()).await, Err(StoreError::Changed)), "there is none to replace");

    let made = store.create(named()).await.expect("made");
    assert!(matches!(store.create(named()).await, Err(StoreError::Changed)), "there is one already");
    assert_eq!(store.read().await.expect("an answer").as_ref(), Some(&made));

    let mut first = made.clone();
    first.spec.get_or_insert_default().holder_identity = Some("one".to_owned());
    let mut second = made;
    second.spec.get_or_insert_default().holder_identity = Some("two".to_owned());
    store.replace(first).await.expect("replaced");
    assert!(matches!(store.replace(second).await, Err(StoreError::Changed)), "it was changed since it was read");
    assert_eq!(api.spec().holder_identity.as_deref(), Some("one"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_and_a_silence_are_no_conflict() {
    let refusing = Router::new().fallback(async || failure(StatusCode::FORBIDDEN, "Forbidden"));
    let store = KubeLeases::new(Client::new(refusing, "harbour"), "harbour", Timing::default());
    assert!(matches!(store.create(named()).await, Err(StoreError::Failed(_))));
    assert!(matches!(store.read().await, Err(StoreError::Failed(_))));

    let silent = Router::new().fallback(async || std::future::pending::<()>().await);
    let store = KubeLeases::new(Client::new(silent, "harbour"), "harbour", Timing::default());
    let deadline = Timing::default().call_deadline();
    assert!(matches!(store.replace(named()).await, Err(StoreError::Deadline(after)) if after == deadline));
}

#[tokio::test(start_paused = true)]
async fn an_election_through_the_client() {
    let api = FakeApi::installed();
    let start = |name: &str| {
        let (grant, leadership) = leadership();
        let clock = Arc::new(TestClock::from(1_700_000_000));
        let telemetry = Telemetry::new("test", false);
        let elector =
            Elector::new(leases(&api), name.to_owned(), Timing::default(), grant, clock, telemetry.clone(), 7);
        let mut elector = elector.expect("valid");
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            elector.run(&stopped).await;
            elector
        });
        (leadership, stop, task, telemetry)
    };
    let limit = Duration::from_secs(40);
    let (first, stop, task, telemetry) = start("one");
    tokio::time::timeout(limit, first.gained()).await.expect("one leads");
    tokio::task::yield_now().await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &telemetry.registry()).expect("text");
    assert!(text.contains("\nwindlass_leader 1\n"), "{text}");

    let (second, ..) = start("two");
    tokio::time::sleep(limit).await;
    assert!(first.holds() && !second.holds());
    let renewed = api.spec();
    assert!(renewed.renew_time > renewed.acquire_time);

    stop.cancel();
    let elector = task.await.expect("no panic");
    assert!(elector.release().await.expect("released"));
    tokio::time::timeout(Duration::from_secs(2), second.gained()).await.expect("two leads");
    assert_eq!(api.spec().holder_identity.as_deref(), Some("two"));
}
