//! Writes: create, update, patch and apply, with preconditions and generations. Everything that changes an object but
//! deletion goes through here; how a request arrived is none of its business.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::admit;
use super::delete::CLEANUP;
use super::fields::{Applier, apply, note_update};
use super::kind::Kind;
use super::metadata::{
    check_finalizers, has_new_generation, identify, keep_identity, only_identity, same, set_or_remove, tidy,
};
use super::patch::{Patch, patched};
use super::scale;
use super::status::Status;
use super::store::{At, ChangeKind, Store, at_of};

/// The longest prefix that a generated name begins with: its end has 5 letters, and 63 are allowed.
const LONGEST_PREFIX: usize = 58;

/// Which part of an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All but its status.
    Main,
    /// Its status.
    Status,
    /// Its replicas, as a `Scale`.
    Scale,
}

impl Part {
    /// As in paths; nothing for [`Part::Main`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Status => "status",
            Self::Scale => "scale",
        }
    }
}

/// Who writes, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct By<'a> {
    pub(super) manager: &'a str,
    /// Whether `managedFields` are kept for this write: the control plane's own are not worth their cost.
    pub(super) tracks: bool,
    pub(super) now: Timestamp,
    pub(super) dry_run: bool,
}

impl By<'_> {
    pub(super) fn time(&self) -> String {
        format!("{:.0}", self.now)
    }
}

/// An object that takes the place of another.
struct Successor<'a> {
    kind: &'a Kind,
    part: Part,
    at: &'a At,
    live: &'a Arc<Value>,
    object: Value,
    /// Whether `object` says already who owns what.
    is_applied: bool,
}

impl Store {
    pub(super) fn create(
        &mut self,
        kind: &Kind,
        namespace: &str,
        object: Value,
        by: By<'_>,
    ) -> Result<Arc<Value>, Status> {
        let mut object = self.admit_new(kind, namespace, object, by)?;
        if by.tracks {
            let time = by.time();
            note_update(kind, None, &mut object, applier(by, Part::Main, false, &time));
        }
        Ok(self.store_new(kind, object, by))
    }

    pub(super) fn update(
        &mut self,
        kind: &Kind,
        part: Part,
        at: &At,
        mut object: Value,
        by: By<'_>,
    ) -> Result<Arc<Value>, Status> {
        if part == Part::Scale {
            return self.update_scale(kind, at, &object, by);
        }
        identify(kind, &at.0, &mut object)?;
        check_name(at, &object)?;
        let Some(live) = self.get(kind, at) else {
            if part == Part::Main && kind.is_created_by_update() {
                set_or_remove(&mut object["metadata"], "resourceVersion", Value::Null);
                return self.create(kind, &at.0, object, by);
            }
            return Err(Status::not_found(kind, &at.1));
        };
        check_uid(kind, at, &live, &object)?;
        check_version(kind, at, &live, &object)?;
        self.put(Successor { kind, part, at, live: &live, object, is_applied: false }, by)
    }

    pub(super) fn patch(
        &mut self,
        kind: &Kind,
        part: Part,
        at: &At,
        patch: &Patch,
        by: By<'_>,
    ) -> Result<Arc<Value>, Status> {
        let live = self.get(kind, at);
        if part == Part::Scale {
            let live = live.ok_or_else(|| Status::not_found(kind, &at.1))?;
            let shown = scale::of(kind, &live).ok_or_else(Status::no_such_path)?;
            let patched = patched(kind, &shown, patch)?;
            return self.update_scale(kind, at, &patched, by);
        }
        let Patch::Apply { object, force } = patch else {
            let live = live.ok_or_else(|| Status::not_found(kind, &at.1))?;
            let mut object = patched(kind, &live, patch)?;
            identify(kind, &at.0, &mut object)?;
            check_name(at, &object)?;
            check_version(kind, at, &live, &object)?;
            return self.put(Successor { kind, part, at, live: &live, object, is_applied: false }, by);
        };
        self.apply(kind, part, at, object, Applying { live, force: *force }, by)
    }

