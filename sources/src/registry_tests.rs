//! What holds for every source alike: its page is there, and names every key that its parser knows and no other.

use std::collections::BTreeSet;

use super::*;
use crate::PodIdentity;

/// The keys that `kind` knows, as an error about an unknown one lists them. Some are asked for only beside others, so several
/// examples are tried.
fn known_keys(kind: &str) -> BTreeSet<String> {
    let unknown = "thisIsNoKeyOfAnySource";
    let examples: &[&[(&str, &str)]] = &[
        &[],
        &[("host", "amqp://localhost")],
        &[("host", "http://localhost")],
        &[("authModes", "apiKey,basic,custom,tls")],
        &[("authModes", "bearer")],
    ];
    let keys_of = |example: &&[(&str, &str)]| {
        let metadata = example.iter().copied().chain([(unknown, "x")]);
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let errors =
            parse(TriggerInput::new(kind, &metadata.collect(), &Given::default())).expect_err("an unknown key");
        let error = errors.into_iter().find(|error| error.field.ends_with(unknown)).expect("an error about it");
        let (_, keys) = error.fix.split_once("Known: ").expect("a list");
        keys.split(", ").map(str::to_owned).collect::<Vec<_>>()
    };
    examples.iter().flat_map(keys_of).collect()
}

/// The keys in the first column of the page's table of keys, and all that it names in backticks.
fn documented(page: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let ticked = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    let section =
        page.split("\n## Keys\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section of keys");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let table = rows.flat_map(|row| ticked(row.split('|').nth(1).unwrap_or_default())).collect();
    (table, ticked(section))
}

#[test]
fn every_source_has_a_page_that_names_every_key_and_no_other() {
    for kind in kinds() {
        let page = docs(kind).expect(kind);
        assert!(
            page.starts_with("# ") && page.contains(&format!("- type: {kind}\n")),
            "{kind} has no heading or example"
        );
        let known = known_keys(kind);
        let (table, named) = documented(page);
        let missing: Vec<_> = known.iter().filter(|key| !named.contains(*key)).collect();
        let invented: Vec<_> = table.iter().filter(|key| !known.contains(*key)).collect();
        assert!(missing.is_empty(), "the page of {kind} does not name {missing:?}");
        assert!(invented.is_empty(), "{kind} does not know {invented:?}, which its page explains");
    }
    assert_eq!(docs("nothing"), None);
}

#[test]
fn the_example_of_every_page_is_understood() {
    for kind in kinds() {
        let page = docs(kind).expect(kind);
        let example = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
        // What its authentication gives is not on the page: here it is the operator's own identity.
        let (example, by_us) = match example.split_once("    authenticationRef:") {
            Some((before, _)) => (before, PodIdentity::Aws { role_arn: None, external_id: None }),
            None => (example, PodIdentity::None),
        };
        // What must not stand in a trigger comes from there too.
        let parameters = [("secret".to_owned(), crate::Secret::new("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"))].into();
        let given = Given { identity: by_us, parameters, ..Given::default() };
        let metadata = example.lines().skip_while(|line| line.trim() != "metadata:").skip(1).map(|line| {
            let (key, value) = line.split_once(':').expect("key: value");
            let value = value.split(" #").next().unwrap_or_default().trim().trim_matches('"');
            (key.trim().to_owned(), value.to_owned())
        });
        let parsed = parse(TriggerInput::new(kind, &metadata.collect(), &given));
        assert!(parsed.is_ok(), "{kind}: {parsed:?}");
    }
}

#[test]
fn kinds_are_sorted() {
    assert!(kinds().is_sorted());
}
