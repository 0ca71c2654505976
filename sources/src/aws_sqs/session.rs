//! The client of one connection: one attempt per request, answers of a bounded size, and the connections that are kept open
//! between readings. It never retries: the poller does, and backs off.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_sqs::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::config::{
    AppName, Config, ConfigBag, IdentityCache, Intercept, Region, RuntimeComponents, StalledStreamProtectionConfig,
};
use aws_sdk_sqs::error::BoxError;
use aws_sdk_sqs::types::QueueAttributeName;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;

use super::answer::{Counts, DELAYED, IN_FLIGHT, VISIBLE};
use super::config::{Connection, Queue};
use super::guarded::guarded;
use super::problem::{NoFigure, Problem, explain};
use crate::NetworkPolicy;
use crate::aws::Identity;

/// The most bytes that an answer may have; AWS's have some hundred.
const MAX_ANSWER: usize = 256 << 10;

/// A client and the identity that it signs with.
pub(super) struct Session {
    client: aws_sdk_sqs::Client,
    identity: Identity,
    /// The URLs of queues that are known by their name.
    urls: Mutex<BTreeMap<String, String>>,
}

impl Session {
    /// Prepares a client that keeps to `network`; connects nowhere yet. `patience` is what one reading may take.
    pub(super) async fn open(connection: &Connection, patience: Duration, network: &NetworkPolicy) -> Self {
        let identity = Identity::of(&connection.credential, &connection.region).await;
        // The reader ends what takes too long, and knows then what it was waiting for. Nothing here ends earlier.
        let timeouts = TimeoutConfig::builder().connect_timeout(patience * 2).build();
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(connection.region.clone()))
            .endpoint_url(&connection.endpoint)
            .credentials_provider(identity.clone())
            .identity_cache(IdentityCache::lazy().load_timeout(patience * 2).build())
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(timeouts)
            .interceptor(Bounded);
        let config = match guarded(connection, network) {
            Some(client) => config.http_client(client),
            None => config,
        };
        let config = match AppName::new("windlass") {
            Ok(name) => config.app_name(name),
            Err(_) => config,
        };
        Self { client: aws_sdk_sqs::Client::from_conf(config.build()), identity, urls: Mutex::default() }
    }

    /// No answer in time.
    pub(super) fn timeout(&self, connection: &Connection) -> Problem {
        Problem::timeout(connection, self.identity.is_awaited())
    }

    /// The three counts of a queue: one request, whichever of them are wanted, and one more the first time that a queue is
    /// known by its name only.
    pub(super) async fn counts(&self, connection: &Connection, queue: &Queue) -> Result<Counts, NoFigure> {
        if let Some(url) = &queue.url {
            return self.attributes(connection, queue, url).await;
        }
        let known = self.urls().get(&queue.name).cloned();
        let url = match known {
            Some(url) => url,
            None => {
                let url = self.url(connection, queue).await?;
                self.urls().insert(queue.name.clone(), url.clone());
                url
            }
        };
        let counts = self.attributes(connection, queue, &url).await;
        if matches!(counts, Err(NoFigure::Absent(_))) {
            self.urls().remove(&queue.name);
        }
        counts
    }

    fn urls(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.urls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn url(&self, connection: &Connection, queue: &Queue) -> Result<String, NoFigure> {
        let answer = self.client.get_queue_url().queue_name(&queue.name).send().await;
        let answer = answer.map_err(|error| explain(connection, queue, "GetQueueUrl", &error))?;
        let url = answer.queue_url.filter(|url| !url.is_empty());
        Ok(url.ok_or_else(|| Problem::bad_answer(connection, "it names no URL of the queue"))?)
    }

    async fn attributes(&self, connection: &Connection, queue: &Queue, url: &str) -> Result<Counts, NoFigure> {
        let request = self.client.get_queue_attributes().queue_url(url);
        let names = [VISIBLE, IN_FLIGHT, DELAYED].map(QueueAttributeName::from);
        let answer = request.set_attribute_names(Some(names.to_vec())).send().await;
        let answer = answer.map_err(|error| explain(connection, queue, "GetQueueAttributes", &error))?;
        let attributes = answer.attributes.unwrap_or_default();
        Ok(Counts::read(|name| attributes.get(&QueueAttributeName::from(name)).map(String::as_str)))
    }
}

/// Ends an answer that grows too large.
#[derive(Debug)]
struct Bounded;

impl Intercept for Bounded {
    fn name(&self) -> &'static str {
        "Bounded"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response_mut().body_mut();
        let whole = std::mem::replace(body, SdkBody::taken());
        *body = SdkBody::from_body_1_x(Limited::new(whole, MAX_ANSWER));
        Ok(())
    }
}
