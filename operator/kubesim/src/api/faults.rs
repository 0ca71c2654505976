//! Where a test makes the API server go wrong. Without faults every question is answered with "pass".

use std::time::Duration;

/// A request that is about to be served.
#[derive(Debug, Clone, Copy)]
pub struct RequestInfo<'a> {
    /// Who asks.
    pub user: &'a str,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: &'a str,
    /// API group.
    pub group: &'a str,
    /// Plural.
    pub resource: &'a str,
    /// `status`, `scale` or nothing.
    pub subresource: &'a str,
    /// Namespace or nothing.
    pub namespace: &'a str,
    /// Name or nothing.
    pub name: &'a str,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestFault {
    /// It is served.
    Pass,
    /// It is served after a while.
    Delay(Duration),
    /// It is refused, and nothing is done.
    Refuse {
        /// HTTP status.
        code: u16,
        /// Whole seconds of `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The connection closes, and nothing is done.
    CloseBefore,
    /// It is done, and the connection closes: an unknown outcome.
    CloseAfter,
    /// There is no answer, and nothing is done.
    HangBefore,
    /// It is done, and there is no answer.
    HangAfter,
    /// It is done, and the answer is cut off in the middle.
    Truncate,
    /// A list is answered from a state that old, and a watch is served by a server that far behind.
    Stale(Duration),
}

/// An event that is about to be sent to a watch.
#[derive(Debug, Clone, Copy)]
pub struct WatchInfo<'a> {
    /// Who watches.
    pub user: &'a str,
    /// API group.
    pub group: &'a str,
    /// Plural.
    pub resource: &'a str,
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchFault {
    /// It is sent.
    Pass,
    /// The watch ends before it.
    Cut,
    /// The watch says that its version is too old, and ends.
    Gone,
    /// It is sent twice.
    Duplicate,
    /// It is sent after the next one.
    HoldUntilNext,
    /// It is sent late.
    Delay(Duration),
}

/// Says what goes wrong. Called for what comes over HTTP only: the control plane's own controllers are spared.
pub trait Faults: Send + Sync {
    /// Of a request.
    fn request(&self, request: &RequestInfo<'_>) -> RequestFault;
    /// Of an event of a watch.
    fn watch(&self, watch: &WatchInfo<'_>) -> WatchFault;
}
