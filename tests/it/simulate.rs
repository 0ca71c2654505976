//! `windlass simulate` as a person meets it: tables, JSON and reports of series that are committed or made here, a range of
//! a Prometheus that is played, and errors that name the flag, the line or the field.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use windlass_tests::{Answer, FakeHttp, binary, paths};

/// No replay here may take longer, on a busy machine and without optimisation either.
const QUICK: Duration = Duration::from_secs(60);

const ORDERS: &str = "\
apiVersion: windlass.dev/v1alpha1
kind: ScaledObject
metadata:
  name: orders
spec:
  scaleTargetRef:
    name: orders
  maxReplicaCount: 8
  cooldownPeriod: 120
  triggers:
    - type: rabbitmq
      metadata:
        host: amqp://rabbitmq.default:5672/
        queueName: orders
        mode: QueueLength
        value: \"4\"
";

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// A folder with `orders.yaml` and `orders.csv`, in which `windlass simulate` runs.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().expect("a folder") };
        bench.write("orders.yaml", ORDERS);
        // Twenty quiet minutes, forty with 6 a second, twenty quiet ones.
        let rate = |minute: u32| if (20..60).contains(&minute) { 6 } else { 0 };
        let row = |minute: u32| format!("2026-03-01T{:02}:{:02}:00Z,{}\n", minute / 60, minute % 60, rate(minute));
        bench.write("orders.csv", &format!("timestamp,value\n{}", (0..80).map(row).collect::<String>()));
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a file")
    }

    fn simulate(&self, arguments: &[&str]) -> Said {
        // Into files, which never fill as pipes do. Named after the thread: a test runs one at a time.
        let (out, err) = (self.path("stdout"), self.path("stderr"));
        let file = |path: &Path| Stdio::from(File::create(path).expect("a file"));
        let mut command = Command::new(binary().expect("the binary"));
        command.arg("simulate").args(arguments).env_clear().current_dir(self.folder.path());
        let mut child =
            command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err)).spawn().expect("windlass starts");
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("its state") {
                break status;
            }
            if start.elapsed() > QUICK {
                child.kill().expect("killed");
                child.wait().expect("its end");
                panic!("windlass simulate {arguments:?} still runs after {QUICK:?}");
            }
            sleep(Duration::from_millis(10));
        };
        Said { code: status.code(), out: self.read("stdout"), err: self.read("stderr") }
    }

    /// The output of a run that succeeds.
    fn output(&self, arguments: &[&str]) -> String {
        let said = self.simulate(arguments);
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert!(said.err.is_empty(), "{}", said.err);
        said.out
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let all: Vec<&str> = arguments.iter().copied().chain(["--output", "json"]).collect();
        serde_json::from_str(&self.output(&all)).expect("JSON")
    }

    /// The error of a run that fails.
    fn failure(&self, arguments: &[&str]) -> String {
        let said = self.simulate(arguments);
        assert_ne!(said.code, Some(0), "{arguments:?} succeeded: {}", said.out);
        assert!(said.out.is_empty(), "{}", said.out);
        said.err
    }
}

/// The usual flags.
const BASE: [&str; 6] = ["--series", "orders.csv", "--policy", "orders.yaml", "--service-rate", "1"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    BASE.into_iter().chain(more.iter().copied()).collect()
}

#[track_caller]
fn ensure_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn policies_and_baselines_stand_side_by_side() {
    let expected = "\
orders: 1h20m from 2026-03-01T00:00:00Z, 80 points of 1m, 3 arrivals/s on average, 6 at most
queue: 1/s per replica, ready after 30s, late after 1m

POLICY      VIOLATED     %  LATE  LOST  POD-HOURS  OUT  IN  PEAK  BACKLOG  MEAN  WAIT  ACC-U%  ACC-O%  TIME-U%  TIME-O%  INSTAB%  SPEEDUP
orders            0s  0.00     0     0       5.42   13   6     8      245  24.8   40s    4.50   38.68     7.33    45.72    16.46     1.54
plain-hpa         0s  0.00     0     0       6.39   12   6     8      216  24.3   35s    4.39  111.18     7.33    92.67    16.46     1.00
static-max        0s  0.00     0     0       10.7    0   0     8        6     3    0s    0.00  416.67     0.00   100.00     2.53    16.80
oracle            0s  0.00     0     0       4.05    1   3     6        6     3    0s    0.00    0.19     0.00     0.06     2.53   729.49
";
    let bench = Bench::new();
    let printed = bench.output(&BASE);
    assert!(printed == expected, "{printed}");
    assert_eq!(bench.output(&BASE), printed, "the same arguments give the same bytes");
}

