//! Random objects with random readings, a hundred thousand pairs and more, from the text of a spec to what would be written: nothing
//! panics, what is refused names a field and a fix, and nothing that would be written breaks a bound.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};
use windlass_crd::{Group, Inputs, ScaledObjectSpec, Settings, Validated, hand, validate};
use windlass_decision::{
    Activity, Decision, Failure, FailureKind, HpaAnswer, Observation, Outcome, Pause, Reading, Sample, State, Verdict,
    decide,
};
use windlass_sources::Given;

use super::*;

/// Objects, ...
const CASES: u64 = 50_000;
/// ... and how many readings each that is understood is tried with.
const READINGS: u64 = 5;

fn noon() -> Timestamp {
    Timestamp::from_second(1_767_268_800).expect("a time")
}

/// Draws one case.
struct Draw(StdRng);

impl Draw {
    fn chance(&mut self, part: f64) -> bool {
        self.0.random_bool(part)
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        *all.choose(&mut self.0).expect("one of them")
    }

    /// Mostly one that is right.
    fn mostly<T: Copy>(&mut self, right: &[T], wrong: &[T]) -> T {
        if self.chance(0.97) { self.of(right) } else { self.of(wrong) }
    }

    /// What people write for a number, and what they should not.
    fn number(&mut self) -> String {
        if self.chance(0.95) {
            return match self.0.random_range(0..3) {
                0 => self.0.random_range(1..200_u32).to_string(),
                1 => format!("{:.3}", self.0.random_range(0.001..50.0_f64)),
                _ => self.of(&["1", "5", "10", "100"]).to_owned(),
            };
        }
        self.of(&[
            "0",
            "-1",
            "",
            " 7",
            "1e3",
            "1e400",
            "NaN",
            "inf",
            "-0",
            "9223372036854775808",
            "ten",
            "5.5.5",
            "\u{0664}",
            "0.0001",
        ])
        .to_owned()
    }

    fn count(&mut self, least: i32, most: i32) -> i32 {
        if self.chance(0.97) { self.0.random_range(least..=most) } else { self.of(&[-1, 0, i32::MIN, i32::MAX]) }
    }

    /// Metadata that its source would accept, mostly, with some keys spoilt.
    fn trigger(&mut self, number: usize) -> Value {
        let kinds =
            ["rabbitmq", "rabbitmq", "kafka", "aws-sqs-queue", "prometheus", "metrics-api", "cron", "webhook", "cpu"];
        let kind = self.mostly(&kinds, &["redis", ""]);
        let (value, activation) = (self.number(), self.number());
        let mut metadata = match kind {
            "rabbitmq" => {
                let (mode, host) = (
                    self.mostly(&["QueueLength", "MessageRate"], &["queuelength", "Sideways"]),
                    self.mostly(&["http://u:p@broker:15672/shop"], &["amqp://u:p@broker:5672/shop", "broker", ""]),
                );
                json!({"host": host, "queueName": "orders", "mode": mode, "value": value, "activationValue": activation})
            }
            "kafka" => json!({"bootstrapServers": "kafka:9092", "consumerGroup": "workers", "topic": "orders",
                "lagThreshold": value, "activationLagThreshold": activation, "limitToPartitionsWithLag": self.mostly(&["true", "false"], &["maybe"])}),
            "aws-sqs-queue" => {
                json!({"queueURL": "https://sqs.eu-west-1.amazonaws.com/123456789012/orders", "awsRegion": "eu-west-1",
                "queueLength": value, "activationQueueLength": activation, "identityOwner": self.mostly(&["operator"], &["pod", "nobody"])})
            }
            "prometheus" => json!({"serverAddress": "http://prometheus:9090", "query": "sum(up)", "threshold": value,
                "activationThreshold": activation, "ignoreNullValues": self.mostly(&["true", "false"], &[""])}),
            "metrics-api" => json!({"url": "http://api/metrics", "valueLocation": "a.b", "targetValue": value,
                "activationTargetValue": activation, "format": self.mostly(&["json", "xml", "yaml", "prometheus"], &["csv"])}),
            "cron" => {
                json!({"timezone": self.mostly(&["Europe/Berlin", "UTC"], &["Mars/Olympus"]), "start": self.mostly(&["0 6 * * *", "*/5 * * * *"], &["never"]),
                "end": "30 6 * * *", "desiredReplicas": value})
            }
            "webhook" => {
                json!({"name": "orders", "value": value, "activationValue": activation, "window": self.mostly(&["60", "10"], &["0", "a minute"]),
                "mode": self.of(&["count", "rate"]), "signature": "none", "allowUnsigned": "true"})
            }
            "cpu" => json!({"value": value}),
            _ => json!({"listName": "orders", "listLength": value}),
        };
        self.spoil(&mut metadata, 0.05);
        let mut trigger = json!({"type": kind, "metadata": metadata});
        if kind == "cpu" || self.chance(0.2) {
            trigger["metricType"] = if kind == "cpu" {
                self.mostly(&["Utilization", "AverageValue"], &["Value"])
            } else {
                self.mostly(&["AverageValue", "Value"], &["Utilization"])
            }
            .into();
        }
        if self.chance(0.1) {
            trigger["name"] = if self.chance(0.1) { "same".into() } else { format!("trigger-{number}").into() };
        }
        trigger
    }

