//! `make run`: the main job on a real Kubernetes control plane, told line by line. It starts everything itself, shows how
//! messages in a queue become replicas and why, and ends everything again. It proves nothing: the proofs are in `e2e`.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Event;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client};
use serde_json::Value;
use tokio::process::Command;
use tokio::task::JoinSet;
use windlass_tests::install::apply;
use windlass_tests::{
    Broker, Manifests, Operator, OperatorOptions, Rabbit, RabbitOptions, ReplicaLog, Rig, RigOptions, operator, paths,
    program, scratch,
};

const NAMESPACE: &str = "default";
const QUEUE: &str = "orders";
const COOLDOWN: u64 = 10;
/// How long one step of the story may take on a busy machine.
const STEP: Duration = Duration::from_secs(60);

/// Shows the main job: messages in a RabbitMQ queue scale a Deployment 0 -> 1 -> 4 -> 0, and why.
///
/// Starts a real Kubernetes control plane (API server, controllers with the real HPA, etcd; only the kubelet is fake), a
/// RabbitMQ and the operator, all on 127.0.0.1 and in a temporary folder, and ends them again.
#[derive(Debug, Parser)]
#[command(
    name = "run",
    after_help = "\
Examples:
  make run                    the story, then the end (about a minute after the build)
  make run ARGS=--keep        the story, then everything stays up until Ctrl-C, to play with
  make run ARGS=--help        this text

Exit code: 0 when the story went as told, 1 when it did not (with the folder of the logs), 130 after Ctrl-C."
)]
struct Args {
    /// Leave everything running after the story, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

/// Prints lines with the time since the start.
#[derive(Debug, Clone, Copy)]
struct Story(Instant);

impl Story {
    fn say(self, text: impl AsRef<str>) {
        let mut out = std::io::stdout().lock();
        // A reader that went away wants to hear no more.
        let _ = writeln!(out, "{:6.1} s  {}", self.0.elapsed().as_secs_f64(), text.as_ref());
        let _ = out.flush();
    }

    /// A line of its own for why something happened.
    fn why(self, who: &str, text: &str) {
        self.say(format!("    why: {who}: {text}"));
    }

