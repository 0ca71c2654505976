//! Apache Kafka as one private broker on loopback: plain, TLS, with a login, and once more behind a fault proxy. Topics are
//! filled and read by librdkafka, which is not the client under test.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use futures::future::BoxFuture;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::process::Process;
use crate::server::{Ready, Server};
use crate::{Broker, FaultProxy, Kdc, eventually, paths, pki, ports, scratch};

/// The user who may do all.
pub const USER: &str = "rig";
/// That user's password.
pub const PASSWORD: &str = "rig-secret";
/// Partitions of a topic that is declared as any broker's queue is.
pub const PARTITIONS: i32 = 4;
/// How long one call to the broker may take.
const CALL: Duration = Duration::from_secs(30);

/// A running broker.
#[derive(Debug)]
pub struct Kafka {
    port_base: u16,
    pki: PathBuf,
    /// Between the broker and whoever asks it at [`Kafka::proxied`].
    pub proxy: FaultProxy,
    client: Arc<Client>,
    server: Server,
}

/// The other client.
struct Client {
    servers: String,
    admin: AdminClient<DefaultClientContext>,
    producer: BaseProducer,
    /// One for each group: a consumer commits for its own.
    groups: Mutex<HashMap<String, Arc<BaseConsumer>>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("servers", &self.servers).finish_non_exhaustive()
    }
}

