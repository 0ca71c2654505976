//! Properties of one decision and of the one after it.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::generators::{Input, plausible, wild};
use crate::{
    Activity, Decision, Fallback, FallbackBehavior, Hand, Outcome, Pause, Reading, Rule, State, Trigger, Verdict,
    decide, fresh_window, in_fallback,
};

impl Input {
    fn decide(&self) -> Decision {
        decide(&self.observation, &self.config, &self.state, self.now)
    }

    /// After `decision` was carried out: what was written is there, and its time is kept.
    fn after(&self, decision: &Decision, now: Timestamp) -> Self {
        let mut next = self.clone();
        if let Some(written) = decision.verdict.write() {
            next.observation.replicas = written;
        }
        if decision.marks_activation(self.observation.last_active_time) {
            next.observation.last_active_time = Some(self.now);
        }
        next.state = decision.next.clone();
        next.now = now;
        next
    }

    fn pairs(&self) -> impl Iterator<Item = (&Trigger, &Reading)> {
        self.config.triggers().iter().zip(&self.observation.triggers)
    }
}

/// What the newest outcome says about work, told again from the words of the rule: `None` unless it is a good, fresh
/// count.
fn says_active(trigger: &Trigger, reading: &Reading, now: Timestamp) -> Option<bool> {
    let Some(Outcome::Ok(sample)) = &reading.latest else { return None };
    let window = i128::try_from(fresh_window(reading.interval).as_nanos()).unwrap_or(i128::MAX);
    let age = now.duration_since(sample.at).as_nanos();
    let is_count = |figure: f64| (0.0..=crate::MAX_VALUE).contains(&figure);
    // Time itself ends there, and with it every window.
    if now == Timestamp::MAX || !is_count(sample.value) || age >= window || age < -window {
        return None;
    }
    match sample.activity {
        Activity::Number(figure) => is_count(figure).then_some(figure > trigger.activation),
        Activity::Decided(active) => Some(active),
    }
}

