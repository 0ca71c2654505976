//! Events about autoscalers, as client-go records them: the same words again only raise the count of the first, and one
//! object may not fill the cluster with warnings. Never waits, and an event that is refused is lost.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::time::Instant;
use windlass_decision::hpa::Outcome;

use super::USER;
use super::convert::{Autoscaler, Query};
use super::sync::Context;
use crate::api::{Cluster, Part, Patch};
use crate::behaviour::json::{name, namespace, seconds, uid};

/// How many events one object may have at once, and how many seconds each one more takes (client-go's spam filter).
const BURST: f64 = 25.0;
const SECONDS_PER_EVENT: f64 = 300.0;

/// How many different sentences are remembered of one object.
const REMEMBERED: usize = 64;

/// What was told so far.
#[derive(Debug)]
pub(super) struct Teller {
    enabled: bool,
    books: Mutex<BTreeMap<String, Book>>,
}

/// What was told about one object.
#[derive(Debug)]
struct Book {
    left: f64,
    at: Instant,
    told: BTreeMap<(String, String), Told>,
}

#[derive(Debug, Clone, Default)]
struct Told {
    event: Option<String>,
    count: u64,
}

impl Teller {
    pub(super) fn new(enabled: bool) -> Self {
        Self { enabled, books: Mutex::default() }
    }

    /// Counts a sentence; the event it belongs to, if it may be written at all. Only warnings can be too many: what was
    /// scaled is always told, unlike in client-go, because whoever shows a simulation lives on it.
    fn count(&self, object_uid: &str, warning: bool, reason: &str, message: &str) -> Option<Told> {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let book =
            books.entry(object_uid.to_owned()).or_insert_with(|| Book { left: BURST, at: now, told: BTreeMap::new() });
        book.left = (book.left + now.duration_since(book.at).as_secs_f64() / SECONDS_PER_EVENT).min(BURST);
        book.at = now;
        let sentence = (reason.to_owned(), message.to_owned());
        if book.told.len() >= REMEMBERED && !book.told.contains_key(&sentence) {
            book.told.clear();
        }
        let told = book.told.entry(sentence).or_default();
        told.count += 1;
        if warning {
            if book.left < 1.0 {
                return None;
            }
            book.left -= 1.0;
        }
        Some(told.clone())
    }

    fn remember(&self, object_uid: &str, reason: &str, message: &str, event: &str) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let sentence = (reason.to_owned(), message.to_owned());
        if let Some(told) = books.get_mut(object_uid).and_then(|book| book.told.get_mut(&sentence)) {
            told.event = Some(event.to_owned());
        }
    }
}

impl Context {
    /// Records an event about an autoscaler.
    pub(super) fn tell(&self, object: &Value, warning: bool, reason: &str, message: &str) {
        if !self.teller.enabled {
            return;
        }
        let Some(told) = self.teller.count(uid(object), warning, reason, message) else { return };
        if let Some(event) = &told.event
            && repeat(&self.cluster, namespace(object), event, told.count)
        {
            return;
        }
        let now = seconds(self.cluster.now());
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"generateName": format!("{}.", name(object)), "namespace": namespace(object)},
            "involvedObject": {
                "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": name(object),
                "namespace": namespace(object), "uid": uid(object),
            },
            "type": if warning { "Warning" } else { "Normal" }, "reason": reason, "message": message,
            "count": told.count, "firstTimestamp": now, "lastTimestamp": now,
            "source": {"component": "horizontal-pod-autoscaler"}, "reportingComponent": "horizontal-pod-autoscaler",
        });
        if let Ok(created) = self.cluster.create(USER, ("", "events"), namespace(object), event) {
            self.teller.remember(uid(object), reason, message, name(&created));
        }
    }

    /// What a sync could not use: one event for each metric, and one if it could do nothing.
    pub(super) fn tell_failures(&self, object: &Value, autoscaler: &Autoscaler, outcome: &Outcome) {
        let failed = outcome.metrics.iter().zip(&autoscaler.queries);
        for (error, query) in failed.filter_map(|(metric, query)| Some((metric.as_ref().err()?, query))) {
            self.tell(object, true, failure(query), &error.to_string());
        }
        let Some(active) = outcome.conditions.scaling_active.as_ref().filter(|active| !active.holds) else { return };
        match active.reason.as_str() {
            "ScalingDisabled" => return,
            "InvalidSelector" => self.tell(object, true, "SelectorRequired", &active.message),
            "AmbiguousSelector" => self.tell(object, true, "AmbiguousSelector", &active.message),
            _ => {}
        }
        self.tell(object, true, "FailedComputeMetricsReplicas", &active.message);
    }
}

/// Raises the count of an event that is there; `false` if it is not.
fn repeat(cluster: &Cluster, namespace: &str, event: &str, count: u64) -> bool {
    let patch = Patch::Merge(json!({"count": count, "lastTimestamp": seconds(cluster.now())}));
    cluster.patch(USER, ("", "events"), Part::Main, (namespace, event), &patch).is_ok()
}

fn failure(query: &Query) -> &'static str {
    match query {
        Query::External { .. } => "FailedGetExternalMetric",
        Query::Object { .. } => "FailedGetObjectMetric",
        Query::Pods { .. } => "FailedGetPodsMetric",
        Query::Resource { container: None, .. } => "FailedGetResourceMetric",
        Query::Resource { .. } => "FailedGetContainerResourceMetric",
        Query::Unknown(_) => "InvalidMetricSourceType",
    }
}
