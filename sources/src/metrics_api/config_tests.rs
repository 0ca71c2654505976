//! Every key, every error, and that nothing secret is ever shown.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{ConfigError, Given, TriggerInput};

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nBBBB\n-----END PRIVATE KEY-----";
const HTTPS: (&str, &str) = ("url", "https://api.shop/queue");

fn with(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let least = [("url", "http://api.shop:8080/queue?of=orders"), ("valueLocation", "a.b"), ("targetValue", "10")];
    least.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn parse(metadata: &BTreeMap<String, String>, given: &Given) -> Result<Parsed, Vec<ConfigError>> {
    crate::parse(TriggerInput::new("metrics-api", metadata, given)).map(|(parsed, _)| parsed)
}

fn good(more: &[(&str, &str)]) -> (Parsed, Connection, Query) {
    let parsed = parse(&with(more), &Given::default()).unwrap_or_else(|errors| panic!("{more:?}: {errors:?}"));
    let crate::Connection::MetricsApi(connection) = parsed.connection.clone() else { panic!("another source") };
    let crate::Query::MetricsApi(query) = parsed.query.clone() else { panic!("another source") };
    (parsed, connection, query)
}

/// The fields complained about, sorted.
fn bad(more: &[(&str, &str)]) -> Vec<String> {
    let errors = parse(&with(more), &Given::default()).expect_err("bad metadata");
    for error in &errors {
        assert!(!error.problem.is_empty() && !error.fix.is_empty(), "{error}");
    }
    let mut fields: Vec<_> = errors.into_iter().map(|error| error.field.replace("metadata.", "")).collect();
    fields.sort();
    fields
}

#[test]
fn a_url_a_place_and_a_target_suffice() {
    let (parsed, connection, query) = good(&[]);
    assert_eq!((parsed.target, parsed.activation), (10.0, 0.0));
    assert_eq!(parsed.metric_name, "metric-api-a-b");
    assert_eq!(parsed.default_interval, Duration::from_secs(1));
    assert_eq!(connection.endpoint.to_string(), "api.shop:8080");
    assert_eq!((connection.auth, connection.tls, connection.timeout), (Auth::default(), Tls::default(), None));
    assert_eq!(query.target.expose(), "/queue?of=orders");
    assert_eq!(query.location, Location::Json(Path::gjson("a.b").expect("a path")));
    let (parsed, connection, _) = good(&[("activationTargetValue", "2.5"), ("timeout", "500"), ("targetValue", "0.5")]);
    assert_eq!((parsed.target, parsed.activation), (0.5, 2.5));
    assert_eq!(connection.timeout, Some(Duration::from_millis(500)));
    for key in ["url", "valueLocation", "targetValue"] {
        let mut metadata = with(&[]);
        metadata.remove(key);
        let errors = parse(&metadata, &Given::default()).expect_err(key);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].field, format!("metadata.{key}"));
    }
}

#[test]
fn a_url_is_plain_and_hides_nothing() {
    for (url, address) in [
        ("http://api.shop", "api.shop:80"),
        ("https://API.shop/", "api.shop:443"),
        ("http://[::1]:99/x", "[::1]:99"),
        ("http://127.1/", "127.0.0.1:80"),
    ] {
        assert_eq!(good(&[("url", url)]).1.endpoint.to_string(), address);
    }
    for url in [
        "api.shop",
        "api.shop:8080",
        "ftp://api.shop",
        "http://",
        "http://user@api.shop",
        "http://u:p@api.shop",
        "http://a.shop@127.0.0.1/",
        "http://api.shop/#x",
        "http://api.shop:99999",
    ] {
        assert_eq!(bad(&[("url", url)]), ["url"], "{url}");
    }
}

