//! The HPA controller: when it syncs, what it asks, what it writes, and what it must leave alone.

use serde_json::{Value, json};

use super::lab::*;
use crate::api::{Deletion, Part, Patch, Selector};
use crate::behaviour::Settings;

/// A Deployment with its HPA (created at 0 s, so synced at 15 s, 30 s, ...) and the metrics server.
fn scaled(seed: u64, replicas: u32, settings: Settings) -> (Lab, Metrics) {
    let lab = lab(settings, seed);
    let metrics = lab.metrics_server();
    lab.create(deployment("web", replicas, json!({})));
    lab.create(hpa("web", 1, 20, average("10")));
    (lab, metrics)
}

#[tokio::test(start_paused = true)]
async fn an_hpa_scales_out_within_one_sync_and_in_after_the_window() {
    let (lab, metrics) = scaled(1, 2, settings());
    metrics.say(Says::Value(80));
    lab.at(14.9).await;
    assert_eq!(
        (lab.replicas("web"), metrics.asked(&lab).len()),
        (2, 0),
        "the first sync is one period after it is seen"
    );
    lab.at(15.1).await;
    // 8 are wanted; without behaviour no more than twice the replicas or 4 at once.
    assert_eq!(lab.replicas("web"), 4);
    lab.at(30.1).await;
    assert_eq!(lab.replicas("web"), 8);
    assert_eq!(lab.events("SuccessfulRescale").len(), 2);
    metrics.say(Says::Value(20));
    lab.at(329.0).await;
    assert_eq!(lab.replicas("web"), 8, "the recommendation of 30 s holds for five minutes");
    lab.at(345.1).await;
    assert_eq!(lab.replicas("web"), 2);

    let object = lab.get(HPAS, "web");
    let status = &object["status"];
    assert_eq!((&status["currentReplicas"], &status["desiredReplicas"]), (&json!(8), &json!(2)));
    assert_eq!(status["lastScaleTime"], "2026-01-01T00:05:45Z");
    assert_eq!(status["currentMetrics"][0]["external"]["current"]["averageValue"], "2500m");
    assert_eq!(status["currentMetrics"][0]["external"]["metric"], object["spec"]["metrics"][0]["external"]["metric"]);
    assert_eq!(condition(&object, "AbleToScale"), ("True".into(), "SucceededRescale".into()));
    assert_eq!(condition(&object, "ScalingActive"), ("True".into(), "ValidMetricFound".into()));

    let asked = metrics.asked(&lab);
    assert_eq!(asked[0].1, "labelSelector=a%2Fb%3Dc%20d%2Cof%3Dweb");
    let times: Vec<_> = asked.iter().take(3).map(|(at, _)| (at * 10.0).round() / 10.0).collect();
    assert_eq!(times, [15.0, 30.0, 45.0]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_metric_moves_nothing_and_is_told_once_with_a_count() {
    let (lab, metrics) = scaled(1, 5, settings());
    metrics.say(Says::Fails);
    lab.at(400.0).await;
    assert_eq!(lab.replicas("web"), 5);
    let object = lab.get(HPAS, "web");
    assert_eq!(condition(&object, "ScalingActive"), ("False".into(), "FailedGetExternalMetric".into()));
    let told = lab.events("FailedGetExternalMetric");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].0.contains("broker is silent"), "{told:?}");
    // 26 syncs with two sentences each: the filter lets 25 writes through and then one more in five minutes.
    let audit = lab.cluster.take_audit();
    let written = audit.iter().filter(|one| one.resource == "events" && one.code < 300).count();
    assert!((25..=27).contains(&written), "{written}");
    assert!(told[0].1 > 12, "what was not written is counted all the same: {told:?}");
    assert_eq!(object["status"]["currentMetrics"], json!([{"type": ""}]));
    metrics.say(Says::Value(30));
    lab.at(420.0).await;
    assert_eq!(condition(&lab.get(HPAS, "web"), "ScalingActive").0, "True");
}

