//! Every key, every error, and that nothing secret is ever shown.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::kafka::{Mechanism, Password};
use crate::{ConfigError, Given, Secret, TriggerInput};

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nBBBB\n-----END PRIVATE KEY-----";

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn with(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut metadata = map(&[("bootstrapServers", "kafka:9092"), ("consumerGroup", "workers"), ("topic", "orders")]);
    for (key, value) in more {
        // An empty value counts as not given.
        metadata.insert((*key).to_owned(), (*value).to_owned());
    }
    metadata
}

fn parse_given(metadata: &BTreeMap<String, String>, given: &Given) -> Result<Parsed, Vec<ConfigError>> {
    crate::parse(TriggerInput::new("kafka", metadata, given)).map(|(parsed, _)| parsed)
}

fn parse(metadata: &BTreeMap<String, String>) -> Result<Parsed, Vec<ConfigError>> {
    parse_given(metadata, &Given::default())
}

fn good(more: &[(&str, &str)]) -> (Parsed, Connection, Query) {
    let parsed = parse(&with(more)).expect("good metadata");
    let crate::Connection::Kafka(connection) = parsed.connection.clone() else { panic!("{parsed:?}") };
    let crate::Query::Kafka(query) = parsed.query.clone() else { panic!("{parsed:?}") };
    (parsed, connection, query)
}

/// The fields complained about, sorted.
fn complaints(result: Result<Parsed, Vec<ConfigError>>) -> Vec<String> {
    let errors = result.expect_err("bad metadata");
    for error in &errors {
        assert!(!error.problem.is_empty() && !error.fix.is_empty(), "{error}");
    }
    let mut fields: Vec<_> = errors.into_iter().map(|error| error.field.replace("metadata.", "")).collect();
    fields.sort();
    fields
}

fn bad(more: &[(&str, &str)]) -> Vec<String> {
    complaints(parse(&with(more)))
}

#[test]
fn servers_a_group_and_a_topic_are_enough() {
    let (parsed, connection, query) = good(&[]);
    assert_eq!((parsed.target, parsed.activation), (10.0, 0.0));
    assert_eq!(parsed.metric_name, "kafka-orders");
    assert_eq!(parsed.default_interval, Duration::from_millis(500));
    let bootstrap = vec![Endpoint { host: "kafka".to_owned(), port: 9092 }];
    assert_eq!(connection, Connection { bootstrap, tls: None, login: None });
    let rules =
        Rules { reset: Reset::Latest, zero_without_commit: false, exclude_persistent: false, cap: Cap::Partitions(10) };
    let wanted = Query { group: "workers".to_owned(), topic: Some("orders".to_owned()), partitions: None, rules };
    assert_eq!(query, wanted);
    for key in ["bootstrapServers", "consumerGroup"] {
        assert_eq!(bad(&[(key, "")]), [key]);
    }
}

#[test]
fn metric_names_are_those_of_keda() {
    for (topic, name) in [("a.b_c-D", "kafka-a-b_c-D"), ("", "kafka-group-1-topics")] {
        assert_eq!(good(&[("topic", topic), ("consumerGroup", "group.1")]).0.metric_name, name);
    }
    assert_eq!(good(&[("topic", ""), ("consumerGroup", "a/b:c")]).0.metric_name, "kafka-a-b-c-topics");
}

#[test]
fn bootstrap_servers() {
    let table = [
        ("kafka", "kafka:9092"),
        ("Kafka.Example:9094", "kafka.example:9094"),
        ("b:2, a:1 ,b:2,", "a:1,b:2"),
        ("10.0.0.7:1,[::1]:2,[fe80::1]", "10.0.0.7:1,[::1]:2,[fe80::1]:9092"),
    ];
    for (written, wanted) in table {
        let (_, connection, _) = good(&[("bootstrapServers", written)]);
        let shown: Vec<_> = connection.bootstrap.iter().map(ToString::to_string).collect();
        assert_eq!(shown.join(","), wanted);
    }
    let refused = [
        ",",
        "kafka:",
        "kafka:0",
        "kafka:65536",
        "kafka:+1",
        "kafka:a",
        ":9092",
        "a b:1",
        "SSL://kafka:9092",
        "user:secret@kafka:9092",
        "::1",
        "[::1",
        "[x]:1",
        "[::1]1",
        "a:1;b:2",
        "a\0:1",
    ];
    for written in refused {
        let errors = parse(&with(&[("bootstrapServers", written)])).expect_err(written);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(!errors[0].to_string().contains("secret"), "{}", errors[0]);
    }
    assert_eq!(bad(&[("bootstrapServers", &"x".repeat(254))]), ["bootstrapServers"]);
}

