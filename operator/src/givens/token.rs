//! Keeps a token of a ServiceAccount: it is renewed before it runs out, and sooner where a source refuses it, since it may have
//! been withdrawn. A token is in memory only, and in no log line.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::stores::{Content, Place};
use crate::apply::token::{Token, request};
use crate::apply::writer::Writer;
use crate::cache::Cache;

/// What the token is called in the content of its place.
pub(super) const TOKEN: &str = "token";

/// How long to wait after no token was given, at first and at most. Rights that were granted meanwhile are told by nobody.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));
/// How old a token is at least before one that a source refuses is asked for anew. It doubles while that helps nothing.
const DOUBT: Duration = Duration::from_secs(30);

/// Keeps the token of `place` in `cache` for ever, and tells each change.
pub(super) async fn keep(
    writer: &Writer,
    place: &Place,
    cache: &Cache<Content>,
    doubted: &Notify,
    changed: impl Fn() + Send,
) {
    let Place { namespace, name, .. } = place;
    let (mut retry, mut patience) = (RETRY.0, DOUBT);
    // Until when the token that is known is good, as far as anybody knows.
    let mut good_until: Option<Instant> = None;
    loop {
        match request(writer, namespace, name).await {
            Ok(Token { token, lifetime }) => {
                let now = Instant::now();
                good_until = Some(now + lifetime);
                retry = RETRY.0;
                tracing::debug!(namespace, service_account = name, ?lifetime, "token of a ServiceAccount given");
                if cache.tell(&place.key(), Ok(Content::from([(TOKEN.to_owned(), token)]))) {
                    changed();
                }
                let refused = async {
                    sleep(patience).await;
                    doubted.notified().await;
                };
                tokio::select! {
                    biased;
                    // The kubelet renews its own after the same part of their life.
                    () = sleep_until(now + lifetime / 5 * 4) => patience = DOUBT,
                    () = refused => {
                        patience = patience.saturating_mul(2);
                        good_until = None;
                    }
                }
            }
            Err(why) => {
                let left = good_until.map(|until| until.saturating_duration_since(Instant::now()));
                if left.is_none_or(|left| left.is_zero()) && cache.tell(&place.key(), Err(why.clone())) {
                    tracing::warn!(
                        namespace,
                        service_account = name,
                        why,
                        "no token of a ServiceAccount given, retrying"
                    );
                    changed();
                }
                sleep(left.filter(|left| !left.is_zero()).map_or(retry, |left| left.min(retry))).await;
                retry = (retry * 2).min(RETRY.1);
            }
        }
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
