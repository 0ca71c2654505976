//! Debian's RabbitMQ as a private node on loopback: AMQP, AMQPS and the management API over HTTP and HTTPS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::future::BoxFuture;
use jiff::Timestamp;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::process::Process;
use crate::{Broker, eventually, paths, pki, ports, scratch};

/// The broker's only user, who may do all.
pub const USER: &str = "guest";
/// That user's password.
pub const PASSWORD: &str = "guest";
/// How long one call to the broker may take.
const CALL: Duration = Duration::from_secs(20);
/// How long the broker may take to come up on a busy machine.
const START: Duration = Duration::from_secs(120);

/// What a test may choose about a broker.
#[derive(Debug, Clone)]
pub struct RabbitOptions {
    /// After how many seconds the management API's counts are refreshed; 5 is the product's default.
    pub stats_secs: u32,
    /// Folder of `ca.crt`, `adapter.crt` and `adapter.key`, e.g. [`crate::Rig::pki_dir`]; default: made for this one.
    pub pki: Option<PathBuf>,
}

impl Default for RabbitOptions {
    fn default() -> Self {
        Self { stats_secs: 1, pki: None }
    }
}

/// A running broker. Dropped: killed, since its folder is thrown away.
#[derive(Debug)]
pub struct Rabbit {
    port_base: u16,
    pki: PathBuf,
    command: Command,
    log: PathBuf,
    connection: Mutex<Option<Connection>>,
    process: Process,
}

impl Rabbit {
    /// Starts a broker and waits until it answers.
    ///
    /// # Errors
    /// When it is not installed or does not come up; with the end of its log.
    pub async fn start(options: RabbitOptions) -> anyhow::Result<Self> {
        let script = paths::brokers().join("rabbitmq/run.sh");
        ensure!(script.is_file(), "no {}: WINDLASS_BROKERS names another folder", script.display());
        let server = Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
        ensure!(server.exists(), "no {}: run apt-get install rabbitmq-server", server.display());
        let dir = scratch::dir("rabbitmq")?;
        let pki = match options.pki {
            Some(dir) => dir,
            None => pki::make(&dir.join("pki"))?,
        };
        let port_base = ports::block()?;
        let mut command = Command::new(script);
        command.arg(&dir).arg(&pki).arg(port_base.to_string()).env("STATS", options.stats_secs.to_string());
        let log = dir.join("run.log");
        let process = spawn(&command, &log)?;
        let rabbit = Self { port_base, pki, command, log, connection: Mutex::new(None), process };
        rabbit.wait_ready().await?;
        Ok(rabbit)
    }

