//! Random lives: whatever happens, once it is quiet the cluster is what its objects say, and the load model knows it.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::lab::*;
use crate::api::{Deletion, Part, Patch, Selector};
use crate::behaviour::Settings;
use crate::load::{ArrivalProcess, QueueKey, Service, TargetKey};

const NAMES: [&str; 3] = ["a", "b", "c"];

fn stateful(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template(name, json!({}))},
    })
}

fn job(name: &str, random: &mut SmallRng) -> Value {
    let mut object = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "default"},
        "spec": {"completions": random.random_range(1..6), "parallelism": random.random_range(1..4), "backoffLimit": 3},
    });
    object["spec"]["template"] = template(name, json!({"kubesim/run-ms": "100..4000", "kubesim/fail-percent": "15"}));
    object
}

/// One thing that somebody does; what is refused is part of life.
fn act(lab: &Lab, random: &mut SmallRng) {
    let name = NAMES[random.random_range(0..NAMES.len())];
    let at = ("default", name);
    let kind = if random.random_bool(0.7) { DEPLOYMENTS } else { STATEFUL };
    match random.random_range(0..10_u32) {
        0..3 => {
            let patch = Patch::Merge(json!({"spec": {"replicas": random.random_range(0..12)}}));
            let _ = lab.cluster.patch(ADMIN, kind, Part::Scale, at, &patch);
        }
        3 => {
            let replicas = random.random_range(0..8);
            let object =
                if kind == DEPLOYMENTS { deployment(name, replicas, json!({})) } else { stateful(name, replicas) };
            let _ = lab.cluster.apply_manifest(ADMIN, object);
        }
        4 => {
            let version = random.random_range(0..4).to_string();
            let patch = Patch::Merge(json!({"spec": {"template": {"metadata": {"labels": {"v": version}}}}}));
            let _ = lab.cluster.patch(ADMIN, kind, Part::Main, at, &patch);
        }
        5 if random.random_bool(0.3) => {
            let _ = lab.cluster.delete(ADMIN, kind, at, &Deletion::default());
        }
        6 => {
            let _ = lab.cluster.apply_manifest(ADMIN, job(name, random));
        }
        7 if random.random_bool(0.3) => {
            let _ = lab.cluster.delete(ADMIN, JOBS, at, &Deletion::default());
        }
        _ => {
            let pods = lab.pods();
            if !pods.is_empty() {
                let pod = pods[random.random_range(0..pods.len())]["metadata"]["name"].as_str().unwrap().to_owned();
                let _ = lab.cluster.delete(ADMIN, PODS, ("default", &pod), &Deletion::default());
            }
        }
    }
}

fn of_kind<'a>(pods: &'a [std::sync::Arc<Value>], kind: &str, owner: &Value) -> Vec<&'a Value> {
    let is_owned = |pod: &&std::sync::Arc<Value>| {
        let reference = &pod["metadata"]["ownerReferences"][0];
        reference["kind"] == kind && reference["uid"] == owner["metadata"]["uid"]
    };
    pods.iter().filter(is_owned).map(|pod| &**pod).collect()
}

