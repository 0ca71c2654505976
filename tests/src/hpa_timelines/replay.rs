//! Lives a timeline with the product's own algorithm. Decides nothing itself: what it does around `sync` is what the
//! documentation of `windlass_decision::hpa` asks of every caller.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use windlass_decision::hpa::{self, Condition, Controller, Outcome, State};
use windlass_decision::{PolicyKind, SelectPolicy};

use super::format::{
    Answer, Behaviour, Change, Container, Figure, Hpa, MAIN, Metric, PodFigure, Policy, Rows, Rules, SimPod, Source,
    Status, Target, Timeline,
};

/// The first second of 2000: the clock of the other side starts there.
const START: i64 = 946_684_800;
/// After a conflict the controller waits this long before it writes again.
const RETRY_NS: i64 = 10_000_000;
/// So many times it tries.
const TRIES: u32 = 5;

/// A world in which one autoscaler is synced.
#[derive(Debug)]
pub struct Replay {
    controller: Controller,
    hpa: Option<Hpa>,
    spec: Option<hpa::Spec>,
    /// `spec.replicas`.
    pub replicas: i32,
    status_replicas: i32,
    pods: BTreeMap<String, SimPod>,
    answers: BTreeMap<usize, Answer>,
    selector: bool,
    readable: bool,
    writable: bool,
    conflicts: u32,
    state: State,
    status: Status,
    divided_by_zero: bool,
}

/// One sync of this side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnRow {
    /// The replicas it read.
    pub before: i32,
    /// The replicas it left.
    pub replicas: i32,
    /// When it wrote them, if it did: nanoseconds since the start.
    pub wrote: Option<i64>,
    /// The status as it stands.
    pub status: Status,
    /// Whether `status.replicas` was 0 when the figures of the metrics were made: an average is then a division by 0, and
    /// Go makes another number of that on each processor.
    pub divided_by_zero: bool,
}

impl Replay {
    /// An empty world.
    #[must_use]
    pub fn new(controller: Controller) -> Self {
        Self {
            controller,
            hpa: None,
            spec: None,
            replicas: 0,
            status_replicas: 0,
            pods: BTreeMap::new(),
            answers: BTreeMap::new(),
            selector: true,
            readable: true,
            writable: true,
            conflicts: 0,
            state: State::default(),
            status: Status::default(),
            divided_by_zero: false,
        }
    }

    /// The spec in force.
    #[must_use]
    pub const fn hpa(&self) -> Option<&Hpa> {
        self.hpa.as_ref()
    }

