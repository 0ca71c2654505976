//! A token server of OAuth 2.0 (client credentials) and the key that it signs with, for brokers that take its tokens.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The client that is known.
pub const CLIENT: &str = "reader";
/// Its secret. It must be encoded to be sent.
pub const SECRET: &str = "s3cr/t";

/// The time that brokers and tokens go by.
#[expect(clippy::disallowed_methods, reason = "the broker has no other clock")]
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970")
}

/// Who signs tokens, with a key of his own whose id is "1".
#[derive(Clone)]
pub struct Issuer(Arc<EcdsaKeyPair>);

impl Issuer {
    pub fn new() -> Self {
        Self(Arc::new(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key")))
    }

    /// The point of the public key, uncompressed.
    pub fn point(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// A token (RFC 7519) that says so, and that it ends so many seconds from now.
    fn token(&self, claims: &Value, seconds: i64) -> String {
        let now = i64::try_from(since_epoch().as_secs()).expect("small");
        let mut claims = claims.clone();
        (claims["iat"], claims["exp"]) = ((now - 100).into(), (now + seconds).into());
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "ES256", "kid": "1"})), part(&claims));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The server, and what it does next.
pub struct Server {
    pub issuer: Mutex<Issuer>,
    /// What its tokens say.
    pub claims: Value,
    /// How long the next token is good, by what it says itself.
    pub seconds: AtomicI64,
    asked: AtomicUsize,
    /// Who asks waits this long for an answer.
    pub delay: Mutex<Duration>,
}

impl Server {
    /// Starts it, and gives the URL to ask at.
    pub async fn start(issuer: Issuer, claims: Value) -> (Arc<Self>, String) {
        let server = Arc::new(Self {
            issuer: Mutex::new(issuer),
            claims,
            seconds: AtomicI64::new(3600),
            asked: AtomicUsize::new(0),
            delay: Mutex::default(),
        });
        let router = Router::new().route("/token", post(hand_out)).with_state(Arc::clone(&server));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address: SocketAddr = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        (server, format!("http://{address}/token"))
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn hand_out(State(server): State<Arc<Server>>, headers: HeaderMap, body: String) -> Response {
    let form: HashMap<_, _> = url::form_urlencoded::parse(body.as_bytes()).collect();
    server.asked.fetch_add(1, Ordering::SeqCst);
    let delay = *server.delay.lock().expect("a lock");
    tokio::time::sleep(delay).await;
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let wanted = format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(CLIENT), encoded(SECRET))));
    let known = headers.get(header::AUTHORIZATION).is_some_and(|given| given == wanted.as_str());
    let wanted = ["client_credentials", "lag metrics"].map(Some);
    if !known || ["grant_type", "scope"].map(|key| form.get(key).map(AsRef::as_ref)) != wanted {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"}))).into_response();
    }
    let seconds = server.seconds.swap(3600, Ordering::SeqCst);
    let token = server.issuer.lock().expect("a lock").token(&server.claims, seconds);
    // It says of every token that it is good for an hour.
    Json(json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600})).into_response()
}