/// To freeze it, to kill it and to start it again: its topics stay.
impl AsMut<Server> for Kafka {
    fn as_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl Kafka {
    /// Starts a broker with a heap of so many megabytes, and waits until it is ready.
    ///
    /// # Errors
    /// When there is no JDK, or it does not come up.
    pub async fn start(heap_megabytes: u32) -> anyhow::Result<Self> {
        Self::start_beside(heap_megabytes, None).await
    }

    /// The same, beside a KDC whose tickets it takes as well, if there is one.
    ///
    /// # Errors
    /// When there is no JDK, or it does not come up.
    pub async fn start_beside(heap_megabytes: u32, kdc: Option<&Kdc>) -> anyhow::Result<Self> {
        let script = paths::brokers().join("kafka/run.sh");
        ensure!(script.is_file(), "no {}: WINDLASS_BROKERS names another folder", script.display());
        let dir = scratch::dir("kafka")?;
        let pki = pki::make(&dir.join("pki"))?;
        let port_base = ports::block()?;
        let proxy = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], port_base + 7))).await?;
        let mut command = Command::new(script);
        command
            .arg(&dir)
            .arg(&pki)
            .arg(port_base.to_string())
            .env("HEAP", format!("{heap_megabytes}m"))
            .env("PROXY", proxy.address().port().to_string())
            .envs(kdc.map(|kdc| ("KERBEROS", kdc.dir())));
        let server = Server::start("kafka", command, dir.join("run.log"), Ready::Says("Kafka Server started")).await?;
        let client = Arc::new(Client::new(&format!("127.0.0.1:{}", port_base + 2))?);
        Ok(Self { port_base, pki, proxy, client, server })
    }

    /// `host:port` of the listener that asks for nothing.
    #[must_use]
    pub fn plain(&self) -> String {
        format!("127.0.0.1:{}", self.port_base + 2)
    }

    /// `host:port` of the listener with TLS and a login by SCRAM-SHA-512.
    #[must_use]
    pub fn login_tls(&self) -> String {
        format!("localhost:{}", self.port_base + 6)
    }

    /// `host:port` of the listener that takes tickets of Kerberos, if it has a KDC.
    #[must_use]
    pub fn kerberos(&self) -> String {
        format!("localhost:{}", self.port_base + 8)
    }

    /// `host:port` of the fault proxy: by it, the cluster calls itself by this address too.
    #[must_use]
    pub fn proxied(&self) -> String {
        self.proxy.address().to_string()
    }

    /// The authority of its serving certificate, PEM.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn ca_pem(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.pki.join("ca.crt"))?)
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn create(&self, topic: &str, partitions: i32) -> anyhow::Result<()> {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let done = self.client.admin.create_topics([&new], &AdminOptions::new().operation_timeout(Some(CALL))).await?;
        done.into_iter().try_for_each(|one| one.map(drop).map_err(|(name, code)| anyhow!("topic {name}: {code}")))
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn delete(&self, topic: &str) -> anyhow::Result<()> {
        let done =
            self.client.admin.delete_topics(&[topic], &AdminOptions::new().operation_timeout(Some(CALL))).await?;
        done.into_iter().try_for_each(|one| one.map(drop).map_err(|(name, code)| anyhow!("topic {name}: {code}")))
    }

    /// Puts so many messages into each partition of a topic, and waits until they are confirmed.
    ///
    /// # Errors
    /// When the broker does not take them.
    pub async fn produce(&self, topic: &str, partitions: i32, each: u64) -> anyhow::Result<()> {
        let topic = topic.to_owned();
        self.blocking(move |client| {
            for _ in 0..each {
                for partition in 0..partitions {
                    client.send(&topic, partition)?;
                }
            }
            Ok(client.producer.flush(CALL)?)
        })
        .await
    }

    /// Commits these offsets of a topic's partitions, from the first on, for a group.
    ///
    /// # Errors
    /// When the broker does not take them.
    pub async fn commit(&self, group: &str, topic: &str, offsets: Vec<i64>) -> anyhow::Result<()> {
        let (group, topic) = (group.to_owned(), topic.to_owned());
        self.patiently("a commit", move |client| client.commit(&group, &topic, &offsets)).await
    }

    /// Commits the start of partition 0 of topics for many groups, by the one request that librdkafka sends for a consumer's own
    /// group only.
    ///
    /// # Errors
    /// When the broker does not take one.
    pub async fn commit_starts(&self, groups: Vec<(String, Vec<String>)>) -> anyhow::Result<()> {
        let Some((group, topic)) = groups.first().and_then(|(group, topics)| Some((group, topics.first()?))) else {
            return Ok(());
        };
        // A broker coordinates nothing until it is first looked for as a coordinator.
        self.commit(group, topic, vec![0]).await?;
        let at = self.plain();
        tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(at)?;
            groups.iter().try_for_each(|(group, topics)| {
                commit_starts(&mut stream, group, topics).with_context(|| format!("group {group} cannot commit"))
            })
        })
        .await?
    }

    async fn offsets(&self, topic: &str) -> anyhow::Result<Vec<(i64, i64)>> {
        let topic = topic.to_owned();
        self.patiently("the offsets of a group", move |client| client.offsets(&topic, &topic)).await
    }

    /// What may be done twice: right after a start the coordinator of a group is not there yet.
    async fn patiently<T: Send + 'static>(
        &self,
        what: &str,
        call: impl Fn(&Client) -> anyhow::Result<T> + Clone + Send + 'static,
    ) -> anyhow::Result<T> {
        eventually(CALL, what, async || self.blocking(call.clone()).await).await
    }

    /// What librdkafka does, it does on the caller's thread.
    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Client) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let client = Arc::clone(&self.client);
        tokio::task::spawn_blocking(move || call(&client)).await?
    }
}

impl Client {
    fn new(servers: &str) -> anyhow::Result<Self> {
        let mut config = Self::config(servers);
        // The messages of one call travel together, so that they are there as good as at once.
        config.set("linger.ms", "20");
        let (admin, producer) = (config.create()?, config.create()?);
        Ok(Self { servers: servers.to_owned(), admin, producer, groups: Mutex::default() })
    }

    fn config(servers: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", servers).set("allow.auto.create.topics", "false");
        config
    }

    fn send(&self, topic: &str, partition: i32) -> anyhow::Result<()> {
        let record = BaseRecord::<(), _>::to(topic).partition(partition).payload("work");
        self.producer.send(record).map_err(|(error, _)| anyhow!("{topic}/{partition}: {error}"))
    }

