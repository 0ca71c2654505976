//! `windlass operator`: turns flags and environment into the operator's options, starts logging, and stops on a signal.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use ipnet::IpNet;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use windlass_operator::clock::{SystemClock, entropy};
use windlass_operator::lease::Timing;
use windlass_operator::{
    Dependencies, NetworkPolicy, Options, Process, Serve, SourceDependencies, connect, run as operate,
};

/// Settings of one replica. Each can be given by its environment variable too.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  windlass operator                                        in a pod, with its ServiceAccount
  windlass operator --kubeconfig ~/.kube/config --advertise-address 192.0.2.10
                                                           outside; the address must be reachable for the API server
  windlass operator --keda-compat                          serve KEDA's objects too
  windlass operator --watch-namespaces team-a,team-b       serve two namespaces only")]
pub(crate) struct Args {
    /// Kubeconfig to use instead of the pod's ServiceAccount or the default one.
    #[arg(long, env = "WINDLASS_KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// Namespace of the operator's own objects: Lease, certificate Secret, metrics Service.
    #[arg(long, env = "WINDLASS_NAMESPACE", default_value = "windlass-system")]
    namespace: String,
    /// Name of this replica in the Lease; must be unique to it and stay the same when its container restarts.
    /// [default: $POD_NAME, else the host name]
    #[arg(long, env = "WINDLASS_IDENTITY")]
    identity: Option<String>,
    /// Serve objects of keda.sh/v1alpha1 as well, as KEDA does, where these types are installed. While KEDA itself runs,
    /// they are left to it.
    #[arg(long, env = "WINDLASS_KEDA_COMPAT")]
    keda_compat: bool,
    /// Serve metrics under KEDA's names (`keda_...`) as well, for dashboards and alerts that were written for KEDA.
    /// [default: as --keda-compat]
    #[arg(long, env = "WINDLASS_KEDA_METRICS", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    keda_metrics: Option<bool>,
    /// Namespaces to serve, separated by commas. [default: all]
    #[arg(long, env = "WINDLASS_WATCH_NAMESPACES", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// Where /healthz, /readyz and /metrics are served, in plain HTTP.
    #[arg(long, env = "WINDLASS_HEALTH_ADDRESS", default_value = "0.0.0.0:8080")]
    health_address: SocketAddr,
    /// Where the external metrics API is served, with TLS.
    #[arg(long, env = "WINDLASS_METRICS_ADDRESS", default_value = "0.0.0.0:6443")]
    metrics_address: SocketAddr,
    /// IP address by which the API server reaches this replica. [default: $POD_IP]
    #[arg(long, env = "WINDLASS_ADVERTISE_ADDRESS")]
    advertise_address: Option<IpAddr>,
    /// Port by which the API server reaches this replica. [default: the port of --metrics-address]
    #[arg(long, env = "WINDLASS_ADVERTISE_PORT")]
    advertise_port: Option<u16>,
    /// Serving certificate in PEM, renewed by somebody else; without it the leader makes and renews one.
    #[arg(long, env = "WINDLASS_TLS_CERT_FILE", requires = "tls_key_file")]
    tls_cert_file: Option<PathBuf>,
    /// Key of --tls-cert-file in PEM.
    #[arg(long, env = "WINDLASS_TLS_KEY_FILE", requires = "tls_cert_file")]
    tls_key_file: Option<PathBuf>,
    /// How long a Lease that is not renewed keeps stand-bys out.
    #[arg(long, env = "WINDLASS_LEASE_DURATION", default_value = "15s", value_parser = duration)]
    lease_duration: Duration,
    /// How long after its last renewal the leader may still write.
    #[arg(long, env = "WINDLASS_RENEW_DEADLINE", default_value = "10s", value_parser = duration)]
    renew_deadline: Duration,
    /// How often the leader renews the Lease.
    #[arg(long, env = "WINDLASS_RETRY_PERIOD", default_value = "2s", value_parser = duration)]
    retry_period: Duration,
    /// How long an activation waits for its pods before the HPA may follow the metric down.
    #[arg(long, env = "WINDLASS_STARTUP_LIMIT", default_value = "5m", value_parser = duration)]
    startup_limit: Duration,
    /// Where webhooks are received, in plain HTTP, for example 0.0.0.0:8090; needs --data-dir. [default: nowhere]
    #[arg(long, env = "WINDLASS_WEBHOOK_ADDRESS", requires = "data_dir")]
    webhook_address: Option<SocketAddr>,
    /// Folder in which received webhooks are kept: on a volume that all replicas share, so that none is lost in a take-over.
    #[arg(long, env = "WINDLASS_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Folder in which filePath of a ClusterTriggerAuthentication names files. [default: none, and such files are not read]
    #[arg(long, env = "WINDLASS_FILEPATH_AUTH_ROOT_PATH")]
    filepath_auth_root_path: Option<PathBuf>,
    /// Networks that triggers may name although they are kept from them by default, separated by commas: 127.0.0.0/8 for
    /// all, shop=169.254.10.0/24 for the objects of the namespace shop. By default link-local and metadata addresses are
    /// kept from them, and in a pod loopback addresses too.
    #[arg(long, env = "WINDLASS_ALLOW_SOURCE_NETWORKS", value_delimiter = ',', value_name = "[NAMESPACE=]NETWORK")]
    allow_source_networks: Vec<Allowed>,
    /// Networks that triggers may never name, separated by commas.
    #[arg(long, env = "WINDLASS_DENY_SOURCE_NETWORKS", value_delimiter = ',')]
    deny_source_networks: Vec<IpNet>,
    /// Shape of the log lines.
    #[arg(long, env = "WINDLASS_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// What is logged: a level, or directives such as `info,windlass_operator=debug`.
    #[arg(long, env = "WINDLASS_LOG_LEVEL", default_value = "info")]
    log_level: String,
}

