//! One runtime for all tests of a process, so that tests of different threads can share a control plane and brokers.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::anyhow;
use tokio::runtime::{Builder, Runtime};

use crate::scratch;

/// A test's deadline where it names none.
pub const DEADLINE: Duration = Duration::from_secs(300);

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        // A second install in one process fails, which is what was wanted anyway.
        let _already_there = rustls::crypto::aws_lc_rs::default_provider().install_default();
        // More threads than cores: dropping a process helper blocks its thread until the process is gone.
        Builder::new_multi_thread().worker_threads(8).enable_all().build().expect("no tokio runtime")
    })
}

/// Runs a test's body on the shared runtime, within five minutes.
///
/// # Panics
/// When the body fails, panics or exceeds its deadline.
pub fn run(body: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
    run_within(DEADLINE, body);
}

/// Runs a test's body on the shared runtime, within `deadline`.
///
/// # Panics
/// When the body fails, panics or exceeds its deadline.
pub fn run_within(deadline: Duration, body: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
    let bounded = async move {
        tokio::time::timeout(deadline, body)
            .await
            .unwrap_or_else(|_| Err(anyhow!("the test exceeded its deadline of {deadline:?}")))
    };
    // Spawned, not blocked on: the body then runs on a worker, not on the test's thread, which ends with the test.
    let runtime = runtime();
    match runtime.block_on(runtime.spawn(scratch::scope(bounded))) {
        Ok(Ok(())) => {}
        // The chain alone: a backtrace of async frames hides it.
        Ok(Err(error)) => {
            panic!("{}", error.chain().map(ToString::to_string).collect::<Vec<_>>().join("\n  because: "))
        }
        Err(join) if join.is_panic() => std::panic::resume_unwind(join.into_panic()),
        Err(join) => panic!("{join}"),
    }
}
