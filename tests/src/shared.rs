//! What the tests of one process share: a control plane with a quick HPA, one operator, one RabbitMQ.
//!
//! Tests use it in parallel, each in its own namespace with its own queues, and never stop, freeze or overload it:
//! for that a test starts its own. Statics are not dropped; the processes die with the test process.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use tokio::sync::OnceCell;

use crate::{Manifests, Operator, OperatorOptions, Rabbit, RabbitOptions, Rig, RigOptions};
use crate::{ports, scratch};

/// The shared control plane with its operator and broker.
#[derive(Debug, Clone, Copy)]
pub struct Shared {
    /// HPA sync 2 s, stabilisation 10 s, the manifests and KEDA's types installed.
    pub rig: &'static Rig,
    /// The only operator; it leads, and serves KEDA's objects too.
    pub operator: &'static Operator,
    /// Where the operator receives webhooks.
    pub webhooks: SocketAddr,
    /// Its statistics are refreshed each second.
    pub rabbit: &'static Arc<Rabbit>,
}

/// All of it.
///
/// # Errors
/// When a part cannot be started; the next test tries again.
pub async fn shared() -> anyhow::Result<Shared> {
    // Boxed: it is large, and part of every test's own future.
    let parts = Box::pin(async { tokio::try_join!(shared_rig(), shared_rabbit(), operator()) });
    let (rig, rabbit, (operator, webhooks)) = parts.await?;
    Ok(Shared { rig, operator, webhooks: *webhooks, rabbit })
}

/// The control plane alone; nothing may be installed in it yet.
///
/// # Errors
/// When it cannot be started.
pub async fn shared_rig() -> anyhow::Result<&'static Rig> {
    static RIG: OnceCell<Rig> = OnceCell::const_new();
    RIG.get_or_try_init(|| detached(Rig::start(RigOptions::default()))).await
}

/// The broker alone.
///
/// # Errors
/// When it cannot be started.
pub async fn shared_rabbit() -> anyhow::Result<&'static Arc<Rabbit>> {
    static RABBIT: OnceCell<Arc<Rabbit>> = OnceCell::const_new();
    RABBIT.get_or_try_init(|| detached(async { Ok(Arc::new(Rabbit::start(RabbitOptions::default()).await?)) })).await
}

async fn operator() -> anyhow::Result<&'static (Operator, SocketAddr)> {
    static OPERATOR: OnceCell<(Operator, SocketAddr)> = OnceCell::const_new();
    let start = async {
        let rig = shared_rig().await?;
        rig.install(&Manifests::repository()?).await?;
        for crd in crate::keda::crds() {
            crate::install::apply(&rig.client(), &crd).await?;
        }
        let webhooks = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::single()?));
        let data = scratch::dir("webhooks")?;
        let options = OperatorOptions::named("shared")
            .arg("--keda-compat")
            .arg(&format!("--webhook-address={webhooks}"))
            .arg(&format!("--data-dir={}", data.display()));
        let operator = Operator::start(rig, options).await?;
        operator.wait_ready(Duration::from_mins(1)).await?;
        operator.wait_leading(rig, Duration::from_mins(1)).await?;
        Ok((operator, webhooks))
    };
    OPERATOR.get_or_try_init(|| detached(start)).await
}

/// Outside of the test that happens to come first, so that its folders are not taken for that test's.
async fn detached<T: Send + 'static>(
    start: impl Future<Output = anyhow::Result<T>> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::spawn(start).await.unwrap_or_else(|join| Err(anyhow!("while starting what tests share: {join}")))
}
