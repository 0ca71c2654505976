//! The text that a scraper sees.

use prometheus_client::encoding::text::encode;

use super::*;

fn text(telemetry: &Telemetry) -> String {
    let mut text = String::new();
    encode(&mut text, &telemetry.registry()).expect("text");
    text
}

#[track_caller]
fn has(telemetry: &Telemetry, line: &str) {
    let text = text(telemetry);
    assert!(text.lines().any(|it| it == line), "no line {line:?} in\n{text}");
}

/// Everything once.
fn full() -> Telemetry {
    let telemetry = Telemetry::new("1.2.3");
    telemetry.leading(true);
    telemetry.scaled_objects(7);
    telemetry.reconcile_queue_depth(3);
    telemetry.source_read("rabbitmq", Duration::from_millis(5));
    telemetry.reading("shop", "orders", "s0-rabbitmq-orders", ReadOutcome::Ok);
    telemetry.source_value("shop", "orders", "s0-rabbitmq-orders", 42.5, true);
    telemetry.decision(Verdict::Activate(4), Duration::from_micros(3));
    telemetry.api_write("Scale", WriteOutcome::Ok, Duration::from_millis(20));
    telemetry.external_metric_request(200);
    telemetry.replicas("shop", "orders", 1, 4);
    telemetry
}

#[test]
fn every_metric_has_its_name_and_labels() {
    let telemetry = full();
    has(&telemetry, r#"windlass_build_info{version="1.2.3"} 1"#);
    has(&telemetry, "windlass_leader 1");
    has(&telemetry, "windlass_scaled_objects 7");
    has(&telemetry, "windlass_reconcile_queue_depth 3");
    has(&telemetry, r#"windlass_source_read_duration_seconds_count{source="rabbitmq"} 1"#);
    let trigger = r#"namespace="shop",scaled_object="orders",trigger="s0-rabbitmq-orders""#;
    has(&telemetry, &format!(r#"windlass_source_readings_total{{{trigger},outcome="ok"}} 1"#));
    has(&telemetry, &format!("windlass_source_value{{{trigger}}} 42.5"));
    has(&telemetry, &format!("windlass_source_active{{{trigger}}} 1"));
    has(&telemetry, r#"windlass_decisions_total{verdict="activate"} 1"#);
    has(&telemetry, "windlass_decide_duration_seconds_count 1");
    has(&telemetry, r#"windlass_decide_duration_seconds_bucket{le="0.000004"} 1"#);
    has(&telemetry, r#"windlass_api_writes_total{kind="Scale",outcome="ok"} 1"#);
    has(&telemetry, r#"windlass_api_write_duration_seconds_count{kind="Scale"} 1"#);
    has(&telemetry, r#"windlass_external_metric_requests_total{code="200"} 1"#);
    has(&telemetry, r#"windlass_replicas_current{namespace="shop",scaled_object="orders"} 1"#);
    has(&telemetry, r#"windlass_replicas_desired{namespace="shop",scaled_object="orders"} 4"#);
}

#[test]
fn clones_count_together_and_counts_add_up() {
    let telemetry = Telemetry::new("0");
    let other = telemetry.clone();
    std::thread::spawn(move || other.reading("shop", "orders", "t", ReadOutcome::Failed)).join().expect("no panic");
    telemetry.reading("shop", "orders", "t", ReadOutcome::Failed);
    telemetry.reading("shop", "orders", "t", ReadOutcome::Absent);
    let object = r#"namespace="shop",scaled_object="orders",trigger="t""#;
    has(&telemetry, &format!(r#"windlass_source_readings_total{{{object},outcome="failed"}} 2"#));
    has(&telemetry, &format!(r#"windlass_source_readings_total{{{object},outcome="absent"}} 1"#));
}

#[test]
fn a_forgotten_object_leaves_no_series_and_its_neighbours_stay() {
    let telemetry = full();
    for outcome in ReadOutcome::ALL {
        telemetry.reading("shop", "orders", "s1-other", outcome);
        telemetry.reading("shop", "mail", "s0-mail", outcome);
        telemetry.reading("office", "orders", "s0-far", outcome);
    }
    telemetry.replicas("shop", "mail", 2, 2);
    telemetry.forget("shop", "orders");
    let after = text(&telemetry);
    let left: Vec<&str> = after
        .lines()
        .filter(|line| line.contains(r#"namespace="shop""#) && line.contains(r#"scaled_object="orders""#))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(after.matches(r#"scaled_object="mail""#).count(), 5);
    assert_eq!(after.matches(r#"namespace="office""#).count(), 3);
    telemetry.forget("shop", "never-seen");
}

#[test]
fn a_removed_trigger_leaves_no_series_and_the_others_stay() {
    let telemetry = full();
    telemetry.reading("shop", "orders", "s1-other", ReadOutcome::Failed);
    telemetry.keep_triggers("shop", "orders", &["s1-other"]);
    let after = text(&telemetry);
    assert!(!after.contains("s0-rabbitmq-orders"), "{after}");
    assert!(after.contains("s1-other"), "{after}");
    telemetry.keep_triggers("shop", "never-seen", &[]);
}

#[test]
fn a_write_that_was_not_sent_has_no_duration() {
    let telemetry = Telemetry::new("0");
    telemetry.api_write("Scale", WriteOutcome::NotLeader, Duration::ZERO);
    has(&telemetry, r#"windlass_api_writes_total{kind="Scale",outcome="not_leader"} 1"#);
    assert!(!text(&telemetry).contains("api_write_duration_seconds_count{"));
}

#[test]
fn the_outcome_of_a_write_says_what_is_known_of_it() {
    fn status(code: u16) -> Result<(), WriteError> {
        let status = kube::core::Status { code, ..kube::core::Status::default() };
        Err(WriteError::Api(kube::Error::Api(Box::new(status))))
    }
    let known = [
        (Ok(()), WriteOutcome::Ok),
        (Err(WriteError::NotLeader), WriteOutcome::NotLeader),
        (Err(WriteError::Deadline(Duration::from_secs(1))), WriteOutcome::Unknown),
        (status(409), WriteOutcome::Conflict),
        (status(403), WriteOutcome::Refused),
        (status(504), WriteOutcome::Unknown),
    ];
    for (result, outcome) in known {
        assert_eq!(WriteOutcome::from(&result), outcome, "{result:?}");
    }
}
