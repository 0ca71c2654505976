//! `windlass demo` as a newcomer meets it: the first event comes at once, the same seed tells the same day, a broken broker
//! costs no replica, and Ctrl-C ends it cleanly.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use windlass_tests::binary;

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary().expect("the tests are told where the binary is"));
    command.arg("demo").arg("--headless").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The lines of a whole run, but for the first, which names ports.
fn told(arguments: &[&str]) -> Vec<String> {
    let output = demo(arguments).output().expect("the demo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    String::from_utf8_lossy(&output.stdout).lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn the_same_seed_tells_the_same_day_and_another_one_another() {
    let day = ["--speed", "20000", "--for", "500ms", "--seed"];
    let with = |seed: &'static str| told(&[&day[..], &[seed]].concat());
    let (one, again, other) = (with("7"), with("7"), with("8"));
    assert!(one.len() > 20, "{one:?}");
    assert_eq!(one, again);
    assert_ne!(one, other);
}

#[test]
fn a_broker_that_fails_costs_no_replica_and_delays_nobody() {
    // Eleven hours and a few minutes: the broker of invoices has refused from 10 to 11.
    let lines = told(&["--speed", "20000", "--for", "2s"]);
    let fails = lines.iter().position(|line| line.contains("invoices") && line.contains("source fails"));
    let back = lines.iter().position(|line| line.contains("invoices") && line.contains("source is back"));
    let (fails, back) = (fails.expect("it fails"), back.expect("it is back"));
    let meanwhile = &lines[fails + 1..back];
    assert!(!meanwhile.iter().any(|line| line.contains("  invoices ")), "it moved: {meanwhile:?}");
    assert!(meanwhile.iter().any(|line| line.contains("thumbnails")), "the others go on: {meanwhile:?}");
    let kept = lines[back].split_once("Windlass: ").expect("it says what was kept").1;
    let numbers: Vec<u32> = kept.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect();
    assert!(numbers[0] > 0 && numbers[1] >= numbers[0], "{kept}");
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It has ended already where the test has passed.
        let _ = self.0.kill();
    }
}

#[test]
fn the_first_event_comes_within_ten_seconds_and_ctrl_c_ends_it() {
    let began = Instant::now();
    let mut child = Ended(demo(&[]).spawn().expect("the demo starts"));
    let mut lines = BufReader::new(child.0.stdout.take().expect("its output is ours")).lines();
    let first = lines.next().expect("a first line").expect("text");
    assert!(first.contains("kubectl --server http://127.0.0.1:"), "{first}");
    let event = lines.next().expect("an event").expect("text");
    let took = began.elapsed();
    assert!(event.contains("0 -> ") && event.contains("Windlass: "), "{event}");
    assert!(took < Duration::from_secs(10), "the first event came after {took:?}");

    let server = first.split_whitespace().find(|word| word.starts_with("http://127.0.0.1")).expect("an address");
    let asked = std::net::TcpStream::connect(server.trim_start_matches("http://"));
    assert!(asked.is_ok(), "nobody listens at {server}");

    let pid = child.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill runs").success());
    let ending = Instant::now();
    let rest: Vec<_> = lines.map_while(Result::ok).collect();
    let status = child.0.wait().expect("it ends");
    assert!(status.success(), "{status}");
    assert!(ending.elapsed() < Duration::from_secs(5), "it took {:?} to end", ending.elapsed());
    assert!(rest.iter().any(|line| line.contains("POD-HOURS")), "it ends with a summary: {rest:?}");
}

#[test]
fn what_cannot_be_is_refused_with_the_flag_and_what_to_do() {
    for (arguments, flag) in
        [(["--speed", "0"], "--speed"), (["--speed", "NaN"], "--speed"), (["--for", "0s"], "--for")]
    {
        let output = demo(&arguments).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && errors.contains(flag), "{arguments:?}: {errors}");
    }
}
