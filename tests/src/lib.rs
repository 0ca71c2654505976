//! Helpers of the test suites: a real Kubernetes control plane, real brokers, the operator as a process, and the
//! records by which a test judges them (audit log, timeline of replicas).
//!
//! Nothing here decides whether the product is right: helpers start, stop, break and observe, tests assert. Every
//! helper that can fail returns an error that says what to do; every wait has a deadline. Child processes die with
//! the test process, whatever ends it.

mod admin;
pub mod audit;
pub mod broker;
pub mod clock;
pub mod conformance;
pub mod consumer;
pub mod disasters;
pub mod duplicates;
pub mod eventually;
pub mod fake_http;
pub mod fault_proxy;
pub mod forwarder;
pub mod hpa_timelines;
pub mod install;
pub mod kafka;
pub mod kdc;
pub mod keda;
pub mod namespace;
pub mod objects;
pub mod operator;
pub mod paths;
pub mod pki;
pub mod ports;
pub mod prober;
pub mod process;
pub mod program;
pub mod prometheus;
pub mod rabbit;
pub mod replica_log;
pub mod rig;
pub mod runtime;
pub mod scratch;
pub mod server;
pub mod shared;
pub mod sqs;

pub use audit::{Audit, Entry};
pub use broker::Broker;
pub use clock::now;
pub use consumer::Consumer;
pub use duplicates::duplicate_writes;
pub use eventually::{eventually, never};
pub use fake_http::{Answer, FakeHttp};
pub use fault_proxy::{FaultProxy, Mode};
pub use forwarder::Forwarder;
pub use install::Manifests;
pub use kafka::Kafka;
pub use kdc::Kdc;
pub use namespace::Namespace;
pub use operator::{Operator, OperatorOptions, binary};
pub use prober::{Prober, Sample};
pub use prometheus::Prometheus;
pub use rabbit::{Rabbit, RabbitOptions};
pub use replica_log::{ReplicaLog, Row};
pub use rig::{Rig, RigOptions};
pub use runtime::{run, run_within};
pub use server::Server;
pub use shared::{Shared, shared, shared_rabbit, shared_rig};
pub use sqs::Sqs;

/// Namespace of the operator, its Lease, its metrics Service and its ServiceAccount.
pub const SYSTEM_NAMESPACE: &str = "windlass-system";
/// Name of the operator's ServiceAccount, ClusterRole, Lease and Deployment.
pub const NAME: &str = "windlass";
/// Name of the metrics Service and of the EndpointSlice the leader writes.
pub const METRICS_SERVICE: &str = "windlass-metrics";
/// The operator as the audit log names it.
pub const OPERATOR_USER: &str = "system:serviceaccount:windlass-system:windlass";
/// The HPA controller as the audit log names it.
pub const HPA_USER: &str = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";
/// The API group of the project's resources.
pub const GROUP: &str = "windlass.dev";
