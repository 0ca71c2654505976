//! The text that a scraper sees.

use prometheus_client::encoding::text::encode;
use windlass_crd::Group;
use windlass_sources::poller::Asked;

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

/// The series of a scaled object with these triggers, by type and name.
fn object(telemetry: &Telemetry, key: &ObjectKey, triggers: &[(&str, Option<&str>)]) -> Arc<ObjectSeries> {
    let names = triggers.iter().enumerate().map(|(index, (kind, name))| TriggerName {
        metric: format!("s{index}-{kind}-orders"),
        kind: (*kind).to_owned(),
        name: name.map(str::to_owned),
        index,
    });
    let types: Vec<String> = triggers.iter().map(|(kind, _)| (*kind).to_owned()).chain(["cpu".to_owned()]).collect();
    let series = telemetry.object(key);
    series.has(&types, names.collect());
    series
}

fn asked(milliseconds: u64) -> Option<Asked> {
    Some(Asked { late: Duration::from_millis(2), took: Duration::from_millis(milliseconds) })
}

/// Everything once.
fn full() -> Telemetry {
    let telemetry = Telemetry::new("1.2.3", true);
    telemetry.leading(true);
    telemetry.scaled_objects(7);
    telemetry.reconcile_queue_depth(3);
    telemetry.decision(Verdict::Activate(4), Duration::from_micros(3));
    telemetry.api_write("Scale", WriteOutcome::Ok, Duration::from_millis(20));
    telemetry.external_metric_request(200);
    telemetry.webhook_request(WebhookOutcome::Accepted, Duration::from_millis(2));
    telemetry.webhook_kept(3, Duration::from_millis(2), 400);
    telemetry.also_registered(|| Registered::from([(("cluster_trigger_authentication", "".into()), 2)]));
    let series = object(&telemetry, &ObjectKey::new("shop", "orders"), &[("rabbitmq", None)]);
    series.read(0, ReadOutcome::Ok, asked(30));
    series.read(0, ReadOutcome::Failed, asked(3000));
    series.read(0, ReadOutcome::Absent, asked(4));
    series.decided((1, 4), true, std::iter::once((Some(42.5), Some(true))));
    telemetry
}

