//! The simulated API server beside the answers that a real control plane of Kubernetes 1.36 gave to the same interactions.
//! The end-to-end test of the same name asks a real one again, and says how to record it.

use std::sync::Arc;

use serde_json::json;
use windlass_kubesim::api::{Cluster, Options};
use windlass_rehearsal::VirtualClock;
use windlass_tests::conformance::{Comparison, interactions, play, recorded};

#[test]
fn the_simulated_api_server_answers_as_a_real_one_has_answered() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let list = interactions()?;
    let answers = runtime.block_on(async {
        let cluster = Cluster::new(Options::new(Arc::new(VirtualClock::new())));
        cluster.create("admin", ("", "namespaces"), "", json!({"metadata": {"name": "default"}}))?;
        play(&cluster.client("admin"), &list, "recorded").await
    })?;
    let compared = Comparison::of(list, answers, recorded()?);
    assert!(compared.surprises().next().is_none(), "{compared}");
    assert!(compared.equal() >= 150, "the list has become short: {} are equal", compared.equal());
    Ok(())
}
