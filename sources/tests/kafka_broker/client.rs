//! What a test does to a broker besides reading lag, by another client than the one that is tested: librdkafka.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

/// As many replicas as the brokers are set to make.
const BY_THE_BROKER: i32 = -1;
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Client {
    servers: String,
    port: u16,
    admin: AdminClient<DefaultClientContext>,
    producer: BaseProducer,
}

fn config(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("allow.auto.create.topics", "false");
    config
}

impl Client {
    pub fn new(servers: &str, port: u16) -> Self {
        let admin = config(servers).create().expect("an admin client");
        let producer = config(servers).create().expect("a producer");
        Self { servers: servers.to_owned(), port, admin, producer }
    }

    pub async fn create(&self, topic: &str, partitions: i32) {
        let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(BY_THE_BROKER));
        let results = self.admin.create_topics([&topic], &AdminOptions::new()).await.expect("created");
        results.into_iter().for_each(|result| _ = result.expect("a new topic"));
    }

    pub async fn grow(&self, topic: &str, partitions: usize) {
        let wanted = NewPartitions::new(topic, partitions);
        let results = self.admin.create_partitions([&wanted], &AdminOptions::new()).await.expect("created");
        results.into_iter().for_each(|result| _ = result.expect("more partitions"));
    }

    pub async fn delete(&self, topic: &str) {
        let results = self.admin.delete_topics(&[topic], &AdminOptions::new()).await.expect("deleted");
        results.into_iter().for_each(|result| _ = result.expect("a topic is gone"));
    }

    /// Waits until each partition of the topics has so many replicas in sync.
    pub async fn wait_until_whole(&self, replicas: usize, topics: &[&str]) {
        let until = Instant::now() + 2 * PATIENCE;
        let whole = |topic: &&str| {
            let metadata = self.producer.client().fetch_metadata(Some(topic), PATIENCE).expect("metadata");
            let partitions = metadata.topics()[0].partitions();
            !partitions.is_empty() && partitions.iter().all(|partition| partition.isr().len() == replicas)
        };
        while !topics.iter().all(whole) {
            assert!(Instant::now() < until, "a replica stays out of sync");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The node that leads a partition.
    pub fn leader(&self, topic: &str, partition: usize) -> i32 {
        let metadata = self.producer.client().fetch_metadata(Some(topic), PATIENCE).expect("metadata");
        metadata.topics()[0].partitions()[partition].leader()
    }

    pub fn produce(&self, topic: &str, partition: i32, count: usize) {
        send(&self.producer, topic, partition, count);
        self.producer.flush(PATIENCE).expect("sent");
    }

    /// A transaction that is not ended yet, with so many messages in it.
    pub fn open_transaction(&self, topic: &str, count: usize) -> BaseProducer {
        let producer: BaseProducer =
            config(&self.servers).set("transactional.id", "of-a-test").create().expect("a producer");
        producer.init_transactions(PATIENCE).expect("transactions");
        producer.begin_transaction().expect("a transaction");
        send(&producer, topic, 0, count);
        producer.flush(PATIENCE).expect("sent");
        producer
    }

    pub fn commit(&self, group: &str, commits: &[(&str, i32, i64)]) {
        let consumer: BaseConsumer = config(&self.servers)
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .create()
            .expect("a consumer");
        let mut list = TopicPartitionList::new();
        for (topic, partition, offset) in commits {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).expect("a partition");
        }
        consumer.commit(&list, CommitMode::Sync).expect("committed");
    }

    /// Lets a user describe a topic (2) or a group (3), by the one request that librdkafka's binding has no words for.
    pub fn allow_describe(&self, user: &str, resource: u8, name: &str) {
        const CREATE_ACLS: [u8; 4] = [0, 30, 0, 1];
        let string = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
        let (literal, describe, allow) = (3, 8, 3);
        let body = [
            &CREATE_ACLS[..],
            &[0, 0, 0, 1],
            &string("test"),
            &[0, 0, 0, 1, resource],
            &string(name),
            &[literal],
            &string(&format!("User:{user}")),
            &string("*"),
            &[describe, allow],
        ]
        .concat();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        stream.write_all(&[&(body.len() as u32).to_be_bytes()[..], &body].concat()).expect("asked");
        let mut length = [0; 4];
        stream.read_exact(&mut length).expect("a length");
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut answer).expect("an answer");
        // Correlation id, throttling, one result: its code.
        assert_eq!(&answer[8..14], [0, 0, 0, 1, 0, 0], "{answer:?}");
    }
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, count: usize) {
    for _ in 0..count {
        let record = BaseRecord::<(), _>::to(topic).partition(partition).payload("message");
        producer.send(record).expect("queued");
    }
}
