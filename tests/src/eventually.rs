//! Waiting for a condition, and watching that one never comes. The only sleeps of the suites are the poll interval here.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep, timeout_at};

/// How often a condition is looked at.
pub const POLL: Duration = Duration::from_millis(100);

/// Calls `probe` until it answers `Ok` and returns that answer.
///
/// # Errors
/// After `deadline`: says what was waited for, how long, and the probe's last error.
pub async fn eventually<T, F>(deadline: Duration, what: &str, mut probe: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let end = Instant::now() + deadline;
    let mut last = None;
    loop {
        match timeout_at(end, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last = Some(error),
            Err(_) => {
                last.get_or_insert_with(|| anyhow::anyhow!("the probe itself did not answer"));
            }
        }
        if Instant::now() + POLL >= end {
            let last = last.unwrap_or_else(|| anyhow::anyhow!("no answer"));
            return Err(last).with_context(|| format!("not within {deadline:?}: {what}"));
        }
        sleep(POLL).await;
    }
}

/// Calls `probe` for the whole of `window`; its answer says what is wrong, `None` that all is well.
///
/// # Errors
/// At the first thing that is wrong, and when the probe itself fails.
pub async fn never<T: Debug, F>(window: Duration, what: &str, mut probe: impl FnMut() -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let start = Instant::now();
    while start.elapsed() < window {
        if let Some(wrong) = probe().await.with_context(|| format!("while watching that never: {what}"))? {
            bail!("after {:?} of {window:?}, but never expected: {what}: {wrong:?}", start.elapsed());
        }
        sleep(POLL).await;
    }
    Ok(())
}