#[test]
fn each_format_has_its_own_places() {
    for format in ["json", "JSON", "yaml", "xml", "prometheus"] {
        good(&[("format", format), ("valueLocation", "queue")]);
    }
    let prometheus = [("format", "prometheus"), ("valueLocation", "jobs{queue=\"a\"}")];
    let (parsed, _, query) = good(&prometheus);
    assert!(matches!(query.location, Location::Prometheus(_)));
    assert_eq!(parsed.metric_name, "metric-api-jobs{queue=\"a\"}");
    assert_eq!(good(&[("valueLocation", "a.#(b==\"c\").d")]).0.metric_name, "metric-api-a-#-b==\"c\"--d");
    assert_eq!(bad(&[("format", "csv")]), ["format"]);
    for (format, location) in
        [("json", "@this"), ("json", "a."), ("yaml", "a..b"), ("xml", "a."), ("prometheus", "a{b=~\"c\"}")]
    {
        assert_eq!(bad(&[("format", format), ("valueLocation", location)]), ["valueLocation"], "{format}");
    }
}

#[test]
fn each_way_to_say_who_asks_needs_its_own_keys() {
    let headers = |more: &[(&str, &str)]| -> Vec<(String, String)> {
        let auth = good(more).1.auth;
        auth.headers.into_iter().map(|(name, value)| (name, value.expose().to_owned())).collect()
    };
    let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    assert_eq!(headers(&[("authMode", "apiKey"), ("apiKey", "k")]), pair("X-API-KEY", "k"));
    assert_eq!(headers(&[("authModes", "apikey"), ("apiKey", "k"), ("keyParamName", "X-Mine")]), pair("X-Mine", "k"));
    let query = [("authMode", "apiKey"), ("apiKey", "k"), ("method", "query")];
    assert_eq!(good(&query).1.auth.parameter, Some(("api_key".to_owned(), Secret::new("k"))));
    let named = [("authMode", "apiKey"), ("apiKey", "k"), ("method", "query"), ("keyParamName", "mine")];
    assert_eq!(good(&named).1.auth.parameter, Some(("mine".to_owned(), Secret::new("k"))));
    for key in ["token", "bearerToken"] {
        assert_eq!(headers(&[("authMode", "bearer"), (key, "t")]), pair("Authorization", "Bearer t"));
    }
    let custom = [("authModes", "custom"), ("customAuthHeader", "X-Who"), ("customAuthValue", "me")];
    assert_eq!(headers(&custom), pair("X-Who", "me"));
    let basic = |auth: Auth| auth.basic.map(|(user, password)| (user, password.expose().to_owned()));
    let both = [("authMode", "basic"), ("username", "u"), ("password", "p")];
    assert_eq!(basic(good(&both).1.auth), Some(("u".to_owned(), "p".to_owned())));
    assert_eq!(basic(good(&both[..2]).1.auth), Some(("u".to_owned(), String::new())));
    let tls = [HTTPS, ("authMode", "tls"), ("cert", CERTIFICATE), ("key", KEY), ("ca", CERTIFICATE)];
    let (_, connection, _) = good(&tls);
    assert!(connection.tls.cert.is_some() && connection.tls.key.is_some() && connection.tls.ca.is_some());
    let several = [HTTPS, ("authModes", "tls, basic"), ("cert", CERTIFICATE), ("key", KEY), ("username", "u")];
    let (_, connection, _) = good(&several);
    assert!(connection.tls.cert.is_some() && connection.auth.basic.is_some());

    assert_eq!(bad(&[("authMode", "apiKey")]), ["apiKey"]);
    assert_eq!(bad(&[("authMode", "basic")]), ["username"]);
    assert_eq!(bad(&[("authMode", "bearer")]), ["bearerToken"]);
    assert_eq!(bad(&[("authMode", "custom")]), ["customAuthHeader", "customAuthValue"]);
    assert_eq!(bad(&[HTTPS, ("authMode", "tls")]), ["cert", "key"]);
    assert_eq!(bad(&[("authMode", "tls"), ("cert", CERTIFICATE), ("key", KEY)]), ["authMode"]);
    assert_eq!(bad(&[("authMode", "oauth")]), ["clientID", "clientSecret", "oauthTokenURI"]);
    let oauth = [
        ("authMode", "oauth"),
        ("oauthTokenURI", "https://login.shop/token?a=b"),
        ("clientID", "me"),
        ("clientSecret", "s"),
        ("scope", "one two,three"),
        ("endpointParams", "audience=a%26b"),
    ];
    let found = good(&oauth).1.auth.oauth.expect("oauth");
    assert_eq!((found.endpoint.to_string().as_str(), found.target.expose()), ("login.shop:443", "/token?a=b"));
    assert_eq!(
        (found.scopes, found.parameters),
        (["one", "two", "three"].map(str::to_owned).to_vec(), vec![("audience".to_owned(), Secret::new("a&b"))],)
    );
    assert!(good(&[&oauth[..], &[("ca", CERTIFICATE)]].concat()).1.auth.oauth.is_some_and(|o| o.tls.ca.is_some()));
    let with = |more: (&'static str, &'static str)| bad(&[&oauth[..], &[more]].concat());
    for wrong in ["ftp://login.shop", "http://me:s@login.shop/token", "/token"] {
        assert_eq!(with(("oauthTokenURI", wrong)), ["oauthTokenURI"], "{wrong}");
    }
    assert_eq!(with(("endpointParams", "scope=other")), ["endpointParams"]);
    assert_eq!(bad(&[("clientSecret", "s"), ("scopes", "x")]), ["clientSecret", "scopes"]);
    assert_eq!(bad(&[("authModes", "oauth,bearer"), ("token", "t"), oauth[1], oauth[2], oauth[3]]), ["authModes"]);
    assert_eq!(bad(&[("authModes", "password")]), ["authModes"]);
    assert_eq!(bad(&[("authModes", "basic"), ("authMode", "basic"), ("username", "u")]), ["authMode"]);
    assert_eq!(bad(&[("authModes", "basic,bearer"), ("username", "u"), ("token", "t")]), ["authModes"]);
    assert_eq!(bad(&[("authMode", "apiKey"), ("apiKey", "k"), ("method", "cookie")]), ["method"]);
    for name in ["Host", "content-length", "Transfer-Encoding", "a b", "a:b", "é"] {
        assert_eq!(bad(&[("authMode", "apiKey"), ("apiKey", "k"), ("keyParamName", name)]), ["apiKey"], "{name}");
    }
    assert_eq!(bad(&[("authMode", "bearer"), ("token", "a\r\nX-Other: b")]), ["token"]);
}

