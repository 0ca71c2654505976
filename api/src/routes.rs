//! The routes: `/healthz`, `/readyz` and `/metrics`. None of them waits for anything.

use std::fmt::Write;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::Health;

/// The content type of `/metrics`: OpenMetrics 1.0 text.
pub const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The routes.
///
/// - `GET /healthz`: 200 as long as the process answers. It says nothing of the cluster or of brokers, so that an outage
///   elsewhere never makes the kubelet kill the operator.
/// - `GET /readyz`: 200 when every check is ok, else 503; the body names what is missing, one line a check. After `ok` come
///   remarks, one line each.
/// - `GET /metrics`: the registry as OpenMetrics text.
pub fn router(health: Arc<dyn Health>, registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready).with_state(health))
        .route("/metrics", get(metrics).with_state(registry))
}

async fn ready(State(health): State<Arc<dyn Health>>) -> (StatusCode, String) {
    let mut missing = String::new();
    for check in health.checks().iter().filter(|check| !check.ok) {
        // A line break in a detail would look like another check.
        let detail = check.detail.replace(['\n', '\r'], " ");
        let separator = if detail.is_empty() { "" } else { ": " };
        // Writing to a String does not fail.
        let _ = writeln!(missing, "{}{separator}{detail}", check.name);
    }
    if !missing.is_empty() {
        return (StatusCode::SERVICE_UNAVAILABLE, missing);
    }
    let remarks = health.remarks().into_iter().map(|remark| format!("{}\n", remark.replace(['\n', '\r'], " ")));
    (StatusCode::OK, std::iter::once("ok\n".to_owned()).chain(remarks).collect())
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, METRICS_CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be written as text");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use prometheus_client::metrics::counter::Counter;
    use tower::ServiceExt;

    use super::*;
    use crate::Check;

    struct Fixed(Vec<Check>);

    impl Health for Fixed {
        fn checks(&self) -> Vec<Check> {
            self.0.clone()
        }
    }

    const LISTED: Check = Check { name: "scaledobjects listed", ok: true, detail: String::new() };

    fn missing(name: &'static str, detail: &str) -> Check {
        Check { name, ok: false, detail: detail.to_owned() }
    }

    async fn send(method: &str, path: &str, checks: Vec<Check>) -> (StatusCode, Option<String>, String) {
        let mut registry = Registry::default();
        let counter: Counter = Counter::default();
        registry.register("windlass_tests", "Runs", counter.clone());
        counter.inc();
        let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
        let app = router(Arc::new(Fixed(checks)), Arc::new(registry));
        let response = app.oneshot(request).await.expect("infallible");
        let status = response.status();
        let kind = response.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().expect("ascii").to_owned());
        let body = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        (status, kind, String::from_utf8(body.to_vec()).expect("utf-8"))
    }

    #[tokio::test]
    async fn alive_whatever_is_missing() {
        let (status, _, body) = send("GET", "/healthz", vec![missing("leader known", "")]).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "ok\n"));
    }

    #[tokio::test]
    async fn ready_only_when_every_check_is_ok() {
        let (status, _, body) = send("GET", "/readyz", vec![LISTED]).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "ok\n"));

        let checks = vec![missing("scaledobjects listed", "403\nforbidden"), LISTED, missing("certificate", "")];
        let (status, kind, body) = send("GET", "/readyz", checks).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body, "scaledobjects listed: 403 forbidden\ncertificate\n");
        assert_eq!(kind.as_deref(), Some("text/plain; charset=utf-8"));
    }

    struct Remarking;

    impl Health for Remarking {
        fn checks(&self) -> Vec<Check> {
            vec![LISTED]
        }

        fn remarks(&self) -> Vec<String> {
            vec!["only watches\nfor now".to_owned()]
        }
    }

    #[tokio::test]
    async fn a_remark_comes_after_ok_and_is_no_reason_not_to_be_ready() {
        let request = Request::builder().uri("/readyz").body(Body::empty()).expect("a request");
        let app = router(Arc::new(Remarking), Arc::new(Registry::default()));
        let response = app.oneshot(request).await.expect("infallible");
        assert_eq!(response.status(), StatusCode::OK);
        let body = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        assert_eq!(body, "ok\nonly watches for now\n");
    }

    #[tokio::test]
    async fn metrics_are_open_metrics_text() {
        let (status, kind, body) = send("GET", "/metrics", vec![missing("leader known", "")]).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(kind.as_deref(), Some(METRICS_CONTENT_TYPE));
        assert!(body.contains("windlass_tests_total 1\n"), "{body}");
        assert!(body.ends_with("# EOF\n"), "{body}");
    }

    #[tokio::test]
    async fn nothing_else_is_served() {
        assert_eq!(send("GET", "/", vec![]).await.0, StatusCode::NOT_FOUND);
        assert_eq!(send("GET", "/debug", vec![]).await.0, StatusCode::NOT_FOUND);
        assert_eq!(send("POST", "/healthz", vec![]).await.0, StatusCode::METHOD_NOT_ALLOWED);
    }
}
