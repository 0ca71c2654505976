//! The main job on a real control plane: who writes replicas, when, and how often; what the status of an object and the
//! external metrics API say. The HPA that belongs to an object is in `owned_hpa.rs`.

use std::time::Duration;

use anyhow::{Context, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::ListParams;
use kube::core::Request;
use serde_json::{Value, json};
use tokio::process::Command;
use windlass_tests::objects::rabbit_spec;
use windlass_tests::{
    Broker, Entry, HPA_USER, Namespace, OPERATOR_USER, ReplicaLog, Row, Shared, binary, eventually, now, run, shared,
};

const SOON: Duration = Duration::from_secs(60);
/// The cooldown of `rabbit_spec`.
const COOLDOWN: SignedDuration = SignedDuration::from_secs(5);

/// A namespace with the Deployment `web` at 0 and a queue; both are named after the test.
pub(crate) struct Work {
    pub(crate) shared: Shared,
    pub(crate) ns: Namespace,
    pub(crate) log: ReplicaLog,
    pub(crate) queue: String,
}

impl Work {
    pub(crate) async fn start(prefix: &str) -> anyhow::Result<Self> {
        let shared = shared().await?;
        let ns = shared.rig.namespace(prefix).await?;
        let log = ns.replica_log().await?;
        ns.deployment("web", 0, &[]).await?;
        let queue = ns.name().to_owned();
        shared.rabbit.declare(&queue).await?;
        Ok(Self { shared, ns, log, queue })
    }

    /// The same, `web` being an object of KEDA's group.
    pub(crate) fn of_keda(self) -> Self {
        Self { ns: self.ns.of_keda(), ..self }
    }

    /// One replica for each 10 messages, 4 at most. The HPA keeps what it has: only the operator takes it away.
    pub(crate) fn spec(&self) -> Value {
        let mut spec = rabbit_spec("web", &self.shared.rabbit.amqp_url(), &self.queue, 10, 4);
        spec["advanced"] = json!({"horizontalPodAutoscalerConfig":
            {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}}}});
        spec
    }

    /// Creates `web`, and waits until it is understood and read.
    pub(crate) async fn scaled_by(&self, spec: &Value) -> anyhow::Result<()> {
        self.ns.scaled_object("web", spec).await?;
        self.ns.wait_condition("web", "Ready", "True", SOON).await.map(drop)
    }

    pub(crate) async fn publish(&self, count: u64) -> anyhow::Result<()> {
        self.publish_to(&self.queue, count).await
    }

    /// At one instant: a reading in between would see a part, and rightly act on it.
    async fn publish_to(&self, queue: &str, count: u64) -> anyhow::Result<()> {
        self.shared.rabbit.publish_at_once(&[queue.to_owned()], count).await.map(drop)
    }

    pub(crate) async fn replicas(&self, replicas: i32) -> anyhow::Result<Row> {
        self.log.wait_for("web", replicas, SOON).await
    }

    pub(crate) fn metric(&self) -> String {
        format!("s0-rabbitmq-{}", self.queue)
    }

    /// Waits until the HPA controller has been told the metric `count` times since `start`: it is asked once a sync.
    pub(crate) async fn syncs_since(&self, start: Timestamp, count: usize) -> anyhow::Result<()> {
        eventually(SOON, &format!("{count} syncs of the HPA"), async || {
            let asked = self.shared.rig.audit().since(start).await?.into_iter().filter(|entry| {
                entry.user == HPA_USER
                    && entry.group == "external.metrics.k8s.io"
                    && entry.namespace == self.ns.name()
                    && entry.succeeded()
            });
            let asked = asked.count();
            ensure!(asked >= count, "it was told the metric {asked} times");
            Ok(())
        })
        .await
    }

    /// Who wrote what to `/scale` of `web` with success, oldest first. A write that lost a race (409) changed nothing.
    async fn scaled_by_whom(&self) -> anyhow::Result<Vec<(String, i64)>> {
        let writes = self.shared.rig.audit().scale_writes(self.ns.name(), "web").await?;
        let odd: Vec<&Entry> = writes.iter().filter(|write| !write.succeeded() && write.code != 409).collect();
        ensure!(odd.is_empty(), "writes to /scale that were refused: {odd:?}");
        // A Scale of 0 leaves the figure out.
        let to = |write: &Entry| write.body.as_ref().map(|body| body["spec"]["replicas"].as_i64().unwrap_or(0));
        let writes = writes.into_iter().filter(Entry::succeeded);
        writes.map(|write| Ok((write.user.clone(), to(&write).context("a write without its body")?))).collect()
    }

    /// Fails unless `/scale` of `web` was written exactly so.
    async fn ensure_scaled(&self, expected: &[(&str, i64)]) -> anyhow::Result<()> {
        let writes = self.scaled_by_whom().await?;
        let written: Vec<(&str, i64)> = writes.iter().map(|(user, to)| (&**user, *to)).collect();
        ensure!(written == expected, "written were {written:?}, not {expected:?}");
        Ok(())
    }

    pub(crate) async fn hpa(&self) -> anyhow::Result<HorizontalPodAutoscaler> {
        self.ns.hpa("web").await?.context("no HPA")
    }
}

