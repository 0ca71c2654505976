//! The operator and the HPA share a Deployment without a fight, at the defaults of Kubernetes: the HPA looks every 15 s
//! and remembers its recommendations for 5 minutes. All on one control plane with one operator, side by side.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, ensure};
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerStatus};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use windlass_tests::objects::rabbit_spec;
use windlass_tests::{
    Broker, HPA_USER, Manifests, Namespace, OPERATOR_USER, Operator, OperatorOptions, Rabbit, RabbitOptions,
    ReplicaLog, Rig, RigOptions, eventually, now, run_within,
};

const SOON: Duration = Duration::from_secs(60);
/// How soon work leads to replicas, at the default reading interval, on a busy machine.
const FIRST_WRITE: Duration = Duration::from_secs(10);
/// More than three syncs of the HPA. That is enough to speak for the whole window of 300 s: once the HPA has recorded
/// 10 (its status says so: `ScaleDownStabilized`), each sync takes the maximum of what it has recorded, and nothing but
/// time, which it counts alone, ends that.
const WATCH: Duration = Duration::from_secs(62);
const SYNCS: usize = 3;
/// The same after a restart; three syncs are waited for anyway.
const WATCH_AGAIN: Duration = Duration::from_secs(46);
/// The objects during whose first seconds the operator is restarted, and by which signal.
const RESTARTS: [(&str, &str); 2] = [("terminated", "TERM"), ("killed", "KILL")];

#[test]
fn operator_and_hpa_do_not_fight_at_the_defaults_of_kubernetes() {
    run_within(Duration::from_secs(240), async {
        let mut stage = Stage::set().await?;
        tokio::try_join!(
            stage.those_for_the_restart(),
            stage.a_drained_queue_keeps_its_replicas(),
            stage.without_the_hold_the_hpa_cuts_at_its_first_sync(),
            stage.a_value_target_only_grows_under_constant_load(),
            stage.a_policy_limits_what_is_added_within_its_period("pods", 3, 3, 6),
            stage.a_policy_limits_what_is_added_within_its_period("percent", 100, 2, 4),
            stage.a_window_for_scaling_up_leaves_all_but_one_to_the_hpa(),
            stage.scaling_up_disabled_means_one(),
        )?;
        report("side by side: as expected");
        stage.a_restart_changes_nothing().await
    });
}

struct Stage {
    ns: Namespace,
    log: ReplicaLog,
    operator: Operator,
    publishing: Mutex<()>,
    rabbit: Rabbit,
    rig: Rig,
}

impl Stage {
    async fn set() -> anyhow::Result<Self> {
        let (rig, rabbit) =
            tokio::try_join!(Rig::start(RigOptions::product()), Rabbit::start(RabbitOptions::default()))?;
        rig.install(&Manifests::repository()?).await?;
        let operator = Operator::start(&rig, OperatorOptions::named("defaults")).await?;
        operator.wait_ready(SOON).await?;
        operator.wait_leading(&rig, SOON).await?;
        let ns = rig.namespace("defaults").await?;
        let log = ns.replica_log().await?;
        Ok(Self { ns, log, operator, publishing: Mutex::default(), rabbit, rig })
    }

    async fn a_drained_queue_keeps_its_replicas(&self) -> anyhow::Result<()> {
        const NAME: &str = "drained";
        self.object(NAME, |_| {}).await?;
        self.hpa_has_seen_nothing(&format!("windlass-hpa-{NAME}")).await?;
        let start = now();
        self.rises_and_is_drained(NAME).await?;
        self.stays_at_ten(NAME, start, WATCH).await?;
        self.log.ensure_went(NAME, &[0, 10])
    }

