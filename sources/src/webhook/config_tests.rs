//! Every key and every error; nothing makes it panic, and no secret is shown.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{ConfigError, Given, TriggerInput};

const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut map: BTreeMap<String, String> = [("name", "orders"), ("value", "5"), ("signature", "github")]
        .iter()
        .chain(pairs)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    map.retain(|_, value| value != "-");
    map
}

fn understood(pairs: &[(&str, &str)], secret: Option<&str>) -> Result<Parsed, Vec<ConfigError>> {
    let parameters = secret.map(|secret| ("secret".to_owned(), Secret::new(secret))).into_iter().collect();
    let given = Given { parameters, ..Given::default() };
    let metadata = map(pairs);
    let input = TriggerInput { namespace: "shop", ..TriggerInput::new("webhook", &metadata, &given) };
    crate::parse(input).map(|(parsed, _)| parsed)
}

fn connection(pairs: &[(&str, &str)], secret: Option<&str>) -> Connection {
    match understood(pairs, secret).expect("good metadata").connection {
        crate::Connection::Webhook(connection) => connection,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_least_that_can_be_written() {
    let parsed = understood(&[], Some("s")).expect("good metadata");
    assert_eq!((parsed.target, parsed.activation, parsed.metric_name.as_str()), (5.0, 0.0, "webhook-orders"));
    assert_eq!(parsed.default_interval, Duration::from_millis(500));
    let query = Query::Count(Duration::from_secs(60));
    assert_eq!(parsed.query, crate::Query::Webhook(query.clone()));
    let wanted = Connection {
        namespace: "shop".into(),
        name: "orders".into(),
        signature: Signature::Github,
        secrets: vec![Secret::new("s")],
        id_header: None,
        tolerance: Duration::from_secs(300),
        max_body: 1 << 20,
        query,
    };
    assert_eq!(parsed.connection, crate::Connection::Webhook(wanted));
}

#[test]
fn every_key_has_its_effect() {
    assert_eq!(connection(&[("mode", "rate"), ("window", "5")], Some("s")).query, Query::Rate(Duration::from_secs(5)));
    let gauge = connection(&[("mode", "Gauge"), ("valueLocation", "a.b")], Some("s")).query;
    assert!(matches!(gauge, Query::Gauge(location) if location.written == "a.b"));
    let standard = [("signature", "standard"), ("tolerance", "10"), ("idHeader", "X-Id"), ("maxBodyBytes", "9")];
    let standard = connection(&standard, Some(WHSEC));
    assert_eq!(standard.signature, Signature::Standard);
    assert_eq!((standard.tolerance.as_secs(), standard.id_header.as_deref(), standard.max_body), (10, Some("x-id"), 9));
    let unsigned = connection(&[("signature", "none"), ("allowUnsigned", "true")], None);
    assert_eq!((unsigned.signature, unsigned.secrets.len()), (Signature::None, 0));
    assert_eq!(understood(&[("activationValue", "3")], Some("s")).expect("good metadata").activation, 3.0);
    let rotating = connection(&[], Some("  old \n\n new\n"));
    assert_eq!(rotating.secrets, [Secret::new("old"), Secret::new("new")]);
}

#[test]
fn every_error_names_the_key() {
    // What is written, the secret that the authentication gives, the field of the one error.
    type Row<'r> = (&'r [(&'r str, &'r str)], Option<&'r str>, &'r str);
    let none = ("signature", "none");
    let table: &[Row<'_>] = &[
        (&[("name", "-")], Some("s"), "metadata.name"),
        (&[("name", "Orders")], Some("s"), "metadata.name"),
        (&[("name", "../other/x")], Some("s"), "metadata.name"),
        (&[("name", &"x".repeat(64))], Some("s"), "metadata.name"),
        (&[("value", "-")], Some("s"), "metadata.value"),
        (&[("value", "0")], Some("s"), "metadata.value"),
        (&[("activationValue", "x")], Some("s"), "metadata.activationValue"),
        (&[("mode", "sum")], Some("s"), "metadata.mode"),
        (&[("window", "0")], Some("s"), "metadata.window"),
        (&[("window", "86401")], Some("s"), "metadata.window"),
        (&[("mode", "gauge")], Some("s"), "metadata.valueLocation"),
        (&[("mode", "gauge"), ("valueLocation", "a..b")], Some("s"), "metadata.valueLocation"),
        (&[("mode", "gauge"), ("valueLocation", "a"), ("window", "5")], Some("s"), "metadata.window"),
        (&[("valueLocation", "a")], Some("s"), "metadata.valueLocation"),
        (&[("signature", "-")], Some("s"), "metadata.signature"),
        (&[("signature", "sha1")], Some("s"), "metadata.signature"),
        (&[none], None, "metadata.signature"),
        (&[none, ("allowUnsigned", "false")], None, "metadata.signature"),
        (&[none, ("allowUnsigned", "true")], Some("s"), "authenticationRef[secret]"),
        (&[("allowUnsigned", "true")], Some("s"), "metadata.allowUnsigned"),
        (&[], None, "metadata.secret"),
        (&[("secret", "S3CR3T")], None, "metadata.secret"),
        (&[("signature", "standard")], Some("S3CR3T!"), "authenticationRef[secret]"),
        (&[("signature", "standard")], Some("whsec_"), "authenticationRef[secret]"),
        (&[("tolerance", "5")], Some("s"), "metadata.tolerance"),
        (&[("signature", "standard"), ("tolerance", "86401")], Some(WHSEC), "metadata.tolerance"),
        (&[("idHeader", "a b")], Some("s"), "metadata.idHeader"),
        (&[("maxBodyBytes", "0")], Some("s"), "metadata.maxBodyBytes"),
        (&[("maxBodyBytes", "10485761")], Some("s"), "metadata.maxBodyBytes"),
        (&[("nmae", "x")], Some("s"), "metadata.nmae"),
    ];
    for (pairs, secret, field) in table {
        let errors = understood(pairs, *secret).expect_err(field);
        assert_eq!(errors.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), [*field], "{pairs:?}");
        assert!(!format!("{errors:?}").contains("S3CR3T"));
    }
}

#[test]
fn debug_hides_the_secret() {
    assert!(!format!("{:?}", understood(&[], Some("S3CR3T"))).contains("S3CR3T"));
}

proptest! {
    #[test]
    fn arbitrary_metadata_never_panics_and_never_shows_a_secret(
        pairs in prop::collection::btree_map(
            prop::sample::select(vec![
                "name", "mode", "window", "valueLocation", "value", "activationValue", "signature", "secret",
                "allowUnsigned", "idHeader", "tolerance", "maxBodyBytes", "other",
            ]),
            "[ -~é\n]{0,12}|none|github|standard|gauge|rate|true|99999999999999999999|-1|NaN|1e400",
            0..12,
        ),
        secret in "S3CR3T[ -~\n]{0,20}",
        lenient in any::<bool>(),
    ) {
        let metadata = pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let given = Given { parameters: [("secret".to_owned(), Secret::new(secret))].into(), ..Given::default() };
        let input = TriggerInput { lenient, ..TriggerInput::new("webhook", &metadata, &given) };
        let shown = format!("{:?}", crate::parse(input));
        prop_assert!(!shown.contains("S3CR3T"), "{}", shown);
    }
}
