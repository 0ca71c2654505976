//! Lists and the beginnings of watches: versions, pages and selectors. It reads and never writes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::cluster::Cluster;
use super::kind::Kind;
use super::query::Query;
use super::selector::Selector;
use super::status::{Cause, Status};
use super::store::Store;
use super::verbs::Asking;
use super::watch::{Watch, bookmark, event};

/// How long a watch lasts that names no time.
const WATCH: Duration = Duration::from_secs(1800);

impl Cluster {
    pub(super) fn list_request(&self, asking: Asking<'_>) -> Result<List, Status> {
        let Asking { kind, asked, query, stale, .. } = asking;
        let selector = Selector::of(kind, query)?;
        let namespace = asked.namespace.as_deref();
        let store = self.store();
        let table = store.table(&kind.group, &kind.plural).ok_or_else(Status::no_such_path)?;
        let (mut version, mut after) = (store.version, None);
        if let Some(age) = stale {
            version = Instant::now().checked_sub(age).map_or(table.forgotten, |then| table.version_at(then));
        }
        let token = query.text("continue");
        if !token.is_empty() {
            let bad = || Status::bad_request("invalid continue token: continue key is not valid");
            let (at, key) = token.split_once(' ').ok_or_else(bad)?;
            version = at.parse().map_err(|_| bad())?;
            after = Some(key.to_owned());
        }
        let wanted = exact_version(&store, query)?;
        if let Some(wanted) = wanted {
            version = wanted;
        }
        let is_now = version >= store.version;
        let mut found =
            if is_now { table.list(namespace, &selector) } else { table.list_at(version, namespace, &selector)? };
        let key = |object: &Value| {
            let (namespace, name) = super::store::at_of(object);
            format!("{namespace}/{name}")
        };
        if let Some(after) = after {
            found.retain(|object| key(object) > after);
        }
        let limit = query
            .number("limit")
            .filter(|limit| *limit > 0)
            .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let mut next = None;
        if found.len() > limit {
            let left = found.len() - limit;
            found.truncate(limit);
            // How many are left is not known where not all are looked at.
            let left = selector.is_everything().then_some(left);
            next = found.last().map(|last| (format!("{version} {}", key(last)), left));
        }
        Ok(List { kind: kind.clone(), items: found, version, next })
    }

    pub(super) fn watch_request(&self, asking: Asking<'_>) -> Result<Watch, Status> {
        let Asking { user, kind, asked, query, stale, .. } = asking;
        let mut selector = Selector::of(kind, query)?;
        if let Some(name) = &asked.name {
            selector = Selector::parse(query.text("labelSelector"), &format!("metadata.name={name}"))?;
        }
        let store = self.store();
        let table = store.table(&kind.group, &kind.plural).ok_or_else(Status::no_such_path)?;
        let mut first = VecDeque::new();
        check_version(query)?;
        let from = query.number("resourceVersion").unwrap_or(0);
        let sends_all = from == 0 || query.is_set("sendInitialEvents");
        let position = if sends_all {
            let mut version = store.version;
            if let Some(age) = stale {
                version = Instant::now().checked_sub(age).map_or(table.forgotten, |then| table.version_at(then));
            }
            let found = if version >= store.version {
                table.list(asked.namespace.as_deref(), &selector)
            } else {
                table.list_at(version, asked.namespace.as_deref(), &selector)?
            };
            first.extend(found.iter().map(|object| event("ADDED", object)));
            if query.is_set("sendInitialEvents") && query.is_set("allowWatchBookmarks") {
                first.push_back(bookmark(kind, version, true));
            }
            version
        } else if from < table.forgotten {
            return Err(Status::expired(from, table.forgotten));
        } else if from > store.version {
            return Err(Status::too_new(from, store.version));
        } else {
            from
        };
        drop(store);
        let lasts = query.number("timeoutSeconds").filter(|seconds| *seconds > 0).map_or(WATCH, Duration::from_secs);
        Ok(Watch {
            cluster: self.clone(),
            user: user.clone(),
            kind: kind.clone(),
            namespace: asked.namespace.clone(),
            selector,
            position,
            ends: Instant::now() + lasts,
            bookmarks: query.is_set("allowWatchBookmarks"),
            lag: stale.unwrap_or_default(),
            first,
        })
    }
}

