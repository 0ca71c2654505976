//! What is compared: ScaledObjects, and the baselines that need none. A policy is checked and complete when it is made; it
//! never runs anything.

use std::time::Duration;

use windlass_crd::{Inputs, ScaledObject, Validated};
use windlass_decision::{Bounds, Config, InvalidConfig, TargetKind, hpa};
use windlass_sources::rabbitmq::Mode;
use windlass_sources::{ConfigError, Query};

use crate::behaviour;

/// Something that moves replicas.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// What it is called in tables and charts.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// What of the ScaledObject is not replayed, for the reader.
    pub notes: Vec<String>,
}

/// The kinds of policy.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A ScaledObject: the operator's own decision for 0 <-> N and the HPA for 1 <-> N.
    Object(Box<Object>),
    /// An HPA alone, which never goes to 0.
    PlainHpa {
        /// The HPA.
        hpa: hpa::Spec,
        /// What it reads.
        figure: Figure,
    },
    /// A fixed number of replicas.
    Static(u32),
    /// Knows the future: what is needed is ready when it is needed, and while something waits everything allowed is.
    Oracle {
        /// The most it may have.
        max: u32,
    },
}

/// A ScaledObject, understood: its first trigger only.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// What decisions are made by.
    pub config: Config,
    /// The HPA that the operator would write.
    pub hpa: hpa::Spec,
    /// The time between two readings.
    pub interval: Duration,
    /// What the trigger reads.
    pub figure: Figure,
}

/// What a trigger reads of the load model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// What the model's own figure is: the backlog of a queue, the rate of requests.
    OfModel,
    /// The rate of arrivals, whatever the model.
    Rate,
}

/// Why a ScaledObject is no policy.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PolicyError {
    /// The object is refused as the operator would refuse it.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Refused(Vec<ConfigError>),
    /// The object cannot be used.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// A field of `behavior` cannot be used.
    #[error(
        "spec.advanced.horizontalPodAutoscalerConfig.behavior.{field}: {value:?} is no quantity; write a number such as 0.05 or 50m"
    )]
    Tolerance {
        /// The field.
        field: &'static str,
        /// What is there.
        value: String,
    },
}

/// What a sweep or a flag changes of a ScaledObject.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Change {
    /// The target of the first trigger.
    pub target: Option<f64>,
    /// `cooldownPeriod`.
    pub cooldown: Option<Duration>,
    /// `minReplicaCount`; an `idleReplicaCount` that is not below it is dropped.
    pub min: Option<u32>,
}

impl Policy {
    /// A ScaledObject as a policy. `interval` is used instead of what the object or its source says, if given.
    ///
    /// # Errors
    /// Everything that the operator would refuse, each with its field and its fix.
    pub fn from_object(name: &str, object: &ScaledObject, interval: Option<Duration>) -> Result<Self, PolicyError> {
        let own_name = object.metadata.name.as_deref().unwrap_or(name);
        let valid = windlass_crd::validate(own_name, &object.spec, Inputs::default()).map_err(PolicyError::Refused)?;
        let mut notes = Vec::new();
        if valid.triggers.len() > 1 {
            notes.push(format!("{name}: only the first of its {} triggers is replayed", valid.triggers.len()));
        }
        let figure = figure(name, &valid, &mut notes);
        let default = Duration::from_millis(500);
        let first = valid.triggers.first();
        let read_each = first.map_or(default, |first| first.interval.unwrap_or(first.parsed.default_interval));
        let interval = interval.unwrap_or(read_each).max(Duration::from_millis(100));
        let behaviour = valid.behavior.as_ref().map(behaviour::convert).transpose()?;
        let config = rebuilt(&valid.config, Change::default())?;
        let hpa = hpa_of(&config, behaviour);
        let kind = Kind::Object(Box::new(Object { config, hpa, interval, figure }));
        Ok(Self { name: name.to_owned(), kind, notes })
    }