    fn group(&self, group: &str) -> anyhow::Result<Arc<BaseConsumer>> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(consumer) = groups.get(group) {
            return Ok(Arc::clone(consumer));
        }
        let mut config = Self::config(&self.servers);
        config.set("group.id", group).set("enable.auto.commit", "false");
        let consumer = Arc::new(config.create::<BaseConsumer>()?);
        groups.insert(group.to_owned(), Arc::clone(&consumer));
        Ok(consumer)
    }

    fn commit(&self, group: &str, topic: &str, offsets: &[i64]) -> anyhow::Result<()> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in (0..).zip(offsets) {
            list.add_partition_offset(topic, partition, Offset::Offset(*offset))?;
        }
        self.group(group)?.commit(&list, CommitMode::Sync).with_context(|| format!("group {group} cannot commit"))
    }

    /// The end and the commit of each partition; where nothing is committed, 0.
    fn offsets(&self, group: &str, topic: &str) -> anyhow::Result<Vec<(i64, i64)>> {
        let consumer = self.group(group)?;
        let metadata = consumer.fetch_metadata(Some(topic), CALL)?;
        let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        ensure!(partitions > 0, "there is no topic {topic}");
        let partitions = i32::try_from(partitions)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, partitions - 1);
        let committed = consumer.committed_offsets(list, CALL)?;
        (0..partitions)
            .map(|partition| {
                let (_, end) = consumer.fetch_watermarks(topic, partition, CALL)?;
                let committed = committed.find_partition(topic, partition).and_then(|found| found.offset().to_raw());
                Ok((end, committed.unwrap_or(0).max(0)))
            })
            .collect()
    }
}

/// `OffsetCommit`, version 2, as of nobody that is a member.
fn commit_starts(stream: &mut TcpStream, group: &str, topics: &[String]) -> anyhow::Result<()> {
    const OFFSET_COMMIT: [u8; 4] = [0, 8, 0, 2];
    const NO_CLIENT: [u8; 2] = [0xff; 2];
    const NO_GENERATION: [u8; 4] = [0xff; 4];
    const NO_RETENTION: [u8; 8] = [0xff; 8];
    let string = |text: &str| anyhow::Ok([&u16::try_from(text.len())?.to_be_bytes()[..], text.as_bytes()].concat());
    let count = |count: usize| anyhow::Ok(u32::try_from(count)?.to_be_bytes());
    let mut body = [&OFFSET_COMMIT[..], &[0; 4], &NO_CLIENT, &string(group)?, &NO_GENERATION, &string("")?].concat();
    body.extend(NO_RETENTION);
    body.extend(count(topics.len())?);
    for topic in topics {
        body.extend(string(topic)?);
        // One partition: its number, the offset, no note.
        body.extend([&count(1)?[..], &[0; 4], &[0; 8], &string("")?].concat());
    }
    stream.write_all(&[&count(body.len())?[..], &body].concat())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length))?];
    stream.read_exact(&mut answer)?;
    // The answer ends with the last partition's error code; the correlation id and the number of topics begin it.
    ensure!(answer.get(4..8) == Some(&count(topics.len())?), "it answers {answer:?}");
    ensure!(answer.ends_with(&[0, 0]), "the broker refuses: {answer:?}");
    Ok(())
}

/// A topic and the group of the same name.
impl Broker for Kafka {
    fn process(&self) -> &Process {
        self.server.process()
    }

    fn declare<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            self.create(queue, PARTITIONS).await?;
            self.commit(queue, queue, vec![0; usize::try_from(PARTITIONS)?]).await
        })
    }

    fn publish<'a>(&'a self, queue: &'a str, count: u64) -> BoxFuture<'a, anyhow::Result<()>> {
        let queue = queue.to_owned();
        Box::pin(self.blocking(move |client| {
            for nth in 0..count {
                client.send(&queue, i32::try_from(nth % u64::try_from(PARTITIONS)?)?)?;
            }
            Ok(client.producer.flush(CALL)?)
        }))
    }

    fn take<'a>(&'a self, queue: &'a str, count: u64) -> BoxFuture<'a, anyhow::Result<u64>> {
        Box::pin(async move {
            let mut left = i64::try_from(count)?;
            let mut offsets = Vec::new();
            for (end, committed) in self.offsets(queue).await? {
                let taken = (end - committed).clamp(0, left);
                left -= taken;
                offsets.push(committed + taken);
            }
            self.commit(queue, queue, offsets).await?;
            Ok(count - u64::try_from(left)?)
        })
    }

    fn backlog<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, anyhow::Result<u64>> {
        Box::pin(async move {
            let lags = self.offsets(queue).await?.into_iter().map(|(end, committed)| (end - committed).max(0));
            Ok(u64::try_from(lags.sum::<i64>())?)
        })
    }
}
