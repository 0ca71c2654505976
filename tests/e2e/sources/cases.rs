//! What the tests of all servers have in common: a namespace with one object for each case, named after it.

use std::time::Duration;

use anyhow::ensure;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use windlass_tests::{Namespace, Server, Shared, eventually, now, shared};

use crate::workers::{FULL, Worker, Workers};

/// For everything that is not what is measured.
pub const SOON: Duration = Duration::from_secs(60);
/// For a whole test: four outages, one after the other, on a busy machine.
pub const LONG: Duration = Duration::from_mins(8);
const COOLDOWN: Duration = Duration::from_secs(4);
/// How long an outage lasts: longer than a reading is good for, and than two cooldowns.
pub const OUTAGE: Duration = Duration::from_secs(12);

/// The namespace of one server's objects.
pub struct Cases {
    pub shared: Shared,
    pub ns: Namespace,
}

/// The object `name` with this trigger, read each second.
pub fn case(name: &str, trigger: &Value) -> Worker {
    let mut worker = Worker::new(name, COOLDOWN, trigger, "");
    worker.spec["pollingInterval"] = 1.into();
    // A server that is filled again after it lost all has a part of it for a moment.
    worker.spec["advanced"] =
        json!({"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}}}});
    worker
}

impl Cases {
    pub async fn start(prefix: &str) -> anyhow::Result<Self> {
        let shared = shared().await?;
        Ok(Self { shared, ns: shared.rig.namespace(prefix).await? })
    }

    /// A TriggerAuthentication that gives each of these from a Secret of its name.
    pub async fn login(&self, name: &str, parameters: &[(&str, &str)]) -> anyhow::Result<()> {
        self.ns.secret(name, parameters).await?;
        let reference = |(key, _): &(&str, &str)| json!({"parameter": key, "name": name, "key": key});
        let references: Vec<Value> = parameters.iter().map(reference).collect();
        let document = json!({"apiVersion": "windlass.dev/v1alpha1", "kind": "TriggerAuthentication",
            "metadata": {"name": name}, "spec": {"secretTargetRef": references}});
        self.ns.apply(document).await
    }

    /// Changes one value of a Secret.
    pub async fn rotate(&self, name: &str, key: &str, value: &str) -> anyhow::Result<()> {
        let patch = Patch::Merge(json!({"stringData": {key: value}}));
        self.ns.api::<Secret>().patch(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// The object `name` beside the workers: it is at rest, and shall be.
    pub async fn beside(&self, worker: &Worker) -> anyhow::Result<()> {
        self.ns.deployment(&worker.name, 0, &[]).await?;
        self.ns.scaled_object(&worker.name, &worker.spec).await.map(drop)
    }

    /// The object says that there is nothing to read, and why.
    pub async fn is_absent(&self, name: &str, says: &str) -> anyhow::Result<()> {
        eventually(SOON, &format!("{name} says {says:?}"), async || {
            let ready = self.ns.condition(name, "Ready").await?;
            let message = ready["message"].as_str().unwrap_or_default();
            ensure!(ready["status"] == "False" && message.contains(says), "{ready}");
            Ok(())
        })
        .await
    }

    /// The object is well, and has no work.
    pub async fn is_idle(&self, name: &str) -> anyhow::Result<()> {
        self.ns.wait_condition(name, "Ready", "True", SOON).await?;
        self.ns.wait_condition(name, "Active", "False", SOON).await.map(drop)
    }

    /// The server hangs, goes on, is killed and started again; `refill` makes good what it lost by that, and empties what the
    /// object `empties` asks for. The objects that stay at their replicas meanwhile are those of `names`.
    pub async fn outages<S: AsMut<Server>>(
        &self,
        server: &mut S,
        workers: &Workers,
        names: &[&str],
        refill: impl AsyncFnOnce(&S) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let all = |says| names.iter().copied().chain(["empties"]).map(|name| (name, says)).collect::<Vec<_>>();
        server.as_mut().sigstop()?;
        workers.endure_as(&all("did not answer in time"), OUTAGE).await?;
        server.as_mut().sigcont()?;
        for (name, _) in all("") {
            self.ns.wait_condition(name, "Ready", "True", SOON).await?;
        }
        server.as_mut().kill9()?;
        workers.endure_as(&all("cannot reach"), OUTAGE).await?;
        server.as_mut().restart().await?;
        let back = now();
        refill(server).await?;
        for name in names {
            self.ns.wait_condition(name, "Ready", "True", SOON).await?;
        }
        tokio::try_join!(workers.ensure_kept(names), workers.ensure_rests(&["empties"], back))?;
        // All this time there was nothing to do for this one.
        workers.log.ensure_went("idle", &[0])
    }

    /// The object is read though the server is slow: its work goes, and comes again.
    pub async fn follows(
        &self,
        workers: &Workers,
        name: &str,
        empty: impl AsyncFnOnce() -> anyhow::Result<()>,
        fill: impl AsyncFnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.ns.wait_condition(name, "Ready", "True", SOON).await?;
        let emptied = now();
        empty().await?;
        workers.ensure_rests(&[name], emptied).await?;
        fill().await?;
        workers.log.wait_spec(name, FULL, SOON).await.map(drop)
    }
}
