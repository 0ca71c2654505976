//! Carrying out a plan against an API server that is made of routes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{patch, put};
use axum::{Json, Router};
use jiff::Timestamp;
use kube::Client;
use kube::api::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use windlass_crd::Target;
use windlass_decision::Verdict;

use super::*;
use crate::apply::Events;
use crate::apply::writer::Writer;
use crate::plan::{Note, Scale};
use crate::seen::SeenTarget;

#[derive(Debug)]
struct StandingClock;

impl Clock for StandingClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
}

/// What the API server answers, and how often it was asked to scale.
struct Server {
    scale: u16,
    status: u16,
    scales: AtomicUsize,
}

fn answer(code: u16, body: Value) -> Response {
    let failure = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "scripted",
        "reason": "Scripted", "code": code});
    let code = StatusCode::from_u16(code).expect("a status");
    (code, Json(if code.is_success() { body } else { failure })).into_response()
}

fn context(server: &Arc<Server>) -> Ctx {
    let object = json!({"apiVersion": "windlass.dev/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": "orders", "namespace": "shop", "resourceVersion": "8"},
        "spec": {"scaleTargetRef": {"name": "worker"}, "triggers": []}});
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"resourceVersion": "9"}});
    let routes = Router::new()
        .route(
            "/apis/apps/v1/namespaces/shop/deployments/worker/scale",
            put(async |State(server): State<Arc<Server>>| {
                server.scales.fetch_add(1, Ordering::Relaxed);
                answer(server.scale, scale)
            }),
        )
        .route(
            "/apis/windlass.dev/v1alpha1/namespaces/shop/scaledobjects/orders/status",
            patch(async |State(server): State<Arc<Server>>| answer(server.status, object)),
        )
        .with_state(server.clone());
    let writer = Writer::unfenced(Client::new(routes, "shop"), Duration::from_secs(5));
    Ctx { writer, events: Events::new(Arc::new(StandingClock), "test", 1) }
}

fn first_activation() -> Vec<Effect> {
    let kind = GroupVersionKind::gvk("apps", "v1", "Deployment");
    let scale = Scale {
        resource: ApiResource::from_gvk_with_plural(&kind, "deployments"),
        target: Target {
            group: "apps".to_owned(),
            version: "v1".to_owned(),
            kind: "Deployment".to_owned(),
            name: "worker".to_owned(),
        },
        seen: SeenTarget {
            uid: "uid-2".to_owned(),
            version: 7,
            replicas: 0,
            ready: 0,
            containers: None,
            scaled_by: None,
        },
        to: 4,
        verdict: Some(Verdict::Activate(4)),
        why: "there is work".to_owned(),
    };
    let note = Note { warning: false, reason: "ScaledObjectReady", message: "all is well".to_owned() };
    vec![
        Effect::Status { status: Box::default(), only_at: None, before: Box::default() },
        Effect::Scale(Box::new(scale)),
        Effect::Event(note),
    ]
}

/// What became of it, the reasons of what is to be told, and how often the API server was asked to scale.
async fn carried_out(scale: u16, status: u16) -> (Done, Vec<&'static str>, usize) {
    let server = Arc::new(Server { scale, status, scales: AtomicUsize::new(0) });
    let ctx = context(&server);
    let key = ObjectKey::new("shop", "orders");
    let places = Arc::new(Places { all: Semaphore::new(1), later: Semaphore::new(1) });
    let done = carry_out(first_activation(), key, "uid-1".to_owned(), ctx, places).await;
    let reasons = done.notes.iter().map(|note| note.reason).collect();
    (done, reasons, server.scales.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_plan_that_succeeds_tells_of_the_status_and_of_the_scaling() {
    let (done, reasons, scales) = carried_out(200, 200).await;
    assert!(done.error.is_none() && scales == 1);
    assert_eq!(reasons, ["ScaledObjectReady", "KEDAScaleTargetActivated"]);
}

#[tokio::test]
async fn what_the_written_status_says_is_told_although_the_scaling_met_a_conflict() {
    let (done, reasons, scales) = carried_out(409, 200).await;
    assert!(done.error.is_some_and(|error| error.is_conflict()) && scales == 1);
    assert_eq!(reasons, ["ScaledObjectReady"]);
}

#[tokio::test]
async fn nothing_is_told_of_a_status_that_was_not_written_and_nothing_is_done_after_it() {
    let (done, reasons, scales) = carried_out(200, 500).await;
    assert!(done.error.is_some() && reasons.is_empty() && scales == 0);
}

#[tokio::test]
async fn what_scales_waits_for_little_of_what_does_not() {
    let places = Arc::new(Places { all: Semaphore::new(1), later: Semaphore::new(1) });
    let order = Arc::new(Mutex::new(Vec::new()));
    let held = places.urgent().await;
    let mut tasks = Vec::new();
    for (name, urgent) in [("said 1", false), ("said 2", false), ("scaled", true)] {
        let (places, order) = (Arc::clone(&places), Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            let _place = if urgent { places.urgent().await } else { places.later().await };
            order.lock().expect("no panic").push(name);
        }));
        // It stands in line now.
        tokio::task::yield_now().await;
    }
    drop(held);
    for task in tasks {
        task.await.expect("no panic");
    }
    assert_eq!(*order.lock().expect("no panic"), ["said 1", "scaled", "said 2"]);
}
