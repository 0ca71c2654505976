//! The builder that the timelines are written with. It plays everything around `sync`: the clock, the target whose scale
//! is written, and pods that are ready at once.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::hpa::{
    Behaviour, Controller, Metric, Observed, Outcome, Pods, Policy, Reading, Rules, Selector, Source, Spec, State,
    Target, sync,
};
use crate::{PolicyKind, SelectPolicy};

/// Start of all timelines.
pub(super) fn start() -> Timestamp {
    Timestamp::from_second(1_767_225_600).unwrap()
}

/// `at` seconds after the start.
pub(super) fn second(at: i64) -> Timestamp {
    start() + SignedDuration::from_secs(at)
}

/// One external metric of which each replica is for 10, 1 to 100 replicas, no behaviour.
pub(super) fn spec() -> Spec {
    Spec { min: 1, max: 100, metrics: vec![external(Target::AverageValue(10_000))], behaviour: None }
}

/// As [`spec`], with rules that hold nothing back unless `change` says so.
pub(super) fn free(change: impl FnOnce(&mut Behaviour)) -> Spec {
    let policies = vec![policy(PolicyKind::Percent, 1_000, 15), policy(PolicyKind::Pods, 100, 15)];
    let rules = Rules { stabilisation: Some(0), select: SelectPolicy::Max, policies, tolerance: None };
    let mut behaviour = Behaviour { scale_up: rules.clone(), scale_down: rules };
    change(&mut behaviour);
    Spec { behaviour: Some(behaviour), ..spec() }
}

pub(super) fn external(target: Target) -> Metric {
    Metric { source: Source::External { name: "orders".to_owned() }, target }
}

pub(super) fn policy(kind: PolicyKind, value: i32, period: u32) -> Policy {
    Policy { kind, value, period }
}

/// One autoscaler over time.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) spec: Spec,
    pub(super) controller: Controller,
    pub(super) replicas: i32,
    pub(super) state: State,
    pub(super) writable: bool,
    pub(super) selector: Selector,
}

impl Life {
    pub(super) fn new(spec: Spec, replicas: i32) -> Self {
        Self {
            spec,
            controller: Controller::default(),
            replicas,
            state: State::default(),
            writable: true,
            selector: Selector::Good,
        }
    }

    /// One sync at a second, with one external value (whole units).
    pub(super) fn sync(&mut self, at: i64, value: i64) -> Outcome {
        self.look(at, &[Ok(Reading::External(&[value * 1_000]))])
    }

    /// One sync at a second, with the answers of all metrics. All pods are ready.
    pub(super) fn look(&mut self, at: i64, metrics: &[Result<Reading<'_>, &str>]) -> Outcome {
        let pods = u32::try_from(self.replicas).unwrap();
        let observed = Observed {
            spec_replicas: self.replicas,
            status_replicas: self.replicas,
            selector: self.selector,
            pods: Pods::Counted { all: pods, ready: pods },
            metrics,
        };
        self.settle(at, &observed)
    }

    /// One sync at a second of what was observed.
    pub(super) fn settle(&mut self, at: i64, observed: &Observed<'_>) -> Outcome {
        let mut outcome = sync(&self.spec, &self.controller, observed, &self.state, second(at));
        if self.writable {
            outcome.written(&self.spec, self.replicas, second(at));
            self.replicas = outcome.desired;
        } else {
            outcome.refused("read-only");
        }
        self.state = outcome.next.clone();
        outcome
    }

    /// Syncs every 15 seconds: what follows each value.
    pub(super) fn follow(&mut self, from: i64, values: &[i64]) -> Vec<i32> {
        let syncs = values.iter().enumerate();
        syncs.map(|(index, value)| self.sync(from + 15 * index as i64, *value).desired).collect()
    }
}

/// A window or period in seconds.
pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
