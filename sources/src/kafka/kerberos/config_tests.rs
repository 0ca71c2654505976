//! What a trigger says of a login by Kerberos, good and bad.

use std::collections::BTreeMap;

use data_encoding::BASE64;

use super::super::super::login::Login;
use super::*;
use crate::{ConfigError, Connection, Given, TriggerInput};

type Pairs<'a> = &'a [(&'a str, &'a str)];

const CONF: (&str, &str) =
    ("kerberosConfig", "[realms]\n RIG = {\n  kdc = kdc.example.com\n  kdc = kdc-2.example.com:89\n }\n");
const USER: [(&str, &str); 3] = [("sasl", "gssapi"), ("username", "reader"), ("realm", "RIG")];
const PASSWORD: (&str, &str) = ("password", "S3CR3T");

/// A keytab with one key of `reader@RIG` of this kind, version 7.
fn keytab(etype: u8, key: &[u8]) -> Vec<u8> {
    let name = b"\0\x01\0\x03RIG\0\x06reader\0\0\0\x01\0\0\0\0\x07";
    let entry = [&name[..], &[0, etype, 0, key.len() as u8], key].concat();
    [&[5, 2][..], &(entry.len() as u32).to_be_bytes(), &entry].concat()
}

fn parse(pairs: Pairs<'_>, given: &Given) -> Result<Kerberos, Vec<ConfigError>> {
    let always = [("bootstrapServers", "kafka.example.com"), ("consumerGroup", "workers")];
    let metadata: BTreeMap<_, _> =
        always.iter().chain(pairs).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let Connection::Kafka(connection) = crate::parse(TriggerInput::new("kafka", &metadata, given))?.0.connection else {
        panic!("another source")
    };
    match connection.login {
        Some(Login::Kerberos(kerberos)) => Ok(kerberos),
        other => panic!("another login: {other:?}"),
    }
}

fn good(more: Pairs<'_>) -> Kerberos {
    parse(&[&USER, more].concat(), &Given::default()).expect("good metadata")
}

/// The fields that are complained about, with the sentences.
fn bad(pairs: Pairs<'_>) -> Vec<(String, String)> {
    let errors = parse(pairs, &Given::default()).expect_err("bad metadata");
    errors.iter().map(|error| (error.field.replace("metadata.", ""), error.to_string())).collect()
}

fn fields(pairs: Pairs<'_>) -> Vec<String> {
    bad(pairs).into_iter().map(|(field, _)| field).collect()
}

#[test]
fn a_principal_proves_itself_by_password_or_keytab() {
    let login = good(&[CONF, PASSWORD]);
    assert_eq!(login.to_string(), "reader@RIG");
    assert_eq!(login.proof, Proof::Password(Secret::new("S3CR3T")));
    assert_eq!(
        login.kdcs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["kdc.example.com:88", "kdc-2.example.com:89"]
    );
    assert_eq!(login.service, "kafka");
    let keytab = BASE64.encode(&keytab(18, &[0xaa; 32]));
    let login = good(&[CONF, ("keytab", &keytab), ("kerberosServiceName", "broker"), ("kerberosDisableFAST", "true")]);
    let Proof::Keytab(keys) = &login.proof else { panic!("no keytab") };
    assert_eq!((keys[0].version, keys[0].key.expose_bytes()), (7, &[0xaa; 32][..]));
    assert_eq!(login.service, "broker");
    // Two texts that say the same are one connection.
    let again = format!("# another\n{}", CONF.1.replace("kdc.example.com", "kdc.example.com:88"));
    assert_eq!(good(&[("kerberosConfig", &again), PASSWORD]), good(&[CONF, PASSWORD]));
}