#[test]
fn json_has_every_number_and_the_balance_holds() {
    let bench = Bench::new();
    let report = bench.json(&with(&["--baseline", "oracle,static-max", "--slo", "10s"]));
    assert_eq!(
        report["workload"],
        json!({"model": "queue", "serviceRate": 1.0, "startupSeconds": 30.0, "sloSeconds": 10.0})
    );
    let policies = report["policies"].as_array().expect("policies");
    let names: Vec<_> = policies.iter().map(|policy| policy["policy"].as_str().unwrap_or_default()).collect();
    assert_eq!(names, ["orders", "oracle", "static-max"]);
    for policy in policies {
        let number = |field: &str| policy[field].as_f64().expect(field);
        let gone = number("served") + number("lost") + number("backlogEnd");
        assert!((number("arrived") - gone).abs() < 1e-6, "{policy}");
        assert!((number("arrived") - 6.0 * 2400.0).abs() < 1e-6, "{policy}");
        assert!(policy["elasticity"]["accuracyOver"].is_f64());
    }
    assert!(policies[0]["violationSeconds"].as_f64() > Some(0.0), "a cold start of 30 s takes longer than 10 s");
    assert_eq!(policies[1]["violationSeconds"], 0.0);
}

#[test]
fn a_sweep_finds_the_cheapest_setting_within_the_budget() {
    let bench = Bench::new();
    let sweep = with(&[
        "--slo",
        "20s",
        "--sweep",
        "--budget",
        "0.5%",
        "--targets",
        "0.5,1,2,4",
        "--mins",
        "0,1,6",
        "--cooldowns",
        "60s,10m",
    ]);
    let report = bench.json(&sweep);
    // Where the minimum is above 0 the cooldown changes nothing: 4 x (2 + 1 + 1).
    assert_eq!(report["sweep"]["tried"], 16);
    let rows = report["sweep"]["pareto"].as_array().expect("rows");
    let figures: Vec<(f64, f64)> = rows
        .iter()
        .map(|row| {
            (
                row["outcome"]["podHours"].as_f64().unwrap_or(-1.0),
                row["outcome"]["violationPercent"].as_f64().unwrap_or(-1.0),
            )
        })
        .collect();
    assert!(
        figures.len() > 1 && figures.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 > two[1].1),
        "{figures:?}"
    );
    let cheapest: Vec<_> = rows.iter().filter(|row| row["cheapest"] == true).collect();
    assert_eq!(cheapest.len(), 1);
    let first_within = rows.iter().find(|row| row["withinBudget"] == true).expect("a row within the budget");
    assert_eq!(*cheapest[0], *first_within);
    ensure_says(&bench.output(&sweep), &["16 settings tried, budget 0.50 %", "=> is the cheapest within it", "\n=>"]);
    let none = bench.output(&with(&["--slo", "0s", "--sweep", "--budget", "0%", "--targets", "4", "--mins", "0"]));
    ensure_says(&none, &["none of them is within it"]);
}

#[test]
fn a_report_is_one_file_that_needs_nothing_else() {
    let bench = Bench::new();
    for name in ["out.html", "out.svg"] {
        bench.output(&with(&["--report", name]));
        let text = bench.read(name);
        ensure_says(
            &text,
            &["<svg", "<title", "<desc", "prefers-color-scheme:dark", "plain-hpa", "static-max", "oracle"],
        );
        let outside = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!outside.contains("://") && !outside.contains("<script"), "{name} reaches outside");
    }
    ensure_says(&bench.read("out.html"), &["<!doctype html>", "lang=\"en\"", "<table>", "<th scope=\"col\""]);
    let error = bench.failure(&with(&["--report", "out.png"]));
    ensure_says(&error, &["--report", "out.png is neither .html nor .svg"]);
    assert!(!bench.path("out.png").exists());
}

