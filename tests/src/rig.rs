//! A real Kubernetes control plane as a test holds it: started, asked, broken and stopped.
//!
//! The programs come from `WINDLASS_RIG_BIN`, else from the folder that `tests/cluster/build.sh` prints last.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::api::{ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::admin::Admin;
use crate::process::{Process, signal_pid};
use crate::{Audit, Forwarder, Namespace, eventually, ports, scratch};

/// How long a control plane may take to come up on a busy machine.
const START: Duration = Duration::from_secs(180);

/// What a test may choose about a control plane.
#[derive(Debug, Clone)]
pub struct RigOptions {
    /// How often the HPA controller looks.
    pub hpa_sync: Duration,
    /// The HPA controller's default window of scale-down stabilisation.
    pub hpa_stabilisation: Duration,
    /// Scheduler and kubelet; without them no pod ever runs, and half the memory is enough.
    pub pods: bool,
    /// The server of CPU and memory figures.
    pub metrics_server: bool,
    /// More flags of `rig up`.
    pub args: Vec<String>,
}

impl Default for RigOptions {
    /// A quick HPA: sync 2 s, stabilisation 10 s.
    fn default() -> Self {
        Self {
            hpa_sync: Duration::from_secs(2),
            hpa_stabilisation: Duration::from_secs(10),
            pods: true,
            metrics_server: false,
            args: Vec::new(),
        }
    }
}

impl RigOptions {
    /// The defaults of Kubernetes: sync 15 s, stabilisation 5 min.
    #[must_use]
    pub fn product() -> Self {
        Self { hpa_sync: Duration::from_secs(15), hpa_stabilisation: Duration::from_mins(5), ..Self::default() }
    }

    /// API server and controllers only: no pod runs.
    #[must_use]
    pub fn without_pods() -> Self {
        Self { pods: false, ..Self::default() }
    }
}

/// One program of the control plane, as `state.json` has it.
#[derive(Debug, Clone, Deserialize)]
pub struct Component {
    /// `etcd`, `kube-apiserver`, `kube-controller-manager`, `kube-scheduler`, `kwok`, `metrics-server`.
    pub name: String,
    /// Its process id now; another one after it was started again.
    pub pid: u32,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// The file of its log.
    pub log: PathBuf,
}

/// What `rig up` says about itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// URL of the API server.
    pub apiserver: String,
    /// The certificate authority, PEM.
    pub ca: PathBuf,
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// Token file: `token,user,uid,"groups"`.
    pub tokens: PathBuf,
    /// The audit log.
    pub audit_log: PathBuf,
    /// The programs.
    pub components: Vec<Component>,
}

/// A running control plane.
#[derive(Debug)]
pub struct Rig {
    dir: PathBuf,
    state: State,
    client: Admin,
    forwarder: Forwarder,
    audit: Audit,
    operator_kubeconfig: OnceCell<PathBuf>,
    names: AtomicU32,
    addresses: AtomicU8,
    // Last: the helpers above end before the cluster does.
    process: Process,
}

impl Rig {
    /// Starts a control plane and waits until it is ready, with a node that is Ready.
    ///
    /// # Errors
    /// When the programs are not there or do not come up; says where their logs are.
    pub async fn start(options: RigOptions) -> anyhow::Result<Self> {
        let bin = binaries().await?;
        let dir = scratch::dir("rig")?;
        let mut command = Command::new(bin.join("rig"));
        command
            .arg("up")
            .args(["--dir", &dir.to_string_lossy()])
            .args(["--port-base", &ports::block()?.to_string()])
            .args(["--hpa-sync", &format!("{}ms", options.hpa_sync.as_millis())])
            .args(["--hpa-stabilization", &format!("{}ms", options.hpa_stabilisation.as_millis())]);
        if !options.pods {
            command.args(["--kwok", "-", "--scheduler=false"]);
        }
        if !options.metrics_server {
            command.args(["--metrics-server", "-"]);
        }
        command.args(&options.args);
        let ready = dir.join("up.json");
        let process = Process::spawn("rig up", &command, &dir.join("up.log"), Some(&ready))?;

        let start = tokio::time::Instant::now();
        while !std::fs::read_to_string(&ready).is_ok_and(|text| text.ends_with('\n')) {
            process.ensure_running()?;
            ensure!(start.elapsed() < START, "the rig is not ready after {START:?}: see {}", dir.display());
            tokio::time::sleep(eventually::POLL).await;
        }
        let state: State = serde_json::from_str(&std::fs::read_to_string(&ready)?).context("the rig's ready line")?;
        let client = client_from(&state.kubeconfig).await?;
        if options.pods {
            ensure_node(&client).await?;
        }
        let forwarder = Forwarder::start(client.clone()).await?;
        let audit = Audit::new(state.audit_log.clone(), client.clone());
        Ok(Self {
            dir,
            state,
            client: Admin(client),
            forwarder,
            audit,
            operator_kubeconfig: OnceCell::new(),
            names: AtomicU32::new(0),
            addresses: AtomicU8::new(0),
            process,
        })
    }

