//! What is told of the replicas on a real control plane: what the HPA and a person do to them, with who and why, and that the
//! maximum stands in the way. One event for each move or fewer, and none for what we have written ourselves.

use std::time::Duration;

use anyhow::{Context, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Event;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::sleep;
use windlass_tests::{HPA_USER, eventually, run};

use crate::scaling::Work;

const SOON: Duration = Duration::from_secs(60);
/// Moves are told together a minute after the one before; the rest is for a busy machine.
const TOGETHER: Duration = Duration::from_secs(120);
/// The least time between two events about moves, as they are written.
const APART: SignedDuration = SignedDuration::from_secs(50);

impl Work {
    /// The events of one reason about `web` itself, as their messages.
    async fn told(&self, reason: &str) -> anyhow::Result<Vec<String>> {
        let events = self.ns.events("web").await?;
        Ok(events.into_iter().filter(|event| is_ours(event, reason)).filter_map(|event| event.message).collect())
    }

    /// When the events of these reasons about `web` itself were written.
    async fn told_at(&self, reasons: &[&str]) -> anyhow::Result<Vec<Timestamp>> {
        let events = self.ns.events("web").await?;
        let ours = events.into_iter().filter(|event| reasons.iter().any(|reason| is_ours(event, reason)));
        Ok(ours.filter_map(|event| event.first_timestamp).map(|time| time.0).collect())
    }
}

fn is_ours(event: &Event, reason: &str) -> bool {
    event.involved_object.kind.as_deref() == Some("ScaledObject") && event.reason.as_deref() == Some(reason)
}

#[test]
fn what_the_hpa_and_a_person_do_is_told_with_who_and_why_and_so_is_the_maximum() {
    run(async {
        let work = Work::start("moves").await?;
        work.scaled_by(&work.spec()).await?;
        work.publish(15).await?;
        work.replicas(2).await?;
        work.publish(85).await?;
        work.replicas(4).await?;
        let what = format!("Scaled apps/v1.Deployment {}/web", work.ns.name());
        let why = format!("{} reads 100 at a target of 10 and the maximum is 4", work.metric());

        let out = work.ns.wait_event("web", "ScaledOut", SOON).await?;
        let (kind, message) = (out.type_.unwrap_or_default(), out.message.unwrap_or_default());
        ensure!(
            kind == "Normal" && message.starts_with(&format!("{what} from 2 to 4 by the HPA: ")),
            "{kind} {message}"
        );
        ensure!(message.contains(&why), "{message}");
        let most = work.ns.wait_event("web", "MaxReplicasReached", SOON).await?;
        let (kind, message) = (most.type_.unwrap_or_default(), most.message.unwrap_or_default());
        let asked = "The triggers ask for 10 replicas and maxReplicaCount is 4: ";
        ensure!(kind == "Warning" && message.starts_with(asked) && message.contains(&why), "{kind} {message}");

        // More of the same is no news: there and back within a minute, and some syncs of the HPA.
        let hpas_moves = async || {
            let writes = work.shared.rig.audit().scale_writes(work.ns.name(), "web").await?;
            Ok::<_, anyhow::Error>(writes.iter().filter(|write| write.user == HPA_USER && write.succeeded()).count())
        };
        ensure!(hpas_moves().await? == 1, "the HPA was to move it once");
        work.publish(20).await?;
        sleep(Duration::from_secs(6)).await;
        for (reason, count) in
            [("MaxReplicasReached", 1), ("ScaledOut", 1), ("KEDAScaleTargetActivated", 1), ("ScaledIn", 0)]
        {
            let told = work.told(reason).await?;
            ensure!(told.len() == count, "{reason}: {told:?}");
        }

        // A person, twice within the minute: told together. The pause keeps the HPA away.
        let paused = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}});
        work.ns.scaled_objects().patch("web", &PatchParams::default(), &Patch::Merge(paused)).await?;
        eventually(SOON, "the HPA is gone", async || {
            ensure!(work.ns.hpa("web").await?.is_none(), "it is there");
            Ok(())
        })
        .await?;
        for replicas in [3, 1] {
            work.ns.scale("web", replicas).await?;
            work.replicas(replicas).await?;
            sleep(Duration::from_secs(2)).await;
        }
        work.ns.wait_event("web", "ScaledIn", TOGETHER).await?;
        let told = work.told("ScaledIn").await?;
        let moves = told.iter().map(|it| it.split(" (").next().unwrap_or_default()).collect::<Vec<_>>().join("; ");
        // On a machine that was busy for a minute they are two.
        let together = format!("{what} from 4 to 1 in 2 moves by somebody");
        let apart = format!("{what} from 4 to 3 by somebody; {what} from 3 to 1 by somebody");
        ensure!(moves == together || moves == apart, "{told:?}");
        let first = told.first().context("nothing")?;
        ensure!(first.contains("scaling is paused by hand"), "{first}");
        // Together or apart: never two within a minute, but for how long it takes to write one.
        let mut times = work.told_at(&["ScaledOut", "ScaledIn"]).await?;
        times.sort_unstable();
        let close = times.windows(2).find(|two| two[1].duration_since(two[0]) < APART);
        ensure!(close.is_none(), "two events within a minute: {times:?}");
        Ok(())
    });
}
