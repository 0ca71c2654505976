//! The grid and its judge.

use super::{object, queue, run, series};
use crate::{Grid, Outcome, judge};

#[test]
fn the_grid_holds_every_combination_once_and_no_cooldown_that_changes_nothing() {
    let policy = object("cooldownPeriod: 300, maxReplicaCount: 3", "mode: QueueLength, value: '10'");
    let candidates = Grid::around(&policy).expect("an object").candidates(&policy).expect("candidates");
    // 6 targets; for 0 three cooldowns, for 1 and 2 one each; 4 is above the maximum.
    assert_eq!(candidates.len(), 6 * 3 + 6 * 2);
    assert!(candidates.iter().any(|candidate| candidate.setting.target == 2.5 && candidate.setting.min == 2));
    assert!(Grid::around(&super::fixed(3)).is_none());
    let beyond = Grid { targets: vec![1.0], cooldowns: vec![super::seconds(1.0)], mins: vec![4] };
    let error = beyond.candidates(&policy).expect_err("beyond the maximum").to_string();
    assert!(error.contains("minReplicaCount"), "{error}");
}

#[test]
fn the_cheapest_within_the_budget_is_found_and_what_is_worse_in_both_is_left_out() {
    let policy = object("maxReplicaCount: 5", "mode: QueueLength, value: '10'");
    let grid =
        Grid { targets: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], cooldowns: vec![super::seconds(1.0)], mins: vec![0] };
    let candidates = grid.candidates(&policy).expect("candidates");
    let blank = run(&series(60, &[1.0, 1.0]), &queue(1.0, 0.0, 1.0), &policy);
    let outcome = |pod_hours, violation_percent| Outcome { pod_hours, violation_percent, ..blank.clone() };
    let outcomes = vec![
        outcome(9.0, 0.0),
        outcome(5.0, 0.1),
        outcome(6.0, 0.2),
        outcome(2.0, 3.0),
        outcome(2.0, 4.0),
        outcome(9.5, 0.0),
    ];
    let sweep = judge("w", 0.1, &candidates, outcomes);
    let rows: Vec<_> = sweep.pareto.iter().map(|row| (row.setting.target, row.within_budget, row.cheapest)).collect();
    assert_eq!(rows, [(4.0, false, false), (2.0, true, true), (1.0, true, false)]);
    assert_eq!(sweep.tried, 6);
}
