//! The life of a token: given, renewed, doubted, refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{Instant, advance, sleep};
use windlass_sources::Secret;

use super::super::stores::{Content, Keeper, Place};
use super::{DOUBT, TOKEN, keep};
use crate::apply::writer::Writer;
use crate::cache::{Cache, Scope};
use crate::leadership::{Grant, leadership};

/// An API server that gives tokens for ten minutes, `token-1`, `token-2` and so on, or refuses.
struct Giver {
    given: Arc<AtomicUsize>,
    refuses: Arc<AtomicUsize>,
    cache: Arc<Cache<Content>>,
    doubted: Arc<Notify>,
    told: Arc<AtomicUsize>,
    place: Place,
    _grant: Grant,
}

impl Giver {
    fn start(name: &str) -> Self {
        let (given, refuses) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, code) = (given.clone(), refuses.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (count, code) = (count.clone(), code.clone());
            async move {
                let code = u16::try_from(code.load(Ordering::SeqCst)).expect("a code");
                let (code, answer) = if code == 0 {
                    assert_eq!(request.uri().path(), "/api/v1/namespaces/shop/serviceaccounts/reader/token");
                    let token = format!("token-{}", count.fetch_add(1, Ordering::SeqCst) + 1);
                    let status = json!({"token": token, "expirationTimestamp": "2026-11-26T00:10:00Z"});
                    (
                        201,
                        json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {},
                        "spec": {"audiences": ["api"], "expirationSeconds": 600}, "status": status}),
                    )
                } else {
                    (
                        code,
                        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                        "code": code, "reason": "Forbidden", "message": "not allowed"}),
                    )
                };
                Ok::<_, std::convert::Infallible>(
                    Response::builder()
                        .status(code)
                        .body(Body::from(answer.to_string().into_bytes()))
                        .expect("an answer"),
                )
            }
        });
        let (grant, leads) = leadership();
        grant.extend(Instant::now() + Duration::from_secs(100_000));
        let writer = Writer::fenced(Client::new(service, "default"), leads, Duration::from_secs(5));
        let place = Place { keeper: Keeper::Token, namespace: "shop".to_owned(), name: name.to_owned() };
        let (cache, doubted) = (Arc::new(Cache::new(&[Scope::default()])), Arc::new(Notify::new()));
        let told = Arc::new(AtomicUsize::new(0));
        let (kept, wakes, tells, of) = (cache.clone(), doubted.clone(), told.clone(), place.clone());
        tokio::spawn(async move {
            keep(&writer, &of, &kept, &wakes, || {
                tells.fetch_add(1, Ordering::SeqCst);
            })
            .await;
        });
        Self { given, refuses, cache, doubted, told, place, _grant: grant }
    }

    /// The token that is known after some time.
    async fn after(&self, seconds: u64) -> Option<String> {
        advance(Duration::from_secs(seconds)).await;
        sleep(Duration::from_millis(10)).await;
        self.cache.get(&self.place.key()).and_then(|content| content.get(TOKEN).map(Secret::expose).map(str::to_owned))
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_before_it_runs_out_and_told_each_time() {
    let giver = Giver::start("reader");
    assert_eq!(giver.after(0).await.as_deref(), Some("token-1"));
    assert_eq!(giver.after(470).await.as_deref(), Some("token-1"));
    assert_eq!(giver.after(15).await.as_deref(), Some("token-2"), "after four fifths of its life");
    assert_eq!(giver.told.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_stays_until_it_runs_out_although_no_other_is_given() {
    let giver = Giver::start("reader");
    assert_eq!(giver.after(0).await.as_deref(), Some("token-1"));
    giver.refuses.store(403, Ordering::SeqCst);
    assert_eq!(giver.after(590).await.as_deref(), Some("token-1"));
    assert_eq!(giver.after(20).await, None);
    let trouble = giver.cache.trouble().expect("it is told");
    assert_eq!(trouble, "not allowed (403 Forbidden)");
    giver.refuses.store(0, Ordering::SeqCst);
    assert_eq!(giver.after(31).await.as_deref(), Some("token-2"), "the right is granted");
    assert_eq!(giver.told.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_a_source_refuses_is_asked_for_anew_but_not_again_and_again() {
    let giver = Giver::start("reader");
    assert_eq!(giver.after(0).await.as_deref(), Some("token-1"));
    let mut times = Vec::new();
    for second in 1..=300 {
        giver.doubted.notify_waiters();
        let before = giver.given.load(Ordering::SeqCst);
        giver.after(1).await;
        if giver.given.load(Ordering::SeqCst) > before {
            times.push(second);
        }
    }
    assert_eq!(times.len(), 3, "after 30 s, then 60 s, then 120 s: {times:?}");
    assert!(times[0] > DOUBT.as_secs() && times[2] > 210, "{times:?}");

    // One whose account is gone is no token any more.
    giver.refuses.store(404, Ordering::SeqCst);
    let mut token = Some(String::new());
    for _ in 0..260 {
        giver.doubted.notify_waiters();
        token = giver.after(1).await;
    }
    assert_eq!(token, None);
}

#[tokio::test(start_paused = true)]
async fn no_name_leads_to_another_path() {
    let giver = Giver::start("../../secrets");
    assert_eq!(giver.after(1).await, None);
    assert_eq!(giver.cache.trouble().as_deref(), Some("it is no name of a ServiceAccount"));
    assert_eq!(giver.given.load(Ordering::SeqCst), 0);
}
