//! The test bed itself: if one of these fails, no other result means anything.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use windlass_tests::install::apply;
use windlass_tests::rig::client_from;
use windlass_tests::{
    Answer, Broker, Consumer, FakeHttp, FaultProxy, METRICS_SERVICE, Manifests, Mode, Operator, OperatorOptions,
    Rabbit, RabbitOptions, Rig, RigOptions, SYSTEM_NAMESPACE, eventually, now, run, shared_rabbit, shared_rig,
};

const SOON: Duration = Duration::from_secs(60);

#[test]
fn pods_run_and_an_hpa_without_a_metric_says_so() {
    run(async {
        let ns = shared_rig().await?.namespace("pods").await?;
        let log = ns.replica_log().await?;
        ns.deployment("web", 3, &[]).await?;
        log.wait_for("web", 3, SOON).await?;
        let pods = ns.api::<Pod>().list(&ListParams::default()).await?;
        let node = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        ensure!(pods.items.len() == 3 && pods.items.iter().all(|pod| node(pod).is_some()), "pods are not on a node");

        let hpa: HorizontalPodAutoscaler = serde_json::from_value(json!({
            "metadata": {"name": "web"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "maxReplicas": 9,
                "metrics": [{"type": "External", "external":
                    {"metric": {"name": "nobody-serves-this"}, "target": {"type": "AverageValue", "averageValue": "5"}}}],
            },
        }))?;
        ns.create_object(&hpa).await?;
        eventually(SOON, "the HPA controller says that it has no metric", async || {
            let status = ns.api::<HorizontalPodAutoscaler>().get("web").await?.status.unwrap_or_default();
            let conditions = status.conditions.unwrap_or_default();
            let active = conditions.iter().find(|c| c.type_ == "ScalingActive").context("no ScalingActive yet")?;
            ensure!(active.status == "False", "it is active: {active:?}");
            ensure!(active.reason.as_deref() == Some("FailedGetExternalMetric"), "another reason: {active:?}");
            Ok(())
        })
        .await?;
        // Without a metric the HPA moves nothing.
        log.ensure_never("web", "1970-01-01T00:00:00Z".parse()?, "not 3 replicas", |row| row.spec != 3)
    });
}

#[test]
fn the_timeline_knows_who_wrote_the_replicas() {
    run(async {
        let ns = shared_rig().await?.namespace("timeline").await?;
        let log = ns.replica_log().await?;
        ns.deployment("web", 0, &[]).await?;
        log.wait_spec("web", 0, SOON).await?;
        ns.scale("web", 2).await?;
        log.wait_for("web", 2, SOON).await?;
        ns.scale("web", 0).await?;
        log.wait_for("web", 0, SOON).await?;
        log.ensure_went("web", &[0, 2, 0])?;
        ensure!(log.specs("web")[1].1 == "somebody", "owners: {:?}", log.specs("web"));
        ensure!(log.ensure_went("web", &[0, 2]).is_err(), "a wrong path was accepted");
        ensure!(
            log.ensure_never("web", "1970-01-01T00:00:00Z".parse()?, "2", |row| row.spec == 2).is_err(),
            "2 was there, and not found"
        );
        Ok(())
    });
}

#[test]
fn the_audit_log_names_users_and_what_they_wrote() {
    run(async {
        let rig = shared_rig().await?;
        let ns = rig.namespace("audit").await?;
        ns.deployment("web", 0, &[]).await?;
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "writer", "namespace": ns.name()}});
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "writer", "namespace": ns.name()},
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}]});
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "writer", "namespace": ns.name()},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "writer"},
            "subjects": [{"kind": "ServiceAccount", "name": "writer", "namespace": ns.name()}]});
        for document in [account, role, binding] {
            apply(&rig.client(), &document).await?;
        }
        let user = format!("system:serviceaccount:{}:writer", ns.name());
        let writer = client_from(&rig.kubeconfig_of(ns.name(), "writer").await?).await?;
        let start = now();
        let secret = serde_json::from_value(json!({"metadata": {"name": "s"}}))?;
        let secrets = Api::<Secret>::namespaced(writer, ns.name());
        eventually(SOON, "the role is in force", async || {
            Ok(secrets.create(&PostParams { dry_run: true, ..PostParams::default() }, &secret).await?)
        })
        .await?;
        secrets.create(&PostParams::default(), &secret).await?;
        ensure!(secrets.delete("s", &DeleteParams::default()).await.is_err(), "a right that was not granted");
        ns.scale("web", 1).await?;

        let writes = rig.audit().writes_by(&user, start).await?;
        let created = writes.iter().filter(|w| w.verb == "create" && w.succeeded() && !w.uri.contains("dryRun"));
        ensure!(created.count() == 1, "one creation expected: {writes:?}");
        let refused = rig.audit().refused(&user).await?;
        ensure!(refused.iter().any(|r| (&*r.verb, &*r.target()) == ("delete", "secrets")), "refused: {refused:?}");
        let scaled = rig.audit().scale_writes(ns.name(), "web").await?;
        ensure!(scaled.len() == 1 && scaled[0].user == "rig-admin" && scaled[0].code == 200, "scaled: {scaled:?}");
        ensure!(scaled[0].received >= start && scaled[0].received <= now(), "times: {scaled:?}");
        Ok(())
    });
}