/// A network that is allowed: to all, or to the objects of one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Allowed {
    namespace: Option<String>,
    network: IpNet,
}

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, network) = match text.split_once('=') {
            Some((namespace, network)) => (Some(namespace.trim()), network),
            None => (None, text),
        };
        if namespace.is_some_and(str::is_empty) {
            return Err("the namespace before = is missing; write shop=10.0.0.0/8, or 10.0.0.0/8 for all".to_owned());
        }
        let network = network.trim().parse().map_err(|error| format!("{error}; write a network such as 10.0.0.0/8"))?;
        Ok(Self { namespace: namespace.map(str::to_owned), network })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `1h`, `5m`, `15s`, `500ms`, or several of them together.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{why}; write a time such as 15s, 500ms or 5m");
    let span: jiff::SignedDuration = text.parse().map_err(|error: jiff::Error| wrong(&error))?;
    Duration::try_from(span).map_err(|_| wrong(&"a time cannot be negative"))
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    start_logging(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(operator(args))
}

async fn operator(args: Args) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let client = client(args.kubeconfig.as_deref()).await?;
    let policy = network_policy(&args);
    let options = Options { source_zones: policy.zones().map(str::to_owned).collect(), ..options(args)? };
    let clock = Arc::new(SystemClock);
    let network = Arc::new(kept_from_ourselves(policy, &options));
    let hub = Arc::default();
    let sources =
        SourceDependencies { clock: clock.clone(), deadline: options.read_deadline, network, hub: Arc::clone(&hub) };
    let connect = Arc::new(move |connection: &_, zone: &_| connect(connection, &sources.within(zone)));
    let (serve, process) = (Serve::Sockets, Process::default());
    let dependencies = Dependencies { client, clock, seed: entropy(), hub, connect, serve, process };
    Box::pin(operate(options, dependencies, stop)).await.context("run the operator")
}

/// What sources may connect to. Outside of a pod, loopback is where a developer's brokers are; inside, it is the pod itself.
fn network_policy(args: &Args) -> NetworkPolicy {
    let api_server = std::env::var("KUBERNETES_SERVICE_HOST").ok();
    let in_pod = api_server.is_some() && args.kubeconfig.is_none();
    let mut policy = NetworkPolicy::default().allow_loopback(!in_pod);
    for Allowed { namespace, network } in &args.allow_source_networks {
        policy = match namespace {
            Some(namespace) => policy.allow_in(namespace, *network),
            None => policy.allow(*network),
        };
    }
    for network in &args.deny_source_networks {
        policy = policy.deny(*network);
    }
    if let Some(address) = api_server.and_then(|address| address.parse::<IpAddr>().ok()) {
        policy = policy.deny(IpNet::from(address));
    }
    policy
}

