//! What each verb does to the objects of a kind: it reads a request's parameters and body, has the store act, and shapes the
//! answer. What may be written is decided in `write`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use serde_json::{Value, json};

use super::admit::required;
use super::cluster::{Cluster, at};
use super::delete::{Deleted, Deletion, Propagation};
use super::http::Answer;
use super::kind::Kind;
use super::lists::List;
use super::patch::Patch;
use super::query::{Asked, Query};
use super::scale;
use super::selector::Selector;
use super::status::{Cause, Status};
use super::store::at_of;
use super::token;
use super::write::{By, Part};

/// A request about objects of a known kind.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) user: &'a Arc<str>,
    pub(super) kind: &'a Arc<Kind>,
    pub(super) asked: &'a Asked,
    pub(super) verb: &'static str,
    pub(super) query: &'a Query,
    pub(super) request: &'a Request<Bytes>,
    /// How old the state is that a list or a watch starts from: a fault.
    pub(super) stale: Option<Duration>,
}

impl Cluster {
    pub(super) fn objects(&self, asking: Asking<'_>) -> Result<Answer, Status> {
        let Asking { kind, asked, verb, query, request, .. } = asking;
        if asked.subresource == "token" && kind.kind == "ServiceAccount" {
            return self.token(asking);
        }
        let part = asked.part().ok_or_else(Status::no_such_path)?;
        if (part == Part::Status && !kind.has_status) || (part == Part::Scale && kind.scale.is_none()) {
            return Err(Status::no_such_path());
        }
        if kind.namespaced && asked.namespace.is_none() {
            if asked.name.is_some() {
                return Err(Status::no_such_path());
            }
            if !matches!(verb, "list" | "watch") {
                return Err(Status::no_such_method());
            }
        }
        let namespace = asked.namespace.clone().filter(|_| kind.namespaced).unwrap_or_default();
        let at = at(&namespace, asked.name.as_deref().unwrap_or_default());
        let dry_run = query.text("dryRun") == "All";
        let by = By { manager: manager(request, query), tracks: true, now: self.now(), dry_run };
        match verb {
            "list" => self.list_request(asking).map(Answer::List),
            "watch" => self.watch_request(asking).map(|watch| Answer::Watch(Box::new(watch))),
            "get" => {
                let object = self.store().get(kind, &at).ok_or_else(|| Status::not_found(kind, &at.1))?;
                Ok(Answer::Object(200, shown(kind, part, object)))
            }
            "create" if asked.name.is_none() => {
                let object = whole(kind, request, query)?;
                Ok(Answer::Object(201, self.store().create(kind, &namespace, object, by)?))
            }
            "update" if asked.name.is_some() => {
                let object = if part == Part::Scale { parse(request.body())? } else { whole(kind, request, query)? };
                let mut store = self.store();
                let code = if store.get(kind, &at).is_none() { 201 } else { 200 };
                let updated = store.update(kind, part, &at, object, by)?;
                Ok(Answer::Object(code, shown(kind, part, updated)))
            }
            "patch" if asked.name.is_some() => {
                let patch = patch(kind, request, query)?;
                let mut store = self.store();
                let code = if store.get(kind, &at).is_none() { 201 } else { 200 };
                let patched = store.patch(kind, part, &at, &patch, by)?;
                Ok(Answer::Object(code, shown(kind, part, patched)))
            }
            "delete" => {
                let (deletion, dry_run) = deletion(request.body(), query)?;
                let by = By { dry_run: dry_run || by.dry_run, ..by };
                let deleted = self.store().delete(kind, &at, &deletion, by)?;
                Ok(Answer::Object(200, after_deletion(kind, deleted)))
            }
            "deletecollection" => {
                let selector = Selector::of(kind, query)?;
                let (deletion, dry_run) = deletion(request.body(), query)?;
                let by = By { dry_run: dry_run || by.dry_run, ..by };
                let mut store = self.store();
                let table = store.table(&kind.group, &kind.plural).ok_or_else(Status::no_such_path)?;
                let items = table.list(asked.namespace.as_deref(), &selector);
                for object in &items {
                    // One that went along with another is gone as wanted.
                    match store.delete(kind, &at_of(object), &deletion, by) {
                        Err(status) if !status.is_not_found() => return Err(status),
                        _ => {}
                    }
                }
                Ok(Answer::List(List { kind: kind.clone(), items, version: store.version, next: None }))
            }
            _ => Err(Status::no_such_method()),
        }
    }

    /// A token of a `ServiceAccount`: it can be created, and nothing else.
    fn token(&self, asking: Asking<'_>) -> Result<Answer, Status> {
        let Asking { kind, asked, request, .. } = asking;
        let (Some(namespace), Some(name), "create") = (&asked.namespace, &asked.name, asking.verb) else {
            return Err(Status::no_such_method());
        };
        let account = self.store().get(kind, &at(namespace, name)).ok_or_else(|| Status::not_found(kind, name))?;
        let answer = token::answer(&account, &parse(request.body())?, self.now())?;
        Ok(Answer::Object(201, Arc::new(answer)))
    }
}

