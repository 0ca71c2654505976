//! Every key, every error, and that nothing secret is ever shown.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{ConfigError, Given, TriggerInput};

const AMQP: &str = "amqp://guest:guest@rabbit:5672/vhost";
const HTTP: &str = "http://guest:guest@rabbit:15672/vhost";
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nBBBB\n-----END PRIVATE KEY-----";

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn parse(metadata: &BTreeMap<String, String>) -> Result<Parsed, Vec<ConfigError>> {
    crate::parse(TriggerInput::new("rabbitmq", metadata, &Given::default())).map(|(parsed, _)| parsed)
}

fn with_host(host: &str, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut metadata = map(&[("queueName", "orders"), ("host", host)]);
    metadata.extend(map(more));
    metadata
}

fn good(host: &str, more: &[(&str, &str)]) -> (Parsed, Connection, Query) {
    let parsed = parse(&with_host(host, more)).expect("good metadata");
    let crate::Connection::Rabbitmq(connection) = parsed.connection.clone() else { panic!("another source") };
    let crate::Query::Rabbitmq(query) = parsed.query.clone() else { panic!("another source") };
    (parsed, connection, query)
}

/// The fields complained about, sorted.
fn bad(host: &str, more: &[(&str, &str)]) -> Vec<String> {
    let errors = parse(&with_host(host, more)).expect_err("bad metadata");
    for error in &errors {
        assert!(!error.problem.is_empty() && !error.fix.is_empty(), "{error}");
    }
    let mut fields: Vec<_> = errors.into_iter().map(|error| error.field.replace("metadata.", "")).collect();
    fields.sort();
    fields
}

#[test]
fn nothing_but_a_queue_and_a_host_means_twenty_messages_per_replica() {
    let (parsed, connection, query) = good(AMQP, &[]);
    assert_eq!((parsed.target, parsed.activation), (20.0, 0.0));
    assert_eq!(parsed.metric_name, "rabbitmq-orders");
    assert_eq!(parsed.default_interval, Duration::from_millis(500));
    assert_eq!(connection.protocol, Protocol::Amqp);
    assert_eq!(connection.endpoint.to_string(), "rabbit:5672");
    assert_eq!(connection.vhost, "vhost");
    assert_eq!(connection.username.as_deref(), Some("guest"));
    assert_eq!(connection.password, Some(Secret::new("guest")));
    assert_eq!((connection.tls, connection.timeout), (Tls::default(), None));
    assert_eq!(query, Query::queue_length("orders"));
    assert_eq!(good(HTTP, &[]).0.default_interval, Duration::from_secs(1));
}

