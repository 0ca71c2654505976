//! Objects that stand at four replicas with messages waiting, and what must hold for them while a broker fails.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use windlass_tests::objects::rabbit_spec;
use windlass_tests::{Namespace, Operator, ReplicaLog, Rig, eventually, now};

/// The cooldown of every object here, unless a test says another.
pub const COOLDOWN: Duration = Duration::from_secs(8);
/// How long an outage lasts: more than two cooldowns, and more than the HPA's stabilisation.
pub const OUTAGE: Duration = Duration::from_secs(21);
/// Messages waiting for each object.
pub const BACKLOG: u64 = 40;
/// What they are worth, ten for each replica.
pub const FULL: i32 = 4;
/// For everything that is not what is measured.
const SOON: Duration = Duration::from_secs(60);
/// A failing broker is asked each 5.5 s at the longest; the rest is for a busy machine.
const RECOVERY: Duration = Duration::from_secs(30);

/// One object: its own name, which is its Deployment's and its queue's too, and its spec.
#[derive(Debug, Clone)]
pub struct Worker {
    pub name: String,
    pub spec: Value,
    /// A part of what its condition must say in an outage.
    pub says: &'static str,
}

impl Worker {
    /// The object of any trigger that is worth four replicas.
    pub fn new(name: &str, cooldown: Duration, trigger: &Value, says: &'static str) -> Self {
        let spec = json!({"scaleTargetRef": {"name": name}, "minReplicaCount": 0, "maxReplicaCount": FULL,
            "cooldownPeriod": cooldown.as_secs(), "triggers": [trigger]});
        Self { name: name.to_owned(), spec, says }
    }
}

/// A worker by RabbitMQ with the usual cooldown.
pub fn worker(name: &str, host: &str, says: &'static str) -> Worker {
    let spec = rabbit_spec(name, host, name, 10, FULL);
    Worker::new(name, COOLDOWN, &spec["triggers"][0], says)
}

/// The objects of one namespace.
pub struct Workers {
    pub ns: Namespace,
    pub log: ReplicaLog,
    pub all: Vec<Worker>,
    started: Timestamp,
}

impl Workers {
    /// Creates them and waits until each has its four replicas, and says that all is well.
    pub async fn start(rig: &Rig, prefix: &str, all: Vec<Worker>) -> anyhow::Result<Self> {
        Self::start_in(rig.namespace(prefix).await?, all).await
    }

    /// The same in a namespace that is there.
    pub async fn start_in(ns: Namespace, all: Vec<Worker>) -> anyhow::Result<Self> {
        let log = ns.replica_log().await?;
        try_join_all(all.iter().map(async |worker| {
            ns.deployment(&worker.name, 0, &[]).await?;
            ns.scaled_object(&worker.name, &worker.spec).await
        }))
        .await?;
        let this = Self { ns, log, all, started: now() };
        try_join_all(this.all.iter().map(async |Worker { name, .. }| {
            this.log.wait_spec(name, FULL, SOON).await?;
            this.ns.wait_condition(name, "Ready", "True", SOON).await?;
            this.ns.wait_condition(name, "Active", "True", SOON).await?;
            eventually(SOON, "the HPA is served", async || this.served(name).await).await?;
            // Events are told after all else: what is logged later is about something new.
            this.ns.wait_event(name, "KEDAScaleTargetActivated", SOON).await?;
            this.ns.wait_hpa(name, SOON).await
        }))
        .await?;
        Ok(this)
    }

    /// Watches an outage that has begun: nothing moves for `window`, and the objects say why.
    pub async fn endure(&self, window: Duration) -> anyhow::Result<()> {
        let all: Vec<_> = self.all.iter().map(|worker| (&*worker.name, worker.says)).collect();
        self.endure_as(&all, window).await
    }

    /// The same of some of them, each with what it must say.
    pub async fn endure_as(&self, some: &[(&str, &str)], window: Duration) -> anyhow::Result<()> {
        try_join_all(some.iter().map(async |(name, says)| {
            let told = self.told(name, says);
            let still = self.log.never(name, window, "a move in an outage", |row| row.spec != FULL);
            tokio::try_join!(told, still).map(drop)
        }))
        .await?;
        // Long after the last good reading the HPA gets an error, never a number.
        for (name, _) in some {
            let served = self.served(name).await;
            ensure!(served.is_err(), "{name}: the HPA is told {served:?} in an outage");
            let moved = self.log.ensure_went(name, &[0, FULL]);
            moved.with_context(|| format!("{name} has moved in an outage"))?;
        }
        Ok(())
    }

