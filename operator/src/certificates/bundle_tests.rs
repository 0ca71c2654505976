//! Making, renewing and judging certificates.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;

use super::super::plan::{OVERLAP, Plan, plan};
use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn names() -> Vec<String> {
    serving_names("windlass-metrics", "windlass-system")
}

#[test]
fn a_new_bundle_survives_the_secret_and_needs_nothing() {
    let bundle = Bundle::create(&names(), at(0)).unwrap();
    let read = Bundle::parse(&bundle.data()).unwrap();
    assert_eq!(read, bundle);
    let facts = read.facts(&names()).unwrap();
    assert_eq!((facts.issuer, facts.names_cover, facts.cas.len()), (Some(0), true, 1));
    assert_eq!(facts.leaf, Life::starting(at(0), LEAF_LIFE));
    assert_eq!(facts.cas[0], Life::starting(at(0), CA_LIFE));
    assert_eq!(plan(Some(&facts), at(0)), Plan::Keep { until: facts.leaf.renewal() });
    assert!(!read.facts(&serving_names("windlass-metrics", "elsewhere")).unwrap().names_cover);
    for name in [
        "windlass-metrics",
        "windlass-metrics.windlass-system.svc",
        "windlass-metrics.windlass-system.svc.cluster.local",
    ] {
        assert!(names().iter().any(|other| other == name));
    }
    assert!(!format!("{bundle:?}").contains("PRIVATE"));
}

#[test]
fn a_rotation_with_real_keys_keeps_both_cas_until_the_new_one_has_signed() {
    let first = Bundle::create(&names(), at(0)).unwrap();
    let two = first.clone().add_ca(at(60)).unwrap();
    let read = Bundle::parse(&two.data()).unwrap();
    let facts = read.facts(&names()).unwrap();
    assert_eq!((facts.issuer, facts.cas.len()), (Some(1), 2), "the old CA signed what is served");
    assert!(read.ca_bundle().ends_with(&first.ca_bundle()));
    let signed = read.issue_leaf(&names(), at(60) + OVERLAP).unwrap();
    let facts = Bundle::parse(&signed.data()).unwrap().facts(&names()).unwrap();
    assert_eq!((facts.issuer, facts.cas.len()), (Some(0), 2));
    let done = signed.drop_old_cas();
    let facts = Bundle::parse(&done.data()).unwrap().facts(&names()).unwrap();
    assert_eq!((facts.issuer, facts.cas.len()), (Some(0), 1));
    let much_later = at(0) + CA_LIFE;
    assert_eq!(first.add_ca(much_later).unwrap().facts(&names()).unwrap().cas.len(), 1, "an expired CA is not kept");
}

#[test]
fn a_leaf_never_outlives_its_ca() {
    let old = Bundle::create(&names(), at(0)).unwrap();
    let ca = old.facts(&names()).unwrap().cas[0];
    let late = ca.not_after - SignedDuration::from_hours(24);
    let leaf = old.issue_leaf(&names(), late).unwrap().facts(&names()).unwrap().leaf;
    assert_eq!(leaf.not_after, ca.not_after);
}

#[test]
fn a_damaged_secret_is_refused_with_the_key_to_blame_and_without_its_content() {
    let good = Bundle::create(&names(), at(0)).unwrap();
    let other = Bundle::create(&names(), at(0)).unwrap();
    let said = |key: &str, text: &str| {
        let mut data = good.data();
        data.insert(key.to_owned(), ByteString(text.as_bytes().to_vec()));
        Bundle::parse(&data).unwrap_err().to_string()
    };
    let foreign = String::from_utf8(other.data()["tls.key"].0.clone()).unwrap();
    let foreign_ca_key = String::from_utf8(other.data()["ca.key"].0.clone()).unwrap();
    assert_eq!(said("tls.crt", ""), "key tls.crt is missing or empty");
    assert_eq!(said("ca.crt", "none"), "key ca.crt holds no usable certificate");
    assert_eq!(said("ca.key", &foreign_ca_key), "key ca.key does not belong to the first certificate of ca.crt");
    assert!(said("tls.key", &foreign).starts_with("tls.crt and tls.key cannot be served"));
    assert!(Bundle::parse(&BTreeMap::new()).is_err());

    let mut data = good.data();
    data.insert("ca.crt".to_owned(), other.data()["ca.crt"].clone());
    data.insert("ca.key".to_owned(), other.data()["ca.key"].clone());
    let facts = Bundle::parse(&data).unwrap().facts(&names()).unwrap();
    assert_eq!(facts.issuer, None, "a leaf of another CA is not trusted by its name");
}
