//! Replays as timelines that can be checked with a pencil, and properties that hold for every load.

mod balance;
mod cost;
mod drawing;
mod objects;
mod rows;
mod sweep;
mod waiting;

use std::time::Duration;

use crate::{Kind, Model, Outcome, Policy, Reading, Row, Series, Settings, Workload, replay};

/// `rates` one after the other, each for `step` seconds.
fn series(step: i64, rates: &[f64]) -> Series {
    let row = |(index, rate): (usize, &f64)| Row { at: index as i64 * step * 1000, value: Some(*rate) };
    Series::new(&rates.iter().enumerate().map(row).collect::<Vec<_>>(), Reading::default()).expect("a series")
}

/// The rates for so many seconds each, in steps of one second.
fn stretches(parts: &[(f64, usize)]) -> Series {
    series(1, &parts.iter().flat_map(|(rate, seconds)| std::iter::repeat_n(*rate, *seconds)).collect::<Vec<_>>())
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn queue(service_rate: f64, startup: f64, slo: f64) -> Workload {
    Workload { model: Model::Queue, service_rate, startup: seconds(startup), slo: seconds(slo) }
}

fn requests(service_rate: f64, timeout: f64, slo: f64) -> Workload {
    let model = Model::Request { timeout: seconds(timeout) };
    Workload { model, service_rate, startup: seconds(0.0), slo: seconds(slo) }
}

fn fixed(replicas: u32) -> Policy {
    Policy { name: format!("fixed-{replicas}"), kind: Kind::Static(replicas), notes: Vec::new() }
}

fn run(series: &Series, workload: &Workload, policy: &Policy) -> Outcome {
    replay(series, workload, policy, &Settings::default())
}

/// A ScaledObject with a RabbitMQ trigger, `spec` being further lines of its spec and `metadata` of its trigger.
fn object(spec: &str, metadata: &str) -> Policy {
    let yaml = format!(
        "{{apiVersion: windlass.dev/v1alpha1, kind: ScaledObject, metadata: {{name: w}}, spec: {{scaleTargetRef: {{name: w}}, \
         {spec}, triggers: [{{type: rabbitmq, metadata: {{host: 'http://h/', queueName: q, {metadata}}}}}]}}}}"
    );
    let object = serde_yaml_ng::from_str(&yaml).expect("a ScaledObject");
    Policy::from_object("w", &object, None).expect("a policy")
}

#[track_caller]
fn close(actual: f64, expected: f64) {
    assert!((actual - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{actual} is not {expected}");
}