    /// The same ScaledObject with other settings; `None` for a baseline.
    ///
    /// # Errors
    /// The change makes settings that do not fit each other, such as a minimum above the maximum.
    pub fn changed(&self, name: &str, change: Change) -> Option<Result<Self, PolicyError>> {
        let Kind::Object(object) = &self.kind else { return None };
        let config = match rebuilt(&object.config, change) {
            Ok(config) => config,
            Err(invalid) => return Some(Err(invalid.into())),
        };
        let hpa = hpa_of(&config, object.hpa.behaviour.clone());
        let object = Object { config, hpa, ..(**object).clone() };
        Some(Ok(Self { name: name.to_owned(), kind: Kind::Object(Box::new(object)), notes: self.notes.clone() }))
    }
}

impl Object {
    /// `plain-hpa`: the same target and maximum, at least 1 replica, Kubernetes' own behaviour.
    #[must_use]
    pub fn plain_hpa(&self) -> Policy {
        let mut hpa = hpa_of(&self.config, None);
        hpa.min = 1;
        let kind = Kind::PlainHpa { hpa, figure: self.figure };
        Policy { name: "plain-hpa".to_owned(), kind, notes: Vec::new() }
    }

    /// `static-max`: the same maximum, always.
    #[must_use]
    pub fn static_max(&self) -> Policy {
        Policy { name: "static-max".to_owned(), kind: Kind::Static(self.config.bounds().max), notes: Vec::new() }
    }

    /// `oracle`: the same maximum, and knowledge of the future.
    #[must_use]
    pub fn oracle(&self) -> Policy {
        let kind = Kind::Oracle { max: self.config.bounds().max };
        Policy { name: "oracle".to_owned(), kind, notes: Vec::new() }
    }
}

/// What the first trigger reads. Modes that are neither a backlog nor a rate have no counterpart in the load model.
fn figure(name: &str, valid: &Validated, notes: &mut Vec<String>) -> Figure {
    let query = valid.triggers.first().map(|trigger| &trigger.parsed.query);
    let Some(Query::Rabbitmq(query)) = query else { return Figure::OfModel };
    match query.mode {
        Mode::QueueLength => Figure::OfModel,
        Mode::MessageRate => Figure::Rate,
        mode @ (Mode::DeliverGetRate | Mode::PublishedToDeliveredRatio | Mode::ExpectedQueueConsumptionTime) => {
            notes.push(format!("{name}: its trigger reads {mode:?}, for which the model's own figure is taken"));
            Figure::OfModel
        }
    }
}

/// A configuration of the first trigger alone, changed.
fn rebuilt(config: &Config, change: Change) -> Result<Config, InvalidConfig> {
    let mut triggers = config.triggers().to_vec();
    triggers.truncate(1);
    if let (Some(target), Some(first)) = (change.target, triggers.first_mut()) {
        first.target = target;
    }
    let before = config.bounds();
    let min = change.min.unwrap_or(before.min);
    let bounds = Bounds { min, max: before.max, idle: before.idle.filter(|idle| *idle < min) };
    let cooldown = change.cooldown.unwrap_or_else(|| config.cooldown());
    Config::new(
        triggers,
        bounds,
        cooldown,
        config.initial_cooldown(),
        config.scale_up().clone(),
        config.startup_limit(),
    )
}

/// The HPA that the operator writes for `config`.
fn hpa_of(config: &Config, behaviour: Option<hpa::Behaviour>) -> hpa::Spec {
    let count = |replicas: u32| i32::try_from(replicas).unwrap_or(i32::MAX);
    let metrics = config.triggers().iter().map(|trigger| hpa::Metric {
        source: hpa::Source::External { name: trigger.metric_name.clone() },
        target: match trigger.kind {
            TargetKind::AverageValue => hpa::Target::AverageValue(trigger.target_milli()),
            TargetKind::Value => hpa::Target::Value(trigger.target_milli()),
        },
    });
    hpa::Spec {
        min: count(config.bounds().active_min()),
        max: count(config.bounds().max),
        metrics: metrics.collect(),
        behaviour,
    }
}
