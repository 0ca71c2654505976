//! The discovery documents of the group `external.metrics.k8s.io/v1beta1`. They are the same whatever the sources do:
//! the aggregator takes the whole API away when discovery fails, so nothing here can fail.

use axum::http::{HeaderMap, header::ACCEPT};
use axum::response::Response;
use serde_json::{Value, json};

use super::answer::Document;

/// The served API group.
pub const GROUP: &str = "external.metrics.k8s.io";
/// The served version of [`GROUP`].
pub const VERSION: &str = "v1beta1";
/// `group/version`, as objects of it say in `apiVersion`.
pub const GROUP_VERSION: &str = "external.metrics.k8s.io/v1beta1";

const JSON: &str = "application/json";

/// Every discovery document, built once.
#[derive(Debug)]
pub struct Discovery {
    groups: Document,
    /// Aggregated discovery (`APIGroupDiscoveryList`) in the versions the aggregator asks for, newest first, each with
    /// the text by which an `Accept` header names it.
    aggregated: [(&'static str, Document); 2],
    group: Document,
    resources: Document,
    version: Document,
}

impl Default for Discovery {
    fn default() -> Self {
        Self::new()
    }
}

impl Discovery {
    /// The documents.
    #[must_use]
    pub fn new() -> Self {
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let v2beta1 = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        Self {
            groups: Document::new(JSON, &groups()),
            aggregated: [
                ("v=v2", Document::new(v2, &aggregated("v2"))),
                ("v=v2beta1", Document::new(v2beta1, &aggregated("v2beta1"))),
            ],
            group: Document::new(JSON, &with_type("APIGroup", group())),
            resources: Document::new(JSON, &resources()),
            version: Document::new(JSON, &version()),
        }
    }

    /// `/apis`: the list of groups, or aggregated discovery for those who accept it.
    #[must_use]
    pub fn groups(&self, asked: &HeaderMap) -> Response {
        let accepted = asked.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let document = accepted.flat_map(|value| value.split(',')).find_map(|kind| self.aggregated_as(kind));
        document.unwrap_or(&self.groups).answer(asked)
    }

    /// `/apis/external.metrics.k8s.io`.
    #[must_use]
    pub fn group(&self, asked: &HeaderMap) -> Response {
        self.group.answer(asked)
    }

    /// `/apis/external.metrics.k8s.io/v1beta1`.
    #[must_use]
    pub fn resources(&self, asked: &HeaderMap) -> Response {
        self.resources.answer(asked)
    }

    /// `/version`.
    #[must_use]
    pub fn version(&self, asked: &HeaderMap) -> Response {
        self.version.answer(asked)
    }

    fn aggregated_as(&self, kind: &str) -> Option<&Document> {
        let has = |wanted: &str| kind.split(';').any(|part| part.trim() == wanted);
        if !has("application/json") || !has("g=apidiscovery.k8s.io") || !has("as=APIGroupDiscoveryList") {
            return None;
        }
        self.aggregated.iter().find(|(version, _)| has(version)).map(|(_, document)| document)
    }
}

fn group() -> Value {
    let version = json!({"groupVersion": GROUP_VERSION, "version": VERSION});
    json!({"name": GROUP, "versions": [version], "preferredVersion": version})
}

fn with_type(kind: &str, mut object: Value) -> Value {
    object["kind"] = kind.into();
    object["apiVersion"] = "v1".into();
    object
}

fn groups() -> Value {
    with_type("APIGroupList", json!({"groups": [group()]}))
}

/// Any metric name is a resource here, and they come and go; so one name stands for all of them, as the metric adapters
/// of the Kubernetes project do it. It can be fetched only: nothing walks the resources of this group by list or watch.
fn resources() -> Value {
    let resource = json!({
        "name": "externalmetrics",
        "singularName": "",
        "namespaced": true,
        "kind": "ExternalMetricValueList",
        "verbs": ["get"],
    });
    with_type("APIResourceList", json!({"groupVersion": GROUP_VERSION, "resources": [resource]}))
}

fn aggregated(version: &str) -> Value {
    let resource = json!({
        "resource": "externalmetrics",
        "responseKind": {"group": GROUP, "version": VERSION, "kind": "ExternalMetricValueList"},
        "scope": "Namespaced",
        "singularResource": "",
        "verbs": ["get"],
    });
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": [{
            "metadata": {"name": GROUP, "creationTimestamp": null},
            "versions": [{"version": VERSION, "resources": [resource], "freshness": "Current"}],
        }],
    })
}

fn version() -> Value {
    let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    json!({
        "major": major,
        "minor": minor,
        "gitVersion": concat!("v", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": std::env::consts::OS,
    })
}