    /// Shows that the HPA of this control plane does what the operator has to prevent: the same drop, without a first
    /// write of the operator.
    async fn without_the_hold_the_hpa_cuts_at_its_first_sync(&self) -> anyhow::Result<()> {
        const NAME: &str = "unheld";
        // The metric is that of another object, which reads 20.
        let source = "source";
        self.object(source, |spec| spec["maxReplicaCount"] = 2.into()).await?;
        self.publish(source, 20).await?;
        self.log.wait_spec(source, 2, FIRST_WRITE).await?;
        self.ns.deployment(NAME, 0, &[]).await?;
        let hpa: HorizontalPodAutoscaler = serde_json::from_value(json!({
            "metadata": {"name": NAME},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
                "minReplicas": 1, "maxReplicas": 10,
                "metrics": [{"type": "External", "external": {
                    "metric": {"name": metric_of(source),
                        "selector": {"matchLabels": {"scaledobject.windlass.dev/name": source}}},
                    "target": {"type": "AverageValue", "averageValue": "10"}}}],
            },
        }))?;
        self.ns.create_object(&hpa).await?;
        self.hpa_has_seen_nothing(NAME).await?;
        self.ns.scale(NAME, 10).await?;
        self.log.wait_spec(NAME, 10, SOON).await?;
        self.log.wait_spec(NAME, 2, SOON).await.context("the HPA no longer cuts what it has not recorded")?;
        Ok(())
    }

    async fn a_value_target_only_grows_under_constant_load(&self) -> anyhow::Result<()> {
        const NAME: &str = "value";
        self.object(NAME, |spec| {
            spec["maxReplicaCount"] = 7.into();
            spec["triggers"][0]["metricType"] = "Value".into();
        })
        .await?;
        self.publish(NAME, 50).await?;
        let first = self.log.wait(NAME, FIRST_WRITE, "more than 0 replicas", |row| row.spec > 0).await?;
        ensure!(first.spec == 1, "a Value target started at {}:\n{}", first.spec, self.log.timeline(NAME));
        // ceil(5 x ready), four more at a time.
        self.log.wait_spec(NAME, 7, SOON).await?;
        self.log.never(NAME, Duration::from_secs(32), "fewer under constant load", |row| row.spec != 7).await?;
        let specs = self.log.specs(NAME);
        ensure!(specs.is_sorted_by_key(|(replicas, _)| *replicas), "it went {specs:?}");
        self.operator_wrote_once(NAME).await
    }

    async fn a_policy_limits_what_is_added_within_its_period(
        &self,
        kind: &str,
        value: i32,
        first: i32,
        within_the_period: i32,
    ) -> anyhow::Result<()> {
        let policy = json!({"type": if kind == "pods" { "Pods" } else { "Percent" }, "value": value,
            "periodSeconds": 60});
        self.object(kind, |spec| scale_up(spec, json!({"policies": [policy]}))).await?;
        self.publish(kind, 100).await?;
        let written = self.log.wait(kind, FIRST_WRITE, "more than 0 replicas", |row| row.spec > 0).await?;
        let timeline = || self.log.timeline(kind);
        ensure!(written.spec == first, "the first write was {}, not {first}:\n{}", written.spec, timeline());
        // The HPA counts its own changes only, so that within the period it adds as much again as the policy allows.
        // Its period begins with its own change, hence no later than the first write.
        let left = Duration::from_secs(58).saturating_sub(between(written.at, now()));
        let most = within_the_period;
        self.log.never(kind, left, "more than the policy allows twice", |row| row.spec > most).await?;
        // It did add that much: the limit was tested, and the HPA is alive.
        self.log.wait_spec(kind, most, SOON).await?;
        self.log.wait(kind, SOON, "more in the next period", |row| row.spec > most).await?;
        self.operator_wrote_once(kind).await
    }

    async fn a_window_for_scaling_up_leaves_all_but_one_to_the_hpa(&self) -> anyhow::Result<()> {
        const NAME: &str = "window";
        self.object(NAME, |spec| scale_up(spec, json!({"stabilizationWindowSeconds": 30}))).await?;
        self.publish(NAME, 100).await?;
        let first = self.log.wait(NAME, FIRST_WRITE, "more than 0 replicas", |row| row.spec > 0).await?;
        ensure!(first.spec == 1, "the first write was {}:\n{}", first.spec, self.log.timeline(NAME));
        self.log.wait(NAME, SOON + SOON, "more by the HPA", |row| row.spec > 1).await?;
        self.operator_wrote_once(NAME).await
    }

    async fn scaling_up_disabled_means_one(&self) -> anyhow::Result<()> {
        const NAME: &str = "disabled";
        self.object(NAME, |spec| scale_up(spec, json!({"selectPolicy": "Disabled"}))).await?;
        self.publish(NAME, 100).await?;
        self.log.wait_spec(NAME, 1, FIRST_WRITE).await?;
        let start = now();
        self.log.never(NAME, WATCH, "more than 1", |row| row.spec != 1).await?;
        self.hpa_has_asked(NAME, start, SYNCS).await?;
        self.operator_wrote_once(NAME).await
    }

    async fn those_for_the_restart(&self) -> anyhow::Result<()> {
        for (name, _) in RESTARTS {
            self.object(name, |_| {}).await?;
        }
        for (name, _) in RESTARTS {
            self.hpa_has_seen_nothing(&format!("windlass-hpa-{name}")).await?;
        }
        Ok(())
    }

    /// 0 -> 10, the queue drained by 80 %, and 2 s after the write the operator goes, while the HPA knows nothing yet.
    async fn a_restart_changes_nothing(&mut self) -> anyhow::Result<()> {
        let start = now();
        for (name, signal) in RESTARTS {
            let written = self.rises_and_is_drained(name).await?;
            tokio::time::sleep(Duration::from_secs(2).saturating_sub(between(written, now()))).await;
            if signal == "TERM" {
                let ended = self.operator.sigterm_and_wait(FIRST_WRITE).await?;
                ensure!(ended.success(), "an orderly end is {ended}");
            }
            self.operator.restart()?;
            let waited = now();
            self.operator.wait_ready(SOON).await?;
            report(&format!("{name}: ready again after {:?}", between(waited, now())));
        }
        tokio::try_join!(
            self.stays_at_ten("terminated", start, WATCH_AGAIN),
            self.stays_at_ten("killed", start, WATCH_AGAIN),
            // The restarts moved nothing of the others either.
            async { self.log.ensure_went("drained", &[0, 10]) },
            async { self.log.ensure_went("disabled", &[0, 1]) },
        )?;
        for name in ["terminated", "killed", "drained"] {
            self.log.ensure_went(name, &[0, 10])?;
            self.operator_wrote_once(name).await?;
        }
        Ok(())
    }

    /// A Deployment at 0 and its object: queue of the same name, value 10, up to 10 replicas.
    async fn object(&self, name: &str, change: impl FnOnce(&mut Value)) -> anyhow::Result<()> {
        self.rabbit.declare(name).await?;
        self.ns.deployment(name, 0, &[]).await?;
        let mut spec = rabbit_spec(name, &self.rabbit.amqp_url(), name, 10, 10);
        change(&mut spec);
        self.ns.scaled_object(name, &spec).await?;
        self.ns.wait_condition(name, "Ready", "True", SOON).await?;
        self.log.wait_spec(name, 0, SOON).await.map(drop)
    }

    /// Messages come while the operator looks away, so that it sees all of them or none.
    async fn publish(&self, queue: &str, count: u64) -> anyhow::Result<()> {
        let _one_after_the_other = self.publishing.lock().await;
        self.operator.sigstop()?;
        let published = self.rabbit.publish(queue, count).await;
        self.operator.sigcont()?;
        published
    }

    /// 100 messages, 0 -> 10 in one write, and then 20 messages. Returns when the write was seen.
    async fn rises_and_is_drained(&self, name: &str) -> anyhow::Result<Timestamp> {
        let start = now();
        self.publish(name, 100).await?;
        let row = self.log.wait(name, FIRST_WRITE, "more than 0 replicas", |row| row.spec > 0).await?;
        ensure!(row.spec == 10, "the first write was {}:\n{}", row.spec, self.log.timeline(name));
        self.rabbit.drain(name, 20).await?;
        let late = between(row.at, now());
        ensure!(late < Duration::from_secs(10), "drained only {late:?} after the write");
        let early = self.hpa_questions(name, start, now()).await?;
        report(&format!("{name}: 0 -> 10, drained {late:?} later, {early} questions of the HPA before that"));
        Ok(row.at)
    }

    /// Ten replicas over some syncs, although the queue asks for two and the HPA is told so.
    async fn stays_at_ten(&self, name: &str, start: Timestamp, window: Duration) -> anyhow::Result<()> {
        let dropped = async {
            let told = eventually(WATCH, &format!("the HPA of {name} may be told 20"), async || {
                let list = self.ns.external_metric(&metric_of(name), name).await?;
                ensure!(list["items"][0]["value"] == "20", "it is told {list}");
                Ok(now())
            })
            .await?;
            self.hpa_has_asked(name, told, 2).await?;
            anyhow::Ok(told)
        };
        let watch = self.log.never(name, window, "not 10", |row| row.spec != 10);
        let (told, watched) = tokio::join!(dropped, watch);
        watched?;
        let told = told?;
        self.hpa_has_asked(name, start, SYNCS).await?;
        let status = self.hpa_status(name).await?;
        let able = status.conditions.iter().flatten().find(|c| c.type_ == "AbleToScale").context("no AbleToScale")?;
        ensure!(
            able.reason.as_deref() == Some("ScaleDownStabilized") && status.desired_replicas == 10,
            "the HPA does not hold 10 by its own window: it wants {}, {able:?}",
            status.desired_replicas
        );
        let held = between(start, told);
        report(&format!("{name}: the hold ended after {held:?}; the HPA keeps 10 by its own window"));
        Ok(())
    }

    /// Waits until an HPA has seen 0 replicas. Before its first look it has no memory, and would begin it with the
    /// replicas that are there (`recordInitialRecommendation`), 10 for example: that is the easy case.
    async fn hpa_has_seen_nothing(&self, hpa: &str) -> anyhow::Result<()> {
        eventually(SOON, &format!("HPA {hpa} has seen 0 replicas"), async || {
            let status = self.ns.api::<HorizontalPodAutoscaler>().get(hpa).await?.status.unwrap_or_default();
            let conditions = status.conditions.unwrap_or_default();
            let disabled = conditions.iter().any(|c| c.reason.as_deref() == Some("ScalingDisabled"));
            ensure!(disabled, "its conditions are {conditions:?}");
            Ok(())
        })
        .await
    }

    async fn hpa_status(&self, name: &str) -> anyhow::Result<HorizontalPodAutoscalerStatus> {
        self.ns.hpa(name).await?.and_then(|hpa| hpa.status).with_context(|| format!("the HPA of {name} has no status"))
    }

    /// How often the HPA controller was answered for an object.
    async fn hpa_questions(&self, name: &str, from: Timestamp, until: Timestamp) -> anyhow::Result<usize> {
        let entries = self.rig.audit().since(from).await?;
        let asked = entries.iter().filter(|entry| {
            entry.user == HPA_USER
                && entry.group == "external.metrics.k8s.io"
                && entry.uri.contains(&format!("/{}?", metric_of(name)))
                && entry.succeeded()
                && entry.received < until
        });
        Ok(asked.count())
    }

    async fn hpa_has_asked(&self, name: &str, from: Timestamp, times: usize) -> anyhow::Result<()> {
        eventually(WATCH, &format!("the HPA has asked for {name} {times} times"), async || {
            let asked = self.hpa_questions(name, from, Timestamp::MAX).await?;
            ensure!(asked >= times, "it was answered {asked} times");
            Ok(())
        })
        .await
    }

    async fn operator_wrote_once(&self, name: &str) -> anyhow::Result<()> {
        let writes = self.rig.audit().scale_writes(self.ns.name(), name).await?;
        let by_operator = writes.iter().filter(|entry| entry.user == OPERATOR_USER && entry.succeeded()).count();
        ensure!(by_operator == 1, "the operator wrote {by_operator} times:\n{}", self.log.timeline(name));
        Ok(())
    }
}

fn metric_of(queue: &str) -> String {
    format!("s0-rabbitmq-{queue}")
}

fn scale_up(spec: &mut Value, rules: Value) {
    spec["advanced"] = json!({"horizontalPodAutoscalerConfig": {"behavior": {"scaleUp": rules}}});
}

/// Zero if `to` was earlier.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// Said whether the test passes or not: the harness hides only what is printed by macros.
fn report(line: &str) {
    let _nobody_reads = writeln!(std::io::stderr(), "defaults: {line}");
}
