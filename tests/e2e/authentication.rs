//! Credentials that stand elsewhere: in Secrets, by an authentication of the namespace or of the cluster, or in the target's
//! environment. A rotated one is used at the next reading, and the old one never again.

use std::time::Duration;

use anyhow::ensure;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use reqwest::Method;
use serde_json::{Value, json};
use windlass_tests::{Rabbit, eventually, install, run};

use crate::scaling::Work;

const SOON: Duration = Duration::from_secs(60);

impl Work {
    /// A user of the broker's own, who may do all.
    async fn user(&self, name: &str, password: &str) -> anyhow::Result<()> {
        let rabbit = self.shared.rabbit;
        let user = json!({"password": password, "tags": "management"});
        rabbit.management(Method::PUT, &format!("users/{name}"), Some(user)).await?;
        let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
        rabbit.management(Method::PUT, &format!("permissions/%2f/{name}"), Some(all)).await.map(drop)
    }

    fn url(&self, user: &str, password: &str) -> String {
        Rabbit::amqp_url_at(self.shared.rabbit.amqp_address()).replace("guest:guest", &format!("{user}:{password}"))
    }

    /// The spec whose trigger has no host, but this instead.
    fn spec_with(&self, trigger: Value) -> Value {
        let mut spec = self.spec();
        if let (Some(into), Some(from)) = (spec["triggers"][0].as_object_mut(), trigger.as_object()) {
            into["metadata"].as_object_mut().map(|metadata| metadata.remove("host"));
            for (key, value) in from {
                match (into.get_mut(key).and_then(Value::as_object_mut), value.as_object()) {
                    (Some(into), Some(more)) => into.extend(more.clone()),
                    _ => drop(into.insert(key.clone(), value.clone())),
                }
            }
        }
        spec
    }

    async fn says(&self, part: &str) -> anyhow::Result<()> {
        eventually(SOON, &format!("the object says {part:?}"), async || {
            let ready = self.ns.condition("web", "Ready").await?;
            let message = ready["message"].as_str().unwrap_or_default();
            ensure!(ready["status"] == "False" && message.contains(part), "{ready}");
            ensure!(!message.contains("s3cr3t"), "a credential is out: {message}");
            Ok(())
        })
        .await
    }
}

fn authentication(kind: &str, name: &str, group: &str, references: Value) -> Value {
    json!({"apiVersion": format!("{group}/v1alpha1"), "kind": kind, "metadata": {"name": name}, "spec": references})
}

#[test]
fn a_rotated_secret_is_used_at_once_and_the_old_one_never_again() {
    run(async {
        for of_keda in [false, true] {
            let mut work = Work::start("rotated").await?;
            if of_keda {
                work = work.of_keda();
            }
            let group = if of_keda { "keda.sh" } else { "windlass.dev" };
            let user = work.ns.name().to_owned();
            work.user(&user, "s3cr3t-1").await?;
            let trigger = json!({"authenticationRef": {"name": "rabbit"}});
            work.ns.scaled_object("web", &work.spec_with(trigger)).await?;
            work.says("TriggerAuthentication \"rabbit\" is not there").await?;
            let references = json!({"secretTargetRef": [{"parameter": "host", "name": "rabbit", "key": "url"}]});
            work.ns.apply(authentication("TriggerAuthentication", "rabbit", group, references)).await?;
            work.says(&format!("there is no Secret {user}/rabbit")).await?;
            work.ns.secret("rabbit", &[("wrong", "x")]).await?;
            work.says("has no text under the key \"url\"").await?;
            let secret = async |password: &str| {
                let data = json!({"stringData": {"url": work.url(&user, password)}});
                let api = work.ns.api::<k8s_openapi::api::core::v1::Secret>();
                api.patch("rabbit", &PatchParams::default(), &Patch::Merge(data)).await.map(drop)
            };
            secret("s3cr3t-1").await?;
            work.ns.wait_condition("web", "Ready", "True", SOON).await?;
            work.publish(25).await?;
            work.replicas(3).await?;

            // The password is changed at the broker, which closes no connection; then in the Secret.
            work.user(&user, "s3cr3t-2").await?;
            let changed = windlass_tests::now();
            secret("s3cr3t-2").await?;
            let connections = async || {
                let all = work.shared.rabbit.management(Method::GET, "connections", None).await?;
                let mine = all.as_array().into_iter().flatten().filter(|c| c["user"] == user.as_str());
                anyhow::Ok(mine.filter_map(|c| c["connected_at"].as_i64()).collect::<Vec<_>>())
            };
            eventually(SOON, "only connections from after the change are left", async || {
                let all = connections().await?;
                let new = all.iter().all(|at| *at >= changed.as_millisecond() - 50);
                ensure!(!all.is_empty() && new, "{all:?}, changed at {}", changed.as_millisecond());
                Ok(())
            })
            .await?;
            work.ns.wait_condition("web", "Ready", "True", SOON).await?;
            work.log.never("web", Duration::from_secs(3), "it moves", |row| row.spec != 3).await?;

            // A wrong one is told, without it; nothing moves.
            secret("s3cr3t-3").await?;
            work.says("refused").await?;
            work.log.never("web", Duration::from_secs(8), "it moves", |row| row.spec != 3).await?;
            secret("s3cr3t-2").await?;
            work.ns.wait_condition("web", "Ready", "True", SOON).await?;
            let log = work.shared.operator.log();
            ensure!(!log.contains("s3cr3t"), "a credential is in the log");
        }
        Ok(())
    });
}