    /// The administrator's client, without retries of its own.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.0.clone()
    }

    /// What the rig said when it was ready; pids as of then, see [`Rig::component`].
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The folder of its state and logs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder of certificates: `ca.crt`, `adapter.crt`, `adapter.key`, `front-ca.crt`, ...
    #[must_use]
    pub fn pki_dir(&self) -> PathBuf {
        self.dir.join("pki")
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn admin_kubeconfig(&self) -> &Path {
        &self.state.kubeconfig
    }

    /// The way by which the API server reaches the leader's metrics port.
    #[must_use]
    pub fn forwarder(&self) -> &Forwarder {
        &self.forwarder
    }

    /// The audit log.
    #[must_use]
    pub fn audit(&self) -> Audit {
        self.audit.clone()
    }

    /// A component as it runs now.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn component(&self, name: &str) -> anyhow::Result<Component> {
        let state: State = serde_json::from_str(&std::fs::read_to_string(self.dir.join("state.json"))?)?;
        state.components.into_iter().find(|c| c.name == name).with_context(|| format!("the rig runs no {name}"))
    }

    /// Sends a signal (`KILL`, `STOP`, `CONT`, ...) to one component; the rig starts a killed one again.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn signal(&self, component: &str, signal: &str) -> anyhow::Result<()> {
        signal_pid(self.component(component)?.pid, signal)
    }

    /// Fails with the end of its log when the rig has ended.
    ///
    /// # Errors
    /// When it has ended.
    pub fn ensure_running(&self) -> anyhow::Result<()> {
        self.process.ensure_running()
    }

    /// A new namespace whose name starts with `prefix`.
    ///
    /// # Errors
    /// When it cannot be created.
    pub async fn namespace(&self, prefix: &str) -> anyhow::Result<Namespace> {
        let name = format!("{prefix}-{}", self.names.fetch_add(1, Ordering::Relaxed));
        Namespace::create(self.client(), name).await
    }

    /// An address nobody else advertises here. Endpoints on loopback are refused by the API server, so an operator
    /// names this one and the forwarder knows what stands behind it.
    #[must_use]
    pub fn advertised_address(&self) -> std::net::Ipv4Addr {
        std::net::Ipv4Addr::new(10, 99, 0, self.addresses.fetch_add(1, Ordering::Relaxed).wrapping_add(1))
    }

    /// The operator's kubeconfig: a token of its ServiceAccount, so that it has the manifests' rights and no others.
    ///
    /// # Errors
    /// When the ServiceAccount is not there: call [`Rig::install`] first.
    pub async fn operator_kubeconfig(&self) -> anyhow::Result<&Path> {
        let file = self
            .operator_kubeconfig
            .get_or_try_init(|| self.kubeconfig_of(crate::SYSTEM_NAMESPACE, crate::NAME))
            .await?;
        Ok(file)
    }

    /// A kubeconfig of the operator with a token of its own, so that the audit log tells this operator from another:
    /// [`crate::Entry::credential`] is what [`Rig::credential_of`] says.
    ///
    /// # Errors
    /// When the ServiceAccount is not there: call [`Rig::install`] first.
    pub async fn own_operator_kubeconfig(&self, name: &str) -> anyhow::Result<PathBuf> {
        self.token_file(crate::SYSTEM_NAMESPACE, crate::NAME, &format!("operator-{name}")).await
    }

    /// The credential by which the audit log knows who uses this kubeconfig.
    ///
    /// # Errors
    /// When its token is not one of a ServiceAccount.
    pub async fn credential_of(&self, kubeconfig: &Path) -> anyhow::Result<String> {
        let reviews = Api::<SelfSubjectReview>::all(client_from(kubeconfig).await?);
        let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await?;
        let extra = review.status.and_then(|status| status.user_info).and_then(|user| user.extra).unwrap_or_default();
        let id = extra.get(crate::audit::CREDENTIAL).and_then(|ids| ids.first()).cloned();
        id.with_context(|| format!("{} has no token of a ServiceAccount", kubeconfig.display()))
    }

    /// Writes a kubeconfig with a day's token of a ServiceAccount.
    ///
    /// # Errors
    /// When there is no such ServiceAccount.
    pub async fn kubeconfig_of(&self, namespace: &str, service_account: &str) -> anyhow::Result<PathBuf> {
        self.token_file(namespace, service_account, &format!("{namespace}-{service_account}")).await
    }

    async fn token_file(&self, namespace: &str, service_account: &str, file: &str) -> anyhow::Result<PathBuf> {
        let request = TokenRequest {
            spec: TokenRequestSpec { expiration_seconds: Some(86_400), ..TokenRequestSpec::default() },
            ..TokenRequest::default()
        };
        let answer = Api::<ServiceAccount>::namespaced(self.client(), namespace)
            .create_token_request(service_account, &PostParams::default(), &request)
            .await
            .with_context(|| format!("no token for ServiceAccount {namespace}/{service_account}: install first"))?;
        let token = answer.status.context("an answer without a token")?.token;
        let file = self.dir.join(format!("{file}.kubeconfig"));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "rig",
            "clusters": [{"name": "rig", "cluster":
                {"server": self.state.apiserver, "certificate-authority": self.state.ca}}],
            "users": [{"name": "rig", "user": {"token": token}}],
            "contexts": [{"name": "rig", "context": {"cluster": "rig", "user": "rig", "namespace": namespace}}],
        });
        std::fs::write(&file, serde_json::to_vec_pretty(&config)?)?;
        Ok(file)
    }

    /// The operator's Lease; `None` before the first election.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn lease(&self) -> anyhow::Result<Option<Lease>> {
        Ok(Api::namespaced(self.client(), crate::SYSTEM_NAMESPACE).get_opt(crate::NAME).await?)
    }

    /// Who holds the operator's Lease now; `None` when nobody does.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn lease_holder(&self) -> anyhow::Result<Option<String>> {
        let holder = self.lease().await?.and_then(|lease| lease.spec?.holder_identity);
        Ok(holder.filter(|holder| !holder.is_empty()))
    }
}