/// Who owns what is written: whoever they say, or the program that asks.
fn manager<'a>(request: &'a Request<Bytes>, query: &'a Query) -> &'a str {
    let agent = request.headers().get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or("unknown");
    match query.text("fieldManager") {
        "" => agent.split('/').next().unwrap_or(agent),
        manager => manager,
    }
}

fn parse(body: &Bytes) -> Result<Value, Status> {
    serde_json::from_slice(body).map_err(|error| {
        Status::bad_request(format!("the object provided is unrecognized (must be of type JSON): {error}"))
    })
}

/// An object that is sent whole.
fn whole(kind: &Kind, request: &Request<Bytes>, query: &Query) -> Result<Value, Status> {
    let object = parse(request.body())?;
    let Some(schema) = &kind.schema else { return Ok(object) };
    let name = &kind.kind;
    for (field, called) in [("kind", "Kind"), ("apiVersion", "apiVersion")] {
        if object[field].as_str().unwrap_or_default().is_empty() {
            let text = String::from_utf8_lossy(request.body());
            let beginning: String = text.chars().take(30).collect();
            let more = if beginning.len() < text.len() { " ..." } else { "" };
            let why = format!("Object '{called}' is missing in '{text}' ({beginning}{more})");
            let message = format!("the object provided is unrecognized (must be of type {name}): {why}");
            return Err(Status::bad_request(message));
        }
    }
    if query.text("fieldValidation") == "Strict" {
        let unknown = schema.unknown(&object);
        if !unknown.is_empty() {
            let said: Vec<_> = unknown.iter().map(|field| format!("unknown field {field:?}")).collect();
            let why = format!("strict decoding error: {}", said.join(", "));
            let message = format!("{name} in version {:?} cannot be handled as a {name}: {why}", kind.version);
            return Err(Status::bad_request(message));
        }
    }
    Ok(object)
}

fn patch(kind: &Kind, request: &Request<Bytes>, query: &Query) -> Result<Patch, Status> {
    let content = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match content.split(';').next().unwrap_or_default() {
        "application/merge-patch+json" => parse(request.body()).map(Patch::Merge),
        "application/strategic-merge-patch+json" if kind.schema.is_none() => {
            parse(request.body()).map(Patch::Strategic)
        }
        "application/json-patch+json" => match parse(request.body())? {
            Value::Array(operations) => Ok(Patch::Json(operations)),
            _ => Err(Status::bad_request("a JSON patch is a list of operations")),
        },
        "application/apply-patch+yaml" => {
            if query.text("fieldManager").is_empty() {
                let cause = required("fieldManager", "is required for apply patch");
                return Err(Status::invalid_as(("meta.k8s.io", "PatchOptions"), "", &[cause]));
            }
            let object = serde_yaml_ng::from_slice(request.body())
                .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?;
            Ok(Patch::Apply { object, force: query.is_set("force") })
        }
        _ => Err(Status::unsupported_patch(kind)),
    }
}

/// What a deletion is bound to, and whether it is for show only.
fn deletion(body: &Bytes, query: &Query) -> Result<(Deletion, bool), Status> {
    let options = if body.is_empty() { json!({}) } else { parse(body)? };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let policy = text(&options["propagationPolicy"]).unwrap_or_else(|| query.text("propagationPolicy").to_owned());
    let propagation = match policy.as_str() {
        "Orphan" => Some(Propagation::Orphan),
        "Foreground" => Some(Propagation::Foreground),
        "Background" => Some(Propagation::Background),
        "" => match &options["orphanDependents"] {
            Value::Bool(true) => Some(Propagation::Orphan),
            Value::Bool(false) => Some(Propagation::Background),
            _ => None,
        },
        other => {
            let message = format!(
                "Unsupported value: {other:?}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
            );
            let cause = Cause { reason: "FieldValueNotSupported", field: "propagationPolicy".to_owned(), message };
            return Err(Status::invalid_as(("meta.k8s.io", "DeleteOptions"), "", &[cause]));
        }
    };
    let (uid, version) = (text(&options["preconditions"]["uid"]), text(&options["preconditions"]["resourceVersion"]));
    let dry_run = options["dryRun"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "All"));
    Ok((Deletion { uid, version, propagation }, dry_run))
}

fn shown(kind: &Kind, part: Part, object: Arc<Value>) -> Arc<Value> {
    let scale = if part == Part::Scale { scale::of(kind, &object) } else { None };
    scale.map_or(object, Arc::new)
}

/// What a deletion answers: the object while something holds it, else that it is gone.
fn after_deletion(kind: &Kind, Deleted { object, at_once }: Deleted) -> Arc<Value> {
    if !at_once || kind.kind == "Pod" {
        return object;
    }
    let mut details =
        json!({"name": object["metadata"]["name"], "kind": kind.plural, "uid": object["metadata"]["uid"]});
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    Arc::new(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}))
}
