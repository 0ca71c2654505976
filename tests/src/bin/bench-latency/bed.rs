//! What is measured, and with what: a control plane at the defaults of Kubernetes, a broker at its own, one operator.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use serde_json::Value;
use windlass_tests::objects::{deployment, scaled_object, scaled_objects};
use windlass_tests::{
    Entry, Manifests, OPERATOR_USER, Operator, OperatorOptions, Rabbit, RabbitOptions, Rig, RigOptions, ports, scratch,
};

use crate::progress;

/// Requests of the harness under way at once when it makes many objects.
const PARALLEL: usize = 32;
const SOON: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub struct Bed {
    /// The control plane.
    pub rig: Rig,
    /// The broker; its management statistics are 5 s old, as by its default.
    pub rabbit: Rabbit,
    /// The operator.
    pub operator: Operator,
    /// Where it receives webhooks.
    pub webhooks: SocketAddr,
}

impl Bed {
    /// Starts all three.
    ///
    /// # Errors
    /// When one does not come up.
    pub async fn start(operator_log: &str) -> anyhow::Result<Self> {
        progress(format!("starting the control plane and RabbitMQ in {}", scratch::root().display()));
        let broker = RabbitOptions { stats_secs: 5, ..RabbitOptions::default() };
        let (rig, rabbit) = tokio::try_join!(Rig::start(RigOptions::product()), Rabbit::start(broker))?;
        let manifests = Manifests::repository()?;
        rig.install(&manifests).await?;
        let webhooks = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::single()?));
        let data = scratch::dir("webhooks")?;
        let mut options = OperatorOptions::default()
            .arg(&format!("--log-level={operator_log}"))
            .arg(&format!("--webhook-address={webhooks}"))
            .arg(&format!("--data-dir={}", data.display()));
        options.env = environment(&manifests);
        let operator = Operator::start(&rig, options).await?;
        operator.wait_ready(SOON).await?;
        operator.wait_leading(&rig, SOON).await?;
        Ok(Self { rig, rabbit, operator, webhooks })
    }

    /// The file of the operator's log.
    pub fn operator_log(&self) -> String {
        self.operator.process().log_path().display().to_string()
    }

    /// Makes Deployments without replicas.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub async fn deployments(&self, namespace: &str, names: &[String]) -> anyhow::Result<()> {
        let api: Api<Deployment> = Api::namespaced(self.rig.client(), namespace);
        let create = |name: &String| {
            let (api, body) = (api.clone(), deployment(namespace, name, 0, &[]));
            async move { api.create(&PostParams::default(), &body).await.context("cannot create a Deployment").map(drop) }
        };
        stream::iter(names.iter().map(create)).buffer_unordered(PARALLEL).try_collect().await
    }

    /// Makes ScaledObjects, each named as its Deployment; says when each was asked for.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub async fn scaled_objects(
        &self,
        namespace: &str,
        names: &[String],
        spec: impl Fn(&str) -> Value,
    ) -> anyhow::Result<Vec<(String, Timestamp)>> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.rig.client(), namespace, &scaled_objects(windlass_tests::GROUP));
        let create = |name: &String| {
            let (api, name, body) =
                (api.clone(), name.clone(), scaled_object(windlass_tests::GROUP, namespace, name, &spec(name)));
            async move {
                let at = windlass_tests::now();
                api.create(&PostParams::default(), &body).await.context("cannot create a ScaledObject")?;
                Ok((name, at))
            }
        };
        stream::iter(names.iter().map(create)).buffer_unordered(PARALLEL).try_collect().await
    }

    /// What the operator asked the API server for since `start`, without its Lease.
    ///
    /// # Errors
    /// When the audit log cannot be read.
    pub async fn requests(&self, start: Timestamp) -> anyhow::Result<Vec<Entry>> {
        let mut entries = self.rig.audit().since(start).await?;
        entries.retain(|entry| entry.user == OPERATOR_USER && entry.resource != "leases");
        Ok(entries)
    }

    /// Waits until the operator has written nothing for `quiet`; gives up after `limit` and says so.
    ///
    /// # Errors
    /// When the audit log cannot be read.
    pub async fn settle(&self, quiet: Duration, limit: Duration) -> anyhow::Result<()> {
        let start = tokio::time::Instant::now();
        while start.elapsed() < limit {
            let from = windlass_tests::now();
            tokio::time::sleep(quiet).await;
            if !self.requests(from).await?.iter().any(Entry::is_write) {
                return Ok(());
            }
        }
        progress(format!("the operator still writes after {limit:?}"));
        Ok(())
    }
}

/// What the shipped Deployment sets for the process itself, so that it is measured as it is run.
fn environment(manifests: &Manifests) -> Vec<(String, String)> {
    let deployments = manifests.documents().iter().filter(|document| document["kind"] == "Deployment");
    let containers = deployments.filter_map(|d| d["spec"]["template"]["spec"]["containers"].as_array()).flatten();
    let variables = containers.filter_map(|container| container["env"].as_array()).flatten();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let set = variables.filter_map(|variable| Some((text(&variable["name"])?, text(&variable["value"])?)));
    set.filter(|(name, _)| !name.starts_with("WINDLASS_")).collect()
}

/// Seconds from one time to another.
pub fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
