//! Logging in by a token: of a server that hands them out, or signed by a key of AWS as MSK takes it. The broker holds both against
//! its own idea of them (jose4j, and `IamTokens.java`).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use windlass_decision::{Clock, FailureKind, Outcome};

use super::broker::{Broker, IAM_KEY};
use super::{DEADLINE, Pairs, failed, trigger_by, value};

/// The time that brokers and tokens go by.
#[derive(Debug)]
struct Now;

impl Clock for Now {
    fn now(&self) -> Timestamp {
        Timestamp::try_from(std::time::SystemTime::UNIX_EPOCH + since_epoch()).expect("a time")
    }
}

#[expect(clippy::disallowed_methods, reason = "the broker has no other clock")]
fn since_epoch() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).expect("after 1970")
}

/// Who signs tokens, with a key of his own.
#[derive(Clone)]
pub struct Issuer(Arc<EcdsaKeyPair>);

impl Issuer {
    pub fn new() -> Self {
        Self(Arc::new(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key")))
    }

    /// The public key as a JWK set (RFC 7517).
    pub fn keys(&self) -> String {
        let point = &self.0.public_key().as_ref()[1..];
        let [x, y] = [&point[..32], &point[32..]].map(|half| URL_SAFE_NO_PAD.encode(half));
        json!({"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "1", "x": x, "y": y}]})
            .to_string()
    }

    /// A token (RFC 7519) for `subject` that ends so many seconds from now.
    fn token(&self, subject: &str, seconds: i64) -> String {
        let now = i64::try_from(since_epoch().as_secs()).expect("small");
        let claims = json!({"sub": subject, "scope": "lag", "iat": now - 100, "exp": now + seconds});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "ES256", "kid": "1"})), part(&claims));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What the token server does next.
struct Server {
    issuer: Mutex<Issuer>,
    /// How long the next token is good, by what it says itself.
    seconds: AtomicI64,
    asked: AtomicUsize,
    /// Who asks waits this long for an answer.
    delay: Mutex<Duration>,
}

async fn hand_out(State(server): State<Arc<Server>>, headers: HeaderMap, body: String) -> Response {
    let form: HashMap<_, _> = url::form_urlencoded::parse(body.as_bytes()).collect();
    server.asked.fetch_add(1, Ordering::SeqCst);
    let delay = *server.delay.lock().expect("a lock");
    tokio::time::sleep(delay).await;
    let wanted = format!("Basic {}", STANDARD.encode("reader:s3cr%2Ft"));
    let known = headers.get(header::AUTHORIZATION).is_some_and(|given| given == wanted.as_str());
    if !known || form["grant_type"] != "client_credentials" || form["scope"] != "lag metrics" {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"}))).into_response();
    }
    let seconds = server.seconds.swap(3600, Ordering::SeqCst);
    let token = server.issuer.lock().expect("a lock").token("rig", seconds);
    // It says of every token that it is good for an hour.
    Json(json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600})).into_response()
}

async fn serve(issuer: Issuer) -> (Arc<Server>, SocketAddr) {
    let server = Arc::new(Server {
        issuer: Mutex::new(issuer),
        seconds: AtomicI64::new(3600),
        asked: AtomicUsize::new(0),
        delay: Mutex::default(),
    });
    let router = Router::new().route("/token", post(hand_out)).with_state(Arc::clone(&server));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    (server, address)
}

async fn read(servers: &str, more: Pairs<'_>) -> Outcome {
    let (upstream, query) = trigger_by(Arc::new(Now), servers, "workers", more);
    let outcome = upstream.read(&[query]).await.pop().expect("an outcome");
    upstream.close().await;
    outcome
}

