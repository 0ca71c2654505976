//! Jobs: completions, failures with their pauses, deadlines, suspension, and pods that are counted once.

use serde_json::{Value, json};

use super::lab::*;
use crate::api::Deletion;

fn job(name: &str, spec: Value, annotations: Value) -> Value {
    let mut object = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "default"}, "spec": spec,
    });
    object["spec"]["template"] = template(name, annotations);
    object["spec"]["template"]["spec"]["restartPolicy"] = "Never".into();
    object
}

fn counts(lab: &Lab, name: &str) -> [u64; 3] {
    let status = lab.get(JOBS, name)["status"].clone();
    ["active", "succeeded", "failed"].map(|field| status[field].as_u64().unwrap_or(0))
}

#[tokio::test(start_paused = true)]
async fn a_job_works_off_its_completions_two_at_a_time() {
    let lab = lab(settings(), 1);
    lab.create(job("sum", json!({"completions": 5, "parallelism": 2}), json!({"kubesim/run-ms": "3000"})));
    lab.at(1.0).await;
    assert_eq!(counts(&lab, "sum"), [2, 0, 0]);
    lab.at(5.3).await; // two seconds to start, three to work
    assert_eq!(counts(&lab, "sum"), [2, 2, 0]);
    lab.at(10.5).await;
    assert_eq!(counts(&lab, "sum"), [1, 4, 0]);
    lab.at(20.0).await;
    assert_eq!(counts(&lab, "sum"), [0, 5, 0]);
    let done = lab.get(JOBS, "sum");
    assert_eq!(condition(&done, "Complete").0, "True");
    assert_eq!(condition(&done, "SuccessCriteriaMet").0, "True");
    assert_eq!(done["status"]["startTime"], "2026-01-01T00:00:00Z");
    assert_eq!(done["status"]["completionTime"], "2026-01-01T00:00:15Z");
    assert_eq!(lab.pods().len(), 5, "finished pods stay, counted and free of finalizers");
    assert!(
        lab.pods()
            .iter()
            .all(|pod| pod["metadata"].get("finalizers").is_none() && pod["status"]["phase"] == "Succeeded")
    );
    let _ = lab.cluster.take_audit();
    lab.at(4000.0).await;
    assert_eq!(lab.cluster.take_audit(), []);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_always_fails_gives_up_after_its_backoff_limit() {
    let lab = lab(settings(), 1);
    let annotations = json!({"kubesim/run-ms": "1000", "kubesim/fail-percent": "100"});
    lab.create(job("bad", json!({"completions": 1, "backoffLimit": 2}), annotations));
    lab.at(4.0).await;
    assert_eq!(counts(&lab, "bad"), [0, 0, 1]);
    lab.at(12.0).await;
    assert_eq!(lab.phases(), [0, 0, 0, 1], "ten seconds of pause after the first failure");
    lab.at(14.0).await;
    assert_eq!(counts(&lab, "bad"), [1, 0, 1]);
    lab.at(60.0).await;
    assert_eq!(counts(&lab, "bad"), [0, 0, 3]);
    assert_eq!(condition(&lab.get(JOBS, "bad"), "Failed"), ("True".into(), "BackoffLimitExceeded".into()));
}

#[tokio::test(start_paused = true)]
async fn some_fail_and_are_made_up_for() {
    let lab = lab(settings(), 7);
    let annotations = json!({"kubesim/run-ms": "500..1500", "kubesim/fail-percent": "30"});
    lab.create(job("mixed", json!({"completions": 20, "parallelism": 5, "backoffLimit": 100}), annotations));
    lab.at(7200.0).await;
    let [active, succeeded, failed] = counts(&lab, "mixed");
    assert_eq!((active, succeeded), (0, 20));
    assert!((2..=25).contains(&failed), "{failed}");
    assert_eq!(lab.phases()[3] as u64, 20 + failed, "each pod is counted once");
}

#[tokio::test(start_paused = true)]
async fn an_active_pod_that_is_deleted_counts_as_failed_and_is_replaced() {
    let lab = lab(settings(), 1);
    lab.create(job("long", json!({"completions": 1}), json!({"kubesim/run-ms": "60000"})));
    lab.at(5.0).await;
    let pod = lab.pods()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    lab.cluster.delete(ADMIN, PODS, ("default", &pod), &Deletion::default()).unwrap();
    lab.at(6.0).await;
    assert_eq!(counts(&lab, "long")[2], 1);
    assert_eq!(lab.pods().len(), 0, "its finalizer is off");
    lab.at(30.0).await;
    assert_eq!(counts(&lab, "long"), [1, 0, 1]);
    lab.at(120.0).await;
    assert_eq!(counts(&lab, "long"), [0, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn deleting_a_job_takes_its_pods_finalizers_and_all() {
    let lab = lab(settings(), 1);
    lab.create(job("gone", json!({"completions": 3, "parallelism": 3}), json!({"kubesim/run-ms": "60000"})));
    lab.at(5.0).await;
    lab.cluster.delete(ADMIN, JOBS, ("default", "gone"), &Deletion::default()).unwrap();
    lab.at(6.0).await;
    assert_eq!(lab.pods().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_job_has_no_pods_and_goes_on_afterwards() {
    let lab = lab(settings(), 1);
    lab.create(job("pause", json!({"completions": 2, "parallelism": 2}), json!({"kubesim/run-ms": "20000"})));
    lab.at(5.0).await;
    lab.patch(JOBS, "pause", json!({"spec": {"suspend": true}}));
    lab.at(6.0).await;
    assert_eq!((lab.pods().len(), counts(&lab, "pause")), (0, [0, 0, 0]));
    assert_eq!(condition(&lab.get(JOBS, "pause"), "Suspended").0, "True");
    assert!(lab.get(JOBS, "pause")["status"].get("startTime").is_none());
    lab.patch(JOBS, "pause", json!({"spec": {"suspend": false}}));
    lab.at(60.0).await;
    assert_eq!(counts(&lab, "pause"), [0, 2, 0]);
    assert_eq!(condition(&lab.get(JOBS, "pause"), "Suspended").0, "False");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_a_job_with_its_pods() {
    let lab = lab(settings(), 1);
    lab.create(job("late", json!({"activeDeadlineSeconds": 30}), json!({"kubesim/run-ms": "never"})));
    lab.at(29.0).await;
    assert_eq!(counts(&lab, "late"), [1, 0, 0]);
    lab.at(32.0).await;
    assert_eq!(condition(&lab.get(JOBS, "late"), "Failed"), ("True".into(), "DeadlineExceeded".into()));
    assert_eq!(counts(&lab, "late"), [0, 0, 1], "the pod that was ended counts as failed");
    assert_eq!(lab.pods().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_queue_of_work_ends_with_its_first_success_when_the_others_are_done() {
    let lab = lab(settings(), 1);
    lab.create(job("queue", json!({"parallelism": 3}), json!({"kubesim/run-ms": "1000..9000"})));
    lab.at(60.0).await;
    assert_eq!(counts(&lab, "queue"), [0, 3, 0]);
    assert_eq!(condition(&lab.get(JOBS, "queue"), "Complete").0, "True");
}
