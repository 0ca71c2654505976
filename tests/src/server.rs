//! A server of the tests that a script or a program runs in the foreground: started, frozen, killed and started again on the
//! same ports. What it serves is its owner's matter (`kafka`, `sqs`, `prometheus`).

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;

use crate::eventually;
use crate::process::Process;

/// How long a server may take to come up on a busy machine, where its script has to fetch it first.
const START: Duration = Duration::from_secs(240);

/// How a server says that it is ready.
#[derive(Debug)]
pub enum Ready {
    /// It writes these words into its log, once at each start.
    Says(&'static str),
    /// It answers this URL, whatever it answers.
    Answers(String),
}

/// A running server. Dropped: killed, since its folder is thrown away.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    command: Command,
    log: PathBuf,
    ready: Ready,
    starts: usize,
    process: Process,
}

impl Server {
    /// Starts it, its output going to `log`, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come up; with the end of its log.
    pub async fn start(name: &'static str, command: Command, log: PathBuf, ready: Ready) -> anyhow::Result<Self> {
        let process = spawn(name, &command, &log)?;
        let this = Self { name, command, log, ready, starts: 1, process };
        this.wait_ready().await?;
        Ok(this)
    }

    /// Kills it if it still runs, starts it again and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.process.kill9()?;
        self.process = spawn(self.name, &self.command, &self.log)?;
        self.starts += 1;
        self.wait_ready().await
    }

    /// The process: pid, signals, log.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn kill9(&self) -> anyhow::Result<()> {
        self.process.kill9()
    }

    /// Freezes it: connections stay open and silent, new ones are accepted by the kernel and never answered.
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

    async fn wait_ready(&self) -> anyhow::Result<()> {
        let start = tokio::time::Instant::now();
        while !self.is_ready().await {
            self.process.ensure_running()?;
            ensure!(start.elapsed() < START, "{} is not ready after {START:?}: see {}", self.name, self.log.display());
            tokio::time::sleep(eventually::POLL).await;
        }
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        match &self.ready {
            Ready::Says(words) => self.process.log().matches(words).count() >= self.starts,
            Ready::Answers(url) => reqwest::Client::new().get(url).timeout(Duration::from_secs(5)).send().await.is_ok(),
        }
    }
}

fn spawn(name: &str, command: &Command, log: &std::path::Path) -> anyhow::Result<Process> {
    Ok(Process::spawn(name, command, log, None)?.with_grace(Duration::ZERO))
}