#[test]
fn every_metric_has_its_name_and_labels() {
    let telemetry = full();
    has(&telemetry, r#"windlass_build_info{version="1.2.3"} 1"#);
    has(&telemetry, "windlass_leader 1");
    has(&telemetry, "windlass_scaled_objects 7");
    has(&telemetry, "windlass_reconcile_queue_depth 3");
    has(&telemetry, r#"windlass_decisions_total{verdict="activate"} 1"#);
    has(&telemetry, "windlass_decide_duration_seconds_count 1");
    has(&telemetry, r#"windlass_decide_duration_seconds_bucket{le="0.000004"} 1"#);
    has(&telemetry, r#"windlass_api_writes_total{kind="Scale",outcome="ok"} 1"#);
    has(&telemetry, r#"windlass_api_write_duration_seconds_count{kind="Scale"} 1"#);
    has(&telemetry, r#"windlass_external_metric_requests_total{code="200"} 1"#);
    has(&telemetry, r#"windlass_webhook_requests_total{outcome="accepted"} 1"#);
    has(&telemetry, "windlass_webhook_request_duration_seconds_count 1");
    has(&telemetry, "windlass_webhook_events_total 3");
    has(&telemetry, "windlass_webhook_journal_sync_duration_seconds_count 1");
    has(&telemetry, "windlass_webhook_journal_bytes 400");
    let object = r#"namespace="shop",scaledObject="orders",group="windlass.dev""#;
    has(&telemetry, &format!("windlass_replicas_current{{{object}}} 1"));
    has(&telemetry, &format!("windlass_replicas_desired{{{object}}} 4"));
    has(&telemetry, &format!("windlass_scaled_object_paused{{{object}}} 1"));
    has(&telemetry, &format!("windlass_scaled_object_errors_total{{{object}}} 2"));
    let scale_loop = r#"namespace="shop",type="scaledobject",resource="orders",group="windlass.dev""#;
    has(&telemetry, &format!("windlass_internal_scale_loop_latency_seconds{{{scale_loop}}} 0.002"));
    let trigger = r#"namespace="shop",metric="s0-rabbitmq-orders",scaledObject="orders",scaler="rabbitmq",triggerIndex="0",type="scaledobject",group="windlass.dev""#;
    has(&telemetry, &format!("windlass_scaler_metrics_value{{{trigger}}} 42.5"));
    has(&telemetry, &format!("windlass_scaler_active{{{trigger}}} 1"));
    has(&telemetry, &format!("windlass_scaler_detail_errors_total{{{trigger}}} 2"));
    has(&telemetry, &format!("windlass_scaler_empty_upstream_responses_total{{{trigger}}} 1"));
    let latency = "windlass_scaler_metrics_latency_seconds";
    has(&telemetry, &format!("{latency}_count{{{trigger}}} 3"));
    has(&telemetry, &format!(r#"{latency}_bucket{{le="0.025",{trigger}}} 1"#));
    has(&telemetry, &format!(r#"{latency}_bucket{{le="2.5",{trigger}}} 2"#));
    has(&telemetry, &format!(r#"{latency}_bucket{{le="+Inf",{trigger}}} 3"#));
    has(&telemetry, r#"windlass_trigger_registered_total{type="rabbitmq"} 1"#);
    has(&telemetry, r#"windlass_trigger_registered_total{type="cpu"} 1"#);
    has(&telemetry, r#"windlass_resource_registered_total{type="scaled_object",namespace="shop"} 1"#);
    has(&telemetry, r#"windlass_resource_registered_total{type="cluster_trigger_authentication",namespace=""} 2"#);
}

#[test]
fn with_kedas_names_everything_has_kedas_labels() {
    let telemetry = full();
    has(&telemetry, r#"keda_build_info{version="1.2.3"} 1"#);
    let trigger = r#"namespace="shop",metric="s0-rabbitmq-orders",scaledObject="orders",scaler="rabbitMQScaler",triggerIndex="0",type="scaledobject""#;
    has(&telemetry, &format!("keda_scaler_metrics_value{{{trigger}}} 42.5"));
    has(&telemetry, &format!("keda_scaler_active{{{trigger}}} 1"));
    has(&telemetry, &format!("keda_scaler_detail_errors_total{{{trigger}}} 2"));
    // A gauge of the last one.
    has(&telemetry, &format!("keda_scaler_metrics_latency_seconds{{{trigger}}} 0.004"));
    let empty = r#"namespace="shop",scaledResource="orders",triggerName="",metricName="s0-rabbitmq-orders",resourceType="ScaledObject",ignoreNullValues="false""#;
    has(&telemetry, &format!("keda_scaler_empty_upstream_responses_total{{{empty}}} 1"));
    has(&telemetry, r#"keda_scaled_object_paused{namespace="shop",scaledObject="orders"} 1"#);
    has(&telemetry, r#"keda_scaled_object_errors_total{namespace="shop",scaledObject="orders"} 2"#);
    let scale_loop = r#"namespace="shop",type="scaledobject",resource="orders""#;
    has(&telemetry, &format!("keda_internal_scale_loop_latency_seconds{{{scale_loop}}} 0.002"));
    has(&telemetry, r#"keda_trigger_registered_total{type="rabbitmq"} 1"#);
    has(&telemetry, r#"keda_resource_registered_total{type="scaled_object",namespace="shop"} 1"#);
    has(&telemetry, r#"keda_resource_registered_total{type="cluster_trigger_authentication",namespace="default"} 2"#);
    assert!(!text(&Telemetry::new("0", false)).contains("keda_"), "KEDA's names without being asked for");
}

/// Name and type of each metric, as the registry tells them.
fn told(telemetry: &Telemetry) -> Vec<(String, String)> {
    let text = text(telemetry);
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let of_samples = |line: &str| {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        (format!("{name}{suffix}"), kind.to_owned())
    };
    types.map(of_samples).collect()
}

#[test]
fn the_page_on_metrics_lists_all_of_them_and_no_other() {
    let page = include_str!("../../../docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `windlass_"));
    let cells =
        |row: &str| -> Vec<String> { row.trim_matches('|').split('|').map(|it| it.trim().replace('`', "")).collect() };
    let mut listed = Vec::new();
    for row in rows.map(cells) {
        let [name, kind, labels, keda, meaning] = <[String; 5]>::try_from(row).expect("five cells");
        assert!(!meaning.is_empty() && !labels.is_empty(), "{name}");
        if keda != "-" {
            let kedas_kind = keda.split_once(", a ").map_or(&*kind, |(_, kind)| kind);
            let kedas_name = keda.split_once(", a ").map_or(&*keda, |(name, _)| name);
            assert!(kedas_name.starts_with("keda_"), "{keda}");
            listed.push((kedas_name.to_owned(), kedas_kind.to_owned()));
        }
        listed.push((name, kind));
    }
    let mut told = told(&full());
    listed.sort();
    told.sort();
    assert_eq!(listed, told, "docs/metrics.md on the left, the registry on the right");
}

#[test]
fn the_page_on_metrics_names_the_labels_of_each() {
    let page = include_str!("../../../docs/metrics.md");
    let text = text(&full());
    let (mut seen, mut wrong) = (0, Vec::new());
    for line in text.lines().filter(|line| line.starts_with("windlass_")) {
        let name = line.split(['{', ' ']).next().expect("a name");
        let row = page.lines().find(|row| {
            let listed = row.strip_prefix("| `").and_then(|row| row.split('`').next());
            listed.is_some_and(|listed| {
                [listed.to_owned(), format!("{listed}_bucket"), format!("{listed}_count"), format!("{listed}_sum")]
                    .iter()
                    .any(|it| it == name)
            })
        });
        let row = row.unwrap_or_else(|| panic!("{name} is not listed"));
        let labels: Vec<&str> = line
            .split_once('{')
            .map_or("", |(_, rest)| rest)
            .split("\",")
            .filter_map(|label| label.split_once("=\"").map(|(label, _)| label))
            .filter(|label| *label != "le")
            .collect();
        let listed = row.split('|').nth(3).unwrap_or_default().replace('`', "");
        let listed: Vec<&str> = match listed.trim() {
            "-" => Vec::new(),
            "of a trigger" => vec!["namespace", "metric", "scaledObject", "scaler", "triggerIndex", "type", "group"],
            "of an object" => vec!["namespace", "scaledObject", "group"],
            listed => listed.split(", ").collect(),
        };
        seen += 1;
        if labels != listed {
            wrong.push(format!("{name}: {labels:?}, listed {listed:?}"));
        }
    }
    assert!(seen > 40 && wrong.is_empty(), "{seen} samples; {wrong:#?}");
}

#[test]
fn clones_count_together_and_counts_add_up() {
    let telemetry = Telemetry::new("0", false);
    let (other, key) = (telemetry.clone(), ObjectKey::new("shop", "orders"));
    let series = object(&telemetry, &key, &[("kafka", None)]);
    std::thread::spawn(move || other.object(&key).read(0, ReadOutcome::Failed, None)).join().expect("no panic");
    series.read(0, ReadOutcome::Failed, None);
    series.read(0, ReadOutcome::Absent, None);
    let text = text(&telemetry);
    let count = |name: &str| text.lines().find(|line| line.starts_with(name)).and_then(|line| line.rsplit(' ').next());
    assert_eq!(count("windlass_scaler_detail_errors_total{"), Some("3"));
    assert_eq!(count("windlass_scaler_empty_upstream_responses_total{"), Some("1"));
    assert_eq!(count("windlass_scaler_metrics_latency_seconds_count{"), Some("0"), "nobody asked");
}

#[test]
fn a_forgotten_object_leaves_no_series_and_its_neighbours_stay() {
    let telemetry = full();
    for (namespace, name) in [("shop", "mail"), ("office", "orders")] {
        let series = object(&telemetry, &ObjectKey::new(namespace, name), &[("kafka", None)]);
        series.read(0, ReadOutcome::Failed, asked(1));
    }
    let gone = ObjectKey::new("shop", "orders");
    let held = telemetry.object(&gone);
    telemetry.forget(&gone);
    // A reading that comes late.
    held.read(0, ReadOutcome::Ok, asked(1));
    let after = text(&telemetry);
    let is_left = |line: &&str| line.contains(r#"namespace="shop""#) && line.contains(r#""orders""#);
    assert_eq!(after.lines().filter(is_left).collect::<Vec<_>>(), Vec::<&str>::new());
    assert!(!after.contains(r#"type="rabbitmq""#), "{after}");
    assert!(after.contains(r#"scaledObject="mail""#) && after.contains(r#"namespace="office""#), "{after}");
    telemetry.forget(&ObjectKey::new("shop", "never-seen"));
    telemetry.forget_all();
    assert!(!text(&telemetry).contains("namespace=\"office"), "this replica leads no more");
}

#[test]
fn a_removed_trigger_leaves_no_series_and_the_others_keep_theirs() {
    let telemetry = Telemetry::new("0", true);
    let key = ObjectKey::new("shop", "orders");
    let series = object(&telemetry, &key, &[("rabbitmq", None), ("kafka", None)]);
    series.read(0, ReadOutcome::Failed, asked(1));
    series.read(1, ReadOutcome::Ok, asked(1));
    object(&telemetry, &key, &[("rabbitmq", None)]);
    let after = text(&telemetry);
    assert!(!after.contains("kafka"), "{after}");
    let errors = after.lines().find(|line| line.starts_with("keda_scaler_detail_errors_total{")).expect("errors");
    assert!(errors.ends_with(" 1"), "{errors}");
    series.has(&[], Vec::new());
    assert!(!text(&telemetry).contains("rabbitmq"), "{}", text(&telemetry));
}

/// No two lines may name the same series: whoever scrapes would refuse the whole page.
#[track_caller]
fn each_series_once(text: &str) {
    let mut names: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).map(|it| it.rsplit_once(' ')).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0].map(|it| it.0) != pair[1].map(|it| it.0)), "{text}");
}

#[test]
fn objects_of_both_groups_with_one_name_have_series_of_their_own() {
    let telemetry = Telemetry::new("0", true);
    let keys = [Group::Windlass, Group::Keda].map(|group| ObjectKey::of(group, "shop", "orders"));
    for (key, value) in keys.iter().zip([1.0, 2.0]) {
        let series = object(&telemetry, key, &[("rabbitmq", None)]);
        series.read(0, ReadOutcome::Failed, asked(1));
        series.decided((1, 1), false, std::iter::once((Some(value), Some(true))));
    }
    let labels = |group: &str| {
        format!(
            r#"{{namespace="shop",metric="s0-rabbitmq-orders",scaledObject="orders",scaler="{group}",triggerIndex="0",type="scaledobject""#
        )
    };
    let ours = format!("windlass_scaler_metrics_value{}", labels("rabbitmq"));
    let kedas = format!("keda_scaler_metrics_value{}}}", labels("rabbitMQScaler"));
    has(&telemetry, &format!("{ours},group=\"windlass.dev\"}} 1.0"));
    has(&telemetry, &format!("{ours},group=\"keda.sh\"}} 2.0"));
    has(&telemetry, &format!("{kedas} 2.0"));
    each_series_once(&text(&telemetry));
    has(&telemetry, r#"windlass_resource_registered_total{type="scaled_object",namespace="shop"} 2"#);

    telemetry.forget(&keys[1]);
    has(&telemetry, &format!("{ours},group=\"windlass.dev\"}} 1.0"));
    has(&telemetry, &format!("{kedas} 1.0"));
    assert!(!text(&telemetry).contains("keda.sh"), "{}", text(&telemetry));
}

#[test]
fn what_is_not_known_has_no_value_and_a_name_cannot_end_its_label() {
    let telemetry = Telemetry::new("0", true);
    let series = object(&telemetry, &ObjectKey::new("shop", "orders"), &[("cron", Some("night\" \\ \n"))]);
    assert!(!text(&telemetry).contains("_metrics_value{") && !text(&telemetry).contains("replicas_current{"));
    series.decided((1, 4), false, std::iter::once((Some(2.0), None)));
    let after = text(&telemetry);
    assert!(after.contains(r#"scaler="night\" \\ \n""#) && !after.contains("_active{"), "{after}");
    series.undecided();
    assert!(!text(&telemetry).contains("_metrics_value{") && !text(&telemetry).contains("replicas_current{"));
}

#[test]
fn a_write_that_was_not_sent_has_no_duration() {
    let telemetry = Telemetry::new("0", false);
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