fn is_as_asked(lab: &Lab, seed: u64) {
    let pods = lab.pods();
    let mut accounted = 0;
    let sets = lab.cluster.list(SETS, Some("default"), &Selector::default());
    let mut of_deployment: BTreeMap<String, usize> = BTreeMap::new();
    for set in &sets {
        let own = of_kind(&pods, "ReplicaSet", set);
        assert_eq!(
            set["spec"]["replicas"].as_u64(),
            Some(own.len() as u64),
            "seed {seed}: {}",
            set["metadata"]["name"]
        );
        let deployment = set["metadata"]["ownerReferences"][0]["name"].as_str().unwrap().to_owned();
        *of_deployment.entry(deployment).or_default() += own.len();
        accounted += own.len();
    }
    for deployment in lab.cluster.list(DEPLOYMENTS, Some("default"), &Selector::default()) {
        let name = deployment["metadata"]["name"].as_str().unwrap();
        let wanted = deployment["spec"]["replicas"].as_u64().unwrap();
        let status = &deployment["status"];
        assert_eq!(of_deployment.get(name).copied().unwrap_or(0) as u64, wanted, "seed {seed}: pods of {name}");
        for field in ["replicas", "readyReplicas", "updatedReplicas", "availableReplicas"] {
            assert_eq!(status[field].as_u64().unwrap_or(0), wanted, "seed {seed}: {field} of {name}");
        }
        let template = &deployment["spec"]["template"]["metadata"]["labels"]["v"];
        let own = pods.iter().filter(|pod| pod["metadata"]["ownerReferences"][0]["kind"] == "ReplicaSet");
        let own = own.filter(|pod| pod["metadata"]["labels"]["app"] == name);
        assert!(
            own.map(|pod| &pod["metadata"]["labels"]["v"]).all(|v| v == template),
            "seed {seed}: template of {name}"
        );
        let pods = lab.loads.figures(&QueueKey::new("b", "", name)).unwrap().pods;
        assert_eq!(u64::from(pods), wanted, "seed {seed}: what the load knows of {name}");
    }
    for set in lab.cluster.list(STATEFUL, Some("default"), &Selector::default()) {
        let own = of_kind(&pods, "StatefulSet", &set);
        let mut names: Vec<_> = own.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect();
        names.sort_by_key(|name| name.len());
        let wanted = set["spec"]["replicas"].as_u64().unwrap();
        let expected: Vec<_> =
            (0..wanted).map(|n| format!("{}-{n}", set["metadata"]["name"].as_str().unwrap())).collect();
        assert_eq!(names, expected, "seed {seed}");
        assert_eq!(set["status"]["readyReplicas"].as_u64().unwrap_or(0), wanted, "seed {seed}");
        accounted += own.len();
    }
    for job in lab.cluster.list(JOBS, Some("default"), &Selector::default()) {
        let own = of_kind(&pods, "Job", &job);
        let count = |field: &str| job["status"][field].as_u64().unwrap_or(0);
        let ended = ["Complete", "Failed"].iter().any(|kind| condition(&job, kind).0 == "True");
        assert!(ended && count("active") == 0, "seed {seed}: {}", job["status"]);
        if condition(&job, "Complete").0 == "True" {
            assert_eq!(Some(count("succeeded")), job["spec"]["completions"].as_u64(), "seed {seed}");
        } else {
            assert!(count("failed") > 3, "seed {seed}: {}", job["status"]);
        }
        let present = |phase: &str| own.iter().filter(|pod| pod["status"]["phase"] == phase).count() as u64;
        // Finished pods may have been deleted by somebody, but none is counted twice or not at all.
        assert!(present("Succeeded") <= count("succeeded") && present("Failed") <= count("failed"), "seed {seed}");
        accounted += own.len();
    }
    assert_eq!(accounted, pods.len(), "seed {seed}: every pod has an owner that is there");
}

#[test]
fn whatever_happens_the_cluster_becomes_what_its_objects_say() {
    for seed in 0..60 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async move {
            let mut random = SmallRng::seed_from_u64(seed);
            let ready = ["0", "300..3000", "~2000*0.8"][random.random_range(0..3)].parse().unwrap();
            let reaction = Duration::from_millis([0, 5, 20, 200][random.random_range(0..4)]);
            let lab = lab(Settings { ready, reaction, ..settings() }, seed);
            for name in NAMES {
                let target = TargetKey::new("default", "Deployment", name);
                let key = QueueKey::new("b", "", name);
                lab.loads.add(key, Some(target), Service::per_pod(1.0), &ArrivalProcess::silent()).unwrap();
                lab.create(deployment(name, random.random_range(0..6), json!({})));
            }
            for _ in 0..80 {
                act(&lab, &mut random);
                if random.random_bool(0.7) {
                    tokio::time::sleep(Duration::from_millis(random.random_range(0..3000))).await;
                }
            }
            tokio::time::sleep(Duration::from_secs(1200)).await;
            is_as_asked(&lab, seed);
            let _ = lab.cluster.take_audit();
            tokio::time::sleep(Duration::from_secs(3600)).await;
            assert_eq!(lab.cluster.take_audit(), [], "seed {seed}: at rest nobody writes");
        });
    }
}