    /// Kills the broker if it still runs, starts it again on the same ports and data, and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.process.kill9()?;
        self.process = spawn(&self.command, &self.log)?;
        self.wait_ready().await
    }

    /// Waits until the management API answers, and AMQP too.
    ///
    /// # Errors
    /// When it has ended, or does not answer in time.
    pub async fn wait_ready(&self) -> anyhow::Result<()> {
        let start = tokio::time::Instant::now();
        while self.management(reqwest::Method::GET, "overview", None).await.is_err() {
            self.process.ensure_running()?;
            ensure!(start.elapsed() < START, "not ready after {START:?}: see {}", self.log.display());
            tokio::time::sleep(eventually::POLL).await;
        }
        eventually(CALL, "the broker takes AMQP connections", async || self.channel().await.map(drop)).await
    }

    /// SIGTERM: an orderly end.
    ///
    /// # Errors
    /// When it has not ended after 60 s.
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.process.signal("TERM")?;
        self.process.wait(Duration::from_mins(1)).await.map(drop)
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

    /// The address of plain AMQP, e.g. for a [`crate::FaultProxy`].
    #[must_use]
    pub fn amqp_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port_base + 2))
    }

    /// The address of the management API over HTTP.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port_base + 3))
    }

    /// `amqp://guest:guest@127.0.0.1:PORT/`: the default virtual host.
    #[must_use]
    pub fn amqp_url(&self) -> String {
        Self::amqp_url_at(self.amqp_address())
    }

    /// The same through another address: a proxy's.
    #[must_use]
    pub fn amqp_url_at(address: SocketAddr) -> String {
        format!("amqp://{USER}:{PASSWORD}@{address}/%2f")
    }

    /// `amqps://guest:guest@localhost:PORT/`; the certificate is of [`Rabbit::ca_pem`].
    #[must_use]
    pub fn amqps_url(&self) -> String {
        format!("amqps://{USER}:{PASSWORD}@localhost:{}/%2f", self.port_base + 1)
    }

    /// `http://guest:guest@127.0.0.1:PORT/` of the management API.
    #[must_use]
    pub fn http_url(&self) -> String {
        Self::http_url_at(self.http_address())
    }

    /// The same through another address: a proxy's.
    #[must_use]
    pub fn http_url_at(address: SocketAddr) -> String {
        format!("http://{USER}:{PASSWORD}@{address}/%2f")
    }

    /// `https://guest:guest@localhost:PORT/` of the management API.
    #[must_use]
    pub fn https_url(&self) -> String {
        format!("https://{USER}:{PASSWORD}@localhost:{}/%2f", self.port_base + 4)
    }

    /// The authority of its serving certificate, PEM.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn ca_pem(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.pki.join("ca.crt"))?)
    }

    /// Makes a quorum queue.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn declare_quorum(&self, queue: &str) -> anyhow::Result<()> {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        self.declare_with(queue, arguments).await
    }

    /// Empties a queue.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn purge(&self, queue: &str) -> anyhow::Result<()> {
        let channel = self.channel().await?;
        timeout(CALL, channel.queue_purge(queue.into(), QueuePurgeOptions::default())).await??;
        Ok(())
    }

    /// Makes many queues, one after the other on one channel.
    ///
    /// # Errors
    /// When the broker refuses one.
    pub async fn declare_all(&self, queues: &[String]) -> anyhow::Result<()> {
        let channel = self.channel().await?;
        for queue in queues {
            let declared =
                channel.queue_declare(queue.as_str().into(), QueueDeclareOptions::durable(), FieldTable::default());
            timeout(CALL, declared).await??;
        }
        Ok(())
    }

    /// Puts `count` messages into each of these queues at one instant: in one transaction. Returns the time just before it
    /// was committed. The messages do not outlive the broker.
    ///
    /// # Errors
    /// When the broker does not take them.
    pub async fn publish_at_once(&self, queues: &[String], count: u64) -> anyhow::Result<Timestamp> {
        let channel = self.channel().await?;
        timeout(CALL, channel.tx_select()).await??;
        for queue in queues {
            for _ in 0..count {
                let sent = channel.basic_publish(
                    "".into(),
                    queue.as_str().into(),
                    BasicPublishOptions::default(),
                    b"work",
                    BasicProperties::default(),
                );
                timeout(CALL, sent).await??;
            }
        }
        let at = crate::now();
        timeout(CALL, channel.tx_commit()).await??;
        Ok(at)
    }

    /// Deletes a queue, with what is in it.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn delete(&self, queue: &str) -> anyhow::Result<()> {
        let channel = self.channel().await?;
        timeout(CALL, channel.queue_delete(queue.into(), QueueDeleteOptions::default())).await??;
        Ok(())
    }

    /// A call of the management API below `/api/`, e.g. `PUT users/u`.
    ///
    /// # Errors
    /// When it does not answer within 20 s, or not with success.
    pub async fn management(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let url = format!("http://{}/api/{path}", self.http_address());
        let mut request = reqwest::Client::new().request(method, &url).basic_auth(USER, Some(PASSWORD)).timeout(CALL);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?.error_for_status()?;
        let bytes = answer.bytes().await?;
        if bytes.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&bytes)?) }
    }

    /// Messages as the management API counts them: some seconds old; `None` while it has no figure yet.
    ///
    /// # Errors
    /// When the queue is not there.
    pub async fn management_count(&self, queue: &str) -> anyhow::Result<Option<u64>> {
        let answer = self.management(reqwest::Method::GET, &format!("queues/%2F/{queue}"), None).await?;
        Ok(answer["messages"].as_u64())
    }

    async fn declare_with(&self, queue: &str, arguments: FieldTable) -> anyhow::Result<()> {
        let channel = self.channel().await?;
        timeout(CALL, channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments)).await??;
        Ok(())
    }

    /// A channel of its own for each call: a refused call closes its channel, never another's.
    async fn channel(&self) -> anyhow::Result<Channel> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = held.as_ref().filter(|connection| connection.status().connected()) {
            return Ok(timeout(CALL, connection.create_channel()).await??);
        }
        let url = self.amqp_url();
        let connect = Connection::connect(&url, ConnectionProperties::default());
        let connection = timeout(CALL, connect).await.context("the broker does not answer over AMQP")??;
        let channel = timeout(CALL, connection.create_channel()).await??;
        *held = Some(connection);
        Ok(channel)
    }
}

impl Broker for Rabbit {
    fn process(&self) -> &Process {
        &self.process
    }

    fn declare<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(self.declare_with(queue, FieldTable::default()))
    }

    fn publish<'a>(&'a self, queue: &'a str, count: u64) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            let channel = self.channel().await?;
            let all = async {
                // Without a confirmation, a message to no queue would vanish without a word.
                let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
                channel.queue_declare(queue.into(), passive, FieldTable::default()).await?;
                // A transaction: they arrive as good as at once, so that who reads meanwhile rarely sees a part of them.
                channel.tx_select().await?;
                let persistent = BasicProperties::default().with_delivery_mode(2);
                for _ in 0..count {
                    let options = BasicPublishOptions::default();
                    channel.basic_publish("".into(), queue.into(), options, b"work", persistent.clone()).await?;
                }
                anyhow::Ok(channel.tx_commit().await?)
            };
            // A message takes far less than a millisecond; the rest is for a busy machine.
            let deadline = CALL + Duration::from_millis(count * 2);
            timeout(deadline, all).await.with_context(|| format!("queue {queue} does not take {count} messages"))?
        })
    }

    fn take<'a>(&'a self, queue: &'a str, count: u64) -> BoxFuture<'a, anyhow::Result<u64>> {
        Box::pin(async move {
            let channel = self.channel().await?;
            let mut taken = 0;
            while taken < count {
                let get = channel.basic_get(queue.into(), BasicGetOptions { no_ack: true });
                if timeout(CALL, get).await??.is_none() {
                    break;
                }
                taken += 1;
            }
            Ok(taken)
        })
    }

    fn backlog<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, anyhow::Result<u64>> {
        Box::pin(async move {
            let channel = self.channel().await?;
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let answer = channel.queue_declare(queue.into(), passive, FieldTable::default());
            Ok(timeout(CALL, answer).await??.message_count().into())
        })
    }
}

fn spawn(command: &Command, log: &Path) -> anyhow::Result<Process> {
    Ok(Process::spawn("rabbitmq", command, log, None)?.with_grace(Duration::ZERO))
}