#[test]
fn keys_without_their_mode_are_a_mistake_in_the_trigger_and_none_in_an_authentication() {
    assert_eq!(bad(&[("apiKey", "k")]), ["apiKey"]);
    assert_eq!(bad(&[("username", "u"), ("password", "p")]), ["password", "username"]);
    assert_eq!(bad(&[HTTPS, ("cert", CERTIFICATE), ("key", KEY)]), ["cert", "key"]);
    assert_eq!(bad(&[("ca", CERTIFICATE)]), ["ca"]);
    assert_eq!(bad(&[("unsafeSsl", "true")]), ["unsafeSsl"]);
    assert!(good(&[HTTPS, ("unsafeSsl", "true"), ("ca", CERTIFICATE)]).1.tls.unsafe_ssl);
    let parameters = [("apiKey", "k"), ("token", "t"), ("cert", CERTIFICATE), ("key", KEY), ("ca", CERTIFICATE)];
    let parameters = parameters.into_iter().map(|(name, value)| (name.to_owned(), Secret::new(value))).collect();
    let given = Given { parameters, ..Given::default() };
    let parsed = parse(&with(&[]), &given).expect("good metadata");
    assert_eq!(parsed.connection, good(&[]).0.connection);
}

#[test]
fn an_authentication_goes_to_its_own_hosts_only() {
    let given = Given { allowed_hosts: Some(vec!["api.shop".to_owned()]), ..Given::default() };
    assert!(parse(&with(&[]), &given).is_ok());
    for url in ["http://evil.example", "http://api.shop.evil.example", "http://127.0.0.1"] {
        let errors = parse(&with(&[("url", url)]), &given).expect_err(url);
        assert_eq!(errors[0].field, "metadata.url");
    }
    // A client's secret goes to the server of the tokens.
    let mut oauth = with(&[("authMode", "oauth"), ("clientID", "me"), ("clientSecret", "s")]);
    for (uri, is_good) in [("https://api.shop/token", true), ("https://evil.example/token", false)] {
        oauth.insert("oauthTokenURI".to_owned(), uri.to_owned());
        let errors = parse(&oauth, &given).err().unwrap_or_default();
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, if is_good { vec![] } else { vec!["metadata.oauthTokenURI"] }, "{uri}");
    }
}

