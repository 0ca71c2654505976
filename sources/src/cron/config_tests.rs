//! Every key, every error, and that no metadata makes it panic.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{ConfigError, Given, TriggerInput};

fn office(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let hours =
        [("timezone", "Europe/Berlin"), ("start", "0 8 * * 1-5"), ("end", "0 18 * * 1-5"), ("desiredReplicas", "10")];
    hours.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn parse(metadata: &BTreeMap<String, String>) -> Result<Parsed, Vec<ConfigError>> {
    crate::parse(TriggerInput::new("cron", metadata, &Given::default())).map(|(parsed, _)| parsed)
}

/// The fields complained about, sorted.
fn bad(more: &[(&str, &str)]) -> Vec<String> {
    let errors = parse(&office(more)).expect_err("bad metadata");
    for error in &errors {
        assert!(!error.problem.is_empty() && !error.fix.is_empty(), "{error}");
    }
    let mut fields: Vec<_> = errors.into_iter().map(|error| error.field.replace("metadata.", "")).collect();
    fields.sort();
    fields
}

#[test]
fn one_replica_is_one_of_the_desired() {
    let parsed = parse(&office(&[])).expect("good metadata");
    assert_eq!((parsed.target, parsed.activation), (1.0, 0.0));
    assert_eq!(parsed.default_interval, Duration::from_millis(500));
    assert_eq!(parsed.connection, crate::Connection::Cron);
    let wanted = Query {
        timezone: "Europe/Berlin".to_owned(),
        start: "0 8 * * 1-5".to_owned(),
        end: "0 18 * * 1-5".to_owned(),
        desired: 10,
    };
    assert_eq!(parsed.query, crate::Query::Cron(wanted));
}

#[test]
fn metric_names_are_those_of_keda() {
    let table = [
        (("Etc/UTC", "0 0 * * Thu", "59 23 * * Thu"), "cron-Etc-UTC-00xxThu-5923xxThu"),
        (("Etc/UTC", "*/2 * * * *", "1,3 8-9 ? * *"), "cron-Etc-UTC-xSl2xxxx-1Cm38-9Qmxx"),
    ];
    for ((timezone, start, end), wanted) in table {
        let metadata = office(&[("timezone", timezone), ("start", start), ("end", end)]);
        assert_eq!(parse(&metadata).expect("good metadata").metric_name, wanted);
    }
}

#[test]
fn every_key_is_required_and_checked() {
    for key in ["timezone", "start", "end", "desiredReplicas"] {
        let mut metadata = office(&[]);
        metadata.remove(key);
        let errors = parse(&metadata).expect_err(key);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].field, format!("metadata.{key}"));
    }
    assert_eq!(bad(&[("timezone", "Berlin")]), ["timezone"]);
    assert_eq!(bad(&[("start", "8 o'clock")]), ["start"]);
    assert_eq!(bad(&[("end", "0 18 30 2 *")]), ["end"]);
    assert_eq!(bad(&[("end", "0  8 * *  1-5")]), ["end"]);
    for wrong in ["0", "-1", "1.5", "many", "4294967296"] {
        assert_eq!(bad(&[("desiredReplicas", wrong)]), ["desiredReplicas"], "{wrong}");
    }
    assert_eq!(bad(&[("metricName", "x")]), ["metricName"]);
    assert_eq!(
        bad(&[("timezon", "x"), ("start", "x"), ("desiredReplicas", "x")]),
        ["desiredReplicas", "start", "timezon"]
    );
}

proptest! {
    #[test]
    fn parsing_never_panics(
        timezone in prop_oneof![any::<String>(), Just("Europe/Berlin".to_owned())],
        start in prop_oneof![any::<String>(), "[0-9*/,?a-z -]{0,20}", "([0-9*/,-]{1,3} ){4}[0-9*/,-]{1,3}"],
        end in "([0-9]{1,2} ){2}\\* \\* [0-7]",
        desired in prop_oneof![any::<String>(), "[0-9]{1,12}"],
    ) {
        let more = [("timezone", &*timezone), ("start", &*start), ("end", &*end), ("desiredReplicas", &*desired)];
        if let Ok(parsed) = parse(&office(&more)) {
            let crate::Query::Cron(query) = parsed.query else { panic!("another source") };
            prop_assert!(query.desired > 0);
        }
    }
}