/// The version that `resourceVersion` and `resourceVersionMatch` ask for exactly.
fn exact_version(store: &Store, query: &Query) -> Result<Option<u64>, Status> {
    check_version(query)?;
    let matching = query.text("resourceVersionMatch");
    let wrong = |reason: &'static str, message: String| {
        let cause = Cause { reason, field: "resourceVersionMatch".to_owned(), message };
        Err(Status::invalid_as(("meta.k8s.io", "ListOptions"), "", &[cause]))
    };
    match (matching, query.text("resourceVersion")) {
        ("", _) => {}
        (_, "") => {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            return wrong("FieldValueForbidden", format!("Forbidden: {why}"));
        }
        ("Exact", "0") => {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            return wrong("FieldValueForbidden", format!("Forbidden: {why}"));
        }
        ("Exact" | "NotOlderThan", _) => {}
        (other, _) => {
            let known = r#""Exact", "NotOlderThan""#;
            return wrong("FieldValueNotSupported", format!("Unsupported value: {other:?}: supported values: {known}"));
        }
    }
    let Some(wanted) = query.number("resourceVersion").filter(|version| *version > 0) else { return Ok(None) };
    if wanted > store.version {
        return Err(Status::too_new(wanted, store.version));
    }
    Ok((matching == "Exact").then_some(wanted))
}

/// A version is a number, whatever else clients may think of it.
fn check_version(query: &Query) -> Result<(), Status> {
    let text = query.text("resourceVersion");
    if text.is_empty() || text.parse::<u64>().is_ok() {
        return Ok(());
    }
    let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
    Err(Status::bad_request(format!("invalid resource version: resourceVersion: Invalid value: {text:?}: {why}")))
}

/// A list, or a page of one.
#[derive(Debug)]
pub(super) struct List {
    pub(super) kind: Arc<Kind>,
    pub(super) items: Vec<Arc<Value>>,
    pub(super) version: u64,
    /// What a next page begins with, and how much is left.
    pub(super) next: Option<(String, Option<usize>)>,
}

impl List {
    pub(super) fn metadata(&self) -> Value {
        let mut metadata = json!({"resourceVersion": self.version.to_string()});
        if self.kind.schema.is_some() {
            metadata["continue"] = json!("");
        }
        if let Some((token, left)) = &self.next {
            metadata["continue"] = json!(token);
            if let Some(left) = left {
                metadata["remainingItemCount"] = json!(left);
            }
        }
        metadata
    }

    /// As the API server writes it. The items are written from where they are.
    pub(super) fn to_bytes(&self) -> Bytes {
        let (kind, version, metadata) = (&self.kind.kind, self.kind.api_version(), self.metadata());
        let head =
            format!("{{\"kind\":\"{kind}List\",\"apiVersion\":\"{version}\",\"metadata\":{metadata},\"items\":[");
        let mut bytes = head.into_bytes();
        for (nth, item) in self.items.iter().enumerate() {
            if nth > 0 {
                bytes.push(b',');
            }
            // Writing into memory cannot fail, and JSON values have no keys that are not text.
            let _ = match item.as_object().filter(|_| self.kind.schema.is_none()) {
                // Items of a built-in kind do not say what they are: the list does.
                Some(fields) => {
                    let said = |name: &str| !matches!(name, "apiVersion" | "kind");
                    let fields: BTreeMap<_, _> = fields.iter().filter(|(name, _)| said(name)).collect();
                    serde_json::to_writer(&mut bytes, &fields)
                }
                None => serde_json::to_writer(&mut bytes, &**item),
            };
        }
        bytes.extend_from_slice(b"]}\n");
        bytes.into()
    }
}
