//! A small API server in memory for tests: named objects with resourceVersions, conflicts, and a log of writes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, Response, StatusCode};
use kube::Client;
use serde_json::{Value, json};

/// Objects by path, and what was written.
#[derive(Debug, Default)]
pub(crate) struct FakeApi {
    objects: BTreeMap<String, Value>,
    /// Method and path of every write that succeeded.
    pub(crate) writes: Vec<(Method, String)>,
    /// How many writes are still to be answered 409 as if somebody else had been faster.
    pub(crate) conflicts: usize,
    version: u64,
    next_uid: u64,
}

impl FakeApi {
    /// An empty API and a client of it.
    pub(crate) fn new() -> (Arc<Mutex<Self>>, Client) {
        let api = Arc::new(Mutex::new(Self::default()));
        let shared = Arc::clone(&api);
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let shared = Arc::clone(&shared);
            async move {
                let (head, body) = request.into_parts();
                let body = to_bytes(Body::new(body), usize::MAX).await.unwrap();
                let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                let (code, value) = shared.lock().unwrap().answer(&head.method, head.uri.path(), body);
                let response = Response::builder().status(code).body(Body::from(value.to_string())).unwrap();
                Ok::<_, Infallible>(response)
            }
        });
        (api, Client::new(service, "windlass-system"))
    }

    /// The object at `path`.
    pub(crate) fn get(&self, path: &str) -> Option<&Value> {
        self.objects.get(path)
    }

    /// Puts an object there, as somebody else would.
    pub(crate) fn put(&mut self, path: &str, mut object: Value) {
        self.version += 1;
        self.next_uid += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        object["metadata"]["uid"] = format!("uid-{}", self.next_uid).into();
        self.objects.insert(path.to_owned(), object);
    }

    fn answer(&mut self, method: &Method, path: &str, body: Value) -> (StatusCode, Value) {
        if *method != Method::GET && self.conflicts > 0 {
            self.conflicts -= 1;
            return failure(StatusCode::CONFLICT);
        }
        let path = match body.pointer("/metadata/name").and_then(Value::as_str) {
            Some(name) if *method == Method::POST => format!("{path}/{name}"),
            _ => path.to_owned(),
        };
        let found = self.objects.get(&path).cloned();
        let version = body.pointer("/metadata/resourceVersion").cloned();
        let is_stale =
            |found: &Value| version.as_ref().is_some_and(|version| *version != found["metadata"]["resourceVersion"]);
        let new = match (method.as_str(), found) {
            ("GET", Some(found)) => return (StatusCode::OK, found),
            ("POST", Some(_)) => return failure(StatusCode::CONFLICT),
            ("PUT" | "PATCH", Some(found)) if is_stale(&found) => return failure(StatusCode::CONFLICT),
            ("POST", None) | ("PUT", Some(_)) => body,
            ("PATCH", found) => merge(found.unwrap_or_else(|| json!({})), &body),
            ("DELETE", Some(found)) => {
                let uid = body.pointer("/preconditions/uid");
                if uid.is_some_and(|uid| *uid != found["metadata"]["uid"]) {
                    return failure(StatusCode::CONFLICT);
                }
                self.objects.remove(&path);
                self.writes.push((method.clone(), path));
                return (StatusCode::OK, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}));
            }
            _ => return failure(StatusCode::NOT_FOUND),
        };
        self.put(&path, new);
        self.writes.push((method.clone(), path.clone()));
        (StatusCode::OK, self.objects[&path].clone())
    }
}

fn failure(code: StatusCode) -> (StatusCode, Value) {
    let reason = code.canonical_reason().unwrap_or_default().replace(' ', "");
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": reason,
        "reason": reason, "code": code.as_u16()});
    (code, status)
}

fn merge(mut object: Value, patch: &Value) -> Value {
    match patch {
        Value::Object(fields) => {
            for (key, value) in fields {
                let old = object.get(key).cloned().unwrap_or(Value::Null);
                let old = if value.is_object() && !old.is_object() { json!({}) } else { old };
                object[key] = merge(old, value);
            }
            object
        }
        other => other.clone(),
    }
}
