//! Every key, every error, and that nothing secret is ever shown.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::aws::{Base, Role};
use crate::{ConfigError, Given, PodIdentity, Secret, TriggerInput};

const URL: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders";
const ROLE: &str = "arn:aws:iam::123456789012:role/shop/reader";
const KEYS: [(&str, &str); 2] = [("awsAccessKeyID", "AKIDEXAMPLE"), ("awsSecretAccessKey", "wJalrXUtnFEMI/K7+bPx")];

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn secrets(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(*value))).collect()
}

/// A queue by its URL in its region; a pair without a value takes the key away.
fn metadata(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut metadata = map(&[("queueURL", URL), ("awsRegion", "eu-west-1")]);
    metadata.extend(map(more));
    metadata.retain(|_, value| !value.is_empty());
    metadata
}

/// The same keys as those of an authentication.
fn with_keys() -> Given {
    Given { parameters: secrets(&KEYS), ..Given::default() }
}

fn parse_with(given: &Given, more: &[(&str, &str)]) -> Result<Parsed, Vec<ConfigError>> {
    crate::parse(TriggerInput::new("aws-sqs-queue", &metadata(more), given)).map(|(parsed, _)| parsed)
}

fn good_with(given: &Given, more: &[(&str, &str)]) -> (Parsed, Connection, Query) {
    let parsed = parse_with(given, more).expect("good metadata");
    let crate::Connection::AwsSqs(connection) = parsed.connection.clone() else { panic!("{parsed:?}") };
    let crate::Query::AwsSqs(query) = parsed.query.clone() else { panic!("{parsed:?}") };
    (parsed, connection, query)
}

fn good(more: &[(&str, &str)]) -> (Parsed, Connection, Query) {
    good_with(&with_keys(), more)
}

/// The fields complained about, sorted.
fn bad_with(given: &Given, more: &[(&str, &str)]) -> Vec<String> {
    let errors = parse_with(given, more).expect_err("bad metadata");
    for error in &errors {
        assert!(!error.problem.is_empty() && !error.fix.is_empty(), "{error}");
    }
    let mut fields: Vec<_> = errors.into_iter().map(|error| error.field.replace("metadata.", "")).collect();
    fields.sort();
    fields
}

fn bad(more: &[(&str, &str)]) -> Vec<String> {
    bad_with(&with_keys(), more)
}

#[test]
fn nothing_but_a_queue_a_region_and_keys_means_five_messages_per_replica() {
    let (parsed, connection, query) = good(&[]);
    assert_eq!((parsed.target, parsed.activation), (5.0, 0.0));
    assert_eq!(parsed.metric_name, "aws-sqs-orders");
    assert_eq!(parsed.default_interval, Duration::from_secs(10));
    assert_eq!(
        (connection.region.as_str(), connection.endpoint.as_str()),
        ("eu-west-1", "https://sqs.eu-west-1.amazonaws.com")
    );
    let Base::Keys(keys) = &connection.credential.base else { panic!("{connection:?}") };
    assert_eq!((keys.access_key_id.expose(), keys.secret_access_key.expose()), (KEYS[0].1, KEYS[1].1));
    assert_eq!((&keys.session_token, &connection.credential.role), (&None, &None));
    let queue = Queue { name: "orders".to_owned(), url: Some(URL.to_owned()) };
    assert_eq!(query, Query { queue, in_flight: true, delayed: false });
}

#[test]
fn numbers_and_flags() {
    let (parsed, _, query) = good(&[
        ("queueLength", "2.5"),
        ("activationQueueLength", "10"),
        ("scaleOnInFlight", "False"),
        ("scaleOnDelayed", "TRUE"),
    ]);
    assert_eq!((parsed.target, parsed.activation), (2.5, 10.0));
    assert_eq!((query.in_flight, query.delayed), (false, true));
    assert!(good(&[("scaleOnInFlight", "1")]).2.in_flight);
    for (key, value) in [
        ("queueLength", "0"),
        ("queueLength", "-1"),
        ("queueLength", "five"),
        ("activationQueueLength", "-1"),
        ("activationQueueLength", "NaN"),
        ("scaleOnInFlight", "maybe"),
        ("scaleOnDelayed", "no"),
        ("identityOwner", "me"),
        ("queueLenght", "5"),
        ("metricName", "x"),
    ] {
        assert_eq!(bad(&[(key, value)]), [key], "{value}");
    }
}