#[test]
fn recorded_loads_are_replayed_and_the_oracle_is_never_beaten() {
    let bench = Bench::new();
    let table: [(&str, &[&str]); 3] = [
        ("nasa_1m.csv", &["--values", "per-interval", "--service-rate", "0.5"]),
        ("crane01_1m.csv", &["--service-rate", "1", "--startup", "60s"]),
        ("isp_uk_5m.csv", &["--model", "request", "--service-rate", "1500"]),
    ];
    for (file, flags) in table {
        let series = paths::root().join("tests/data/traces").join(file);
        let series = series.to_string_lossy();
        let arguments: Vec<&str> =
            ["--series", &series, "--policy", "orders.yaml"].into_iter().chain(flags.iter().copied()).collect();
        let report = bench.json(&arguments);
        let violated = |name: &str| {
            let mut policies = report["policies"].as_array().into_iter().flatten();
            let found = policies.rfind(|policy| policy["policy"] == name);
            found.and_then(|policy| policy["violationSeconds"].as_f64()).expect("a policy")
        };
        for other in ["orders", "plain-hpa", "static-max"] {
            assert!(violated("oracle") <= violated(other) + 1e-6, "{file}: {other} {}", violated(other));
        }
    }
    let nasa = paths::root().join("tests/data/traces/nasa_1m.csv");
    let text = bench.output(&["--series", &nasa.to_string_lossy(), "--policy", "orders.yaml", "--service-rate", "20"]);
    ensure_says(&text, &["nasa_1m: 7d from 1995-07-01T00:00:00Z", "of 1m", "holes: ", "filled in"]);
}

#[test]
fn what_cannot_be_used_is_named_with_the_fix() {
    let bench = Bench::new();
    bench.write("bad.csv", "timestamp,value\n0,1\n60,many\n");
    bench.write("short.csv", "0,1\n");
    bench.write("typo.yaml", &ORDERS.replace("cooldownPeriod", "coolDownPeriod"));
    bench.write("refused.yaml", &ORDERS.replace("value: \"4\"", "value: \"0\""));
    bench.write("deployment.yaml", "kind: Deployment\n");
    bench.write("text.yaml", "kind: [\n");
    let series = |file: &'static str| vec!["--series", file, "--policy", "orders.yaml", "--service-rate", "1"];
    let policy = |file: &'static str| vec!["--series", "orders.csv", "--policy", file, "--service-rate", "1"];
    let table: Vec<(Vec<&str>, &[&str])> = vec![
        (series("none.csv"), &["none.csv (--series)", "No such file"]),
        (series("bad.csv"), &["bad.csv (--series)", "line 3: \"many\" is no number of arrivals"]),
        (series("short.csv"), &["short.csv (--series)", "give at least 2"]),
        (policy("none.yaml"), &["none.yaml (--policy)", "No such file"]),
        (policy("typo.yaml"), &["typo.yaml (--policy)", "spec.coolDownPeriod: is not a field of a ScaledObject"]),
        (policy("refused.yaml"), &["refused.yaml (--policy)", "spec.triggers[0].metadata.value"]),
        (policy("deployment.yaml"), &["deployment.yaml (--policy)", "holds no ScaledObject"]),
        (policy("text.yaml"), &["text.yaml (--policy)", "is not YAML"]),
        (with(&["--policy", "orders.yaml"]), &["--policy: two policies are called orders"]),
        (BASE[..4].to_vec(), &["--service-rate: is needed for a queue"]),
        ([&BASE[..5], &["0"]].concat(), &["--service-rate", "must be a number above 0"]),
        (with(&["--scale", "0"]), &["--scale: 0 must be a number above 0"]),
        (with(&["--poll", "0s"]), &["--poll", "write at least 100ms"]),
        (with(&["--startup", "30"]), &["--startup", "write a time such as 15s"]),
        (with(&["--budget", "5%"]), &["--sweep"]),
        (with(&["--sweep", "--budget", "500%"]), &["--budget", "write a percentage from 0 to 100"]),
        (with(&["--sweep", "--mins", "9"]), &["--mins", "minReplicaCount: 9 is greater than maxReplicaCount 8"]),
        (with(&["--sweep", "--targets", "0"]), &["--targets", "the target 0 must be a number above 0"]),
        (with(&["--baseline", "none,oracle"]), &["--baseline: none cannot stand beside others"]),
        (with(&["--baseline", "oracles"]), &["--baseline", "oracles", "oracle"]),
        (with(&["--query", "up"]), &["--prometheus"]),
        (vec!["--policy", "orders.yaml"], &["--series"]),
        (vec!["--series", "orders.csv"], &["--policy"]),
    ];
    for (arguments, says) in table {
        let error = bench.failure(&arguments);
        for part in says {
            assert!(error.contains(part), "{arguments:?}: {part:?} is missing in:\n{error}");
        }
    }
}

