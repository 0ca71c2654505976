//! Times every reading of every upstream. It changes nothing else about them.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::time::Instant;
use windlass_decision::Outcome;
use windlass_sources::poller::Connect;
use windlass_sources::{Push, Query, Upstream};

use crate::telemetry::Telemetry;

#[derive(Debug)]
struct Timed {
    upstream: Arc<dyn Upstream>,
    kind: &'static str,
    telemetry: Telemetry,
}

/// The same upstreams, each reading timed under the kind of its source.
pub(crate) fn timed(connect: Arc<Connect>, telemetry: Telemetry) -> Arc<Connect> {
    Arc::new(move |connection, zone| {
        let upstream = connect(connection, zone);
        Arc::new(Timed { upstream, kind: connection.kind(), telemetry: telemetry.clone() })
    })
}

impl Upstream for Timed {
    fn read<'a>(&'a self, queries: &'a [Query]) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            let started = Instant::now();
            let outcomes = self.upstream.read(queries).await;
            self.telemetry.source_read(self.kind, started.elapsed());
            outcomes
        })
    }

    fn watch(&self) -> Option<BoxStream<'static, Push>> {
        self.upstream.watch()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.upstream.close()
    }
}
