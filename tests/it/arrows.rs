//! Dependencies point one way. A new crate, or a new arrow, is a decision: write it down here and in ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde::Deserialize;
use windlass_tests::paths;

/// Each crate, and the workspace crates that it may use, in its tests too.
const ARROWS: &[(&str, &[&str])] = &[
    ("windlass-decision", &[]),
    ("windlass-ml", &["windlass-decision"]),
    ("windlass-sources", &["windlass-decision"]),
    ("windlass-crd", &["windlass-decision", "windlass-sources"]),
    ("windlass-api", &["windlass-decision"]),
    ("windlass-operator", &["windlass-api", "windlass-crd", "windlass-decision", "windlass-ml", "windlass-sources"]),
    (
        "windlass",
        &[
            "windlass-api",
            "windlass-crd",
            "windlass-decision",
            "windlass-kubesim",
            "windlass-operator",
            "windlass-rehearsal",
            "windlass-simulate",
        ],
    ),
    ("windlass-kubesim", &["windlass-decision"]),
    ("windlass-simulate", &["windlass-crd", "windlass-decision", "windlass-sources"]),
    (
        "windlass-rehearsal",
        &["windlass-crd", "windlass-decision", "windlass-kubesim", "windlass-operator", "windlass-sources"],
    ),
    (
        "windlass-tests",
        &[
            "windlass-crd",
            "windlass-decision",
            "windlass-kubesim",
            "windlass-operator",
            "windlass-rehearsal",
            "windlass-simulate",
        ],
    ),
];

/// Crates from outside that must not be reached, however far away: by the crate's own features, without its tests.
const OUT_OF_REACH: &[(&str, &[&str])] = &[
    ("windlass-decision", &["futures", "kube", "k8s-openapi", "log", "rand", "reqwest", "tokio", "tracing"]),
    ("windlass-ml", &["futures", "kube", "k8s-openapi", "log", "reqwest", "tokio", "tracing"]),
    ("windlass-crd", &["kube-client", "lapin", "rdkafka", "reqwest", "tokio"]),
    ("windlass-api", &["kube", "kube-client", "kube-core"]),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    path: Option<String>,
    uses_default_features: bool,
    features: Vec<String>,
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(paths::root()).output().expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

fn packages() -> Vec<Package> {
    let text = cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    serde_json::from_str::<Metadata>(&text).expect("cargo's metadata").packages
}

#[test]
fn arrows_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let packages = packages();
    let here: BTreeSet<&str> = packages.iter().map(|package| &*package.name).collect();
    let known: BTreeSet<&str> = allowed.keys().copied().collect();
    assert_eq!(here, known, "the workspace's crates (left) and those of ARROWS (right)");
    for package in &packages {
        for used in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
            let (from, to) = (&*package.name, &*used.name);
            assert!(allowed[from].contains(&to), "{from} must not use {to}: it may use {:?}", allowed[from]);
        }
    }
}

#[test]
fn crd_uses_the_sources_configuration_without_their_connectors() {
    let packages = packages();
    let crd = packages.iter().find(|package| package.name == "windlass-crd").expect("a crate windlass-crd");
    let sources: Vec<_> = crd.dependencies.iter().filter(|d| d.name == "windlass-sources").collect();
    assert!(!sources.is_empty(), "windlass-crd does not use windlass-sources: then this test has lost its sense");
    for dependency in sources {
        assert!(!dependency.uses_default_features, "windlass-crd takes the default features of windlass-sources");
        assert!(!dependency.features.iter().any(|f| f == "connect"), "windlass-crd takes connectors");
    }
}

#[test]
fn pure_crates_reach_no_runtime() {
    for (package, forbidden) in OUT_OF_REACH {
        let tree = cargo(&["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--offline"]);
        let reached: BTreeSet<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert!(reached.contains(package), "cargo tree did not show {package} itself");
        let wrong: Vec<_> = forbidden.iter().filter(|name| reached.contains(*name)).collect();
        assert!(wrong.is_empty(), "{package} reaches {wrong:?}: cargo tree -p {package} -e normal -i CRATE says how");
    }
}
