//! Credentials that nobody wrote into a Secret: tokens of ServiceAccounts, files of the operator's. And who uses an
//! authentication, as its status says.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde::Deserialize;
use serde_json::{Value, json};
use windlass_tests::fake_http::Request;
use windlass_tests::{
    Answer, Entry, FakeHttp, Manifests, Namespace, OPERATOR_USER, Operator, OperatorOptions, Rig, RigOptions,
    eventually, install, never, paths, run, scratch,
};

use crate::scaling::Work;

const SOON: Duration = Duration::from_secs(60);
/// A token that is refused is asked for anew once it is half a minute old.
const PATIENCE: Duration = Duration::from_secs(120);

/// The documents of an example.
fn example(file: &str) -> anyhow::Result<Vec<Value>> {
    let text = fs::read_to_string(paths::root().join("deploy/examples").join(file))?;
    serde_yaml_ng::Deserializer::from_str(&text).map(|document| Ok(Value::deserialize(document)?)).collect()
}

fn token(request: &Request) -> Option<String> {
    let line = request.head.lines().find(|line| line.to_lowercase().starts_with("authorization: bearer "))?;
    Some(line["authorization: bearer ".len()..].trim().to_owned())
}

/// A server that answers 25 to whoever has a token, but for those in `refused`.
async fn server() -> anyhow::Result<FakeHttp> {
    FakeHttp::start(|request| match token(request) {
        Some(_) => Answer::json(&json!({"value": 25})),
        None => Answer::error(401),
    })
    .await
}

fn metrics_api(fake: &FakeHttp, authentication: &Value) -> Value {
    json!({"scaleTargetRef": {"name": "web"}, "maxReplicaCount": 5, "triggers": [{"type": "metrics-api",
        "metadata": {"url": format!("http://{}/", fake.address()), "valueLocation": "value", "targetValue": "10",
            "authMode": "bearer"},
        "authenticationRef": authentication}]})
}

async fn says(ns: &Namespace, parts: &[&str]) -> anyhow::Result<String> {
    eventually(SOON, &format!("the object says {parts:?}"), async || {
        let ready = ns.condition("web", "Ready").await?;
        let message = ready["message"].as_str().unwrap_or_default().to_owned();
        ensure!(ready["status"] == "False" && parts.iter().all(|part| message.contains(part)), "{ready}");
        Ok(message)
    })
    .await
}

/// The newest token that was sent.
fn newest(fake: &FakeHttp) -> anyhow::Result<String> {
    fake.requests().iter().rev().find_map(token).context("no token was sent")
}

/// Who the API server says that a token is of; `None` if of nobody.
async fn owner(work: &Work, token: &str) -> anyhow::Result<Option<String>> {
    let spec = TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() };
    let review = TokenReview { spec, ..TokenReview::default() };
    let reviews: Api<TokenReview> = Api::all(work.shared.rig.client());
    let status = reviews.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
    Ok(status.user.filter(|_| status.authenticated == Some(true)).and_then(|user| user.username))
}

