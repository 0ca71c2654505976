//! Where a value comes from, how it is named and shown, and what becomes of keys that nobody asked for.

use std::collections::BTreeMap;

use super::*;
use crate::{Given, Secret};

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn secrets(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(*value))).collect()
}

#[test]
fn an_unknown_key_names_its_nearest_neighbour_and_is_an_error_or_a_remark() {
    let map = map(&[("queueNmae", "q")]);
    for lenient in [false, true] {
        let given = Given::default();
        let mut metadata = Metadata::new(TriggerInput { lenient, ..TriggerInput::new("rabbitmq", &map, &given) });
        metadata.optional("queueName");
        metadata.optional("host");
        let (errors, remarks) = metadata.finish();
        let (told, other) = if lenient { (remarks, errors) } else { (errors, remarks) };
        assert!(told.len() == 1 && other.is_empty(), "{told:?} {other:?}");
        assert_eq!(told[0].field, "metadata.queueNmae");
        assert!(told[0].fix.starts_with("did you mean queueName?"), "{}", told[0].fix);
    }
}

#[test]
fn numbers_that_are_no_counts_are_refused() {
    for bad in ["NaN", "inf", "-1", "0", "1e999", "ten"] {
        let (map, given) = (map(&[("value", bad)]), Given::default());
        let mut metadata = Metadata::new(TriggerInput::new("rabbitmq", &map, &given));
        assert_eq!(metadata.number("value", true), None, "{bad}");
        assert_eq!(metadata.finish().0.len(), 1, "{bad}");
    }
}

#[test]
fn the_trigger_comes_before_the_environment_and_that_before_the_authentication() {
    let given = Given {
        parameters: secrets(&[
            ("a", "authentication"),
            ("b", "authentication"),
            ("c", "authentication"),
            ("z", "unused"),
        ]),
        environment: secrets(&[("A", "environment"), ("B", "environment"), ("EMPTY", "")]),
        ..Given::default()
    };
    let map = map(&[("a", "trigger"), ("aFromEnv", "A"), ("bFromEnv", "B"), ("cFromEnv", "EMPTY"), ("dFromEnv", "")]);
    let mut metadata = Metadata::new(TriggerInput::new("rabbitmq", &map, &given));
    let found = ["a", "b", "c", "d"].map(|key| metadata.optional(key));
    assert_eq!(found, [Some("trigger"), Some("environment"), Some("authentication"), None]);
    assert_eq!(["a", "b", "c", "d"].map(|key| metadata.is_public(key)), [true, false, false, true]);
    assert_eq!(metadata.finish(), (vec![], vec![]));
}

#[test]
fn a_variable_that_is_not_there_is_an_error_that_names_it() {
    let map = map(&[("hostFromEnv", "NOWHERE")]);
    for (elsewhere, lenient) in [(false, false), (false, true), (true, false), (true, true)] {
        let parameters = if elsewhere { secrets(&[("host", "h")]) } else { BTreeMap::new() };
        let given = Given { parameters, ..Given::default() };
        let mut metadata = Metadata::new(TriggerInput { lenient, ..TriggerInput::new("rabbitmq", &map, &given) });
        metadata.optional("host");
        let (errors, remarks) = metadata.finish();
        let told = if elsewhere && lenient { remarks } else { errors };
        assert!(told.len() == 1 && told[0].field == "metadata.hostFromEnv", "{told:?}");
        assert!(told[0].problem.contains("NOWHERE"), "{}", told[0]);
    }
}

#[test]
fn a_value_that_may_be_a_credential_is_named_by_where_it_came_from_and_not_shown() {
    let given = Given {
        parameters: secrets(&[("value", "s3cr3t"), ("flag", "s3cr3t")]),
        environment: secrets(&[("TIMEOUT", "s3cr3t")]),
        ..Given::default()
    };
    let map = map(&[("timeoutFromEnv", "TIMEOUT")]);
    let mut metadata = Metadata::new(TriggerInput::new("rabbitmq", &map, &given));
    metadata.number("value", true);
    metadata.flag("flag");
    metadata.milliseconds("timeout");
    let shown = format!("{metadata:?} {:?}", metadata.input());
    let (errors, _) = metadata.finish();
    let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["authenticationRef[value]", "authenticationRef[flag]", "metadata.timeoutFromEnv"]);
    let told: String = errors.iter().map(ToString::to_string).collect();
    assert!(!shown.contains("s3cr3t") && !told.contains("s3cr3t"), "{shown} {told}");
}

#[test]
fn a_host_of_the_trigger_must_be_one_that_the_authentication_allows() {
    let given = |host: Option<&str>| Given {
        parameters: host.map(|host| secrets(&[("host", host)])).unwrap_or_default(),
        environment: secrets(&[("HOST", "evil")]),
        allowed_hosts: Some(vec!["rabbit".to_owned()]),
        ..Given::default()
    };
    for (written, authentication, fine) in
        [(Some("rabbit"), None, true), (Some("evil"), None, false), (None, Some("anywhere"), true)]
    {
        let (map, given) = (written.map(|host| map(&[("host", host)])).unwrap_or_default(), given(authentication));
        let mut metadata = Metadata::new(TriggerInput::new("rabbitmq", &map, &given));
        let host = metadata.optional("host").expect("given");
        metadata.check_host("host", host);
        let (errors, _) = metadata.finish();
        assert_eq!(errors.is_empty(), fine, "{written:?} {authentication:?}: {errors:?}");
    }
    // The target's environment is the tenant's own.
    let (map, given) = (map(&[("hostFromEnv", "HOST")]), given(None));
    let mut metadata = Metadata::new(TriggerInput::new("rabbitmq", &map, &given));
    let host = metadata.optional("host").expect("given");
    metadata.check_host("host", host);
    let (errors, _) = metadata.finish();
    assert!(errors.len() == 1 && !errors[0].to_string().contains("evil"), "{errors:?}");
}

#[test]
fn distance_is_levenshteins() {
    for (a, b, want) in [("", "", 0), ("kitten", "sitting", 3), ("abc", "", 3), ("ab", "ba", 2)] {
        assert_eq!(distance(a, b), want, "{a} {b}");
    }
}

#[test]
fn bytes_are_given_as_they_are_and_are_no_text() {
    let mut given = Given::default();
    given.parameters.insert("file".to_owned(), Secret::of_bytes(b" \xff\n".to_vec()));
    given.parameters.insert("text".to_owned(), Secret::of_bytes(b" x\n".to_vec()));
    given.parameters.insert("blank".to_owned(), Secret::of_bytes(b" \n".to_vec()));
    let metadata = BTreeMap::new();
    let mut read = Metadata::new(TriggerInput::new("kafka", &metadata, &given));
    assert_eq!((read.bytes("file"), read.optional("file")), (Some(&b" \xff\n"[..]), None));
    assert_eq!((read.bytes("text"), read.optional("text")), (Some(&b" x\n"[..]), Some("x")));
    assert_eq!((read.bytes("blank"), read.optional("blank")), (None, None));
    // What is wrong with it is told of the place it comes from.
    read.error("file", "is wrong", "correct it");
    assert_eq!(read.finish().0[0].field, "authenticationRef[file]");
}
