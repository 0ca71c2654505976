//! Deployments, StatefulSets and namespaces: pods that come, become ready, are replaced and go.

use serde_json::{Value, json};

use super::lab::*;
use crate::api::{Deletion, Part, Patch};
use crate::behaviour::{Settings, Spread};

#[tokio::test(start_paused = true)]
async fn a_deployment_from_0_to_10_is_ready_after_the_start_up_time() {
    let lab = lab(settings(), 1);
    lab.create(deployment("web", 0, json!({})));
    lab.at(1.0).await;
    let set = &lab.cluster.list(SETS, Some("default"), &crate::api::Selector::default())[0];
    assert_eq!((set["spec"]["replicas"].as_u64(), lab.pods().len()), (Some(0), 0));
    lab.scale("web", 10);
    lab.at(1.1).await; // the deployment and the set take 20 ms each to react
    assert_eq!(lab.phases(), [10, 0, 0, 0]);
    lab.at(1.7).await;
    assert_eq!(lab.phases(), [0, 10, 0, 0]);
    assert_eq!(lab.get(DEPLOYMENTS, "web")["status"].get("readyReplicas"), None);
    assert_eq!(condition(&lab.get(DEPLOYMENTS, "web"), "Available").0, "False");
    lab.at(3.1).await;
    assert_eq!(lab.phases(), [0, 10, 10, 0]);
    let deployment = lab.get(DEPLOYMENTS, "web");
    let status = &deployment["status"];
    for field in ["replicas", "readyReplicas", "availableReplicas", "updatedReplicas"] {
        assert_eq!(status[field], 10, "{field}");
    }
    assert_eq!(status["observedGeneration"], deployment["metadata"]["generation"]);
    assert_eq!(status.get("unavailableReplicas"), None);
    assert_eq!(condition(&deployment, "Available"), ("True".into(), "MinimumReplicasAvailable".into()));
    assert_eq!(condition(&deployment, "Progressing"), ("True".into(), "NewReplicaSetAvailable".into()));

    lab.scale("web", 0);
    lab.at(3.3).await;
    assert_eq!(lab.pods().len(), 0);
    assert_eq!(lab.get(DEPLOYMENTS, "web")["status"].get("replicas"), None);
}

#[tokio::test(start_paused = true)]
async fn a_pod_carries_what_its_owners_and_its_life_say() {
    let lab = lab(settings(), 1);
    lab.create(deployment("web", 1, json!({"note": "kept"})));
    lab.at(5.0).await;
    let pod = &lab.pods()[0];
    let set = &lab.cluster.list(SETS, Some("default"), &crate::api::Selector::default())[0];
    let hash = set["metadata"]["labels"]["pod-template-hash"].as_str().unwrap();
    assert_eq!(set["metadata"]["name"], format!("web-{hash}"));
    assert_eq!(set["spec"]["selector"]["matchLabels"], json!({"app": "web", "pod-template-hash": hash}));
    assert_eq!(set["metadata"]["ownerReferences"][0]["kind"], "Deployment");
    assert_eq!(pod["metadata"]["labels"], json!({"app": "web", "pod-template-hash": hash}));
    assert_eq!(pod["metadata"]["annotations"]["note"], "kept");
    assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], set["metadata"]["uid"]);
    assert!(pod["metadata"]["name"].as_str().unwrap().starts_with(&format!("web-{hash}-")));
    assert_eq!(pod["spec"]["containers"][0]["resources"]["requests"]["cpu"], "200m");
    assert_eq!(pod["spec"]["nodeName"], "node-0");
    // Created at 0.04 s, started 0.6 s and ready 2 s after that: Kubernetes writes whole seconds.
    assert_eq!(pod["status"]["startTime"], "2026-01-01T00:00:00Z");
    let ready = pod["status"]["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Ready").unwrap();
    assert_eq!((&ready["status"], &ready["lastTransitionTime"]), (&json!("True"), &json!("2026-01-01T00:00:02Z")));
    assert_eq!(pod["status"]["containerStatuses"][0]["ready"], true);
}

#[tokio::test(start_paused = true)]
async fn a_start_up_time_may_be_written_on_the_pod_drawn_or_never_end() {
    let table = [("0", 0.1, 4), ("4000", 3.9, 0), ("4000", 4.2, 4), ("never", 900.0, 0), ("nonsense", 2.2, 4)];
    for (millis, at, ready) in table {
        let lab = lab(settings(), 1);
        lab.create(deployment("web", 4, json!({"kubesim/ready-ms": millis})));
        lab.at(at).await;
        assert_eq!(lab.phases()[2], ready, "{millis} at {at}");
    }
    let lab = lab(Settings { ready: "1000..9000".parse::<Spread>().unwrap(), ..settings() }, 3);
    lab.create(deployment("web", 100, json!({})));
    let mut seen = Vec::new();
    for second in [1.0, 3.0, 5.0, 7.0, 9.2] {
        lab.at(second).await;
        seen.push(lab.phases()[2]);
    }
    assert!(seen[0] == 0 && seen[4] == 100 && seen.windows(2).all(|pair| pair[1] > pair[0]), "{seen:?}");
    assert!((35..65).contains(&seen[2]), "half of them are ready in the middle: {seen:?}");
}

