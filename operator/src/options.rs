//! What a person may set. The command line fills it; nothing here reads the environment.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::lease::Timing;

/// The settings of one replica of the operator.
#[derive(Debug, Clone)]
pub struct Options {
    /// Version for `windlass_build_info`.
    pub version: String,
    /// The namespace of the operator's own objects: Lease, Secret, Service.
    pub namespace: String,
    /// The name of this replica in the Lease: unique to it, and the same after a restart of its container.
    pub identity: String,
    /// Whether objects of KEDA's group are served too.
    pub keda_compat: bool,
    /// Whether metrics have KEDA's names too.
    pub keda_metrics: bool,
    /// The namespaces that are served; empty for all.
    pub watch_namespaces: Vec<String>,
    /// The namespaces whose sources have rules of their own about what they may connect to.
    pub source_zones: BTreeSet<String>,
    /// The folder that files of credentials (`filePath` of an authentication) may be in; `None` reads none.
    pub auth_files: Option<PathBuf>,
    /// Where health and metrics are served.
    pub health_address: SocketAddr,
    /// Where the external metrics API is served.
    pub metrics_address: SocketAddr,
    /// Where webhooks are received, in plain HTTP; `None` receives none.
    pub webhook_address: Option<SocketAddr>,
    /// Where received webhooks are kept; without it none are received.
    pub data_dir: Option<PathBuf>,
    /// The address by which the API server reaches this replica; `None` publishes nothing, for tests of other parts.
    pub advertise_address: Option<IpAddr>,
    /// The port by which the API server reaches this replica; `None` for that of `metrics_address`.
    pub advertise_port: Option<u16>,
    /// Serving certificate and key, renewed by somebody else; `None` lets the leader make and renew them.
    pub tls_files: Option<(PathBuf, PathBuf)>,
    /// The times of the election.
    pub timing: Timing,
    /// How long an activation waits for its pods before the HPA may follow the metric down.
    pub startup_limit: Duration,
    /// How long one reading of a source may take.
    pub read_deadline: Duration,
    /// How long one write to Kubernetes may take.
    pub write_deadline: Duration,
}

impl Options {
    /// Whether webhooks are received.
    #[must_use]
    pub const fn receives_webhooks(&self) -> bool {
        self.webhook_address.is_some() && self.data_dir.is_some()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            namespace: "windlass-system".to_owned(),
            identity: "windlass".to_owned(),
            keda_compat: false,
            keda_metrics: false,
            watch_namespaces: Vec::new(),
            source_zones: BTreeSet::new(),
            auth_files: None,
            health_address: SocketAddr::from(([0, 0, 0, 0], 8080)),
            metrics_address: SocketAddr::from(([0, 0, 0, 0], 6443)),
            webhook_address: None,
            data_dir: None,
            advertise_address: None,
            advertise_port: None,
            tls_files: None,
            timing: Timing::default(),
            startup_limit: Duration::from_secs(300),
            read_deadline: Duration::from_secs(3),
            write_deadline: Duration::from_secs(5),
        }
    }
}
