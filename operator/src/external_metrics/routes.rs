//! The HTTP surface: which path answers what, and to whom. Metric values come from the table in memory; nothing here
//! waits for anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use windlass_decision::Clock;

use super::answer::{failure, json};
use super::discovery::{Discovery, GROUP_VERSION};
use super::front_proxy::{Peer, Refusal};
use super::openapi::OpenApi;
use super::quantity::MilliQuantity;
use super::table::{Asker, LookupError, ServedTable};
use crate::leadership::Leadership;
use crate::telemetry::Telemetry;

/// A request has no body here; whoever sends more than this gets no answer but that.
const MAX_BODY: u64 = 4096;

/// The users that the HPA controller asks as: with a service account of its own, and without.
const HPA_USERS: [&str; 2] =
    ["system:serviceaccount:kube-system:horizontal-pod-autoscaler", "system:kube-controller-manager"];

/// What requests are answered from.
#[derive(Debug)]
pub struct Surface {
    table: Arc<ServedTable>,
    leadership: Leadership,
    clock: Arc<dyn Clock>,
    telemetry: Telemetry,
    discovery: Discovery,
    openapi: OpenApi,
}

impl Surface {
    /// Answers from `table` while `leadership` holds, by the time of `clock`, and counts in `telemetry`.
    #[must_use]
    pub fn new(table: Arc<ServedTable>, leadership: Leadership, clock: Arc<dyn Clock>, telemetry: Telemetry) -> Self {
        Self { table, leadership, clock, telemetry, discovery: Discovery::new(), openapi: OpenApi::new() }
    }
}

/// The router over `surface`. Each request must carry a [`Peer`] extension, which the TLS server sets; without one only
/// the health paths answer.
pub fn router(surface: Surface) -> Router {
    let guarded = Router::new()
        .route("/apis", get(async |State(s): State<Shared>, asked: HeaderMap| s.discovery.groups(&asked)))
        .route(
            "/apis/external.metrics.k8s.io",
            get(async |State(s): State<Shared>, asked: HeaderMap| s.discovery.group(&asked)),
        )
        .route(
            "/apis/external.metrics.k8s.io/v1beta1",
            get(async |State(s): State<Shared>, asked: HeaderMap| s.discovery.resources(&asked)),
        )
        .route("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}", get(metric))
        .route("/openapi/v2", get(async |State(s): State<Shared>, asked: HeaderMap| s.openapi.v2(&asked)))
        .route("/openapi/v3", get(async |State(s): State<Shared>, asked: HeaderMap| s.openapi.v3_index(&asked)))
        .route(
            "/openapi/v3/apis/external.metrics.k8s.io/v1beta1",
            get(async |State(s): State<Shared>, asked: HeaderMap| s.openapi.v3(&asked)),
        )
        .route("/version", get(async |State(s): State<Shared>, asked: HeaderMap| s.discovery.version(&asked)))
        .fallback(async || failure(StatusCode::NOT_FOUND, "the server could not find the requested resource"))
        .method_not_allowed_fallback(async || {
            failure(StatusCode::METHOD_NOT_ALLOWED, "external metrics can only be read")
        })
        .layer(from_fn(authorise))
        .with_state(Arc::new(surface));
    Router::new()
        .route("/livez", get("ok"))
        .route("/healthz", get("ok"))
        .route("/readyz", get("ok"))
        .method_not_allowed_fallback(async || failure(StatusCode::METHOD_NOT_ALLOWED, "health can only be read"))
        .fallback_service(guarded)
}

type Shared = Arc<Surface>;

/// Who asks, as far as the front proxy vouches for it.
#[derive(Debug, Clone, Copy)]
struct Asks(Asker);

async fn authorise(mut request: Request, next: Next) -> Response {
    let asker = match request.extensions().get::<Peer>().map(|peer| peer.user(request.headers())) {
        Some(Ok(user)) if user.is_some_and(|user| HPA_USERS.contains(&user)) => Asker::Hpa,
        Some(Ok(_)) => Asker::Other,
        Some(Err(refusal)) => return unauthorised(refusal),
        None => return unauthorised(&Refusal::NoCertificate),
    };
    if request.body().size_hint().lower() > MAX_BODY {
        return failure(StatusCode::PAYLOAD_TOO_LARGE, "a request for a metric has no body");
    }
    request.extensions_mut().insert(Asks(asker));
    next.run(request).await
}

fn unauthorised(refusal: &Refusal) -> Response {
    failure(StatusCode::UNAUTHORIZED, &format!("only the aggregator of the cluster is answered here: {refusal}"))
}

#[derive(Debug, Deserialize)]
struct ListOptions {
    #[serde(rename = "labelSelector", default)]
    label_selector: String,
}

async fn metric(
    surface: State<Shared>,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<ListOptions>, QueryRejection>,
    request: Request,
) -> Response {
    let telemetry = surface.telemetry.clone();
    let response = answer_metric(surface, path, query, request);
    telemetry.external_metric_request(response.status().as_u16());
    response
}

fn answer_metric(
    State(surface): State<Shared>,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<ListOptions>, QueryRejection>,
    request: Request,
) -> Response {
    let Ok(Path((namespace, metric))) = path else {
        return failure(StatusCode::BAD_REQUEST, "namespace and metric name must be percent-encoded UTF-8");
    };
    let Ok(Query(options)) = query else {
        return failure(StatusCode::BAD_REQUEST, "labelSelector must be given once, percent-encoded");
    };
    if !surface.leadership.holds() {
        return failure(
            StatusCode::SERVICE_UNAVAILABLE,
            "this replica of the operator is not the leader and has no readings; the leader's address is in the \
             EndpointSlice of the metrics Service",
        );
    }
    let asker = request.extensions().get::<Asks>().map_or(Asker::Other, |asks| asks.0);
    let now = surface.clock.now();
    match surface.table.lookup(&namespace, &metric, &options.label_selector, asker, now) {
        Ok(value) => json(
            StatusCode::OK,
            &ValueList {
                kind: "ExternalMetricValueList",
                api_version: GROUP_VERSION,
                metadata: BTreeMap::new(),
                items: [MetricValue {
                    metric_name: &metric,
                    metric_labels: BTreeMap::new(),
                    // metav1.Time counts whole seconds.
                    timestamp: format!("{:.0}", value.at),
                    value: MilliQuantity(value.milli).to_string(),
                }],
            },
        ),
        Err(error) => {
            let code = match &error {
                LookupError::Selector(super::selector::SelectorError::Malformed) => StatusCode::BAD_REQUEST,
                LookupError::Selector(_) | LookupError::UnknownObject { .. } | LookupError::UnknownMetric { .. } => {
                    StatusCode::NOT_FOUND
                }
                LookupError::NoFreshReading { .. } => StatusCode::SERVICE_UNAVAILABLE,
            };
            tracing::debug!(namespace, metric, code = code.as_u16(), error = %error, "metric not served");
            failure(code, &error.to_string()).into_response()
        }
    }
}

/// `ExternalMetricValueList` (k8s.io/metrics/pkg/apis/external_metrics/v1beta1).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ValueList<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: BTreeMap<(), ()>,
    items: [MetricValue<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MetricValue<'a> {
    metric_name: &'a str,
    metric_labels: BTreeMap<(), ()>,
    timestamp: String,
    value: String,
}