#[test]
fn a_token_of_a_service_account_is_sent_once_the_operator_may_ask_for_it() {
    run(async {
        let work = Work::start("token").await?;
        let (ns, fake) = (&work.ns, server().await?);
        let mut documents = example("service-account-token.yaml")?;
        let mut authentication = documents.pop().context("no authentication")?;
        authentication["metadata"]["annotations"]["windlass.dev/allowed-hosts"] = "127.0.0.1".into();
        ns.apply(authentication).await?;
        ns.scaled_object("web", &metrics_api(&fake, &json!({"name": "metrics-reader"}))).await?;
        // Whoever may not ask is not told whether there is such an account.
        let account = format!("no token of the ServiceAccount {}/metrics-reader was given", ns.name());
        says(ns, &[&account, "spec.boundServiceAccountToken[0]", "forbidden", "docs/authentication.md"]).await?;
        let role = documents.split_off(1);
        for document in role {
            ns.apply(document).await?;
        }
        says(ns, &[&account, "not found"]).await?;
        ensure!(fake.requests().is_empty(), "the source was asked without a token");
        ns.apply(documents.remove(0)).await?;
        ns.wait_condition("web", "Ready", "True", SOON).await?;
        work.replicas(3).await?;
        let first = newest(&fake)?;
        let user = format!("system:serviceaccount:{}:metrics-reader", ns.name());
        ensure!(owner(&work, &first).await?.as_ref() == Some(&user), "the token is of somebody else");
        let mut all: BTreeSet<_> = fake.requests().iter().filter_map(token).collect();
        ensure!(all.len() == 1, "one token is enough, and {} were sent", all.len());

        // The account is made anew: tokens of the old one are good for nothing, long before they run out.
        let accounts = ns.api::<ServiceAccount>();
        accounts.delete("metrics-reader", &DeleteParams::default()).await?;
        let old = first.clone();
        fake.set(move |request| match token(request) {
            Some(token) if token != old => Answer::json(&json!({"value": 25})),
            _ => Answer::error(401),
        });
        ns.apply(example("service-account-token.yaml")?.remove(0)).await?;
        ns.wait_condition("web", "Ready", "False", SOON).await?;
        ns.wait_condition("web", "Ready", "True", PATIENCE).await?;
        let second = newest(&fake)?;
        ensure!(owner(&work, &second).await?.as_ref() == Some(&user), "the token is of the old account");
        ensure!(owner(&work, &first).await?.is_none(), "the old token is still good");
        work.log.never("web", Duration::from_secs(3), "it moves", |row| row.spec != 3).await?;
        all.extend([first, second]);
        let (log, status) = (work.shared.operator.log(), ns.status("web").await?.to_string());
        let events = format!("{:?}", ns.events("web").await?);
        let leak = all.iter().find(|token| [&log, &status, &events].iter().any(|text| text.contains(token.as_str())));
        ensure!(leak.is_none(), "a token is out");

        // An authentication of the cluster names accounts of the operator's namespace, and no other.
        let name = ns.name();
        let cluster = json!({"apiVersion": "windlass.dev/v1alpha1", "kind": "ClusterTriggerAuthentication",
            "metadata": {"name": name}, "spec":
                {"boundServiceAccountToken": [{"parameter": "bearerToken", "serviceAccountName": "windlass"}]}});
        install::apply(&ns.client(), &cluster).await?;
        let reference = json!({"name": name, "kind": "ClusterTriggerAuthentication"});
        ns.scaled_object("web", &metrics_api(&fake, &reference)).await?;
        says(ns, &["no token of the ServiceAccount windlass-system/windlass was given", "forbidden"]).await?;
        work.log.never("web", Duration::from_secs(3), "it moves", |row| row.spec != 3).await
    });
}

