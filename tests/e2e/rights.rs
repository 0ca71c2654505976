//! The rights in `deploy/manifests` against what the operator really does: nothing that it does is refused, and nothing
//! is granted that it never uses.
//!
//! A rule may grant more than the scenario here uses if a comment right above it says so, with the verbs and the reason:
//! `# unused by the suite (delete): only when ...`.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde::Deserialize;
use serde_json::{Value, json};
use windlass_tests::install::apply;
use windlass_tests::objects::rabbit_spec;
use windlass_tests::{
    Broker, Entry, METRICS_SERVICE, Manifests, NAME, Namespace, OPERATOR_USER, Operator, OperatorOptions, Rabbit, Rig,
    RigOptions, SYSTEM_NAMESPACE, eventually, paths, run, shared_rabbit,
};

const SOON: Duration = Duration::from_secs(60);
const SERVING: &str = "windlass-serving";
const EXCUSE: &str = "# unused by the suite (";

/// One rule of one role, with what the comment above it excuses.
#[derive(Debug)]
struct Granted {
    /// The only namespace where it holds; `None`: everywhere.
    namespace: Option<String>,
    rule: PolicyRule,
    excused: BTreeSet<String>,
}

/// All rules of the roles in `deploy/manifests`, with the comments that YAML readers throw away.
fn granted() -> anyhow::Result<Vec<Granted>> {
    let dir = paths::root().join("deploy/manifests");
    let mut files: Vec<_> = fs::read_dir(&dir)?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file)?;
        for document in text.split("\n---\n") {
            all.extend(rules(document).with_context(|| format!("in {}", file.display()))?);
        }
    }
    Ok(all)
}

/// The rules of one document; none if it is no role.
fn rules(document: &str) -> anyhow::Result<Vec<Granted>> {
    let value: Value = serde_yaml_ng::from_str(document)?;
    if !value["kind"].as_str().is_some_and(|kind| kind == "Role" || kind == "ClusterRole") {
        return Ok(Vec::new());
    }
    let parsed = Vec::<PolicyRule>::deserialize(&value["rules"])?;
    let mut excuses: Vec<BTreeSet<String>> = Vec::new();
    let mut comment = BTreeSet::new();
    for line in document.lines().skip_while(|line| *line != "rules:") {
        match line.trim_start() {
            said if said.starts_with('#') => {
                let Some((verbs, why)) = said.strip_prefix(EXCUSE).and_then(|rest| rest.split_once("):")) else {
                    continue;
                };
                ensure!(!why.trim().is_empty(), "an excuse without a reason: {said}");
                comment.extend(verbs.split(',').map(|verb| verb.trim().to_owned()));
            }
            _ if line.starts_with("  - ") => excuses.push(std::mem::take(&mut comment)),
            _ => {}
        }
    }
    ensure!(excuses.len() == parsed.len(), "the rules are not indented by two spaces: {document}");
    let namespace = value["metadata"]["namespace"].as_str().map(str::to_owned);
    let rules = parsed.into_iter().zip(excuses);
    Ok(rules.map(|(rule, excused)| Granted { namespace: namespace.clone(), rule, excused }).collect())
}

/// The verbs that one request needed. An apply that makes the object needs the right to create it too.
fn verbs(entry: &Entry) -> Vec<&str> {
    if entry.verb == "patch" && entry.code == 201 { vec!["patch", "create"] } else { vec![&*entry.verb] }
}

impl Granted {
    fn is_wildcard(&self) -> bool {
        self.rule.api_groups.iter().flatten().any(|group| group == "*")
    }

    /// Whether this rule, by this of its groups and resources, is what allowed `entry`.
    fn allowed(&self, group: &str, resource: &str, entry: &Entry) -> bool {
        let names = self.rule.resource_names.iter().flatten();
        let target = entry.target();
        let is_target = match resource.strip_prefix('*') {
            Some(rest) => target.ends_with(rest),
            None => target == resource,
        };
        (group == "*" || entry.group == group)
            && is_target
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == entry.namespace)
            && (self.rule.resource_names.is_none() || names.into_iter().any(|name| *name == entry.name))
    }

    /// `group/resource verb` for each that was granted, used or not.
    fn uses(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        let groups = self.rule.api_groups.iter().flatten();
        groups.flat_map(move |group| {
            self.rule.resources.iter().flatten().flat_map(move |resource| {
                self.rule.verbs.iter().map(move |verb| (group.as_str(), resource.as_str(), verb.as_str()))
            })
        })
    }
}