    /// Takes a key away, misspells one, or gives one another value.
    fn spoil(&mut self, metadata: &mut Value, part: f64) {
        if !self.chance(part) {
            return;
        }
        let Value::Object(keys) = metadata else { return };
        let names: Vec<String> = keys.keys().cloned().collect();
        let Some(name) = names.choose(&mut self.0) else { return };
        match self.0.random_range(0..3) {
            0 => drop(keys.remove(name)),
            1 => {
                let value = keys.remove(name).unwrap_or_default();
                keys.insert(format!("{name}s"), value);
            }
            _ => drop(keys.insert(name.clone(), self.number().into())),
        }
    }

    fn spec(&mut self) -> Value {
        let triggers: Vec<Value> = (0..self.of(&[1, 1, 1, 2, 3])).map(|number| self.trigger(number)).collect();
        let mut spec = Map::new();
        spec.insert("scaleTargetRef".to_owned(), json!({"name": "worker"}));
        spec.insert("triggers".to_owned(), Value::Array(if self.chance(0.99) { triggers } else { Vec::new() }));
        let mut set = |draw: &mut Self, key: &str, part: f64, least, most| {
            if draw.chance(part) {
                spec.insert(key.to_owned(), draw.count(least, most).into());
            }
        };
        set(self, "minReplicaCount", 0.4, 0, 5);
        set(self, "maxReplicaCount", 0.6, 5, 60);
        set(self, "idleReplicaCount", 0.1, 0, 0);
        set(self, "cooldownPeriod", 0.5, 0, 600);
        set(self, "initialCooldownPeriod", 0.2, 0, 600);
        set(self, "pollingInterval", 0.3, 1, 60);
        if self.chance(0.3) {
            let behavior = self.mostly(
                &["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"],
                &["scalingModifiers"],
            );
            spec.insert(
                "fallback".to_owned(),
                json!({"failureThreshold": self.count(0, 5), "replicas": self.count(0, 80), "behavior": behavior}),
            );
        }
        if self.chance(0.2) {
            let policy = json!({"type": self.mostly(&["Pods", "Percent"], &["Leaps"]), "value": self.count(1, 300), "periodSeconds": self.count(1, 60)});
            let up = json!({"policies": [policy], "selectPolicy": self.of(&["Max", "Min", "Disabled"]), "stabilizationWindowSeconds": self.count(0, 300)});
            spec.insert(
                "advanced".to_owned(),
                json!({"restoreToOriginalReplicaCount": self.chance(0.5),
                "horizontalPodAutoscalerConfig": {"behavior": {"scaleUp": up}}}),
            );
        }
        Value::Object(spec)
    }

