//! Deletion: preconditions, finalizers, and what becomes of dependents, of what a namespace holds and of the objects of a
//! definition. What takes the controllers of a real cluster a moment is done at once.

use std::sync::Arc;

use serde_json::{Value, json};

use super::kind::Kind;
use super::status::Status;
use super::store::{At, ChangeKind, Store};
use super::write::By;

/// The finalizer by which dependents are kept.
const ORPHAN: &str = "orphan";
/// The finalizer by which an owner waits for its dependents.
const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer by which a definition waits for its objects.
pub(super) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// What becomes of dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They go after their owner.
    Background,
    /// They go before their owner.
    Foreground,
    /// They stay.
    Orphan,
}

/// What a deletion is bound to, and what becomes of dependents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deletion {
    /// Only the object with this uid.
    pub uid: Option<String>,
    /// Only the object at this version.
    pub version: Option<String>,
    /// What becomes of dependents; where it is not said, what an earlier deletion said, else `Background`.
    pub propagation: Option<Propagation>,
}

/// What a deletion has done at once.
#[derive(Debug)]
pub(super) struct Deleted {
    pub(super) object: Arc<Value>,
    /// Whether nothing held the object.
    pub(super) at_once: bool,
}

impl Store {
    pub(super) fn delete(&mut self, kind: &Kind, at: &At, deletion: &Deletion, by: By<'_>) -> Result<Deleted, Status> {
        let live = self.get(kind, at).ok_or_else(|| Status::not_found(kind, &at.1))?;
        check(kind, at, &live, deletion)?;
        let finalizers = finalizers_for(&live, deletion.propagation);
        let at_once = finalizers.is_empty() && kind.plural != "namespaces";
        if by.dry_run {
            return Ok(Deleted { object: live, at_once });
        }
        if at_once {
            return Ok(Deleted { object: self.remove(kind, at, &live, by), at_once });
        }
        let object = self.mark(kind, at, &live, finalizers, by);
        self.settle(kind, at, by);
        Ok(Deleted { object, at_once })
    }

    /// Says of an object that it is being deleted.
    fn mark(&mut self, kind: &Kind, at: &At, live: &Arc<Value>, finalizers: Vec<Value>, by: By<'_>) -> Arc<Value> {
        let is_marked = live["metadata"].get("deletionTimestamp").is_some();
        if is_marked && live["metadata"]["finalizers"].as_array().is_some_and(|before| *before == finalizers) {
            return live.clone();
        }
        let mut marked = (**live).clone();
        set_finalizers(&mut marked, finalizers);
        if kind.plural == "namespaces" {
            marked["status"]["phase"] = json!("Terminating");
        }
        if kind.plural == "customresourcedefinitions"
            && let Some(conditions) = marked["status"]["conditions"].as_array_mut()
        {
            conditions.retain(|condition| condition["type"] != "Terminating");
            conditions.push(json!({
                "type": "Terminating", "status": "True", "lastTransitionTime": by.time(), "reason": "InstanceDeletionPending",
                "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
            }));
        }
        if !is_marked {
            let metadata = &mut marked["metadata"];
            metadata["deletionTimestamp"] = json!(by.time());
            // A namespace goes by a door of its own.
            if kind.plural != "namespaces" {
                metadata["deletionGracePeriodSeconds"] = json!(0);
            }
            if let Some(generation) = metadata.get("generation").and_then(Value::as_i64) {
                metadata["generation"] = json!(generation + 1);
            }
        }
        self.commit(kind, at.clone(), marked, ChangeKind::Modified)
    }