    /// The conditions say that and why the object cannot be read. The reason may change on the way there: where the machine
    /// is busy, an answer that comes late is told as one that did not come first.
    async fn told(&self, name: &str, says: &str) -> anyhow::Result<()> {
        eventually(SOON, "the object says why it cannot be read", async || {
            let ready = self.ns.condition(name, "Ready").await?;
            ensure!(ready["status"] == "False" && ready["reason"] == "TriggerError", "{name}: {ready}");
            let message = ready["message"].as_str().unwrap_or_default();
            ensure!(message.starts_with("spec.triggers[0].metadata."), "{name}: no field in {message:?}");
            ensure!(message.contains(says), "{name}: {says:?} is not in {message:?}");
            Ok(())
        })
        .await?;
        let active = self.ns.condition(name, "Active").await?;
        ensure!(active["status"] == "Unknown", "{name}: {active}");
        Ok(())
    }

    /// Exactly this many events of each reason for each object: one for each change of state, whatever it was.
    pub async fn ensure_events(&self, expected: &[(&str, usize)]) -> anyhow::Result<()> {
        let expected: BTreeMap<String, usize> =
            expected.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect();
        try_join_all(self.all.iter().map(async |Worker { name, .. }| {
            eventually(Duration::from_secs(30), "the events are there", async || {
                let mut counts = BTreeMap::new();
                for event in self.ns.events(name).await? {
                    let ours = event.involved_object.kind.as_deref() == Some("ScaledObject");
                    let reason = event.reason.unwrap_or_default();
                    if ours && expected.contains_key(&reason) {
                        *counts.entry(reason).or_insert(0) += usize::try_from(event.count.unwrap_or(1))?;
                    }
                }
                ensure!(counts == expected, "{name} has events {counts:?}, not {expected:?}");
                Ok(())
            })
            .await
        }))
        .await?;
        Ok(())
    }

    /// The operator's log has at most `most` lines about each object since its length was `from`.
    pub fn ensure_log(&self, operator: &Operator, from: usize, most: usize) -> anyhow::Result<()> {
        let log = operator.log();
        for Worker { name, .. } in &self.all {
            let object = format!("{}/{name}", self.ns.name());
            let about =
                |line: &&str| line.split(|c: char| c.is_whitespace() || c == '=' || c == '"').any(|w| w == object);
            let lines: Vec<&str> = log[from..].lines().filter(about).collect();
            ensure!(lines.len() <= most, "{} lines about {object}, not {most}:\n{}", lines.len(), lines.join("\n"));
        }
        Ok(())
    }

    /// The outage has ended with the messages still there: the object is well again and never moved.
    pub async fn ensure_kept(&self, names: &[&str]) -> anyhow::Result<()> {
        try_join_all(names.iter().map(async |name| {
            self.ns.wait_condition(name, "Ready", "True", RECOVERY).await?;
            self.ns.wait_condition(name, "Active", "True", RECOVERY).await?;
            eventually(RECOVERY, "the HPA is served again", async || self.served(name).await).await?;
            // Longer than a cooldown: nothing was only put off.
            let longer = self.cooldown(name)? + Duration::from_secs(2);
            self.log.never(name, longer, "a move after it", |row| row.spec != FULL).await?;
            self.log.ensure_went(name, &[0, FULL])
        }))
        .await?;
        Ok(())
    }

    /// The queue was found empty after the outage, which ended at `healed`: not before a whole cooldown later the object
    /// goes to rest, and then it does.
    pub async fn ensure_rests(&self, names: &[&str], healed: Timestamp) -> anyhow::Result<()> {
        try_join_all(names.iter().map(async |name| {
            let cooldown = self.cooldown(name)?;
            let at = self.rest(name, cooldown + RECOVERY).await?;
            let quiet = at.duration_since(healed);
            println!("{}/{name}: at rest {:.1} s after the outage", self.ns.name(), quiet.as_secs_f64());
            let least = SignedDuration::try_from(cooldown)? - SignedDuration::from_secs(1);
            ensure!(quiet >= least, "{name}: at rest {quiet:?} after the outage:\n{}", self.log.timeline(name));
            self.ns.wait_condition(name, "Ready", "True", RECOVERY).await.map(drop)
        }))
        .await?;
        Ok(())
    }

    fn cooldown(&self, name: &str) -> anyhow::Result<Duration> {
        let worker = self.all.iter().find(|worker| worker.name == name);
        let seconds = worker.and_then(|worker| worker.spec["cooldownPeriod"].as_u64());
        seconds.map(Duration::from_secs).with_context(|| format!("no cooldown of {name}"))
    }

    /// Waits until the object is at rest: when that was first seen.
    pub async fn rest(&self, name: &str, deadline: Duration) -> anyhow::Result<Timestamp> {
        self.log.wait_spec(name, 0, deadline).await?;
        let rows = self.log.rows(name);
        let busy = rows.iter().rposition(|row| row.spec > 0).context("it never had replicas")?;
        let first = rows.get(busy + 1).context("no row at rest")?;
        ensure!(first.at > self.started, "at rest before it began");
        Ok(first.at)
    }

    /// What the HPA is told.
    async fn served(&self, name: &str) -> anyhow::Result<Value> {
        let status = self.ns.status(name).await?;
        let metric = status["externalMetricNames"][0].as_str().context("no metric in the status")?;
        self.ns.external_metric(metric, name).await
    }
}
