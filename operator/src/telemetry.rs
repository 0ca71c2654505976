//! What the operator counts and measures: typed methods over the metrics, so that names and labels are in one place and
//! their number is bounded. Labels are kinds, outcomes and the names of scaled objects; never a message, a host, a user
//! or anything secret. It never reads a clock: durations are given.
//!
//! The series of a scaled object begin with [`Telemetry::object`] and end with [`Telemetry::forget`]. Every metric is listed in
//! `docs/metrics.md`.

mod exposition;
mod series;

use std::fmt::{Debug, Formatter};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use windlass_decision::Verdict;

use crate::apply::writer::WriteError;
use crate::key::ObjectKey;
use exposition::{Exposition, Names, Others};
use series::Objects;

pub use exposition::Registered;
pub use series::{ObjectSeries, ReadOutcome, TriggerName};

#[cfg(test)]
mod tests;

/// From 100 microseconds to 26 seconds, each bucket four times the one before.
const IO_SECONDS: [f64; 10] = [0.0001, 0.0004, 0.0016, 0.0064, 0.0256, 0.1024, 0.4096, 1.6384, 6.5536, 26.2144];
/// From 1 microsecond to 65 milliseconds: a decision does no IO.
const DECIDE_SECONDS: [f64; 9] = [1e-6, 4e-6, 1.6e-5, 6.4e-5, 2.56e-4, 1.024e-3, 4.096e-3, 1.6384e-2, 6.5536e-2];

/// How a write to Kubernetes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteOutcome {
    /// Done.
    Ok,
    /// Somebody else wrote in between (409).
    Conflict,
    /// The API server refused it.
    Refused,
    /// No answer: it may or may not be done.
    Unknown,
    /// Not sent, because this process does not lead.
    NotLeader,
}

impl<T> From<&Result<T, WriteError>> for WriteOutcome {
    fn from(result: &Result<T, WriteError>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(WriteError::NotLeader) => Self::NotLeader,
            Err(error) if error.is_conflict() => Self::Conflict,
            // A server error may come after the write was stored.
            Err(error) if error.code().is_some_and(|code| code < 500) => Self::Refused,
            Err(_) => Self::Unknown,
        }
    }
}

/// What became of a webhook request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WebhookOutcome {
    /// Its events are on disk and counted (202).
    Accepted,
    /// All its events had been there before (200).
    Duplicate,
    /// No signature that fits (401).
    Signature,
    /// It cannot be understood, or its body did not come whole (400, 408, 415).
    Malformed,
    /// Its body is too large (413).
    TooLarge,
    /// No trigger asks for that endpoint (404).
    Unknown,
    /// Its endpoint has had too many (429).
    Limited,
    /// Too many requests, or too many large ones, at once (503).
    Busy,
    /// This replica does not receive, or not yet (503).
    Closed,
    /// No room on disk (503).
    Full,
    /// The disk does not do what it should, or is too slow (503).
    Failed,
}

impl EncodeLabelValue for WebhookOutcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Signature => "signature",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Unknown => "unknown",
            Self::Limited => "limited",
            Self::Busy => "busy",
            Self::Closed => "closed",
            Self::Full => "full",
            Self::Failed => "failed",
        }
        .encode(encoder)
    }
}

impl EncodeLabelValue for WriteOutcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self {
            Self::Ok => "ok",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::NotLeader => "not_leader",
        }
        .encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    kind: &'static str,
    outcome: WriteOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WebhookLabels {
    outcome: WebhookOutcome,
}

/// Makes histograms with the buckets of [`IO_SECONDS`].
#[derive(Debug, Clone, Copy)]
struct IoHistogram;

impl MetricConstructor<Histogram> for IoHistogram {
    fn new_metric(&self) -> Histogram {
        Histogram::new(IO_SECONDS)
    }
}

/// The operator's metrics. Cheap to clone; all clones count into the same registry.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    registry: Arc<Registry>,
    leader: Gauge,
    scaled_objects: Gauge,
    queue_depth: Gauge,
    decisions: Family<VerdictLabels, Counter>,
    decide_duration: Histogram,
    api_writes: Family<WriteLabels, Counter>,
    api_write_duration: Family<KindLabels, Histogram, IoHistogram>,
    external_requests: Family<CodeLabels, Counter>,
    webhook_requests: Family<WebhookLabels, Counter>,
    webhook_request_duration: Histogram,
    webhook_events: Counter,
    webhook_sync_duration: Histogram,
    webhook_journal: Gauge,
    objects: Arc<Objects>,
    others: Arc<Others>,
}

