//! What the pages show for copying is applied as it stands, for both groups: the API server takes it, and the operator finds
//! no mistake in it. That a server on a page is not there is none. Without a cluster, `pages_tests.rs` of the crate
//! `windlass-crd` reads the same pages.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use serde::Deserialize;
use serde_json::{Value, json};
use windlass_tests::{Manifests, Namespace, Shared, eventually, install, paths, run, shared};

const SOON: Duration = Duration::from_secs(60);
const GROUPS: [&str; 2] = ["windlass.dev", "keda.sh"];
/// What a Secret holds that a page refers to and does not show.
const SECRETS: &[(&str, &str)] = &[("host", "amqp://worker:secret@rabbitmq.messaging:5672/shop")];

/// The pages with YAML, by their paths.
fn pages() -> anyhow::Result<BTreeSet<String>> {
    let mut pages = BTreeSet::new();
    for folder in ["", "deploy", "docs", "operator/simulate", "sources/src"] {
        for entry in fs::read_dir(paths::root().join(folder))? {
            let path = Path::new(folder).join(entry?.file_name());
            let page = if path.extension().is_some_and(|e| e == "md") { path } else { path.join("README.md") };
            let full = paths::root().join(&page);
            if full.is_file() && fs::read_to_string(full)?.contains("\n```yaml\n") {
                pages.insert(page.display().to_string());
            }
        }
    }
    Ok(pages)
}

/// The documents of a page. A list of triggers is made an object, since that is where it is copied to.
fn documents(page: &str) -> anyhow::Result<Vec<Value>> {
    let text = fs::read_to_string(paths::root().join(page))?;
    let mut documents = Vec::new();
    let blocks = text.split("\n```yaml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap_or_default());
    for block in blocks {
        for document in serde_yaml_ng::Deserializer::from_str(block) {
            let document = Value::deserialize(document).with_context(|| format!("{page}:\n{block}"))?;
            // Alerting rules go to Prometheus, not to the cluster.
            if document.get("groups").is_some() {
                continue;
            }
            let triggers = if document.is_array() { Some(&document) } else { document.get("triggers") };
            documents.push(match triggers {
                None => document,
                Some(triggers) => {
                    let name = format!("page-{}", documents.len());
                    json!({"apiVersion": "windlass.dev/v1alpha1", "kind": "ScaledObject", "metadata": {"name": name},
                        "spec": {"scaleTargetRef": {"name": name}, "triggers": triggers}})
                }
            });
        }
    }
    Ok(documents)
}

/// Puts a document into a group, where it is of one of them.
fn of_group(mut document: Value, group: &str) -> Value {
    let version = document["apiVersion"].as_str().unwrap_or_default().to_owned();
    if let Some((old, version)) = version.split_once('/')
        && GROUPS.contains(&old)
    {
        document["apiVersion"] = format!("{group}/{version}").into();
    }
    document
}

fn name(document: &Value) -> &str {
    document["metadata"]["name"].as_str().unwrap_or_default()
}

/// Whether one of the documents is this object.
fn shows(documents: &[Value], kind: &str, wanted: &str) -> bool {
    documents.iter().any(|document| document["kind"] == kind && name(document) == wanted)
}

/// What a page leaves to the reader: the workloads that are scaled, the Secrets and authentications that are referred to.
async fn supply(ns: &Namespace, documents: &[Value], group: &str) -> anyhow::Result<()> {
    for document in documents {
        if document["kind"] == "TriggerAuthentication" {
            for reference in document["spec"]["secretTargetRef"].as_array().into_iter().flatten() {
                let (secret, key) = (reference["name"].as_str(), reference["key"].as_str());
                let (secret, key) = secret.zip(key).context("a reference without name and key")?;
                if !shows(documents, "Secret", secret) {
                    let value = SECRETS.iter().find(|(known, _)| *known == key).map_or("secret", |(_, value)| value);
                    let data = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "stringData": {key: value}});
                    // Applied by its own manager for each key, so that one does not take away the other.
                    let params = PatchParams::apply(&format!("page-{key}"));
                    let api = ns.api::<k8s_openapi::api::core::v1::Secret>();
                    api.patch(secret, &params, &Patch::Apply(data)).await?;
                }
            }
        }
        if document["kind"] != "ScaledObject" {
            continue;
        }
        let target = document["spec"]["scaleTargetRef"]["name"].as_str().context("no target")?;
        if !shows(documents, "Deployment", target) {
            ns.deployment(target, 0, &[]).await?;
        }
        for trigger in document["spec"]["triggers"].as_array().into_iter().flatten() {
            let Some(reference) = trigger["authenticationRef"]["name"].as_str() else { continue };
            ensure!(
                shows(documents, "TriggerAuthentication", reference),
                "{group}: the page refers to the TriggerAuthentication {reference:?} and does not show it"
            );
        }
    }
    Ok(())
}

/// The operator has answered the object, and finds no mistake in it. What it refers to may be heard of a moment after it.
async fn is_understood(ns: &Namespace, object: &str, patience: Duration) -> anyhow::Result<String> {
    let reason = eventually(patience, &format!("{object} is understood"), async || {
        let ready = ns.condition(object, "Ready").await?;
        let reason = ready["reason"].as_str().unwrap_or_default();
        ensure!(["ScaledObjectReady", "TriggerError"].contains(&reason), "{ready}");
        Ok(reason.to_owned())
    })
    .await?;
    // Keys that KEDA passes over are told in an event only.
    let remarks =
        ns.events(object).await?.into_iter().filter(|event| event.reason.as_deref() == Some("KEDAScalerInfo"));
    let remarks: Vec<_> = remarks.filter_map(|event| event.message).collect();
    ensure!(remarks.is_empty(), "{object}: {remarks:?}");
    Ok(reason)
}