#[test]
fn help_shows_the_flags_with_examples() {
    let bench = Bench::new();
    let help = bench.output(&["--help"]);
    let flags =
        ["series", "prometheus", "policy", "baseline", "model", "service-rate", "startup", "slo", "sweep", "report"];
    for flag in flags {
        ensure_says(&help, &[&format!("--{flag}")]);
    }
    ensure_says(&help, &["Examples:", "[default: plain-hpa,static-max,oracle]", "[default: 30s]"]);
}

/// The rows from `start` to `end`, as a server that has 2 a second at every full minute would answer.
fn minutes(path: &str) -> Answer {
    let url = path.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let value = |name: &str| {
        let found = url.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).unwrap_or_default();
        found.replace("%3A", ":")
    };
    let seconds = |name: &str| value(name).parse::<jiff::Timestamp>().expect("a time").as_second();
    let step: i64 = value("step").parse().expect("a step");
    let count = (seconds("end") - seconds("start")) / step + 1;
    if count > 11_000 {
        let error = json!({"status": "error", "errorType": "bad_data", "error": "exceeded maximum resolution of 11,000 points"});
        return Answer { status: 400, body: error.to_string(), after: Duration::ZERO };
    }
    let values: Vec<Value> = (0..count).map(|index| json!([seconds("start") + index * step, "2"])).collect();
    Answer::json(
        &json!({"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}}),
    )
}

#[test]
fn a_range_of_prometheus_is_asked_in_parts_that_a_server_answers() {
    windlass_tests::run(async {
        let server = FakeHttp::start(|request| minutes(&request.path)).await?;
        let address = format!("http://{}/prefix/", server.address());
        let asked = tokio::task::spawn_blocking(move || {
            let bench = Bench::new();
            let range = ["--start", "2026-01-01T00:00:00Z", "--end", "1768003200", "--step", "60s"];
            let arguments: Vec<&str> = [
                "--prometheus",
                &address,
                "--query",
                "sum(rate(x[1m]))",
                "--policy",
                "orders.yaml",
                "--service-rate",
                "1",
            ]
            .into_iter()
            .chain(range)
            .collect();
            bench.json(&arguments)
        })
        .await?;
        // Nine days of minutes, both ends included, in two parts.
        assert_eq!(asked["series"]["points"], 9 * 1440 + 1);
        assert_eq!(asked["series"]["holes"]["count"], 0);
        assert_eq!(asked["series"]["name"], "sum(rate(x[1m]))");
        let requests = server.requests();
        assert_eq!(requests.len(), 2, "{requests:?}");
        for request in requests {
            assert!(
                request.path.starts_with("/prefix/api/v1/query_range?query=sum%28rate%28x%5B1m%5D%29%29&start=2026-")
            );
        }
        Ok(())
    });
}

#[test]
fn what_prometheus_refuses_is_said_without_the_password_of_its_address() {
    windlass_tests::run(async {
        let matrix = |result: Value| json!({"status": "success", "data": {"resultType": "matrix", "result": result}});
        let error = json!({"status": "error", "errorType": "bad_data", "error": "parse error at char 3"});
        let answers = vec![
            (Answer { status: 400, body: error.to_string(), after: Duration::ZERO }, "parse error at char 3"),
            (
                Answer { status: 401, body: "<html>".to_owned(), after: Duration::ZERO },
                "the server answered 401 Unauthorized",
            ),
            (Answer::json(&matrix(json!([]))), "--query: has no data between"),
            (Answer::json(&matrix(json!([{"values": []}, {"values": []}]))), "has 2 series, not one"),
        ];
        for (answer, says) in answers {
            let server = FakeHttp::script(vec![answer]).await?;
            let address = format!("http://user:hunter2@{}", server.address());
            let failed = tokio::task::spawn_blocking(move || refused(&address)).await?;
            assert!(failed.contains(says), "{says:?} is missing in {failed}");
            assert!(!failed.contains("hunter2"), "{failed}");
        }
        let closed = tokio::task::spawn_blocking(|| refused("http://user:hunter2@127.0.0.1:9")).await?;
        ensure_says(&closed, &["ask Prometheus (--prometheus)", "Connection refused"]);
        assert!(!closed.contains("hunter2"), "{closed}");
        Ok(())
    });
}

fn refused(address: &str) -> String {
    let bench = Bench::new();
    bench.failure(&[
        "--prometheus",
        address,
        "--query",
        "x",
        "--start",
        "now-1h",
        "--policy",
        "orders.yaml",
        "--service-rate",
        "1",
    ])
}
