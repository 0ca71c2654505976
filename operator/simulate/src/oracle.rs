//! The oracle: what a scaler would do that knows the series to its end. It orders replicas a start-up time ahead, so that
//! no policy under the same maximum can violate less; never looks at a metric.

use std::collections::VecDeque;

use crate::load::Load;
use crate::pods::Pods;
use crate::workload::{Model, Workload};
use crate::{Point, Series};

/// How often it looks at what waits, in milliseconds.
const LOOKS: u64 = 1_000;

/// The plan and where in it the present is.
#[derive(Debug)]
pub(crate) struct Oracle {
    /// From when on how many replicas are wanted, ascending.
    plan: Vec<(u64, u32)>,
    index: usize,
    max: u32,
    model: Model,
    next: u64,
}

impl Oracle {
    pub(crate) fn new(series: &Series, workload: &Workload, max: u32) -> Self {
        let startup = u64::try_from(workload.startup.as_millis()).unwrap_or(u64::MAX);
        Self { plan: plan(series.points(), workload, max, startup), index: 0, max, model: workload.model, next: 0 }
    }

    pub(crate) fn first(&self) -> u32 {
        self.plan.first().map_or(0, |(_, replicas)| *replicas)
    }

    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn act(&mut self, now: u64, load: &Load, pods: &mut Pods) {
        while self.plan.get(self.index + 1).is_some_and(|(at, _)| *at <= now) {
            self.index += 1;
        }
        let planned = self.plan.get(self.index).map_or(0, |(_, replicas)| *replicas);
        // What waits or is being served keeps its replica; `as` saturates.
        let present = (load.backlog() - 1e-6).ceil().max(0.0);
        let busy = match self.model {
            Model::Queue => (present as u32).min(self.max),
            Model::Request { .. } => {
                if present > 0.0 {
                    self.max
                } else {
                    0
                }
            }
        };
        pods.scale_to(planned.max(busy), now);
        let change = self.plan.get(self.index + 1).map_or(u64::MAX, |(at, _)| *at);
        self.next = if busy > planned { change.min(now + LOOKS) } else { change };
    }

    /// Whether something waits that the plan did not expect, so that it must be looked at now.
    pub(crate) fn must_look(&self, load: &Load, pods: &Pods) -> bool {
        let waits = match self.model {
            Model::Queue => load.backlog() > f64::from(pods.all()) + 1e-6,
            Model::Request { .. } => load.backlog() > 1e-6,
        };
        waits && pods.all() < self.max
    }
}

/// From when on how many are wanted: the most that is needed until one start-up time from then.
fn plan(points: &[Point], workload: &Workload, max: u32, startup: u64) -> Vec<(u64, u32)> {
    let needed = |point: &Point| workload.needed(point.rate).min(max);
    let mut plan: Vec<(u64, u32)> = Vec::new();
    // Needs that lie within the window, the largest first: one that is followed by a larger one never decides.
    let mut window: VecDeque<(usize, u32)> = VecDeque::new();
    let (mut entering, mut leaving) = (0, 0);
    let mut now = 0;
    loop {
        while let Some(point) = points.get(entering).filter(|point| point.at <= now + startup) {
            let need = needed(point);
            while window.pop_back_if(|(_, smaller)| *smaller <= need).is_some() {}
            window.push_back((entering, need));
            entering += 1;
        }
        while points.get(leaving + 1).is_some_and(|next| next.at <= now) {
            leaving += 1;
        }
        while window.pop_front_if(|(index, _)| *index < leaving).is_some() {}
        let most = window.front().map_or(0, |(_, need)| *need);
        if plan.last().is_none_or(|(_, before)| *before != most) {
            plan.push((now, most));
        }
        let enters = points.get(entering).map(|point| point.at - startup);
        let leaves = points.get(leaving + 1).map(|point| point.at);
        match [enters, leaves].into_iter().flatten().min() {
            Some(next) => now = next,
            None => return plan,
        }
    }
}