#[test]
fn both_protocols_of_the_broker_agree() {
    run(async {
        let rabbit = shared_rabbit().await?;
        rabbit.declare("agree").await?;
        rabbit.publish("agree", 100).await?;
        ensure!(rabbit.backlog("agree").await? == 100, "AMQP counts {}", rabbit.backlog("agree").await?);
        counted(rabbit, "agree", 100).await?;
        ensure!(rabbit.drain("agree", 20).await? == 80, "not 80 drained");
        ensure!(rabbit.backlog("agree").await? == 20, "not 20 left");
        rabbit.purge("agree").await?;
        ensure!(rabbit.backlog("agree").await? == 0, "not empty after a purge");
        rabbit.delete("agree").await?;
        ensure!(rabbit.backlog("agree").await.is_err(), "a deleted queue has a backlog");
        ensure!(rabbit.publish("agree", 1).await.is_err(), "a message to no queue was confirmed");

        rabbit.declare_quorum("agree-quorum").await?;
        rabbit.publish("agree-quorum", 7).await?;
        counted(rabbit, "agree-quorum", 7).await?;
        ensure!(rabbit.backlog("agree-quorum").await? == 7, "AMQP counts another number in a quorum queue");
        let tls = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(rabbit.ca_pem()?.as_bytes())?])
            .build()?;
        let overview = format!("{}/api/overview", rabbit.https_url().trim_end_matches("/%2f"));
        ensure!(tls.get(overview).send().await?.status().is_success(), "HTTPS does not answer");
        Ok(())
    });
}

async fn counted(rabbit: &Rabbit, queue: &str, expected: u64) -> anyhow::Result<()> {
    eventually(SOON, "the management API has caught up", async || {
        let count = rabbit.management_count(queue).await?;
        ensure!(count == Some(expected), "it counts {count:?}, not {expected}");
        Ok(())
    })
    .await
}

#[test]
fn a_broker_can_be_killed_frozen_and_started_again() {
    run(async {
        let mut rabbit = Rabbit::start(RabbitOptions::default()).await?;
        rabbit.declare("durable").await?;
        rabbit.publish("durable", 5).await?;

        rabbit.sigstop()?;
        let overview = format!("http://{}/api/overview", rabbit.http_address());
        let silent = reqwest::Client::new().get(&overview).timeout(Duration::from_secs(1)).send().await;
        ensure!(silent.is_err_and(|error| error.is_timeout()), "a frozen broker answered, or refused");
        rabbit.sigcont()?;
        ensure!(rabbit.backlog("durable").await? == 5, "not the same after a thaw");

        rabbit.kill9()?;
        ensure!(TcpStream::connect(rabbit.amqp_address()).await.is_err(), "a killed broker accepts");
        ensure!(rabbit.backlog("durable").await.is_err(), "a killed broker answers");
        rabbit.restart().await?;
        eventually(SOON, "the messages are back", async || {
            let count = rabbit.backlog("durable").await?;
            ensure!(count == 5, "{count} messages");
            Ok(())
        })
        .await?;
        rabbit.stop().await
    });
}

#[test]
fn consumers_are_as_many_as_the_ready_pods() {
    run(async {
        let rig = shared_rig().await?;
        let rabbit = shared_rabbit().await?;
        let ns = rig.namespace("consumer").await?;
        ns.deployment("worker", 0, &[]).await?;
        rabbit.declare("consumed").await?;
        rabbit.publish("consumed", 60).await?;
        let broker: Arc<dyn Broker> = Arc::clone(rabbit) as _;
        let consumer = Consumer::start(rig.client(), ns.name(), "worker", broker, "consumed", 20.0);
        windlass_tests::never(Duration::from_secs(1), "work without a worker", async || {
            let consumed = consumer.consumed();
            Ok((consumed > 0).then_some(consumed))
        })
        .await?;
        ns.scale("worker", 2).await?;
        eventually(SOON, "two workers have emptied the queue", async || {
            let left = rabbit.backlog("consumed").await?;
            ensure!(consumer.ready() == 2 && left == 0, "{} ready, {left} left", consumer.ready());
            // It counts a message once the broker has let it go.
            ensure!(consumer.consumed() == 60, "it says {} consumed", consumer.consumed());
            Ok(())
        })
        .await?;
        Ok(())
    });
}

