//! The operator is killed again and again, at any moment, while objects come, change and go: whatever was half done is
//! finished or undone, and nothing is done twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{DeleteParams, ListParams};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;
use windlass_tests::objects::rabbit_spec;
use windlass_tests::{
    Broker, Manifests, Namespace, OPERATOR_USER, Operator, OperatorOptions, Rabbit, Rig, RigOptions, duplicate_writes,
    eventually, never, now, run_within, shared_rabbit,
};

const SOON: Duration = Duration::from_secs(60);
const KILLS: usize = 20;
const OBJECTS: usize = 12;
/// Cooldown of the objects, and the HPA's stabilisation: short, so that the end state comes soon.
const COOLDOWN: u64 = 3;

/// What an object should be.
#[derive(Debug, Clone)]
struct Wanted {
    name: String,
    exists: bool,
    messages: u64,
    value: u32,
    max: i32,
    hpa: Option<String>,
}

impl Wanted {
    fn replicas(&self) -> i32 {
        if self.messages == 0 {
            return 0;
        }
        let demand = self.messages.div_ceil(u64::from(self.value));
        i32::try_from(demand).unwrap_or(i32::MAX).clamp(1, self.max)
    }

    fn hpa_name(&self) -> String {
        self.hpa.clone().unwrap_or_else(|| format!("windlass-hpa-{}", self.name))
    }

    fn spec(&self, host: &str) -> Value {
        let mut spec = rabbit_spec(&self.name, host, &self.name, self.value, self.max);
        spec["cooldownPeriod"] = COOLDOWN.into();
        if let Some(name) = &self.hpa {
            spec["advanced"]["horizontalPodAutoscalerConfig"]["name"] = name.as_str().into();
        }
        spec
    }
}

/// What people and producers do all the time: the model of what the cluster should come to.
struct Activity<'a> {
    ns: &'a Namespace,
    rabbit: &'a Rabbit,
    host: String,
    rng: StdRng,
    objects: Vec<Wanted>,
    /// Counts what was done, by kind.
    done: BTreeMap<&'static str, u32>,
}

impl Activity<'_> {
    async fn prepare(&mut self) -> anyhow::Result<()> {
        try_join_all(self.objects.iter().map(async |object| {
            self.rabbit.declare(&object.name).await?;
            self.ns.deployment(&object.name, 0, &[]).await.map(drop)
        }))
        .await?;
        Ok(())
    }

    /// One thing to one object. Message counts are such that no ratio lies within the HPA's tolerance of 10 %.
    async fn step(&mut self) -> anyhow::Result<()> {
        let index = self.rng.random_range(0..self.objects.len());
        let mut object = self.objects[index].clone();
        let kind = match (object.exists, self.rng.random_range(0..16)) {
            (false, 0..12) | (true, 0) => "create or delete",
            (true, 1..3) => "edit",
            (true, 3) => "rename HPA",
            _ => "work",
        };
        match kind {
            "create or delete" if object.exists => {
                self.ns.scaled_objects().delete(&object.name, &DeleteParams::default()).await?;
                object.exists = false;
            }
            "create or delete" => {
                object.exists = true;
                self.ns.scaled_object(&object.name, &object.spec(&self.host)).await?;
            }
            "edit" => {
                object.value = *[5, 10].choose(&mut self.rng).context("a choice")?;
                object.max = *[3, 6].choose(&mut self.rng).context("a choice")?;
                self.ns.scaled_object(&object.name, &object.spec(&self.host)).await?;
            }
            "rename HPA" => {
                // Several times in a row, so that a name is left again while the move to it is half done.
                for _ in 0..self.rng.random_range(1..4) {
                    object.hpa = match self.rng.random_range(0..4) {
                        0 => None,
                        n => Some(format!("own-{}-{n}", object.name)),
                    };
                    self.ns.scaled_object(&object.name, &object.spec(&self.host)).await?;
                    sleep(Duration::from_millis(self.rng.random_range(0..100))).await;
                }
            }
            _ => {
                let messages = *[0, 0, 0, 5, 15, 25, 35, 45].choose(&mut self.rng).context("a choice")?;
                match messages.cmp(&object.messages) {
                    std::cmp::Ordering::Less => drop(self.rabbit.drain(&object.name, messages).await?),
                    _ => self.rabbit.publish(&object.name, messages - object.messages).await?,
                }
                object.messages = messages;
            }
        }
        *self.done.entry(kind).or_default() += 1;
        self.objects[index] = object;
        Ok(())
    }

    /// Until the last kill.
    async fn go_on(&mut self, mut end: watch::Receiver<bool>) -> anyhow::Result<()> {
        while !*end.borrow_and_update() {
            self.step().await.with_context(|| format!("after {:?}", self.done))?;
            let pause = Duration::from_millis(self.rng.random_range(10..120));
            let _next_step = tokio::time::timeout(pause, end.changed()).await;
        }
        Ok(())
    }
}