#[test]
fn the_host_says_where_and_as_whom() {
    // host, then: encrypted, address, path, virtual host, user, password
    type Wanted = (bool, &'static str, &'static str, &'static str, Option<&'static str>, Option<&'static str>);
    let table: &[(&str, Wanted)] = &[
        ("amqp://rabbit", (false, "rabbit:5672", "", "/", None, None)),
        ("amqp://rabbit/", (false, "rabbit:5672", "", "/", None, None)),
        ("amqp://rabbit/%2f", (false, "rabbit:5672", "", "/", None, None)),
        ("amqp://rabbit/a%2Fb/c", (false, "rabbit:5672", "", "a/b/c", None, None)),
        ("amqps://Rabbit.Example", (true, "rabbit.example:5671", "", "/", None, None)),
        ("amqp://[::1]:99/v", (false, "[::1]:99", "", "v", None, None)),
        ("amqp://10.0.0.7", (false, "10.0.0.7:5672", "", "/", None, None)),
        ("amqp://u%40x:p%3Aw%2F@rabbit", (false, "rabbit:5672", "", "/", Some("u@x"), Some("p:w/"))),
        ("amqp://user:p@ss@rabbit", (false, "rabbit:5672", "", "/", Some("user"), Some("p@ss"))),
        (
            "amqp://user@rabbit?heartbeat=5&connection_timeout=1",
            (false, "rabbit:5672", "", "/", Some("user"), Some("")),
        ),
        ("http://rabbit", (false, "rabbit:80", "", "/", None, None)),
        ("https://rabbit/", (true, "rabbit:443", "", "/", None, None)),
        ("http://rabbit:15672/%2F", (false, "rabbit:15672", "", "/", None, None)),
        ("http://rabbit:15672/v", (false, "rabbit:15672", "", "v", None, None)),
        ("http://rabbit:15672/sub/path/v", (false, "rabbit:15672/sub/path", "/sub/path", "v", None, None)),
        ("https://rabbit/sub/", (true, "rabbit:443/sub", "/sub", "/", None, None)),
    ];
    for (host, (tls, address, path, vhost, username, password)) in table {
        let (_, connection, _) = good(host, &[]);
        assert_eq!(connection.endpoint.tls, *tls, "{host}");
        assert_eq!(connection.endpoint.to_string(), *address, "{host}");
        assert_eq!(connection.endpoint.path, *path, "{host}");
        assert_eq!(connection.vhost, *vhost, "{host}");
        assert_eq!(connection.username.as_deref(), *username, "{host}");
        assert_eq!(connection.password.as_ref().map(Secret::expose), *password, "{host}");
    }
}

#[test]
fn a_host_that_cannot_be_understood_is_refused() {
    let long = format!("amqp://rabbit/{}", "v".repeat(256));
    let table = [
        "rabbit",
        "rabbit:5672",
        "ftp://rabbit",
        "amqp:///v",
        "amqp://",
        "http://",
        "amqp://rabbit:99999",
        "amqp://rabbit/%ff",
        "amqp://u%ff@rabbit",
        "amqp://rabbit#x",
        "amqp://rabbit?cacertfile=x",
        "amqp://user:pa/ss@rabbit",
        "amqp://user:12#ss@rabbit",
        "amqp://rabbit/%00",
        "postgres://rabbit",
        &long,
    ];
    for host in table {
        assert_eq!(bad(host, &[]), ["host"], "{host}");
    }
    assert_eq!(parse(&map(&[("queueName", "q")])).expect_err("no host")[0].field, "metadata.host");
    assert_eq!(parse(&map(&[("queueName", "q"), ("host", " ")])).expect_err("no host")[0].field, "metadata.host");
}

#[test]
fn keys_override_what_the_host_says() {
    let more = [("vhostName", "other"), ("username", "me"), ("password", "mine")];
    for host in [AMQP, HTTP] {
        let (_, connection, _) = good(host, &more);
        assert_eq!(connection.vhost, "other");
        assert_eq!(connection.username.as_deref(), Some("me"));
        assert_eq!(connection.password, Some(Secret::new("mine")));
    }
    assert_eq!(good(AMQP, &[("vhostName", "/")]).1.vhost, "/");
    assert_eq!(bad(AMQP, &[("username", "me")]), ["password"]);
    assert_eq!(bad(AMQP, &[("password", "mine")]), ["username"]);
    assert_eq!(bad(AMQP, &[("vhostName", &"v".repeat(256))]), ["vhostName"]);
}

#[test]
fn the_protocol_is_that_of_the_host() {
    for (host, protocol) in [(AMQP, "amqp"), (AMQP, "auto"), (HTTP, "http"), (HTTP, "AUTO")] {
        good(host, &[("protocol", protocol)]);
    }
    assert_eq!(bad(AMQP, &[("protocol", "http")]), ["protocol"]);
    assert_eq!(bad(HTTP, &[("protocol", "amqp")]), ["protocol"]);
    assert_eq!(bad(HTTP, &[("protocol", "stomp")]), ["protocol"]);
}

#[test]
fn mode_and_value_belong_together() {
    type Pairs = &'static [(&'static str, &'static str)];
    let table: &[(Pairs, Mode, f64)] = &[
        (&[("mode", "QueueLength"), ("value", "7")], Mode::QueueLength, 7.0),
        (&[("mode", "MessageRate"), ("value", "0.5")], Mode::MessageRate, 0.5),
        (&[("mode", "DeliverGetRate"), ("value", "1e3")], Mode::DeliverGetRate, 1000.0),
        (&[("mode", "PublishedToDeliveredRatio"), ("value", "1")], Mode::PublishedToDeliveredRatio, 1.0),
        (&[("mode", "ExpectedQueueConsumptionTime"), ("value", "60")], Mode::ExpectedQueueConsumptionTime, 60.0),
        (&[("queueLength", "9")], Mode::QueueLength, 9.0),
    ];
    for (more, mode, target) in table {
        let (parsed, _, query) = good(HTTP, more);
        assert_eq!((query.mode, parsed.target), (*mode, *target), "{more:?}");
    }
    assert_eq!(bad(HTTP, &[("mode", "QueueLength")]), ["value"]);
    assert_eq!(bad(HTTP, &[("value", "5")]), ["mode"]);
    assert_eq!(bad(HTTP, &[("mode", "Length"), ("value", "5")]), ["mode"]);
    assert_eq!(bad(HTTP, &[("queueLength", "5"), ("value", "5")]), ["queueLength"]);
    assert_eq!(bad(HTTP, &[("queueLength", "5"), ("mode", "QueueLength"), ("value", "5")]), ["queueLength"]);
    for wrong in ["0", "-1", "NaN", "inf", "many"] {
        assert_eq!(bad(HTTP, &[("mode", "QueueLength"), ("value", wrong)]), ["value"], "{wrong}");
        assert_eq!(bad(HTTP, &[("queueLength", wrong)]), ["queueLength"], "{wrong}");
    }
    for wrong in ["-1", "NaN", "inf"] {
        assert_eq!(bad(HTTP, &[("activationValue", wrong)]), ["activationValue"], "{wrong}");
    }
    assert_eq!(good(AMQP, &[("activationValue", "5")]).0.activation, 5.0);
}

#[test]
fn what_only_the_management_api_knows_is_refused_over_amqp() {
    for mode in ["MessageRate", "DeliverGetRate", "PublishedToDeliveredRatio", "ExpectedQueueConsumptionTime"] {
        assert_eq!(bad(AMQP, &[("mode", mode), ("value", "5")]), ["mode"], "{mode}");
    }
    assert_eq!(bad(AMQP, &[("useRegex", "true")]), ["useRegex"]);
    assert_eq!(bad(AMQP, &[("excludeUnacknowledged", "true")]), ["excludeUnacknowledged"]);
    assert_eq!(bad(AMQP, &[("timeout", "1000")]), ["timeout"]);
    assert_eq!(bad("amqps://rabbit", &[("unsafeSsl", "true")]), ["unsafeSsl"]);
    let off = [("useRegex", "false"), ("excludeUnacknowledged", "FALSE"), ("unsafeSsl", "0")];
    good(AMQP, &off);
}

#[test]
fn http_options_are_read() {
    let (_, connection, query) = good(HTTP, &[("timeout", "1500"), ("excludeUnacknowledged", "true")]);
    assert_eq!(connection.timeout, Some(Duration::from_millis(1500)));
    assert!(query.exclude_unacknowledged);
    let more = [("useRegex", "True"), ("operation", "avg"), ("pageSize", "500")];
    let pattern = "orders".to_owned();
    let wanted = Selection::Regex { pattern: pattern.clone(), operation: Operation::Avg, page_size: 500 };
    assert_eq!(good(HTTP, &more).2.selection, wanted);
    let wanted = Selection::Regex { pattern, operation: Operation::Sum, page_size: 100 };
    assert_eq!(good(HTTP, &[("useRegex", "true")]).2.selection, wanted);
    for wrong in ["0", "501", "-1", "all"] {
        assert_eq!(bad(HTTP, &[("useRegex", "true"), ("pageSize", wrong)]), ["pageSize"], "{wrong}");
    }
    assert_eq!(bad(HTTP, &[("useRegex", "true"), ("operation", "median")]), ["operation"]);
    assert_eq!(bad(HTTP, &[("useRegex", "yes")]), ["useRegex"]);
    assert_eq!(bad(HTTP, &[("timeout", "0")]), ["timeout"]);
    assert_eq!(bad(HTTP, &[("timeout", "3s")]), ["timeout"]);
}

#[test]
fn certificates_need_an_encrypted_host_and_each_other() {
    let all = [("tls", "enable"), ("ca", CERTIFICATE), ("cert", CERTIFICATE), ("key", KEY)];
    for host in ["amqps://rabbit", "https://rabbit"] {
        let (_, connection, _) = good(host, &all);
        assert_eq!(connection.tls.ca, Some(Secret::new(CERTIFICATE)));
        assert_eq!(connection.tls.cert, Some(Secret::new(CERTIFICATE)));
        assert_eq!(connection.tls.key, Some(Secret::new(KEY)));
    }
    assert!(good("https://rabbit", &[("unsafeSsl", "true")]).1.tls.unsafe_ssl);
    assert_eq!(good("amqps://rabbit", &[("tls", "disable"), ("ca", CERTIFICATE)]).1.tls, Tls::default());
    assert_eq!(good(AMQP, &[("tls", "disable"), ("ca", CERTIFICATE)]).1.tls, Tls::default());
    assert_eq!(bad(AMQP, &[("tls", "enable")]), ["host"]);
    assert_eq!(bad(HTTP, &[("ca", CERTIFICATE)]), ["host"]);
    assert_eq!(bad("amqps://rabbit", &[("tls", "maybe")]), ["tls"]);
    assert_eq!(bad("amqps://rabbit", &[("cert", CERTIFICATE)]), ["key"]);
    assert_eq!(bad("amqps://rabbit", &[("key", KEY)]), ["cert"]);
    assert_eq!(bad("amqps://rabbit", &[("ca", "/etc/ca.crt")]), ["ca"]);
    assert_eq!(bad("amqps://rabbit", &[("cert", CERTIFICATE), ("key", CERTIFICATE)]), ["key"]);
    assert_eq!(bad("amqps://rabbit", &[("ca", KEY)]), ["ca"]);
    let encrypted = KEY.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let pair = [("cert", CERTIFICATE), ("key", encrypted.as_str())];
    assert_eq!(bad("amqps://rabbit", &pair), ["keyPassword"]);
    let opened = [&pair[..], &[("keyPassword", "x")]].concat();
    assert_eq!(good("amqps://rabbit", &opened).1.tls.key_password, Some(Secret::new("x")));
    let legacy = KEY.replace("PRIVATE KEY", "RSA PRIVATE KEY");
    good("amqps://rabbit", &[("cert", CERTIFICATE), ("key", &legacy)]);
}

#[test]
fn a_token_is_for_the_management_api_and_instead_of_a_user() {
    let client = [("oauthTokenURI", "https://login/token"), ("clientID", "me"), ("clientSecret", "mine")];
    let (_, connection, _) = good("http://rabbit:15672", &client);
    assert_eq!(connection.oauth.expect("a token server").client_id, "me");
    let named = [&client[..], &[("authModes", "oauth"), ("scopes", "a,b")]].concat();
    assert_eq!(good("http://rabbit:15672", &named).1.oauth.expect("a token server").scopes, ["a", "b"]);

    assert_eq!(bad("http://rabbit:15672", &client[..1]), ["clientID", "clientSecret"]);
    assert_eq!(bad("http://rabbit:15672", &[("authModes", "oauth")]), ["clientID", "clientSecret", "oauthTokenURI"]);
    assert_eq!(bad("http://rabbit:15672", &[("authModes", "basic")]), ["authModes"]);
    assert_eq!(bad("http://rabbit:15672", &client[1..2]), ["clientID"]);
    let with_user = good("http://user:pass@rabbit:15672", &client).1;
    assert_eq!((with_user.username, with_user.oauth.is_some()), (None, true));
    let user = [&client[..], &[("username", "me"), ("password", "x")]].concat();
    assert_eq!(bad("http://rabbit:15672", &user), ["password", "username"]);
    let private = [&client[..], &[("ca", CERTIFICATE)]].concat();
    assert_eq!(
        good("http://rabbit:15672", &private).1.oauth.expect("a token server").tls.ca,
        Some(Secret::new(CERTIFICATE))
    );
    let careless = [&client[..], &[("unsafeSsl", "true")]].concat();
    assert!(!good("https://rabbit", &careless).1.oauth.expect("a token server").tls.unsafe_ssl);
    assert_eq!(bad("amqp://rabbit", &client), ["oauthTokenURI"]);
    assert_eq!(bad("amqp://rabbit", &named), ["authModes"]);
}

#[test]
fn keys_of_other_versions_say_what_to_do_instead() {
    let errors = parse(&with_host(AMQP, &[("workloadIdentityResource", "x")])).expect_err("Azure's");
    assert_eq!((errors.len(), errors[0].field.as_str()), (1, "metadata.workloadIdentityResource"));
    assert!(errors[0].problem.contains("not supported yet"), "{}", errors[0]);
    assert_eq!(bad(AMQP, &[("metricName", "x")]), ["metricName"]);
    assert_eq!(bad(AMQP, &[("queueNam", "x")]), ["queueNam"]);
    assert_eq!(parse(&map(&[("host", AMQP)])).expect_err("no queue")[0].field, "metadata.queueName");
    let long = "q".repeat(256);
    assert_eq!(parse(&map(&[("host", AMQP), ("queueName", &long)])).expect_err("long")[0].field, "metadata.queueName");
    good(HTTP, &[("queueName", &format!("({long})")), ("useRegex", "true")]);
}

#[test]
fn all_errors_come_at_once() {
    let more = [("mode", "MessageRate"), ("timeout", "x"), ("operation", "y"), ("unknown", "z")];
    assert_eq!(bad(AMQP, &more), ["mode", "operation", "timeout", "unknown", "value"]);
}

#[test]
fn metric_names_are_those_of_keda() {
    let table = [
        ("orders", "rabbitmq-orders"),
        ("eu.orders/new", "rabbitmq-eu-orders-2Fnew"),
        ("my queue", "rabbitmq-my+queue"),
        ("a_b-c~d", "rabbitmq-a_b-c~d"),
        ("^a(b|c)%$", "rabbitmq--5Ea-28b-7Cc-29-25-24"),
        ("é:", "rabbitmq--C3-A9-3A"),
    ];
    for (queue, wanted) in table {
        assert_eq!(good(HTTP, &[("queueName", queue)]).0.metric_name, wanted, "{queue}");
    }
}

#[test]
fn a_rotated_credential_is_another_connection() {
    let connection = |host: &str, more: &[(&str, &str)]| good(host, more).0.connection;
    let amqps = "amqps://guest:guest@rabbit/vhost";
    let all = [
        connection(amqps, &[]),
        connection("amqps://guest:new@rabbit/vhost", &[]),
        connection("amqps://other:guest@rabbit/vhost", &[]),
        connection(amqps, &[("ca", CERTIFICATE)]),
        connection(amqps, &[("cert", CERTIFICATE), ("key", KEY)]),
        connection(amqps, &[("vhostName", "x")]),
        connection("amqp://guest:guest@rabbit/vhost", &[]),
        connection(HTTP, &[("timeout", "5")]),
        connection(HTTP, &[]),
    ];
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
    assert_eq!(connection(amqps, &[]), connection(amqps, &[("username", "guest"), ("password", "guest")]));
}

#[test]
fn queries_that_differ_in_their_threshold_alone_are_one() {
    let query = |more: &[(&str, &str)]| good(HTTP, more).2;
    assert_eq!(query(&[("queueLength", "5")]), query(&[("queueLength", "50"), ("activationValue", "3")]));
    assert_eq!(query(&[("operation", "max"), ("pageSize", "7")]), query(&[]));
    let ratio =
        |activation| query(&[("mode", "PublishedToDeliveredRatio"), ("value", "1"), ("activationValue", activation)]);
    assert_ne!(ratio("1"), ratio("2"));
    assert_eq!(ratio("2.5").stalled_value(), 2.5);
}

#[test]
fn debug_shows_no_secret() {
    let secret = "s3cr3t";
    let host = format!("amqps://user:{secret}@rabbit");
    let key = KEY.replace("BBBB", secret);
    let metadata = with_host(&host, &[("cert", CERTIFICATE), ("key", &key)]);
    let parsed = parse(&metadata).expect("good metadata");
    let shown = format!("{parsed:?} {:?}", TriggerInput::new("rabbitmq", &metadata, &Given::default()));
    assert!(!shown.contains(secret), "{shown}");
    assert!(shown.contains("user"), "{shown}");
}

const KEYS: &[&str] = &[
    "queueName",
    "host",
    "protocol",
    "mode",
    "value",
    "activationValue",
    "queueLength",
    "vhostName",
    "useRegex",
    "pageSize",
    "operation",
    "excludeUnacknowledged",
    "timeout",
    "unsafeSsl",
    "username",
    "tls",
    "hostFromEnv",
    "keyPassword",
    "other",
];

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z]{1,6}://[ -~]{0,30}",
        "(amqp|amqps|http|https)://([a-z]{1,4}(:[!-~]{0,6})?@)?[a-z0-9.\\[\\]:]{0,8}(:[0-9]{0,6})?(/[ -~]{0,8}){0,3}",
        "-?[0-9]{0,25}(\\.[0-9]{0,3})?(e[0-9]{1,4})?",
        Just("true".to_owned()),
        Just("QueueLength".to_owned()),
    ]
}

