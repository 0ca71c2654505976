//! What a person gets wrong: the object says which field it is and how to mend it, one event tells, nothing moves,
//! neighbours go on, no credential comes out, and once mended all is well without a restart.

use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use serde_json::{Value, json};
use windlass_tests::objects::rabbit_spec;
use windlass_tests::{Broker, Namespace, OPERATOR_USER, Shared, eventually, never, now, ports, run, shared};

const SOON: Duration = Duration::from_secs(60);
/// A password that must never be seen.
const CANARY: &str = "canary-5d1f7c";

/// A mistake in an otherwise good object of the same name, which scales a Deployment of that name.
struct Mistake {
    name: &'static str,
    /// Puts the mistake into a good spec.
    spoil: fn(&mut Value, &Places),
    /// What the condition and the event must say: the fields first.
    says: &'static [&'static str],
    reason: &'static str,
    event: &'static str,
}

/// Where the broker is.
struct Places {
    amqp: String,
    http: String,
    nobody: u16,
}

impl Mistake {
    /// One that is seen in the object alone, or in the cluster.
    const fn of_spec(name: &'static str, spoil: fn(&mut Value, &Places), says: &'static [&'static str]) -> Self {
        Self { name, spoil, says, reason: "ScaledObjectCheckFailed", event: "ScaledObjectCheckFailed" }
    }

    /// One that only the broker can tell.
    const fn of_source(name: &'static str, spoil: fn(&mut Value, &Places), says: &'static [&'static str]) -> Self {
        Self { name, spoil, says, reason: "TriggerError", event: "KEDAScalerFailed" }
    }
}

fn set(spec: &mut Value, key: &str, value: impl Into<Value>) {
    spec["triggers"][0]["metadata"][key] = value.into();
}

const MISTAKES: &[Mistake] = &[
    Mistake::of_source(
        "password",
        |spec, at| set(spec, "host", format!("amqp://guest:{CANARY}@{}/%2f", at.amqp)),
        &["spec.triggers[0].metadata.host", "refused the credentials of user \"guest\"", "check user and password"],
    ),
    Mistake::of_source(
        "http-password",
        |spec, at| set(spec, "host", format!("http://guest:{CANARY}@{}/%2f", at.http)),
        &["spec.triggers[0].metadata.host", "the management API refused user \"guest\"", "check user and password"],
    ),
    Mistake::of_source(
        "address",
        |spec, at| set(spec, "host", format!("amqp://canary:{CANARY}@127.0.0.1:{}/%2f", at.nobody)),
        &["spec.triggers[0].metadata.host", "cannot reach the broker at 127.0.0.1:", "check the host, its port"],
    ),
    Mistake::of_source(
        "queue",
        |spec, _| set(spec, "queueName", "mistakes-declared-later"),
        &[
            "spec.triggers[0].metadata.queueName",
            "no queue \"mistakes-declared-later\"",
            "declare it, or correct queueName",
        ],
    ),
    Mistake::of_source(
        "vhost",
        |spec, _| set(spec, "vhostName", "nowhere"),
        &["spec.triggers[0].metadata.vhostName", "\"nowhere\""],
    ),
    Mistake::of_spec(
        "url",
        |spec, _| set(spec, "host", format!("rabbitmq://canary:{CANARY}@broker")),
        &["spec.triggers[0].metadata.host", "write amqp://user:password@"],
    ),
    Mistake::of_spec(
        "bare-password",
        |spec, _| set(spec, "host", format!("amqp://canary:{CANARY}/x@broker/%2f")),
        &["spec.triggers[0].metadata.host", "percent-encode special characters"],
    ),
    Mistake::of_spec(
        "key",
        |spec, _| set(spec, "passwrod", CANARY),
        &["spec.triggers[0].metadata.passwrod", "did you mean password?"],
    ),
    Mistake::of_spec(
        "zero",
        |spec, _| set(spec, "value", "0"),
        &["spec.triggers[0].metadata.value", "\"0\" is not a number above 0", "write a number above 0"],
    ),
    Mistake::of_spec(
        "two-at-once",
        |spec, _| {
            set(spec, "value", "NaN");
            set(spec, "mode", "QueueLenght");
        },
        &[
            "spec.triggers[0].metadata.value",
            "write a number above 0",
            "spec.triggers[0].metadata.mode",
            "write one of QueueLength, MessageRate",
        ],
    ),
    Mistake::of_spec(
        "source",
        |spec, _| spec["triggers"][0]["type"] = "rabbit".into(),
        &["spec.triggers[0].type", "\"rabbit\"", "rabbitmq"],
    ),
    Mistake::of_spec(
        "target",
        |spec, _| spec["scaleTargetRef"]["name"] = "made-later".into(),
        &["spec.scaleTargetRef", "made-later is not there", "create it or correct the reference"],
    ),
    Mistake::of_spec(
        "kind",
        |spec, _| {
            spec["scaleTargetRef"]["apiVersion"] = "example.dev/v1".into();
            spec["scaleTargetRef"]["kind"] = "Unicorn".into();
        },
        &["spec.scaleTargetRef", "no such kind", "correct apiVersion and kind"],
    ),
    Mistake::of_spec(
        "unsupported",
        |spec, _| {
            spec["fallback"] = json!({"failureThreshold": 3, "replicas": 4, "behavior": "scalingModifiers"});
            spec["advanced"] = json!({"scalingModifiers": {"formula": "a"}});
        },
        &[
            "spec.fallback.behavior: scalingModifiers is not supported yet; write static",
            "spec.advanced.scalingModifiers: is not supported yet",
        ],
    ),
    Mistake::of_spec(
        "credentials",
        |spec, _| spec["triggers"][0]["authenticationRef"] = json!({"name": "credentials"}),
        &["spec.triggers[0].authenticationRef", "TriggerAuthentication \"credentials\" is not there", "create it"],
    ),
    Mistake::of_spec(
        "second",
        |spec, _| spec["scaleTargetRef"]["name"] = "owned".into(),
        &["spec.scaleTargetRef", "owned is already managed by the ScaledObject \"owned\"", "remove one of the two"],
    ),
];

fn warnings(events: &[Event]) -> Vec<&Event> {
    events.iter().filter(|event| event.type_.as_deref() == Some("Warning")).collect()
}

struct Scene {
    shared: Shared,
    ns: Namespace,
    places: Places,
}

impl Scene {
    /// A good spec for the Deployment `name`, by a user whose password is the canary.
    fn good(&self, name: &str, queue: &str) -> Value {
        let host = format!("amqp://canary:{CANARY}@{}/%2f", self.places.amqp);
        rabbit_spec(name, &host, queue, 10, 4)
    }

    /// Everything that a person may read of these objects: statuses, events, HPAs, the operator's log and figures.
    async fn all_that_is_said(&self) -> anyhow::Result<String> {
        let all = ListParams::default();
        let objects = self.ns.scaled_objects().list(&all).await?;
        let mut said = vec![self.shared.operator.log(), self.shared.operator.metrics().await?];
        said.extend(objects.items.iter().map(|object| object.data["status"].to_string()));
        said.push(serde_json::to_string(&self.ns.api::<Event>().list(&all).await?.items)?);
        said.push(serde_json::to_string(&self.ns.api::<HorizontalPodAutoscaler>().list(&all).await?.items)?);
        Ok(said.join("\n"))
    }

    async fn told(&self, mistake: &Mistake) -> anyhow::Result<()> {
        let name = mistake.name;
        let message = eventually(SOON, &format!("{name} says what is wrong"), async || {
            let ready = self.ns.condition(name, "Ready").await?;
            let message = ready["message"].as_str().unwrap_or_default();
            let missing: Vec<_> = mistake.says.iter().filter(|part| !message.contains(**part)).collect();
            ensure!(missing.is_empty(), "the condition of {name} does not say {missing:?} but: {message}");
            ensure!(ready["status"] == "False" && ready["reason"] == mistake.reason, "{name}: {ready}");
            Ok(message.to_owned())
        })
        .await?;
        let event = self.ns.wait_event(name, mistake.event, SOON).await?;
        ensure!(event.type_.as_deref() == Some("Warning"), "{event:?}");
        let told = event.message.as_deref().unwrap_or_default();
        // A busy broker may keep its answer back at first; then that is what the one event tells of.
        let is_late = mistake.reason == "TriggerError" && told.contains("did not answer in time");
        ensure!(told == message || is_late, "the event of {name} says otherwise: {told}");
        Ok(())
    }
}

#[test]
fn a_mistake_names_its_field_and_fix_once_moves_nothing_leaks_nothing_and_can_be_mended() {
    run(async {
        let shared = shared().await?;
        let ns = shared.rig.namespace("mistakes").await?;
        let places = Places {
            amqp: shared.rabbit.amqp_address().to_string(),
            http: shared.rabbit.http_address().to_string(),
            nobody: ports::single()?,
        };
        let scene = Scene { shared, ns: ns.clone(), places };
        let user = json!({"password": CANARY, "tags": "management"});
        shared.rabbit.management(reqwest::Method::PUT, "users/canary", Some(user)).await?;
        let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
        shared.rabbit.management(reqwest::Method::PUT, "permissions/%2F/canary", Some(all)).await?;
        for queue in ["mistakes", "mistakes-neighbour"] {
            shared.rabbit.declare(queue).await?;
        }
        let log = ns.replica_log().await?;
        let start = now();
        for name in MISTAKES.iter().map(|mistake| mistake.name).chain(["owned"]) {
            ns.deployment(name, 2, &[]).await?;
        }
        ns.deployment("neighbour", 0, &[]).await?;
        ns.scaled_object("neighbour", &scene.good("neighbour", "mistakes-neighbour")).await?;
        let mut owned = scene.good("owned", "mistakes");
        owned["minReplicaCount"] = 2.into();
        ns.scaled_object("owned", &owned).await?;
        for name in ["neighbour", "owned"] {
            ns.wait_condition(name, "Ready", "True", SOON).await?;
        }

        for mistake in MISTAKES {
            let mut spec = scene.good(mistake.name, "mistakes");
            (mistake.spoil)(&mut spec, &scene.places);
            ns.scaled_object(mistake.name, &spec).await?;
        }
        for mistake in MISTAKES {
            scene.told(mistake).await?;
        }

        // Meanwhile the neighbour works, and nothing else moves or speaks.
        shared.rabbit.publish("mistakes-neighbour", 25).await?;
        log.wait_for("neighbour", 3, SOON).await?;
        shared.rabbit.purge("mistakes-neighbour").await?;
        log.wait_for("neighbour", 0, SOON).await?;
        never(Duration::from_secs(3), "a second warning", async || {
            for mistake in MISTAKES {
                let events = ns.events(mistake.name).await?;
                let warnings = warnings(&events);
                if warnings.len() != 1 {
                    return Ok(Some(format!("{}: {warnings:?}", mistake.name)));
                }
            }
            Ok(None)
        })
        .await?;
        for name in MISTAKES.iter().map(|mistake| mistake.name).chain(["owned"]) {
            log.ensure_never(name, start, "other than 2 replicas", |row| row.spec != 2)?;
            let writes = shared.rig.audit().scale_writes(ns.name(), name).await?;
            ensure!(writes.is_empty(), "writes to the replicas of {name}: {writes:?}");
        }
        let said = scene.all_that_is_said().await?;
        ensure!(said.contains("spec.triggers[0].metadata.passwrod"), "this is not what the operator says: {said}");
        let leak = said.lines().find(|line| line.contains(CANARY));
        ensure!(leak.is_none(), "a password is out: {leak:?}");

        mended(&scene, &log).await?;
        let mut refused = shared.rig.audit().refused(OPERATOR_USER).await?;
        // Those are asked for because somebody refers to them, and are granted account by account.
        refused.retain(|entry| entry.subresource != "token");
        ensure!(refused.is_empty(), "the operator asked for what it may not do: {refused:?}");
        let leak = scene.all_that_is_said().await?.lines().find(|line| line.contains(CANARY)).map(str::to_owned);
        ensure!(leak.is_none(), "a password is out: {leak:?}");
        Ok(())
    });
}

/// Mends all, most of them in the object, some in the world around it; then each goes to rest, as its queue is empty.
async fn mended(scene: &Scene, log: &windlass_tests::ReplicaLog) -> anyhow::Result<()> {
    let Scene { shared, ns, .. } = scene;
    let pid = shared.operator.pid();
    for mistake in MISTAKES {
        match mistake.name {
            "queue" => shared.rabbit.declare("mistakes-declared-later").await?,
            "target" => drop(ns.deployment("made-later", 2, &[]).await?),
            "second" => ns.delete_scaled_object("owned", SOON).await?,
            name => drop(ns.scaled_object(name, &scene.good(name, "mistakes")).await?),
        }
    }
    for mistake in MISTAKES {
        let name = mistake.name;
        ns.wait_condition(name, "Ready", "True", SOON).await?;
        let target = match name {
            "target" => "made-later",
            "second" => "owned",
            name => name,
        };
        log.wait_spec(target, 0, SOON).await?;
        let ready = ns.wait_event(name, "ScaledObjectReady", SOON).await?;
        ensure!(ready.type_.as_deref() == Some("Normal"), "{ready:?}");
        let events = ns.events(name).await?;
        ensure!(warnings(&events).len() == 1, "{name}: {events:?}");
    }
    shared.operator.process().ensure_running().context("the operator was to stay the same process")?;
    ensure!(shared.operator.pid() == pid, "the operator was started again");
    Ok(())
}

/// A name, a spec that is spoilt, and what the API server says.
type Refused = (&'static str, fn(&mut Value), &'static str);

#[test]
fn the_api_server_refuses_what_can_never_be_right() {
    run(async {
        let shared = shared().await?;
        let ns = shared.rig.namespace("refused").await?;
        let good = rabbit_spec("web", &shared.rabbit.amqp_url(), "q", 10, 4);
        let cases: &[Refused] = &[
            ("bounds", |spec| spec["minReplicaCount"] = 5.into(), "minReplicaCount must be less than or equal to"),
            (
                "bounds-by-default",
                |spec| {
                    spec["maxReplicaCount"] = Value::Null;
                    spec["minReplicaCount"] = 101.into();
                },
                "minReplicaCount must be less than or equal to",
            ),
            ("idle", |spec| spec["idleReplicaCount"] = 0.into(), "idleReplicaCount must be less than minReplicaCount"),
            ("negative", |spec| spec["cooldownPeriod"] = (-1).into(), "spec.cooldownPeriod"),
            ("interval", |spec| spec["pollingInterval"] = 0.into(), "spec.pollingInterval"),
            ("no-trigger", |spec| spec["triggers"] = json!([]), "spec.triggers"),
            ("no-target", |spec| spec["scaleTargetRef"] = json!({}), "spec.scaleTargetRef.name"),
            ("number", |spec| set(spec, "value", 10), "spec.triggers[0].metadata.value"),
        ];
        for (name, spoil, says) in cases {
            let mut spec = good.clone();
            spoil(&mut spec);
            let Err(error) = ns.scaled_object(name, &spec).await else { anyhow::bail!("{name} was taken: {spec}") };
            ensure!(format!("{error:#}").contains(says), "{name} is refused with other words: {error:#}");
        }
        let long = "a".repeat(64);
        let Err(error) = ns.scaled_object(&long, &good).await else { anyhow::bail!("a name of 64 letters was taken") };
        ensure!(format!("{error:#}").contains("at most 63 characters"), "{error:#}");
        eventually(SOON, "a good one is taken", async || ns.scaled_object("good", &good).await.map(drop)).await
    });
}
