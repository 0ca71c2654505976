//! Applies the project's own manifests to a rig, as `kubectl apply --server-side` would.
//!
//! Two things differ from a real cluster, and nothing else: the Deployment is left out (tests run the operator as a
//! process), and the metrics Service is an `ExternalName` to the forwarder's port, since loopback is no legal
//! endpoint. Rights, CRDs and APIService are the shipped ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{METRICS_SERVICE, Rig, eventually, paths};

/// Documents to apply, in the order of their files.
#[derive(Debug, Clone, Default)]
pub struct Manifests(Vec<Value>);

impl Manifests {
    /// Those of the repository: `deploy/crds` and `deploy/manifests`.
    ///
    /// # Errors
    /// When a folder is not there or a file is not YAML.
    pub fn repository() -> anyhow::Result<Self> {
        let deploy = paths::root().join("deploy");
        Self::load(&[deploy.join("crds"), deploy.join("manifests")])
    }

    /// All documents of these files and of the `.yaml` files in these folders.
    ///
    /// # Errors
    /// When one cannot be read, or holds nothing.
    pub fn load(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let mut documents = Vec::new();
        for path in paths {
            let mut files = vec![path.clone()];
            if path.is_dir() {
                let entries = fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
                let yaml = |path: &PathBuf| path.extension().is_some_and(|e| e == "yaml" || e == "yml");
                files = entries.into_iter().map(|entry| entry.path()).filter(yaml).collect();
                files.sort();
                // A kustomization lists the others; it is not an object.
                files.retain(|file| file.file_stem().is_none_or(|stem| stem != "kustomization"));
            }
            ensure!(!files.is_empty(), "no .yaml file in {}", path.display());
            for file in files {
                documents.extend(parse(&file)?);
            }
        }
        Ok(Self(documents))
    }

    /// Those of YAML text.
    ///
    /// # Errors
    /// When it is not YAML.
    pub fn text(text: &str) -> anyhow::Result<Self> {
        Ok(Self(documents(text)?))
    }

    /// The documents.
    #[must_use]
    pub fn documents(&self) -> &[Value] {
        &self.0
    }
}

fn parse(file: &Path) -> anyhow::Result<Vec<Value>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    documents(&text).with_context(|| format!("in {}", file.display()))
}

fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    let values = serde_yaml_ng::Deserializer::from_str(text).map(Value::deserialize).collect::<Result<Vec<_>, _>>()?;
    Ok(values.into_iter().filter(|value| !value.is_null()).collect())
}

/// What must be there before the rest: kinds first, then namespaces, then who lives there.
fn rank(document: &Value) -> u8 {
    match document["kind"].as_str() {
        Some("CustomResourceDefinition") => 0,
        Some("Namespace") => 1,
        Some("ServiceAccount") => 2,
        Some("APIService") => 4,
        _ => 3,
    }
}

/// The differences that the rig needs; `None`: left out.
fn for_rig(mut document: Value, forwarder_port: u16) -> Option<Value> {
    match document["kind"].as_str() {
        Some("Deployment") => return None,
        Some("Service") if document["metadata"]["name"] == METRICS_SERVICE => {
            document["spec"] =
                json!({"type": "ExternalName", "externalName": "localhost", "ports": [{"port": forwarder_port}]});
        }
        Some("APIService") if document["spec"]["service"]["name"] == METRICS_SERVICE => {
            document["spec"]["service"]["port"] = forwarder_port.into();
        }
        _ => {}
    }
    Some(document)
}

impl Rig {
    /// Applies manifests and waits until their kinds are served.
    ///
    /// # Errors
    /// When the API server refuses one; says which and why.
    pub async fn install(&self, manifests: &Manifests) -> anyhow::Result<()> {
        let port = self.forwarder().port();
        let mut documents: Vec<Value> = manifests.0.iter().cloned().filter_map(|d| for_rig(d, port)).collect();
        documents.sort_by_key(rank);
        for document in documents {
            apply(&self.client(), &document).await?;
        }
        Ok(())
    }
}

/// Applies one document server-side, as `kubectl` would, and waits until a CRD is established.
///
/// # Errors
/// When it is refused.
pub async fn apply(client: &Client, document: &Value) -> anyhow::Result<DynamicObject> {
    let api = api_of(client, document).await?;
    let applied = apply_by(&api, document, &PatchParams::apply("kubectl")).await?;
    if document["kind"] != "CustomResourceDefinition" {
        return Ok(applied);
    }
    established(client, &api, document).await
}

/// The same without a trace: the API server says what would become of it.
///
/// # Errors
/// When it would be refused.
pub async fn try_out(client: &Client, document: &Value) -> anyhow::Result<DynamicObject> {
    let params = PatchParams::apply("kubectl").dry_run();
    apply_by(&api_of(client, document).await?, document, &params).await
}

async fn apply_by(api: &Api<DynamicObject>, document: &Value, params: &PatchParams) -> anyhow::Result<DynamicObject> {
    let name = document["metadata"]["name"].as_str().context("a document without a name")?;
    let what = || format!("the API server refuses {} {name}", document["kind"].as_str().unwrap_or_default());
    api.patch(name, params, &Patch::Apply(document)).await.with_context(what)
}

/// How long discovery may lag behind a new CRD, and a namespace's default rights behind the namespace.
const LAG: Duration = Duration::from_secs(30);

async fn api_of(client: &Client, document: &Value) -> anyhow::Result<Api<DynamicObject>> {
    let kind = document["kind"].as_str().context("a document without a kind")?;
    let name = document["metadata"]["name"].as_str().context("a document without a name")?;
    let what = format!("{kind} {name}");
    let api_version = document["apiVersion"].as_str().with_context(|| format!("{what} has no apiVersion"))?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let gvk = GroupVersionKind::gvk(group, version, kind);
    let (resource, capabilities) =
        eventually(LAG, &format!("{what} has a known kind"), async || Ok(pinned_kind(client, &gvk).await?)).await?;
    Ok(match (&capabilities.scope, document["metadata"]["namespace"].as_str()) {
        (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
        (Scope::Namespaced, namespace) => {
            Api::namespaced_with(client.clone(), namespace.unwrap_or("default"), &resource)
        }
    })
}

async fn established(client: &Client, api: &Api<DynamicObject>, document: &Value) -> anyhow::Result<DynamicObject> {
    let name = document["metadata"]["name"].as_str().context("a document without a name")?;
    eventually(LAG, &format!("the CRD {name} is established"), async || {
        let crd = api.get(name).await?;
        let conditions = crd.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let established = conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True");
        ensure!(established, "its conditions are {conditions:?}");
        // Established comes before its storage is there, the more so when it is applied again.
        let spec = &crd.data["spec"];
        let versions = spec["versions"].as_array().cloned().unwrap_or_default();
        for version in versions.iter().filter(|version| version["served"] == true) {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let gvk =
                GroupVersionKind::gvk(&text(&spec["group"]), &text(&version["name"]), &text(&spec["names"]["kind"]));
            let kind = ApiResource::from_gvk_with_plural(&gvk, &text(&spec["names"]["plural"]));
            Api::<DynamicObject>::all_with(client.clone(), &kind).list(&ListParams::default().limit(1)).await?;
        }
        Ok(crd)
    })
    .await
}