#[test]
fn a_hundred_messages_make_four_replicas_in_one_write_and_an_empty_queue_none_in_another() {
    run(async {
        let work = Work::start("burst").await?;
        work.scaled_by(&work.spec()).await?;
        work.publish(100).await?;
        let up = work.replicas(4).await?;
        // The second sync may have begun before the first one's write was there, had it made one; hence the third.
        work.syncs_since(up.at, 3).await?;
        work.log.ensure_went("web", &[0, 4])?;
        work.ensure_scaled(&[(OPERATOR_USER, 4)]).await?;
        let status = work.hpa().await?.status.unwrap_or_default();
        ensure!(status.last_scale_time.is_none(), "the HPA has rescaled: {status:?}");
        ensure!(status.desired_replicas == 4, "the HPA wants another number: {status:?}");

        let empty = now();
        work.shared.rabbit.purge(&work.queue).await?;
        let down = work.replicas(0).await?;
        let waited = down.at.duration_since(empty);
        ensure!(waited >= COOLDOWN, "at rest after {waited:#} already");
        work.syncs_since(up.at, 3).await?;
        work.log.ensure_went("web", &[0, 4, 0])?;
        work.ensure_scaled(&[(OPERATOR_USER, 4), (OPERATOR_USER, 0)]).await?;

        let scaled = ["KEDAScaleTargetActivated", "KEDAScaleTargetDeactivated"];
        work.ns.wait_event("web", scaled[1], SOON).await?;
        let events = work.ns.events("web").await?;
        let reasons = events.iter().filter_map(|event| event.reason.as_deref());
        let reasons: Vec<&str> = reasons.filter(|reason| reason.contains("ScaleTarget")).collect();
        ensure!(reasons == scaled, "events: {reasons:?}");
        Ok(())
    });
}

#[test]
fn five_messages_wake_one_replica_and_the_hpa_makes_the_others() {
    run(async {
        let work = Work::start("wake").await?;
        work.scaled_by(&work.spec()).await?;
        work.publish(5).await?;
        let up = work.replicas(1).await?;
        work.syncs_since(up.at, 2).await?;
        work.ensure_scaled(&[(OPERATOR_USER, 1)]).await?;

        work.publish(95).await?;
        work.replicas(4).await?;
        let event = work.ns.wait_event("windlass-hpa-web", "SuccessfulRescale", SOON).await?;
        ensure!(event.message.as_deref().is_some_and(|m| m.starts_with("New size: 4;")), "{:?}", event.message);
        work.log.ensure_went("web", &[0, 1, 4])?;
        work.ensure_scaled(&[(OPERATOR_USER, 1), (HPA_USER, 4)]).await?;

        work.shared.rabbit.purge(&work.queue).await?;
        work.replicas(0).await?;
        work.log.ensure_went("web", &[0, 1, 4, 0])?;
        work.ensure_scaled(&[(OPERATOR_USER, 1), (HPA_USER, 4), (OPERATOR_USER, 0)]).await?;
        Ok(())
    });
}

#[test]
fn below_the_activation_value_nothing_wakes_and_above_it_something_does() {
    run(async {
        let work = Work::start("below").await?;
        let mut spec = work.spec();
        spec["triggers"][0]["metadata"]["activationValue"] = "5".into();
        work.publish(3).await?;
        work.scaled_by(&spec).await?;
        eventually(SOON, "the metric says 3", async || {
            let answer = work.ns.external_metric(&work.metric(), "web").await?;
            ensure!(answer["items"][0]["value"] == "3", "{answer}");
            Ok(())
        })
        .await?;
        let active = work.ns.condition("web", "Active").await?;
        ensure!(active["status"] == "False", "{active}");
        let activity = &work.ns.status("web").await?["triggersActivity"][work.metric()];
        ensure!(*activity == json!({"isActive": false}), "{activity}");
        // Ten readings and two syncs of the HPA.
        work.log.never("web", Duration::from_secs(5), "any replica", |row| row.spec != 0).await?;
        // Exactly at the value is not above it.
        work.publish(2).await?;
        work.log.never("web", Duration::from_secs(3), "any replica", |row| row.spec != 0).await?;
        work.ensure_scaled(&[]).await?;

        work.publish(1).await?;
        work.replicas(1).await?;
        work.ensure_scaled(&[(OPERATOR_USER, 1)]).await?;
        let active = work.ns.wait_condition("web", "Active", "True", SOON).await?;
        ensure!(active["reason"] == "ScalerActive", "{active}");
        Ok(())
    });
}

