//! What a person asks for by annotations, on a real control plane: pauses, whole and in one direction, forced activation, and
//! what cannot be understood.

use std::time::Duration;

use anyhow::ensure;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use windlass_tests::{eventually, now, run};

use crate::scaling::Work;

const SOON: Duration = Duration::from_secs(60);
/// Longer than the cooldown of 5 s, and some syncs of the HPA.
const A_WHILE: Duration = Duration::from_secs(8);
const PAUSED: &str = "autoscaling.keda.sh/paused";
const PAUSED_REPLICAS: &str = "autoscaling.keda.sh/paused-replicas";
const SCALE_IN: &str = "autoscaling.keda.sh/paused-scale-in";
const SCALE_OUT: &str = "autoscaling.keda.sh/paused-scale-out";
const FORCE: &str = "autoscaling.keda.sh/force-activation";

impl Work {
    /// Writes one annotation of `web`; `None` takes it away.
    async fn annotate(&self, name: &str, value: Option<&str>) -> anyhow::Result<()> {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {name: value}}}));
        self.ns.scaled_objects().patch("web", &PatchParams::default(), &patch).await?;
        Ok(())
    }

    async fn is_paused(&self, says: &str) -> anyhow::Result<()> {
        let paused = self.ns.wait_condition("web", "Paused", "True", SOON).await?;
        ensure!(paused["message"] == says && paused["reason"] == "ScaledObjectPaused", "{paused}");
        Ok(())
    }

    async fn has_no_hpa(&self) -> anyhow::Result<()> {
        eventually(SOON, "the HPA is gone", async || {
            ensure!(self.ns.hpa("web").await?.is_none(), "it is there");
            Ok(())
        })
        .await
    }

    async fn stays_at(&self, replicas: i32) -> anyhow::Result<()> {
        self.log.never("web", A_WHILE, "it moves", |row| row.spec != replicas).await
    }
}

#[test]
fn a_paused_object_is_left_alone_without_an_hpa_and_goes_on_afterwards() {
    run(async {
        let work = Work::start("paused").await?;
        work.scaled_by(&work.spec()).await?;
        work.annotate(PAUSED, Some("true")).await?;
        work.is_paused("scaling is paused by hand").await?;
        work.has_no_hpa().await?;
        work.ns.wait_event("web", "ScaledObjectPaused", SOON).await?;
        work.publish(100).await?;
        work.stays_at(0).await?;
        // Whoever scales by hand is not fought either.
        work.ns.scale("web", 2).await?;
        work.replicas(2).await?;
        work.stays_at(2).await?;

        work.annotate(PAUSED, Some("false")).await?;
        work.ns.wait_condition("web", "Paused", "False", SOON).await?;
        work.ns.wait_event("web", "ScaledObjectUnpaused", SOON).await?;
        work.replicas(4).await?;
        work.ns.wait_hpa("web", SOON).await.map(drop)
    });
}

#[test]
fn a_pause_at_a_number_brings_the_target_there_and_keeps_it() {
    run(async {
        let work = Work::start("paused-at").await?;
        work.scaled_by(&work.spec()).await?;
        work.publish(100).await?;
        work.replicas(4).await?;
        work.annotate(PAUSED_REPLICAS, Some("6")).await?;
        work.is_paused("scaling is paused by hand at 6 replicas").await?;
        work.has_no_hpa().await?;
        work.replicas(6).await?;
        let status = work.ns.status("web").await?;
        ensure!(status["pausedReplicaCount"] == 6, "{status}");
        work.stays_at(6).await?;
        work.ns.scale("web", 1).await?;
        work.replicas(6).await?;
        work.annotate(PAUSED_REPLICAS, Some("0")).await?;
        work.replicas(0).await?;
        work.stays_at(0).await?;
        work.annotate(PAUSED_REPLICAS, None).await?;
        work.replicas(4).await?;
        let status = work.ns.status("web").await?;
        ensure!(status["pausedReplicaCount"] == Value::Null, "{status}");
        Ok(())
    });
}