#[test]
fn a_credential_goes_to_the_brokers_that_it_may_go_to() {
    let given = Given { allowed_hosts: Some(vec!["*.shop".to_owned()]), ..Given::default() };
    let servers = |servers| with(&[("bootstrapServers", servers)]);
    parse_given(&servers("a.shop:1,b.shop:2"), &given).expect("all allowed");
    assert_eq!(complaints(parse_given(&servers("a.shop:1,evil:2"), &given)), ["bootstrapServers"]);
    assert_eq!(complaints(parse_given(&servers("evil:1,worse:2"), &given)), ["bootstrapServers", "bootstrapServers"]);
}

#[test]
fn names_that_kafka_cannot_have() {
    for topic in ["a,b", "a b", "a/b", "é", ".", "..", "a\0b", &"x".repeat(250)] {
        assert_eq!(bad(&[("topic", topic)]), ["topic"], "{topic:?}");
    }
    good(&[("topic", &"x".repeat(249)), ("consumerGroup", "any thing é/:")]);
    assert_eq!(bad(&[("consumerGroup", &"g".repeat(32_768))]), ["consumerGroup"]);
}

#[test]
fn thresholds_are_whole_numbers() {
    let (parsed, _, query) = good(&[("lagThreshold", "50"), ("activationLagThreshold", "3")]);
    assert_eq!((parsed.target, parsed.activation, query.rules.cap), (50.0, 3.0, Cap::Partitions(50)));
    for wrong in ["0", "-1", "1.5", "ten", "9007199254740993"] {
        assert_eq!(bad(&[("lagThreshold", wrong)]), ["lagThreshold"], "{wrong}");
    }
    for wrong in ["-1", "1.5", "ten"] {
        assert_eq!(bad(&[("activationLagThreshold", wrong)]), ["activationLagThreshold"], "{wrong}");
    }
    // The query is the same whatever wakes the workload.
    assert_eq!(good(&[("activationLagThreshold", "3")]).2, good(&[]).2);
}

#[test]
fn rules_of_the_lag() {
    let on = |key| (key, "true");
    let (idle, with_lag, even) =
        (on("allowIdleConsumers"), on("limitToPartitionsWithLag"), on("ensureEvenDistributionOfPartitions"));
    let table: &[(&[(&str, &str)], Cap)] = &[
        (&[idle], Cap::None),
        (&[with_lag], Cap::PartitionsWithLag(10)),
        (&[even], Cap::Even(10)),
        (&[even, idle], Cap::Even(10)),
        (&[("allowIdleConsumers", "false")], Cap::Partitions(10)),
    ];
    for (more, cap) in table {
        assert_eq!(good(more).2.rules.cap, *cap, "{more:?}");
    }
    // Without a cap no threshold is part of the query: objects that differ in it alone share the reading.
    assert_eq!(good(&[idle, ("lagThreshold", "7")]).2, good(&[idle]).2);
    let field = ["limitToPartitionsWithLag"];
    assert_eq!(bad(&[with_lag, idle]), field);
    assert_eq!(bad(&[with_lag, even]), field);
    assert_eq!(bad(&[with_lag, even, idle]), [field, field].concat());
    assert_eq!(bad(&[with_lag, ("topic", "")]), field);
    assert_eq!(bad(&[even, ("topic", "")]), ["ensureEvenDistributionOfPartitions"]);

    let rules =
        good(&[("offsetResetPolicy", "EARLIEST"), on("scaleToZeroOnInvalidOffset"), on("excludePersistentLag")])
            .2
            .rules;
    assert_eq!((rules.reset, rules.zero_without_commit, rules.exclude_persistent), (Reset::Earliest, true, true));
    assert_eq!(bad(&[("offsetResetPolicy", "none")]), ["offsetResetPolicy"]);
    assert_eq!(bad(&[("excludePersistentLag", "yes")]), ["excludePersistentLag"]);
}

#[test]
fn partitions_need_a_topic() {
    let (_, _, query) = good(&[("partitionLimitation", "1,2,10-20")]);
    assert_eq!(query.partitions, "1-2,10-20".parse().ok());
    assert_eq!(bad(&[("partitionLimitation", "1,b")]), ["partitionLimitation"]);
    assert_eq!(bad(&[("partitionLimitation", "1"), ("topic", "")]), ["partitionLimitation"]);
}