/// The API server's own time of the last renewal.
async fn renewed(rig: &Rig) -> anyhow::Result<Option<Timestamp>> {
    Ok(rig.lease().await?.and_then(|lease| lease.spec?.renew_time).map(|time| time.0))
}

/// Kills and starts the operator; returns how long each new one took to renew the lease.
async fn kill(rig: &Rig, operator: &mut Operator, rng: &mut StdRng) -> anyhow::Result<Vec<Duration>> {
    let mut took = Vec::new();
    for nth in 0..KILLS {
        sleep(Duration::from_millis(rng.random_range(50..1800))).await;
        operator.kill9()?;
        let killed = now();
        operator.restart()?;
        // A quarter dies while it is starting.
        if rng.random_range(0..4) > 0 || nth + 1 == KILLS {
            let renewal = eventually(SOON, "the operator that was started again has the lease", async || {
                let renewal = renewed(rig).await?.filter(|renewal| *renewal > killed);
                renewal.with_context(|| format!("not renewed since {killed}"))
            });
            took.push(renewal.await?.duration_since(killed).try_into()?);
        }
    }
    Ok(took)
}

/// All is as the model says; `Err` says what is not.
async fn is_right(ns: &Namespace, objects: &[Wanted]) -> anyhow::Result<()> {
    let hpas = ns.api::<HorizontalPodAutoscaler>().list(&ListParams::default()).await?.items;
    let there: BTreeSet<String> = hpas.iter().filter_map(|hpa| hpa.metadata.name.clone()).collect();
    let wanted: BTreeSet<String> = objects.iter().filter(|o| o.exists).map(Wanted::hpa_name).collect();
    ensure!(
        there == wanted,
        "HPAs that should not be there: {:?}; missing: {:?}",
        there.difference(&wanted).collect::<Vec<_>>(),
        wanted.difference(&there).collect::<Vec<_>>()
    );
    let listed = ns.scaled_objects().list(&ListParams::default()).await?.items;
    let deployments = ns.api::<k8s_openapi::api::apps::v1::Deployment>().list(&ListParams::default()).await?.items;
    for object in objects.iter().filter(|object| object.exists) {
        let Wanted { name, .. } = object;
        let of = |item: &&kube::api::DynamicObject| item.metadata.name.as_ref() == Some(name);
        let seen = listed.iter().find(of).with_context(|| format!("{name} is not there"))?;
        let hpa = hpas.iter().find(|hpa| hpa.metadata.name.as_ref() == Some(&object.hpa_name())).context("no HPA")?;
        let owners: Vec<&str> = hpa.metadata.owner_references.iter().flatten().map(|o| o.uid.as_str()).collect();
        ensure!(
            Some(owners.as_slice()) == seen.metadata.uid.as_deref().as_ref().map(std::slice::from_ref),
            "the HPA of {name} belongs to {owners:?}"
        );
        let spec = hpa.spec.as_ref().context("an HPA without a spec")?;
        ensure!(spec.max_replicas == object.max, "the HPA of {name} has maxReplicas {}", spec.max_replicas);
        let status = &seen.data["status"];
        let condition = |kind: &str| {
            let all = status["conditions"].as_array().cloned().unwrap_or_default();
            all.into_iter().find(|c| c["type"] == kind).unwrap_or_default()
        };
        ensure!(condition("Ready")["status"] == "True", "{name}: {}", condition("Ready"));
        let active = if object.messages > 0 { "True" } else { "False" };
        ensure!(condition("Active")["status"] == active, "{name}: {}", condition("Active"));
        ensure!(status["observedGeneration"] == seen.metadata.generation.unwrap_or_default(), "{name}: an old status");
        ensure!(status["hpaName"] == object.hpa_name(), "{name}: hpaName {}", status["hpaName"]);
        let deployment = deployments.iter().find(|d| d.metadata.name.as_ref() == Some(name)).context("no target")?;
        let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        ensure!(replicas == object.replicas(), "{name} has {replicas} replicas, not {}: {object:?}", object.replicas());
    }
    Ok(())
}

