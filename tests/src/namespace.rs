//! A namespace of one test, and what it does there as the cluster's administrator.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{self as core, Event, Secret, ServiceAccount};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::{ReplicaLog, eventually, objects};

/// A namespace of one test. It is not deleted: the whole cluster goes with the test process.
#[derive(Debug, Clone)]
pub struct Namespace {
    name: String,
    group: &'static str,
    client: Admin,
}

impl Namespace {
    /// Creates it, and waits until pods can be made in it.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn create(client: Client, name: String) -> anyhow::Result<Self> {
        let namespace: core::Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await?;
        let this = Self { name, group: crate::GROUP, client: Admin(client) };
        // Pods are refused until the controller has made the default ServiceAccount.
        eventually(Duration::from_secs(30), "the default ServiceAccount is there", async || {
            this.api::<ServiceAccount>().get("default").await.map_err(Into::into)
        })
        .await?;
        Ok(this)
    }

    /// The same namespace, its ScaledObjects being those of KEDA's group.
    #[must_use]
    pub fn of_keda(&self) -> Self {
        Self { group: crate::keda::GROUP, ..self.clone() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The administrator's client.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.0.clone()
    }

    /// Objects of a kind in it.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client(), &self.name)
    }

    /// Its ScaledObjects.
    #[must_use]
    pub fn scaled_objects(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client(), &self.name, &objects::scaled_objects(self.group))
    }

    /// Creates any object.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn create_object<K>(&self, object: &K) -> anyhow::Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + serde::Serialize,
    {
        let params = PostParams { field_manager: Some("somebody".into()), ..PostParams::default() };
        Ok(self.api().create(&params, object).await?)
    }

    /// Creates a Deployment; its pods have this environment.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn deployment(&self, name: &str, replicas: i32, env: &[(&str, &str)]) -> anyhow::Result<Deployment> {
        self.create_object(&objects::deployment(&self.name, name, replicas, env)).await
    }

    /// Sets `spec.replicas` as a person would: field manager `somebody`.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn scale(&self, deployment: &str, replicas: i32) -> anyhow::Result<()> {
        let params = PatchParams { field_manager: Some("somebody".into()), ..PatchParams::default() };
        let patch = json!({"spec": {"replicas": replicas}});
        self.api::<Deployment>().patch_scale(deployment, &params, &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Creates a Secret of text.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn secret(&self, name: &str, data: &[(&str, &str)]) -> anyhow::Result<Secret> {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut secret = Secret { string_data: Some(data), ..Secret::default() };
        secret.metadata.name = Some(name.to_owned());
        self.create_object(&secret).await
    }

    /// Creates a ScaledObject, or replaces the fields that this spec names.
    ///
    /// # Errors
    /// When the API server refuses: the CRD is not installed, or its rules do not hold.
    pub async fn scaled_object(&self, name: &str, spec: &Value) -> anyhow::Result<DynamicObject> {
        let object = objects::scaled_object(self.group, &self.name, name, spec);
        let patch = Patch::Apply(&object);
        Ok(self.scaled_objects().patch(name, &PatchParams::apply("somebody").force(), &patch).await?)
    }

    /// Creates any object of YAML's shape, or replaces the fields that it names, as somebody.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn apply(&self, mut document: Value) -> anyhow::Result<()> {
        document["metadata"]["namespace"] = self.name.clone().into();
        crate::install::apply(&self.client(), &document).await.map(drop)
    }

    /// Deletes a ScaledObject, and waits until it is gone.
    ///
    /// # Errors
    /// When it is not within `deadline`.
    pub async fn delete_scaled_object(&self, name: &str, deadline: Duration) -> anyhow::Result<()> {
        self.scaled_objects().delete(name, &DeleteParams::default()).await?;
        eventually(deadline, &format!("ScaledObject {name} is gone"), async || {
            let left = self.scaled_objects().get_opt(name).await?;
            ensure!(left.is_none(), "it has finalizers {:?}", left.map(|object| object.finalizers().to_vec()));
            Ok(())
        })
        .await
    }

    /// The status of a ScaledObject; null while it has none.
    ///
    /// # Errors
    /// When there is no such object.
    pub async fn status(&self, name: &str) -> anyhow::Result<Value> {
        Ok(self.scaled_objects().get(name).await?.data["status"].clone())
    }

    /// One condition of a ScaledObject; null while there is none of that type.
    ///
    /// # Errors
    /// When there is no such object.
    pub async fn condition(&self, name: &str, kind: &str) -> anyhow::Result<Value> {
        let status = self.status(name).await?;
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        Ok(conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or(Value::Null))
    }

    /// Waits until a condition of a ScaledObject has this status (`True`, `False`, `Unknown`); returns the condition.
    ///
    /// # Errors
    /// With the conditions there are, when it has not within `deadline`.
    pub async fn wait_condition(
        &self,
        name: &str,
        kind: &str,
        status: &str,
        deadline: Duration,
    ) -> anyhow::Result<Value> {
        eventually(deadline, &format!("ScaledObject {name} has {kind}={status}"), async || {
            let condition = self.condition(name, kind).await?;
            if condition["status"] != status {
                anyhow::bail!("its status is {}", self.status(name).await?);
            }
            Ok(condition)
        })
        .await
    }

    /// Events about the objects of one name (of any kind), oldest first.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn events(&self, object: &str) -> anyhow::Result<Vec<Event>> {
        let about = ListParams::default().fields(&format!("involvedObject.name={object}"));
        let mut events = self.api::<Event>().list(&about).await?.items;
        events.sort_by_key(|event| event.metadata.creation_timestamp.clone().map(|time| time.0));
        Ok(events)
    }

    /// Waits for an event of this reason about the objects of one name.
    ///
    /// # Errors
    /// With the events there are, when there is none within `deadline`.
    pub async fn wait_event(&self, object: &str, reason: &str, deadline: Duration) -> anyhow::Result<Event> {
        eventually(deadline, &format!("an event {reason} about {object}"), async || {
            let events = self.events(object).await?;
            let found = events.iter().find(|event| event.reason.as_deref() == Some(reason)).cloned();
            found.with_context(|| {
                let lines = events.iter().map(|e| format!("{:?}: {:?}", e.reason, e.message));
                format!("the events are {:?}", lines.collect::<Vec<_>>())
            })
        })
        .await
    }

    /// The HPA that the operator makes for a ScaledObject; `None` while there is none.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn hpa(&self, scaled_object: &str) -> anyhow::Result<Option<HorizontalPodAutoscaler>> {
        let maker = if self.group == crate::GROUP { "windlass" } else { "keda" };
        Ok(self.api().get_opt(&format!("{maker}-hpa-{scaled_object}")).await?)
    }

    /// Waits until the HPA of a ScaledObject is there.
    ///
    /// # Errors
    /// When it is not within `deadline`.
    pub async fn wait_hpa(&self, scaled_object: &str, deadline: Duration) -> anyhow::Result<HorizontalPodAutoscaler> {
        eventually(deadline, &format!("an HPA for {scaled_object}"), async || {
            self.hpa(scaled_object).await?.context("there is none")
        })
        .await
    }

    /// What the external metrics API answers for a metric of a ScaledObject, asked as the HPA asks: through the API
    /// server. An `ExternalMetricValueList`; the figure is `["items"][0]["value"]`, a quantity.
    ///
    /// # Errors
    /// When it answers an error, e.g. because there is no fresh reading.
    pub async fn external_metric(&self, metric: &str, scaled_object: &str) -> anyhow::Result<Value> {
        let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{}/{metric}", self.name);
        let label = format!("scaledobject.{}/name={scaled_object}", self.group);
        let request = Request::new(path).list(&ListParams::default().labels(&label))?;
        Ok(self.client().request(request).await?)
    }

    /// Starts the record of replicas of its Deployments.
    ///
    /// # Errors
    /// As [`ReplicaLog::start`].
    pub async fn replica_log(&self) -> anyhow::Result<ReplicaLog> {
        ReplicaLog::start(self.client(), &self.name).await
    }
}