/// What is wrong between these rules and what was done.
fn complaints(granted: &[Granted], done: &[Entry]) -> Vec<String> {
    // Whoever is told that something is not there, or was changed meanwhile, was allowed to ask.
    let allowed = |entry: &&Entry| !entry.resource.is_empty() && !matches!(entry.code, 0 | 401 | 403);
    let used: Vec<&Entry> = done.iter().filter(allowed).collect();
    // What a rule without wildcards allows is no reason for one with them.
    let plainly = |entry: &Entry| {
        let plain = granted.iter().filter(|rule| !rule.is_wildcard());
        plain.into_iter().any(|rule| rule.uses().any(|(group, resource, _)| rule.allowed(group, resource, entry)))
    };
    let mut complaints = Vec::new();
    for rule in granted {
        for (group, resource, verb) in rule.uses() {
            let is_used = used.iter().any(|entry| {
                verbs(entry).contains(&verb)
                    && rule.allowed(group, resource, entry)
                    && !(rule.is_wildcard() && plainly(entry))
            });
            let names = rule.rule.resource_names.as_deref().unwrap_or_default();
            let what = format!("{verb} {group:?}/{resource} {names:?} in {:?}", rule.namespace);
            match (is_used, rule.excused.contains(verb)) {
                (false, false) => complaints.push(format!("granted and never used: {what}")),
                (true, true) => complaints.push(format!("said to be unused, but used: {what}")),
                _ => {}
            }
        }
    }
    let refused = done.iter().filter(|entry| entry.code == 403);
    complaints.extend(refused.map(|entry| format!("refused: {} {} {}", entry.verb, entry.target(), entry.uri)));
    complaints
}

#[test]
fn nothing_the_operator_does_is_refused_and_nothing_it_may_do_is_unused() {
    run(async {
        let rig = Rig::start(RigOptions::without_pods()).await?;
        rig.install(&Manifests::repository()?).await?;
        for document in windlass_tests::keda::crds().into_iter().chain([foreign_slice(), thing_crd()]) {
            apply(&rig.client(), &document).await?;
        }
        for document in read_things() {
            apply(&rig.client(), &document).await?;
        }
        let mut options = OperatorOptions::named("rights");
        for flag in
            ["--keda-compat", "--lease-duration=4s", "--renew-deadline=3s", "--retry-period=500ms", "--log-level=debug"]
        {
            options = options.arg(flag);
        }
        let operator = Operator::start(&rig, options).await?;
        operator.wait_leading(&rig, SOON).await?;

        let ns = rig.namespace("rights").await?;
        let rabbit = shared_rabbit().await?;
        rabbit.declare("rights").await?;
        rabbit.publish("rights", 25).await?;
        for (kind, api_version) in KINDS {
            every_kind_scales(&ns, rabbit, kind, api_version).await?;
        }
        authentications_say_who_uses_them(&ns, "windlass.dev").await?;
        endpoints_are_looked_for(&ns).await?;
        hpas_are_changed_renamed_and_removed(&ns, rabbit).await?;
        what_is_deleted_is_put_right(&ns).await?;
        objects_of_keda_are_served(&ns.of_keda(), rabbit).await?;
        a_broken_certificate_is_replaced(&rig, &ns).await?;
        a_deleted_lease_is_made_again(&rig, &operator).await?;

        // Watches are in the audit log once they have ended.
        let status = operator.sigterm_and_wait(SOON).await?;
        ensure!(status.success(), "the operator ended with {status}");
        let mut done = rig.audit().settled().await?;
        done.retain(|entry| entry.user == OPERATOR_USER);
        let complaints = complaints(&granted()?, &done);
        ensure!(complaints.is_empty(), "{}", complaints.join("\n"));

        // At the level of debugging no credential comes out either.
        let log = operator.log();
        ensure!(log.contains("DEBUG"), "the log has no debugging lines: {log}");
        let leak = log.lines().find(|line| line.contains(&format!(":{}@", windlass_tests::rabbit::PASSWORD)));
        ensure!(leak.is_none(), "a password is out: {leak:?}");
        Ok(())
    });
}

const KINDS: &[(&str, &str)] = &[
    ("Deployment", "apps/v1"),
    ("StatefulSet", "apps/v1"),
    ("ReplicaSet", "apps/v1"),
    ("ReplicationController", "v1"),
    ("Thing", "example.windlass.dev/v1"),
];

fn plural(kind: &str) -> String {
    format!("{}s", kind.to_lowercase())
}