#[test]
fn certificates_need_tls_and_each_other() {
    let enable = ("tls", "enable");
    let all = [enable, ("ca", CERTIFICATE), ("cert", CERTIFICATE), ("key", KEY), ("unsafeSsl", "true")];
    let tls = good(&all).1.tls.expect("encrypted");
    assert_eq!(tls.ca, Some(Secret::new(CERTIFICATE)));
    assert_eq!((tls.cert, tls.key), (Some(Secret::new(CERTIFICATE)), Some(Secret::new(KEY))));
    assert!(tls.unsafe_ssl);
    assert_eq!(good(&[enable]).1.tls, Some(Tls::default()));
    assert_eq!(good(&[("tls", "disable"), ("ca", CERTIFICATE), ("keyPassword", "x")]).1.tls, None);
    assert_eq!(bad(&[("tls", "on")]), ["tls"]);
    assert_eq!(bad(&[("ca", CERTIFICATE)]), ["ca"]);
    assert_eq!(bad(&[("unsafeSsl", "true")]), ["unsafeSsl"]);
    assert_eq!(bad(&[enable, ("cert", CERTIFICATE)]), ["key"]);
    assert_eq!(bad(&[enable, ("key", KEY)]), ["cert"]);
    assert_eq!(bad(&[enable, ("ca", "AAAA")]), ["ca"]);
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nBBBB\n-----END ENCRYPTED PRIVATE KEY-----";
    let pair = [enable, ("cert", CERTIFICATE), ("key", encrypted)];
    assert_eq!(bad(&pair), ["keyPassword"]);
    good(&[&pair[..], &[("keyPassword", "x")]].concat());
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nBBBB\n-----END RSA PRIVATE KEY-----";
    assert_eq!(bad(&[enable, ("cert", CERTIFICATE), ("key", old), ("keyPassword", "x")]), ["key"]);
}

#[test]
fn a_login_needs_a_user_and_a_password() {
    let user = [("username", "me"), ("password", "mine")];
    let mechanisms = [
        ("plaintext", Mechanism::Plain),
        ("scram_sha256", Mechanism::ScramSha256),
        ("SCRAM_SHA512", Mechanism::ScramSha512),
    ];
    for (written, mechanism) in mechanisms {
        let sasl = ("sasl", written);
        let wanted = Password { mechanism, username: "me".to_owned(), password: Secret::new("mine") };
        assert_eq!(good(&[&user[..], &[sasl]].concat()).1.login, Some(Login::Password(wanted)));
        assert_eq!(bad(&[sasl]), ["password", "username"]);
        assert_eq!(bad(&[sasl, user[0]]), ["password"]);
        assert_eq!(bad(&[sasl, user[0], ("password", "a\0b")]), ["password"]);
    }
    assert_eq!(good(&[("sasl", "none")]).1.login, None);
    assert_eq!(bad(&user), ["password", "username"]);
    assert_eq!(bad(&[("sasl", "scram")]), ["sasl"]);
}

#[test]
fn a_token_comes_from_a_server_that_is_named() {
    let sasl = ("sasl", "oauthbearer");
    let uri = ("oauthTokenEndpointUri", "https://login/token");
    let (user, password) = (("username", "me"), ("password", "mine"));
    let bearer = |more: &[(&str, &str)]| match good(&[&[sasl, uri, user, password], more].concat()).1.login {
        Some(Login::Bearer(bearer)) => bearer,
        other => panic!("{other:?}"),
    };
    let plain = bearer(&[]);
    assert_eq!((plain.oauth.endpoint.to_string().as_str(), plain.oauth.target.expose()), ("login:443", "/token"));
    assert_eq!((plain.oauth.client_id.as_str(), plain.oauth.client_secret.expose()), ("me", "mine"));
    assert!(plain.oauth.scopes.is_empty() && plain.extensions.is_empty());
    assert_eq!(bearer(&[("saslTokenProvider", "bearer")]), plain);
    // The authority counts for the token server, with and without TLS to the brokers; leave not to verify is for these alone.
    assert_eq!(bearer(&[("ca", CERTIFICATE)]).oauth.tls.ca, Some(Secret::new(CERTIFICATE)));
    let brokers = [("tls", "enable"), ("ca", CERTIFICATE), ("unsafeSsl", "true"), ("cert", CERTIFICATE), ("key", KEY)];
    let tls = bearer(&brokers).oauth.tls;
    assert_eq!((tls.ca, tls.cert, tls.unsafe_ssl), (Some(Secret::new(CERTIFICATE)), None, false));
    let more = bearer(&[("scopes", "a, b"), ("oauthExtensions", "logicalCluster=lkc=1, Pool=x y")]);
    assert_eq!(more.oauth.scopes, ["a", "b"]);
    let extensions: Vec<_> = more.extensions.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(extensions, [("logicalCluster", "lkc=1"), ("Pool", "x y")]);

    assert_eq!(bad(&[sasl]), ["oauthTokenEndpointUri", "password", "username"]);
    assert_eq!(bad(&[sasl, user, password, ("oauthTokenEndpointUri", "ftp://login")]), ["oauthTokenEndpointUri"]);
    for wrong in ["x", "=x", "x=", "auth=x", "AUTH=x", "a1=x", "a=\u{1}", "a=b,c"] {
        assert_eq!(bad(&[sasl, uri, user, password, ("oauthExtensions", wrong)]), ["oauthExtensions"], "{wrong:?}");
    }
    assert_eq!(bad(&[sasl, uri, user, password, ("saslTokenProvider", "x")]), ["saslTokenProvider"]);
    // What belongs to another way.
    let scram = [("sasl", "scram_sha512"), user, password];
    for key in ["saslTokenProvider", "oauthTokenEndpointUri", "scopes", "oauthExtensions", "awsRegion", "awsRoleArn"] {
        assert_eq!(bad(&[&scram[..], &[(key, "bearer")]].concat()), [key]);
    }
    assert_eq!(bad(&[sasl, uri, user, password, ("identityOwner", "operator")]), ["identityOwner"]);
}