#[tokio::test(start_paused = true)]
async fn scaling_down_takes_unready_pods_first_and_then_the_youngest() {
    let lab = lab(settings(), 1);
    lab.create(deployment("web", 2, json!({})));
    lab.at(10.0).await;
    let old: Vec<_> = lab.pods().iter().map(|pod| pod["metadata"]["name"].clone()).collect();
    lab.scale("web", 4);
    lab.at(20.0).await;
    lab.scale("web", 6);
    lab.at(21.0).await; // two more, not ready yet
    lab.scale("web", 3);
    lab.at(22.0).await;
    let left: Vec<_> = lab.pods().iter().map(|pod| pod["metadata"]["name"].clone()).collect();
    assert_eq!(left.len(), 3);
    assert!(old.iter().all(|name| left.contains(name)), "the oldest stay: {old:?} {left:?}");
    assert_eq!(lab.phases()[2], 3, "the unready ones went first");

    // One that is cheap to delete goes before all others.
    let cheap = json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1"}}});
    lab.patch(PODS, old[0].as_str().unwrap(), cheap);
    lab.scale("web", 2);
    lab.at(23.0).await;
    assert!(lab.pods().iter().all(|pod| pod["metadata"]["name"] != old[0]));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_deleted_is_replaced() {
    let lab = lab(settings(), 1);
    lab.create(deployment("web", 3, json!({})));
    lab.at(5.0).await;
    let victim = lab.pods()[1]["metadata"]["name"].as_str().unwrap().to_owned();
    lab.cluster.delete(ADMIN, PODS, ("default", &victim), &Deletion::default()).unwrap();
    lab.at(5.1).await;
    assert_eq!(lab.phases(), [1, 2, 2, 0]);
    assert_eq!(lab.get(DEPLOYMENTS, "web")["status"]["readyReplicas"], 2);
    lab.at(8.0).await;
    assert_eq!(lab.phases(), [0, 3, 3, 0]);
    assert!(lab.pods().iter().all(|pod| pod["metadata"]["name"] != victim.as_str()));
}

#[tokio::test(start_paused = true)]
async fn deleting_a_deployment_takes_its_sets_and_pods() {
    let lab = lab(settings(), 1);
    lab.create(deployment("web", 3, json!({})));
    lab.at(5.0).await;
    lab.cluster.delete(ADMIN, DEPLOYMENTS, ("default", "web"), &Deletion::default()).unwrap();
    lab.at(30.0).await;
    assert_eq!(lab.pods().len(), 0);
    assert_eq!(lab.cluster.list(SETS, None, &crate::api::Selector::default()).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_template_rolls_out_within_surge_and_unavailable() {
    let lab = lab(settings(), 1);
    lab.create(deployment("web", 8, json!({})));
    lab.at(5.0).await;
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "example/main:2"}]}}}});
    lab.patch(DEPLOYMENTS, "web", image);
    let mut at = 5.0;
    let (mut most, mut least) = (0, usize::MAX);
    while at < 20.0 {
        at += 0.05;
        lab.at(at).await;
        let [pending, running, ready, _] = lab.phases();
        most = most.max(pending + running);
        least = least.min(ready);
    }
    assert!(most <= 10, "8 + 25 %: {most}");
    assert!(least >= 6, "8 - 25 %: {least}");
    assert!(lab.pods().iter().all(|pod| pod["spec"]["containers"][0]["image"] == "example/main:2"));
    let status = lab.get(DEPLOYMENTS, "web")["status"].clone();
    assert_eq!(
        (&status["updatedReplicas"], &status["replicas"], &status["readyReplicas"]),
        (&json!(8), &json!(8), &json!(8))
    );
    assert_eq!(lab.cluster.list(SETS, None, &crate::api::Selector::default()).len(), 2, "the old set stays, empty");
}

