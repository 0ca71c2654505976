//! Debian's Prometheus on loopback, which scrapes one address five times a second and lets one user in.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;

use crate::server::{Ready, Server};
use crate::{ports, scratch};

/// The only user.
pub const USER: &str = "aladdin";
/// That user's password.
pub const PASSWORD: &str = "sesame";
const PROGRAM: &str = "/usr/bin/prometheus";

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    server: Server,
}

/// To freeze it, to kill it and to start it again: what it has scraped stays.
impl AsMut<Server> for Prometheus {
    fn as_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl Prometheus {
    /// Starts one that scrapes `http://TARGET/metrics` as job `test`, and waits until it answers.
    ///
    /// # Errors
    /// When it is not installed or does not come up.
    pub async fn start(target: SocketAddr) -> anyhow::Result<Self> {
        ensure!(Path::new(PROGRAM).exists(), "no {PROGRAM}: run apt-get install prometheus");
        let dir = scratch::dir("prometheus")?;
        let file = |name: &str| dir.join(name).display().to_string();
        let scrape = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
             scrape_configs: [{{job_name: test, static_configs: [{{targets: ['{target}']}}]}}]\n"
        );
        std::fs::write(file("prometheus.yml"), scrape)?;
        // bcrypt of the password, at the least cost there is.
        let user = format!("{USER}: '$2b$04$abcdefghijklmnopqrstuuinwY/tkBVrn3xrxQI/TgnMHhkvl85RW'");
        std::fs::write(file("web.yml"), format!("basic_auth_users: {{{user}}}\n"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], ports::single()?));
        let mut command = Command::new(PROGRAM);
        command
            .arg(format!("--config.file={}", file("prometheus.yml")))
            .arg(format!("--web.config.file={}", file("web.yml")))
            .arg(format!("--storage.tsdb.path={}", file("data")))
            .arg(format!("--web.listen-address={address}"));
        let ready = Ready::Answers(format!("http://{address}/-/ready"));
        Ok(Self { address, server: Server::start("prometheus", command, dir.join("run.log"), ready).await? })
    }

    /// Where it listens, by plain HTTP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
