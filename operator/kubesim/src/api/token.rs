//! Tokens of ServiceAccounts, by the subresource `token`: of the shape of a real one, signed by nobody. It stores nothing.

use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::admit::invalid;
use super::status::Status;

/// Who issues them, and who they are for where a request does not say.
const ISSUER: &str = "https://kubernetes.default.svc";
/// How long one is good where a request does not say, in seconds.
const LIFETIME: i64 = 3600;
/// The least and the most that may be asked for, in seconds.
const LIFETIMES: std::ops::RangeInclusive<i64> = 600..=1 << 32;

/// Answers a request for a token of `account`.
pub(super) fn answer(account: &Value, request: &Value, now: Timestamp) -> Result<Value, Status> {
    let metadata = &account["metadata"];
    let mut spec = json!({"audiences": [ISSUER], "expirationSeconds": LIFETIME, "boundObjectRef": null});
    for field in ["audiences", "expirationSeconds", "boundObjectRef"] {
        let given = &request["spec"][field];
        if !given.is_null() && *given != json!([]) {
            spec[field] = given.clone();
        }
    }
    let seconds = spec["expirationSeconds"].as_i64().unwrap_or_default();
    if !LIFETIMES.contains(&seconds) {
        let why = if seconds < *LIFETIMES.start() {
            "may not specify a duration less than 10 minutes"
        } else {
            "may not specify a duration larger than 2^32 seconds"
        };
        let cause = invalid("spec.expirationSeconds", &spec["expirationSeconds"], why);
        return Err(Status::invalid_as(("authentication.k8s.io", "TokenRequest"), "", &[cause]));
    }
    let until = now + SignedDuration::from_secs(seconds);
    let (namespace, name) = (metadata["namespace"].as_str(), metadata["name"].as_str());
    let subject = format!("system:serviceaccount:{}:{}", namespace.unwrap_or_default(), name.unwrap_or_default());
    let claims = json!({"aud": spec["audiences"], "exp": until.as_second(), "iat": now.as_second(), "iss": ISSUER,
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": metadata["uid"]}},
        "nbf": now.as_second(), "sub": subject});
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let token = format!("{}.{}.simulated", part(&json!({"alg": "none", "typ": "JWT"})), part(&claims));
    Ok(json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace, "uid": metadata["uid"], "creationTimestamp": whole(now)},
        "spec": spec, "status": {"token": token, "expirationTimestamp": whole(until)},
    }))
}

/// Times of the API have whole seconds.
fn whole(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}