#[test]
fn amqps_with_an_authority_and_the_management_api_scale_too() {
    run(async {
        let work = Work::start("doors").await?;
        let doors = [("amqps", work.shared.rabbit.amqps_url()), ("http", work.shared.rabbit.http_url())];
        for (name, host) in &doors {
            let queue = format!("{}-{name}", work.queue);
            work.ns.deployment(name, 0, &[]).await?;
            work.shared.rabbit.declare(&queue).await?;
            let mut spec = rabbit_spec(name, host, &queue, 10, 4);
            spec["advanced"] = work.spec()["advanced"].clone();
            if *name == "amqps" {
                spec["triggers"][0]["metadata"]["ca"] = work.shared.rabbit.ca_pem()?.into();
            }
            work.ns.scaled_object(name, &spec).await?;
        }
        for (name, _) in &doors {
            work.ns.wait_condition(name, "Ready", "True", SOON).await?;
            work.publish_to(&format!("{}-{name}", work.queue), 30).await?;
        }
        for (name, _) in &doors {
            work.log.wait_for(name, 3, SOON).await?;
            work.shared.rabbit.purge(&format!("{}-{name}", work.queue)).await?;
        }
        for (name, _) in &doors {
            work.log.wait_for(name, 0, SOON).await?;
            work.log.ensure_went(name, &[0, 3, 0])?;
        }

        // Without the authority the broker is not believed, and the object says so.
        let mut spec = rabbit_spec("web", &work.shared.rabbit.amqps_url(), &work.queue, 10, 4);
        work.ns.scaled_object("web", &spec).await?;
        eventually(SOON, "the object says which field helps", async || {
            let ready = work.ns.condition("web", "Ready").await?;
            let message = ready["message"].as_str().unwrap_or_default();
            ensure!(ready["status"] == "False", "{ready}");
            ensure!(message.contains("spec.triggers[0].metadata.ca") && message.contains("no TLS"), "{message}");
            Ok(())
        })
        .await?;
        spec["triggers"][0]["metadata"]["ca"] = work.shared.rabbit.ca_pem()?.into();
        work.ns.scaled_object("web", &spec).await?;
        work.ns.wait_condition("web", "Ready", "True", SOON).await?;
        Ok(())
    });
}

#[test]
fn status_and_the_external_metrics_api_speak_of_the_object_as_it_is() {
    run(async {
        let work = Work::start("status").await?;
        work.publish(30).await?;
        work.scaled_by(&work.spec()).await?;
        work.replicas(3).await?;
        work.ns.wait_condition("web", "Active", "True", SOON).await?;
        let object = work.ns.scaled_objects().get("web").await?;
        let status = object.data["status"].clone();
        ensure!(status["observedGeneration"].as_i64() == object.metadata.generation, "{status}");
        ensure!(status["externalMetricNames"] == json!([work.metric()]), "{status}");
        ensure!(status["hpaName"] == "windlass-hpa-web" && status["triggersTypes"] == "rabbitmq", "{status}");
        ensure!(status["scaleTargetKind"] == "apps/v1.Deployment" && status["originalReplicaCount"] == 0, "{status}");
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let kinds: Vec<&str> = conditions.iter().filter_map(|c| c["type"].as_str()).collect();
        ensure!(kinds == ["Ready", "Active", "Fallback", "Paused"], "{kinds:?}");
        let created = object.metadata.creation_timestamp.clone().context("no creationTimestamp")?.0;
        for condition in &conditions {
            let time: Timestamp = condition["lastTransitionTime"].as_str().context("no lastTransitionTime")?.parse()?;
            ensure!(time >= created && time <= now(), "{condition}");
            ensure!(condition["observedGeneration"].as_i64() == object.metadata.generation, "{condition}");
        }

        // A change that changes no condition: a new generation is observed, and no transition is told of.
        let mut spec = work.spec();
        spec["maxReplicaCount"] = 5.into();
        let edited = work.ns.scaled_object("web", &spec).await?;
        eventually(SOON, "the new generation is observed", async || {
            let status = work.ns.status("web").await?;
            ensure!(status["observedGeneration"].as_i64() == edited.metadata.generation, "{status}");
            let times = |status: &Value| {
                let all = status["conditions"].as_array().cloned().unwrap_or_default();
                all.iter().map(|c| c["lastTransitionTime"].clone()).collect::<Vec<_>>()
            };
            ensure!(times(&status) == times(&json!({"conditions": conditions})), "{status}");
            Ok(())
        })
        .await?;

        let root = "/apis/external.metrics.k8s.io/v1beta1";
        let discovery: Value = get_raw(&work, root).await?;
        ensure!(discovery["groupVersion"] == "external.metrics.k8s.io/v1beta1", "{discovery}");
        let metric = format!("{root}/namespaces/{}/{}", work.ns.name(), work.metric());
        for label in ["scaledobject.windlass.dev", "scaledobject.keda.sh"] {
            let answer = get_raw(&work, &format!("{metric}?labelSelector={label}%2Fname%3Dweb")).await?;
            ensure!(answer["kind"] == "ExternalMetricValueList" && answer["items"][0]["value"] == "30", "{answer}");
            ensure!(answer["items"][0]["metricName"] == work.metric(), "{answer}");
            let at: Timestamp = answer["items"][0]["timestamp"].as_str().context("no timestamp")?.parse()?;
            ensure!(now().duration_since(at) < SignedDuration::from_secs(15), "{answer}");
        }
        // Never an empty list: whoever asks for what is not there is told so.
        for (path, code) in [
            (format!("{metric}?labelSelector=scaledobject.windlass.dev%2Fname%3Dnobody"), 404),
            (format!("{metric}x?labelSelector=scaledobject.windlass.dev%2Fname%3Dweb"), 404),
            (metric.clone(), 400),
        ] {
            match get_raw(&work, &path).await {
                Ok(answer) => anyhow::bail!("{path} was answered {answer}"),
                Err(error) => {
                    let status = error.downcast_ref::<kube::Error>();
                    let is_expected = matches!(status, Some(kube::Error::Api(status)) if status.code == code);
                    ensure!(is_expected, "{path} was refused otherwise: {error:?}");
                }
            }
        }
        Ok(())
    });
}