#[test]
fn keys_of_other_versions_say_what_to_do_instead() {
    good(&[("aggregateFromKubeServiceEndpoints", "false")]);
    assert_eq!(bad(&[("aggregationType", "sum")]), ["aggregationType"]);
    assert_eq!(bad(&[("metricName", "x")]), ["metricName"]);
    assert_eq!(bad(&[("targetvalue", "x")]), ["targetvalue"]);
    for wrong in ["0", "-1", "NaN", "many"] {
        assert_eq!(bad(&[("targetValue", wrong)]), ["targetValue"], "{wrong}");
    }
    assert_eq!(bad(&[("activationTargetValue", "-1"), ("timeout", "3s")]), ["activationTargetValue", "timeout"]);
}

#[test]
fn each_endpoint_of_a_service_is_asked_where_the_trigger_says_so_and_names_one() {
    let on = |more: &[(&'static str, &'static str)]| [&[("aggregateFromKubeServiceEndpoints", "true")], more].concat();
    let (parsed, connection, query) = good(&on(&[]));
    assert_eq!((connection.members, query.aggregation), (Some(vec![]), Aggregation::Average));
    assert_eq!(parsed.default_interval, Duration::from_secs(5));
    for (written, wanted) in [
        ("average", Aggregation::Average),
        ("SUM", Aggregation::Sum),
        ("max", Aggregation::Max),
        ("min", Aggregation::Min),
    ] {
        assert_eq!(good(&on(&[("aggregationType", written)])).2.aggregation, wanted);
    }
    assert_eq!(bad(&on(&[("aggregationType", "median")])), ["aggregationType"]);
    let endpoints: Vec<IpAddr> = vec!["10.1.0.1".parse().unwrap(), "10.1.0.2".parse().unwrap()];
    let given = Given { endpoints: endpoints.clone(), ..Given::default() };
    let parsed = parse(&with(&on(&[])), &given).expect("good metadata");
    let crate::Connection::MetricsApi(connection) = parsed.connection else { panic!("another source") };
    assert_eq!(connection.members, Some(endpoints));

    let named = |url: &str| {
        let metadata = with(&on(&[("url", Box::leak(url.to_owned().into_boxed_str()))]));
        let given = Given::default();
        let input = TriggerInput::new("metrics-api", &metadata, &given);
        let fields = parse(&metadata, &given).err().unwrap_or_default().into_iter().map(|error| error.field);
        let found = service(input).map(|service| format!("{}/{}", service.namespace, service.name));
        (found, fields.collect::<Vec<_>>())
    };
    for url in
        ["http://api.shop", "https://API.shop:8443/x?y", "http://api.shop.svc", "http://api.shop.svc.cluster.local."]
    {
        assert_eq!(named(url), (Some("shop/api".to_owned()), vec![]), "{url}");
    }
    // Whoever owns a namespace "example" must not stand in for a host of the outside world.
    for url in [
        "http://api",
        "http://api.example.com",
        "http://api.shop.svcs.local",
        "http://127.0.0.1",
        "http://[fd00::1]:80",
        "http://0x7f.1",
        "http://a_b.shop",
        "https://kubernetes.default.svc",
        "https://kubernetes.default:6443",
    ] {
        assert_eq!(named(url), (None, vec!["metadata.url".to_owned()]), "{url}");
    }
    let (metadata, given) = (with(&[]), Given::default());
    assert_eq!(service(TriggerInput::new("metrics-api", &metadata, &given)), None, "not asked for");
}