#[tokio::test(start_paused = true)]
async fn recreate_lets_the_old_pods_go_before_the_new_ones_come() {
    let lab = lab(settings(), 1);
    let mut object = deployment("web", 4, json!({}));
    object["spec"]["strategy"] = json!({"type": "Recreate"});
    lab.create(object);
    lab.at(5.0).await;
    lab.patch(DEPLOYMENTS, "web", json!({"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}}));
    let mut at = 5.0;
    while at < 12.0 {
        at += 0.02;
        lab.at(at).await;
        let versions: Vec<bool> = lab.pods().iter().map(|pod| pod["metadata"]["labels"]["v"] == "2").collect();
        assert!(versions.iter().all(|new| *new) || versions.iter().all(|new| !*new), "both at {at}");
    }
    assert_eq!(lab.phases(), [0, 4, 4, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_paused_deployment_follows_its_size_only() {
    let lab = lab(settings(), 1);
    lab.create(deployment("web", 2, json!({})));
    lab.at(5.0).await;
    lab.patch(DEPLOYMENTS, "web", json!({"spec": {"paused": true, "template": {"metadata": {"labels": {"v": "2"}}}}}));
    lab.scale("web", 5);
    lab.at(10.0).await;
    assert_eq!(lab.phases(), [0, 5, 5, 0]);
    assert!(lab.pods().iter().all(|pod| pod["metadata"]["labels"].get("v").is_none()));
    lab.patch(DEPLOYMENTS, "web", json!({"spec": {"paused": false}}));
    lab.at(30.0).await;
    assert!(lab.pods().iter().all(|pod| pod["metadata"]["labels"]["v"] == "2"));
}

#[tokio::test(start_paused = true)]
async fn min_ready_seconds_delay_availability() {
    let lab = lab(settings(), 1);
    let mut object = deployment("web", 2, json!({}));
    object["spec"]["minReadySeconds"] = json!(10);
    lab.create(object);
    lab.at(8.0).await;
    let status = lab.get(DEPLOYMENTS, "web")["status"].clone();
    assert_eq!((&status["readyReplicas"], status.get("availableReplicas")), (&json!(2), None));
    lab.at(14.0).await;
    assert_eq!(lab.get(DEPLOYMENTS, "web")["status"]["availableReplicas"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_stateful_set_keeps_its_names_and_drops_the_highest_numbers() {
    let lab = lab(settings(), 1);
    lab.create(json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": "default"},
        "spec": {"replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "template": template("db", json!({}))},
    }));
    let names =
        || lab.pods().iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    lab.at(5.0).await;
    assert_eq!(names(), ["db-0", "db-1", "db-2"]);
    let status = lab.get(STATEFUL, "db")["status"].clone();
    assert_eq!(
        (&status["replicas"], &status["readyReplicas"], &status["currentReplicas"]),
        (&json!(3), &json!(3), &json!(3))
    );
    lab.cluster.delete(ADMIN, PODS, ("default", "db-1"), &Deletion::default()).unwrap();
    lab.patch(STATEFUL, "db", json!({"spec": {"replicas": 2}}));
    lab.at(10.0).await;
    assert_eq!(names(), ["db-0", "db-1"]);

    lab.patch(STATEFUL, "db", json!({"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}}));
    let mut least = 2;
    let mut at = 10.0;
    while at < 30.0 {
        at += 0.1;
        lab.at(at).await;
        least = least.min(lab.phases()[2]);
    }
    assert_eq!(least, 1, "one at a time");
    assert!(lab.pods().iter().all(|pod| pod["metadata"]["labels"]["v"] == "2"));
    let status = lab.get(STATEFUL, "db")["status"].clone();
    assert_eq!(status["currentRevision"], status["updateRevision"]);
}

#[tokio::test(start_paused = true)]
async fn controllers_that_start_late_take_over_what_is_there() {
    let early = lab(settings(), 1);
    early.create(deployment("web", 3, json!({})));
    early.at(1.0).await; // running, not ready
    let cluster = early.cluster.clone();
    drop(early.handle);
    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
    let count = |cluster: &crate::api::Cluster| {
        let pods = cluster.list(PODS, None, &crate::api::Selector::default());
        (pods.len(), pods.iter().filter(|pod| condition(pod, "Ready").0 == "True").count())
    };
    assert_eq!(count(&cluster), (3, 0), "nobody works");
    let patch = Patch::Merge(json!({"spec": {"replicas": 5}}));
    cluster.patch(ADMIN, DEPLOYMENTS, Part::Scale, ("default", "web"), &patch).unwrap();
    let _handle = crate::behaviour::start(&cluster, settings(), None, 1);
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(count(&cluster), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_at_rest_is_left_alone() {
    let lab = lab(settings(), 1);
    lab.create(deployment("web", 5, json!({})));
    lab.at(60.0).await;
    let _ = lab.cluster.take_audit();
    lab.at(36_000.0).await;
    assert_eq!(lab.cluster.take_audit(), [], "no requests in ten hours");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_with_a_finalizer_is_emptied_and_waits_for_it() {
    let lab = lab(settings(), 1);
    lab.create(
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gone", "finalizers": ["example/keep"]}}),
    );
    let mut object = deployment("web", 2, json!({}));
    object["metadata"]["namespace"] = "gone".into();
    lab.create(object);
    lab.create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "gone"}}));
    lab.at(5.0).await;
    lab.cluster.delete(ADMIN, ("", "namespaces"), ("", "gone"), &Deletion::default()).unwrap();
    lab.at(30.0).await;
    for what in [PODS, SETS, DEPLOYMENTS, ("", "configmaps")] {
        assert_eq!(lab.cluster.list(what, Some("gone"), &crate::api::Selector::default()).len(), 0, "{what:?}");
    }
    assert!(lab.cluster.get(("", "namespaces"), "", "gone").is_some());
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    lab.cluster.patch(ADMIN, ("", "namespaces"), Part::Main, ("", "gone"), &release).unwrap();
    lab.at(40.0).await;
    assert_eq!(lab.cluster.get(("", "namespaces"), "", "gone").map(|it| (*it).clone()), None::<Value>);
}
