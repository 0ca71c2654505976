//! Lives one scenario: sets the world up, lets the faults happen at their times, waits until all is calm and writes down
//! what was seen. One thread, virtual time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};
use windlass_kubesim::behaviour::Settings;
use windlass_kubesim::load::{ArrivalProcess, Loads, QueueKey, Service, TargetKey};
use windlass_operator::mutant::{Mutant, infect};
use windlass_rehearsal::{Mood, Replica, ReplicaOptions, SYSTEM_NAMESPACE, World, WorldOptions};

use super::chaos::{Chaos, Death};
use super::events::{Edit, secret_text};
use super::fault::FaultKind;
use super::log::Log;
use super::oracles::{QUIET, Violation, judge};
use super::plan::{ObjectPlan, Scenario};
use super::record;

/// Who plays tricks on the Lease.
const STRANGER: &str = "stranger";
/// Who edits and scales by hand.
const PERSON: &str = "person";

/// What came of a scenario.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was seen.
    pub log: Log,
    /// What does not hold.
    pub violations: Vec<Violation>,
    /// CPU time of the run and of the one without faults that it is compared with.
    pub cpu: Duration,
}

impl Outcome {
    /// How many oracles complain.
    #[must_use]
    pub fn complaining(&self) -> usize {
        let mut oracles: Vec<_> = self.violations.iter().map(|violation| violation.oracle).collect();
        oracles.sort_unstable();
        oracles.dedup();
        oracles.len()
    }
}

/// Lives a scenario, and the same one without its faults, and judges. `mutant` gives the operator a deliberate bug in the
/// first of the two.
#[must_use]
pub fn run(scenario: &Scenario, mutant: Option<Mutant>) -> Outcome {
    let before = record::cpu_time();
    infect(None);
    let calm = live(&scenario.calm(), scenario.chaos_ends());
    infect(mutant);
    let log = live(scenario, scenario.chaos_ends());
    infect(None);
    let violations = judge(scenario, &log, &calm.end_state);
    Outcome { log, violations, cpu: record::cpu_time().saturating_sub(before) }
}

fn live(scenario: &Scenario, chaos_ends: Duration) -> Log {
    record::watch_for_panics();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without drivers can always be made");
    let end = chaos_ends + scenario.settling() + QUIET;
    runtime.block_on(async {
        let mut theatre = Theatre::new(scenario);
        theatre.play(end).await;
        theatre.log()
    })
}

/// One thing that happens at a time of its own.
#[derive(Debug, Clone, PartialEq)]
enum Act {
    Start(u8),
    Kill(u8),
    Stop(u8),
    Freeze(u8),
    Thaw(u8),
    ClockError(u8, i64),
    Moods,
    DeleteLease,
    StealLease,
    /// Somebody does something to the object of that number.
    Edit(usize, Edit),
    /// No more work comes to it.
    Silence(usize),
}

struct Theatre<'a> {
    scenario: &'a Scenario,
    world: World,
    loads: Loads,
    chaos: Arc<Chaos>,
    dying: UnboundedReceiver<Death>,
    began: Instant,
    acts: BTreeMap<(Duration, u32), Act>,
    acts_planned: u32,
    replicas: BTreeMap<u8, Replica>,
    starts: u64,
    feed: record::Feed,
    ended: Vec<(Duration, String)>,
}