    fn apply(
        &mut self,
        kind: &Kind,
        part: Part,
        at: &At,
        applied: &Value,
        Applying { live, force }: Applying,
        by: By<'_>,
    ) -> Result<Arc<Value>, Status> {
        for (name, wanted) in [("apiVersion", kind.api_version()), ("kind", kind.kind.clone())] {
            if applied[name].as_str().unwrap_or_default().is_empty() {
                let message = format!("invalid object: {name} is missing, {wanted:?} is expected");
                return Err(Status::bad_request(message));
            }
        }
        let mut applied = applied.clone();
        identify(kind, &at.0, &mut applied)?;
        if applied["metadata"].get("name").is_none() {
            applied["metadata"]["name"] = json!(at.1);
        }
        check_name(at, &applied)?;
        if applied["metadata"].get("managedFields").is_some_and(|fields| !fields.is_null()) {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        let time = by.time();
        let applier = applier(by, part, force, &time);
        let Some(live) = live else {
            if part != Part::Main {
                return Err(Status::not_found(kind, &at.1));
            }
            if let Some(uid) = applied["metadata"]["uid"].as_str().filter(|uid| !uid.is_empty()) {
                let why =
                    format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
                return Err(Status::conflict(kind, &at.1, &why));
            }
            let mut object = apply(kind, &only_identity(&applied), &applied, applier)?;
            let managed = object["metadata"]["managedFields"].take();
            let mut object = self.admit_new(kind, &at.0, object, by)?;
            set_or_remove(&mut object["metadata"], "managedFields", managed);
            return Ok(self.store_new(kind, object, by));
        };
        // Unlike an update, an apply need not name one.
        if applied["metadata"].get("resourceVersion").is_some() {
            check_version(kind, at, &live, &applied)?;
        }
        let mut object = apply(kind, &live, &applied, applier)?;
        // Other than a PUT's, an apply's uid is no precondition: it is a field that cannot be changed.
        if let Some(uid) = applied["metadata"].get("uid") {
            object["metadata"]["uid"] = uid.clone();
        }
        self.put(Successor { kind, part, at, live: &live, object, is_applied: true }, by)
    }

    /// A new object with all that the API server gives it, not stored yet.
    fn admit_new(&mut self, kind: &Kind, namespace: &str, mut object: Value, by: By<'_>) -> Result<Value, Status> {
        identify(kind, namespace, &mut object)?;
        if kind.namespaced {
            self.check_namespace(kind, namespace, &object)?;
        }
        if self.is_leaving("apiextensions.k8s.io", "customresourcedefinitions", &kind.qualified()) {
            let message = "create not allowed while custom resource definition is terminating";
            return Err(Status::new(405, "MethodNotAllowed", message));
        }
        let suffix = object["metadata"]["name"].as_str().unwrap_or_default().is_empty().then(|| self.suffix());
        let uid = self.uid();
        let metadata = &mut object["metadata"];
        if let Some(suffix) = suffix {
            let prefix = metadata["generateName"].as_str().unwrap_or_default();
            if prefix.is_empty() {
                let causes = [admit::required("metadata.name", "name or generateName is required")];
                return Err(Status::invalid(kind, "", &causes));
            }
            let prefix = prefix.get(..LONGEST_PREFIX).unwrap_or(prefix);
            metadata["name"] = json!(format!("{prefix}{suffix}"));
        }
        let sent = metadata["resourceVersion"].as_str().is_some_and(|version| !matches!(version, "" | "0"));
        for name in [
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "managedFields",
            "resourceVersion",
            "selfLink",
        ] {
            set_or_remove(metadata, name, Value::Null);
        }
        metadata["uid"] = json!(uid);
        metadata["creationTimestamp"] = json!(by.time());
        if kind.has_generation() {
            metadata["generation"] = json!(1);
        }
        tidy(metadata);
        if kind.has_status {
            set_or_remove(&mut object, "status", admit::first_status(kind));
        }
        admit::admit(kind, &mut object, None)?;
        if sent {
            // The one refusal that the API server words as an error of its own.
            return Err(Status::new(500, "", "resourceVersion should not be set on objects to be created"));
        }
        if self.get(kind, &at_of(&object)).is_some() {
            return Err(Status::already_exists(kind, &at_of(&object).1));
        }
        Ok(object)
    }

    fn store_new(&mut self, kind: &Kind, object: Value, by: By<'_>) -> Arc<Value> {
        if by.dry_run {
            return Arc::new(object);
        }
        let at = at_of(&object);
        let stored = self.commit(kind, at.clone(), object, ChangeKind::Added);
        self.follow(kind, &stored);
        self.collect_if_ownerless(kind, &at, &stored, by);
        if kind.kind == "Event" {
            self.expire_events(kind, by.now);
        }
        stored
    }

    /// Stores an object in the place of another, if it differs.
    fn put(&mut self, successor: Successor<'_>, by: By<'_>) -> Result<Arc<Value>, Status> {
        let Successor { kind, part, at, live, mut object, is_applied } = successor;
        // Each part is written by its own door only.
        if kind.has_status && part == Part::Status {
            // The status of a custom resource is all that is looked at.
            if kind.schema.is_none() {
                keep_identity(kind, live, &mut object)?;
            }
            let mut kept = (**live).clone();
            set_or_remove(&mut kept, "status", object["status"].take());
            if is_applied {
                set_or_remove(&mut kept["metadata"], "managedFields", object["metadata"]["managedFields"].take());
            }
            object = kept;
        } else if kind.has_status {
            set_or_remove(&mut object, "status", live.get("status").cloned().unwrap_or_default());
        }
        keep_identity(kind, live, &mut object)?;
        check_finalizers(kind, live, &object)?;
        tidy(&mut object["metadata"]);
        admit::admit(kind, &mut object, Some(live))?;
        if !is_applied {
            // Whatever managedFields they sent, the live ones count.
            let managed = live["metadata"]["managedFields"].clone();
            set_or_remove(&mut object["metadata"], "managedFields", managed);
            if by.tracks && **live != object {
                let time = by.time();
                note_update(kind, Some(live), &mut object, applier(by, part, false, &time));
            }
        }
        if same(live, &object) {
            return Ok(live.clone());
        }
        if has_new_generation(kind, part, live, &object) {
            let generation = live["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
            object["metadata"]["generation"] = json!(generation);
        }
        if by.dry_run {
            return Ok(Arc::new(object));
        }
        let is_leaving = object["metadata"].get("deletionTimestamp").is_some()
            && object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        if is_leaving && kind.plural != "namespaces" {
            // It goes as it was; the answer shows what was sent.
            self.remove(kind, at, live, by);
            return Ok(Arc::new(object));
        }
        let stored = self.commit(kind, at.clone(), object, ChangeKind::Modified);
        if is_leaving {
            self.settle(kind, at, by);
        } else {
            self.follow(kind, &stored);
        }
        Ok(stored)
    }

    fn update_scale(&mut self, kind: &Kind, at: &At, wanted: &Value, by: By<'_>) -> Result<Arc<Value>, Status> {
        let live = self.get(kind, at).ok_or_else(|| Status::not_found(kind, &at.1))?;
        let paths = kind.scale.as_ref().ok_or_else(Status::no_such_path)?;
        if wanted["metadata"]["name"].as_str().is_some_and(|name| name != at.1) {
            check_name(at, wanted)?;
        }
        check_uid(kind, at, &live, wanted)?;
        let version = &wanted["metadata"]["resourceVersion"];
        if version.as_str().is_some_and(|version| !version.is_empty())
            && *version != live["metadata"]["resourceVersion"]
        {
            return Err(Status::modified(kind, &at.1));
        }
        let replicas = wanted["spec"]["replicas"].as_i64().unwrap_or(0);
        if replicas < 0 {
            let causes = [admit::invalid("spec.replicas", &json!(replicas), "must be greater than or equal to 0")];
            return Err(Status::invalid_as(("autoscaling", "Scale"), &at.1, &causes));
        }
        let mut object = (*live).clone();
        scale::set(&mut object, &paths.spec, json!(replicas));
        self.put(Successor { kind, part: Part::Scale, at, live: &live, object, is_applied: false }, by)
    }

    fn check_namespace(&self, kind: &Kind, namespace: &str, object: &Value) -> Result<(), Status> {
        if !self.namespace_exists(namespace) {
            return Err(admit::no_namespace(namespace));
        }
        if !self.is_leaving("", "namespaces", namespace) {
            return Ok(());
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut status = Status::forbidden(kind, name, &why);
        if let Some(details) = &mut status.details {
            let message = format!("namespace {namespace} is being terminated");
            details["causes"] =
                json!([{"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"}]);
        }
        Err(status)
    }

    fn namespace_exists(&self, name: &str) -> bool {
        self.table("", "namespaces").is_some_and(|table| table.objects.contains_key(&(String::new(), name.to_owned())))
    }

    /// Whether an object without a namespace is there and being deleted.
    fn is_leaving(&self, group: &str, plural: &str, name: &str) -> bool {
        let found = self.table(group, plural).and_then(|table| table.objects.get(&(String::new(), name.to_owned())));
        found.is_some_and(|object| object["metadata"].get("deletionTimestamp").is_some())
    }

    /// What follows from a stored object: a definition makes its kind known.
    fn follow(&mut self, kind: &Kind, stored: &Arc<Value>) {
        if kind.plural != "customresourcedefinitions" || stored["metadata"].get("deletionTimestamp").is_some() {
            return;
        }
        let Some(custom) = Kind::of_crd(stored) else { return };
        self.add_kind(custom);
        if stored["status"]["conditions"].as_array().is_some_and(|conditions| !conditions.is_empty()) {
            return;
        }
        let mut established = (**stored).clone();
        let at = stored["metadata"]["creationTimestamp"].clone();
        let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": at});
        let versions = stored["spec"]["versions"].as_array().into_iter().flatten();
        let kept: Vec<_> =
            versions.filter(|version| version["storage"] == true).map(|version| &version["name"]).collect();
        established["status"] = json!({
            "acceptedNames": stored["spec"]["names"], "storedVersions": kept,
            "conditions": [
                condition("NamesAccepted", "NoConflicts", "no conflicts found"),
                condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
            ],
        });
        established["metadata"]["finalizers"] = json!([CLEANUP]);
        self.commit(kind, at_of(stored), established, ChangeKind::Modified);
    }
}

/// What is applied to what.
struct Applying {
    live: Option<Arc<Value>>,
    force: bool,
}

const fn applier<'a>(by: By<'a>, part: Part, force: bool, time: &'a str) -> Applier<'a> {
    Applier { manager: by.manager, force, part, time }
}

fn check_name(at: &At, object: &Value) -> Result<(), Status> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if name == at.1 {
        return Ok(());
    }
    let message = format!("the name of the object ({name}) does not match the name on the URL ({})", at.1);
    Err(Status::bad_request(message))
}

/// The uid of an object that is sent whole is a precondition.
fn check_uid(kind: &Kind, at: &At, live: &Value, wanted: &Value) -> Result<(), Status> {
    let live = live["metadata"]["uid"].as_str().unwrap_or_default();
    let Some(uid) = wanted["metadata"]["uid"].as_str().filter(|uid| !uid.is_empty() && *uid != live) else {
        return Ok(());
    };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID \
         in precondition: {uid}, UID in object meta: {live}",
        kind.storage_key(&at.0, &at.1)
    );
    Err(Status::conflict(kind, &at.1, &why))
}

/// A version that is named must be the present one, and some kinds require that one is named.
fn check_version(kind: &Kind, at: &At, live: &Value, wanted: &Value) -> Result<(), Status> {
    let named = wanted["metadata"]["resourceVersion"].as_str().filter(|version| !matches!(*version, "" | "0"));
    match named {
        Some(version) if live["metadata"]["resourceVersion"] != *version => Err(Status::modified(kind, &at.1)),
        Some(_) => Ok(()),
        None if kind.is_updated_blindly() => Ok(()),
        None => {
            let causes = [admit::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update")];
            // The API server names the resource here, where it names the kind elsewhere.
            Err(Status::invalid_as((&kind.group, &kind.plural), &at.1, &causes))
        }
    }
}
