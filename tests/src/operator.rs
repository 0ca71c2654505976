//! The operator as a process of its own: started with its documented flags and the rights of its ServiceAccount.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};

use crate::process::Process;
use crate::{Rig, eventually, paths, ports, scratch};

/// What a test may choose about an operator.
#[derive(Debug, Clone, Default)]
pub struct OperatorOptions {
    /// Its identity in the Lease; default `windlass-<n>`.
    pub identity: Option<String>,
    /// The address it puts into the EndpointSlice; default one that no other operator of the rig has.
    pub advertise_address: Option<Ipv4Addr>,
    /// How it reaches the API server; default: the ServiceAccount's token.
    pub kubeconfig: Option<PathBuf>,
    /// More flags of `windlass operator`.
    pub args: Vec<String>,
    /// More environment.
    pub env: Vec<(String, String)>,
}

impl OperatorOptions {
    /// With this identity.
    #[must_use]
    pub fn named(identity: &str) -> Self {
        Self { identity: Some(identity.to_owned()), ..Self::default() }
    }

    /// With one more flag, given whole.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }
}

/// A running operator. Dropped: SIGTERM, then SIGKILL.
#[derive(Debug)]
pub struct Operator {
    identity: String,
    health_port: u16,
    metrics_port: u16,
    advertised: SocketAddr,
    command: Command,
    log: PathBuf,
    process: Process,
}

impl Operator {
    /// Starts an operator; it is not waited for, see [`Operator::wait_ready`].
    ///
    /// # Errors
    /// When the binary is not built, or the manifests are not installed.
    pub async fn start(rig: &Rig, options: OperatorOptions) -> anyhow::Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let identity = options.identity.unwrap_or_else(|| format!("windlass-{number}"));
        let kubeconfig = match options.kubeconfig {
            Some(file) => file,
            None => rig.operator_kubeconfig().await?.to_owned(),
        };
        let (health_port, metrics_port) = (ports::single()?, ports::single()?);
        let address = options.advertise_address.unwrap_or_else(|| rig.advertised_address());
        let advertised = SocketAddr::from((address, metrics_port));
        let mut command = Command::new(binary()?);
        // Nothing of the caller's environment may steer the operator.
        for (key, _) in std::env::vars_os() {
            let key_text = key.to_string_lossy();
            if key_text.starts_with("WINDLASS_") || ["KUBECONFIG", "POD_IP", "RUST_LOG"].contains(&&*key_text) {
                command.env_remove(&key);
            }
        }
        command
            .arg("operator")
            .args(["--kubeconfig", &kubeconfig.to_string_lossy()])
            .args(["--namespace", crate::SYSTEM_NAMESPACE])
            .args(["--identity", &identity])
            .args(["--health-address", &format!("127.0.0.1:{health_port}")])
            .args(["--metrics-address", &format!("127.0.0.1:{metrics_port}")])
            .args(["--advertise-address", &address.to_string()])
            .args(&options.args)
            .env("RUST_BACKTRACE", "1")
            .envs(options.env);
        let log = scratch::dir("operator")?.join(format!("{identity}.log"));
        rig.forwarder().register(advertised, metrics_port);
        let process = Process::spawn(&identity, &command, &log, None)?;
        Ok(Self { identity, health_port, metrics_port, advertised, command, log, process })
    }

    /// Kills the process if it still runs and starts it again: same identity, flags and ports, same log file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.process.kill9()?;
        self.process = Process::spawn(&self.identity, &self.command, &self.log, None)?;
        Ok(())
    }

    /// Waits until `/readyz` answers 200.
    ///
    /// # Errors
    /// When it does not within `deadline`, or the process has ended; with the end of its log.
    pub async fn wait_ready(&self, deadline: Duration) -> anyhow::Result<()> {
        let end = tokio::time::Instant::now() + deadline;
        let url = format!("{}/readyz", self.health_url());
        loop {
            self.process.ensure_running()?;
            let slice = Duration::from_secs(1);
            let ready = eventually(slice, "the operator is ready", async || {
                let answer = reqwest::Client::new().get(&url).timeout(slice).send().await?;
                let status = answer.status();
                ensure!(status.is_success(), "{status}: {}", answer.text().await?);
                Ok(())
            })
            .await;
            match ready {
                Ok(()) => return Ok(()),
                Err(error) if tokio::time::Instant::now() >= end => {
                    return Err(error).with_context(|| {
                        format!("{} is not ready after {deadline:?}; log {}", self.identity, self.log.display())
                    });
                }
                Err(_) => {}
            }
        }
    }

    /// Waits until the Lease names this operator.
    ///
    /// # Errors
    /// When it does not within `deadline`.
    pub async fn wait_leading(&self, rig: &Rig, deadline: Duration) -> anyhow::Result<()> {
        eventually(deadline, &format!("{} leads", self.identity), async || {
            let holder = rig.lease_holder().await?;
            ensure!(holder.as_ref() == Some(&self.identity), "the lease is held by {holder:?}");
            Ok(())
        })
        .await
    }

    /// Its identity in the Lease.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The process: pid, signals, memory, processor time, log.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The endpoint it advertises.
    #[must_use]
    pub fn advertised(&self) -> SocketAddr {
        self.advertised
    }

    /// The port of its external metrics server on loopback.
    #[must_use]
    pub fn metrics_port(&self) -> u16 {
        self.metrics_port
    }

    /// `http://127.0.0.1:PORT` of healthz, readyz and metrics.
    #[must_use]
    pub fn health_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.health_port)
    }

    /// The text of its `/metrics`.
    ///
    /// # Errors
    /// When it does not answer within 5 s.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let request = reqwest::Client::new().get(format!("{}/metrics", self.health_url()));
        Ok(request.timeout(Duration::from_secs(5)).send().await?.error_for_status()?.text().await?)
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn kill9(&self) -> anyhow::Result<()> {
        self.process.kill9()
    }

    /// Freezes it.
    ///
    /// # Errors
    /// When it has ended.
    pub fn sigstop(&self) -> anyhow::Result<()> {
        self.process.signal("STOP")
    }

    /// Thaws it.
    ///
    /// # Errors
    /// When it has ended.
    pub fn sigcont(&self) -> anyhow::Result<()> {
        self.process.signal("CONT")
    }

    /// SIGTERM, and waits until it has ended by itself.
    ///
    /// # Errors
    /// When it has not within `deadline`.
    pub async fn sigterm_and_wait(&self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        self.process.signal("TERM")?;
        self.process.wait(deadline).await
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn rss_bytes(&self) -> anyhow::Result<u64> {
        self.process.rss_bytes()
    }

    /// Processor time used since its start, in seconds.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.process.cpu_seconds()
    }

    /// All it has logged, over restarts too.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// `WINDLASS_BIN`, else `windlass` of the profile that the running executable was built with.
