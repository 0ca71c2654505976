//! The one trait that every source implements. It names what a reader does; it never decides when.

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use windlass_decision::Outcome;

use crate::Query;

/// One server, as seen with one credential: whoever asks the same upstream shares its connection and, where the
/// protocol allows, the request.
pub trait Upstream: Send + Sync + std::fmt::Debug {
    /// Reads all queries and answers each by itself, in order: one query's error is not its neighbour's. Never takes
    /// longer than the deadline the upstream was built with; what is not answered by then is `Failed` with
    /// [`windlass_decision::FailureKind::Timeout`].
    fn read<'a>(&'a self, queries: &'a [Query]) -> BoxFuture<'a, Vec<Outcome>>;

    /// A stream of readings that the server sends by itself, if it does.
    fn watch(&self) -> Option<BoxStream<'static, Push>> {
        None
    }

    /// Closes the connections. Called once, when nobody asks any more; must return soon even if the server hangs.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// A reading that the server sent by itself.
#[derive(Debug, Clone)]
pub struct Push {
    /// The query it answers.
    pub query: Query,
    /// The reading.
    pub outcome: Outcome,
}