#[test]
fn an_operator_that_is_killed_twenty_times_leaves_the_right_state_and_writes_nothing_twice() {
    run_within(Duration::from_secs(180), async {
        let seed = std::env::var("WINDLASS_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| now().as_nanosecond() as u64 % 1_000_000);
        println!("seed {seed}: WINDLASS_SEED repeats the order of actions and the moments of the kills");

        let start = async {
            let second = Duration::from_secs(1);
            let options = RigOptions { hpa_sync: second, hpa_stabilisation: 2 * second, ..RigOptions::default() };
            let rig = Rig::start(options).await?;
            rig.install(&Manifests::repository()?).await?;
            let operator = Operator::start(&rig, OperatorOptions::named("mortal")).await?;
            operator.wait_ready(SOON).await?;
            Ok((rig, operator))
        };
        let ((rig, mut operator), rabbit) = tokio::try_join!(start, shared_rabbit())?;
        let ns = rig.namespace("crashes").await?;
        let objects = (0..OBJECTS)
            .map(|n| Wanted { name: format!("crash-{n}"), exists: false, messages: 0, value: 10, max: 6, hpa: None })
            .collect();
        let rng = StdRng::seed_from_u64(seed);
        let mut activity = Activity { ns: &ns, rabbit, host: rabbit.amqp_url(), rng, objects, done: BTreeMap::new() };
        activity.prepare().await?;

        let began = Instant::now();
        let (stop, stopped) = watch::channel(false);
        let mut moments = StdRng::seed_from_u64(seed.wrapping_add(1));
        let kills = async {
            let took = kill(&rig, &mut operator, &mut moments).await;
            stop.send_replace(true);
            took
        };
        let (took, ()) = tokio::try_join!(kills, activity.go_on(stopped))?;
        let longest = took.iter().max().copied().unwrap_or_default();
        println!(
            "{KILLS} kills in {:.1?}, lease taken again within {longest:.1?} each, done meanwhile: {:?}",
            began.elapsed(),
            activity.done
        );
        ensure!(longest < Duration::from_secs(5), "an operator waited for its own lease: {took:?}");

        let began = Instant::now();
        let objects = activity.objects;
        eventually(SOON, &format!("the end state is right (seed {seed})"), async || is_right(&ns, &objects).await)
            .await?;
        println!("right {:.1?} after the last kill", began.elapsed());
        // The HPA controller may put its old number back over a fresh 0: seen, and corrected at once.
        let corrected = Duration::from_secs(2);
        let right = Mutex::new(Instant::now());
        let watch = Duration::from_secs(5);
        never(watch, "the right state left for more than a moment", async || {
            let wrong = is_right(&ns, &objects).await.err();
            let mut right = right.lock().unwrap_or_else(PoisonError::into_inner);
            if wrong.is_none() {
                *right = Instant::now();
            }
            Ok(wrong.filter(|_| right.elapsed() > corrected))
        })
        .await?;

        let entries = rig.audit().settled().await?;
        let twice = duplicate_writes(&entries, OPERATOR_USER);
        let written = entries.iter().filter(|e| e.user == OPERATOR_USER && e.is_write() && e.succeeded());
        let written = written.fold(BTreeMap::<String, u32>::new(), |mut all, entry| {
            *all.entry(entry.target()).or_default() += 1;
            all
        });
        println!("written by the operators: {written:?}");
        ensure!(written.get("deployments/scale").is_some_and(|n| *n > 5), "too little happened: {written:?}");
        let show = |entry: &windlass_tests::Entry| {
            format!("{} {} {}: {}", entry.received, entry.target(), entry.name, entry.body.clone().unwrap_or_default())
        };
        let twice: Vec<String> = twice.into_iter().map(|(a, b)| format!("{}\n{}", show(a), show(b))).collect();
        ensure!(twice.is_empty(), "written twice (seed {seed}):\n{}", twice.join("\n\n"));
        ensure!(rig.audit().refused(OPERATOR_USER).await?.is_empty(), "something was refused");
        ensure!(!operator.log().contains("panicked"), "a panic in {}", operator.process().log_path().display());
        Ok(())
    });
}