/// 0 -> 3 by `/scale`, for a target of this kind.
async fn every_kind_scales(ns: &Namespace, rabbit: &Rabbit, kind: &str, api_version: &str) -> anyhow::Result<()> {
    let name = kind.to_lowercase();
    let labels = json!({"app": name});
    let selector = if kind == "ReplicationController" { labels.clone() } else { json!({"matchLabels": labels}) };
    let mut spec = json!({"replicas": 0, "selector": selector,
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "none"}]}}});
    if kind == "StatefulSet" {
        spec["serviceName"] = name.clone().into();
    }
    if kind == "Thing" {
        spec = json!({"replicas": 0});
    }
    let document = json!({"apiVersion": api_version, "kind": kind, "spec": spec,
        "metadata": {"name": name, "namespace": ns.name()}});
    apply(&ns.client(), &document).await?;
    let mut spec = rabbit_spec(&name, &rabbit.amqp_url(), "rights", 10, 4);
    spec["scaleTargetRef"] = json!({"apiVersion": api_version, "kind": kind, "name": name});
    ns.scaled_object(&name, &spec).await?;

    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), &plural(kind));
    let targets = Api::<DynamicObject>::namespaced_with(ns.client(), ns.name(), &resource);
    eventually(SOON, &format!("{kind} is scaled to 3"), async || {
        let replicas = targets.get(&name).await?.data["spec"]["replicas"].clone();
        ensure!(replicas == 3, "it is at {replicas}; the status is {}", ns.status(&name).await?);
        Ok(())
    })
    .await
}

/// Those of a Service of the object's own namespace.
async fn endpoints_are_looked_for(ns: &Namespace) -> anyhow::Result<()> {
    let metadata = json!({"url": format!("http://api.{}:80/", ns.name()), "valueLocation": "n", "targetValue": "1",
        "aggregateFromKubeServiceEndpoints": "true"});
    let spec =
        json!({"scaleTargetRef": {"name": "nothing"}, "triggers": [{"type": "metrics-api", "metadata": metadata}]});
    ns.scaled_object("endpoints", &spec).await?;
    eventually(SOON, "the object says something", async || {
        let ready = ns.condition("endpoints", "Ready").await?;
        ensure!(ready["status"] == "False", "{ready}");
        Ok(())
    })
    .await?;
    // Long enough that the watch is there, and is in the audit log once it has ended.
    tokio::time::sleep(Duration::from_secs(2)).await;
    ns.delete_scaled_object("endpoints", SOON).await
}

/// Both kinds, with one object that uses them.
async fn authentications_say_who_uses_them(ns: &Namespace, group: &str) -> anyhow::Result<()> {
    for kind in ["TriggerAuthentication", "ClusterTriggerAuthentication"] {
        let name = format!("used-{}", kind.to_lowercase());
        let document =
            json!({"apiVersion": format!("{group}/v1alpha1"), "kind": kind, "metadata": {"name": name}, "spec": {}});
        if kind == "TriggerAuthentication" {
            ns.apply(document).await?;
        } else {
            apply(&ns.client(), &document).await?;
        }
        let window = json!({"timezone": "Etc/UTC", "start": "0 0 * * *", "end": "1 0 * * *", "desiredReplicas": "1"});
        let spec = json!({"scaleTargetRef": {"name": "nothing"}, "triggers":
            [{"type": "cron", "metadata": window, "authenticationRef": {"name": name, "kind": kind}}]});
        ns.scaled_object("user", &spec).await?;
        let gvk = GroupVersionKind::gvk(group, "v1alpha1", kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, &plural(kind));
        let api: Api<DynamicObject> = match kind {
            "TriggerAuthentication" => Api::namespaced_with(ns.client(), ns.name(), &resource),
            _ => Api::all_with(ns.client(), &resource),
        };
        eventually(SOON, &format!("the {kind} names its user"), async || {
            let status = api.get(&name).await?.data["status"].clone();
            ensure!(status["scaledobjects"] == "user", "{status}");
            Ok(())
        })
        .await?;
    }
    ns.delete_scaled_object("user", SOON).await
}