#[test]
fn a_queue_is_a_url_or_a_name() {
    let local = "http://elasticmq.shop:9324/000000000000/orders.fifo";
    // queueURL, awsEndpoint, then: name, whether it has a URL, metric name
    let table = [
        (URL, "", "orders", true, "aws-sqs-orders"),
        ("https://eu-west-1.queue.amazonaws.com/123456789012/orders", "", "orders", true, "aws-sqs-orders"),
        ("https://sqs-fips.eu-west-1.amazonaws.com/123456789012/a_b-C", "", "a_b-C", true, "aws-sqs-a_b-C"),
        ("https://sqs.eu-west-1.api.aws/123456789012/orders", "", "orders", true, "aws-sqs-orders"),
        (
            "https://vpce-0a-1b.sqs.eu-west-1.vpce.amazonaws.com/123456789012/orders",
            "",
            "orders",
            true,
            "aws-sqs-orders",
        ),
        ("orders", "", "orders", false, "aws-sqs-orders"),
        ("orders.fifo", "", "orders.fifo", false, "aws-sqs-orders-fifo"),
        (local, "http://elasticmq.shop:9324", "orders.fifo", true, "aws-sqs-orders-fifo"),
    ];
    for (url, endpoint, name, has_url, metric) in table {
        let (parsed, _, query) = good(&[("queueURL", url), ("awsEndpoint", endpoint)]);
        assert_eq!((query.queue.name.as_str(), query.queue.url.is_some()), (name, has_url), "{url}");
        assert_eq!(parsed.metric_name, metric, "{url}");
    }
    let long = "q".repeat(81);
    for url in [
        "arn:aws:sqs:eu-west-1:123456789012:orders",
        "https://sqs.eu-west-1.amazonaws.com/",
        "https://sqs.eu-west-1.amazonaws.com/orders",
        "https://sqs.eu-west-1.amazonaws.com/123456789012/",
        "https://sqs.eu-west-1.amazonaws.com//orders",
        "https://sqs.eu-west-1.amazonaws.com/123456789012/orders/",
        "https://sqs.eu-west-1.amazonaws.com/123456789012/or%20ders",
        "https://sqs.eu-west-1.amazonaws.com/123456789012/orders?x=1",
        "https://sqs.eu-west-1.amazonaws.com/123456789012/orders#x",
        "https://user:word@sqs.eu-west-1.amazonaws.com/123456789012/orders",
        "ftp://sqs.eu-west-1.amazonaws.com/123456789012/orders",
        "sqs.eu-west-1.amazonaws.com/123456789012/orders",
        "http://",
        "/123456789012/orders",
        "or ders",
        ".fifo",
        "orders.fifo.fifo",
        &long,
    ] {
        assert_eq!(bad(&[("queueURL", url)]), ["queueURL"], "{url}");
    }
    assert_eq!(bad(&[("queueURL", "")]), ["queueURL"]);
}

