//! Writes: create, update, patch, apply and delete, with preconditions, generations, finalizers and owners. Everything that
//! changes an object goes through here; how a request arrived is none of its business.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::admit;
use super::fields::{Applier, apply, note_update};
use super::kind::Kind;
use super::object::{has_new_generation, identify, same, set_or_remove, strip_labels, tidy};
use super::patch::{Patch, patched};
use super::scale;
use super::status::Status;
use super::store::{At, ChangeKind, Store, at_of};

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

/// What a deletion is bound to, and what becomes of dependents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deletion {
    /// Only the object with this uid.
    pub uid: Option<String>,
    /// Only the object at this version.
    pub version: Option<String>,
    /// Whether dependents stay.
    pub orphan: bool,
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
    fn time(&self) -> String {
        format!("{:.0}", self.now)
    }
}

impl Store {
    pub(super) fn create(
        &mut self,
        kind: &Kind,
        namespace: &str,
        mut object: Value,
        by: By<'_>,
    ) -> Result<Arc<Value>, Status> {
        identify(kind, namespace, &mut object)?;
        let metadata =
            object["metadata"].as_object_mut().ok_or_else(|| Status::bad_request("metadata is no object"))?;
        if metadata.get("resourceVersion").is_some_and(|version| version != "" && version != "0") {
            // The one refusal that the API server words as an error of its own.
            return Err(Status::new(500, "", "resourceVersion should not be set on objects to be created"));
        }
        if metadata.get("name").and_then(Value::as_str).unwrap_or_default().is_empty() {
            let prefix = metadata.get("generateName").and_then(Value::as_str).unwrap_or_default().to_owned();
            if prefix.is_empty() {
                let causes = [admit::required("metadata.name", "name or generateName is required")];
                return Err(Status::invalid(kind, "", &causes));
            }
            metadata.insert("name".to_owned(), json!(format!("{prefix}{}", self.suffix())));
        }
        for name in ["deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink"] {
            metadata.remove(name);
        }
        metadata.insert("uid".to_owned(), json!(self.uid()));
        metadata.insert("creationTimestamp".to_owned(), json!(by.time()));
        if kind.has_status || kind.schema.is_some() || matches!(kind.plural.as_str(), "endpointslices") {
            metadata.insert("generation".to_owned(), json!(1));
        }
        metadata.remove("resourceVersion");
        if kind.has_status
            && let Some(fields) = object.as_object_mut()
        {
            // A status is written by its own door only.
            fields.remove("status");
        }
        let at = at_of(&object);
        if kind.namespaced && !self.namespace_exists(&at.0) {
            return Err(admit::no_namespace(&at.0));
        }
        admit::admit(kind, &mut object)?;
        if self.get(kind, &at).is_some() {
            return Err(Status::already_exists(kind, &at.1));
        }
        if by.tracks {
            note_update(kind, None, &mut object, by.applier("", false, &by.time()));
        }
        if by.dry_run {
            return Ok(Arc::new(object));
        }
        let stored = self.commit(kind, at, object, ChangeKind::Added);
        self.follow(kind, &stored);
        if kind.kind == "Event" {
            self.expire_events(kind, by.now);
        }
        Ok(stored)
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
        if object["metadata"]["name"] != json!(at.1) {
            let message = format!(
                "the name of the object ({}) does not match the name on the URL ({})",
                object["metadata"]["name"].as_str().unwrap_or_default(),
                at.1
            );
            return Err(Status::bad_request(message));
        }
        let live = self.get(kind, at).ok_or_else(|| Status::not_found(kind, &at.1))?;
        check_preconditions(kind, at, &live, &object)?;
        self.put(kind, part, at, &live, object, by, true)
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
            let patched = patched(&shown, patch)?;
            return self.update_scale(kind, at, &patched, by);
        }
        let Patch::Apply { object, force } = patch else {
            let live = live.ok_or_else(|| Status::not_found(kind, &at.1))?;
            let mut object = patched(&live, patch)?;
            identify(kind, &at.0, &mut object)?;
            check_preconditions(kind, at, &live, &object)?;
            return self.put(kind, part, at, &live, object, by, true);
        };
        let mut applied = object.clone();
        identify(kind, &at.0, &mut applied)?;
        if applied["metadata"].get("managedFields").is_some_and(|fields| !fields.is_null()) {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        let time = by.time();
        let applier = by.applier(part.as_str(), *force, &time);
        let Some(live) = live else {
            if part != Part::Main {
                return Err(Status::not_found(kind, &at.1));
            }
            if applied["metadata"].get("uid").is_some() {
                return Err(Status::conflict(
                    kind,
                    &at.1,
                    "uid mismatch: the provided object specified a uid, and no existing object was found",
                ));
            }
            applied["metadata"]["name"] = json!(at.1);
            let empty = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": applied["metadata"]});
            let mut made = apply(kind, &strip_labels(&empty), &applied, applier)?;
            let managed = made["metadata"]["managedFields"].take();
            let quiet = By { tracks: false, ..by };
            made["metadata"]["name"] = json!(at.1);
            return self.create_managed(kind, &at.0, made, managed, quiet);
        };
        check_preconditions(kind, at, &live, &applied)?;
        let object = apply(kind, &live, &applied, applier)?;
        self.put(kind, part, at, &live, object, By { tracks: false, ..by }, false)
    }

