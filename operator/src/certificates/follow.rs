//! Follows one named object: reads it, watches it, and reads it again whenever the watch ends. Every request but the
//! watch has a deadline, and a watch that falls silent is given up. It needs no right to list, and never writes.

use std::fmt::Debug;
use std::time::Duration;

use futures::{StreamExt, TryFutureExt};
use kube::api::{WatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long a read, or the beginning of a watch, may take.
pub(crate) const READ_DEADLINE: Duration = Duration::from_secs(5);
/// How long the API server keeps a watch open, in seconds; it must stay below 295 for the client.
const WATCH_SECONDS: u32 = 240;
/// A watch that has not ended by then is on a connection that is dead.
const WATCH_SILENCE: Duration = Duration::from_secs(250);
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why a round of following ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    #[error("no answer from the API server within {READ_DEADLINE:?}")]
    Deadline,
    #[error(transparent)]
    Api(#[from] kube::Error),
}

/// Calls `seen` with each version of the object `name` (`None`: it is not there) until `shutdown`.
pub(crate) async fn follow<K>(api: &Api<K>, name: &str, shutdown: &CancellationToken, mut seen: impl FnMut(Option<K>))
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let mut pause = PAUSE;
    loop {
        let round = round(api, name, &mut seen);
        tokio::select! {
            () = shutdown.cancelled() => return,
            ended = round => match ended {
                Ok(()) => pause = PAUSE,
                Err(error) => {
                    tracing::warn!(object = name, kind = std::any::type_name::<K>(), error = %error, "object cannot be followed");
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(pause) => {}
        }
    }
}

/// Reads an object with a deadline; `None` when it is not there.
pub(crate) async fn read<K>(api: &Api<K>, name: &str) -> Result<Option<K>, FollowError>
where
    K: Clone + DeserializeOwned + Debug,
{
    within_deadline(api.get_opt(name)).await
}

async fn within_deadline<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, FollowError> {
    timeout(READ_DEADLINE, request.map_err(FollowError::Api)).await.unwrap_or(Err(FollowError::Deadline))
}

async fn round<K>(api: &Api<K>, name: &str, seen: &mut impl FnMut(Option<K>)) -> Result<(), FollowError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let object = read(api, name).await?;
    // From "0" a watch begins with what the API server has cached.
    let version = object.as_ref().and_then(ResourceExt::resource_version).unwrap_or_else(|| "0".to_owned());
    seen(object);
    let params = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(WATCH_SECONDS);
    let events = within_deadline(api.watch(&params, &version)).await?;
    futures::pin_mut!(events);
    // Silence ends a round like the end of the stream does: the next round begins with a read.
    while let Ok(Some(event)) = timeout(WATCH_SILENCE, events.next()).await {
        match event? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => seen(Some(object)),
            WatchEvent::Deleted(_) => seen(None),
            WatchEvent::Bookmark(_) => {}
            // Usually 410 Expired: the read that follows is the cure.
            WatchEvent::Error(_) => return Ok(()),
        }
    }
    Ok(())
}
