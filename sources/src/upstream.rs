//! The one trait that every source implements. It names what a reader does; it never decides when.

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use windlass_decision::{Clock, Failure, FailureKind, Outcome};

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

/// Reads those of `queries` that `own` knows, in order. Only queries that were parsed together with a connection are asked
/// of it; another source's would be a mistake of the caller, and is answered as a failure, never by a figure.
pub(crate) async fn read_own<'a, Q: 'a, F>(
    queries: &'a [Query],
    clock: &dyn Clock,
    own: impl Fn(&'a Query) -> Option<&'a Q>,
    read: impl FnOnce(Vec<&'a Q>) -> F,
) -> Vec<Outcome>
where
    F: Future<Output = Vec<Outcome>>,
{
    let known: Vec<Option<&Q>> = queries.iter().map(own).collect();
    let mut answers = read(known.iter().copied().flatten().collect()).await.into_iter();
    let no_answer = || {
        let message = "this source was asked what only another one can answer; this is a defect".to_owned();
        Outcome::Failed(Failure { kind: FailureKind::BadAnswer, message, field: None, at: clock.now() })
    };
    known.iter().map(|query| query.and_then(|_| answers.next()).unwrap_or_else(no_answer)).collect()
}