///
/// # Errors
/// When it is not built.
pub fn binary() -> anyhow::Result<PathBuf> {
    if let Some(file) = std::env::var_os("WINDLASS_BIN").map(PathBuf::from) {
        ensure!(file.is_file(), "WINDLASS_BIN names no file: {}", file.display());
        return Ok(file);
    }
    let test = std::env::current_exe()?;
    // A test is target/<profile>/deps/<test>, a program target/<profile>/<program>.
    let folder = test.parent().context("the executable lies in no folder")?;
    let profile = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let file = profile.join("windlass");
    ensure!(file.is_file(), "no {}: run cargo build -p windlass, or set WINDLASS_BIN", file.display());
    let built = file.metadata()?.modified()?;
    for part in ["api", "cli", "ml", "operator", "sources"] {
        if let Some(newer) = newer_source(&paths::root().join(part), built) {
            eprintln!("warning: {} is newer than the binary: run cargo build -p windlass", newer.display());
        }
    }
    Ok(file)
}

/// A source file below `dir` that was changed after `built`.
fn newer_source(dir: &Path, built: SystemTime) -> Option<PathBuf> {
    std::fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).find_map(|path| {
        if path.is_dir() {
            return newer_source(&path, built);
        }
        let changed = path.metadata().and_then(|metadata| metadata.modified()).ok()?;
        (path.extension().is_some_and(|e| e == "rs") && changed > built).then_some(path)
    })
}