/// `kubectl get --raw`.
async fn get_raw(work: &Work, path: &str) -> anyhow::Result<Value> {
    let mut request = Request::new("/").list(&ListParams::default())?;
    *request.uri_mut() = path.parse()?;
    Ok(work.ns.client().request(request).await?)
}

#[test]
fn windlass_get_so_shows_what_is_scaled_and_why() {
    run(async {
        let work = Work::start("get").await?;
        work.publish(15).await?;
        work.scaled_by(&work.spec()).await?;
        work.replicas(2).await?;
        work.ns.wait_condition("web", "Active", "True", SOON).await?;
        let mut wrong = work.spec();
        wrong["triggers"][0]["metadata"]["value"] = "many".into();
        wrong["scaleTargetRef"]["name"] = "other".into();
        work.ns.scaled_object("wrong", &wrong).await?;
        work.ns.wait_condition("wrong", "Ready", "False", SOON).await?;

        let kubeconfig = work.shared.rig.admin_kubeconfig().to_owned();
        let get = async |arguments: &[&str]| {
            let mut command = Command::new(binary()?);
            command.args(["get", "so", "--kubeconfig"]).arg(&kubeconfig).args(arguments);
            let output = tokio::time::timeout(SOON, command.kill_on_drop(true).output()).await??;
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.success(), "windlass get so {arguments:?}: {} {errors}", output.status);
            anyhow::Ok(String::from_utf8(output.stdout)?)
        };
        let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let table = get(&["-n", work.ns.name()]).await?;
        let lines: Vec<&str> = table.lines().collect();
        ensure!(lines.len() == 3, "{table}");
        let header = ["NAME", "TARGET", "REPLICAS", "MIN", "MAX", "READY", "ACTIVE", "REASON"];
        ensure!(cells(lines[0]) == header, "{table}");
        ensure!(cells(lines[1])[..7] == ["web", "Deployment/web", "2", "0", "4", "True", "True"], "{table}");
        ensure!(lines[1].contains("there is work"), "{table}");
        ensure!(cells(lines[2])[..7] == ["wrong", "Deployment/other", "?", "0", "4", "False", "Unknown"], "{table}");
        ensure!(lines[2].contains("spec.triggers[0].metadata.value"), "{table}");

        let all = get(&["-A"]).await?;
        ensure!(all.lines().any(|line| cells(line).starts_with(&[work.ns.name().to_owned(), "web".into()])), "{all}");
        let objects: Value = serde_json::from_str(&get(&["-n", work.ns.name(), "-o", "json"]).await?)?;
        ensure!(objects.as_array().is_some_and(|all| all.len() == 2), "{objects}");
        let none = get(&["-n", "default"]).await?;
        ensure!(none.contains("namespace default"), "{none}");
        Ok(())
    });
}
