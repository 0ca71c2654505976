//! The connection of a simulated process to the API server: what the process sends and receives stands still while it is
//! frozen, and ends with it. It changes nothing of what is sent.

use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::sleep;
use tower::Service;
use windlass_operator::Process;

/// How long a request is on its way. Without it whoever asks again at once would ask for ever at one moment.
const ON_THE_WAY: Duration = Duration::from_millis(1);

/// See the module. `S` is the API server.
#[derive(Debug, Clone)]
pub struct Wire<S> {
    server: S,
    process: Process,
}

impl<S> Wire<S> {
    /// What `process` sends to `server`.
    pub const fn new(server: S, process: Process) -> Self {
        Self { server, process }
    }
}

impl<S, R> Service<R> for Wire<S>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send + 'static,
    R: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.server.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let fresh = self.server.clone();
        let mut server = std::mem::replace(&mut self.server, fresh);
        // The server is called when the process runs, not when the request was handed over.
        Box::pin(self.process.own(async move {
            sleep(ON_THE_WAY).await;
            server.call(request).await
        }))
    }
}