#[test]
fn the_environment_of_the_target_and_config_maps_give_values_too() {
    run(async {
        let work = Work::start("environment").await?;
        let ns = &work.ns;
        ns.secret("credentials", &[("password", "guest")]).await?;
        let url = work.url("guest", "$(PASSWORD)");
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "worker", "image": "none", "env": [
            {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "credentials", "key": "password"}}},
            {"name": "BROKER", "value": url},
        ]}]}}}});
        let deployments = ns.api::<k8s_openapi::api::apps::v1::Deployment>();
        ns.scaled_object("web", &work.spec_with(json!({"metadata": {"hostFromEnv": "BROKER"}}))).await?;
        work.says("no environment variable \"BROKER\"").await?;
        deployments.patch("web", &PatchParams::default(), &Patch::Strategic(patch)).await?;
        ns.wait_condition("web", "Ready", "True", SOON).await?;
        work.publish(15).await?;
        work.replicas(2).await?;

        // The same by an authentication, with the queue from a ConfigMap.
        ns.apply(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "queues"}, "data": {"q": work.queue}}),
        )
        .await?;
        let references = json!({"env": [{"parameter": "host", "name": "BROKER", "containerName": "worker"}],
            "configMapTargetRef": [{"parameter": "queueName", "name": "queues", "key": "q"}]});
        ns.apply(authentication("TriggerAuthentication", "env", "windlass.dev", references)).await?;
        let mut spec = work.spec_with(json!({"authenticationRef": {"name": "env"}}));
        spec["triggers"][0]["metadata"].as_object_mut().map(|metadata| metadata.remove("queueName"));
        ns.scaled_object("web", &spec).await?;
        eventually(SOON, "the new generation is ready", async || {
            let object = ns.scaled_objects().get("web").await?;
            let ready = ns.condition("web", "Ready").await?;
            ensure!(
                ready["status"] == "True" && ready["observedGeneration"] == json!(object.metadata.generation),
                "{ready}"
            );
            Ok(())
        })
        .await
    });
}

#[test]
fn an_authentication_of_the_cluster_reads_from_the_operators_namespace_and_keeps_to_its_hosts() {
    run(async {
        let work = Work::start("clusterauth").await?;
        let name = work.ns.name();
        let client = work.shared.rig.client();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"username": "guest", "password": "guest"},
            "metadata": {"name": name, "namespace": windlass_tests::SYSTEM_NAMESPACE}});
        install::apply(&client, &secret).await?;
        let references = json!({"secretTargetRef": [
            {"parameter": "username", "name": name, "key": "username"},
            {"parameter": "password", "name": name, "key": "password"},
        ]});
        let mut document = authentication("ClusterTriggerAuthentication", name, "windlass.dev", references);
        document["metadata"]["annotations"] = json!({"windlass.dev/allowed-hosts": "rabbit.example.com"});
        install::apply(&client, &document).await?;
        let mut spec = work.spec();
        let host = format!("amqp://{}", work.shared.rabbit.amqp_address());
        spec["triggers"][0]["metadata"]["host"] = host.into();
        spec["triggers"][0]["authenticationRef"] = json!({"name": name, "kind": "ClusterTriggerAuthentication"});
        work.ns.scaled_object("web", &spec).await?;
        work.says("may not be sent to \"127.0.0.1\"").await?;
        document["metadata"]["annotations"] = json!({"windlass.dev/allowed-hosts": "rabbit.example.com, 127.0.0.1"});
        install::apply(&client, &document).await?;
        work.ns.wait_condition("web", "Ready", "True", SOON).await?;
        work.publish(15).await?;
        work.replicas(2).await?;
        let secrets: Api<k8s_openapi::api::core::v1::Secret> =
            Api::namespaced(client, windlass_tests::SYSTEM_NAMESPACE);
        secrets.delete(name, &DeleteParams::default()).await?;
        work.says(&format!("there is no Secret {}/{name}", windlass_tests::SYSTEM_NAMESPACE)).await?;
        work.log.never("web", Duration::from_secs(8), "it moves", |row| row.spec != 2).await
    });
}
