//! `POST /webhooks/{namespace}/{name}`: from a request to an answer. A 2xx is said only of what is on disk; nothing of a request
//! is ever logged or repeated.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use windlass_sources::webhook::{Refusal, events};

use super::Receiver;
use super::keeper::Kept;
use super::rate::Rates;
use crate::telemetry::WebhookOutcome::{
    self, Accepted, Busy, Closed, Duplicate, Failed, Full, Limited, Malformed, Signature, TooLarge, Unknown,
};

/// The unit in which bodies that are held are counted, in bytes.
const UNIT: usize = 1024;
/// When to come back where it is not known better.
const LATER: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_secs(1);

/// The route of `receiver`.
pub fn router(receiver: Arc<Receiver>) -> Router {
    let limits = receiver.limits;
    let shared = Shared {
        rates: Rates::new(limits.rate, limits.burst),
        requests: Semaphore::new(limits.requests),
        bodies: Arc::new(Semaphore::new(limits.bodies / UNIT)),
        receiver,
    };
    Router::new().route("/webhooks/{namespace}/{name}", post(receive)).with_state(Arc::new(shared))
}

struct Shared {
    receiver: Arc<Receiver>,
    rates: Rates,
    requests: Semaphore,
    bodies: Arc<Semaphore>,
}

/// An answer that is not 2xx (RFC 9457).
struct Problem {
    status: StatusCode,
    outcome: WebhookOutcome,
    detail: String,
    retry_after: Option<Duration>,
}

impl Problem {
    fn new(status: StatusCode, outcome: WebhookOutcome, detail: impl Into<String>) -> Self {
        Self { status, outcome, detail: detail.into(), retry_after: None }
    }

    fn later(outcome: WebhookOutcome, detail: &str, after: Duration) -> Self {
        Self { retry_after: Some(after), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, outcome, detail) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or_default();
        let body = serde_json::json!({ "title": title, "status": self.status.as_u16(), "detail": self.detail });
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.status, kind, body.to_string()).into_response();
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.max(1).into());
        }
        response
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    Path((namespace, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let began = Instant::now();
    let answer = received(&shared, (&namespace, &name), request).await;
    let outcome = answer.as_ref().map_or_else(|problem| problem.outcome, |(outcome, _)| *outcome);
    shared.receiver.telemetry.webhook_request(outcome, began.elapsed());
    answer.map(|(_, response)| response)
}

async fn received(
    shared: &Shared,
    (namespace, name): (&str, &str),
    request: Request,
) -> Result<(WebhookOutcome, Response), Problem> {
    let receiver = &shared.receiver;
    let closed =
        || Problem::later(Closed, "this replica does not receive now; send again, and another one may answer", LATER);
    let (keeper, since) = receiver.keeper().ok_or_else(closed)?;
    let Ok(_place) = shared.requests.try_acquire() else {
        return Err(Problem::later(Busy, "too many requests at once", SOON));
    };
    // An unknown name and a wrong namespace are one and the same look-up.
    let endpoint = receiver.hub.endpoint(namespace, name);
    let Some(limit) = endpoint.iter().map(|connection| connection.max_body).max() else {
        if since.elapsed() < receiver.limits.settle {
            let detail = "this replica has just begun to receive and may not know all endpoints";
            return Err(Problem::later(Closed, detail, LATER));
        }
        return Err(Problem::new(StatusCode::NOT_FOUND, Unknown, "there is no such endpoint"));
    };
    let (parts, body) = request.into_parts();
    if length(&parts.headers).is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let reading = timeout(receiver.limits.body_timeout, read(body, limit, &shared.bodies));
    let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, Malformed, "the body took too long");
    let (body, _held) = reading.await.map_err(late)??;
    let events = events(&endpoint, &parts.headers, &body, receiver.clock.now()).map_err(|refusal| match refusal {
        Refusal::Signature => Problem::new(
            StatusCode::UNAUTHORIZED,
            Signature,
            "no signature that fits: check the secret, the signature's headers and the sender's clock",
        ),
        Refusal::TooLarge => too_large(),
        Refusal::MediaType(why) => Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Malformed, why),
        Refusal::Bad(why) => Problem::new(StatusCode::BAD_REQUEST, Malformed, why),
    })?;
    shared.rates.take(namespace, name).map_err(|after| Problem {
        status: StatusCode::TOO_MANY_REQUESTS,
        outcome: Limited,
        detail: "too many events for this endpoint".to_owned(),
        retry_after: Some(after),
    })?;
    match keeper.keep(events).await {
        Kept::New => Ok((Accepted, json(StatusCode::ACCEPTED, r#"{"accepted":true}"#))),
        Kept::Duplicate => Ok((Duplicate, json(StatusCode::OK, r#"{"duplicate":true}"#))),
        Kept::Full => Err(Problem::later(Full, "there is no room to keep the event", LATER * 12)),
        Kept::Failed => Err(Problem::later(Failed, "the event cannot be kept now", LATER)),
    }
}

fn json(status: StatusCode, body: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn too_large() -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, TooLarge, "the body is larger than maxBodyBytes")
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The body, and the right to hold as much. It is asked for as bytes come, so that who only announces them holds nothing.
async fn read(
    body: Body,
    limit: usize,
    bodies: &Arc<Semaphore>,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Problem> {
    let mut chunks = body.into_data_stream();
    let mut whole: Vec<u8> = Vec::new();
    let mut held: Option<OwnedSemaphorePermit> = None;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, Malformed, "the body ended early"))?;
        if whole.len() + chunk.len() > limit {
            return Err(too_large());
        }
        whole.extend_from_slice(&chunk);
        let missing = whole.len().div_ceil(UNIT) - held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if missing > 0 {
            let more =
                u32::try_from(missing).ok().and_then(|more| Arc::clone(bodies).try_acquire_many_owned(more).ok());
            let more = more.ok_or_else(|| Problem::later(Busy, "too many large bodies at once", SOON))?;
            match &mut held {
                Some(held) => held.merge(more),
                None => held = Some(more),
            }
        }
    }
    Ok((whole.into(), held))
}
