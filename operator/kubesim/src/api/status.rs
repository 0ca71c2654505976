//! Answers that are no success, in the words of the Kubernetes API server. It shapes answers and decides none.

use serde_json::{Value, json};

use super::kind::Kind;

/// A `metav1.Status` of failure.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message} ({code} {reason})")]
pub struct Status {
    /// HTTP status.
    pub code: u16,
    /// `NotFound`, `Conflict`, ...
    pub reason: String,
    /// The text.
    pub message: String,
    /// `details`, if there are any.
    pub details: Option<Value>,
}

/// One thing that is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldValueRequired`, ...
    pub reason: &'static str,
    /// The path of the field.
    pub field: String,
    /// The text, without the field.
    pub message: String,
}

impl Status {
    /// Any failure.
    #[must_use]
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self { code, reason: reason.to_owned(), message: message.into(), details: None }
    }

    /// 404 for an object.
    #[must_use]
    pub fn not_found(kind: &Kind, name: &str) -> Self {
        Self::about(404, "NotFound", kind, name, format!("{} {name:?} not found", kind.qualified()))
    }

    /// 404 for a path.
    #[must_use]
    pub fn no_such_path() -> Self {
        let message = "the server could not find the requested resource";
        Self { details: Some(json!({})), ..Self::new(404, "NotFound", message) }
    }

    /// 405.
    #[must_use]
    pub fn no_such_method() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self { details: Some(json!({})), ..Self::new(405, "MethodNotAllowed", message) }
    }

    /// 415 for a patch of no known kind.
    #[must_use]
    pub fn unsupported_patch(kind: &Kind) -> Self {
        let strategic = if kind.schema.is_none() { ", application/strategic-merge-patch+json" } else { "" };
        let known = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {known}{strategic}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 409 for a name that is taken.
    #[must_use]
    pub fn already_exists(kind: &Kind, name: &str) -> Self {
        Self::about(409, "AlreadyExists", kind, name, format!("{} {name:?} already exists", kind.qualified()))
    }

    /// 409 for an object that has changed.
    #[must_use]
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", kind.qualified());
        Self::about(409, "Conflict", kind, name, message)
    }

    /// 409 for an object that was modified since it was read.
    #[must_use]
    pub fn modified(kind: &Kind, name: &str) -> Self {
        Self::conflict(
            kind,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 403.
    #[must_use]
    pub fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        Self::about(403, "Forbidden", kind, name, format!("{} {name:?} is forbidden: {why}", kind.qualified()))
    }

    /// 422.
    #[must_use]
    pub fn invalid(kind: &Kind, name: &str, causes: &[Cause]) -> Self {
        Self::invalid_as((&kind.group, &kind.kind), name, causes)
    }

    /// 422 for something of a group that is called `kind`.
    #[must_use]
    pub fn invalid_as((group, kind): (&str, &str), name: &str, causes: &[Cause]) -> Self {
        let mut said: Vec<String> = Vec::new();
        for line in causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)) {
            // Kubernetes finds some things twice, and says them once.
            if !said.contains(&line) {
                said.push(line);
            }
        }
        let said = if let [one] = &said[..] { one.clone() } else { format!("[{}]", said.join(", ")) };
        let what = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let causes: Vec<_> = causes
            .iter()
            .map(|cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field}))
            .collect();
        let mut details = json!({"kind": kind, "causes": causes});
        for (field, value) in [("name", name), ("group", group)] {
            if !value.is_empty() {
                details[field] = json!(value);
            }
        }
        Self {
            code: 422,
            reason: "Invalid".to_owned(),
            message: format!("{what} {name:?} is invalid: {said}"),
            details: Some(details),
        }
    }

    /// 400.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 410 for a version that is not kept any more.
    #[must_use]
    pub fn expired(asked: u64, oldest: u64) -> Self {
        Self::new(410, "Expired", format!("too old resource version: {asked} ({oldest})"))
    }

    /// 504 for a version that is still to come.
    #[must_use]
    pub fn too_new(asked: u64, newest: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {newest}");
        let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
        let details = Some(json!({"causes": [cause], "retryAfterSeconds": 1}));
        Self { details, ..Self::new(504, "Timeout", message) }
    }

    /// 503.
    #[must_use]
    pub fn unavailable(message: &str) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// Whether the object is not there.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        self.code == 404
    }

    /// Whether somebody else wrote in between.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.code == 409 && self.reason == "Conflict"
    }

    /// As the API server writes it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut value = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            value["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            value["details"] = details.clone();
        }
        value
    }

    fn about(code: u16, reason: &str, kind: &Kind, name: &str, message: String) -> Self {
        let details = if kind.group.is_empty() {
            json!({"name": name, "kind": kind.plural})
        } else {
            json!({"name": name, "group": kind.group, "kind": kind.plural})
        };
        Self { code, reason: reason.to_owned(), message, details: Some(details) }
    }
}