#[test]
fn manifests_are_applied_as_shipped_but_for_deployment_and_service() {
    run(async {
        let rig = Rig::start(RigOptions::without_pods()).await?;
        rig.install(&Manifests::text(MANIFESTS)?).await?;
        rig.install(&Manifests::text(MANIFESTS)?).await.context("a second time")?;
        let port = rig.forwarder().port();
        let service = Api::<Service>::namespaced(rig.client(), SYSTEM_NAMESPACE).get(METRICS_SERVICE).await?;
        let spec = service.spec.context("a Service without a spec")?;
        ensure!(spec.type_.as_deref() == Some("ExternalName"), "{spec:?}");
        ensure!(spec.ports.iter().flatten().map(|p| p.port).eq([i32::from(port)]), "{spec:?}");
        let api = Api::<APIService>::all(rig.client()).get("v1beta1.external.metrics.k8s.io").await?;
        let behind = api.spec.and_then(|spec| spec.service).context("an APIService without a service")?;
        ensure!(behind.port == Some(port.into()), "{behind:?}");
        let deployments = Api::<Deployment>::all(rig.client()).list(&ListParams::default()).await?;
        ensure!(deployments.items.is_empty(), "{deployments:?}");
        let thing = GroupVersionKind::gvk("example.windlass.dev", "v1", "Thing");
        let things = Api::<DynamicObject>::all_with(rig.client(), &ApiResource::from_gvk(&thing));
        things.list(&ListParams::default()).await.context("the CRD is not served")?;

        let operator = client_from(rig.operator_kubeconfig().await?).await?;
        let review = Api::<SelfSubjectReview>::all(operator);
        let who = review.create(&PostParams::default(), &SelfSubjectReview::default()).await?.status;
        let user = who.and_then(|status| status.user_info).and_then(|info| info.username);
        ensure!(user.as_deref() == Some(windlass_tests::OPERATOR_USER), "it is {user:?}");

        the_forwarder_follows_the_slice(&rig).await
    });
}

async fn the_forwarder_follows_the_slice(rig: &Rig) -> anyhow::Result<()> {
    let forwarder = rig.forwarder();
    ensure!(talk(forwarder.port()).await.is_err(), "it forwards to nobody");
    let (first, second) = (named_server("first").await?, named_server("second").await?);
    let addresses = [(rig.advertised_address(), first), (rig.advertised_address(), second)].map(SocketAddr::from);
    forwarder.register(addresses[0], first);
    forwarder.register(addresses[1], second);
    for (address, expected) in addresses.into_iter().zip(["first", "second"]) {
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "windlass-metrics", "namespace": "windlass-system",
                "labels": {"kubernetes.io/service-name": "windlass-metrics"}},
            "endpoints": [{"addresses": [address.ip()], "conditions": {"ready": true}}],
            "ports": [{"port": address.port(), "protocol": "TCP"}]});
        apply(&rig.client(), &slice).await?;
        eventually(Duration::from_secs(5), "new connections reach the one in the slice", async || {
            let answer = talk(forwarder.port()).await?;
            ensure!(answer == expected, "{answer} answered, not {expected}");
            Ok(())
        })
        .await?;
        ensure!(forwarder.target() == Some(address), "target {:?}", forwarder.target());
    }
    ensure!(forwarder.accepted() >= 2 && forwarder.refused() >= 1, "counts: {forwarder:?}");
    Ok(())
}

#[test]
fn an_operator_can_be_killed_frozen_and_started_again() {
    run(async {
        let rig = Rig::start(RigOptions::without_pods()).await?;
        rig.install(&Manifests::repository()?).await?;
        let mut operator = Operator::start(&rig, OperatorOptions::named("first")).await?;
        operator.wait_ready(SOON).await?;
        operator.wait_leading(&rig, SOON).await?;
        eventually(SOON, "the slice names the leader", async || {
            let target = rig.forwarder().target();
            ensure!(target == Some(operator.advertised()), "it names {target:?}");
            Ok(())
        })
        .await?;
        ensure!(!operator.metrics().await?.is_empty() && operator.rss_bytes()? > 0, "no figures");

        operator.sigstop()?;
        ensure!(operator.metrics().await.is_err(), "a frozen operator answers");
        operator.sigcont()?;
        ensure!(operator.metrics().await.is_ok(), "a thawed one does not");
        let pid = operator.pid();
        operator.kill9()?;
        operator.restart()?;
        operator.wait_ready(SOON).await?;
        operator.wait_leading(&rig, SOON).await?;
        ensure!(operator.pid() != pid && operator.identity() == "first", "not a new process of the same name");
        let status = operator.sigterm_and_wait(SOON).await?;
        ensure!(status.success(), "an orderly end is {status}");
        Ok(())
    });
}

