//! How the figures of scaled objects are named and labelled: by KEDA's names under `windlass_`, and again under `keda_` for
//! dashboards and alerts that were written for KEDA. It counts nothing itself.
//!
//! An object of `windlass.dev` and one of `keda.sh` may have one name. Under `windlass_` the label `group` tells them apart;
//! KEDA's labels cannot, so that under `keda_` only the one is told of that KEDA would know.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{Debug, Formatter, Result};
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::series::{Figures, Latency, ObjectSeries, Objects, READ_SECONDS, TriggerFigures};

/// How many objects of which kind, such as `trigger_authentication`, there are in which namespace.
pub type Registered = BTreeMap<(&'static str, Arc<str>), usize>;
/// Counts what is registered besides scaled objects.
pub(super) type Others = OnceLock<Box<dyn Fn() -> Registered + Send + Sync>>;

/// KEDA's word for a scaled object, in the label `type`.
const TYPE: &str = "scaledobject";
/// Where KEDA counts what is in no namespace.
const KEDAS_NO_NAMESPACE: &str = "default";

/// Whose names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    Windlass,
    Keda,
}

pub(super) struct Exposition {
    pub names: Names,
    pub objects: Arc<Objects>,
    pub others: Arc<Others>,
}

impl Debug for Exposition {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("Exposition").field("names", &self.names).finish_non_exhaustive()
    }
}

type Label<'a> = (&'static str, Cow<'a, str>);

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result {
        let objects = self.shown();
        self.triggers(&mut encoder, &objects)?;
        self.objects(&mut encoder, &objects)?;
        self.registered(&mut encoder, &objects)
    }
}

impl Exposition {
    fn shown(&self) -> Vec<Arc<ObjectSeries>> {
        let mut objects = self.objects.all();
        if self.names == Names::Keda {
            // Those of one name lie side by side, that of `keda.sh` last.
            objects.dedup_by(|next, kept| {
                let is_same = (&next.key.namespace, &next.key.name) == (&kept.key.namespace, &kept.key.name);
                if is_same {
                    std::mem::swap(next, kept);
                }
                is_same
            });
        }
        objects
    }

    fn triggers(&self, to: &mut DescriptorEncoder<'_>, objects: &[Arc<ObjectSeries>]) -> Result {
        let help = "Value of the trigger, as the HPA uses it; not there while there is none";
        let mut family = to.encode_descriptor("scaler_metrics_value", help, None, MetricType::Gauge)?;
        self.each_trigger(&mut family, objects, |trigger, to| trigger.value.map_or(Ok(()), |it| to.encode_gauge(&it)))?;

        let help = "1 while the trigger says that there is work, 0 while it says that there is none";
        let mut family = to.encode_descriptor("scaler_active", help, None, MetricType::Gauge)?;
        self.each_trigger(&mut family, objects, |trigger, to| {
            trigger.active.map_or(Ok(()), |it| to.encode_gauge(&i64::from(it)))
        })?;

        let help = "Readings of the trigger that gave no value";
        let mut family = to.encode_descriptor("scaler_detail_errors", help, None, MetricType::Counter)?;
        self.each_trigger(&mut family, objects, |trigger, to| counter(to, trigger.errors))?;

        let help = "Readings of the trigger to which the source answered that what is asked for is not there";
        let mut family = to.encode_descriptor("scaler_empty_upstream_responses", help, None, MetricType::Counter)?;
        if self.names == Names::Keda {
            for object in objects {
                for trigger in &object.figures().triggers {
                    counter(&mut family.encode_family(&empty_labels(object, trigger))?, trigger.absent)?;
                }
            }
        } else {
            self.each_trigger(&mut family, objects, |trigger, to| counter(to, trigger.absent))?;
        }

        let name = "scaler_metrics_latency_seconds";
        if self.names == Names::Keda {
            let help = "Time until the last answer of the source, in seconds";
            let mut family = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
            return self.each_trigger(&mut family, objects, |trigger, to| {
                trigger.latency.last.map_or(Ok(()), |it| to.encode_gauge(&it))
            });
        }
        let help = "Time until the answer of the source, in seconds";
        let mut family = to.encode_descriptor(name, help, None, MetricType::Histogram)?;
        self.each_trigger(&mut family, objects, |trigger, to| histogram(to, &trigger.latency))
    }