proptest! {
    #[test]
    fn parsing_never_panics(map in prop::collection::btree_map(prop_oneof![
        prop::sample::select(KEYS).prop_map(str::to_owned),
        any::<String>(),
    ], value(), 0..12)) {
        if let Ok(parsed) = parse(&map) {
            prop_assert!(parsed.target > 0.0 && parsed.target.is_finite());
            prop_assert!(parsed.activation >= 0.0 && parsed.activation.is_finite());
        }
    }

    #[test]
    fn no_secret_is_ever_shown(
        base in prop::collection::btree_map(prop::sample::select(KEYS).prop_map(str::to_owned), value(), 0..8),
        before in "[a/#?@:]{0,3}",
        after in "[a/#?@:]{0,3}",
        scheme in prop::sample::select(vec!["amqp", "amqps", "http", "https", "ftp"]),
        place in 0..5_usize,
    ) {
        // A marker that no generated value contains, with characters around it that end a URL's parts early.
        let secret = format!("{before}S3CR3T{after}");
        let mut map = base;
        map.entry("queueName".to_owned()).or_insert_with(|| "q".to_owned());
        match place {
            0 => map.insert("host".to_owned(), format!("{scheme}://user:{secret}@rabbit:5672/v")),
            1 => map.insert("password".to_owned(), secret),
            2 => map.insert("key".to_owned(), format!("-----BEGIN PRIVATE KEY-----{secret}")),
            3 => map.insert("keyPassword".to_owned(), secret),
            _ => map.insert("clientSecret".to_owned(), secret),
        };
        let shown = match parse(&map) {
            Ok(parsed) => format!("{parsed:?}"),
            Err(errors) => errors.iter().map(|error| format!("{error} {error:?}")).collect(),
        };
        let given = Given::default();
        let input = TriggerInput::new("rabbitmq", &map, &given);
        let input = format!("{input:?} {:?}", Metadata::new(input));
        prop_assert!(!shown.contains("S3CR3T") && !input.contains("S3CR3T"), "{} {}", shown, input);
    }
}

#[test]
fn an_unknown_type_lists_the_known_ones() {
    let metadata = with_host(AMQP, &[]);
    let errors = crate::parse(TriggerInput::new("rabbit", &metadata, &Given::default())).expect_err("unknown");
    assert!(errors[0].fix.contains("rabbitmq"), "{}", errors[0]);
}
