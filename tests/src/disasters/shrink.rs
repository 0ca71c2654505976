//! Makes a failing disaster small: whatever can be left out while the same oracle still complains is left out.

use super::oracles::Oracle;
use super::plan::Scenario;

/// How many smaller scenarios are tried at most.
const TRIES: usize = 120;

/// The smallest scenario found for which `fails` still names `oracle`.
#[must_use]
pub fn shrink(scenario: &Scenario, oracle: Oracle, fails: impl Fn(&Scenario) -> Vec<Oracle>) -> Scenario {
    let mut best = scenario.clone();
    let mut tries = 0;
    loop {
        let smaller = candidates(&best).into_iter().find(|candidate| {
            tries += 1;
            tries <= TRIES && fails(candidate).contains(&oracle)
        });
        match smaller {
            Some(smaller) => best = smaller,
            None => return best,
        }
    }
}

/// Scenarios that are simpler in one thing, the greatest simplification first.
fn candidates(scenario: &Scenario) -> Vec<Scenario> {
    let mut candidates = Vec::new();
    let mut simpler = |change: &dyn Fn(&mut Scenario)| {
        let mut candidate = scenario.clone();
        change(&mut candidate);
        if candidate != *scenario {
            candidates.push(candidate);
        }
    };
    for nth in 0..scenario.faults.len() {
        simpler(&|scenario| drop(scenario.faults.remove(nth)));
    }
    if scenario.objects.len() > 1 {
        for nth in 0..scenario.objects.len() {
            simpler(&|scenario| drop(scenario.objects.remove(nth)));
        }
    }
    for (nth, object) in scenario.objects.iter().enumerate() {
        for step in 0..object.load.len() {
            if object.load.len() > 1 {
                simpler(&|scenario| {
                    let load = &mut scenario.objects[nth].load;
                    load.remove(step);
                    load[0].0 = 0;
                });
            }
        }
        for edit in 0..object.edits.len() {
            simpler(&|scenario| {
                scenario.objects[nth].edits.remove(edit);
            });
        }
        simpler(&|scenario| scenario.objects[nth].flow = None);
        simpler(&|scenario| scenario.objects[nth].ready_ms = 0);
        simpler(&|scenario| scenario.objects[nth].step = None);
        simpler(&|scenario| scenario.objects[nth].activation = 0);
        simpler(&|scenario| scenario.objects[nth].initial = 0);
        simpler(&|scenario| scenario.objects[nth].window = Some(0));
        simpler(&|scenario| scenario.objects[nth].polling = Some(5));
    }
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_nothing_to_do_with_the_failure_is_left_out() {
        let scenario = (0..).map(Scenario::draw).find(|s| s.faults.len() == 4 && s.objects.len() == 3).unwrap();
        let culprit = scenario.faults[2].clone();
        let fails = |candidate: &Scenario| {
            if candidate.faults.contains(&culprit) { vec![Oracle::O2Quiet] } else { Vec::new() }
        };
        let small = shrink(&scenario, Oracle::O2Quiet, fails);
        assert_eq!(small.faults, std::slice::from_ref(&culprit));
        assert_eq!(small.objects.len(), 1);
        assert_eq!(small.objects[0].load.len(), 1);
        assert_eq!(shrink(&small, Oracle::O2Quiet, fails), small);
    }
}
