//! A client whose answers begin in time or are errors. A connection that is half open takes requests and says nothing for
//! ever; a list or the start of a watch that waits for it would leave a cache blind. It sends nothing twice.

use std::time::Duration;

use http::Request;
use kube::Client;
use kube::client::Body;
use tokio::time::timeout;

/// How long the head of an answer may take. The API server itself ends a request after 60 s; a list of many thousand
/// objects begins within seconds.
const HEAD: Duration = Duration::from_secs(30);

/// No answer came in time.
#[derive(Debug, thiserror::Error)]
#[error("the API server did not begin to answer within {0:?}")]
struct Silent(Duration);

/// The same client with a deadline for the head of each answer. How long a body takes is its reader's business: a watch
/// lasts for minutes.
#[must_use]
pub fn answered_in_time(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let client = client.clone();
        async move {
            match timeout(HEAD, client.send(request)).await {
                Ok(answer) => answer.map_err(Box::<dyn std::error::Error + Send + Sync>::from),
                Err(_) => Err(Silent(HEAD).into()),
            }
        }
    });
    Client::new::<_, Body, _>(service, namespace)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use kube::api::ListParams;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_nothing_is_an_error_in_time() {
        let silent = tower::service_fn(|_: Request<Body>| async {
            std::future::pending::<()>().await;
            Ok::<_, std::convert::Infallible>(http::Response::new(Body::empty()))
        });
        let client = answered_in_time(Client::new(silent, "default"));
        let began = Instant::now();
        let listed = Api::<ConfigMap>::all(client).list(&ListParams::default()).await;
        assert!(listed.expect_err("nobody answers").to_string().contains("within 30s"));
        assert_eq!(began.elapsed(), HEAD);
    }
}