async fn hpas_are_changed_renamed_and_removed(ns: &Namespace, rabbit: &Rabbit) -> anyhow::Result<()> {
    let mut spec = rabbit_spec("deployment", &rabbit.amqp_url(), "rights", 10, 5);
    ns.scaled_object("deployment", &spec).await?;
    eventually(SOON, "the HPA has the new maximum", async || {
        let max = ns.hpa("deployment").await?.and_then(|hpa| hpa.spec).map(|spec| spec.max_replicas);
        ensure!(max == Some(5), "{max:?}");
        Ok(())
    })
    .await?;
    spec["advanced"] = json!({"horizontalPodAutoscalerConfig": {"name": "renamed"}});
    ns.scaled_object("deployment", &spec).await?;
    eventually(SOON, "the HPA has its new name, and the old one is gone", async || {
        ensure!(ns.hpa("deployment").await?.is_none(), "the old one is there");
        ns.api::<HorizontalPodAutoscaler>().get("renamed").await?;
        Ok(())
    })
    .await
}

/// An object that restores the replicas waits for the operator when it goes.
async fn what_is_deleted_is_put_right(ns: &Namespace) -> anyhow::Result<()> {
    let mut spec = ns.scaled_objects().get("deployment").await?.data["spec"].clone();
    spec["advanced"]["restoreToOriginalReplicaCount"] = true.into();
    ns.scaled_object("deployment", &spec).await?;
    eventually(SOON, "the object has our finalizer", async || {
        let finalizers = ns.scaled_objects().get("deployment").await?.metadata.finalizers.unwrap_or_default();
        ensure!(finalizers == ["finalizer.windlass.dev"], "{finalizers:?}");
        Ok(())
    })
    .await?;
    ns.delete_scaled_object("deployment", SOON).await
}

/// One of KEDA's, with everything that it can refer to; its authentications are deleted as KEDA leaves them.
async fn objects_of_keda_are_served(ns: &Namespace, rabbit: &Rabbit) -> anyhow::Result<()> {
    ns.secret("broker", &[("url", &rabbit.amqp_url())]).await?;
    ns.apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "queues"}, "data": {"q": "rights"}}))
        .await?;
    let spec = json!({"secretTargetRef": [{"parameter": "host", "name": "broker", "key": "url"}],
        "podIdentity": {"provider": "aws-eks"},
        "configMapTargetRef": [{"parameter": "queueName", "name": "queues", "key": "q"}]});
    // Whose role is looked for; no controller makes it here.
    ns.apply(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}})).await?;
    for (kind, spec) in [("TriggerAuthentication", spec), ("ClusterTriggerAuthentication", json!({}))] {
        let metadata = json!({"name": "rights", "finalizers": ["finalizer.keda.sh"]});
        let document = json!({"apiVersion": "keda.sh/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
        if kind == "TriggerAuthentication" {
            ns.apply(document).await?;
        } else {
            apply(&ns.client(), &document).await?;
        }
    }
    ns.deployment("kedas", 0, &[]).await?;
    let mut spec = rabbit_spec("kedas", "", "", 10, 4);
    spec["triggers"][0]["metadata"] = json!({"mode": "QueueLength", "value": "10"});
    spec["triggers"][0]["authenticationRef"] = json!({"name": "rights"});
    ns.scaled_object("kedas", &spec).await?;
    ns.wait_condition("kedas", "Ready", "True", SOON).await?;
    ns.wait_hpa("kedas", SOON).await?;
    authentications_say_who_uses_them(ns, "keda.sh").await?;
    ns.delete_scaled_object("kedas", SOON).await?;
    for kind in ["TriggerAuthentication", "ClusterTriggerAuthentication"] {
        let gvk = GroupVersionKind::gvk("keda.sh", "v1alpha1", kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, &plural(kind));
        let api: Api<DynamicObject> = match kind {
            "TriggerAuthentication" => Api::namespaced_with(ns.client(), ns.name(), &resource),
            _ => Api::all_with(ns.client(), &resource),
        };
        api.delete("rights", &DeleteParams::default()).await?;
        eventually(SOON, &format!("the {kind} is gone"), async || {
            ensure!(api.get_opt("rights").await?.is_none(), "it is there");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

async fn a_broken_certificate_is_replaced(rig: &Rig, ns: &Namespace) -> anyhow::Result<()> {
    let answers = async || ns.external_metric("s0-rabbitmq-rights", "thing").await.map(drop);
    eventually(SOON, "the metric is served", answers).await?;
    let secrets = Api::<Secret>::namespaced(rig.client(), SYSTEM_NAMESPACE);
    let broken = json!({"stringData": {"tls.crt": "broken", "ca.crt": "broken"}});
    secrets.patch(SERVING, &PatchParams::default(), &Patch::Merge(&broken)).await?;
    eventually(SOON, "the certificate is good again", async || {
        let data = secrets.get(SERVING).await?.data.unwrap_or_default();
        let chain = data.get("tls.crt").context("no tls.crt")?;
        ensure!(chain.0.starts_with(b"-----BEGIN CERTIFICATE-----"), "{}", String::from_utf8_lossy(&chain.0));
        Ok(())
    })
    .await?;
    eventually(SOON, "the metric is served with it", answers).await
}

async fn a_deleted_lease_is_made_again(rig: &Rig, operator: &Operator) -> anyhow::Result<()> {
    let leases = Api::<Lease>::namespaced(rig.client(), SYSTEM_NAMESPACE);
    leases.delete(NAME, &DeleteParams::default()).await?;
    operator.wait_leading(rig, SOON).await
}

/// Left over from a leader with an IPv6 address: the kind of address of a slice cannot be changed, so it must go.
fn foreign_slice() -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": METRICS_SERVICE, "namespace": SYSTEM_NAMESPACE},
        "addressType": "IPv6", "endpoints": [{"addresses": ["fd00::1"]}], "ports": []})
}

/// A kind that the operator does not know beforehand.
fn thing_crd() -> Value {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
    }});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.windlass.dev"},
        "spec": {"group": "example.windlass.dev", "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things", "singular": "thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}, "scale":
                    {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}}}]}})
}

