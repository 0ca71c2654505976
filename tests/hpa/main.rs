//! The HPA algorithm (`windlass_decision::hpa`) against the very controller of Kubernetes, over random timelines in virtual
//! time: the same replicas at every sync.

use std::path::PathBuf;

use windlass_tests::hpa_timelines::hold_against_kubernetes;

/// The seed and the number of timelines.
const TIMELINES: (u64, usize) = (1, 2_000);

#[test]
fn at_every_sync_of_two_thousand_timelines_the_replicas_are_those_of_kubernetes() {
    let program = std::env::var_os("WINDLASS_HPA_TEST").map(PathBuf::from);
    let program = program.expect("WINDLASS_HPA_TEST names the built tests/cluster/hpa: run make test-hpa");
    let verdict = hold_against_kubernetes(&program, TIMELINES.0, TIMELINES.1).expect("both sides live the timelines");
    println!("{verdict}");
    assert!(verdict.is_good(), "{verdict}");
}