impl Debug for Telemetry {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Metrics in a registry of their own. `version` is the program's, for `windlass_build_info`. With `as_keda` what KEDA has
    /// a name for is there under that name too.
    #[must_use]
    pub fn new(version: &str, as_keda: bool) -> Self {
        let mut registry = Registry::default();
        let (objects, others) = (Arc::<Objects>::default(), Arc::<Others>::default());
        let mut named = vec![(Names::Windlass, "windlass")];
        if as_keda {
            named.push((Names::Keda, "keda"));
        }
        for (names, prefix) in named {
            let to = registry.sub_registry_with_prefix(prefix);
            to.register("build", "The running version", Info::new([("version", version.to_owned())]));
            to.register_collector(Box::new(Exposition { names, objects: objects.clone(), others: others.clone() }));
        }
        let to = registry.sub_registry_with_prefix("windlass");
        let decide_duration = Histogram::new(DECIDE_SECONDS);
        to.register_with_unit("decide_duration", "Time a decision took", Unit::Seconds, decide_duration.clone());
        let api_write_duration = Family::new_with_constructor(IoHistogram);
        let help = "Time a write to the Kubernetes API took";
        to.register_with_unit("api_write_duration", help, Unit::Seconds, api_write_duration.clone());
        let webhook_request_duration = Histogram::new(IO_SECONDS);
        let help = "Time until a webhook request was answered";
        to.register_with_unit("webhook_request_duration", help, Unit::Seconds, webhook_request_duration.clone());
        let webhook_sync_duration = Histogram::new(IO_SECONDS);
        let help = "Time to write events to the journal of webhooks and to sync it";
        to.register_with_unit("webhook_journal_sync_duration", help, Unit::Seconds, webhook_sync_duration.clone());
        let webhook_journal = Gauge::default();
        let help = "Size of the journal of webhooks";
        to.register_with_unit("webhook_journal", help, Unit::Bytes, webhook_journal.clone());
        let inner = Inner {
            leader: register(to, "leader", "1 while this replica leads"),
            scaled_objects: register(to, "scaled_objects", "Scaled objects this replica looks after"),
            queue_depth: register(to, "reconcile_queue_depth", "Scaled objects that wait to be reconciled"),
            decisions: register(to, "decisions", "Decisions by verdict"),
            api_writes: register(to, "api_writes", "Writes to the Kubernetes API by kind of object and outcome"),
            external_requests: register(to, "external_metric_requests", "Answered external metric requests by code"),
            webhook_requests: register(to, "webhook_requests", "Webhook requests by what became of them"),
            webhook_events: register(to, "webhook_events", "Events of webhooks that were kept and counted"),
            webhook_request_duration,
            webhook_sync_duration,
            webhook_journal,
            decide_duration,
            api_write_duration,
            objects,
            others,
            registry: Arc::new(registry),
        };
        Self(Arc::new(inner))
    }

    /// The registry, for the `/metrics` route.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.0.registry)
    }

    /// Whether this replica leads.
    pub fn leading(&self, leads: bool) {
        self.0.leader.set(i64::from(leads));
    }

    /// How many scaled objects this replica looks after.
    pub fn scaled_objects(&self, count: usize) {
        self.0.scaled_objects.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many scaled objects wait to be reconciled.
    pub fn reconcile_queue_depth(&self, count: usize) {
        self.0.queue_depth.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A decision with this verdict took `time`.
    pub fn decision(&self, verdict: Verdict, time: Duration) {
        self.0.decisions.get_or_create(&VerdictLabels { verdict: verdict.as_str() }).inc();
        self.0.decide_duration.observe(time.as_secs_f64());
    }

    /// A write to an object of `kind` (such as `Scale`) took `time`. One that was not sent has no duration.
    pub fn api_write(&self, kind: &'static str, outcome: WriteOutcome, time: Duration) {
        self.0.api_writes.get_or_create(&WriteLabels { kind, outcome }).inc();
        if outcome != WriteOutcome::NotLeader {
            self.0.api_write_duration.get_or_create(&KindLabels { kind }).observe(time.as_secs_f64());
        }
    }

    /// An external metric request was answered with this HTTP status code.
    pub fn external_metric_request(&self, code: u16) {
        self.0.external_requests.get_or_create(&CodeLabels { code }).inc();
    }

    /// A webhook request was answered after `time`.
    pub fn webhook_request(&self, outcome: WebhookOutcome, time: Duration) {
        self.0.webhook_requests.get_or_create(&WebhookLabels { outcome }).inc();
        self.0.webhook_request_duration.observe(time.as_secs_f64());
    }

    /// Events of webhooks were written to the journal and synced within `time`, which now takes `bytes`.
    pub fn webhook_kept(&self, events: usize, time: Duration, bytes: u64) {
        self.0.webhook_events.inc_by(u64::try_from(events).unwrap_or(u64::MAX));
        self.0.webhook_sync_duration.observe(time.as_secs_f64());
        self.webhook_journal(bytes);
    }

    /// The journal of webhooks takes this many bytes.
    pub fn webhook_journal(&self, bytes: u64) {
        self.0.webhook_journal.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// The series of an object, which are there from now on.
    #[must_use]
    pub fn object(&self, key: &ObjectKey) -> Arc<ObjectSeries> {
        self.0.objects.of(key)
    }

    /// Removes every series of a deleted object; who still holds on to them counts for nobody.
    pub fn forget(&self, key: &ObjectKey) {
        self.0.objects.forget(key);
    }

    /// Removes the series of all objects: this replica does not look after them any more.
    pub fn forget_all(&self) {
        self.0.objects.clear();
        self.scaled_objects(0);
        self.reconcile_queue_depth(0);
    }

    /// What is registered besides scaled objects is counted by `count`, at each scrape while this replica leads.
    pub fn also_registered(&self, count: impl Fn() -> Registered + Send + Sync + 'static) {
        let leader = self.0.leader.clone();
        // Whoever came first counts.
        let _ = self.0.others.set(Box::new(move || if leader.get() == 1 { count() } else { Registered::new() }));
    }
}

fn register<M: prometheus_client::registry::Metric + Default + Clone>(to: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    to.register(name, help, metric.clone());
    metric
}
