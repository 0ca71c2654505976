//! The five workloads of the demo: what they are, how work comes to them, and what befalls them. Data only.

use serde_json::{Value, json};
use windlass_kubesim::load::{ArrivalProcess, QueueKey, Rate, Service, TargetKey};
use windlass_rehearsal::Mood;

pub(super) const NAMESPACE: &str = "shop";
const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;

/// One workload.
pub(super) struct Life {
    pub(super) name: &'static str,
    /// What it is, for a person.
    pub(super) about: &'static str,
    pub(super) broker: &'static str,
    /// The most replicas.
    pub(super) max: u32,
    /// Messages for each replica.
    target: u32,
    /// Seconds between readings.
    polling: u32,
    /// How long a pod takes to become ready.
    ready: &'static str,
    /// Messages a second that a pod works off.
    per_pod: f64,
    rate: fn() -> Rate,
    /// What befalls its broker, from which hour to which.
    pub(super) mishap: Option<(f64, f64, Mood)>,
}

pub(super) const LIVES: [Life; 5] = [
    Life {
        name: "checkout",
        about: "a daily rhythm",
        broker: "rabbit-a",
        max: 12,
        target: 20,
        polling: 5,
        ready: "4000",
        per_pod: 2.0,
        rate: || {
            Rate::Sum(vec![
                Rate::Daily { low: 0.5, high: 14.0, period: DAY, peak_at: 12.0 * HOUR, sharpness: 2 },
                Rate::Daily { low: 0.0, high: 9.0, period: DAY, peak_at: 20.0 * HOUR, sharpness: 8 },
            ])
        },
        mishap: None,
    },
    Life {
        name: "thumbnails",
        about: "bursts",
        broker: "rabbit-a",
        max: 12,
        target: 50,
        polling: 5,
        ready: "3000",
        per_pod: 4.0,
        rate: || Rate::Bursts { low: 0.0, high: 30.0, every: 1.5 * HOUR, lasts: 240.0, first_at: 300.0 },
        mishap: None,
    },
    Life {
        name: "reports",
        about: "a trickle",
        broker: "rabbit-a",
        max: 3,
        target: 1,
        polling: 10,
        ready: "15000",
        per_pod: 0.02,
        rate: || Rate::Trickle { every: 2400.0 },
        mishap: None,
    },
    Life {
        name: "invoices",
        about: "its broker refuses from 10 to 11",
        broker: "rabbit-b",
        max: 10,
        target: 10,
        polling: 10,
        ready: "8000",
        per_pod: 1.0,
        rate: || Rate::Daily { low: 1.0, high: 6.0, period: DAY, peak_at: 13.0 * HOUR, sharpness: 1 },
        mishap: Some((10.0, 11.0, Mood::Refuses)),
    },
    Life {
        name: "mail",
        about: "its source hangs from 16 to 17",
        broker: "rabbit-c",
        max: 8,
        target: 10,
        polling: 10,
        ready: "5000",
        per_pod: 1.0,
        rate: || Rate::Constant { per_second: 3.5 },
        mishap: Some((16.0, 17.0, Mood::Silent)),
    },
];

impl Life {
    pub(super) fn queue(&self) -> QueueKey {
        QueueKey::new(self.broker, "/", self.name)
    }

    pub(super) fn workers(&self) -> TargetKey {
        TargetKey::new(NAMESPACE, "Deployment", self.name)
    }

    pub(super) fn arrivals(&self) -> ArrivalProcess {
        ArrivalProcess::poisson((self.rate)())
    }

    pub(super) fn service(&self) -> Service {
        Service::per_pod(self.per_pod)
    }

    /// The Deployment and the scaled object.
    pub(super) fn manifests(&self) -> [Value; 2] {
        let labels = json!({"app": self.name});
        let ready = json!({"kubesim/ready-ms": self.ready});
        [
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": self.name, "namespace": NAMESPACE},
                "spec": {
                    "replicas": 0, "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels, "annotations": ready},
                        "spec": {"containers": [{"name": "worker", "image": "worker"}]},
                    },
                },
            }),
            json!({
                "apiVersion": "windlass.dev/v1alpha1", "kind": "ScaledObject",
                "metadata": {"name": self.name, "namespace": NAMESPACE},
                "spec": {
                    "scaleTargetRef": {"name": self.name}, "maxReplicaCount": self.max, "pollingInterval": self.polling,
                    "triggers": [{"type": "rabbitmq", "metadata": {
                        "host": format!("amqp://demo:demo@{}:5672/", self.broker), "queueName": self.name,
                        "mode": "QueueLength", "value": self.target.to_string(),
                    }}],
                },
            }),
        ]
    }
}
