//! The HPA algorithm of the decision crate beside the HPA controller of a running control plane: real clocks, a real scale,
//! metrics over the aggregated API. At each sync that the audit log shows, ours is given what the controller read then, and
//! must come to the replicas that the controller wrote. `make test-hpa` compares far more of the algorithm, in virtual time.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{Api, Patch, PatchParams, PostParams};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;
use windlass_decision::hpa::Controller;
use windlass_tests::fake_http::{Answer as HttpAnswer, FakeHttp};
use windlass_tests::hpa_timelines::format::{
    Answer, Behaviour, Change, Hpa, Metric, MetricEvent, Policy, Rules, Source, Target,
};
use windlass_tests::hpa_timelines::replay::Replay;
use windlass_tests::install::apply;
use windlass_tests::{Entry, Namespace, Rig, RigOptions, eventually, now, ports, run};

const TIMELINES: u64 = 20;
const LASTS: Duration = Duration::from_secs(60);
const SYNC: Duration = Duration::from_secs(2);
/// No window or period is a multiple of [`SYNC`]: whether an instant lies within one is then never a matter of a millisecond.
const STABILISATION: Duration = Duration::from_secs(9);
const ODD_SECONDS: &[u32] = &[1, 3, 5, 7, 11];
const CONTROLLER: &str = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";
const PATH: &str = "/apis/external.metrics.k8s.io/v1beta1";
/// How long after a sync the spec may be edited: the controller reads it from a watch.
const EDITABLE: std::ops::Range<Duration> = Duration::from_millis(300)..Duration::from_millis(1_300);

/// What the metrics API answers, what it has answered, and when: by the name of the metric.
#[derive(Default)]
struct Figures {
    next: BTreeMap<String, Answer>,
    told: BTreeMap<String, Vec<(Timestamp, Answer)>>,
}

type Shared = Arc<Mutex<Figures>>;

fn locked(figures: &Shared) -> std::sync::MutexGuard<'_, Figures> {
    figures.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(figures: &Shared, path: &str) -> HttpAnswer {
    let path = path.split('?').next().unwrap_or_default();
    if path == PATH {
        return HttpAnswer::json(&json!({"kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": "external.metrics.k8s.io/v1beta1", "resources": [{"name": "externalmetrics",
            "singularName": "", "namespaced": true, "kind": "ExternalMetricValueList", "verbs": ["get"]}]}));
    }
    let metric = path.strip_prefix(PATH).and_then(|rest| rest.rsplit('/').next()).unwrap_or_default();
    let mut figures = locked(figures);
    let Some(next) = figures.next.get(metric).cloned() else { return HttpAnswer::error(404) };
    figures.told.entry(metric.to_owned()).or_default().push((now(), next.clone()));
    let Answer::Values(values) = next else { return HttpAnswer::error(503) };
    let item =
        |milli: &i64| json!({"metricName": metric, "timestamp": now().to_string(), "value": format!("{milli}m")});
    HttpAnswer::json(&json!({"kind": "ExternalMetricValueList", "apiVersion": "external.metrics.k8s.io/v1beta1",
        "metadata": {}, "items": values.iter().map(item).collect::<Vec<_>>()}))
}

/// The port of TLS in front of a server without.
async fn with_tls(rig: &Rig, behind: std::net::SocketAddr, tasks: &mut JoinSet<()>) -> anyhow::Result<u16> {
    let pem = |name: &str| std::fs::read_to_string(rig.pki_dir().join(name)).with_context(|| name.to_owned());
    let (chain, key) = (pem("adapter.crt")?, pem("adapter.key")?);

    let chain = rustls::pki_types::CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes())?;
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    let (acceptor, port) = (TlsAcceptor::from(Arc::new(config)), ports::single()?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    tasks.spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Whoever breaks off asks again.
                let (Ok(mut tls), Ok(mut plain)) = (acceptor.accept(socket).await, TcpStream::connect(behind).await)
                else {
                    return;
                };
                let _broken_off = copy_bidirectional(&mut tls, &mut plain).await;
            });
        }
    });
    Ok(port)
}

