//! What the API server adds to and refuses of an object before it is stored: schemas of custom resources, and the defaults
//! and rules of the built-in kinds that users of an autoscaler meet. It stores nothing.

use serde_json::{Value, json};

use super::autoscaler;
use super::kind::Kind;
use super::status::{Cause, Status};

/// The status of a new object: one that is sent along is dropped.
pub(super) fn first_status(kind: &Kind) -> Value {
    match kind.kind.as_str() {
        _ if kind.schema.is_some() => Value::Null,
        "Namespace" => json!({"phase": "Active"}),
        "Pod" => json!({"phase": "Pending", "qosClass": "BestEffort"}),
        "ReplicaSet" | "ReplicationController" => json!({"replicas": 0}),
        "StatefulSet" => json!({"replicas": 0, "availableReplicas": 0}),
        "Service" => json!({"loadBalancer": {}}),
        "HorizontalPodAutoscaler" => json!({"currentMetrics": null, "desiredReplicas": 0}),
        "PodDisruptionBudget" => {
            json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0})
        }
        _ => json!({}),
    }
}

/// A field that has to be there.
pub(super) fn required(field: &str, why: &str) -> Cause {
    let why = if why.is_empty() { String::new() } else { format!(": {why}") };
    Cause { reason: "FieldValueRequired", field: field.to_owned(), message: format!("Required value{why}") }
}

/// A field that is wrong.
pub(super) fn invalid(field: &str, value: &Value, why: &str) -> Cause {
    Cause { reason: "FieldValueInvalid", field: field.to_owned(), message: format!("Invalid value: {value}: {why}") }
}

/// 404 for a namespace that is not there.
pub(super) fn no_namespace(name: &str) -> Status {
    let details = Some(json!({"name": name, "kind": "namespaces"}));
    Status { details, ..Status::new(404, "NotFound", format!("namespaces {name:?} not found")) }
}

/// Fills in defaults and refuses what is wrong.
pub(super) fn admit(kind: &Kind, object: &mut Value, old: Option<&Value>) -> Result<(), Status> {
    let mut causes = Vec::new();
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if let Some(why) = wrong_name(kind, &name) {
        causes.push(invalid("metadata.name", &json!(name), why));
    }
    owners(object, &mut causes);
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("apps", "Deployment" | "ReplicaSet" | "StatefulSet") | ("", "ReplicationController") => {
            workload(kind, object, &mut causes);
        }
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler::admit(object, &mut causes),
        ("batch", "Job") => job(object),
        ("", "Pod") => pod(object),
        ("", "Namespace") => namespace(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => names(object),
        _ => {}
    }
    if let Some(schema) = &kind.schema {
        schema.shape(object);
        causes.extend(schema.check(object, old));
        causes.extend(negative_scale(kind, object));
    }
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid(kind, &name, &causes)) }
}

/// Replicas of a custom resource, wherever they are, are a count.
fn negative_scale(kind: &Kind, object: &Value) -> Option<Cause> {
    let path = &kind.scale.as_ref()?.spec;
    let replicas = path.split('.').try_fold(object, |value, name| value.get(name))?;
    let is_negative = replicas.as_i64().is_some_and(|replicas| replicas < 0);
    is_negative.then(|| invalid(&format!(".{path}"), replicas, "should be a non-negative integer"))
}

/// The names that a definition leaves out.
fn names(object: &mut Value) {
    let names = &mut object["spec"]["names"];
    let kind = names["kind"].as_str().unwrap_or_default().to_owned();
    fill(names, "listKind", json!(format!("{kind}List")));
    fill(names, "singular", json!(kind.to_lowercase()));
    fill(&mut object["spec"], "conversion", json!({"strategy": "None"}));
}

/// References to owners say all of who they are, and name one controller at most.
fn owners(object: &Value, causes: &mut Vec<Cause>) {
    let owners = object["metadata"]["ownerReferences"].as_array();
    for owner in owners.into_iter().flatten() {
        for (field, path) in [
            ("apiVersion", "metadata.ownerReferences.version"),
            ("kind", "metadata.ownerReferences.kind"),
            ("name", "metadata.ownerReferences.name"),
            ("uid", "metadata.ownerReferences.uid"),
        ] {
            if owner[field].as_str().unwrap_or_default().is_empty() {
                causes.push(invalid(path, &json!(""), "must not be empty"));
            }
        }
    }
    let controllers: Vec<_> = owners.into_iter().flatten().filter(|owner| owner["controller"] == true).collect();
    if let [first, second, ..] = controllers[..] {
        let name = |owner: &Value| owner["name"].as_str().unwrap_or_default().to_owned();
        let why = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {} and {}",
            name(first),
            name(second)
        );
        causes.push(invalid("metadata.ownerReferences", &json!(owners), &why));
    }
}