    /// Does what the finalizers of the control plane ask for, and lets an object go that nothing holds any more.
    pub(super) fn settle(&mut self, kind: &Kind, at: &At, by: By<'_>) {
        let Some(live) = self.get(kind, at).filter(|live| live["metadata"].get("deletionTimestamp").is_some()) else {
            return;
        };
        let uid = live["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        // What is deleted here settles its owner, its namespace and its definition in turn.
        if !self.settling.insert(uid.clone()) {
            return;
        }
        let waits_for = |finalizer: &str| finalizers(&live).iter().any(|held| held == finalizer);
        let mut done = Vec::new();
        if waits_for(ORPHAN) {
            self.release(&uid, &at.0);
            done.push(ORPHAN);
        }
        if waits_for(FOREGROUND) && self.delete_dependents(&uid, &at.0, by) {
            done.push(FOREGROUND);
        }
        if waits_for(CLEANUP) && self.delete_instances(&live, by) {
            done.push(CLEANUP);
        }
        let is_empty = kind.plural != "namespaces" || self.empty_namespace(&at.1, by);
        self.settling.remove(&uid);
        let Some(live) = self.get(kind, at) else { return };
        let left: Vec<Value> =
            finalizers(&live).iter().filter(|held| !done.iter().any(|done| *held == done)).cloned().collect();
        if left.is_empty() && is_empty {
            self.remove(kind, at, &live, by);
        } else if !done.is_empty() {
            let mut held = (*live).clone();
            set_finalizers(&mut held, left);
            self.commit(kind, at.clone(), held, ChangeKind::Modified);
        }
    }

    /// Takes an object away, and then what only it owned; whoever waited for it is looked at again.
    pub(super) fn remove(&mut self, kind: &Kind, at: &At, live: &Arc<Value>, by: By<'_>) -> Arc<Value> {
        let gone = self.commit(kind, at.clone(), (**live).clone(), ChangeKind::Deleted);
        if kind.plural == "customresourcedefinitions"
            && let Some(custom) = Kind::of_crd(live)
        {
            self.remove_kind(&custom.group, &custom.plural);
        }
        let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
        for (dependent, at) in self.dependents(uid, &at.0) {
            if self.loses_owner(&dependent, &at, uid) {
                // It is there: nothing else runs meanwhile.
                let _ = self.delete(&dependent, &at, &Deletion::default(), by);
            }
        }
        for owner in live["metadata"]["ownerReferences"].as_array().into_iter().flatten() {
            if let Some(Some((owner, at))) = self.owner(owner, &at.0) {
                self.settle(&owner, &at, by);
            }
        }
        if kind.schema.is_some() {
            let definitions = self.table("apiextensions.k8s.io", "customresourcedefinitions");
            if let Some(definitions) = definitions.map(|table| table.kind.clone()) {
                self.settle(&definitions, &(String::new(), kind.qualified()), by);
            }
        }
        if let Some(namespaces) = self.table("", "namespaces").filter(|_| kind.namespaced) {
            let namespaces = namespaces.kind.clone();
            self.settle(&namespaces, &(String::new(), at.0.clone()), by);
        }
        gone
    }

    /// Takes away what is owned by objects of which none is there any more, as the garbage collector does.
    pub(super) fn collect_if_ownerless(&mut self, kind: &Kind, at: &At, object: &Arc<Value>, by: By<'_>) {
        let Some(owners) = object["metadata"]["ownerReferences"].as_array().filter(|owners| !owners.is_empty()) else {
            return;
        };
        // Of a kind that is not served nothing can be said.
        if owners.iter().all(|owner| matches!(self.owner(owner, &at.0), Some(None))) {
            let _ = self.delete(kind, at, &Deletion::default(), by);
        }
    }

    /// Takes an owner from an object that has others; whether it was the only one.
    fn loses_owner(&mut self, kind: &Kind, at: &At, uid: &str) -> bool {
        let Some(dependent) = self.get(kind, at) else { return false };
        let owners = dependent["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        let others: Vec<Value> = owners
            .iter()
            .filter(|owner| owner["uid"] != *uid && !matches!(self.owner(owner, &at.0), Some(None)))
            .cloned()
            .collect();
        if others.is_empty() {
            return true;
        }
        let mut kept = (*dependent).clone();
        kept["metadata"]["ownerReferences"] = Value::Array(others);
        self.commit(kind, at.clone(), kept, ChangeKind::Modified);
        false
    }

    /// Takes an owner from all that it owns.
    fn release(&mut self, uid: &str, namespace: &str) {
        for (kind, at) in self.dependents(uid, namespace) {
            let Some(dependent) = self.get(&kind, &at) else { continue };
            let mut kept = (*dependent).clone();
            if let Some(owners) = kept["metadata"]["ownerReferences"].as_array_mut() {
                owners.retain(|owner| owner["uid"] != *uid);
                if owners.is_empty()
                    && let Some(metadata) = kept["metadata"].as_object_mut()
                {
                    metadata.remove("ownerReferences");
                }
            }
            self.commit(&kind, at, kept, ChangeKind::Modified);
        }
    }

    /// Deletes what an object owns, those that own others in the foreground too. Whether none is left that blocks it.
    fn delete_dependents(&mut self, uid: &str, namespace: &str, by: By<'_>) -> bool {
        for (kind, at) in self.dependents(uid, namespace) {
            let Some(dependent) = self.get(&kind, &at) else { continue };
            let owners = dependent["metadata"]["ownerReferences"].as_array();
            let is_shared = owners.into_iter().flatten().any(|owner| owner["uid"] != *uid);
            if is_shared || dependent["metadata"].get("deletionTimestamp").is_some() {
                continue;
            }
            let own = dependent["metadata"]["uid"].as_str().unwrap_or_default();
            let owns = !self.dependents(own, &at.0).is_empty();
            let propagation = if owns { Propagation::Foreground } else { Propagation::Background };
            let _ = self.delete(&kind, &at, &Deletion { propagation: Some(propagation), ..Deletion::default() }, by);
        }
        let blocks = |object: &Value| {
            let owners = object["metadata"]["ownerReferences"].as_array();
            owners.into_iter().flatten().any(|owner| owner["uid"] == *uid && owner["blockOwnerDeletion"] == true)
        };
        !self
            .dependents(uid, namespace)
            .iter()
            .any(|(kind, at)| self.get(kind, at).is_some_and(|object| blocks(&object)))
    }

    /// Deletes the objects of a definition; whether none is left.
    fn delete_instances(&mut self, definition: &Value, by: By<'_>) -> bool {
        let Some(custom) = Kind::of_crd(definition) else { return true };
        let instances = |store: &Self| -> Vec<At> {
            store
                .table(&custom.group, &custom.plural)
                .into_iter()
                .flat_map(|table| table.objects.keys())
                .cloned()
                .collect()
        };
        for at in instances(self) {
            let _ = self.delete(&custom, &at, &Deletion::default(), by);
        }
        instances(self).is_empty()
    }

    /// Deletes what a namespace holds; whether nothing is left.
    fn empty_namespace(&mut self, name: &str, by: By<'_>) -> bool {
        for (kind, at) in self.within(name) {
            let _ = self.delete(&kind, &at, &Deletion::default(), by);
        }
        self.within(name).is_empty()
    }

    /// What an object owns. What lives in a namespace owns only what lives there too.
    fn dependents(&self, owner: &str, namespace: &str) -> Vec<(Arc<Kind>, At)> {
        let owned = self.owned.get(owner).into_iter().flatten();
        let owned = owned.filter(|(_, at)| namespace.is_empty() || at.0 == namespace);
        owned.filter_map(|((group, plural), at)| Some((self.table(group, plural)?.kind.clone(), at.clone()))).collect()
    }

    /// Where the owner is that a reference names: nothing if its kind is not served, `Some(None)` if it is not there.
    fn owner(&self, reference: &Value, namespace: &str) -> Option<Option<(Arc<Kind>, At)>> {
        let (version, name) = (reference["apiVersion"].as_str()?, reference["name"].as_str()?);
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let kind = self.kinds().find(|kind| kind.group == group && reference["kind"] == *kind.kind)?;
        let at = (if kind.namespaced { namespace.to_owned() } else { String::new() }, name.to_owned());
        let is_it = self.get(kind, &at).is_some_and(|owner| owner["metadata"]["uid"] == reference["uid"]);
        Some(is_it.then(|| (kind.clone(), at)))
    }

    fn within(&self, namespace: &str) -> Vec<(Arc<Kind>, At)> {
        let tables = self.tables.values().filter(|table| table.kind.namespaced);
        tables
            .flat_map(|table| table.objects.keys().map(|at| (table.kind.clone(), at.clone())))
            .filter(|(_, at)| at.0 == namespace)
            .collect()
    }
}

/// The preconditions of a deletion.
fn check(kind: &Kind, at: &At, live: &Value, deletion: &Deletion) -> Result<(), Status> {
    let text = |field: &str| live["metadata"][field].as_str().unwrap_or_default().to_owned();
    let (uid, version) = (text("uid"), text("resourceVersion"));
    let why = if let Some(wanted) = deletion.uid.as_ref().filter(|wanted| **wanted != uid) {
        format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been \
             deleted and then recreated"
        )
    } else if let Some(wanted) = deletion.version.as_ref().filter(|wanted| **wanted != version) {
        format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). \
             The object might have been modified"
        )
    } else {
        return Ok(());
    };
    // The API server names the kind here, where it names the resource elsewhere.
    let named = if kind.group.is_empty() { kind.kind.clone() } else { format!("{}.{}", kind.kind, kind.group) };
    let mut details = json!({"name": at.1, "kind": kind.kind});
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    let message = format!("Operation cannot be fulfilled on {named} {:?}: {why}", at.1);
    Err(Status { details: Some(details), ..Status::new(409, "Conflict", message) })
}

/// The finalizers that an object is deleted with.
fn finalizers_for(live: &Value, propagation: Option<Propagation>) -> Vec<Value> {
    let before = finalizers(live);
    let Some(propagation) = propagation else { return before.to_vec() };
    let mut after: Vec<Value> = before.iter().filter(|held| *held != ORPHAN && *held != FOREGROUND).cloned().collect();
    match propagation {
        Propagation::Background => {}
        Propagation::Foreground => after.push(json!(FOREGROUND)),
        Propagation::Orphan => after.push(json!(ORPHAN)),
    }
    after
}

fn finalizers(object: &Value) -> &[Value] {
    object["metadata"]["finalizers"].as_array().map_or(&[], Vec::as_slice)
}

fn set_finalizers(object: &mut Value, finalizers: Vec<Value>) {
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".to_owned(), Value::Array(finalizers));
    }
}