    fn annotations(&mut self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let texts = ["true", "false", "3", "0", "-1", "", "yes", "99999999999"];
        for name in ["paused", "paused-replicas", "paused-scale-in", "paused-scale-out", "force-activation"] {
            if self.chance(0.05) {
                all.insert(format!("autoscaling.keda.sh/{name}"), self.of(&texts).to_owned());
            }
        }
        all
    }

    fn figure(&mut self) -> f64 {
        match self.0.random_range(0..10) {
            0..=3 => f64::from(self.0.random_range(0..1000_u32)),
            4..=6 => 0.0,
            7 => self.0.random_range(0.0..9.2e15),
            8 => self.of(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, -0.0, f64::MAX, f64::MIN_POSITIVE]),
            _ => f64::from_bits(self.0.random()),
        }
    }

    fn time(&mut self) -> Timestamp {
        if self.chance(0.02) {
            return self.of(&[Timestamp::MIN, Timestamp::MAX]);
        }
        noon() - SignedDuration::from_millis(self.0.random_range(-5_000..40_000))
    }

    fn sample(&mut self) -> Sample {
        let value = self.figure();
        let activity = if self.chance(0.8) { Activity::Number(value) } else { Activity::Decided(self.chance(0.5)) };
        Sample { value, activity, limit: self.chance(0.2).then(|| self.0.random_range(0..50)), at: self.time() }
    }

    fn reading(&mut self) -> Reading {
        let failure = |at| Failure { kind: FailureKind::Timeout, message: "no answer".to_owned(), field: None, at };
        let latest = match self.0.random_range(0..20) {
            0 => None,
            1..=3 => Some(Outcome::Failed(failure(self.time()))),
            4 => Some(Outcome::Absent(failure(self.time()))),
            _ => Some(Outcome::Ok(self.sample())),
        };
        Reading {
            last_ok: self.chance(0.7).then(|| self.sample()),
            interval: Duration::from_millis(self.0.random_range(0..30_000)),
            failures: if matches!(latest, Some(Outcome::Ok(_))) { 0 } else { self.0.random_range(0..8) },
            latest,
        }
    }

    fn observation(&mut self, triggers: usize, hand: windlass_decision::Hand) -> Observation {
        Observation {
            triggers: (0..triggers).map(|_| self.reading()).collect(),
            replicas: self.of(&[0, 0, 1, 2, 5, 40, 300, u32::MAX]),
            ready: self.of(&[0, 1, 2, 5, 40]),
            created_at: self.time(),
            last_active_time: self.chance(0.5).then(|| self.time()),
            hpa_answer: self
                .chance(0.5)
                .then(|| HpaAnswer { any: self.time(), by_hpa: self.chance(0.5).then(|| self.time()) }),
            since_last: self.chance(0.5).then(|| Duration::from_millis(self.0.random_range(0..60_000))),
            hand,
        }
    }
}

/// What the cases came to, so that the test cannot pass by refusing everything.
#[derive(Debug, Default)]
struct Tally {
    unreadable: u64,
    refused: u64,
    moved: u64,
    decided: u64,
}

/// Whether any trigger gives a reason to move something: a usable reading, a fallback, or a person.
fn has_grounds(valid: &Validated, observation: &Observation, now: Timestamp) -> bool {
    let hand = observation.hand;
    hand.forces_activation
        || hand.pause.is_some()
        || valid.config.triggers().is_empty()
        || valid.config.fallback().is_some()
        || observation.triggers.iter().any(|reading| reading.usable(now).is_some())
}

fn check_decision(valid: &Validated, observation: &Observation, decision: &Decision, now: Timestamp) {
    let bounds = valid.config.bounds();
    let write = decision.verdict.write();
    let may_be_written = |to: u32| (bounds.active_min()..=bounds.max).contains(&to) || bounds.resting() == Some(to);
    match (decision.verdict, observation.hand.pause) {
        (Verdict::Paused(to), Some(Pause::At(at))) => assert_eq!(to, at),
        (Verdict::Paused(to), Some(Pause::AsItIs)) => assert_eq!(to, observation.replicas),
        (verdict, pause) => {
            assert!(pause.is_none() && !matches!(verdict, Verdict::Paused(_)), "{verdict:?} with {pause:?}");
            assert!(write.is_none_or(may_be_written), "{write:?} is written, outside of {bounds:?}");
        }
    }
    assert!(write.is_none() || has_grounds(valid, observation, now), "{write:?} is written for no reason at all");
    for served in &decision.served {
        assert!(served.milli >= 0 && served.fresh_until > now, "served: {served:?}");
    }
    assert!(!decision.sentence(&valid.config, observation.replicas).is_empty());
}