/// A client from a kubeconfig file, without retries of its own: a test wants to see each answer.
///
/// # Errors
/// When the file cannot be read or understood.
pub async fn client_from(kubeconfig: &Path) -> anyhow::Result<Client> {
    let read = Kubeconfig::read_from(kubeconfig).with_context(|| format!("in {}", kubeconfig.display()))?;
    let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    Ok(Client::try_from(config)?)
}

/// Nodes are just objects; the fake kubelet makes them Ready.
async fn ensure_node(client: &Client) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    if nodes.list(&ListParams::default()).await?.items.is_empty() {
        let labels: BTreeMap<_, _> = [("kubernetes.io/hostname", "n1"), ("kubernetes.io/os", "linux")].into();
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": labels,
                "annotations": {"metrics.k8s.io/resource-metrics-path": "/metrics/nodes/n1/metrics/resource"}},
        }))?;
        match nodes.create(&PostParams::default(), &node).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            other => drop(other.context("cannot create a node")?),
        }
    }
    eventually(Duration::from_secs(60), "a node is Ready", async || {
        let ready = nodes.list(&ListParams::default()).await?.items.into_iter().any(|node| {
            let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
            conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
        });
        ensure!(ready, "no node is");
        Ok(())
    })
    .await
}

/// The folder of `rig` and `kwok`.
async fn binaries() -> anyhow::Result<PathBuf> {
    static BIN: OnceCell<PathBuf> = OnceCell::const_new();
    let find = async || {
        if let Some(dir) = std::env::var_os("WINDLASS_RIG_BIN") {
            return Ok(PathBuf::from(dir));
        }
        let script = crate::paths::root().join("tests/cluster/build.sh");
        let output = tokio::process::Command::new(&script)
            .stderr(std::process::Stdio::inherit())
            .output()
            .await
            .with_context(|| format!("cannot run {}", script.display()))?;
        ensure!(output.status.success(), "{} failed ({})", script.display(), output.status);
        let text = String::from_utf8(output.stdout)?;
        Ok(PathBuf::from(text.lines().last().context("build.sh printed no folder")?.trim()))
    };
    let bin = BIN.get_or_try_init(find).await?;
    let rig = bin.join("rig");
    ensure!(rig.is_file(), "no {}: run tests/cluster/build.sh, or set WINDLASS_RIG_BIN", rig.display());
    Ok(bin.clone())
}
