//! A KDC of MIT Kerberos on loopback, of the realm RIG: what a Kafka broker takes tickets of.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::server::{Ready, Server};
use crate::{paths, ports, scratch};

/// The realm.
pub const REALM: &str = "RIG";
/// A principal that a broker lets do all.
pub const READER: &str = "reader";

/// A running KDC.
#[derive(Debug)]
pub struct Kdc {
    dir: PathBuf,
    server: Server,
}

/// To freeze it, to kill it and to start it again: its principals stay.
impl AsMut<Server> for Kdc {
    fn as_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl Kdc {
    /// Starts one and waits until it listens.
    ///
    /// # Errors
    /// When it is not installed, or does not come up.
    pub async fn start() -> anyhow::Result<Self> {
        let script = paths::brokers().join("kerberos/run.sh");
        ensure!(script.is_file(), "no {}: WINDLASS_BROKERS names another folder", script.display());
        let dir = scratch::dir("kdc")?;
        let mut command = Command::new(script);
        command.arg(&dir).arg(ports::single()?.to_string());
        let server = Server::start("kdc", command, dir.join("run.log"), Ready::Says("krb5kdc: starting...")).await?;
        Ok(Self { dir, server })
    }

    /// Where its files are: what a broker is to be told.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A `krb5.conf` that leads to it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn conf(&self) -> anyhow::Result<String> {
        fs::read_to_string(self.dir.join("krb5.conf")).context("krb5.conf")
    }

    /// The keytab of [`READER`].
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn keytab(&self) -> anyhow::Result<Vec<u8>> {
        fs::read(self.dir.join("reader.keytab")).context("reader.keytab")
    }
}