#[test]
fn an_identity_of_aws_is_shown_to_brokers_of_aws() {
    let iam = [("sasl", "oauthbearer"), ("saslTokenProvider", "aws_msk_iam"), ("tls", "enable")];
    let (region, operator) = (("awsRegion", "eu-west-1"), ("identityOwner", "operator"));
    let key = [("awsAccessKeyID", "AKID"), ("awsSecretAccessKey", "mine")];
    let Some(Login::Iam(own)) = good(&[&iam[..], &[region], &key].concat()).1.login else { panic!("not IAM") };
    assert_eq!((own.region.as_str(), own.credential.to_string().as_str()), ("eu-west-1", "the access key"));
    let short = [&[("sasl", "aws_msk_iam"), ("tls", "enable"), region], &key[..]].concat();
    assert_eq!(good(&short).1.login, Some(Login::Iam(own.clone())));
    assert!(own.may_go_to("anywhere"));

    assert_eq!(bad(&[&iam[..2], &[region], &key].concat()), ["tls"]);
    assert_eq!(bad(&[&iam[..], &key].concat()), ["awsRegion"]);
    assert_eq!(bad(&[&iam[..], &[region]].concat()), ["awsAccessKeyID"]);
    assert_eq!(bad(&[&iam[..], &[region, ("username", "me")], &key].concat()), ["username"]);
    assert_eq!(bad(&[&iam[..], &[region, ("awsEndpoint", "http://sts")], &key].concat()), ["awsEndpoint"]);
    // The operator's own identity.
    assert_eq!(bad(&[&iam[..], &[region, operator]].concat()), ["bootstrapServers"]);
    let msk =
        "b-1.shop.abc123.c2.kafka.eu-west-1.amazonaws.com:9098,b-2.shop.abc123.c2.kafka.eu-west-1.amazonaws.com:9098";
    let of = |servers: &str, more: &[(&str, &str)]| {
        let pairs = [&iam[..], &[operator], more].concat();
        let mut map = with(&pairs);
        map.insert("bootstrapServers".to_owned(), servers.to_owned());
        parse_given(&map, &Given::default())
    };
    of(msk, &[region]).expect("brokers of the region");
    of("boot-abc.c1.kafka-serverless.eu-west-1.amazonaws.com:9098", &[region]).expect("no servers at all");
    of("b-1.shop.abc.c2.kafka.cn-north-1.amazonaws.com.cn:9098", &[("awsRegion", "cn-north-1")]).expect("China");
    assert_eq!(complaints(of(msk, &[region, ("unsafeSsl", "true")])), ["unsafeSsl"]);
    for stranger in [
        "kafka.eu-west-1.amazonaws.com.evil.example",
        "b-1.kafka.eu-west-2.amazonaws.com",
        "evilkafka.eu-west-1.amazonaws.com",
        "b-1.kafka.eu-west-1.amazonaws.com,evil.example",
        "vpce-1.vpce-svc-1.eu-west-1.vpce.amazonaws.com",
    ] {
        assert_eq!(complaints(of(stranger, &[region])), ["bootstrapServers"], "{stranger}");
    }
}