/// What a person asks for does not wait for a source: it may be read rarely, or not at all.
#[test]
fn a_pause_is_in_force_before_anything_is_read_again() {
    run(async {
        let work = Work::start("paused-at-once").await?;
        let mut spec = work.spec();
        spec["pollingInterval"] = 600.into();
        work.scaled_by(&spec).await?;
        work.annotate(PAUSED_REPLICAS, Some("2")).await?;
        work.is_paused("scaling is paused by hand at 2 replicas").await?;
        work.replicas(2).await?;
        work.has_no_hpa().await?;
        work.annotate(PAUSED_REPLICAS, None).await?;
        work.ns.wait_condition("web", "Paused", "False", SOON).await?;
        work.ns.wait_hpa("web", SOON).await.map(drop)
    });
}

#[test]
fn a_pause_in_one_direction_stops_that_one_and_keeps_the_hpa() {
    run(async {
        let work = Work::start("paused-one-way").await?;
        let mut spec = work.spec();
        spec["advanced"] = Value::Null;
        work.scaled_by(&spec).await?;
        let disabled = async |direction: &str, is: bool| {
            eventually(SOON, "the HPA says so", async || {
                let behavior = serde_json::to_value(work.hpa().await?.spec)?["behavior"][direction].clone();
                ensure!((behavior["selectPolicy"] == "Disabled") == is, "{direction}: {behavior}");
                Ok(())
            })
            .await
        };
        work.annotate(SCALE_OUT, Some("true")).await?;
        work.is_paused("scaling out is paused by hand").await?;
        disabled("scaleUp", true).await?;
        work.publish(20).await?;
        work.stays_at(0).await?;
        work.annotate(SCALE_OUT, None).await?;
        work.replicas(2).await?;
        disabled("scaleUp", false).await?;

        work.annotate(SCALE_IN, Some("true")).await?;
        work.is_paused("scaling in is paused by hand").await?;
        disabled("scaleDown", true).await?;
        work.shared.rabbit.purge(&work.queue).await?;
        work.stays_at(2).await?;
        work.publish(40).await?;
        work.replicas(4).await?;
        work.shared.rabbit.purge(&work.queue).await?;
        work.annotate(SCALE_IN, Some("false")).await?;
        work.replicas(0).await.map(drop)
    });
}

#[test]
fn forced_activation_wakes_an_object_without_work() {
    run(async {
        let work = Work::start("forced").await?;
        work.scaled_by(&work.spec()).await?;
        let start = now();
        work.annotate(FORCE, Some("true")).await?;
        work.replicas(1).await?;
        work.syncs_since(start, 3).await?;
        work.stays_at(1).await?;
        work.annotate(FORCE, None).await?;
        work.replicas(0).await.map(drop)
    });
}

#[test]
fn an_annotation_that_cannot_be_understood_is_not_passed_over() {
    run(async {
        let work = Work::start("annotated").await?;
        work.scaled_by(&work.spec()).await?;
        let (field, problem) =
            (format!("metadata.annotations[{PAUSED_REPLICAS}]: "), "is no number of replicas; write a whole");
        work.annotate(PAUSED_REPLICAS, Some("many")).await?;
        eventually(SOON, "the object says so", async || {
            let ready = work.ns.condition("web", "Ready").await?;
            let says = ready["message"].as_str().unwrap_or_default();
            ensure!(ready["status"] == "False" && says.starts_with(&field) && says.contains(problem), "{ready}");
            Ok(())
        })
        .await?;
        work.annotate(PAUSED_REPLICAS, None).await?;
        work.ns.wait_condition("web", "Ready", "True", SOON).await?;
        work.annotate(PAUSED_REPLICAS, Some("many")).await?;
        work.ns.wait_condition("web", "Ready", "False", SOON).await?;
        work.publish(100).await?;
        work.stays_at(0).await
    });
}