impl<'a> Theatre<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let users = (0..scenario.replicas).map(|replica| options(replica, 0).user).collect();
        let (chaos, dying) = Chaos::new(scenario.faults.clone(), users);
        let chaos = Arc::new(chaos);
        let began = Instant::now();
        let objects = scenario.objects.clone();
        let loads = Loads::new(scenario.seed);
        let held = loads.clone();
        let world = World::new(WorldOptions {
            seed: scenario.seed,
            figure: Box::new(move |queue| {
                let object = objects.iter().find(|object| object.name == queue.queue)?;
                let scripted = || f64::from(object.level(began.elapsed()));
                let flowing = object.flow.as_ref().and_then(|_| held.backlog(&queue_of(object)));
                Some(flowing.map_or_else(scripted, |waiting| waiting as f64))
            }),
            faults: Some(chaos.clone()),
            behaviour: Settings::default(),
            loads: scenario.objects.iter().any(|object| object.flow.is_some()).then(|| loads.clone()),
            audit: usize::MAX,
        });
        let world = world.expect("the world of a scenario can always be set up");
        world.brokers.record();
        let feed = record::Feed::of(&world.cluster);
        for object in &scenario.objects {
            for made in manifests(object) {
                world.create(made).expect("what a scenario scales is valid");
            }
            if let Some(flow) = &object.flow {
                let workers = TargetKey::new("default", "Deployment", &object.name);
                let (service, arrivals) = (f64::from(flow.per_pod) / 60.0, f64::from(flow.per_minute) / 60.0);
                let (service, arrivals) = (Service::per_pod(service), ArrivalProcess::constant(arrivals));
                let added = loads.add(queue_of(object), Some(workers), service, &arrivals);
                added.expect("each queue is added once, with rates that can be");
            }
        }
        let mut theatre = Self {
            scenario,
            world,
            loads,
            chaos,
            dying,
            began,
            acts: BTreeMap::new(),
            acts_planned: 0,
            replicas: BTreeMap::new(),
            starts: 0,
            feed,
            ended: Vec::new(),
        };
        theatre.plan();
        theatre
    }

    fn plan(&mut self) {
        for replica in 0..self.scenario.replicas {
            self.at(Duration::from_secs(u64::from(replica)), Act::Start(replica));
        }
        for (nth, object) in self.scenario.objects.iter().enumerate() {
            for edit in &object.edits {
                self.at(Duration::from_secs(edit.at), Act::Edit(nth, edit.clone()));
            }
            if let Some(flow) = &object.flow {
                self.at(Duration::from_secs(flow.until), Act::Silence(nth));
            }
        }
        for fault in &self.scenario.faults {
            let (from, until) =
                (Duration::from_millis(fault.at_ms), Duration::from_millis(fault.at_ms + fault.lasts_ms));
            match &fault.kind {
                FaultKind::Api { .. } | FaultKind::Watch { .. } | FaultKind::KillAtWrite { .. } => {}
                FaultKind::Kill { replica, .. } => {
                    self.at(from, Act::Kill(*replica));
                    self.at(until, Act::Start(*replica));
                }
                FaultKind::Restart { replica, .. } => {
                    self.at(from, Act::Stop(*replica));
                    self.at(until, Act::Start(*replica));
                }
                FaultKind::Freeze { replica } => {
                    self.at(from, Act::Freeze(*replica));
                    self.at(until, Act::Thaw(*replica));
                }
                FaultKind::Clock { replica, error_ms } => {
                    self.at(from, Act::ClockError(*replica, *error_ms));
                    self.at(until, Act::ClockError(*replica, 0));
                }
                FaultKind::Broker { .. } => {
                    self.at(from, Act::Moods);
                    self.at(until, Act::Moods);
                }
                FaultKind::LeaseDeleted => self.at(from, Act::DeleteLease),
                FaultKind::LeaseStolen => self.at(from, Act::StealLease),
            }
        }
    }

    fn at(&mut self, time: Duration, act: Act) {
        self.acts.insert((time, self.acts_planned), act);
        self.acts_planned += 1;
    }

    async fn play(&mut self, end: Duration) {
        loop {
            let next = self.acts.keys().next().map_or(end, |(at, _)| *at).min(end);
            tokio::select! {
                biased;
                Some(death) = self.dying.recv() => {
                    let now = self.began.elapsed();
                    self.at(now + death.after, Act::Kill(death.replica));
                    self.at(now + death.after + death.down, Act::Start(death.replica));
                }
                () = sleep_until(self.began + next) => {
                    if next >= end {
                        break;
                    }
                    while let Some(entry) = self.acts.first_entry().filter(|entry| entry.key().0 <= next) {
                        let act = entry.remove();
                        self.act(act).await;
                    }
                }
            }
            self.notice_ends();
        }
        self.notice_ends();
    }

    async fn act(&mut self, act: Act) {
        self.feed.note(&self.world, &format!("{act:?}"));
        match act {
            Act::Start(replica) if !self.replicas.contains_key(&replica) => {
                self.starts += 1;
                let seed = self.scenario.seed.wrapping_mul(31).wrapping_add(self.starts);
                let World { cluster, brokers, clock, .. } = &self.world;
                let started = Replica::start(cluster, brokers, clock, &options(replica, seed));
                self.chaos.born(replica, started.process().clone());
                self.replicas.insert(replica, started);
            }
            Act::Start(_) => {}
            Act::Kill(replica) => {
                if let Some(replica) = self.replicas.remove(&replica) {
                    replica.kill();
                }
            }
            Act::Stop(replica) => {
                if let Some(stopping) = self.replicas.remove(&replica) {
                    // A frozen process ends when it goes on.
                    stopping.thaw();
                    if let Err(how) = stopping.stop().await {
                        self.ended.push((self.began.elapsed(), format!("replica {replica} ended badly: {how}")));
                    }
                }
            }
            Act::Freeze(replica) => self.with(replica, Replica::freeze),
            Act::Thaw(replica) => self.with(replica, Replica::thaw),
            Act::ClockError(replica, ms) => self.with(replica, |replica| replica.clock().set_error_ms(ms)),
            Act::Moods => self.set_moods(),
            Act::DeleteLease => record::delete_lease(&self.world.cluster, STRANGER),
            Act::StealLease => record::steal_lease(&self.world.cluster, STRANGER),
            Act::Edit(nth, edit) => {
                record::edit(&self.world.cluster, PERSON, &self.scenario.objects[nth].name, edit.change);
            }
            Act::Silence(nth) => {
                let silenced =
                    self.loads.set_arrivals(&queue_of(&self.scenario.objects[nth]), &ArrivalProcess::silent());
                silenced.expect("its queue was added");
            }
        }
    }

    fn with(&self, replica: u8, act: impl Fn(&Replica)) {
        if let Some(replica) = self.replicas.get(&replica) {
            act(replica);
        }
    }

    /// Each broker has the mood of the fault that began last.
    fn set_moods(&self) {
        let now = self.began.elapsed();
        let mut moods: BTreeMap<&str, Mood> = BTreeMap::new();
        for fault in &self.scenario.faults {
            if let FaultKind::Broker { broker, mood } = &fault.kind {
                let from = Duration::from_millis(fault.at_ms);
                let is_now = from <= now && now < from + Duration::from_millis(fault.lasts_ms);
                let known = moods.entry(broker).or_default();
                if is_now {
                    *known = (*mood).into();
                }
            }
        }
        moods.into_iter().for_each(|(broker, mood)| self.world.brokers.set_mood(broker, mood));
    }

    fn notice_ends(&mut self) {
        let now = self.began.elapsed();
        let ended: Vec<_> = self.replicas.iter().filter(|(_, r)| r.has_ended()).map(|(name, _)| *name).collect();
        for replica in ended {
            self.replicas.remove(&replica);
            self.ended.push((now, format!("replica {replica} has ended although nobody asked")));
        }
        self.ended.extend(record::panics().into_iter().map(|what| (now, format!("panic: {what}"))));
    }

    fn log(&mut self) -> Log {
        let names = (0..self.scenario.replicas).map(|replica| options(replica, 0).identity).collect();
        let ended = std::mem::take(&mut self.ended);
        self.feed.log(&self.world, names, ended)
    }
}