    fn each_trigger(
        &self,
        family: &mut MetricEncoder<'_>,
        objects: &[Arc<ObjectSeries>],
        one: impl Fn(&TriggerFigures, &mut MetricEncoder<'_>) -> Result,
    ) -> Result {
        for object in objects {
            for trigger in &object.figures().triggers {
                one(trigger, &mut family.encode_family(&self.trigger_labels(object, trigger))?)?;
            }
        }
        Ok(())
    }

    fn objects(&self, to: &mut DescriptorEncoder<'_>, objects: &[Arc<ObjectSeries>]) -> Result {
        let help = "1 while the scaled object is paused by hand, else 0";
        let mut family = to.encode_descriptor("scaled_object_paused", help, None, MetricType::Gauge)?;
        self.each_object(&mut family, objects, |it, to| to.encode_gauge(&i64::from(it.paused)))?;

        let help = "Readings of the object's triggers that gave no value, and the times it began to be one that cannot be scaled";
        let mut family = to.encode_descriptor("scaled_object_errors", help, None, MetricType::Counter)?;
        self.each_object(&mut family, objects, |it, to| counter(to, it.errors))?;

        let help = "How much later than it was due the newest reading for the object began, in seconds";
        let name = "internal_scale_loop_latency_seconds";
        let mut family = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for object in objects {
            if let Some(late) = object.figures().late {
                family.encode_family(&self.loop_labels(object))?.encode_gauge(&late.as_secs_f64())?;
            }
        }
        if self.names == Names::Keda {
            return Ok(());
        }
        let help = "Replicas of the target as last seen";
        let mut family = to.encode_descriptor("replicas_current", help, None, MetricType::Gauge)?;
        self.each_object(&mut family, objects, |it, to| {
            it.replicas.map_or(Ok(()), |(current, _)| to.encode_gauge(&i64::from(current)))
        })?;
        let help = "Replicas of the target as last decided";
        let mut family = to.encode_descriptor("replicas_desired", help, None, MetricType::Gauge)?;
        self.each_object(&mut family, objects, |it, to| {
            it.replicas.map_or(Ok(()), |(_, desired)| to.encode_gauge(&i64::from(desired)))
        })
    }

    fn each_object(
        &self,
        family: &mut MetricEncoder<'_>,
        objects: &[Arc<ObjectSeries>],
        one: impl Fn(&Figures, &mut MetricEncoder<'_>) -> Result,
    ) -> Result {
        for object in objects {
            one(&object.figures(), &mut family.encode_family(&self.object_labels(object))?)?;
        }
        Ok(())
    }

    fn registered(&self, to: &mut DescriptorEncoder<'_>, objects: &[Arc<ObjectSeries>]) -> Result {
        let mut types: BTreeMap<String, usize> = BTreeMap::new();
        let mut resources = self.others.get().map(|count| count()).unwrap_or_default();
        for object in objects {
            for kind in &object.figures().types {
                *types.entry(kind.clone()).or_default() += 1;
            }
            *resources.entry(("scaled_object", object.key.namespace.clone())).or_default() += 1;
        }
        let help = "Triggers of all scaled objects that are understood, by type";
        let mut family = to.encode_descriptor("trigger_registered_total", help, None, MetricType::Gauge)?;
        for (kind, count) in &types {
            family.encode_family(&[label("type", kind)])?.encode_gauge(&gauge(*count))?;
        }
        let help = "Objects of each kind that this replica knows while it leads";
        let mut family = to.encode_descriptor("resource_registered_total", help, None, MetricType::Gauge)?;
        for ((kind, namespace), count) in &resources {
            let nowhere = namespace.is_empty() && self.names == Names::Keda;
            let namespace = if nowhere { KEDAS_NO_NAMESPACE } else { &**namespace };
            let labels = [label("type", kind), label("namespace", namespace)];
            family.encode_family(&labels)?.encode_gauge(&gauge(*count))?;
        }
        Ok(())
    }

    fn trigger_labels<'a>(&self, object: &'a ObjectSeries, trigger: &'a TriggerFigures) -> Vec<Label<'a>> {
        let labels = [
            label("namespace", &object.key.namespace),
            label("metric", &trigger.name.metric),
            label("scaledObject", &object.key.name),
            label("scaler", self.scaler(trigger)),
            ("triggerIndex", trigger.name.index.to_string().into()),
            label("type", TYPE),
        ];
        labels.into_iter().chain(self.group(object)).collect()
    }

    fn object_labels<'a>(&self, object: &'a ObjectSeries) -> Vec<Label<'a>> {
        let labels = [label("namespace", &object.key.namespace), label("scaledObject", &object.key.name)];
        labels.into_iter().chain(self.group(object)).collect()
    }

    fn loop_labels<'a>(&self, object: &'a ObjectSeries) -> Vec<Label<'a>> {
        let resource = label("resource", &object.key.name);
        let labels = [label("namespace", &object.key.namespace), label("type", TYPE), resource];
        labels.into_iter().chain(self.group(object)).collect()
    }

    fn group(&self, object: &ObjectSeries) -> Option<Label<'static>> {
        (self.names == Names::Windlass).then(|| label("group", object.key.group.name()))
    }

    fn scaler<'a>(&self, trigger: &'a TriggerFigures) -> &'a str {
        let kind = match self.names {
            Names::Windlass => trigger.name.kind.as_str(),
            Names::Keda => kedas_scaler(&trigger.name.kind),
        };
        trigger.name.name.as_deref().unwrap_or(kind)
    }
}

/// What KEDA calls the scaler of a trigger that has no name of its own.
fn kedas_scaler(kind: &str) -> &str {
    match kind {
        "aws-sqs-queue" => "awsSqsQueueScaler",
        "cron" => "cronScaler",
        "kafka" => "kafkaScaler",
        "metrics-api" => "metricsAPIScaler",
        "prometheus" => "prometheusScaler",
        "rabbitmq" => "rabbitMQScaler",
        other => other,
    }
}

/// KEDA's labels for an empty answer are others than for the rest. One that it would pass over is no empty answer here.
fn empty_labels<'a>(object: &'a ObjectSeries, trigger: &'a TriggerFigures) -> [Label<'a>; 6] {
    [
        label("namespace", &object.key.namespace),
        label("scaledResource", &object.key.name),
        label("triggerName", trigger.name.name.as_deref().unwrap_or_default()),
        label("metricName", &trigger.name.metric),
        label("resourceType", "ScaledObject"),
        label("ignoreNullValues", "false"),
    ]
}

fn label<'a>(key: &'static str, value: &'a str) -> Label<'a> {
    (key, value.into())
}

fn counter(to: &mut MetricEncoder<'_>, value: u64) -> Result {
    to.encode_counter::<NoLabelSet, _, f64>(&value, None)
}

fn histogram(to: &mut MetricEncoder<'_>, latency: &Latency) -> Result {
    let bounds = READ_SECONDS.iter().copied().chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(latency.buckets).collect();
    to.encode_histogram::<NoLabelSet>(latency.sum, latency.count, &buckets, None)
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