async fn publish(rig: &Rig, port: u16) -> anyhow::Result<()> {
    let metadata = json!({"name": "figures", "namespace": "default"});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata,
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}});
    let api = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
        "spec": {"group": "external.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100,
            "versionPriority": 100, "insecureSkipTLSVerify": true,
            "service": {"name": "figures", "namespace": "default", "port": port}}});
    for object in [service, api] {
        apply(&rig.client(), &object).await?;
    }
    Ok(())
}

fn rules(random: &mut SmallRng) -> Rules {
    let seconds = |random: &mut SmallRng| *ODD_SECONDS.choose(random).unwrap_or(&3);
    let policy = |random: &mut SmallRng| {
        let (kind, value) =
            *[("Pods", 1), ("Pods", 3), ("Percent", 20), ("Percent", 100)].choose(random).unwrap_or(&("Pods", 2));
        Policy { kind: kind.to_owned(), value, period: seconds(random) }
    };
    Rules {
        window: random.random_bool(0.7).then(|| if random.random_bool(0.3) { 0 } else { seconds(random) }),
        select: random
            .random_bool(0.4)
            .then(|| (*["Max", "Min", "Disabled"].choose(random).unwrap_or(&"Max")).to_owned()),
        policies: random.random_bool(0.6).then(|| (0..random.random_range(1..=2)).map(|_| policy(random)).collect()),
        tolerance: random.random_bool(0.3).then(|| *[0, 50, 200, 500].choose(random).unwrap_or(&0)),
    }
}

fn spec(random: &mut SmallRng) -> Hpa {
    let min = random.random_range(1..=3);
    let behaviour = random.random_bool(0.6).then(|| Behaviour {
        up: random.random_bool(0.75).then(|| rules(random)),
        down: random.random_bool(0.75).then(|| rules(random)),
    });
    let metric = Metric { source: Source::External, resource: String::new(), target: Target::Average, amount: 10_000 };
    Hpa { min, max: min + random.random_range(3..20), metrics: vec![metric], behaviour }
}

fn object(name: &str, hpa: &Hpa) -> Value {
    let rules = |rules: &Rules| {
        let policies = rules.policies.as_ref().map(|policies| {
            let one =
                |policy: &Policy| json!({"type": policy.kind, "value": policy.value, "periodSeconds": policy.period});
            policies.iter().map(one).collect::<Vec<_>>()
        });
        let tolerance = rules.tolerance.map(|thousandths| format!("{thousandths}m"));
        json!({"stabilizationWindowSeconds": rules.window, "selectPolicy": rules.select, "policies": policies, "tolerance": tolerance})
    };
    let behavior = hpa
        .behaviour
        .as_ref()
        .map(|both| json!({"scaleUp": both.up.as_ref().map(rules), "scaleDown": both.down.as_ref().map(rules)}));
    let target = json!({"type": "AverageValue", "averageValue": format!("{}m", hpa.metrics[0].amount)});
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name}, "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": hpa.min, "maxReplicas": hpa.max, "behavior": behavior,
        "metrics": [{"type": "External", "external": {"metric": {"name": name}, "target": target}}]}})
}

/// The specs of one life, each with the time from which it held.
type Specs = Vec<(Timestamp, Hpa)>;

