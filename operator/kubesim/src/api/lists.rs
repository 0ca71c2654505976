//! Lists and the beginnings of watches: which version of which objects is shown. They write nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::cluster::Cluster;
use super::kind::Kind;
use super::query::{Asked, Query};
use super::selector::Selector;
use super::status::Status;
use super::store::Store;
use super::watch::{Watch, bookmark, event};

/// How long a watch lasts that names no time.
const WATCH: Duration = Duration::from_secs(1800);

impl Cluster {
    pub(super) fn list_request(
        &self,
        kind: &Kind,
        asked: &Asked,
        query: &Query,
        stale: Option<Duration>,
    ) -> Result<Value, Status> {
        let selector = Selector::parse(query.text("labelSelector"), query.text("fieldSelector"))?;
        let namespace = asked.namespace.as_deref();
        let store = self.store();
        let table = store.table(&kind.group, &kind.plural).ok_or_else(Status::no_such_path)?;
        let (mut version, mut after) = (store.version, None);
        if let Some(age) = stale {
            version = Instant::now().checked_sub(age).map_or(table.forgotten, |then| table.version_at(then));
        }
        let token = query.text("continue");
        if !token.is_empty() {
            let bad = || Status::bad_request("continue key is not valid");
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
            next = found.last().map(|last| (format!("{version} {}", key(last)), left));
        }
        Ok(list(kind, &found, version, next))
    }

    pub(super) fn watch_request(
        &self,
        user: &Arc<str>,
        kind: &Arc<Kind>,
        asked: &Asked,
        query: &Query,
        stale: Option<Duration>,
    ) -> Result<Watch, Status> {
        let mut selector = Selector::parse(query.text("labelSelector"), query.text("fieldSelector"))?;
        if let Some(name) = &asked.name {
            selector = Selector::parse(query.text("labelSelector"), &format!("metadata.name={name}"))?;
        }
        let store = self.store();
        let table = store.table(&kind.group, &kind.plural).ok_or_else(Status::no_such_path)?;
        let mut first = VecDeque::new();
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
            return Err(Status::new(
                504,
                "Timeout",
                format!("Timeout: Too large resource version: {from}, current: {}", store.version),
            ));
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
    let Some(wanted) = query.number("resourceVersion").filter(|version| *version > 0) else { return Ok(None) };
    if wanted > store.version {
        let message = format!("Timeout: Too large resource version: {wanted}, current: {}", store.version);
        return Err(Status::new(504, "Timeout", message));
    }
    Ok((query.text("resourceVersionMatch") == "Exact").then_some(wanted))
}

/// A list as the API server writes it.
pub(super) fn list(kind: &Kind, items: &[Arc<Value>], version: u64, next: Option<(String, usize)>) -> Value {
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if let Some((token, left)) = next {
        metadata["continue"] = json!(token);
        metadata["remainingItemCount"] = json!(left);
    }
    let items: Vec<Value> = items.iter().map(|item| (**item).clone()).collect();
    json!({"kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(), "metadata": metadata, "items": items})
}