#[test]
fn url_region_and_endpoint_must_agree() {
    assert_eq!(bad(&[("awsRegion", "us-east-1")]), ["awsRegion"]);
    assert_eq!(bad(&[("queueURL", "https://queue.amazonaws.com/123456789012/q")]), ["awsRegion"]);
    assert_eq!(bad(&[("queueURL", "http://elasticmq.shop:9324/000000000000/orders")]), ["queueURL"]);
    assert_eq!(bad(&[("queueURL", "https://sqs.eu-west-1.amazonaws.com.evil.example/1/orders")]), ["queueURL"]);
    // With an endpoint, the host of the queue's URL and the region say nothing about each other.
    let (_, connection, _) = good(&[("awsRegion", "us-east-1"), ("awsEndpoint", "https://proxy.shop/sqs/")]);
    assert_eq!((connection.endpoint.as_str(), connection.region.as_str()), ("https://proxy.shop/sqs", "us-east-1"));
    let missing = parse_with(&with_keys(), &[("awsRegion", "")]).expect_err("no region");
    assert!(missing[0].fix.contains("write eu-west-1"), "{}", missing[0]);
    for region in ["EU-WEST-1", "eu west", "eu.evil.example", "eu/x", "-eu", "eu-", "x@evil"] {
        assert_eq!(bad(&[("awsRegion", region)]), ["awsRegion"], "{region}");
    }
    for endpoint in ["elasticmq:9324", "elasticmq", "ftp://x", "http://", "http://u:p@x", "http://x?y", "http://x#y"] {
        assert_eq!(bad(&[("awsEndpoint", endpoint)]), ["awsEndpoint"], "{endpoint}");
    }
    let (_, connection, _) = good(&[("awsRegion", "cn-north-1"), ("queueURL", "orders")]);
    assert_eq!(connection.endpoint, "https://sqs.cn-north-1.amazonaws.com.cn");
}

#[test]
fn an_authentication_goes_to_the_hosts_that_it_names() {
    let given = Given { allowed_hosts: Some(vec!["sqs.eu-west-1.amazonaws.com".to_owned()]), ..with_keys() };
    good_with(&given, &[]);
    good_with(&given, &[("queueURL", "orders")]);
    assert_eq!(bad_with(&given, &[("awsRegion", "us-east-1"), ("queueURL", "orders")]), ["awsRegion"]);
    assert_eq!(bad_with(&given, &[("awsEndpoint", "http://169.254.169.254")]), ["awsEndpoint"]);
    let foreign = [("awsEndpoint", "http://[::1]:1"), ("queueURL", "http://other/1/orders")];
    assert_eq!(bad_with(&given, &foreign), ["awsEndpoint", "queueURL"]);
    // The region is no host, yet it makes one.
    let mut own = given;
    own.parameters.insert("awsEndpoint".to_owned(), Secret::new("http://elasticmq:9324"));
    good_with(&own, &[]);
}

#[test]
fn keys_come_from_the_trigger_the_environment_or_the_authentication() {
    let base = |given: &Given, more: &[(&str, &str)]| match good_with(given, more).1.credential {
        Credential { base: Base::Keys(keys), role: None } => {
            let token = keys.session_token.map(|token| token.expose().to_owned()).unwrap_or_default();
            [keys.access_key_id.expose().to_owned(), keys.secret_access_key.expose().to_owned(), token].join(" ")
        }
        other => panic!("{other:?}"),
    };
    let trigger = [("awsAccessKeyID", "A"), ("awsSecretAccessKey", "B"), ("awsSessionToken", "C")];
    assert_eq!(base(&Given::default(), &trigger), "A B C");
    assert_eq!(base(&Given::default(), &[("awsAccessKeyId", "A"), ("awsSecretAccessKey", "B")]), "A B ");
    let given = Given { environment: secrets(&[("ID", "D"), ("SECRET", "E")]), ..Given::default() };
    let named = [("awsAccessKeyIDFromEnv", "ID"), ("awsSecretAccessKeyFromEnv", "SECRET")];
    assert_eq!(base(&given, &named), "D E ");
    let given =
        Given { parameters: secrets(&[("awsAccessKeyId", "F"), ("awsSecretAccessKey", "G\n")]), ..Given::default() };
    assert_eq!(base(&given, &[]), "F G ");

    assert_eq!(bad_with(&Given::default(), &[]), ["awsAccessKeyID"]);
    let none = parse_with(&Given::default(), &[]).expect_err("no credential");
    for words in
        ["TriggerAuthentication", "awsSecretAccessKey", "awsRoleArn", "pod identity", "identityOwner: operator"]
    {
        assert!(none[0].fix.contains(words), "{}", none[0]);
    }
    assert_eq!(bad_with(&Given::default(), &[("awsAccessKeyID", "A")]), ["awsSecretAccessKey"]);
    assert_eq!(bad_with(&Given::default(), &[("awsSecretAccessKey", "A")]), ["awsAccessKeyID"]);
    assert_eq!(bad_with(&Given::default(), &[("awsSessionToken", "A")]), ["awsAccessKeyID"]);
    for (key, value) in [("awsAccessKeyID", "A B"), ("awsSecretAccessKey", "A\nB"), ("awsSessionToken", "é")] {
        assert_eq!(bad(&[(key, value)]), [key]);
    }
}