/// RFC 1123 subdomains for most kinds; RBAC names are free, and services and namespaces are labels.
fn wrong_name(kind: &Kind, name: &str) -> Option<&'static str> {
    if kind.group == "rbac.authorization.k8s.io" {
        return None;
    }
    let is_label = matches!(kind.kind.as_str(), "Namespace" | "Service");
    let fits = |part: &str| {
        let inner = part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        inner && edge(part.chars().next()) && edge(part.chars().last())
    };
    if is_label && !(fits(name) && name.len() <= 63) {
        return Some(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
             end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        );
    }
    (!(name.split('.').all(fits) && name.len() <= 253)).then_some(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start \
         and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
         '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
    )
}

pub(super) fn fill(object: &mut Value, name: &str, value: Value) {
    if object.is_object() && object[name].is_null() {
        object[name] = value;
    }
}

fn workload(kind: &Kind, object: &mut Value, causes: &mut Vec<Cause>) {
    let spec = &mut object["spec"];
    if !spec.is_object() {
        causes.push(required("spec", "give one"));
        return;
    }
    fill(spec, "replicas", json!(1));
    if let Some(replicas) = spec["replicas"].as_i64().filter(|replicas| *replicas < 0) {
        causes.push(invalid("spec.replicas", &json!(replicas), "must be greater than or equal to 0"));
    }
    if kind.group == "apps" {
        if spec["selector"].is_null() {
            causes.push(required("spec.selector", ""));
        } else if let Some(labels) = spec["selector"]["matchLabels"].as_object() {
            let template = &spec["template"]["metadata"]["labels"];
            if labels.iter().any(|(name, value)| template[name] != *value) {
                causes.push(invalid(
                    "spec.template.metadata.labels",
                    template,
                    "`selector` does not match template `labels`",
                ));
            }
        }
    }
    if kind.kind == "StatefulSet" {
        fill(spec, "podManagementPolicy", json!("OrderedReady"));
        fill(spec, "revisionHistoryLimit", json!(10));
        fill(spec, "serviceName", json!(""));
        fill(spec, "updateStrategy", json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}));
        let kept = json!({"whenDeleted": "Retain", "whenScaled": "Retain"});
        fill(spec, "persistentVolumeClaimRetentionPolicy", kept);
    }
    if kind.kind == "Deployment" {
        fill(spec, "progressDeadlineSeconds", json!(600));
        fill(spec, "revisionHistoryLimit", json!(10));
        let rolling = json!({"maxSurge": "25%", "maxUnavailable": "25%"});
        fill(spec, "strategy", json!({"type": "RollingUpdate", "rollingUpdate": rolling}));
    }
    template(&mut spec["template"]);
}

fn template(template: &mut Value) {
    if let Some(spec) = template.get_mut("spec").filter(|spec| spec.is_object()) {
        pod_spec(spec);
    }
}

fn pod_spec(spec: &mut Value) {
    for (name, value) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("securityContext", json!({})),
        ("schedulerName", json!("default-scheduler")),
    ] {
        fill(spec, name, value);
    }
    for container in spec["containers"].as_array_mut().into_iter().flatten() {
        for (name, value) in [
            ("resources", json!({})),
            ("terminationMessagePath", json!("/dev/termination-log")),
            ("terminationMessagePolicy", json!("File")),
        ] {
            fill(container, name, value);
        }
        let image = container["image"].as_str().unwrap_or_default();
        let tag = image.rsplit('/').next().unwrap_or_default().split_once(':').map(|(_, tag)| tag);
        let policy = if tag.is_none_or(|tag| tag == "latest") { "Always" } else { "IfNotPresent" };
        fill(container, "imagePullPolicy", json!(policy));
    }
}

fn pod(object: &mut Value) {
    if object["spec"].is_object() {
        pod_spec(&mut object["spec"]);
    }
    // Every pod begins like this; the kubelet says the rest.
    if object["status"].is_null() {
        object["status"] = json!({"phase": "Pending", "qosClass": "BestEffort"});
    }
}

fn job(object: &mut Value) {
    let spec = &mut object["spec"];
    if spec.is_object() {
        let parallel = spec["parallelism"].is_null();
        if spec["completions"].is_null() && parallel {
            spec["completions"] = json!(1);
        }
        fill(spec, "parallelism", json!(1));
        fill(spec, "backoffLimit", json!(6));
        fill(spec, "completionMode", json!("NonIndexed"));
        fill(spec, "suspend", json!(false));
        fill(spec, "manualSelector", json!(false));
        fill(spec, "podReplacementPolicy", json!("TerminatingOrFailed"));
        template(&mut spec["template"]);
    }
}

fn namespace(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    fill(object, "spec", json!({"finalizers": ["kubernetes"]}));
    fill(object, "status", json!({"phase": "Active"}));
}
