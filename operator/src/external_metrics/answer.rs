//! Shapes HTTP answers: JSON documents and Kubernetes `Status` errors. It never decides which one is due.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A document that never changes while the process lives, with the tag by which the aggregator caches it.
#[derive(Debug, Clone)]
pub struct Document {
    content_type: &'static str,
    body: axum::body::Bytes,
    etag: HeaderValue,
}

impl Document {
    /// Serialises `value` once. `content_type` says what it is.
    #[must_use]
    pub fn new(content_type: &'static str, value: &serde_json::Value) -> Self {
        let body = value.to_string();
        // FNV-1a: the tag must be the same on every replica, and needs no more than to differ when the text does.
        let hash = body
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let etag = HeaderValue::try_from(format!("\"{hash:016X}\"")).unwrap_or(HeaderValue::from_static("\"0\""));
        Self { content_type, body: body.into(), etag }
    }

    /// The tag, with its quotes.
    #[must_use]
    pub fn etag(&self) -> &str {
        self.etag.to_str().unwrap_or_default()
    }

    /// 200 with the document, or 304 if the asker has it.
    #[must_use]
    pub fn answer(&self, asked: &HeaderMap) -> Response {
        let has_it = asked.get_all(IF_NONE_MATCH).iter().any(|tag| tag == self.etag);
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static(self.content_type)),
            (ETAG, self.etag.clone()),
            (VARY, HeaderValue::from_static("Accept")),
            (CACHE_CONTROL, HeaderValue::from_static("no-cache, private")),
        ];
        if has_it {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, Body::from(self.body.clone())).into_response()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Empty,
    status: &'static str,
    message: &'a str,
    reason: &'static str,
    code: u16,
}

#[derive(Serialize)]
struct Empty {}

/// A Kubernetes `Status` of failure. `message` is shown to people, among others in the events of the HPA.
#[must_use]
pub fn failure(code: StatusCode, message: &str) -> Response {
    // Reasons as in k8s.io/apimachinery/pkg/apis/meta/v1/types.go.
    let reason = match code {
        StatusCode::BAD_REQUEST => "BadRequest",
        StatusCode::UNAUTHORIZED => "Unauthorized",
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::METHOD_NOT_ALLOWED => "MethodNotAllowed",
        StatusCode::PAYLOAD_TOO_LARGE => "RequestEntityTooLarge",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
        _ => "InternalError",
    };
    let status = Status {
        kind: "Status",
        api_version: "v1",
        metadata: Empty {},
        status: "Failure",
        message,
        reason,
        code: code.as_u16(),
    };
    json(code, &status)
}

/// `value` as JSON with the status `code`.
#[must_use]
pub fn json(code: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (code, [(CONTENT_TYPE, JSON)], body).into_response(),
        // None of the types answered here can fail to serialise; an error is still better than a wrong answer.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
