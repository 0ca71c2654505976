//! The pipeline on one screen: fallback -> demand -> activation -> scale-up policy -> cooldown -> bounds -> hand. It calls the rules in
//! their order and keeps their trail; it holds no rule of its own.

use std::time::Duration;

use jiff::Timestamp;

use crate::rules::{activation, bounds, by_hand, cooldown, demand, fallback, hold};
use crate::{Config, Observation, Rule, Served, State, Step};

/// The answer to "what should the replica count be, and why".
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The replicas this object should have: at rest, or within its bounds. While the HPA owns the count this is what it
    /// is expected to come to, and nothing is written for it; its tolerance, stabilisation and policies may keep it
    /// elsewhere for a while.
    pub desired: u32,
    /// What to write.
    pub verdict: Verdict,
    /// What each rule did, in order.
    pub trail: Vec<Step>,
    /// What the external metrics server says; one entry for each trigger with a usable reading.
    pub served: Vec<Served>,
    /// What to remember.
    pub next: State,
    /// When to decide again even if nothing is heard.
    pub wake_after: Option<Duration>,
}

/// What the operator does to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Work has come: from rest to this many.
    Activate(u32),
    /// Work is done and the cooldown has passed: to rest.
    Deactivate(u32),
    /// Below the minimum without work: to the minimum.
    RaiseToMinimum(u32),
    /// Work is there and the HPA owns the count.
    Active,
    /// No work, waiting for the cooldown.
    CoolingDown,
    /// No work: at rest, or with the HPA where there is a minimum and no idle count.
    Resting,
    /// Nothing may move, because some or all triggers could not be read.
    Blind,
    /// A person has paused scaling: there is no HPA, and the target has or gets this many.
    Paused(u32),
}

impl Verdict {
    /// The replicas to write, if any.
    #[must_use]
    pub const fn write(self) -> Option<u32> {
        match self {
            Self::Activate(to) | Self::Deactivate(to) | Self::RaiseToMinimum(to) | Self::Paused(to) => Some(to),
            Self::Active | Self::CoolingDown | Self::Resting | Self::Blind => None,
        }
    }

    /// A short name for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Activate(_) => "activate",
            Self::Deactivate(_) => "deactivate",
            Self::RaiseToMinimum(_) => "raise_to_minimum",
            Self::Active => "active",
            Self::CoolingDown => "cooling_down",
            Self::Resting => "resting",
            Self::Blind => "blind",
            Self::Paused(_) => "paused",
        }
    }
}

impl Decision {
    /// The step that explains the verdict; [`Self::sentence`] says it to a person.
    #[must_use]
    pub fn because(&self) -> Option<&Step> {
        match self.verdict {
            Verdict::Active => self.trail.first(),
            _ => self.trail.iter().rev().find(|step| step.rule != Rule::Bounds),
        }
    }

    /// Whether the time of this decision is to be kept as the time of the last activation: with each activation, and
    /// when work is seen on an object of which no activation is known (it had replicas when it was adopted).
    #[must_use]
    pub const fn marks_activation(&self, last_active_time: Option<Timestamp>) -> bool {
        match self.verdict {
            Verdict::Activate(_) => true,
            Verdict::Active => last_active_time.is_none(),
            _ => false,
        }
    }
}

/// Decides about one object. Pure: the same inputs give the same answer, and the next state is inside the answer.
#[must_use]
pub fn decide(observation: &Observation, config: &Config, state: &State, now: Timestamp) -> Decision {
    if let Some(pause) = observation.hand.pause {
        return by_hand::paused(pause, observation, state, now);
    }
    let limits = config.bounds();
    let current = observation.replicas;
    let mut trail = Vec::with_capacity(6);
    let substituted = fallback::apply(observation, config, now, &mut trail);
    let observation = substituted.as_ref().unwrap_or(observation);

    let demand = demand::apply(observation, config, now);
    let activity = activation::judge(observation, config, now);
    let clock = cooldown::advance(&state.cooldown, observation, &activity, now);

    let (verdict, desired) = match activity {
        activation::Activity::Active { reason } => {
            trail.push(demand.step(current));
            if activation::must_activate(current, limits) {
                let first = activation::first_write(&demand, config, current, reason, &mut trail);
                (Verdict::Activate(first), first)
            } else {
                let after = demand.replicas.max(limits.active_min());
                trail.push(Step { rule: Rule::Activation, before: demand.replicas, after, reason });
                (Verdict::Active, bounds::apply(after, limits, &mut trail))
            }
        }
        activation::Activity::Blind { reason } => {
            trail.push(Step { rule: Rule::Activation, before: current, after: current, reason });
            (Verdict::Blind, bounds::keep(current, limits, &mut trail))
        }
        activation::Activity::Quiet => {
            trail.push(demand.step(current));
            cooldown::rest(observation, config, &clock, demand.replicas, now, &mut trail)
        }
    };

    let (verdict, desired) = by_hand::hold_back((verdict, desired), observation, &mut trail);

    let held = hold::carry(state, verdict, observation, config, now);
    let served = hold::serve(held.as_ref(), observation, config, now);
    let unserved_since = hold::unserved_since(state, observation, now);
    let next = State { cooldown: clock, hold: held, unserved_since };
    let wake_after = wake_after(&served, verdict, &next, observation, config, now);
    Decision { desired, verdict, trail, served, next, wake_after }
}

/// How long until the answer changes although nothing is heard: a reading goes stale, the hold ends, or the cooldown has
/// passed.
fn wake_after(
    served: &[Served],
    verdict: Verdict,
    next: &State,
    observation: &Observation,
    config: &Config,
    now: Timestamp,
) -> Option<Duration> {
    let stale = served.iter().map(|value| value.fresh_until).min();
    let held = next.hold.as_ref().and_then(|hold| hold::ends(hold, observation, config));
    let cooled = match verdict {
        Verdict::CoolingDown => cooldown::ends(observation, config, &next.cooldown, now),
        _ => None,
    };
    let at = [stale, held, cooled].into_iter().flatten().filter(|at| *at > now).min()?;
    Duration::try_from(at.duration_since(now)).ok()
}
