//! What every broker helper can do, so that a consumer or a test does not care which one it has.

use std::fmt::Debug;

use futures::future::BoxFuture;

use crate::process::Process;

/// A real broker in a process of its own. "Queue" stands for queue, topic with group, or what the broker has.
pub trait Broker: Debug + Send + Sync {
    /// The process: pid, signals, log.
    fn process(&self) -> &Process;

    /// Makes a queue; one that is there stays.
    fn declare<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, anyhow::Result<()>>;

    /// Puts `count` messages in, as near to at once as the broker can, and waits until it has confirmed them.
    fn publish<'a>(&'a self, queue: &'a str, count: u64) -> BoxFuture<'a, anyhow::Result<()>>;

    /// Takes up to `count` messages out; returns how many there were.
    fn take<'a>(&'a self, queue: &'a str, count: u64) -> BoxFuture<'a, anyhow::Result<u64>>;

    /// Messages waiting, from the broker's most exact source.
    fn backlog<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, anyhow::Result<u64>>;

    /// Takes messages out until `leave` are left; returns how many were taken.
    fn drain<'a>(&'a self, queue: &'a str, leave: u64) -> BoxFuture<'a, anyhow::Result<u64>> {
        Box::pin(async move {
            let surplus = self.backlog(queue).await?.saturating_sub(leave);
            self.take(queue, surplus).await
        })
    }
}