/// Lives one timeline: load that rises and falls, failing metrics, edits and scales by somebody else.
async fn live(namespace: Arc<Namespace>, figures: Shared, seed: u64) -> anyhow::Result<(String, Specs)> {
    let (name, mut random) = (format!("t{seed}"), SmallRng::seed_from_u64(seed));
    let api: Api<HorizontalPodAutoscaler> = namespace.api();
    let mut hpa = spec(&mut random);
    let mut load = 10_000 * i64::from(random.random_range(0..=hpa.max));
    locked(&figures).next.insert(name.clone(), Answer::Values(vec![load]));
    namespace.deployment(&name, random.random_range(0..=hpa.max + 2), &[]).await?;
    let mut specs = vec![(now(), hpa.clone())];
    api.create(&PostParams::default(), &serde_json::from_value(object(&name, &hpa))?).await?;
    let ends = Instant::now() + LASTS;
    while Instant::now() < ends {
        sleep(Duration::from_millis(random.random_range(600..2_500))).await;
        match random.random_range(0..100) {
            0..80 => {
                let factor = *[0.0, 0.3, 0.6, 0.95, 1.05, 1.08, 1.3, 2.0, 4.0].choose(&mut random).unwrap_or(&1.0);
                let most = 10_000 * i64::from(hpa.max + 5);
                load = if load == 0 { 25_000 } else { (load as f64 * factor) as i64 }.min(most);
                locked(&figures).next.insert(name.clone(), Answer::Values(vec![load]));
            }
            80..86 => drop(locked(&figures).next.insert(name.clone(), Answer::Error("scripted 503".to_owned()))),
            86..92 => namespace.scale(&name, random.random_range(0..=hpa.max + 3)).await?,
            _ => {
                let last = locked(&figures).told.get(&name).and_then(|told| Some(told.last()?.0));
                let since = last.and_then(|last| Duration::try_from(now() - last).ok());
                if since.is_some_and(|since| EDITABLE.contains(&since)) {
                    hpa = spec(&mut random);
                    let (params, object) = (PatchParams::default(), object(&name, &hpa));
                    api.patch(&name, &params, &Patch::Merge(json!({"spec": object["spec"]}))).await?;
                    specs.push((now(), hpa.clone()));
                }
            }
        }
    }
    Ok((name, specs))
}

/// One sync as the API server and the metrics API saw it.
struct Sync {
    at: Timestamp,
    spec: Hpa,
    replicas: i32,
    status_replicas: i32,
    figure: Option<Answer>,
    /// How many of its writes met a newer version: of a Deployment whose pods are coming, easily all five.
    conflicts: u32,
    /// When the controller had written how many replicas.
    wrote: Option<(Timestamp, i32)>,
}

fn syncs(name: &str, specs: &Specs, told: &[(Timestamp, Answer)], entries: &[Entry]) -> anyhow::Result<Vec<Sync>> {
    let number = |value: &Value| i32::try_from(value.as_i64().unwrap_or(0));
    let by_controller = |entry: &&Entry| entry.user == CONTROLLER && entry.subresource == "scale" && entry.name == name;
    let own: Vec<_> = entries.iter().filter(by_controller).collect();
    let mut reads: Vec<_> = own.iter().filter(|entry| entry.verb == "get" && entry.succeeded()).collect();
    // After a conflict it reads the scale again, and writes the number that it had.
    let is_soon =
        |later: Timestamp, earlier: Timestamp| Duration::try_from(later - earlier).is_ok_and(|gap| gap < SYNC / 2);
    reads.dedup_by(|later, earlier| is_soon(later.received, earlier.received));
    let mut syncs = Vec::new();
    for (nth, read) in reads.iter().enumerate() {
        let until = reads.get(nth + 1).map_or(Timestamp::MAX, |next| next.received);
        let within = |time: Timestamp| read.received <= time && time < until;
        let seen = read.answer.as_ref().context("the audit policy keeps what the HPA controller reads")?;
        let write = own.iter().find(|entry| entry.is_write() && entry.succeeded() && within(entry.received));
        let wrote = write.map(|write| {
            let body = write.body.as_ref().context("the audit policy keeps writes to /scale")?;
            anyhow::Ok((write.answered, number(&body["spec"]["replicas"])?))
        });
        let spec = specs.iter().rev().find(|(from, _)| *from <= read.received);
        syncs.push(Sync {
            at: read.received,
            spec: spec.context("a sync before the autoscaler was there")?.1.clone(),
            replicas: number(&seen["spec"]["replicas"])?,
            status_replicas: number(&seen["status"]["replicas"])?,
            figure: told.iter().find(|(time, _)| within(*time)).map(|(_, answer)| answer.clone()),
            conflicts: u32::try_from(own.iter().filter(|entry| entry.code == 409 && within(entry.received)).count())?,
            wrote: wrote.transpose()?,
        });
    }
    Ok(syncs)
}