#[test]
fn a_keytab_in_a_secret_is_bytes() {
    let file = keytab(17, b"\xff\xfe\n\t \r\n \x80\x81\x82\x83\x84\x85\x86 ");
    let given = |value: Secret| Given { parameters: [("keytab".to_owned(), value)].into(), ..Given::default() };
    let pairs = [&USER[..], &[CONF]].concat();
    let login = parse(&pairs, &given(Secret::of_bytes(file.clone()))).expect("good metadata");
    let Proof::Keytab(keys) = &login.proof else { panic!("no keytab") };
    assert_eq!(keys[0].key.expose_bytes()[..], file[file.len() - 16..], "not a byte is trimmed");
    // What is no keytab is named as what it comes from.
    let wrong = parse(&pairs, &given(Secret::of_bytes(vec![0xff; 9]))).expect_err("no keytab");
    assert_eq!(wrong[0].field, "authenticationRef[keytab]");
    let both = parse(&[&pairs[..], &[PASSWORD]].concat(), &given(Secret::of_bytes(file))).expect_err("both");
    assert_eq!(both[0].field, "authenticationRef[keytab]");
}

fn user<'a>(more: Pairs<'a>) -> Vec<(&'a str, &'a str)> {
    [&USER, more].concat()
}

#[test]
fn what_is_missing_or_cannot_be_is_named() {
    assert_eq!(fields(&[("sasl", "gssapi")]), ["username", "realm", "kerberosConfig", "password"]);
    assert_eq!(fields(&user(&[PASSWORD])), ["kerberosConfig"]);
    assert_eq!(fields(&user(&[CONF])), ["password"]);
    let none = bad(&user(&[("kerberosConfig", "[realms]\n OTHER = {\n kdc = a\n }"), PASSWORD]));
    assert!(none[0].0 == "kerberosConfig" && none[0].1.contains("names no KDC of the realm RIG"), "{none:?}");
    let proxy = bad(&user(&[("kerberosConfig", "[realms]\n RIG = {\n kdc = https://kdc/KdcProxy\n }"), PASSWORD]));
    assert!(proxy[0].1.contains("number 1"), "{proxy:?}");
    let table = [
        ("username", "reader@RIG"),
        ("username", "a//b"),
        ("username", "a\u{7}b"),
        ("realm", "RIG@RIG"),
        ("realm", "R/G"),
        ("kerberosServiceName", "kafka/host"),
        ("kerberosDisableFAST", "yes"),
        ("keytab", "x"),
    ];
    for (key, value) in table {
        let mut pairs = user(&[CONF, PASSWORD]);
        pairs.retain(|(other, _)| *other != key);
        pairs.push((key, value));
        assert_eq!(fields(&pairs), [key], "{value}");
    }
    let rc4 = BASE64.encode(&keytab(23, &[1; 16]));
    assert_eq!(fields(&user(&[CONF, ("keytab", &rc4)])), ["keytab"]);
    // Nothing of it has an effect with another login.
    for key in KEYS {
        let other = [("sasl", "plaintext"), ("username", "reader"), PASSWORD, (key, "x")];
        assert_eq!(fields(&other), [key]);
    }
}

#[test]
fn a_kdc_is_a_host_that_the_authentication_may_be_sent_to() {
    let mut given = Given {
        parameters: [("password".to_owned(), Secret::new("S3CR3T"))].into(),
        allowed_hosts: Some(vec!["kafka.example.com".to_owned(), "kdc.example.com".to_owned()]),
        ..Given::default()
    };
    let wrong = parse(&[&USER[..], &[CONF]].concat(), &given).expect_err("kdc-2 is not allowed");
    assert!(wrong.len() == 1 && wrong[0].problem.contains("kdc-2.example.com"), "{wrong:?}");
    // Who gives the credential may say where it goes.
    given.parameters.insert(CONF.0.to_owned(), Secret::new(CONF.1));
    parse(&USER, &given).expect("good metadata");
}

#[test]
fn no_secret_is_shown() {
    let keytab = BASE64.encode(&keytab(18, b"S3CR3T-S3CR3T-S3CR3T-S3CR3T-S3CR"));
    for proof in [PASSWORD, ("keytab", &keytab)] {
        let shown = format!("{:?}", good(&[CONF, proof]));
        assert!(!shown.contains("S3CR3T") && !shown.contains("83, 51") && !shown.contains(&keytab), "{shown}");
    }
    let both = format!("{:?}", bad(&[&USER[..], &[CONF, PASSWORD, ("keytab", &keytab)]].concat()));
    assert!(!both.contains("S3CR3T") && !both.contains(&keytab), "{both}");
}