pub async fn a_token_is_asked_for_shown_and_renewed(broker: &Broker) {
    let (server, address) = serve(broker.issuer.clone()).await;
    let uri = format!("http://{address}/token");
    let client = [
        ("topic", "orders"),
        ("sasl", "oauthbearer"),
        ("oauthTokenEndpointUri", uri.as_str()),
        ("scopes", "lag, metrics"),
        ("username", "reader"),
        ("oauthExtensions", "logicalCluster=lkc-1,identityPoolId=pool-1"),
    ];
    let right = [&client[..], &[("password", "s3cr/t")]].concat();
    let asked = || server.asked.load(Ordering::SeqCst);

    // The broker ends what a token was for when that ends, whatever its server said of it: another is asked for within the same
    // reading. A new connection is shown the token there is.
    server.seconds.store(2, Ordering::SeqCst);
    let (upstream, query) = trigger_by(Arc::new(Now), &broker.login(), "workers", &right);
    let queries = [query];
    assert_eq!(value(&upstream.read(&queries).await[0]), 4.0);
    upstream.close().await;
    let until = Instant::now() + Duration::from_secs(60);
    while asked() == 1 {
        assert!(Instant::now() < until, "the broker takes a token for good");
        assert_eq!(value(&upstream.read(&queries).await[0]), 4.0);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(asked(), 2);
    upstream.close().await;
    // So it is with one that a login is refused with.
    server.seconds.store(1, Ordering::SeqCst);
    let (upstream, _) = trigger_by(Arc::new(Now), &broker.login(), "workers", &right);
    assert_eq!(value(&upstream.read(&queries).await[0]), 4.0);
    upstream.close().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(value(&upstream.read(&queries).await[0]), 4.0);
    assert_eq!(asked(), 4);
    upstream.close().await;

    let wrong = read(&broker.login(), &[&client[..], &[("password", "wr0ng-secret")]].concat()).await;
    let (kind, message) = failed(&wrong);
    assert!(kind == FailureKind::Unauthorised && message.contains("token server"), "{message}");
    assert!(message.contains("username, password and scopes") && !message.contains("wr0ng"), "{message}");

    *server.delay.lock().expect("a lock") = DEADLINE * 2;
    let begun = Instant::now();
    let outcome = read(&broker.login(), &right).await;
    let (kind, message) = failed(&outcome);
    assert!(kind == FailureKind::Timeout && message.contains("token server"), "{message}");
    assert!(begun.elapsed() <= DEADLINE, "{:?}", begun.elapsed());
    *server.delay.lock().expect("a lock") = Duration::ZERO;

    // Somebody else's signature.
    *server.issuer.lock().expect("a lock") = Issuer::new();
    let outcome = read(&broker.login(), &right).await;
    let (kind, message) = failed(&outcome);
    assert!(kind == FailureKind::Unauthorised && message.contains("client \"reader\""), "{message}");
    assert!(message.contains("oauthExtensions") && !message.contains("eyJ"), "{message}");

    // A listener that takes none.
    let ca = broker.pem("ca.crt");
    let outcome = read(&broker.plain(), &[&right[..], &[("ca", &ca)]].concat()).await;
    let (kind, message) = failed(&outcome);
    assert!(kind == FailureKind::Unauthorised && message.contains("sasl: none"), "{message}");
}

pub async fn an_identity_of_aws_signs_its_own(broker: &Broker) {
    let ca = broker.pem("ca.crt");
    let [id, secret] = IAM_KEY;
    let msk = [
        ("topic", "orders"),
        ("sasl", "oauthbearer"),
        ("saslTokenProvider", "aws_msk_iam"),
        ("awsRegion", "eu-west-1"),
        ("tls", "enable"),
        ("ca", ca.as_str()),
    ];
    let key = [("awsAccessKeyID", id), ("awsSecretAccessKey", secret)];
    let right = [&msk[..], &key].concat();
    assert_eq!(value(&read(&broker.login_tls(), &right).await), 4.0);
    let session = [&right[..], &[("awsSessionToken", "a/session+token==")]].concat();
    assert_eq!(value(&read(&broker.login_tls(), &session).await), 4.0);

    for wrong in [[key[0], ("awsSecretAccessKey", "wr0ng-secret")], [("awsAccessKeyID", "wr0ng-id"), key[1]]] {
        let outcome = read(&broker.login_tls(), &[&msk[..], &wrong].concat()).await;
        let (kind, message) = failed(&outcome);
        assert!(kind == FailureKind::Unauthorised && message.contains("the access key"), "{message}");
        assert!(message.contains("kafka-cluster:Connect") && !message.contains("wr0ng"), "{message}");
    }
}
