//! One sentence for a person. It words what was decided; it never decides.

use std::fmt::Write as _;

use crate::{Config, Decision, FirstStep, Reason, Rule, Step, TargetKind, Verdict};

impl Decision {
    /// The decision and its reason as one sentence without a full stop, for events, conditions and people. `current` is
    /// the replica count that the decision was made from.
    ///
    /// For example: `10 replicas because s0-rabbitmq-orders reads 100 at a target of 10`.
    #[must_use]
    pub fn sentence(&self, config: &Config, current: u32) -> String {
        let desired = replicas(self.desired);
        match self.verdict {
            Verdict::Activate(_) => format!("{desired} because {}", self.work(config)),
            Verdict::Active if self.desired == current => format!("{desired} because {}", self.work(config)),
            Verdict::Active => {
                format!("{desired} wanted, {current} there; the HPA moves them, because {}", self.work(config))
            }
            Verdict::Deactivate(_) | Verdict::RaiseToMinimum(_) => format!("{desired} because {}", self.quiet(config)),
            Verdict::CoolingDown => {
                format!("not yet at rest with {} because {}", replicas(current), self.quiet(config))
            }
            Verdict::Resting if current == self.desired => {
                format!("{desired} because {}", self.quiet(config))
            }
            Verdict::Resting => {
                format!("{desired} wanted, {current} there; the HPA moves them, because {}", self.quiet(config))
            }
            Verdict::Paused(_) => format!("{desired} because scaling is paused by hand"),
            Verdict::Blind => format!("{} as before because {}", replicas(current), self.blind(config)),
        }
    }

    /// The first step that is about readings.
    fn first(&self) -> Option<&Step> {
        self.trail.iter().find(|step| step.rule != Rule::Fallback)
    }

    /// What work there is, and what kept the figure from being the demand.
    fn work(&self, config: &Config) -> String {
        let mut text = String::with_capacity(96);
        let active = self.trail.iter().find_map(|step| match step.reason {
            Reason::Active { trigger } => Some(trigger),
            _ => None,
        });
        let fallback = self.trail.iter().find_map(|step| match step.reason {
            Reason::Fallback { trigger, replicas } => Some((trigger, replicas)),
            _ => None,
        });
        let forced = self.trail.iter().any(|step| step.reason == Reason::Forced);
        for step in &self.trail {
            // Writing to a string does not fail.
            let _ = match &step.reason {
                Reason::TriggerAsks { replicas: 0, .. } | Reason::NoReading => match active {
                    Some(trigger) => write!(text, "{} has work", name(config, trigger)),
                    None if forced => write!(text, "activation is forced by hand"),
                    None => write!(text, "cpu and memory are always active"),
                },
                Reason::TriggerAsks { trigger, .. } if fallback.is_some_and(|(other, _)| other == *trigger) => {
                    let replicas = fallback.map_or(0, |(_, replicas)| replicas);
                    write!(text, "{} cannot be read and its fallback is {replicas}", name(config, *trigger))
                }
                Reason::TriggerAsks { trigger, value, target, replicas: asked } => {
                    reads(&mut text, config, *trigger, *value, *target, *asked)
                }
                Reason::ScaleOutPaused => write!(text, "; scaling out is paused by hand"),
                Reason::Active { .. } | Reason::Forced if step.after > step.before && step.after > 1 => {
                    write!(text, " and the minimum is {}", step.after)
                }
                Reason::FirstStepOnly { because } => {
                    let because = match because {
                        FirstStep::ValueTarget => "a target of type Value counts pods that are ready",
                        FirstStep::StabilisationWindow => "the scale-up stabilisation window has to pass",
                        FirstStep::ScaleUpDisabled => "selectPolicy is Disabled",
                    };
                    write!(text, "; only the first step is made at once, as {because}")
                }
                Reason::PolicyLimits { allowed } => {
                    write!(text, "; the scale-up policy allows {allowed} in one step")
                }
                Reason::Bounded { max, .. } if step.after < step.before => write!(text, " and the maximum is {max}"),
                _ => Ok(()),
            };
        }
        text
    }

    /// Why an object without work is where it is.
    fn quiet(&self, config: &Config) -> String {
        let reason = self.because().map(|step| &step.reason);
        match reason {
            Some(Reason::CooledDown) => {
                format!("no trigger has had work for the cooldown of {} s", config.cooldown().as_secs())
            }
            Some(Reason::CoolingDown { quiet, needed }) => {
                format!("no trigger has had work for {quiet} s of the cooldown of {needed} s")
            }
            Some(Reason::ScaleInPaused) => "no trigger has work and scaling in is paused by hand".to_owned(),
            Some(Reason::ScaleOutPaused) => "no trigger has work and scaling out is paused by hand".to_owned(),
            Some(Reason::NeverActive) => "no trigger has work, and none has had any so far".to_owned(),
            Some(Reason::InitialCooldown { left }) => {
                format!("no trigger has had work yet and the initial cooldown ends in {left} s")
            }
            Some(Reason::KeepsMinimum { min }) if self.desired == *min => {
                format!("no trigger has work and the minimum is {min}")
            }
            // Below the activation value, and still more than the minimum asks for.
            Some(Reason::KeepsMinimum { .. }) => match self.first().map(|step| &step.reason) {
                Some(Reason::TriggerAsks { trigger, value, target, replicas }) => {
                    let mut text = String::new();
                    let _ = reads(&mut text, config, *trigger, *value, *target, *replicas);
                    text
                }
                _ => "no trigger has work".to_owned(),
            },
            _ => "no trigger has work".to_owned(),
        }
    }

    /// Why nothing may move.
    fn blind(&self, config: &Config) -> String {
        let all = config.triggers().len();
        match self.first().map(|step| &step.reason) {
            Some(Reason::PartialReading { missing }) => {
                format!(
                    "{missing} of {all} triggers {} no usable reading and no other has work",
                    if *missing == 1 { "has" } else { "have" }
                )
            }
            _ if all == 1 => format!("{} has no usable reading", name(config, 0)),
            _ => format!("none of {all} triggers has a usable reading"),
        }
    }
}

fn reads(text: &mut String, config: &Config, trigger: usize, value: f64, target: f64, asked: u32) -> std::fmt::Result {
    let (value, target) = (thousandths(value), thousandths(target));
    write!(text, "{} reads {value} at a target of {target}", name(config, trigger))?;
    let is_average = config.triggers().get(trigger).is_some_and(|trigger| trigger.kind == TargetKind::AverageValue);
    if !is_average {
        text.write_str(" for all replicas together")?;
    } else if (value / target).ceil() > f64::from(asked) {
        write!(text, " and at most {asked} can have work at once")?;
    }
    Ok(())
}

fn name(config: &Config, trigger: usize) -> &str {
    config.triggers().get(trigger).map_or("a trigger", |trigger| &trigger.metric_name)
}

fn replicas(count: u32) -> String {
    if count == 1 { "1 replica".to_owned() } else { format!("{count} replicas") }
}

/// Three decimals, as the HPA sees them.
fn thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