/// What somebody outside can see.
fn seen(decision: &Decision) -> (Verdict, u32, Vec<(usize, i64)>, bool) {
    let served = decision.served.iter().map(|one| (one.trigger, one.milli)).collect();
    (decision.verdict, decision.desired, served, decision.next.hold.is_some())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn desired_is_at_rest_or_within_the_bounds(input in wild()) {
        let decision = input.decide();
        let bounds = input.config.bounds();
        let within = (bounds.min..=bounds.max).contains(&decision.desired);
        prop_assert!(within || bounds.resting() == Some(decision.desired), "{decision:#?}");
        prop_assert!(decision.verdict.write().is_none_or(|written| written == decision.desired));
    }

    #[test]
    fn nothing_panics_and_everything_has_its_words(input in wild()) {
        let decision = input.decide();
        prop_assert!(!decision.sentence(&input.config, input.observation.replicas).is_empty());
        prop_assert!(decision.because().is_some());
        prop_assert!(decision.wake_after.is_none_or(|wake| !wake.is_zero()));
        let mut figure = input.observation.replicas;
        for step in &decision.trail {
            prop_assert_eq!(step.before, figure, "{:#?}", &decision.trail);
            prop_assert!(!step.reason.to_string().is_empty());
            figure = step.after;
        }
        prop_assert_eq!(figure, decision.desired, "{:#?}", &decision.trail);
        for reading in &input.observation.triggers {
            let _ = reading.failing(input.now);
        }
    }

    #[test]
    fn the_same_inputs_give_the_same_answer(input in wild()) {
        let copy = input.clone();
        // By text, as NaN is not equal to itself.
        prop_assert_eq!(format!("{:?}", input.decide()), format!("{:?}", copy.decide()));
    }

    #[test]
    fn served_values_are_counts_of_fresh_usable_readings(input in wild()) {
        let decision = input.decide();
        let mut seen = BTreeSet::new();
        for served in &decision.served {
            prop_assert!(served.milli >= 0, "{served:?}");
            prop_assert!(served.fresh_until > input.now, "{served:?}");
            prop_assert!(seen.insert(served.trigger));
            let reading = &input.observation.triggers[served.trigger];
            let sample = reading.usable(input.now);
            prop_assert_eq!(sample.map(|sample| sample.at), Some(served.at));
        }
        let usable = input.pairs().filter(|(_, reading)| reading.usable(input.now).is_some()).count();
        prop_assert_eq!(seen.len(), usable);
        prop_assert!(decision.next.hold.as_ref().is_none_or(|hold| input.state.hold.is_some()
            || hold.floor.iter().all(|floor| *floor >= 0.0 && *floor <= crate::MAX_VALUE * 1.01)));
    }

    #[test]
    fn only_all_good_fresh_and_quiet_goes_to_rest(input in prop_oneof![plausible().boxed(), wild().boxed()]) {
        let decision = input.decide();
        let all_quiet = input.pairs().all(|(trigger, reading)| says_active(trigger, reading, input.now) == Some(false));
        let any_active = input.pairs().any(|(trigger, reading)| says_active(trigger, reading, input.now) == Some(true));
        match decision.verdict {
            Verdict::Deactivate(_) | Verdict::RaiseToMinimum(_) | Verdict::CoolingDown | Verdict::Resting => {
                prop_assert!(all_quiet, "{decision:#?}");
            }
            Verdict::Activate(_) | Verdict::Active => prop_assert!(any_active, "{decision:#?}"),
            Verdict::Blind => prop_assert!(!all_quiet && !any_active, "{decision:#?}"),
            Verdict::Paused(_) => prop_assert!(false, "nobody has paused: {decision:#?}"),
        }
        prop_assert_eq!(decision.next.cooldown.last_was_quiet, all_quiet);
        if let Verdict::Deactivate(to) = decision.verdict {
            prop_assert!(to < input.observation.replicas);
            prop_assert_eq!(Some(to), input.config.bounds().resting());
        }
        if let Verdict::Activate(to) = decision.verdict {
            prop_assert!(to > input.observation.replicas);
        }
    }

    #[test]
    fn what_is_paused_by_hand_does_not_happen(
        input in prop_oneof![plausible().boxed(), wild().boxed()],
        at in proptest::option::of(proptest::option::of(0..100_u32)),
        scale_in_paused in any::<bool>(),
        scale_out_paused in any::<bool>(),
        forces_activation in any::<bool>(),
    ) {
        let pause = at.map(|at| at.map_or(Pause::AsItIs, Pause::At));
        let mut input = input;
        input.observation.hand = Hand { pause, scale_in_paused, scale_out_paused, forces_activation };
        let (decision, current) = (input.decide(), input.observation.replicas);
        let written = decision.verdict.write();
        match pause {
            Some(Pause::AsItIs) => prop_assert_eq!(written, Some(current)),
            Some(Pause::At(replicas)) => prop_assert_eq!(written, Some(replicas)),
            None => {
                prop_assert!(!scale_in_paused || written.is_none_or(|to| to >= current), "{decision:#?}");
                prop_assert!(!scale_out_paused || written.is_none_or(|to| to <= current), "{decision:#?}");
                prop_assert!(!forces_activation || !matches!(decision.verdict, Verdict::Blind), "{decision:#?}");
            }
        }
        prop_assert!(pause.is_none() || decision.served.is_empty());
    }

    #[test]
    fn a_cooldown_that_has_not_passed_keeps_the_replicas(input in plausible()) {
        let mut input = input;
        input.observation.last_active_time = Some(input.now);
        if let Verdict::Deactivate(_) = input.decide().verdict {
            let gap = input.state.cooldown.last.map(|last| input.now.duration_since(last)).unwrap_or_default();
            let most = SignedDuration::try_from(input.state.cooldown.quiet).unwrap_or(SignedDuration::MAX);
            let needed = SignedDuration::try_from(input.config.cooldown()).unwrap_or(SignedDuration::MAX);
            prop_assert!(most.saturating_add(gap.max(SignedDuration::ZERO)) >= needed);
        }
    }

    #[test]
    fn a_fallback_breaks_no_bound_and_moves_nothing_that_can_be_read(
        input in wild(),
        threshold in 0..5_u32,
        replicas in prop_oneof![0..200_u32, Just(u32::MAX)],
        behavior in prop::sample::select(vec![
            FallbackBehavior::Static, FallbackBehavior::CurrentReplicas,
            FallbackBehavior::CurrentReplicasIfHigher, FallbackBehavior::CurrentReplicasIfLower,
        ]),
    ) {
        let without = input.decide();
        let mut input = input;
        input.config = input.config.with_fallback(Some(Fallback { failure_threshold: threshold, replicas, behavior }));
        let limits = input.config.bounds();
        let decision = input.decide();
        let rests = limits.resting() == Some(decision.desired);
        let blind = matches!(decision.verdict, Verdict::Blind);
        prop_assert!(rests || blind || (limits.active_min()..=limits.max).contains(&decision.desired), "{decision:#?}");
        if in_fallback(&input.observation, &input.config).next().is_none() {
            prop_assert_eq!(seen(&decision), seen(&without));
        }
        prop_assert_eq!(seen(&decision), seen(&input.decide()));
        prop_assert!(!decision.sentence(&input.config, input.observation.replicas).is_empty());
    }

    #[test]
    fn without_data_nothing_is_written(input in wild(), stale in any::<bool>()) {
        let mut input = input;
        for reading in &mut input.observation.triggers {
            let window = SignedDuration::try_from(fresh_window(reading.interval)).unwrap_or(SignedDuration::MAX);
            match &mut reading.latest {
                Some(Outcome::Ok(sample)) if stale => match input.now.checked_sub(window) {
                    Ok(at) => sample.at = at,
                    // Longer than all time, so that nothing goes stale.
                    Err(_) => sample.value = f64::NAN,
                },
                Some(Outcome::Ok(sample)) => sample.value = -sample.value.abs() - 1.0,
                _ => {}
            }
        }
        let decision = input.decide();
        prop_assert_eq!(decision.verdict, Verdict::Blind);
        prop_assert_eq!(decision.verdict.write(), None);
        prop_assert_eq!(decision.next.cooldown.quiet, input.state.cooldown.quiet);
    }

    #[test]
    fn deciding_again_on_the_unchanged_result_changes_nothing(input in plausible(), part in 0.0..1.0_f64) {
        let first = input.decide();
        let wait = first.wake_after.map_or(SignedDuration::from_secs(3600), |wake| {
            SignedDuration::from_nanos((wake.as_nanos() as f64 * part) as i64)
        });
        let again = input.after(&first, input.now + wait);
        let second = again.decide();
        prop_assert_eq!(second.verdict.write(), None, "{:#?} then {:#?}", first, second);
        prop_assert_eq!(&second.served, &first.served);
        prop_assert_eq!(&second.next.hold, &first.next.hold);
        if first.verdict.write().is_none() {
            prop_assert_eq!(seen(&second), seen(&first));
        }
        // And from there on it is the same for ever.
        let third = again.after(&second, again.now).decide();
        prop_assert_eq!(&third, &Decision { trail: second.trail.clone(), ..third.clone() });
        prop_assert_eq!(seen(&third), seen(&second));
        prop_assert_eq!(third.next, second.next);
    }

    #[test]
    fn it_is_woken_when_something_changes_and_not_before(input in plausible(), part in 0.0..1.0_f64) {
        let first = input.decide();
        let Some(wake) = first.wake_after else { return Ok(()) };
        let Ok(wake) = SignedDuration::try_from(wake) else { return Ok(()) };
        let Ok(then) = input.now.checked_add(wake) else { return Ok(()) };
        // What follows the writing of the first answer is not what is looked for here.
        let settled = input.after(&first, input.now);
        let second = settled.decide();
        let state = State { ..second.next.clone() };
        let at = |now| Input { now, state: state.clone(), ..settled.clone() }.decide();
        let before = then.min(input.now + SignedDuration::from_nanos((wake.as_nanos() as f64 * part) as i64)) - SignedDuration::from_nanos(1);
        if before > input.now {
            prop_assert_eq!(seen(&at(before)), seen(&second), "woken too late");
        }
        prop_assert_ne!(seen(&at(then)), seen(&second), "woken for nothing after {:?}", wake);
    }

    #[test]
    fn more_load_never_gives_fewer_replicas(input in plausible(), index in any::<prop::sample::Index>(), more in 1.0..1e6_f64) {
        let less = input;
        let mut more_load = less.clone();
        raise(&mut more_load.observation.triggers, index, more, false);
        let (less, more_load) = (less.decide(), more_load.decide());
        prop_assert_eq!(less.next.cooldown, more_load.next.cooldown);
        prop_assert!(more_load.desired >= less.desired, "{less:#?} then {more_load:#?}");
        prop_assert_eq!(more_load.verdict.as_str(), less.verdict.as_str());
        prop_assert!(more_load.verdict.write() >= less.verdict.write());
        for (less, more) in less.served.iter().zip(&more_load.served) {
            prop_assert!(more.milli >= less.milli);
        }
    }

    #[test]
    fn more_load_and_more_activity_neither(input in plausible(), index in any::<prop::sample::Index>(), more in 1.0..1e6_f64) {
        let less = input;
        let mut more_load = less.clone();
        raise(&mut more_load.observation.triggers, index, more, true);
        let (less, more_load) = (less.decide(), more_load.decide());
        // While it could not be read, what was wanted was what was there.
        if less.verdict != Verdict::Blind {
            // A first write that the scale-up policy has cut is not what the HPA would come to without it.
            let cut = more_load.trail.iter().any(|step| step.rule == Rule::ScaleUpPolicy);
            prop_assert!(cut || more_load.desired >= less.desired, "{less:#?} then {more_load:#?}");
            if let (Some(less), Some(more)) = (less.verdict.write(), more_load.verdict.write()) {
                prop_assert!(more >= less);
            }
        }
        prop_assert!(!matches!(more_load.verdict, Verdict::Deactivate(_)) || matches!(less.verdict, Verdict::Deactivate(_)));
    }
}

/// Adds to the figure of one trigger, and to its activity as well.
fn raise(readings: &mut [Reading], index: prop::sample::Index, more: f64, activity_too: bool) {
    let index = index.index(readings.len());
    let reading = &mut readings[index];
    let latest = match &mut reading.latest {
        Some(Outcome::Ok(sample)) => Some(sample),
        _ => None,
    };
    for sample in latest.into_iter().chain(&mut reading.last_ok) {
        sample.value = (sample.value + more).min(crate::MAX_VALUE);
        if let Activity::Number(figure) = &mut sample.activity
            && activity_too
        {
            *figure = (*figure + more).min(crate::MAX_VALUE);
        }
    }
}