#[test]
fn several_numbers_make_one() {
    let of = |aggregation: Aggregation, numbers: &[f64]| aggregation.of(numbers);
    let numbers = [3.0, -1.0, 10.0];
    assert_eq!(of(Aggregation::Average, &numbers), Some(4.0));
    assert_eq!(of(Aggregation::Sum, &numbers), Some(12.0));
    assert_eq!(of(Aggregation::Max, &numbers), Some(10.0));
    assert_eq!(of(Aggregation::Min, &numbers), Some(-1.0));
    for aggregation in [Aggregation::Average, Aggregation::Sum, Aggregation::Max, Aggregation::Min] {
        assert_eq!((of(aggregation, &[]), of(aggregation, &[5.0])), (None, Some(5.0)));
        for with_nan in [[f64::NAN, 1.0, 2.0], [1.0, f64::NAN, 2.0], [1.0, 2.0, f64::NAN]] {
            assert!(
                of(aggregation, &with_nan).is_some_and(f64::is_nan),
                "{aggregation:?} hides that there is no number"
            );
        }
    }
}

#[test]
fn what_changes_the_answer_makes_another_query_and_who_asks_another_connection() {
    assert_eq!(good(&[]).2, good(&[("targetValue", "7"), ("activationTargetValue", "3")]).2);
    assert_ne!(good(&[]).2, good(&[("format", "yaml")]).2);
    assert_ne!(good(&[]).2, good(&[("url", "http://api.shop:8080/other")]).2);
    assert_eq!(good(&[]).1, good(&[("url", "http://api.shop:8080/other")]).1);
    let bearer = |token| good(&[("authMode", "bearer"), ("token", token)]).1;
    assert_ne!(bearer("old"), bearer("new"));
}

const KEYS: &[&str] = &[
    "url",
    "valueLocation",
    "targetValue",
    "activationTargetValue",
    "format",
    "unsafeSsl",
    "timeout",
    "authMode",
    "authModes",
    "method",
    "keyParamName",
    "customAuthHeader",
    "aggregateFromKubeServiceEndpoints",
    "oauthTokenURI",
    "clientID",
    "scopes",
    "endpointParams",
    "other",
];

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "(http|https)://[a-z0-9.\\[\\]:]{0,8}(:[0-9]{0,6})?(/[ -~]{0,8}){0,3}",
        "-?[0-9]{0,25}(\\.[0-9]{0,3})?",
        "(basic|bearer|apiKey|custom|oauth|tls)(,(basic|bearer|apiKey|tls))?",
        Just("true".to_owned()),
    ]
}

proptest! {
    #[test]
    fn parsing_never_panics(map in prop::collection::btree_map(prop_oneof![
        prop::sample::select(KEYS).prop_map(str::to_owned),
        any::<String>(),
    ], value(), 0..12)) {
        if let Ok(parsed) = parse(&map, &Given::default()) {
            prop_assert!(parsed.target > 0.0 && parsed.target.is_finite());
        }
    }

    #[test]
    fn no_secret_is_ever_shown(
        base in prop::collection::btree_map(prop::sample::select(KEYS).prop_map(str::to_owned), value(), 0..8),
        around in "[a/#?@:\r\n]{0,3}",
        place in prop::sample::select(vec!["url", "apiKey", "password", "token", "bearerToken", "customAuthValue", "key", "ca", "clientSecret", "endpointParams"]),
        given in any::<bool>(),
    ) {
        let secret = format!("{around}S3CR3T{around}");
        let secret = match place {
            "url" => format!("http://user:{secret}@api.shop/x?key={secret}"),
            "key" => format!("-----BEGIN PRIVATE KEY-----{secret}"),
            _ => secret,
        };
        let (mut map, mut all) = (with(&[]), Given::default());
        map.extend(base);
        if given {
            map.remove(place);
            all.parameters.insert(place.to_owned(), Secret::new(secret));
        } else {
            map.insert(place.to_owned(), secret);
        }
        let shown = match parse(&map, &all) {
            Ok(parsed) => format!("{parsed:?}"),
            Err(errors) => errors.iter().map(|error| format!("{error} {error:?}")).collect(),
        };
        prop_assert!(!shown.contains("S3CR3T"), "{}", shown);
    }
}