/// A server that says its name to each connection.
async fn named_server(name: &'static str) -> anyhow::Result<u16> {
    let port = windlass_tests::ports::single()?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _client_gone = stream.write_all(name.as_bytes()).await;
        }
    });
    Ok(port)
}

async fn talk(port: u16) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    ensure!(!text.is_empty(), "closed at once");
    Ok(text)
}

#[test]
fn faults_look_as_they_are_named() {
    run(async {
        let body = json!({"messages": 7, "padding": "x".repeat(4096)});
        let server = FakeHttp::start(move |_| Answer::json(&body)).await?;
        let proxy = FaultProxy::start(server.address()).await?;
        let url = format!("http://{}/api/queues/%2F/q", proxy.address());
        let ask = async || {
            let request = reqwest::Client::new().get(&url).timeout(Duration::from_secs(2));
            anyhow::Ok(request.send().await?.error_for_status()?.json::<Value>().await?["messages"].clone())
        };
        ensure!(ask().await? == 7, "nothing passes");
        proxy.set(Mode::Refuse);
        eventually(SOON, "connections are refused", async || {
            let refused =
                TcpStream::connect(proxy.address()).await.is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused);
            ensure!(refused, "not refused");
            Ok(())
        })
        .await?;
        proxy.set(Mode::Silence);
        let silent =
            eventually(SOON, "it listens again", async || Ok(TcpStream::connect(proxy.address()).await?)).await;
        drop(silent?);
        let error = ask().await.expect_err("silence answered");
        ensure!(error.downcast_ref().is_some_and(reqwest::Error::is_timeout), "not a timeout: {error:?}");
        proxy.set(Mode::Reset { after: 100 });
        let mut raw = TcpStream::connect(proxy.address()).await?;
        raw.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
        let mut part = Vec::new();
        let error = raw.read_to_end(&mut part).await.expect_err("a reset answer came whole");
        ensure!(error.kind() == ErrorKind::ConnectionReset && part.len() == 100, "{error}, {} bytes", part.len());
        proxy.set(Mode::Delay(Duration::from_millis(300)));
        let start = std::time::Instant::now();
        ensure!(ask().await? == 7 && start.elapsed() >= Duration::from_millis(300), "not later");
        proxy.set(Mode::Pass);
        ensure!(ask().await? == 7, "not healed");

        let slow = Answer::error(500).after(Duration::from_secs(1));
        let scripted = FakeHttp::script(vec![slow, Answer::json(&json!({"messages": 0}))]).await?;
        let url = format!("http://{}/api/queues", scripted.address());
        let start = std::time::Instant::now();
        let first = reqwest::get(&url).await?.status();
        ensure!(first == 500 && start.elapsed() >= Duration::from_secs(1), "not slow, or no error");
        ensure!(
            reqwest::get(&url).await?.status() == 200 && reqwest::get(&url).await?.status() == 200,
            "no repetition"
        );
        ensure!(scripted.requests().len() == 3, "requests: {:?}", scripted.requests());
        Ok(())
    });
}

const MANIFESTS: &str = r"
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.external.metrics.k8s.io}
spec:
  {group: external.metrics.k8s.io, version: v1beta1, groupPriorityMinimum: 100, versionPriority: 100,
   insecureSkipTLSVerify: true, service: {name: windlass-metrics, namespace: windlass-system, port: 443}}
---
apiVersion: v1
kind: Service
metadata: {name: windlass-metrics, namespace: windlass-system}
spec: {ports: [{port: 443, targetPort: 6443}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: windlass, namespace: windlass-system}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: windlass, namespace: windlass-system}
spec:
  selector: {matchLabels: {app: windlass}}
  template: {metadata: {labels: {app: windlass}}, spec: {containers: [{name: c, image: none}]}}
---
apiVersion: v1
kind: Namespace
metadata: {name: windlass-system}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.windlass.dev}
spec:
  group: example.windlass.dev
  names: {kind: Thing, plural: things, singular: thing}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
";
