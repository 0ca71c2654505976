//! What the operator counts and measures: typed methods over the metrics, so that names and labels are in one place and
//! their number is bounded. Labels are kinds, outcomes and the names of scaled objects; never a message, a host, a user
//! or anything secret. It never reads a clock: durations are given.
//!
//! The series of a scaled object end with [`Telemetry::forget`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Formatter};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
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

#[cfg(test)]
mod tests;

/// From 100 microseconds to 26 seconds, each bucket four times the one before.
const IO_SECONDS: [f64; 10] = [0.0001, 0.0004, 0.0016, 0.0064, 0.0256, 0.1024, 0.4096, 1.6384, 6.5536, 26.2144];
/// From 1 microsecond to 65 milliseconds: a decision does no IO.
const DECIDE_SECONDS: [f64; 9] = [1e-6, 4e-6, 1.6e-5, 6.4e-5, 2.56e-4, 1.024e-3, 4.096e-3, 1.6384e-2, 6.5536e-2];

/// How a reading of a source ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReadOutcome {
    /// A value.
    Ok,
    /// The upstream could not be asked, or answered an error.
    Failed,
    /// The upstream answered that what was asked for is not there.
    Absent,
}

impl ReadOutcome {
    const ALL: [Self; 3] = [Self::Ok, Self::Failed, Self::Absent];
}

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