/// As `deploy/examples/custom-target.yaml` has it: the right to read a kind is given by whoever installs that kind.
fn read_things() -> [Value; 2] {
    let meta = json!({"name": "windlass-things"});
    let rbac = "rbac.authorization.k8s.io";
    [
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": meta,
            "rules": [{"apiGroups": ["example.windlass.dev"], "resources": ["things"], "verbs": ["list", "watch"]}]}),
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": meta,
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "windlass-things"},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": SYSTEM_NAMESPACE}]}),
    ]
}

#[test]
fn a_right_too_many_or_too_few_and_a_stale_excuse_are_complained_of() {
    const ROLE: &str = "
kind: Role
metadata: {name: r, namespace: here}
rules:
  # Read by its name.
  - apiGroups: ['']
    resources: [secrets]
    resourceNames: [mine]
    verbs: [get, watch]
  # Made once.
  # unused by the suite (delete): only where somebody broke it by hand.
  - apiGroups: [discovery.k8s.io]
    resources: [endpointslices]
    verbs: [create, patch, delete]
  - apiGroups: ['*']
    resources: ['*/scale']
    verbs: [update]
";
    let granted = rules(ROLE).expect("a role");
    let entry = |verb: &str, group: &str, target: &str, name: &str, code| {
        let (resource, subresource) = target.split_once('/').unwrap_or((target, ""));
        Entry {
            user: OPERATOR_USER.to_owned(),
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: "here".to_owned(),
            name: name.to_owned(),
            code,
            uri: "/uri".to_owned(),
            ..Entry::default()
        }
    };
    let good = vec![
        entry("get", "", "secrets", "mine", 200),
        entry("watch", "", "secrets", "mine", 200),
        entry("patch", "discovery.k8s.io", "endpointslices", "m", 201),
        entry("update", "apps", "deployments/scale", "web", 200),
    ];
    assert_eq!(complaints(&granted, &good), Vec::<String>::new());

    let without =
        |at: usize| good.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, e)| e.clone()).collect::<Vec<_>>();
    let says = |done: &[Entry], wanted: &[&str]| {
        let found = complaints(&granted, done);
        assert_eq!(found.len(), wanted.len(), "{found:?}");
        assert!(wanted.iter().zip(&found).all(|(wanted, found)| found.starts_with(wanted)), "{found:?}");
    };
    says(&without(1), &["granted and never used: watch \"\"/secrets"]);
    says(&without(2), &["granted and never used: create", "granted and never used: patch"]);
    says(&without(3), &["granted and never used: update \"*\"/*/scale"]);
    let mut done = good.clone();
    // Another's secret, another namespace, and a failure are no uses.
    done[0].name = "other".to_owned();
    says(&done, &["granted and never used: get"]);
    done[0] = Entry { namespace: "there".to_owned(), ..good[0].clone() };
    says(&done, &["granted and never used: get"]);
    done[0] = Entry { code: 403, ..good[0].clone() };
    says(&done, &["granted and never used: get", "refused: get secrets /uri"]);
    let mut done = good;
    done.push(entry("delete", "discovery.k8s.io", "endpointslices", "m", 200));
    says(&done, &["said to be unused, but used: delete"]);
    assert!(rules(&ROLE.replace("only where somebody broke it by hand.", "")).is_err(), "an excuse without a reason");
}
