//! An SQS of the tests on loopback: ElasticMQ, which takes any key, or moto, which checks keys and policies as AWS does.
//! Everything is in memory: a restart loses it.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::server::{Ready, Server};
use crate::{paths, ports, scratch};

/// The region that queues are made in.
pub const REGION: &str = "us-east-1";
/// Messages in one request, by the protocol.
const BATCH: u64 = 10;

/// A running SQS.
#[derive(Debug)]
pub struct Sqs {
    address: SocketAddr,
    server: Server,
}

/// Keys that moto knows.
#[derive(Debug)]
pub struct Keys {
    /// The access key's name.
    pub id: String,
    /// What requests are signed with.
    pub secret: String,
}

/// To freeze it, to kill it and to start it again: its queues do not.
impl AsMut<Server> for Sqs {
    fn as_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl Sqs {
    /// Starts ElasticMQ.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn elasticmq() -> anyhow::Result<Self> {
        Self::start("elasticmq", &[]).await
    }

    /// Starts moto with a queue of so many messages, and gives the only keys that may read it: nothing else is allowed
    /// from then on, to nobody.
    ///
    /// # Errors
    /// When it does not come up, or does not do as it is told.
    pub async fn guarded(queue: &str, messages: u64) -> anyhow::Result<(Self, Keys)> {
        // So many calls are taken from anybody: a queue, its messages, a user, its keys, its policy.
        let calls = (4 + messages.div_ceil(BATCH)).to_string();
        let this = Self::start("moto", &[("INITIAL_NO_AUTH_ACTION_COUNT", &calls)]).await?;
        this.create(queue).await?;
        this.send(queue, messages).await?;
        let user = ("UserName", "reader");
        this.call("iam", &[("Action", "CreateUser"), user]).await?;
        let keys = this.call("iam", &[("Action", "CreateAccessKey"), user]).await?;
        let policy = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sqs:GetQueueAttributes", "Resource": "*"}]}"#;
        let put = [("Action", "PutUserPolicy"), user, ("PolicyName", "read"), ("PolicyDocument", policy)];
        this.call("iam", &put).await?;
        let refused = this.create("another").await;
        ensure!(refused.is_err(), "moto takes calls from anybody");
        let between = |tag: &str| {
            let rest = keys.split(&format!("<{tag}>")).nth(1)?;
            rest.split('<').next().map(str::to_owned)
        };
        let keys = between("AccessKeyId").zip(between("SecretAccessKey")).context("no keys in the answer")?;
        Ok((this, Keys { id: keys.0, secret: keys.1 }))
    }

    async fn start(name: &'static str, environment: &[(&str, &str)]) -> anyhow::Result<Self> {
        let script = paths::brokers().join("sqs/run.sh");
        ensure!(script.is_file(), "no {}: WINDLASS_BROKERS names another folder", script.display());
        let dir = scratch::dir(name)?;
        let address = SocketAddr::from(([127, 0, 0, 1], ports::single()?));
        let mut command = Command::new(script);
        command.arg(name).arg(&dir).arg(address.port().to_string()).env("HEAP", "64m");
        command.envs(environment.iter().copied());
        // A page that is no call of AWS': moto counts those.
        let ready = Ready::Answers(format!("http://{address}/moto-api/data.json"));
        Ok(Self { address, server: Server::start(name, command, dir.join("run.log"), ready).await? })
    }

    /// Where it listens, by plain HTTP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a queue, as a trigger names it.
    #[must_use]
    pub fn queue_url(&self, queue: &str) -> String {
        format!("http://{}/000000000000/{queue}", self.address)
    }

    /// Makes a queue.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn create(&self, queue: &str) -> anyhow::Result<()> {
        self.call("sqs", &[("Action", "CreateQueue"), ("QueueName", queue)]).await.map(drop)
    }

    /// Deletes a queue, with what is in it.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn delete(&self, queue: &str) -> anyhow::Result<()> {
        self.call("sqs", &[("Action", "DeleteQueue"), ("QueueUrl", &self.queue_url(queue))]).await.map(drop)
    }

    /// Empties a queue.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn purge(&self, queue: &str) -> anyhow::Result<()> {
        self.call("sqs", &[("Action", "PurgeQueue"), ("QueueUrl", &self.queue_url(queue))]).await.map(drop)
    }

    /// Puts messages in, ten at a time.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn send(&self, queue: &str, count: u64) -> anyhow::Result<()> {
        let url = self.queue_url(queue);
        for first in (0..count).step_by(usize::try_from(BATCH)?) {
            let mut pairs =
                vec![("Action".to_owned(), "SendMessageBatch".to_owned()), ("QueueUrl".to_owned(), url.clone())];
            for nth in 1..=BATCH.min(count - first) {
                let entry = |field: &str| format!("SendMessageBatchRequestEntry.{nth}.{field}");
                pairs.push((entry("Id"), format!("m{nth}")));
                pairs.push((entry("MessageBody"), "work".to_owned()));
            }
            let pairs: Vec<_> = pairs.iter().map(|(key, value)| (&**key, &**value)).collect();
            self.call("sqs", &pairs).await?;
        }
        Ok(())
    }

    /// One call by the form of the protocol that needs no signature; moto tells services apart by the scope of one.
    async fn call(&self, service: &str, pairs: &[(&str, &str)]) -> anyhow::Result<String> {
        let version = if service == "iam" { "2010-05-08" } else { "2012-11-05" };
        let base = format!("http://{}/", self.address);
        let url = reqwest::Url::parse_with_params(&base, pairs.iter().copied().chain([("Version", version)]))?;
        let scope = format!(
            "AWS4-HMAC-SHA256 Credential=test/20261126/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let request = reqwest::Client::new()
            .post(base)
            .header("authorization", scope)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(url.query().unwrap_or_default().to_owned())
            .timeout(Duration::from_secs(20));
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{:?}: {status}: {text}", pairs.first());
        Ok(text)
    }
}