impl EncodeLabelValue for ReadOutcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Absent => "absent",
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

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
struct ObjectLabels {
    namespace: String,
    scaled_object: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TriggerLabels {
    namespace: String,
    scaled_object: String,
    trigger: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReadingLabels {
    namespace: String,
    scaled_object: String,
    trigger: String,
    outcome: ReadOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabels {
    source: &'static str,
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

/// Makes histograms with the buckets of [`IO_SECONDS`].
#[derive(Debug, Clone, Copy)]
struct IoHistogram;

impl MetricConstructor<Histogram> for IoHistogram {
    fn new_metric(&self) -> Histogram {
        Histogram::new(IO_SECONDS)
    }
}

type FloatGauge = Gauge<f64, AtomicU64>;

/// The operator's metrics. Cheap to clone; all clones count into the same registry.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    registry: Arc<Registry>,
    leader: Gauge,
    scaled_objects: Gauge,
    queue_depth: Gauge,
    readings: Family<ReadingLabels, Counter>,
    read_duration: Family<SourceLabels, Histogram, IoHistogram>,
    source_value: Family<TriggerLabels, FloatGauge>,
    source_active: Family<TriggerLabels, Gauge>,
    decisions: Family<VerdictLabels, Counter>,
    decide_duration: Histogram,
    api_writes: Family<WriteLabels, Counter>,
    api_write_duration: Family<KindLabels, Histogram, IoHistogram>,
    external_requests: Family<CodeLabels, Counter>,
    replicas_current: Family<ObjectLabels, Gauge>,
    replicas_desired: Family<ObjectLabels, Gauge>,
    /// The triggers that have series, by object, to be removed with it.
    triggers: Mutex<BTreeMap<ObjectLabels, BTreeSet<String>>>,
}

impl Debug for Telemetry {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Metrics in a registry of their own. `version` is the program's, for `windlass_build_info`.
    #[must_use]
    pub fn new(version: &str) -> Self {
        let mut registry = Registry::with_prefix("windlass");
        let to = &mut registry;
        to.register("build", "The running version", Info::new([("version", version.to_owned())]));
        let decide_duration = Histogram::new(DECIDE_SECONDS);
        to.register_with_unit("decide_duration", "Time a decision took", Unit::Seconds, decide_duration.clone());
        let read_duration = Family::new_with_constructor(IoHistogram);
        let help = "Time one round of reading an upstream took";
        to.register_with_unit("source_read_duration", help, Unit::Seconds, read_duration.clone());
        let api_write_duration = Family::new_with_constructor(IoHistogram);
        let help = "Time a write to the Kubernetes API took";
        to.register_with_unit("api_write_duration", help, Unit::Seconds, api_write_duration.clone());
        let inner = Inner {
            leader: register(to, "leader", "1 while this replica leads"),
            scaled_objects: register(to, "scaled_objects", "Scaled objects this replica looks after"),
            queue_depth: register(to, "reconcile_queue_depth", "Scaled objects that wait to be reconciled"),
            readings: register(to, "source_readings", "Readings of triggers by outcome"),
            source_value: register(to, "source_value", "The value last read for a trigger"),
            source_active: register(to, "source_active", "1 while a trigger was active at its last reading"),
            decisions: register(to, "decisions", "Decisions by verdict"),
            api_writes: register(to, "api_writes", "Writes to the Kubernetes API by kind of object and outcome"),
            external_requests: register(to, "external_metric_requests", "Answered external metric requests by code"),
            replicas_current: register(to, "replicas_current", "Replicas of the target as last seen"),
            replicas_desired: register(to, "replicas_desired", "Replicas of the target as last decided"),
            read_duration,
            decide_duration,
            api_write_duration,
            triggers: Mutex::default(),
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

    /// One round of reading an upstream of the kind `source` (such as `rabbitmq`) took `time`.
    pub fn source_read(&self, source: &'static str, time: Duration) {
        self.0.read_duration.get_or_create(&SourceLabels { source }).observe(time.as_secs_f64());
    }

    /// A trigger of an object was read. `trigger` is its metric name, such as `s0-rabbitmq-orders`.
    pub fn reading(&self, namespace: &str, scaled_object: &str, trigger: &str, outcome: ReadOutcome) {
        let object = self.remember(namespace, scaled_object, trigger);
        let ObjectLabels { namespace, scaled_object } = object;
        let labels = ReadingLabels { namespace, scaled_object, trigger: trigger.to_owned(), outcome };
        self.0.readings.get_or_create(&labels).inc();
    }

    /// A trigger's last good reading: its value, and whether that is above its activation value.
    pub fn source_value(&self, namespace: &str, scaled_object: &str, trigger: &str, value: f64, active: bool) {
        let ObjectLabels { namespace, scaled_object } = self.remember(namespace, scaled_object, trigger);
        let labels = TriggerLabels { namespace, scaled_object, trigger: trigger.to_owned() };
        self.0.source_value.get_or_create(&labels).set(value);
        self.0.source_active.get_or_create(&labels).set(i64::from(active));
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

    /// The replicas of an object's target: as last seen and as last decided.
    pub fn replicas(&self, namespace: &str, scaled_object: &str, current: i32, desired: i32) {
        let labels = ObjectLabels::new(namespace, scaled_object);
        self.0.replicas_current.get_or_create(&labels).set(i64::from(current));
        self.0.replicas_desired.get_or_create(&labels).set(i64::from(desired));
    }

    /// Removes every series of a deleted object. Call it when nothing reads for the object any more: a later reading
    /// would make its series again.
    pub fn forget(&self, namespace: &str, scaled_object: &str) {
        let object = ObjectLabels::new(namespace, scaled_object);
        self.0.replicas_current.remove(&object);
        self.0.replicas_desired.remove(&object);
        let mut triggers = self.0.triggers.lock().unwrap_or_else(PoisonError::into_inner);
        for trigger in triggers.remove(&object).unwrap_or_default() {
            self.remove_trigger(&object, trigger);
        }
    }

    /// Removes the series of those triggers of an object that are not among `kept`, after its spec was edited.
    pub fn keep_triggers(&self, namespace: &str, scaled_object: &str, kept: &[&str]) {
        let object = ObjectLabels::new(namespace, scaled_object);
        let mut triggers = self.0.triggers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = triggers.get_mut(&object) else { return };
        for trigger in known.extract_if(.., |trigger| !kept.contains(&trigger.as_str())) {
            self.remove_trigger(&object, trigger);
        }
    }

    fn remove_trigger(&self, object: &ObjectLabels, trigger: String) {
        let ObjectLabels { namespace, scaled_object } = object.clone();
        let labels = TriggerLabels { namespace, scaled_object, trigger };
        self.0.source_value.remove(&labels);
        self.0.source_active.remove(&labels);
        let TriggerLabels { namespace, scaled_object, trigger } = labels;
        let mut reading = ReadingLabels { namespace, scaled_object, trigger, outcome: ReadOutcome::Ok };
        for outcome in ReadOutcome::ALL {
            reading.outcome = outcome;
            self.0.readings.remove(&reading);
        }
    }

    fn remember(&self, namespace: &str, scaled_object: &str, trigger: &str) -> ObjectLabels {
        let object = ObjectLabels::new(namespace, scaled_object);
        let mut triggers = self.0.triggers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = triggers.entry(object.clone()).or_default();
        if !known.contains(trigger) {
            known.insert(trigger.to_owned());
        }
        object
    }
}

impl ObjectLabels {
    fn new(namespace: &str, scaled_object: &str) -> Self {
        Self { namespace: namespace.to_owned(), scaled_object: scaled_object.to_owned() }
    }
}

fn register<M: prometheus_client::registry::Metric + Default + Clone>(to: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    to.register(name, help, metric.clone());
    metric
}
