//! Every key, every error, and that nothing secret is ever shown. What the ways of authentication share is tested with
//! metrics-api.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{ConfigError, Given, TriggerInput};

fn with(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let least = [("serverAddress", "http://prometheus.monitoring:9090"), ("query", "sum(jobs)"), ("threshold", "100")];
    least.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn parse(metadata: &BTreeMap<String, String>) -> Result<Parsed, Vec<ConfigError>> {
    crate::parse(TriggerInput::new("prometheus", metadata, &Given::default())).map(|(parsed, _)| parsed)
}

fn good(more: &[(&str, &str)]) -> (Parsed, Connection, Query) {
    let parsed = parse(&with(more)).unwrap_or_else(|errors| panic!("{more:?}: {errors:?}"));
    let crate::Connection::Prometheus(connection) = parsed.connection.clone() else { panic!("another source") };
    let crate::Query::Prometheus(query) = parsed.query.clone() else { panic!("another source") };
    (parsed, connection, query)
}

/// The fields complained about, sorted.
fn bad(more: &[(&str, &str)]) -> Vec<String> {
    let errors = parse(&with(more)).expect_err("bad metadata");
    for error in &errors {
        assert!(!error.problem.is_empty() && !error.fix.is_empty(), "{error}");
    }
    let mut fields: Vec<_> = errors.into_iter().map(|error| error.field.replace("metadata.", "")).collect();
    fields.sort();
    fields
}

#[test]
fn an_address_a_query_and_a_threshold_suffice() {
    let (parsed, connection, query) = good(&[]);
    assert_eq!((parsed.target, parsed.activation), (100.0, 0.0));
    assert_eq!(parsed.metric_name, "prometheus");
    assert_eq!(parsed.default_interval, Duration::from_secs(1));
    assert_eq!(connection.endpoint.to_string(), "prometheus.monitoring:9090");
    assert_eq!((connection.auth, connection.tls, connection.timeout), (Auth::default(), Tls::default(), None));
    assert!(connection.headers.is_empty());
    let wanted = Query { query: "sum(jobs)".to_owned(), namespace: None, parameters: Vec::new(), ignore_null: true };
    assert_eq!(query, wanted);
    for key in ["serverAddress", "query", "threshold"] {
        let mut metadata = with(&[]);
        metadata.remove(key);
        let errors = parse(&metadata).expect_err(key);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].field, format!("metadata.{key}"));
    }
}

#[test]
fn all_that_may_be_said_is_read() {
    let more = [
        ("serverAddress", "https://thanos.example/prefix/"),
        ("activationThreshold", "5.5"),
        ("namespace", "shop"),
        ("queryParameters", "dedup=true, partial_response = false"),
        ("customHeaders", "X-Scope-OrgID=orders,X-Other=a=b"),
        ("ignoreNullValues", "false"),
        ("unsafeSsl", "true"),
        ("timeout", "1500"),
        ("authModes", "bearer"),
        ("bearerToken", "t"),
    ];
    let (parsed, connection, query) = good(&more);
    assert_eq!(parsed.activation, 5.5);
    assert_eq!(connection.endpoint.to_string(), "thanos.example:443/prefix");
    assert_eq!(connection.timeout, Some(Duration::from_millis(1500)));
    assert!(connection.tls.unsafe_ssl && connection.endpoint.tls && !query.ignore_null);
    assert_eq!(query.namespace.as_deref(), Some("shop"));
    let pair = |name: &str, value: &str| (name.to_owned(), Secret::new(value));
    assert_eq!(query.parameters, [pair("dedup", "true"), pair("partial_response", "false")]);
    assert_eq!(connection.headers, [pair("X-Scope-OrgID", "orders"), pair("X-Other", "a=b")]);
    assert_eq!(connection.auth.headers, [pair("Authorization", "Bearer t")]);
    let custom = [("authModes", "custom"), ("customAuthHeader", "X-Who"), ("customAuthValue", "me")];
    assert_eq!(good(&custom).1.auth.headers, [pair("X-Who", "me")]);
}

#[test]
fn what_is_wrong_is_named() {
    for address in
        ["prometheus:9090", "http://", "http://u:p@prometheus", "http://prometheus/?a=b", "http://prometheus/#a"]
    {
        assert_eq!(bad(&[("serverAddress", address)]), ["serverAddress"], "{address}");
    }
    for wrong in ["0", "-1", "NaN", "x"] {
        assert_eq!(bad(&[("threshold", wrong)]), ["threshold"], "{wrong}");
    }
    for wrong in ["dedup", "=x", "a=b,", "query=up", "time=0"] {
        assert_eq!(bad(&[("queryParameters", wrong)]), ["queryParameters"], "{wrong}");
    }
    for wrong in ["a", "a b=c", "Host=x", "a=b\r\nc", "a=é"] {
        assert_eq!(bad(&[("customHeaders", wrong)]), ["customHeaders"], "{wrong}");
    }
    assert_eq!(bad(&[("ignoreNullValues", "maybe"), ("timeout", "0")]), ["ignoreNullValues", "timeout"]);
    assert_eq!(bad(&[("identityOwner", "operator"), ("metricName", "x")]), ["identityOwner", "metricName"]);
    assert_eq!(bad(&[("authModes", "apiKey")]), ["authModes"]);
    assert_eq!(bad(&[("username", "u")]), ["username"]);
}

