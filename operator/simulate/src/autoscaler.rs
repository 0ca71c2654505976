//! The HPA controller around one target: when it syncs, what it remembers, what it writes. The algorithm itself is
//! `windlass_decision::hpa`; this never computes replicas.

use jiff::Timestamp;
use windlass_decision::hpa::{self, Controller, Observed, Pods as Counted, Reading, Selector, Spec, State};

use crate::pods::Pods;

/// One HPA and its controller, with the defaults of kube-controller-manager.
#[derive(Debug)]
pub(crate) struct Autoscaler<'a> {
    spec: &'a Spec,
    controller: Controller,
    state: State,
    period: u64,
    next: u64,
}

impl<'a> Autoscaler<'a> {
    /// Its first sync is at `phase` milliseconds.
    pub(crate) fn new(spec: &'a Spec, phase: u64) -> Self {
        let controller = Controller::default();
        let period = u64::try_from(controller.sync_period.as_millis()).unwrap_or(u64::MAX);
        Self { spec, controller, state: State::default(), period, next: phase }
    }

    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// One sync; `figure` is asked for if the controller would ask, and is in thousandths.
    pub(crate) fn sync(&mut self, now: u64, at: Timestamp, pods: &mut Pods, figure: Result<i64, &'static str>) {
        self.next = now + self.period;
        let replicas = pods.all();
        if replicas == 0 && !self.state.recommendations.is_empty() {
            // At 0 a sync changes nothing but conditions, which nobody reads here.
            return;
        }
        let count = i32::try_from(replicas).unwrap_or(i32::MAX);
        let values = [figure.unwrap_or(0)];
        let readings = [figure.map(|_| Reading::External(&values))];
        let observed = Observed {
            spec_replicas: count,
            status_replicas: count,
            selector: Selector::Good,
            pods: Counted::Counted { all: replicas, ready: pods.ready() },
            metrics: &readings,
        };
        let mut outcome = hpa::sync(self.spec, &self.controller, &observed, &self.state, at);
        if outcome.rescale.is_some() {
            outcome.written(self.spec, count, at);
            pods.scale_to(u32::try_from(outcome.desired).unwrap_or(0), now);
        }
        self.state = outcome.next;
    }
}