#[test]
fn a_role_is_taken_on_by_the_keys_or_by_the_operator() {
    let role =
        |external_id: Option<&str>| Some(Role { arn: ROLE.to_owned(), external_id: external_id.map(str::to_owned) });
    let credential = |given: &Given, more: &[(&str, &str)]| good_with(given, more).1.credential;
    let by_keys = credential(&with_keys(), &[("awsRoleArn", ROLE)]);
    assert!(matches!(by_keys.base, Base::Keys(_)) && by_keys.role == role(None), "{by_keys:?}");
    let operator = |role| Credential { base: Base::Operator, role };
    assert_eq!(credential(&Given::default(), &[("awsRoleArn", ROLE)]), operator(role(None)));
    assert_eq!(credential(&Given::default(), &[("identityOwner", "operator")]), operator(None));
    assert_eq!(credential(&with_keys(), &[("identityOwner", "operator")]), operator(None));

    let aws = |role_arn: Option<&str>, external_id: Option<&str>| Given {
        identity: PodIdentity::Aws {
            role_arn: role_arn.map(str::to_owned),
            external_id: external_id.map(str::to_owned),
        },
        ..with_keys()
    };
    assert_eq!(credential(&aws(None, None), &[]), operator(None));
    assert_eq!(credential(&aws(Some(ROLE), Some("x")), &[]), operator(role(Some("x"))));
    let eks = |role_arn: Option<&str>| Given {
        identity: PodIdentity::AwsEks { role_arn: role_arn.map(str::to_owned) },
        ..with_keys()
    };
    assert_eq!(credential(&eks(None), &[]), operator(None));
    assert_eq!(credential(&eks(Some(ROLE)), &[("identityOwner", "pod")]), operator(role(None)));
    assert_eq!(credential(&eks(Some(ROLE)), &[("identityOwner", "operator")]), operator(None));
    // Keys in the trigger beside it are a mistake; more than is needed in an authentication is none.
    assert_eq!(bad_with(&aws(None, None), &KEYS), ["awsAccessKeyID", "awsSecretAccessKey"]);
    let both = [("identityOwner", "operator"), ("awsRoleArn", ROLE)];
    assert_eq!(bad_with(&Given::default(), &both), ["awsRoleArn"]);

    for arn in
        ["reader", "arn:aws:iam::1:role/x", "arn:aws:sts::123456789012:role/x", "arn:aws:iam::123456789012:role/"]
    {
        assert_eq!(bad(&[("awsRoleArn", arn)]), ["awsRoleArn"], "{arn}");
    }
}

#[test]
fn whatever_makes_another_upstream_is_part_of_the_connection() {
    let all = [
        good(&[]).1,
        good(&[("awsSecretAccessKey", "rotated")]).1,
        good(&[("awsSessionToken", "token")]).1,
        good(&[("awsRegion", "us-east-1"), ("queueURL", "orders")]).1,
        good(&[("awsEndpoint", "http://a")]).1,
        good(&[("awsRoleArn", ROLE)]).1,
        good(&[("identityOwner", "operator")]).1,
    ];
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    let other = "https://sqs.eu-west-1.amazonaws.com/123456789012/bills";
    assert_eq!(good(&[]).1, good(&[("queueURL", other), ("queueLength", "7"), ("scaleOnDelayed", "true")]).1);
    assert_eq!(good(&[]).2, good(&[("queueLength", "7"), ("activationQueueLength", "3")]).2);
}