#[test]
fn an_authentication_may_give_it_all() {
    let parameters =
        [("sasl", "scram_sha512"), ("username", "me"), ("password", "mine"), ("tls", "enable"), ("ca", CERTIFICATE)];
    let given = |pairs: &[(&str, &str)]| Given {
        parameters: pairs.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(*value))).collect(),
        ..Given::default()
    };
    let parsed = parse_given(&with(&[]), &given(&parameters)).expect("good metadata");
    let crate::Connection::Kafka(connection) = parsed.connection else { panic!("another source") };
    assert_eq!(connection.login.expect("a login").to_string(), "user \"me\"");
    assert_eq!(connection.tls.expect("encrypted").ca, Some(Secret::new(CERTIFICATE)));
    // It may give more than the trigger needs.
    parse_given(&with(&[]), &given(&parameters[1..3])).expect("good metadata");
    parse_given(&with(&[]), &given(&parameters[4..])).expect("good metadata");
    let wrong = complaints(parse_given(&with(&[]), &given(&[("sasl", "scram_sha512"), ("username", "me")])));
    assert_eq!(wrong, ["password"]);
    assert_eq!(complaints(parse_given(&with(&[]), &given(&[("sasl", "x")]))), ["authenticationRef[sasl]"]);
}

#[test]
fn keys_of_keda_that_are_not_served() {
    let keys = ["version", "fullMetadata", "metricName"];
    for key in keys {
        assert_eq!(bad(&[(key, "x")]), [key]);
    }
    let metadata = with(&[("version", "1.0.0"), ("fullMetadata", "true")]);
    let given = Given::default();
    let input = TriggerInput { lenient: true, ..TriggerInput::new("kafka", &metadata, &given) };
    assert_eq!(crate::parse(input).expect("lenient").1.len(), 2);
}

const KEYS: &[&str] = &[
    "bootstrapServers",
    "consumerGroup",
    "topic",
    "partitionLimitation",
    "lagThreshold",
    "activationLagThreshold",
    "offsetResetPolicy",
    "allowIdleConsumers",
    "limitToPartitionsWithLag",
    "excludePersistentLag",
    "scaleToZeroOnInvalidOffset",
    "ensureEvenDistributionOfPartitions",
    "fullMetadata",
    "version",
    "tls",
    "ca",
    "cert",
    "key",
    "keyPassword",
    "unsafeSsl",
    "sasl",
    "username",
    "password",
    "saslTokenProvider",
];

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z]{1,8}(:[0-9]{1,5})?",
        "[0-9]{1,20}(-[0-9]{1,12})?",
        prop::sample::select(vec!["true", "enable", "plaintext", "scram_sha512", "earliest", CERTIFICATE, KEY])
            .prop_map(str::to_owned),
    ]
}

proptest! {
    #[test]
    fn parsing_never_panics(map in prop::collection::btree_map(prop_oneof![
        prop::sample::select(KEYS).prop_map(str::to_owned),
        any::<String>(),
    ], value(), 0..14)) {
        if let Ok(parsed) = parse(&map) {
            prop_assert!(parsed.target > 0.0 && parsed.target.is_finite());
            prop_assert!(parsed.activation >= 0.0 && parsed.activation.is_finite());
        }
    }

    #[test]
    fn no_secret_is_ever_shown(
        base in prop::collection::btree_map(prop::sample::select(KEYS).prop_map(str::to_owned), value(), 0..8),
        more in prop::collection::btree_map(prop::sample::select(KEYS).prop_map(str::to_owned), value(), 0..4),
        before in "[a/#?@:,\0]{0,3}",
        place in 0..4_usize,
        from_authentication: bool,
    ) {
        let secret = format!("{before}S3CR3T");
        let (key, value) = match place {
            0 => ("bootstrapServers", format!("kafka:9092,user:{secret}@kafka")),
            1 => ("password", secret),
            2 => ("key", format!("-----BEGIN PRIVATE KEY-----{secret}")),
            _ => ("keyPassword", secret),
        };
        let mut map = with(&[("sasl", "plaintext"), ("username", "me"), ("tls", "enable")]);
        map.extend(base);
        let mut given = Given::default();
        given.parameters.extend(more.into_iter().map(|(key, value)| (key, Secret::new(value))));
        if from_authentication {
            map.remove(key);
            given.parameters.insert(key.to_owned(), Secret::new(value));
        } else {
            map.insert(key.to_owned(), value);
        }
        let shown = match parse_given(&map, &given) {
            Ok(parsed) => format!("{parsed:?}"),
            Err(errors) => errors.iter().map(|error| format!("{error} {error:?}")).collect(),
        };
        let input = TriggerInput::new("kafka", &map, &given);
        let input = format!("{input:?} {:?}", Metadata::new(input));
        prop_assert!(!shown.contains("S3CR3T") && !input.contains("S3CR3T"), "{} {}", shown, input);
    }
}