    /// Says what is begun, and how long it took.
    async fn step<T>(self, what: &str, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        self.say(format!("{what} ..."));
        let start = Instant::now();
        let done = Box::pin(work).await.with_context(|| what.to_owned())?;
        self.say(format!("{what} ... ready in {:.1} s", start.elapsed().as_secs_f64()));
        Ok(done)
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    program::run(main_job(args))
}

async fn main_job(args: Args) -> anyhow::Result<()> {
    let story = Story(Instant::now());
    story.say(format!("logs and state are in {}", scratch::root().display()));
    // Held back a little, so that a worker that goes to rest is seen to do so by Windlass, in one step.
    let options = RigOptions { hpa_stabilisation: Duration::from_secs(20), ..RigOptions::default() };
    let (rig, rabbit) = tokio::try_join!(
        story.step("starting the control plane (Kubernetes, HPA sync 2 s)", Rig::start(options)),
        story.step("starting RabbitMQ", Rabbit::start(RabbitOptions::default())),
    )?;
    story.step("installing deploy/crds and deploy/manifests", rig.install(&Manifests::repository()?)).await?;
    let windlass = story
        .step("starting the operator as the ServiceAccount windlass-system/windlass", async {
            let windlass = Operator::start(&rig, OperatorOptions::default()).await?;
            windlass.wait_ready(STEP).await?;
            windlass.wait_leading(&rig, STEP).await?;
            Ok(windlass)
        })
        .await?;

    let mut watchers = JoinSet::new();
    let told = tell(story, &rig, &rabbit, &windlass, &mut watchers).await;
    told.with_context(|| {
        format!(
            "the story did not go as told; the operator's log is {}, the control plane's logs are in {}",
            windlass.process().log_path().display(),
            rig.dir().display()
        )
    })?;
    if args.keep {
        keep(story, &rig, &rabbit, &windlass).await?;
    }
    story.say("ending everything that was started");
    Ok(())
}

/// The story itself, on what has been started.
async fn tell(
    story: Story,
    rig: &Rig,
    rabbit: &Rabbit,
    windlass: &Operator,
    watchers: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    rabbit.declare(QUEUE).await?;
    let example = example(rabbit)?;
    let name = example.name.as_str();
    let log = Arc::new(ReplicaLog::start(rig.client(), NAMESPACE).await?);
    for document in &example.documents {
        apply(&rig.client(), document).await?;
    }
    story.say(format!(
        "applied deploy/examples/rabbitmq.yaml: Deployment and ScaledObject {NAMESPACE}/{name} \
         (1 replica for each 10 messages in {QUEUE:?}, 0 to 4, cooldown {COOLDOWN} s)"
    ));
    watchers.spawn(tell_replicas(story, Arc::clone(&log), name.to_owned()));
    watchers.spawn(tell_events(story, rig.client()));
    let work = async {
        log.wait_for(name, 0, STEP).await?;
        ready(rig, name).await?;

        story.say(format!("publishing 5 messages into {QUEUE:?}: work for 1 replica, and 0 -> 1 is Windlass's to do"));
        rabbit.publish(QUEUE, 5).await?;
        log.wait_for(name, 1, STEP).await?;

        story.say("publishing 95 more: work for 10, at most 4 allowed; from 1 up the HPA decides, told by Windlass");
        rabbit.publish(QUEUE, 95).await?;
        log.wait_for(name, 4, STEP).await?;
        happened(rig, "SuccessfulRescale").await?;
        show(rig).await?;

        story.say(format!("taking all messages out: after {COOLDOWN} s without work the worker goes to rest"));
        rabbit.drain(QUEUE, 0).await?;
        log.wait_for(name, 0, STEP).await?;
        happened(rig, "KEDAScaleTargetDeactivated").await?;
        log.ensure_went(name, &[0, 1, 4, 0])
    };
    tokio::select! {
        result = work => result?,
        result = still_running(rig, rabbit, windlass) => result?,
    }
    story.say("done: 0 -> 1 (Windlass) -> 4 (HPA) -> 0 (Windlass)");
    Ok(())
}

struct Example {
    name: String,
    documents: Vec<Value>,
}

/// The shipped example with the broker's address, a short cooldown, and 0 replicas to begin with.
fn example(rabbit: &Rabbit) -> anyhow::Result<Example> {
    let file = paths::root().join("deploy/examples/rabbitmq.yaml");
    let mut documents = Manifests::load(std::slice::from_ref(&file))?.documents().to_vec();
    let mut name = None;
    for document in &mut documents {
        match document["kind"].as_str() {
            Some("Deployment") => document["spec"]["replicas"] = 0.into(),
            Some("ScaledObject") => {
                name = document["metadata"]["name"].as_str().map(str::to_owned);
                document["spec"]["cooldownPeriod"] = COOLDOWN.into();
                document["spec"]["triggers"][0]["metadata"]["host"] = rabbit.amqp_url().into();
                document["spec"]["triggers"][0]["metadata"]["queueName"] = QUEUE.into();
            }
            _ => {}
        }
    }
    let name = name.with_context(|| format!("no ScaledObject in {}", file.display()))?;
    Ok(Example { name, documents })
}

async fn ready(rig: &Rig, name: &str) -> anyhow::Result<()> {
    let objects: Api<kube::api::DynamicObject> =
        Api::namespaced_with(rig.client(), NAMESPACE, &windlass_tests::objects::scaled_objects(windlass_tests::GROUP));
    windlass_tests::eventually(STEP, "the ScaledObject is Ready", async || {
        let conditions = objects.get(name).await?.data["status"]["conditions"].clone();
        let is_ready = conditions.as_array().is_some_and(|all| {
            all.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        });
        if !is_ready {
            bail!("its conditions are {conditions}");
        }
        Ok(())
    })
    .await
}

/// Waits for an event of this reason.
async fn happened(rig: &Rig, reason: &str) -> anyhow::Result<()> {
    let events: Api<Event> = Api::namespaced(rig.client(), NAMESPACE);
    windlass_tests::eventually(STEP, &format!("an event {reason}"), async || {
        let all = events.list(&kube::api::ListParams::default()).await?;
        all.iter().find(|event| event.reason.as_deref() == Some(reason)).map(drop).context("there is none")
    })
    .await
}

/// Prints what `windlass get so` prints.
async fn show(rig: &Rig) -> anyhow::Result<()> {
    let output = Command::new(operator::binary()?)
        .args(["get", "so", "-n", NAMESPACE, "--kubeconfig"])
        .arg(rig.admin_kubeconfig())
        .output()
        .await?;
    println!("\n$ windlass get so -n {NAMESPACE}\n{}", String::from_utf8_lossy(&output.stdout));
    if !output.status.success() {
        bail!("windlass get so failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Every change of the Deployment, as it comes.
async fn tell_replicas(story: Story, log: Arc<ReplicaLog>, name: String) {
    let (mut told, mut spec, mut pods) = (0, None, None);
    let mut last = String::new();
    loop {
        let changed = log.wait(&name, Duration::MAX / 4, "a change", |row| row.resource_version != last).await;
        let Ok(newest) = changed else { return };
        last = newest.resource_version;
        let rows = log.rows(&name);
        for row in &rows[told..] {
            if spec.is_some_and(|spec| spec != row.spec) {
                let by = match row.owner.as_str() {
                    "windlass" => ", written by Windlass",
                    "kube-controller-manager" => ", written by the HPA controller",
                    _ => "",
                };
                story.say(format!("{name}: replicas {} -> {}{by}", spec.unwrap_or_default(), row.spec));
            }
            spec = Some(row.spec);
            if pods.is_some_and(|pods| pods != row.ready) {
                story.say(format!("{name}: {} of {} pods ready", row.ready, row.spec));
            }
            pods = Some(row.ready);
        }
        told = rows.len();
    }
}

/// What the operator and the HPA say about what they did, as it comes.
async fn tell_events(story: Story, client: Client) {
    let events = watcher(Api::<Event>::namespaced(client, NAMESPACE), watcher::Config::default()).default_backoff();
    pin_mut!(events);
    while let Some(event) = events.next().await {
        let Ok(watcher::Event::Apply(event) | watcher::Event::InitApply(event)) = event else { continue };
        let reason = event.reason.as_deref().unwrap_or_default();
        let message = event.message.as_deref().unwrap_or_default();
        if event.reporting_component.as_deref() == Some("windlass") {
            story.why(&format!("Windlass, event {reason}"), message);
        } else if reason == "SuccessfulRescale" {
            // The selector in Go's notation says nothing that the metric's name does not.
            let selector = message.split_once("(&LabelSelector{").and_then(|(_, rest)| rest.split_once("})"));
            let shorter = selector.map(|(inside, _)| message.replacen(&format!("(&LabelSelector{{{inside}}})"), "", 1));
            story.why(&format!("HPA, event {reason}"), shorter.as_deref().unwrap_or(message));
        }
    }
}

/// Ends with an error as soon as one of the processes has ended.
async fn still_running(rig: &Rig, rabbit: &Rabbit, windlass: &Operator) -> anyhow::Result<()> {
    loop {
        rig.ensure_running()?;
        rabbit.process().ensure_running()?;
        windlass.process().ensure_running()?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Says how to play, goes on telling, and waits for Ctrl-C.
async fn keep(story: Story, rig: &Rig, rabbit: &Rabbit, windlass: &Operator) -> anyhow::Result<()> {
    let queue = format!("http://{}/api/exchanges/%2f/amq.default/publish", rabbit.http_address());
    println!(
        "
Everything stays up until Ctrl-C. In another terminal:

  export KUBECONFIG={kubeconfig}
  kubectl get so,hpa,deploy         (or {windlass} get so)
  kubectl get events --watch

  RabbitMQ: {amqp} (management {http}); 20 messages more:
  for i in $(seq 20); do curl -s -u guest:guest {queue} -d \\
    '{{\"properties\":{{}},\"routing_key\":\"{QUEUE}\",\"payload\":\"work\",\"payload_encoding\":\"string\"}}'; done

  operator log: {log}
",
        kubeconfig = rig.admin_kubeconfig().display(),
        windlass = operator::binary()?.display(),
        amqp = rabbit.amqp_url(),
        http = rabbit.http_url(),
        log = windlass.process().log_path().display(),
    );
    story.say("changes are told here as they come");
    still_running(rig, rabbit, windlass).await
}