#[tokio::test(start_paused = true)]
async fn without_a_metrics_server_nothing_moves_either() {
    let lab = lab(settings(), 1);
    lab.create(deployment("web", 5, json!({})));
    lab.create(hpa("web", 1, 20, average("10")));
    lab.at(100.0).await;
    assert_eq!(lab.replicas("web"), 5);
    assert_eq!(lab.events("FailedGetExternalMetric").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn at_zero_the_hpa_is_off_and_after_an_outside_0_to_n_it_cuts_to_the_demand() {
    let (lab, metrics) = scaled(1, 0, settings());
    metrics.say(Says::Value(100));
    lab.at(100.0).await;
    assert_eq!((lab.replicas("web"), metrics.asked(&lab).len()), (0, 0), "at 0 no metric is asked for");
    assert_eq!(condition(&lab.get(HPAS, "web"), "ScalingActive"), ("False".into(), "ScalingDisabled".into()));
    assert_eq!(lab.get(HPAS, "web")["status"].get("currentMetrics"), None);
    lab.scale("web", 10);
    metrics.say(Says::Value(20));
    lab.at(105.1).await;
    // The trap of DESIGN.md: at 0 nothing was recorded, so no window holds the 10.
    assert_eq!(lab.replicas("web"), 2);
    assert_eq!(lab.events("SuccessfulRescale").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn bounds_are_kept_without_asking_for_metrics() {
    for (replicas, becomes) in [(30, 20), (1, 3)] {
        let lab = lab(settings(), 1);
        let metrics = lab.metrics_server();
        lab.create(deployment("web", replicas, json!({})));
        lab.create(hpa("web", 3, 20, average("10")));
        metrics.say(Says::Fails);
        lab.at(15.1).await;
        assert_eq!((lab.replicas("web"), metrics.asked(&lab).len()), (becomes, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_conflict_the_old_number_is_written_over_the_new_one() {
    let (lab, metrics) = scaled(1, 4, settings());
    // The answer takes three seconds; meanwhile somebody writes 0.
    metrics.say(Says::AfterSeconds(3, 80));
    lab.at(16.0).await;
    lab.scale("web", 0);
    lab.at(18.2).await;
    assert_eq!(lab.replicas("web"), 8);
    let writes: Vec<_> = lab.cluster.take_audit().into_iter().filter(|one| one.subresource == "scale").collect();
    let codes: Vec<_> = writes.iter().map(|one| (one.verb, one.code)).collect();
    assert_eq!(codes, [("patch", 200), ("update", 409), ("update", 200)]);
    assert_eq!(lab.events("SuccessfulRescale").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_not_there_is_said_and_found_later() {
    let lab = lab(settings(), 1);
    let metrics = lab.metrics_server();
    metrics.say(Says::Value(60));
    lab.create(hpa("web", 1, 20, average("10")));
    lab.at(20.0).await;
    assert_eq!(condition(&lab.get(HPAS, "web"), "AbleToScale"), ("False".into(), "FailedGetScale".into()));
    assert_eq!(lab.events("FailedGetScale").len(), 1);
    lab.create(deployment("web", 1, json!({})));
    lab.at(61.0).await;
    assert_eq!(lab.replicas("web"), 6, "1, then 4, then 6");
}

#[tokio::test(start_paused = true)]
async fn a_hanging_adapter_delays_that_autoscaler_and_no_other() {
    let lab = lab(settings(), 1);
    let metrics = lab.metrics_server();
    for name in ["web", "other"] {
        lab.create(deployment(name, 2, json!({})));
    }
    lab.create(hpa("web", 1, 20, average("10")));
    let mut by_cpu = hpa("other", 1, 20, average("10"));
    by_cpu["spec"]["metrics"] = json!([]);
    by_cpu["spec"]["minReplicas"] = json!(3);
    metrics.say(Says::Hangs);
    lab.at(1.0).await;
    lab.create(by_cpu);
    lab.at(16.1).await;
    assert_eq!(lab.replicas("other"), 3, "synced at 16 s while the other hangs");
    lab.at(75.2).await;
    let object = lab.get(HPAS, "web");
    assert_eq!(condition(&object, "ScalingActive"), ("False".into(), "FailedGetExternalMetric".into()));
    // It was asked for again meanwhile: the next sync follows at once.
    let times: Vec<_> = metrics.asked(&lab).iter().map(|(at, _)| at.round()).collect();
    assert_eq!(times, [15.0, 75.0]);
}

#[tokio::test(start_paused = true)]
async fn as_many_hanging_syncs_as_workers_hold_up_all_others() {
    let lab = lab(Settings { hpa_workers: 2, ..settings() }, 1);
    let metrics = lab.metrics_server();
    metrics.say(Says::Hangs);
    for name in ["a", "b", "z"] {
        lab.create(deployment(name, 2, json!({})));
        lab.create(hpa(name, if name == "z" { 3 } else { 1 }, 20, average("10")));
    }
    lab.at(74.9).await;
    assert_eq!(lab.replicas("z"), 2);
    lab.at(75.1).await;
    assert_eq!(lab.replicas("z"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_controller_has_forgotten_its_window() {
    let cut_at = |restart: bool| async move {
        let (mut lab, metrics) = scaled(1, 4, settings());
        metrics.say(Says::Value(40));
        lab.at(20.0).await;
        metrics.say(Says::Value(10));
        lab.at(40.0).await;
        lab.scale("web", 9);
        if restart {
            lab.handle.restart_hpa();
        }
        lab.at(56.0).await;
        lab.replicas("web")
    };
    assert_eq!(cut_at(false).await, 4, "4 was recorded: down to that at once, and no lower");
    assert_eq!(cut_at(true).await, 9, "what it finds counts as asked for");
}

#[tokio::test(start_paused = true)]
async fn without_the_controller_nothing_is_synced() {
    let (mut lab, metrics) = scaled(1, 2, settings());
    metrics.say(Says::Value(80));
    lab.at(5.0).await;
    lab.handle.stop_hpa();
    lab.at(100.0).await;
    assert_eq!((lab.replicas("web"), metrics.asked(&lab).len()), (2, 0));
    lab.handle.restart_hpa();
    lab.at(114.9).await;
    assert_eq!(metrics.asked(&lab).len(), 0);
    lab.at(115.1).await;
    assert_eq!(lab.replicas("web"), 4);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_controller_does_not_finish_the_sync_it_was_in() {
    let (mut lab, metrics) = scaled(1, 2, settings());
    metrics.say(Says::AfterSeconds(3, 80));
    lab.at(16.0).await;
    lab.handle.stop_hpa();
    lab.at(60.0).await;
    assert_eq!((lab.replicas("web"), metrics.asked(&lab).len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn memory_is_by_name_as_in_the_real_controller() {
    // Deleted and made again before the next sync: the window survives. After a sync that found nothing: it does not.
    for (gone_for, replicas) in [(5.0, 4), (40.0, 9)] {
        let (lab, metrics) = scaled(1, 4, settings());
        metrics.say(Says::Value(40));
        lab.at(31.0).await;
        metrics.say(Says::Value(10));
        lab.cluster.delete(ADMIN, HPAS, ("default", "web"), &Deletion::default()).unwrap();
        lab.scale("web", 9);
        lab.at(31.0 + gone_for).await;
        lab.create(hpa("web", 1, 20, average("10")));
        lab.at(31.0 + gone_for + 16.0).await;
        assert_eq!(lab.replicas("web"), replicas, "gone for {gone_for} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_autoscaler_is_synced_when_it_was_due_anyway() {
    let (lab, metrics) = scaled(1, 2, settings());
    metrics.say(Says::Value(20));
    lab.at(20.0).await;
    lab.patch(HPAS, "web", json!({"spec": {"minReplicas": 7}}));
    lab.at(29.9).await;
    assert_eq!(lab.replicas("web"), 2);
    lab.at(30.1).await;
    assert_eq!(lab.replicas("web"), 7);
}

#[tokio::test(start_paused = true)]
async fn pods_of_two_autoscalers_belong_to_neither() {
    let (lab, metrics) = scaled(1, 2, settings());
    metrics.say(Says::Value(80));
    let mut second = hpa("twin", 1, 20, average("10"));
    second["spec"]["scaleTargetRef"]["name"] = "web".into();
    lab.create(second);
    lab.at(60.0).await;
    // The first sync of the first one knows of no other.
    assert_eq!(condition(&lab.get(HPAS, "twin"), "ScalingActive"), ("False".into(), "AmbiguousSelector".into()));
    assert_eq!(condition(&lab.get(HPAS, "web"), "ScalingActive"), ("False".into(), "AmbiguousSelector".into()));
    assert_eq!(lab.replicas("web"), 4);
    assert!(!lab.events("AmbiguousSelector").is_empty());
    lab.cluster.delete(ADMIN, HPAS, ("default", "twin"), &Deletion::default()).unwrap();
    lab.at(80.0).await;
    assert_eq!(lab.replicas("web"), 8);
}

#[tokio::test(start_paused = true)]
async fn behaviour_policies_and_value_targets_are_read_from_the_object() {
    let lab = lab(settings(), 1);
    let metrics = lab.metrics_server();
    lab.create(deployment("web", 2, json!({})));
    let mut object = hpa("web", 1, 50, json!({"type": "Value", "value": "10"}));
    object["spec"]["behavior"] = json!({
        "scaleUp": {
            "stabilizationWindowSeconds": 0, "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
        },
        "scaleDown": {
            "stabilizationWindowSeconds": 0, "selectPolicy": "Max",
            "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
        },
    });
    lab.create(object);
    metrics.say(Says::Value(1000));
    lab.at(15.1).await;
    assert_eq!(lab.replicas("web"), 3, "one a minute");
    lab.at(74.0).await;
    assert_eq!(lab.replicas("web"), 3);
    lab.at(90.1).await;
    assert_eq!(lab.replicas("web"), 4);
    metrics.say(Says::Value(1));
    lab.at(105.1).await;
    assert_eq!(lab.replicas("web"), 1, "without a window it goes down at once");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_changes_during_a_sync_keeps_its_status_until_the_next() {
    let (lab, metrics) = scaled(1, 2, settings());
    metrics.say(Says::AfterSeconds(2, 20));
    lab.at(16.0).await;
    let patch = Patch::Merge(json!({"metadata": {"labels": {"touched": "yes"}}}));
    lab.cluster.patch(ADMIN, HPAS, Part::Main, ("default", "web"), &patch).unwrap();
    lab.at(20.0).await;
    assert_eq!(lab.get(HPAS, "web").get("status").and_then(|status| status.get("currentReplicas")), None::<&Value>);
    assert_eq!(lab.events("FailedUpdateStatus").len(), 1);
    lab.at(40.0).await;
    assert_eq!(lab.get(HPAS, "web")["status"]["currentReplicas"], 2);
}

#[tokio::test(start_paused = true)]
async fn an_autoscaler_at_rest_writes_nothing() {
    let (lab, metrics) = scaled(1, 2, settings());
    metrics.say(Says::Value(20));
    lab.at(400.0).await;
    let _ = lab.cluster.take_audit();
    lab.at(4000.0).await;
    let reads = ["get", "list"];
    let writes: Vec<_> = lab.cluster.take_audit().into_iter().filter(|one| !reads.contains(&one.verb)).collect();
    assert_eq!(writes, []);
    assert_eq!(metrics.asked(&lab).len(), 266, "4000 s / 15 s");
    assert!(lab.cluster.list(("", "events"), None, &Selector::default()).is_empty());
}
