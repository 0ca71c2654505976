//! What the pages for people say, held against the code: every ScaledObject and every list of triggers in them is understood,
//! and the page for KEDA's users knows every type of trigger.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::ByteString;
use serde::Deserialize;
use serde_json::{Value, json};
use windlass_sources::{Given, PodIdentity, Secret};

use crate::{Group, Identity, Inputs, ScaledObject, ScaledObjectSpec, TriggerAuthenticationSpec, validate};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The pages of the repository, by their paths.
fn pages() -> Vec<String> {
    let mut pages =
        vec!["README.md".to_owned(), "deploy/README.md".to_owned(), "operator/simulate/README.md".to_owned()];
    for folder in ["docs", "sources/src"] {
        for entry in fs::read_dir(root().join(folder)).expect(folder) {
            let name = entry.expect(folder).file_name().into_string().expect("UTF-8");
            let path =
                if name.ends_with(".md") { format!("{folder}/{name}") } else { format!("{folder}/{name}/README.md") };
            pages.extend(Some(path).filter(|path| root().join(path).is_file()));
        }
    }
    pages.sort();
    pages
}

/// The YAML blocks of a page.
fn blocks(page: &str) -> impl Iterator<Item = &str> {
    page.split("\n```yaml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap_or_default())
}

/// A ScaledObject, or a list of triggers made into one; `None` for anything else.
fn scaled_object(document: Value) -> Option<Value> {
    if document["kind"] == "ScaledObject" {
        return Some(document);
    }
    let triggers = document.get("triggers")?;
    let spec = json!({"scaleTargetRef": {"name": "worker"}, "triggers": triggers});
    Some(
        json!({"apiVersion": "windlass.dev/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "page"}, "spec": spec}),
    )
}

/// The first field that was written and that a ScaledObject does not have.
fn unknown(path: &str, written: &Value, known: &Value) -> Option<String> {
    match (written, known) {
        (Value::Object(written), Value::Object(known)) => written.iter().find_map(|(field, value)| {
            let path = format!("{path}.{field}");
            match known.get(field) {
                Some(known) => unknown(&path, value, known),
                None => Some(path),
            }
        }),
        (Value::Array(written), Value::Array(known)) => written
            .iter()
            .zip(known)
            .enumerate()
            .find_map(|(index, (value, known))| unknown(&format!("{path}[{index}]"), value, known)),
        _ => None,
    }
}

/// What the authentications that a page shows give, by their names.
fn authentications(documents: &[Value]) -> BTreeMap<String, Given> {
    let of_kind = documents.iter().filter(|document| document["kind"] == "TriggerAuthentication");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let given = |document: &Value| {
        let spec: TriggerAuthenticationSpec =
            serde_json::from_value(document["spec"].clone()).expect("an authentication");
        let value = |secret: &Value| {
            let is_it = |other: &&Value| other["kind"] == "Secret" && other["metadata"]["name"] == secret["name"];
            let (shown, key) = (documents.iter().find(is_it), text(&secret["key"]));
            let of = |field: &str| shown.and_then(|found| found[field].get(&key)).cloned();
            match (of("data"), of("stringData")) {
                (Some(bytes), _) => Secret::of_bytes(serde_json::from_value::<ByteString>(bytes).expect("base64").0),
                (None, shown) => Secret::new(shown.as_ref().and_then(Value::as_str).unwrap_or("secret")),
            }
        };
        let references = document["spec"]["secretTargetRef"].as_array().into_iter().flatten();
        let mut parameters: BTreeMap<_, _> = references.map(|one| (text(&one["parameter"]), value(one))).collect();
        let tokens = spec.bound_service_account_token.iter().flatten();
        parameters.extend(tokens.map(|token| (token.parameter.clone(), Secret::new("token"))));
        if let Some(oauth2) = &spec.oauth2 {
            parameters.extend(oauth2.parameters().map(|(name, value)| (name.to_owned(), Secret::new(value))));
            parameters.insert("clientSecret".to_owned(), Secret::new("secret"));
        }
        let identity = match spec.identity().expect("an identity") {
            Identity::Of(identity) => identity,
            Identity::Workload(_) => PodIdentity::Aws { role_arn: None, external_id: None },
        };
        Given { identity, parameters, ..Given::default() }
    };
    of_kind.map(|document| (text(&document["metadata"]["name"]), given(document))).collect()
}

/// Understands a document as the operator would, with the authentications of its page.
fn understand(document: &Value, shown: &BTreeMap<String, Given>) -> Result<(), String> {
    let object: ScaledObject = serde_json::from_value(document.clone()).map_err(|error| error.to_string())?;
    let known = serde_json::to_value(&object.spec).map_err(|error| error.to_string())?;
    if let Some(field) = unknown("spec", &document["spec"], &known) {
        return Err(format!("{field} is no field"));
    }
    let group = match document["apiVersion"].as_str() {
        Some("windlass.dev/v1alpha1") => Group::Windlass,
        Some("keda.sh/v1alpha1") => Group::Keda,
        other => return Err(format!("{other:?} is no group and version")),
    };
    let given = |trigger: &crate::Trigger| match &trigger.authentication_ref {
        Some(reference) => {
            shown.get(&reference.name).cloned().ok_or_else(|| format!("the page does not show {}", reference.name))
        }
        None => Ok(Given::default()),
    };
    let given = object.spec.triggers.iter().map(given).collect::<Result<Vec<_>, _>>()?;
    let inputs = Inputs { group, given: &given, ..Inputs::default() };
    let name = object.metadata.name.as_deref().ok_or("it has no name")?;
    match validate(name, &object.spec, inputs) {
        Ok(valid) if valid.remarks.is_empty() => Ok(()),
        Ok(valid) => Err(format!("{:?}", valid.remarks)),
        Err(errors) => Err(format!("{errors:?}")),
    }
}

#[test]
fn every_scaled_object_of_every_page_is_understood() {
    let mut found = BTreeMap::new();
    for path in pages() {
        let page = read(&path);
        let mut documents = Vec::new();
        for block in blocks(&page) {
            let parsed = serde_yaml_ng::Deserializer::from_str(block).map(Value::deserialize);
            documents.extend(parsed.map(|one| one.unwrap_or_else(|error| panic!("{path}: {error}\n{block}"))));
        }
        let shown = authentications(&documents);
        for object in documents.into_iter().filter_map(scaled_object) {
            *found.entry(path.clone()).or_insert(0) += 1;
            understand(&object, &shown).unwrap_or_else(|wrong| panic!("{path}: {wrong}\n{object:#}"));
        }
    }
    for path in ["README.md", "docs/coming-from-keda.md", "sources/src/rabbitmq/README.md"] {
        assert!(found.contains_key(path), "{path} has no ScaledObject: {found:?}");
    }
    assert!(found.len() >= 2 + windlass_sources::kinds().count(), "a source's page has no example: {found:?}");
}

#[test]
fn a_mistake_on_a_page_is_noticed() {
    let good = json!({"triggers": [{"type": "cron", "metadata": {"timezone": "Etc/UTC", "start": "0 8 * * *", "end": "0 9 * * *",
        "desiredReplicas": "2"}}]});
    let object = scaled_object(good).expect("triggers");
    assert_eq!(understand(&object, &BTreeMap::new()), Ok(()));
    for (pointer, value) in [
        ("/spec/triggers/0/metadata/desiredReplicas", json!("none")),
        ("/spec/triggers/0/type", json!("crown")),
        ("/spec/triggers/0", json!({"type": "cron", "metdata": {}})),
        ("/apiVersion", json!("keda.sh/v2")),
        ("/metadata", json!({})),
    ] {
        let mut bad = object.clone();
        *bad.pointer_mut(pointer).expect(pointer) = value;
        assert!(understand(&bad, &BTreeMap::new()).is_err(), "{pointer}");
    }
    let mut keda = object;
    keda["apiVersion"] = json!("keda.sh/v1alpha1");
    keda["spec"]["triggers"][0]["metadata"]["strat"] = json!("x");
    assert!(
        understand(&keda, &BTreeMap::new()).is_err_and(|wrong| wrong.contains("strat")),
        "a remark is a mistake on a page"
    );
}

#[test]
fn the_page_for_kedas_users_names_every_type_of_trigger_and_no_other() {
    let page = read("docs/coming-from-keda.md");
    let sentence =
        page.split("\nTrigger types that are served: ").nth(1).and_then(|rest| rest.split(", and `cpu`").next());
    let named: BTreeSet<_> = sentence.expect("a list").split('`').skip(1).step_by(2).collect();
    assert_eq!(named, windlass_sources::kinds().collect::<BTreeSet<_>>());
    let front = read("README.md");
    for kind in windlass_sources::kinds() {
        assert!(front.contains(&format!("[{kind}](sources/src/")), "README.md does not name the source {kind}");
    }
}

#[test]
fn what_the_page_for_kedas_users_calls_refused_is_refused() {
    let spec = |patch: Value| {
        let mut object = json!({"scaleTargetRef": {"name": "w"}, "triggers": [{"type": "cron", "metadata":
            {"timezone": "Etc/UTC", "start": "0 8 * * *", "end": "0 9 * * *", "desiredReplicas": "2"}}]});
        for (field, value) in patch.as_object().into_iter().flatten() {
            object[field] = value.clone();
        }
        serde_json::from_value::<ScaledObjectSpec>(object).expect("the test's own spec")
    };
    let trigger = |kind: &str, key: &str| json!({"triggers": [{"type": kind, "metadata": {key: "true"}}]});
    let table = vec![
        (json!({"advanced": {"scalingModifiers": {"formula": "a"}}}), "spec.advanced.scalingModifiers"),
        (
            json!({"fallback": {"failureThreshold": 3, "replicas": 1, "behavior": "scalingModifiers"}}),
            "spec.fallback.behavior",
        ),
        (json!({"idleReplicaCount": 1, "minReplicaCount": 2}), "spec.idleReplicaCount"),
        (trigger("external", "x"), "spec.triggers[0].type"),
        (trigger("external-push", "x"), "spec.triggers[0].type"),
        (trigger("kubernetes-workload", "x"), "spec.triggers[0].type"),
    ];
    let keys: [(&str, &[&str]); 1] = [("rabbitmq", &["workloadIdentityResource"])];
    let mut table: Vec<_> = table.into_iter().map(|(patch, field)| (patch, field.to_owned())).collect();
    for (kind, keys) in keys {
        table.extend(keys.iter().map(|key| (trigger(kind, key), format!("spec.triggers[0].metadata.{key}"))));
    }
    let page = read("docs/coming-from-keda.md");
    for (patch, field) in table {
        let inputs = Inputs { group: Group::Keda, ..Inputs::default() };
        let errors = validate("w", &spec(patch.clone()), inputs).expect_err(&field);
        assert!(errors.iter().any(|error| error.field == field), "{patch}: {errors:?}");
        let last = field.rsplit('.').next().unwrap_or_default();
        assert!(missing(&page).contains(last) || last == "type", "the page does not name {last}");
    }
}

/// The section about what is not there yet.
fn missing(page: &str) -> &str {
    page.split("\n## Not there yet\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section")
}

#[test]
fn what_an_authentication_may_not_say_yet_is_on_the_page_for_kedas_users() {
    let page = read("docs/coming-from-keda.md");
    for (field, value) in [
        ("hashiCorpVault", json!({})),
        ("azureKeyVault", json!({})),
        ("gcpSecretManager", json!({})),
        ("awsSecretManager", json!({})),
        ("podIdentity", json!({"provider": "azure-workload"})),
        ("podIdentity", json!({"provider": "gcp"})),
    ] {
        let spec: TriggerAuthenticationSpec = serde_json::from_value(json!({field: value})).expect(field);
        assert!(spec.identity().is_err(), "{field} is served");
        assert!(missing(&page).contains(&format!("`{field}`")), "the page does not name {field}");
    }
}