fn options(replica: u8, seed: u64) -> ReplicaOptions {
    let address = SocketAddr::from(([10, 0, 0, replica + 1], 6443));
    ReplicaOptions::new(&format!("replica-{replica}"), address, seed)
}

fn queue_of(object: &ObjectPlan) -> QueueKey {
    QueueKey::new(&object.broker, "/", &object.name)
}

/// The Deployment and the scaled object of a plan.
fn manifests(object: &ObjectPlan) -> Vec<Value> {
    let ObjectPlan { name, broker, .. } = object;
    let labels = json!({"app": name});
    let mut spec = json!({
        "scaleTargetRef": {"name": name},
        "minReplicaCount": object.min,
        "maxReplicaCount": object.max,
        "cooldownPeriod": object.cooldown,
        "triggers": [{"type": "rabbitmq", "metadata": {
            "host": format!("amqp://guest:guest@{broker}:5672/"), "queueName": name, "mode": "QueueLength",
            "value": object.target.to_string(), "activationValue": object.activation.to_string(),
        }}],
    });
    if let Some(seconds) = object.polling {
        spec["pollingInterval"] = json!(seconds);
    }
    if let Some(replicas) = object.fallback {
        let behavior = "currentReplicasIfHigher";
        spec["fallback"] = json!({"failureThreshold": 1, "replicas": replicas, "behavior": behavior});
    }
    if object.secret {
        let metadata = &mut spec["triggers"][0]["metadata"];
        metadata["host"] = format!("amqp://{broker}:5672/").into();
        metadata["username"] = "guest".into();
        spec["triggers"][0]["authenticationRef"] = json!({"name": name});
    }
    let mut behavior = json!({});
    if let Some(seconds) = object.window {
        behavior["scaleDown"] = json!({"stabilizationWindowSeconds": seconds});
    }
    if let Some(pods) = object.step {
        behavior["scaleUp"] = json!({"policies": [{"type": "Pods", "value": pods, "periodSeconds": 15}]});
    }
    if behavior != json!({}) {
        spec["advanced"] = json!({"horizontalPodAutoscalerConfig": {"behavior": behavior}});
    }
    let mut manifests = Vec::new();
    if object.secret {
        let metadata = json!({"name": name, "namespace": "default"});
        let reference = json!([{"parameter": "password", "name": name, "key": "password"}]);
        manifests.push(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata,
            "data": {"password": secret_text(&object.password(Duration::ZERO))}}));
        manifests.push(json!({"apiVersion": "windlass.dev/v1alpha1", "kind": "TriggerAuthentication",
            "metadata": metadata, "spec": {"secretTargetRef": reference}}));
    }
    manifests.extend([
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "replicas": object.initial, "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels, "annotations": {"kubesim/ready-ms": object.ready_ms.to_string()}},
                    "spec": {"containers": [{"name": "worker", "image": "worker"}]},
                },
            },
        }),
        json!({
            "apiVersion": "windlass.dev/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": name, "namespace": "default"}, "spec": spec,
        }),
    ]);
    manifests
}

/// The namespace of the Lease, for whoever plays tricks on it.
pub(super) const LEASE_NAMESPACE: &str = SYSTEM_NAMESPACE;