const ALL: &[&str] = &[
    "queueURL",
    "queueURLFromEnv",
    "queueLength",
    "activationQueueLength",
    "awsRegion",
    "awsEndpoint",
    "scaleOnInFlight",
    "scaleOnDelayed",
    "identityOwner",
    "awsAccessKeyID",
    "awsAccessKeyId",
    "awsSecretAccessKey",
    "awsSessionToken",
    "awsRoleArn",
    "other",
];

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "(http|https)://([a-z]{1,4}(:[!-~]{0,6})?@)?[a-z0-9.\\[\\]:]{0,12}(:[0-9]{0,6})?(/[ -~]{0,8}){0,3}",
        "https://sqs\\.[a-z]{2}-[a-z]{4}-[0-9]\\.amazonaws\\.com/[0-9]{12}/[a-z]{1,5}(\\.fifo)?",
        "-?[0-9]{0,25}(\\.[0-9]{0,3})?(e[0-9]{1,4})?",
        "arn:[a-z]{0,3}:iam::[0-9]{11,13}:role/[ -~]{0,5}",
        Just("true".to_owned()),
        Just("operator".to_owned()),
        Just("eu-west-1".to_owned()),
    ]
}

proptest! {
    #[test]
    fn parsing_never_panics(map in prop::collection::btree_map(prop_oneof![
        prop::sample::select(ALL).prop_map(str::to_owned),
        any::<String>(),
    ], value(), 0..12)) {
        if let Ok((parsed, _)) = crate::parse(TriggerInput::new("aws-sqs-queue", &map, &Given::default())) {
            prop_assert!(parsed.target > 0.0 && parsed.target.is_finite());
            prop_assert!(parsed.activation >= 0.0 && parsed.activation.is_finite());
        }
    }

    #[test]
    fn no_secret_is_ever_shown(
        base in prop::collection::btree_map(prop::sample::select(ALL).prop_map(str::to_owned), value(), 0..8),
        before in "[ a/#?@:]{0,3}",
        after in "[ a/#?@:\n]{0,3}",
        place in 0..7_usize,
        good in any::<bool>(),
        from_authentication in any::<bool>(),
    ) {
        // A marker that no generated value contains, with characters around it that end a URL's parts early.
        let secret = format!("{before}S3CR3T{after}");
        let mut map = if good { metadata(&KEYS) } else { base };
        let (key, value) = match place {
            0 => ("awsAccessKeyID", secret),
            1 => ("awsAccessKeyId", secret),
            2 => ("awsSecretAccessKey", secret),
            3 => ("awsSessionToken", secret),
            4 => ("awsRoleArn", secret),
            5 => ("awsEndpoint", format!("http://user:{secret}@elasticmq:9324/")),
            _ => ("queueURL", format!("http://user:{secret}@elasticmq:9324/1/orders")),
        };
        let mut given = Given::default();
        if from_authentication {
            map.remove(key);
            given.parameters.insert(key.to_owned(), Secret::new(value));
        } else {
            map.insert(key.to_owned(), value);
        }
        let input = TriggerInput::new("aws-sqs-queue", &map, &given);
        let shown = match crate::parse(input) {
            Ok(parsed) => format!("{parsed:?}"),
            Err(errors) => errors.iter().map(|error| format!("{error} {error:?}")).collect(),
        };
        let input = format!("{input:?} {:?}", Metadata::new(input));
        prop_assert!(!shown.contains("S3CR3T") && !input.contains("S3CR3T"), "{} {}", shown, input);
    }
}