    /// Something happens.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Hpa(hpa) => {
                self.spec = Some(spec(hpa));
                self.hpa = Some(hpa.clone());
            }
            Change::Replicas(replicas) => self.replicas = *replicas,
            Change::StatusReplicas(replicas) => self.status_replicas = *replicas,
            Change::Pod(pod) => drop(self.pods.insert(pod.name.clone(), pod.clone())),
            Change::Gone(name) => drop(self.pods.remove(name)),
            Change::Metric(event) => drop(self.answers.insert(event.index, event.answer.clone())),
            Change::Selector(there) => self.selector = *there,
            Change::ScaleReads(work) => self.readable = *work,
            Change::Conflicts(next) => self.conflicts = *next,
            Change::Writes(work) => self.writable = *work,
        }
    }

    /// One sync that has read the scale and the metrics at `at` and, if it writes, writes at `wrote`: nanoseconds since the start. Without
    /// `wrote`, the time of the write is guessed from the conflicts it meets.
    pub fn sync(&mut self, at: i64, wrote: Option<i64>) -> OwnRow {
        let before = self.replicas;
        let mut written = None;
        if !self.readable {
            self.keep_conditions(Outcome::scale_unknown("told not to answer"));
        } else if let Some(spec) = self.spec.take() {
            let outcome = self.outcome(&spec, at);
            written = self.carry_out(&spec, outcome, at, wrote);
            self.spec = Some(spec);
        }
        OwnRow {
            before,
            replicas: self.replicas,
            wrote: written,
            status: self.status.clone(),
            divided_by_zero: self.divided_by_zero,
        }
    }

    fn outcome(&self, spec: &hpa::Spec, at: i64) -> Outcome {
        let requests: Vec<_> = self.pods.values().map(requests).collect();
        let pods: Vec<_> = self.pods.values().zip(&requests).map(|(pod, requests)| view(pod, requests)).collect();
        let figures: Vec<Vec<_>> = (0..spec.metrics.len()).map(|index| figures(self.answers.get(&index))).collect();
        let metrics: Vec<_> = figures
            .iter()
            .enumerate()
            .map(|(index, figures)| match self.answers.get(&index) {
                None => Err("no metrics returned"),
                Some(Answer::Error(why)) => Err(why.as_str()),
                Some(Answer::Values(values)) => Ok(hpa::Reading::External(values)),
                Some(Answer::Object(value)) => Ok(hpa::Reading::Object(*value)),
                Some(Answer::Pods(_)) => Ok(hpa::Reading::PerPod(figures)),
            })
            .collect();
        let observed = hpa::Observed {
            spec_replicas: self.replicas,
            status_replicas: self.status_replicas,
            selector: if self.selector { hpa::Selector::Good } else { hpa::Selector::Invalid },
            pods: hpa::Pods::Listed(&pods),
            metrics: &metrics,
        };
        hpa::sync(spec, &self.controller, &observed, &self.state, time(at))
    }

    /// Writes what the outcome asks for, and says when it did.
    fn carry_out(&mut self, spec: &hpa::Spec, mut outcome: Outcome, at: i64, wrote: Option<i64>) -> Option<i64> {
        let (before, mut written) = (self.replicas, None);
        if outcome.rescale.is_some() {
            let met = self.conflicts.min(TRIES);
            if !self.writable {
                outcome.refused("told to refuse");
            } else {
                self.conflicts -= met;
                if met == TRIES {
                    outcome.refused("told to conflict");
                } else {
                    let when = wrote.unwrap_or_else(|| at + i64::from(met) * RETRY_NS);
                    outcome.written(spec, before, time(when));
                    written = Some(when);
                    self.replicas = outcome.desired;
                }
            }
        }
        self.status.current = before;
        self.status.desired = outcome.status_desired.unwrap_or(self.status.desired);
        self.status.last_scale = outcome.next.last_scale.map(nanos);
        self.status.metrics = outcome.metrics.iter().map(|metric| metric.as_ref().ok().map(figure)).collect();
        self.divided_by_zero = self.status_replicas == 0;
        self.keep_conditions(outcome.conditions);
        self.state = outcome.next;
        written
    }

    fn keep_conditions(&mut self, conditions: hpa::Conditions) {
        let mut keep = |kind: &str, condition: Option<Condition>| {
            if let Some(Condition { holds, reason, .. }) = condition {
                let words = format!("{} {}", if holds { "True" } else { "False" }, reason.as_str());
                self.status.conditions.insert(kind.to_owned(), words);
            }
        };
        keep("AbleToScale", conditions.able_to_scale);
        keep("ScalingActive", conditions.scaling_active);
        keep("ScalingLimited", conditions.scaling_limited);
    }
}

/// Lives `timeline` at the times of the other side's syncs.
#[must_use]
pub fn replay(timeline: &Timeline, theirs: &Rows, controller: Controller) -> Vec<OwnRow> {
    let mut world = Replay::new(controller);
    let mut events = timeline.events.iter().peekable();
    let mut rows = Vec::with_capacity(theirs.rows.len());
    for row in &theirs.rows {
        while let Some(event) = events.next_if(|event| event.at * 1_000_000 < row.at) {
            world.apply(&event.change);
        }
        rows.push(world.sync(row.at, row.wrote));
    }
    rows
}

fn time(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(START) * 1_000_000_000 + i128::from(nanos)).unwrap_or(Timestamp::MAX)
}

fn nanos(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond() - i128::from(START) * 1_000_000_000).unwrap_or(i64::MAX)
}

fn time_of_milli(milli: i64) -> Timestamp {
    time(milli * 1_000_000)
}

fn figure(proposal: &hpa::Proposal) -> Figure {
    let hpa::Current { value, average_value, average_utilization } = proposal.current;
    Figure { value, average: average_value, utilization: average_utilization }
}