    pub(super) fn delete(
        &mut self,
        kind: &Kind,
        at: &At,
        deletion: &Deletion,
        by: By<'_>,
    ) -> Result<Arc<Value>, Status> {
        let live = self.get(kind, at).ok_or_else(|| Status::not_found(kind, &at.1))?;
        let is_other = |wanted: &Option<String>, field: &str| {
            wanted.as_deref().is_some_and(|wanted| live["metadata"][field].as_str() != Some(wanted))
        };
        if is_other(&deletion.uid, "uid") || is_other(&deletion.version, "resourceVersion") {
            let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
            let why = format!(
                "Precondition failed: UID in precondition: {}, UID in object meta: {uid}",
                deletion.uid.as_deref().unwrap_or_default()
            );
            return Err(Status::conflict(kind, &at.1, &why));
        }
        if by.dry_run {
            return Ok(live);
        }
        let finalizers = live["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
        if finalizers {
            if live["metadata"].get("deletionTimestamp").is_some() {
                return Ok(live);
            }
            let mut marked = (*live).clone();
            marked["metadata"]["deletionTimestamp"] = json!(by.time());
            marked["metadata"]["deletionGracePeriodSeconds"] = json!(0);
            return Ok(self.commit(kind, at.clone(), marked, ChangeKind::Modified));
        }
        Ok(self.remove(kind, at, &live, deletion.orphan, by))
    }

    /// Takes an object away, and then what it owned.
    fn remove(&mut self, kind: &Kind, at: &At, live: &Arc<Value>, orphan: bool, by: By<'_>) -> Arc<Value> {
        let gone = self.commit(kind, at.clone(), (**live).clone(), ChangeKind::Deleted);
        if kind.plural == "customresourcedefinitions"
            && let Some(custom) = Kind::of_crd(live)
        {
            self.remove_kind(&custom.group, &custom.plural);
        }
        let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
        for (kind, at) in self.dependents(uid, &at.0) {
            let Some(dependent) = self.get(&kind, &at) else { continue };
            let owners = dependent["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
            let others: Vec<_> = owners.iter().filter(|owner| owner["uid"] != uid).cloned().collect();
            if orphan || !others.is_empty() {
                let mut kept = (*dependent).clone();
                kept["metadata"]["ownerReferences"] = Value::Array(others);
                self.commit(&kind, at, kept, ChangeKind::Modified);
            } else {
                // It is there: it was just read, and nothing else runs meanwhile.
                let _ = self.delete(&kind, &at, &Deletion::default(), by);
            }
        }
        if kind.plural == "namespaces" {
            for (kind, at) in self.within(&at.1) {
                let _ = self.delete(&kind, &at, &Deletion::default(), by);
            }
        }
        gone
    }

    fn dependents(&self, owner: &str, namespace: &str) -> Vec<(Arc<Kind>, At)> {
        let mut found = Vec::new();
        for table in self.tables.values() {
            for (at, object) in &table.objects {
                let Some(owners) = object["metadata"]["ownerReferences"].as_array() else { continue };
                if (namespace.is_empty() || at.0 == namespace) && owners.iter().any(|known| known["uid"] == owner) {
                    found.push((table.kind.clone(), at.clone()));
                }
            }
        }
        found
    }

    fn within(&self, namespace: &str) -> Vec<(Arc<Kind>, At)> {
        let tables = self.tables.values().filter(|table| table.kind.namespaced);
        tables
            .flat_map(|table| table.objects.keys().map(|at| (table.kind.clone(), at.clone())))
            .filter(|(_, at)| at.0 == namespace)
            .collect()
    }

    pub(super) fn namespace_exists(&self, name: &str) -> bool {
        self.table("", "namespaces").is_some_and(|table| table.objects.contains_key(&(String::new(), name.to_owned())))
    }

    fn create_managed(
        &mut self,
        kind: &Kind,
        namespace: &str,
        object: Value,
        managed: Value,
        by: By<'_>,
    ) -> Result<Arc<Value>, Status> {
        // In one commit: the fields are those of whoever applied, and nobody else's.
        let at = (if kind.namespaced { namespace.to_owned() } else { String::new() }, at_of(&object).1);
        let dry = By { dry_run: true, ..by };
        let mut made = (*self.create(kind, namespace, object, dry)?).clone();
        made["metadata"]["managedFields"] = managed;
        if by.dry_run {
            return Ok(Arc::new(made));
        }
        let stored = self.commit(kind, at, made, ChangeKind::Added);
        self.follow(kind, &stored);
        Ok(stored)
    }

    /// Stores `object` in the place of `live`, if it differs.
    #[expect(clippy::too_many_arguments, reason = "one write has that many sides")]
    fn put(
        &mut self,
        kind: &Kind,
        part: Part,
        at: &At,
        live: &Arc<Value>,
        mut object: Value,
        by: By<'_>,
        tracks: bool,
    ) -> Result<Arc<Value>, Status> {
        if !object["metadata"].is_object() {
            return Err(Status::bad_request("metadata is no object"));
        }
        // Each part is written by its own door only.
        if kind.has_status {
            match part {
                Part::Status => {
                    let mut kept = (**live).clone();
                    kept["status"] = object["status"].take();
                    if kept["status"].is_null()
                        && let Some(fields) = kept.as_object_mut()
                    {
                        fields.remove("status");
                    }
                    kept["metadata"]["managedFields"] = object["metadata"]["managedFields"].take();
                    object = kept;
                }
                _ => match live.get("status") {
                    Some(status) => object["status"] = status.clone(),
                    None => {
                        if let Some(fields) = object.as_object_mut() {
                            fields.remove("status");
                        }
                    }
                },
            }
        }
        let metadata = &mut object["metadata"];
        for name in ["uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"] {
            match live["metadata"].get(name) {
                Some(value) => metadata[name] = value.clone(),
                None => {
                    if let Some(metadata) = metadata.as_object_mut() {
                        metadata.remove(name);
                    }
                }
            }
        }
        metadata["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
        tidy(metadata);
        admit::admit(kind, &mut object)?;
        if tracks {
            // Whatever managedFields they sent, the live ones count.
            let managed = live["metadata"]["managedFields"].clone();
            set_or_remove(&mut object["metadata"], "managedFields", managed);
            if same(live, &object) {
                return Ok(live.clone());
            }
            if by.tracks {
                let time = by.time();
                note_update(kind, Some(live), &mut object, by.applier(part.as_str(), false, &time));
            }
        } else {
            if object["metadata"]["managedFields"].is_null() {
                set_or_remove(&mut object["metadata"], "managedFields", Value::Null);
            }
            if same(live, &object) {
                return Ok(live.clone());
            }
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
        let stored = self.commit(kind, at.clone(), object, ChangeKind::Modified);
        if is_leaving {
            return Ok(self.remove(kind, at, &stored, false, by));
        }
        self.follow(kind, &stored);
        Ok(stored)
    }

    fn update_scale(&mut self, kind: &Kind, at: &At, wanted: &Value, by: By<'_>) -> Result<Arc<Value>, Status> {
        let live = self.get(kind, at).ok_or_else(|| Status::not_found(kind, &at.1))?;
        let paths = kind.scale.as_ref().ok_or_else(Status::no_such_path)?;
        check_preconditions(kind, at, &live, wanted)?;
        let replicas = wanted["spec"]["replicas"].as_i64().unwrap_or(0);
        if replicas < 0 {
            let causes = [admit::invalid("spec.replicas", &json!(replicas), "must be greater than or equal to 0")];
            return Err(Status::invalid(kind, &at.1, &causes));
        }
        let mut object = (*live).clone();
        scale::set(&mut object, &paths.spec, json!(replicas));
        self.put(kind, Part::Main, at, &live, object, by, true)
    }

    /// What follows from a stored object: a definition makes its kind known.
    fn follow(&mut self, kind: &Kind, stored: &Arc<Value>) {
        if kind.plural == "customresourcedefinitions"
            && let Some(custom) = Kind::of_crd(stored)
        {
            self.add_kind(custom);
            if stored["status"]["conditions"].is_null() {
                let mut established = (**stored).clone();
                let at = stored["metadata"]["creationTimestamp"].clone();
                let names = stored["spec"]["names"].clone();
                let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": at});
                established["status"] = json!({
                    "acceptedNames": names, "storedVersions": [stored["spec"]["versions"][0]["name"]],
                    "conditions": [
                        condition("NamesAccepted", "NoConflicts", "no conflicts found"),
                        condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
                    ],
                });
                self.commit(kind, at_of(stored), established, ChangeKind::Modified);
            }
        }
    }
}

impl<'a> By<'a> {
    fn applier(&self, subresource: &'a str, force: bool, time: &'a str) -> Applier<'a>
    where
        Self: 'a,
    {
        Applier { manager: self.manager, force, subresource, time }
    }
}

/// Whether the uid and the resourceVersion that are wanted, if any, are those of the live object.
fn check_preconditions(kind: &Kind, at: &At, live: &Value, wanted: &Value) -> Result<(), Status> {
    let named = |field: &str| wanted["metadata"][field].as_str().filter(|text| !text.is_empty() && *text != "0");
    if let Some(uid) = named("uid").filter(|uid| live["metadata"]["uid"] != **uid) {
        let live = live["metadata"]["uid"].as_str().unwrap_or_default();
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {live}");
        return Err(Status::conflict(kind, &at.1, &why));
    }
    match named("resourceVersion") {
        Some(version) if live["metadata"]["resourceVersion"] != *version => Err(Status::modified(kind, &at.1)),
        _ => Ok(()),
    }
}