#[test]
fn a_region_of_aws_has_an_identity_that_signs() {
    let (region, operator) = (("awsRegion", "eu-west-1"), ("identityOwner", "operator"));
    let key = [("awsAccessKeyID", "AKID"), ("awsSecretAccessKey", "mine")];
    let of = |more: &[(&str, &str)]| good(more).1.aws.expect("a signer");
    let managed = ("serverAddress", "https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-1");
    assert_eq!(of(&[managed, region, operator]).credential.to_string(), "the operator's own AWS identity");
    let by_key = of(&[&[region], &key[..]].concat());
    assert_eq!((by_key.region.as_str(), by_key.credential.to_string().as_str()), ("eu-west-1", "the access key"));
    assert_eq!(good(&[]).1.aws, None);

    assert_eq!(bad(&[region]), ["awsAccessKeyID"]);
    assert_eq!(bad(&[("awsRegion", "Ireland"), operator]), ["awsRegion"]);
    for stranger in [
        "http://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-1",
        "https://aps-workspaces.eu-west-2.amazonaws.com",
        "https://aps-workspaces.eu-west-1.amazonaws.com.evil.example",
        "https://evil.eu-west-1.amazonaws.com",
        "https://prometheus.monitoring",
    ] {
        assert_eq!(bad(&[("serverAddress", stranger), region, operator]), ["serverAddress"], "{stranger}");
    }
    of(&[("serverAddress", "https://vpce-1.aps-workspaces.eu-west-1.vpce.amazonaws.com"), region, operator]);
    for header in ["Authorization=x", "x-amz-date=x"] {
        assert_eq!(bad(&[&[region, ("customHeaders", header)], &key[..]].concat()), ["customHeaders"], "{header}");
    }
    assert_eq!(bad(&key), ["awsAccessKeyID", "awsSecretAccessKey"]);
    for (mode, more) in [
        ("basic", [("username", "u"), ("password", "p")]),
        ("bearer", [("bearerToken", "t"), ("timeout", "1000")]),
        ("custom", [("customAuthHeader", "authorization"), ("customAuthValue", "v")]),
    ] {
        let pairs = [&[managed, region, operator, ("authModes", mode)], &more[..]].concat();
        assert_eq!(bad(&pairs), ["awsRegion"], "{mode}");
    }
    good(&[
        managed,
        region,
        operator,
        ("authModes", "custom"),
        ("customAuthHeader", "X-Who"),
        ("customAuthValue", "v"),
    ]);

    // A shared authentication may bring more along than a trigger needs.
    let given = |pairs: &[(&str, &str)]| Given {
        parameters: pairs.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(*value))).collect(),
        ..Given::default()
    };
    let shared = |given: &Given, more: &[(&str, &str)]| {
        let metadata = with(more);
        let parsed = crate::parse(TriggerInput::new("prometheus", &metadata, given)).expect("good metadata").0;
        let crate::Connection::Prometheus(connection) = parsed.connection else { panic!("another source") };
        connection.aws
    };
    let all = [region, key[0], key[1], ("bearerToken", "t")];
    assert_eq!(shared(&given(&all), &[("authModes", "bearer")]), None);
    assert_eq!(shared(&given(&[region]), &[]), None);
    assert_eq!(shared(&given(&key), &[]), None);
    assert!(shared(&given(&all), &[]).is_some());
}

#[test]
fn who_asks_is_part_of_the_connection_and_what_is_asked_of_the_query() {
    assert_eq!(good(&[]).2, good(&[("threshold", "7"), ("activationThreshold", "3")]).2);
    assert_ne!(good(&[]).2, good(&[("ignoreNullValues", "false")]).2);
    assert_ne!(good(&[]).2, good(&[("namespace", "shop")]).2);
    assert_ne!(good(&[]).1, good(&[("customHeaders", "X-Scope-OrgID=a")]).1);
    assert_eq!(good(&[]).1, good(&[("serverAddress", "http://prometheus.monitoring:9090/")]).1);
}

proptest! {
    #[test]
    fn parsing_never_panics_and_shows_no_secret(
        key in prop::sample::select(vec![
            "serverAddress", "query", "threshold", "namespace", "queryParameters", "customHeaders", "authModes", "timeout", "x",
        ]),
        value in any::<String>(),
        place in prop::sample::select(vec!["bearerToken", "password", "customAuthValue", "customHeaders", "queryParameters", "serverAddress"]),
        around in "[a/#?@:=,\r\n]{0,3}",
        mode in prop::sample::select(vec!["basic", "bearer", "custom", "tls", ""]),
    ) {
        let secret = match place {
            "serverAddress" => format!("http://user:S3CR3T{around}@prometheus?key=S3CR3T"),
            "customHeaders" | "queryParameters" => format!("name{around}=S3CR3T{around}"),
            _ => format!("{around}S3CR3T{around}"),
        };
        let shown = match parse(&with(&[("authModes", mode), (key, &value), (place, &secret)])) {
            Ok(parsed) => format!("{parsed:?}"),
            Err(errors) => errors.iter().map(|error| format!("{error} {error:?}")).collect(),
        };
        prop_assert!(!shown.contains("S3CR3T"), "{}", shown);
    }
}