fn figures<'a>(answer: Option<&'a Answer>) -> Vec<hpa::PodValue<'a>> {
    let Some(Answer::Pods(figures)) = answer else { return Vec::new() };
    let view = |figure: &'a PodFigure| hpa::PodValue {
        pod: &figure.pod,
        milli: figure.milli,
        at: time_of_milli(figure.at),
        window: Duration::from_millis(figure.window.unsigned_abs()),
    };
    figures.iter().map(view).collect()
}

fn requests(pod: &SimPod) -> Vec<hpa::Request<'_>> {
    let mut requests = Vec::new();
    for resource in ["cpu", "memory"] {
        let of = |container: &Container| if resource == "cpu" { container.cpu } else { container.memory };
        if let Some(milli) = pod.containers.iter().map(of).sum::<Option<i64>>() {
            requests.push(hpa::Request { resource, container: None, milli });
        }
        for container in &pod.containers {
            let one = |milli| hpa::Request { resource, container: Some(container.name.as_str()), milli };
            requests.extend(of(container).map(one));
        }
    }
    requests
}

fn view<'a>(pod: &'a SimPod, requests: &'a [hpa::Request<'a>]) -> hpa::Pod<'a> {
    hpa::Pod {
        name: &pod.name,
        phase: match pod.phase.as_str() {
            "Pending" => hpa::Phase::Pending,
            "Running" => hpa::Phase::Running,
            "Succeeded" => hpa::Phase::Succeeded,
            "Failed" => hpa::Phase::Failed,
            _ => hpa::Phase::Unknown,
        },
        ready: pod.ready.as_ref().map(|ready| hpa::Ready {
            status: match ready.status.as_str() {
                "True" => Some(true),
                "False" => Some(false),
                _ => None,
            },
            since: time_of_milli(ready.since),
        }),
        started: pod.started.map(time_of_milli),
        deleting: pod.deleting,
        requests,
    }
}

/// The spec with the API server's defaults.
#[must_use]
pub fn spec(hpa: &Hpa) -> hpa::Spec {
    hpa::Spec {
        min: hpa.min,
        max: hpa.max,
        metrics: hpa.metrics.iter().enumerate().map(|(index, metric)| own_metric(index, metric)).collect(),
        behaviour: hpa.behaviour.as_ref().map(own_behaviour),
    }
}

fn own_metric(index: usize, metric: &Metric) -> hpa::Metric {
    let (name, resource) = (format!("m{index}"), metric.resource.clone());
    hpa::Metric {
        source: match metric.source {
            Source::External => hpa::Source::External { name },
            Source::Object => hpa::Source::Object { name },
            Source::Pods => hpa::Source::Pods { name },
            Source::Resource => hpa::Source::Resource { resource },
            Source::Container => hpa::Source::ContainerResource { resource, container: MAIN.to_owned() },
        },
        target: match metric.target {
            Target::Value => hpa::Target::Value(metric.amount),
            Target::Average => hpa::Target::AverageValue(metric.amount),
            Target::Utilization => hpa::Target::Utilization(i32::try_from(metric.amount).unwrap_or(i32::MAX)),
        },
    }
}

fn own_behaviour(behaviour: &Behaviour) -> hpa::Behaviour {
    hpa::Behaviour {
        scale_up: own_rules(behaviour.up.as_ref(), hpa::Rules::scale_up()),
        scale_down: own_rules(behaviour.down.as_ref(), hpa::Rules::scale_down()),
    }
}

fn own_rules(rules: Option<&Rules>, defaults: hpa::Rules) -> hpa::Rules {
    let Some(rules) = rules else { return defaults };
    let policies = rules.policies.as_ref().map(|policies| {
        let own = |policy: &Policy| hpa::Policy {
            kind: if policy.kind == "Pods" { PolicyKind::Pods } else { PolicyKind::Percent },
            value: policy.value,
            period: policy.period,
        };
        policies.iter().map(own).collect()
    });
    let select = rules.select.as_deref().map(|select| match select {
        "Min" => SelectPolicy::Min,
        "Disabled" => SelectPolicy::Disabled,
        _ => SelectPolicy::Max,
    });
    hpa::Rules {
        stabilisation: rules.window.or(defaults.stabilisation),
        select: select.unwrap_or(defaults.select),
        policies: policies.unwrap_or(defaults.policies),
        tolerance: rules.tolerance.map(|tolerance| f64::from(tolerance) * 1e-3),
    }
}