/// The syncs at which our side comes to other replicas, a line each.
fn differences(name: &str, syncs: &[Sync], controller: Controller) -> Vec<String> {
    let mut ours = Replay::new(controller);
    let mut found = Vec::new();
    for (nth, sync) in syncs.iter().enumerate() {
        let nanos = |time: Timestamp| (time.as_nanosecond() - syncs[0].at.as_nanosecond()) as i64;
        if ours.hpa() != Some(&sync.spec) {
            ours.apply(&Change::Hpa(sync.spec.clone()));
        }
        ours.apply(&Change::Replicas(sync.replicas));
        ours.apply(&Change::StatusReplicas(sync.status_replicas));
        ours.apply(&Change::Conflicts(sync.conflicts));
        if let Some(answer) = sync.figure.clone() {
            ours.apply(&Change::Metric(MetricEvent { index: 0, answer }));
        }
        let row = ours.sync(nanos(sync.at), sync.wrote.map(|(time, _)| nanos(time)));
        let theirs = sync.wrote.map_or(sync.replicas, |(_, replicas)| replicas);
        if row.replicas != theirs {
            let (from, seconds) = (sync.replicas, nanos(sync.at) as f64 / 1e9);
            found.push(format!(
                "{name}, sync {nth} at {seconds:.1} s, from {from}: ours {}, theirs {theirs}; {:?} of {:?}",
                row.replicas, sync.figure, sync.spec
            ));
        }
    }
    found
}

#[test]
fn the_hpa_controller_of_a_cluster_comes_to_the_same_replicas_at_every_sync() {
    run(async {
        let options = RigOptions { hpa_sync: SYNC, hpa_stabilisation: STABILISATION, ..RigOptions::default() };
        let rig = Rig::start(options).await?;
        let figures = Shared::default();
        let server = {
            let figures = Arc::clone(&figures);
            FakeHttp::start(move |request| answer(&figures, &request.path)).await?
        };
        let mut tasks = JoinSet::new();
        let port = with_tls(&rig, server.address(), &mut tasks).await?;
        publish(&rig, port).await?;
        let namespace = Arc::new(rig.namespace("hpa-wiring").await?);
        locked(&figures).next.insert("ready".to_owned(), Answer::Values(vec![1_000]));
        let path = format!("{PATH}/namespaces/{}/ready", namespace.name());
        eventually(Duration::from_secs(60), "the metrics API is reached", async || {
            let request = http::Request::get(&path).body(Vec::new())?;
            Ok(rig.client().request::<Value>(request).await?)
        })
        .await?;

        let mut lives = JoinSet::new();
        for seed in 0..TIMELINES {
            lives.spawn(live(Arc::clone(&namespace), Arc::clone(&figures), seed));
        }
        let mut lived = Vec::new();
        while let Some(life) = lives.join_next().await {
            lived.push(life??);
        }
        let entries = rig.audit().settled().await?;
        let told = std::mem::take(&mut locked(&figures).told);
        let mut seen = BTreeMap::new();
        for (name, specs) in &lived {
            let told = told.get(name).map_or(&[][..], Vec::as_slice);
            seen.insert(name.clone(), syncs(name, specs, told, &entries)?);
        }
        let judge = |controller: Controller| -> Vec<String> {
            seen.iter().flat_map(|(name, syncs)| differences(name, syncs, controller)).collect()
        };
        let settings =
            Controller { sync_period: SYNC, downscale_stabilisation: STABILISATION, ..Controller::default() };
        let (count, writes) = (
            seen.values().map(Vec::len).sum::<usize>(),
            seen.values().flatten().filter(|sync| sync.wrote.is_some()).count(),
        );
        let edits: usize = lived.iter().map(|(_, specs)| specs.len() - 1).sum();
        let found = judge(settings);
        println!(
            "{} timelines, {count} syncs, {writes} rescales, {edits} edits, {} different",
            seen.len(),
            found.len()
        );
        ensure!(found.is_empty(), "{}", found.join("\n"));
        ensure!(count >= 400 && writes >= 60, "too little happened: {count} syncs, {writes} rescales");
        // Were the settings not those of the running controller, it would show.
        let shorter = Controller { downscale_stabilisation: Duration::from_secs(1), ..settings };
        ensure!(!judge(shorter).is_empty(), "another stabilisation window goes unnoticed");
        ensure!(!judge(Controller { tolerance: 0.3, ..settings }).is_empty(), "another tolerance goes unnoticed");
        Ok(())
    });
}
