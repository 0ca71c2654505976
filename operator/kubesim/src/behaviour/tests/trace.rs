//! The same seed gives the same trace, also in two processes; what a thousand pods cost.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use super::lab::*;
use crate::behaviour::Settings;
use crate::load::{ArrivalProcess, QueueKey, Rate, Service, TargetKey};

/// A busy ten minutes: drawn start-up times, arrivals by chance, jobs that fail, an HPA on CPU. Every change as one line.
fn trace(seed: u64) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async move {
        let lab = lab(Settings { ready: "~4000*0.6".parse().unwrap(), ..settings() }, seed);
        let mut changes = lab.cluster.subscribe();
        let key = QueueKey::new("b", "/", "q");
        let arrivals =
            ArrivalProcess::poisson(Rate::Bursts { low: 1.0, high: 20.0, every: 120.0, lasts: 40.0, first_at: 10.0 });
        let target = TargetKey::new("default", "Deployment", "web");
        lab.loads.add(key.clone(), Some(target), Service::per_pod(2.0), &arrivals).unwrap();
        lab.create(deployment("web", 2, json!({})));
        let mut object = hpa("web", 1, 20, json!({}));
        object["spec"]["metrics"] = json!([{"type": "Resource", "resource": {
            "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60},
        }}]);
        lab.create(object);
        let mut job = json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job", "namespace": "default"},
            "spec": {"completions": 12, "parallelism": 4, "backoffLimit": 50},
        });
        job["spec"]["template"] =
            template("job", json!({"kubesim/run-ms": "1000..20000", "kubesim/fail-percent": "20"}));
        lab.create(job);
        let mut lines = String::new();
        for second in 1..=600_u32 {
            lab.at(second.into()).await;
            writeln!(lines, "{second} backlog {:?}", lab.loads.figures(&key)).unwrap();
            while let Ok(change) = changes.try_recv() {
                writeln!(lines, "{:?} {} {}", change.kind, change.resource.plural, change.object).unwrap();
            }
        }
        lines
    })
}

#[test]
fn the_same_seed_gives_the_same_trace_byte_for_byte() {
    let first = trace(5);
    assert!(first.lines().count() > 800, "{}", first.lines().count());
    assert!(first == trace(5), "the second run differs");
    assert!(first != trace(6), "another seed gives another trace");
}

/// One line for the test below, which runs this one in processes of their own.
#[test]
fn a_trace_has_a_fingerprint() {
    let started = cpu();
    let trace = trace(8);
    println!("ten busy minutes: {:?} of processor time", cpu() - started);
    let fingerprint = crate::load::mix_text(0, &trace);
    assert_ne!(fingerprint, crate::load::mix_text(0, ""));
    println!("fingerprint {fingerprint:016x} of {} bytes", trace.len());
}

#[test]
fn two_processes_give_the_same_trace() {
    let run = || {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "behaviour::tests::trace::a_trace_has_a_fingerprint", "--nocapture"]);
        let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
        output.lines().find(|line| line.contains("fingerprint ")).unwrap_or_default().to_owned()
    };
    let first = run();
    assert!(first.contains(" bytes"), "{first:?}");
    assert_eq!(first, run());
}

/// The processor time of this thread: other work on the machine does not count. Zero where it cannot be read.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

#[test]
fn a_thousand_pods_are_ready_in_little_time() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let lab = lab(Settings { ready: "1000..5000".parse().unwrap(), ..settings() }, 1);
        lab.create(deployment("web", 0, json!({})));
        lab.at(1.0).await;
        let started = cpu();
        lab.scale("web", 1000);
        lab.at(10.0).await;
        let up = cpu() - started;
        assert_eq!(lab.get(DEPLOYMENTS, "web")["status"]["readyReplicas"], 1000);
        let writes = lab.cluster.take_audit();
        let by = |resource: &str| writes.iter().filter(|one| one.resource == resource).count();
        println!(
            "1000 pods ready: {up:?}; writes: {} pods, {} replica sets, {} deployments",
            by("pods"),
            by("replicasets"),
            by("deployments")
        );
        assert_eq!(by("pods"), 3000, "created, running, ready");
        // Four seconds of pods becoming ready, at most one status in 20 ms.
        assert!(by("replicasets") < 420 && by("deployments") < 420);
        let started = cpu();
        lab.scale("web", 0);
        lab.at(20.0).await;
        println!("1000 pods gone: {:?}", cpu() - started);
        assert_eq!(lab.pods().len(), 0);
        // Ten times what it takes unoptimised on a slow machine: only a change of order fails it.
        assert!(up < Duration::from_secs(5), "{up:?}");
    });
}