#[test]
fn a_file_of_the_operators_gives_parameters_and_no_path_leads_out_of_its_folder() {
    run(async {
        let rig = Rig::start(RigOptions::default()).await?;
        rig.install(&Manifests::repository()?).await?;
        let folder = scratch::dir("credentials")?;
        let root = folder.join("root");
        fs::create_dir_all(&root)?;
        fs::write(folder.join("outside.json"), r#"{"bearerToken": "s3cr3t-outside"}"#)?;
        std::os::unix::fs::symlink("../outside.json", root.join("link.json"))?;
        let options = OperatorOptions::named("files").arg(&format!("--filepath-auth-root-path={}", root.display()));
        let operator = Operator::start(&rig, options).await?;
        operator.wait_leading(&rig, SOON).await?;
        let (ns, fake) = (rig.namespace("files").await?, server().await?);
        ns.deployment("web", 0, &[]).await?;
        let log = ns.replica_log().await?;
        let refer = async |kind: &str, path: &str| {
            let document = json!({"apiVersion": "windlass.dev/v1alpha1", "kind": kind, "metadata": {"name": "file"},
                "spec": {"filePath": path}});
            if kind == "TriggerAuthentication" {
                return ns.apply(document).await;
            }
            install::apply(&ns.client(), &document).await.map(drop)
        };
        refer("ClusterTriggerAuthentication", "reader.json").await?;
        let reference = json!({"name": "file", "kind": "ClusterTriggerAuthentication"});
        ns.scaled_object("web", &metrics_api(&fake, &reference)).await?;
        says(&ns, &["spec.filePath", "\"reader.json\" is not there"]).await?;
        fs::write(root.join("reader.json"), r#"{"bearerToken": "s3cr3t-1"}"#)?;
        ns.wait_condition("web", "Ready", "True", SOON).await?;
        log.wait_for("web", 3, SOON).await?;
        fs::write(root.join("reader.json"), r#"{"bearerToken": "s3cr3t-2"}"#)?;
        eventually(SOON, "the new one is sent", async || {
            ensure!(newest(&fake)? == "s3cr3t-2", "the old one is");
            Ok(())
        })
        .await?;
        let from = fake.requests().len();
        eventually(SOON, "five more readings", async || {
            ensure!(fake.requests().len() >= from + 5, "not yet");
            Ok(())
        })
        .await?;
        let late: Vec<_> =
            fake.requests()[from..].iter().filter_map(token).filter(|token| token != "s3cr3t-2").collect();
        ensure!(late.is_empty(), "the old one is sent again");
        for (path, why) in [
            ("../outside.json", "has to be relative"),
            ("/etc/passwd", "has to be relative"),
            ("link.json", "leads out of the folder"),
        ] {
            refer("ClusterTriggerAuthentication", path).await?;
            says(&ns, &[path, why]).await?;
        }
        refer("TriggerAuthentication", "reader.json").await?;
        ns.scaled_object("web", &metrics_api(&fake, &json!({"name": "file"}))).await?;
        says(&ns, &["spec.filePath is for a ClusterTriggerAuthentication only"]).await?;
        log.never("web", Duration::from_secs(3), "it moves", |row| row.spec != 3).await?;
        ensure!(!operator.log().contains("s3cr3t"), "a credential is in the log");
        ensure!(fake.requests().iter().all(|request| !request.head.contains("outside")), "a file outside was read");
        Ok(())
    });
}

#[test]
fn who_uses_an_authentication_is_in_its_status_and_written_only_when_it_changes() {
    run(async {
        for group in ["windlass.dev", "keda.sh"] {
            let mut work = Work::start("users").await?;
            if group == "keda.sh" {
                work = work.of_keda();
            }
            let (ns, client) = (&work.ns, work.shared.rig.client());
            let api = |kind: &str| -> Api<DynamicObject> {
                let gvk = GroupVersionKind::gvk(group, "v1alpha1", kind);
                let resource = ApiResource::from_gvk_with_plural(&gvk, &format!("{}s", kind.to_lowercase()));
                match kind {
                    "TriggerAuthentication" => Api::namespaced_with(client.clone(), ns.name(), &resource),
                    _ => Api::all_with(client.clone(), &resource),
                }
            };
            for kind in ["TriggerAuthentication", "ClusterTriggerAuthentication"] {
                let (api, name) = (api(kind), ns.name());
                let references = json!({"configMapTargetRef": [{"parameter": "host", "name": "none", "key": "none"}]});
                let document = json!({"apiVersion": format!("{group}/v1alpha1"), "kind": kind, "metadata": {"name": name}, "spec": references});
                if kind == "TriggerAuthentication" {
                    ns.apply(document).await?;
                } else {
                    install::apply(&client, &document).await?;
                }
                // What is said of scaled jobs is somebody else's.
                let jobs = Patch::Merge(json!({"status": {"scaledjobs": "nightly"}}));
                api.patch_status(name, &PatchParams::default(), &jobs).await?;
                let named = async |wanted: Value| {
                    eventually(SOON, &format!("the {kind} is used by {wanted}"), async || {
                        let status = api.get(name).await?.data["status"].clone();
                        ensure!(status["scaledobjects"] == wanted && status["scaledjobs"] == "nightly", "{status}");
                        Ok(())
                    })
                    .await
                };
                let mut spec = work.spec();
                spec["triggers"][0]["authenticationRef"] = json!({"name": name, "kind": kind});
                // One whose credential is missing uses it all the same.
                for object in ["web", "api"] {
                    ns.scaled_object(object, &spec).await?;
                }
                named("api,web".into()).await?;
                let before = windlass_tests::now();
                let plural = format!("{}s", kind.to_lowercase());
                let is_one = |entry: &Entry| {
                    entry.user == OPERATOR_USER
                        && entry.is_write()
                        && entry.group == group
                        && entry.resource == plural
                        && entry.name == name
                };
                let audit = work.shared.rig.audit();
                let written =
                    async || anyhow::Ok(audit.since(before).await?.into_iter().filter(is_one).collect::<Vec<_>>());
                let cannot = Patch::Merge(json!({"metadata": {"labels": {"changed": "1"}}}));
                ns.scaled_objects().patch("web", &PatchParams::default(), &cannot).await?;
                // Long enough to be looked at by itself.
                let looked = Duration::from_secs(3);
                never(looked, "a write that changes nothing", async || Ok(written().await?.pop())).await?;
                ns.delete_scaled_object("api", SOON).await?;
                named("web".into()).await?;
                ns.delete_scaled_object("web", SOON).await?;
                named(Value::Null).await?;
                let writes = written().await?;
                ensure!(writes.len() == 2, "two changes and {} writes: {writes:?}", writes.len());
                api.delete(name, &DeleteParams::default()).await?;
            }
        }
        Ok(())
    });
}
