//! Discovery: which groups, versions and kinds there are, as clients ask for it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::kind::Kind;

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// In the order in which custom resources list them.
const CUSTOM_VERBS: [&str; 8] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
const PART_VERBS: [&str; 3] = ["get", "patch", "update"];

/// `/version`: the release whose behaviour is modelled.
pub(super) fn version() -> Value {
    json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0+kubesim", "platform": "kubesim"})
}

/// The document at a discovery path; `None` where there is none here. Aggregated discovery is not offered: clients fall
/// back to these.
pub(super) fn answer(cluster: &Cluster, parts: &[String]) -> Option<Value> {
    let words: Vec<&str> = parts.iter().map(String::as_str).collect();
    match words[..] {
        ["api"] => Some(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        ["apis"] => {
            let groups: Vec<_> =
                groups(cluster).into_iter().map(|(group, versions)| described(&group, &versions)).collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", group] => {
            let versions = groups(cluster).remove(group)?;
            let mut found = described(group, &versions);
            found["kind"] = json!("APIGroup");
            found["apiVersion"] = json!("v1");
            Some(found)
        }
        ["api", version] => resources(cluster, "", version),
        ["apis", group, version] => resources(cluster, group, version),
        _ => None,
    }
}

fn groups(cluster: &Cluster) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let store = cluster.store();
    for kind in store.kinds().filter(|kind| !kind.group.is_empty()) {
        let versions = groups.entry(kind.group.clone()).or_default();
        if !versions.contains(&kind.version) {
            versions.push(kind.version.clone());
        }
    }
    if let Some(services) = store.table("apiregistration.k8s.io", "apiservices") {
        for service in services.objects.values().filter(|service| service["spec"]["service"].is_object()) {
            let text = |name: &str| service["spec"][name].as_str().unwrap_or_default().to_owned();
            let versions = groups.entry(text("group")).or_default();
            if !versions.contains(&text("version")) {
                versions.push(text("version"));
            }
        }
    }
    groups
}

fn described(group: &str, versions: &[String]) -> Value {
    let versions: Vec<_> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    json!({"name": group, "preferredVersion": versions.first(), "versions": versions})
}

fn resources(cluster: &Cluster, group: &str, version: &str) -> Option<Value> {
    let store = cluster.store();
    let kinds: Vec<_> = store.kinds().filter(|kind| kind.group == group && kind.version == version).cloned().collect();
    drop(store);
    let first = kinds.first()?;
    let resources: Vec<_> = kinds.iter().flat_map(|kind| entries(kind)).collect();
    Some(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": first.api_version(), "resources": resources}),
    )
}

fn entries(kind: &Kind) -> Vec<Value> {
    let mut main = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind, "verbs": VERBS,
    });
    if !kind.short_names.is_empty() {
        main["shortNames"] = json!(kind.short_names);
    }
    let part = |part: &str| json!({"name": format!("{}/{part}", kind.plural), "singularName": "", "namespaced": kind.namespaced, "verbs": PART_VERBS});
    let scale = kind.scale.as_ref().map(|_| {
        let mut scale = part("scale");
        (scale["group"], scale["version"], scale["kind"]) = (json!("autoscaling"), json!("v1"), json!("Scale"));
        scale
    });
    let status = kind.has_status.then(|| {
        let mut status = part("status");
        status["kind"] = json!(kind.kind);
        status
    });
    if kind.schema.is_some() {
        main["verbs"] = json!(CUSTOM_VERBS);
        return [Some(main), status, scale].into_iter().flatten().collect();
    }
    [Some(main), scale, status].into_iter().flatten().collect()
}
