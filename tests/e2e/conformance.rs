//! The simulated API server held against the real one: the same list of interactions, the same answers.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use serde_json::json;
use windlass_kubesim::api::{Cluster, Options};
use windlass_rehearsal::VirtualClock;
use windlass_tests::{conformance, run, shared_rig};

/// `WINDLASS_RECORD=FILE` writes down what the real one answers, for `tests/conformance/real-1.36.json`.
#[test]
fn the_simulated_api_server_answers_as_the_real_one_does() {
    run(async {
        let rig = shared_rig().await?;
        let cluster = Cluster::new(Options::new(Arc::new(VirtualClock::new())));
        cluster.create("admin", ("", "namespaces"), "", json!({"metadata": {"name": "default"}}))?;
        let name = format!("r{}", std::process::id());
        let compared = conformance::compare(&cluster.client("admin"), &rig.client(), &name).await?;
        println!("{}", compared.table());
        if let Some(file) = std::env::var_os("WINDLASS_RECORD") {
            let answers: Vec<_> = compared.rows.iter().map(|row| row.real.clone()).collect();
            std::fs::write(&file, conformance::record(&answers)?).context("WINDLASS_RECORD")?;
        }
        ensure!(compared.surprises().next().is_none(), "{compared}");
        Ok(())
    });
}
