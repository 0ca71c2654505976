//! The binary as a person meets it, without a cluster: help, version, the CRDs, and errors that say what to do.

use std::fs;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;
use windlass_tests::{binary, paths};

/// No command without a cluster may take longer, on a busy machine either.
const QUICK: Duration = Duration::from_secs(20);

/// Runs `windlass` with nothing of the caller's environment that could lead it to a cluster.
fn windlass(arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(binary().expect("the binary"));
    command.args(arguments).env_clear().env("HOME", home.path()).envs(env.iter().copied());
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("windlass starts");
    // The CRDs do not fit into a pipe, so somebody has to read while it runs.
    let mut stdout = child.stdout.take().expect("a pipe");
    let reader = std::thread::spawn(move || std::io::read_to_string(&mut stdout).expect("UTF-8"));
    let start = Instant::now();
    while child.try_wait().expect("its state").is_none() {
        if start.elapsed() > QUICK {
            child.kill().expect("killed");
            panic!("windlass {arguments:?} still runs after {QUICK:?}");
        }
        sleep(Duration::from_millis(10));
    }
    let mut output = child.wait_with_output().expect("its output");
    output.stdout = reader.join().expect("the reader").into_bytes();
    output
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, err(output));
    assert!(output.stderr.is_empty(), "{}", err(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn whoever_reads_the_output_may_have_enough_of_it() {
    let commands: [&[&str]; 4] =
        [&["crd"], &["explain", "trigger", "kafka"], &["version"], &["demo", "--headless", "--for", "1s"]];
    for arguments in commands {
        let mut command = Command::new(binary().expect("the binary"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("windlass starts");
        drop(child.stdout.take());
        let start = Instant::now();
        while child.try_wait().expect("its state").is_none() {
            assert!(start.elapsed() < QUICK, "windlass {arguments:?} still runs");
            sleep(Duration::from_millis(10));
        }
        // It ended well, and without a word.
        out(&child.wait_with_output().expect("its output"));
    }
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A failure: nothing on stdout, and the one error on stderr.
fn failure(output: &Output) -> String {
    assert!(!output.status.success(), "it succeeded: {}", String::from_utf8_lossy(&output.stdout));
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    err(output)
}

fn ensure_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn help_names_the_commands_and_shows_examples() {
    let help = out(&windlass(&["--help"], &[]));
    ensure_says(&help, &["Usage: windlass", "operator ", "crd ", "get ", "version ", "Examples:"]);
    let none = windlass(&[], &[]);
    assert_eq!(none.status.code(), Some(2));
    ensure_says(&failure(&none), &["Usage: windlass"]);
}

#[test]
fn every_setting_of_the_operator_is_in_its_help_with_its_variable() {
    let help = out(&windlass(&["operator", "--help"], &[]));
    let flags = [
        "kubeconfig",
        "namespace",
        "identity",
        "watch-namespaces",
        "health-address",
        "metrics-address",
        "advertise-address",
        "advertise-port",
        "tls-cert-file",
        "tls-key-file",
        "lease-duration",
        "renew-deadline",
        "retry-period",
        "startup-limit",
        "webhook-address",
        "data-dir",
        "filepath-auth-root-path",
        "allow-source-networks",
        "deny-source-networks",
        "log-format",
        "log-level",
    ];
    for flag in flags {
        let variable = format!("WINDLASS_{}", flag.replace('-', "_").to_uppercase());
        ensure_says(&help, &[&format!("--{flag} <"), &format!("[env: {variable}=]")]);
    }
    ensure_says(&help, &["--keda-compat", "[env: WINDLASS_KEDA_COMPAT=]"]);
    ensure_says(&help, &["--keda-metrics[=<", "[env: WINDLASS_KEDA_METRICS=]", "[default: as --keda-compat]"]);
    let listed = help.lines().filter(|line| line.trim_start().starts_with("--") && line.ends_with('>')).count();
    assert_eq!(listed, flags.len(), "a flag is not in this test\n{help}");
    ensure_says(&help, &["[default: 0.0.0.0:8080]", "[default: 0.0.0.0:6443]", "[default: 15s]", "Examples:"]);
}

#[test]
fn crd_prints_what_is_committed_and_each_document_is_a_crd() {
    let printed = out(&windlass(&["crd"], &[]));
    let mut committed = String::new();
    let dir = fs::read_dir(paths::root().join("deploy/crds")).expect("deploy/crds");
    let mut files: Vec<_> = dir.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    for file in files {
        committed += &fs::read_to_string(file).expect("a CRD");
    }
    assert!(printed == committed, "deploy/crds is out of date: run `make crd`");
    let documents: Vec<Value> = serde_yaml_ng::Deserializer::from_str(&printed)
        .map(|document| Value::deserialize(document).expect("YAML"))
        .collect();
    assert!(!documents.is_empty(), "no document");
    for crd in documents {
        let typed: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition =
            serde_json::from_value(crd.clone()).expect("a CustomResourceDefinition");
        assert_eq!(crd["kind"], "CustomResourceDefinition");
        assert_eq!(typed.spec.group, "windlass.dev");
        let version = typed.spec.versions.iter().find(|version| version.served).expect("a served version");
        let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let properties = schema.and_then(|schema| schema.properties.as_ref()).expect("a structural schema");
        assert!(properties.contains_key("spec") && properties.contains_key("status"));
        assert!(version.subresources.as_ref().is_some_and(|sub| sub.status.is_some()), "no status subresource");
    }
}

#[test]
fn version_is_that_of_the_workspace() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(out(&windlass(&["version"], &[])), format!("windlass {version}\n"));
    assert_eq!(out(&windlass(&["--version"], &[])), format!("windlass {version}\n"));
}

#[test]
fn what_is_unknown_is_refused_with_the_nearest_known() {
    let table: [(&[&str], &[&str]); 6] = [
        (&["operator", "--lease-durations", "3s"], &["unexpected argument '--lease-durations'", "--lease-duration"]),
        (&["operate"], &["unrecognized subcommand 'operate'", "operator"]),
        (&["get", "pods"], &["invalid value 'pods'", "possible values: so"]),
        (&["operator", "--lease-duration", "15"], &["--lease-duration", "write a time such as 15s"]),
        (&["operator", "--allow-source-networks", "shop=here"], &["--allow-source-networks", "such as 10.0.0.0/8"]),
        (&["operator", "--allow-source-networks", "=10.0.0.0/8"], &["the namespace before = is missing"]),
    ];
    for (arguments, says) in table {
        let output = windlass(arguments, &[]);
        ensure_says(&failure(&output), says);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn without_a_cluster_each_command_says_so_at_once() {
    for arguments in [&["operator", "--advertise-address", "10.0.0.1"][..], &["get", "so"]] {
        let output = windlass(arguments, &[]);
        ensure_says(&failure(&output), &["find a cluster", "--kubeconfig", "KUBECONFIG"]);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    }
    let missing = windlass(&["operator", "--kubeconfig", "/nowhere/config"], &[]);
    ensure_says(&failure(&missing), &["/nowhere/config", "--kubeconfig"]);
}

#[test]
fn a_setting_that_cannot_work_ends_the_operator_at_once_and_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let kubeconfig = dir.path().join("config");
    // Nobody listens there: what is wrong with the flags is said before the cluster is asked.
    fs::write(
        &kubeconfig,
        "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}], \
         clusters: [{name: c, cluster: {server: \"http://127.0.0.1:9\"}}], users: [{name: u, user: {}}]}",
    )
    .expect("written");
    let kubeconfig = kubeconfig.to_string_lossy().into_owned();
    let listens = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listens.local_addr().expect("its address").to_string();
    let table: [(&[&str], &[&str]); 6] = [
        (&[], &["--advertise-address", "POD_IP"]),
        (&["--advertise-address", "10.0.0.1", "--renew-deadline", "15s"], &["--lease-duration, --renew-deadline"]),
        (&["--advertise-address", "10.0.0.1", "--health-address", &taken], &["--health-address", &taken]),
        (&["--advertise-address", "10.0.0.1", "--log-level", "a=b=c"], &["--log-level"]),
        (&["--advertise-address", "10.0.0.1", "--tls-cert-file", "/nowhere"], &["--tls-key-file"]),
        (
            &["--advertise-address", "10.0.0.1", "--tls-cert-file", "/nowhere.crt", "--tls-key-file", "/nowhere.key"],
            &["/nowhere.crt"],
        ),
    ];
    for (flags, says) in table {
        let mut arguments = vec!["operator", "--kubeconfig", &kubeconfig, "--metrics-address", "127.0.0.1:0"];
        if !flags.contains(&"--health-address") {
            arguments.extend(["--health-address", "127.0.0.1:0"]);
        }
        arguments.extend(flags);
        ensure_says(&failure(&windlass(&arguments, &[])), says);
    }
    let pod_ip = windlass(&["operator", "--kubeconfig", &kubeconfig], &[("POD_IP", "ten")]);
    ensure_says(&failure(&pod_ip), &["POD_IP", "\"ten\" is no IP address"]);
    let unreachable = windlass(&["get", "so", "--kubeconfig", &kubeconfig], &[]);
    ensure_says(&failure(&unreachable), &["list the scaled objects", "Connection refused"]);
}