fn check_hpa(key: &ObjectKey, object: &SeenObject, valid: &Validated) {
    let body = hpa::desired(key, object, valid);
    let (least, most) = (body["spec"]["minReplicas"].as_u64(), body["spec"]["maxReplicas"].as_u64());
    assert!(least.is_some_and(|least| least >= 1) && least <= most, "an HPA from {least:?} to {most:?}");
    let metrics = body["spec"]["metrics"].as_array().map_or(0, Vec::len);
    assert_eq!(metrics, valid.config.triggers().len() + valid.resources.len());
    let hpa: k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler =
        serde_json::from_value(body.clone()).expect("what is written is an HPA");
    assert!(hpa::is_current(&body, &hpa.into()), "an HPA as it was written is not found right");
}

fn case(seed: u64, tally: &mut Tally) {
    let mut draw = Draw(StdRng::seed_from_u64(seed));
    let text = draw.spec();
    let group = if draw.chance(0.5) { Group::Windlass } else { Group::Keda };
    let Ok(spec) = serde_json::from_value::<ScaledObjectSpec>(text) else {
        tally.unreadable += 1;
        return;
    };
    let given = [Given::default()];
    let inputs = Inputs { group, namespace: "shop", given: &given, settings: Settings::default() };
    let valid = match validate("orders", &spec, inputs) {
        Ok(valid) => valid,
        Err(errors) => {
            tally.refused += 1;
            assert!(!errors.is_empty(), "refused without a reason");
            for error in errors {
                assert!(
                    error.field.starts_with("spec.") && !error.problem.is_empty() && !error.fix.is_empty(),
                    "{error:?}"
                );
            }
            return;
        }
    };
    let annotations = draw.annotations();
    let now = noon();
    let Ok(hand) = hand(&annotations) else {
        tally.refused += 1;
        return;
    };
    let object = SeenObject {
        uid: "uid-1".to_owned(),
        version: 7,
        generation: 1,
        created_at: noon(),
        deleting: false,
        labels: BTreeMap::new(),
        annotations,
        finalizers: Vec::new(),
        hand: Ok(hand),
        spec: Ok(spec),
        status: ScaledObjectStatus::default(),
    };
    let key = ObjectKey { group, ..ObjectKey::new("shop", "orders") };
    check_hpa(&key, &object, &valid);
    for _ in 0..READINGS {
        let observation = draw.observation(valid.config.triggers().len(), hand);
        let decision = decide(&observation, &valid.config, &State::default(), now);
        check_decision(&valid, &observation, &decision, now);
        // The same moment again: a decision has no dice in it.
        let again = decide(&observation, &valid.config, &State::default(), now);
        assert_eq!(format!("{decision:?}"), format!("{again:?}"));
        tally.decided += 1;
        tally.moved += u64::from(decision.verdict.write().is_some_and(|to| to != observation.replicas));
    }
}

#[test]
fn a_hundred_thousand_pairs_of_object_and_readings_break_no_bound() {
    let mut tally = Tally::default();
    for seed in 0..CASES {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(seed, &mut tally)));
        if outcome.is_err() {
            let mut draw = Draw(StdRng::seed_from_u64(seed));
            panic!("seed {seed}, spec {:#}", draw.spec());
        }
    }
    println!("{tally:?}");
    assert!(tally.decided >= 100_000, "too few were understood: {tally:?}");
    assert!(tally.refused > CASES / 10 && tally.moved > 10_000, "too few of a kind: {tally:?}");
}