/// Applies a page in a namespace of its own; gives what became of its objects.
async fn apply_page(shared: &Shared, page: &str, group: &'static str) -> anyhow::Result<Vec<String>> {
    let mut ns = shared.rig.namespace("page").await?;
    if group != windlass_tests::GROUP {
        ns = ns.of_keda();
    }
    let documents: Vec<Value> = documents(page)?.into_iter().map(|document| of_group(document, group)).collect();
    supply(&ns, &documents, group).await?;
    let mut answers = Vec::new();
    for document in &documents {
        ns.apply(document.clone()).await?;
    }
    for object in documents.iter().filter(|document| document["kind"] == "ScaledObject") {
        answers.push(is_understood(&ns, name(object), SOON).await?);
    }
    Ok(answers)
}

#[test]
fn every_page_can_be_copied_into_a_cluster() {
    run(async {
        let shared = shared().await?;
        let pages = pages()?;
        let all = pages.iter().flat_map(|page| GROUPS.map(|group| (page, group)));
        let answers = try_join_all(all.map(async |(page, group)| {
            let answers = apply_page(&shared, page, group).await.with_context(|| format!("{page} as {group}"))?;
            println!("{page} as {group}: {answers:?}");
            anyhow::Ok((page.clone(), answers.len()))
        }))
        .await?;
        let with_objects: BTreeSet<_> =
            answers.into_iter().filter(|(_, count)| *count > 0).map(|(page, _)| page).collect();
        let sources = with_objects.iter().filter(|page| page.starts_with("sources/src/")).count();
        ensure!(
            sources
                == fs::read_dir(paths::root().join("sources/src"))?
                    .flatten()
                    .filter(|e| e.path().join("README.md").is_file())
                    .count(),
            "a source's page has no object: {with_objects:?}"
        );
        for page in ["README.md", "docs/coming-from-keda.md"] {
            ensure!(with_objects.contains(page), "{page} has no object: {with_objects:?}");
        }
        Ok(())
    });
}

#[test]
fn a_mistake_on_a_page_is_answered_as_one() {
    run(async {
        let shared = shared().await?;
        let ns = shared.rig.namespace("page").await?;
        let trigger = json!({"type": "kafka", "metadata": {"bootstrapServers": "kafka.messaging", "topik": "orders"}});
        for (ns, name) in [(ns.clone(), "ours"), (ns.of_keda(), "kedas")] {
            ns.deployment(name, 0, &[]).await?;
            let spec = json!({"scaleTargetRef": {"name": name}, "triggers": [trigger]});
            ns.scaled_object(name, &spec).await?;
            let answer = ns.wait_condition(name, "Ready", "False", SOON).await?;
            ensure!(answer["reason"] == "ScaledObjectCheckFailed", "{answer}");
            let passed = is_understood(&ns, name, Duration::from_secs(1)).await;
            let said = format!("{:#}", passed.err().context("a mistake was passed over")?);
            ensure!(said.contains("consumerGroup"), "{said}");
        }
        Ok(())
    });
}

#[test]
fn the_files_of_deploy_are_taken() {
    run(async {
        let shared = shared().await?;
        let (client, deploy) = (shared.rig.client(), paths::root().join("deploy"));
        // As they stand, and without a trace.
        for file in ["examples", "webhooks/webhooks.yaml"] {
            for document in Manifests::load(&[deploy.join(file)])?.documents() {
                install::try_out(&client, document).await.with_context(|| file.to_owned())?;
            }
        }
        // An example's objects for real, elsewhere.
        let ns = shared.rig.namespace("page").await?;
        let example = Manifests::load(&[deploy.join("examples/rabbitmq.yaml")])?;
        for document in example.documents() {
            ns.apply(document.clone()).await?;
        }
        is_understood(&ns, "orders-worker", SOON).await?;

        // The patch that switches webhooks on, as its file says to apply it.
        let manifest = Manifests::load(&[deploy.join("manifests/40-deployment.yaml")])?;
        let mut deployment = manifest.documents().first().context("no Deployment")?.clone();
        deployment["spec"]["replicas"] = 0.into();
        ns.apply(deployment).await?;
        let patch = fs::read_to_string(deploy.join("webhooks/deployment-patch.yaml"))?;
        let patch: Value = serde_yaml_ng::from_str(&patch)?;
        let api = ns.api::<Deployment>();
        let patched = api.patch("windlass", &PatchParams::default(), &Patch::Strategic(&patch)).await?;
        let pod = patched.spec.and_then(|spec| spec.template.spec).context("no pod")?;
        ensure!(pod.containers.len() == 1 && pod.volumes.as_ref().is_some_and(|all| !all.is_empty()), "{pod:?}");
        let container = &pod.containers[0];
        let variables: Vec<_> = container.env.iter().flatten().map(|variable| &*variable.name).collect();
        ensure!(container.image.is_some() && variables.contains(&"WINDLASS_DATA_DIR"), "{container:?}");
        ensure!(variables.len() > 2, "the patch has taken variables away: {variables:?}");
        Ok(())
    });
}
