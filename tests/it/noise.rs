//! What the operator says while a hundred objects are broken, in virtual time: of each object one Event and one line of the log,
//! then one line a minute about all of them.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;
use tracing_subscriber::fmt::MakeWriter;
use windlass_kubesim::api::Selector;
use windlass_kubesim::behaviour::Settings;
use windlass_rehearsal::{Mood, Replica, ReplicaOptions, World, WorldOptions};

const OBJECTS: usize = 100;
const BROKER: &str = "rabbit";
const EVENTS: (&str, &str) = ("", "events");

/// The lines of the log of one thread.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8(bytes).expect("UTF-8").lines().map(str::to_owned).collect()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn object(name: &str) -> [Value; 2] {
    let labels = json!({"app": name});
    [
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels}, "spec": {"containers": [{"name": "worker", "image": "worker"}]}}},
        }),
        json!({
            "apiVersion": "windlass.dev/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"scaleTargetRef": {"name": name}, "maxReplicaCount": 4, "triggers": [{"type": "rabbitmq", "metadata": {
                "host": format!("amqp://guest:guest@{BROKER}:5672/"), "queueName": name, "mode": "QueueLength", "value": "10"}}]},
        }),
    ]
}

/// How many Events of which reason there are, and the most for one object.
fn events(world: &World) -> BTreeMap<String, (usize, usize)> {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for event in world.cluster.list(EVENTS, Some("default"), &Selector::default()) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        *counts.entry((text(&event["reason"]), text(&event["involvedObject"]["name"]))).or_default() += 1;
    }
    let mut reasons: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for ((reason, _), count) in counts.into_iter().filter(|((reason, _), _)| !reason.contains("Rescale")) {
        let (all, most) = reasons.entry(reason).or_default();
        (*all, *most) = (*all + count, (*most).max(count));
    }
    reasons
}

fn each_once(reasons: &[&str]) -> BTreeMap<String, (usize, usize)> {
    reasons.iter().map(|reason| ((*reason).to_owned(), (OBJECTS, 1))).collect()
}

/// The lines about single objects, and the others.
fn sorted(lines: Vec<String>) -> (Vec<String>, Vec<String>) {
    lines.into_iter().partition(|line| line.contains("object="))
}

#[test]
fn a_hundred_broken_objects_are_told_once_each_and_then_together_once_a_minute() {
    let log = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let world = World::new(WorldOptions {
            seed: 1,
            figure: Box::new(|_| Some(0.0)),
            faults: None,
            behaviour: Settings::default(),
            loads: None,
            audit: usize::MAX,
        });
        let world = world.expect("a world");
        let names: Vec<String> = (0..OBJECTS).map(|n| format!("worker-{n:03}")).collect();
        for manifest in names.iter().flat_map(|name| object(name)) {
            world.create(manifest).expect("valid");
        }
        let options = ReplicaOptions::new("one", SocketAddr::from(([10, 0, 0, 1], 6443)), 1);
        let replica = Replica::start(&world.cluster, &world.brokers, &world.clock, &options);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(events(&world), each_once(&["ScaledObjectReady"]));
        log.take();
        let _ = world.cluster.take_audit();

        world.brokers.set_mood(BROKER, Mood::Refuses);
        sleep(Duration::from_secs(10 * 60)).await;
        let (about_one, about_all) = sorted(log.take());
        assert_eq!(about_one.len(), OBJECTS, "{about_one:#?}");
        for name in &names {
            let lines: Vec<_> = about_one.iter().filter(|line| line.contains(&format!("/{name} "))).collect();
            assert!(lines.len() == 1 && lines[0].contains("KEDAScalerFailed"), "{name}: {lines:?}");
        }
        let wanted = "objects that cannot be read: 100 (rabbitmq: cannot be reached: 100)";
        assert!(about_all.iter().all(|line| line.contains(wanted) && line.contains("WARN")), "{about_all:#?}");
        assert_eq!(about_all.len(), 10, "{about_all:#?}");
        assert_eq!(events(&world), each_once(&["ScaledObjectReady", "KEDAScalerFailed"]));
        let written = world.cluster.take_audit();
        let ours = |resource: &str| {
            let is_write = |verb: &str| !["get", "list", "watch"].contains(&verb);
            let ours = written.iter().filter(|it| it.user.ends_with(":one") && is_write(it.verb));
            ours.filter(|it| it.resource == resource).count()
        };
        // The status says twice what has changed: that a reading has failed, and that none is good any more.
        assert_eq!((ours("events"), ours("scaledobjects"), ours("deployments")), (OBJECTS, 2 * OBJECTS, 0));

        world.brokers.set_mood(BROKER, Mood::Well);
        sleep(Duration::from_secs(5 * 60)).await;
        let (about_one, about_all) = sorted(log.take());
        assert_eq!(about_one.len(), OBJECTS, "{about_one:#?}");
        assert_eq!(about_all.len(), 1, "{about_all:#?}");
        assert!(about_all[0].contains("no object is in trouble any more"), "{about_all:#?}");
        assert_eq!(events(&world)["ScaledObjectReady"], (2 * OBJECTS, 2));
        drop(replica);
    });
}