/// The operator's own ports answer more to itself than to others.
fn kept_from_ourselves(policy: NetworkPolicy, options: &Options) -> NetworkPolicy {
    let advertised = options.advertise_address.into_iter();
    let own = advertised.flat_map(|address| {
        let ports =
            [options.health_address.port(), options.advertise_port.unwrap_or_else(|| options.metrics_address.port())];
        ports.map(|port| SocketAddr::new(address, port))
    });
    let ports = [options.health_address, options.metrics_address].into_iter().chain(options.webhook_address);
    ports.chain(own).fold(policy, NetworkPolicy::deny)
}

/// A client that does not retry by itself: a write may leave only while this replica leads.
pub(crate) async fn client(kubeconfig: Option<&std::path::Path>) -> anyhow::Result<kube::Client> {
    let mut config = match kubeconfig {
        Some(path) => {
            let file = kube::config::Kubeconfig::read_from(path)
                .with_context(|| format!("read the kubeconfig {} (--kubeconfig)", path.display()))?;
            kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default())
                .await
                .with_context(|| format!("use the kubeconfig {} (--kubeconfig)", path.display()))?
        }
        None => kube::Config::infer()
            .await
            .context("find a cluster: give --kubeconfig, set KUBECONFIG, or run in a pod with a ServiceAccount")?,
    };
    config.default_retry = false;
    config.headers.push(("user-agent".try_into()?, concat!("windlass/", env!("CARGO_PKG_VERSION")).try_into()?));
    config.connect_timeout = Some(Duration::from_secs(5));
    kube::Client::try_from(config).context("make a client for the API server")
}

fn options(args: Args) -> anyhow::Result<Options> {
    // In full, so that a new flag cannot be forgotten.
    let Args {
        kubeconfig: _,
        namespace,
        identity,
        keda_compat,
        keda_metrics,
        watch_namespaces,
        health_address,
        metrics_address,
        advertise_address,
        advertise_port,
        tls_cert_file,
        tls_key_file,
        lease_duration,
        renew_deadline,
        retry_period,
        startup_limit,
        webhook_address,
        data_dir,
        filepath_auth_root_path,
        allow_source_networks: _,
        deny_source_networks: _,
        log_format: _,
        log_level: _,
    } = args;
    let identity = identity
        .or_else(|| std::env::var("POD_NAME").ok())
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .context("name this replica: set --identity or POD_NAME")?;
    let advertise_address = match (advertise_address, std::env::var("POD_IP")) {
        (Some(address), _) => address,
        (None, Ok(address)) => address.parse().with_context(|| format!("read POD_IP: {address:?} is no IP address"))?,
        (None, Err(_)) => {
            bail!("tell where the API server reaches this replica: set --advertise-address or POD_IP")
        }
    };
    let timing = Timing::try_new(lease_duration, renew_deadline, retry_period)
        .context("check --lease-duration, --renew-deadline and --retry-period")?;
    Ok(Options {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        namespace,
        identity,
        keda_compat,
        keda_metrics: keda_metrics.unwrap_or(keda_compat),
        watch_namespaces: watch_namespaces.into_iter().filter(|namespace| !namespace.is_empty()).collect(),
        health_address,
        metrics_address,
        advertise_address: Some(advertise_address),
        advertise_port,
        tls_files: tls_cert_file.zip(tls_key_file),
        timing,
        startup_limit,
        webhook_address,
        data_dir,
        auth_files: filepath_auth_root_path,
        ..Options::default()
    })
}

fn start_logging(args: &Args) -> anyhow::Result<()> {
    // The AMQP client logs as an error what is an answer to us: a queue that is not there.
    let quiet = if args.log_level.contains("lapin") { "" } else { ",lapin=off" };
    let filter = EnvFilter::try_new(format!("{}{quiet}", args.log_level))
        .with_context(|| format!("read --log-level: {:?} is neither a level nor directives", args.log_level))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}

pub(crate) fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                biased;
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if first {
                stop.cancel();
            } else {
                // A second signal means now.
                std::process::exit(130);
            }
        }
    });
    Ok(())
}
