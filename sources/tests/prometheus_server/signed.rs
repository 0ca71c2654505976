//! Requests signed by a key of AWS, as its managed Prometheus takes them: a guard before the real server recomputes each signature
//! (Signature Version 4) from what has arrived, with nothing of the code that made it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use windlass_decision::FailureKind;

use super::{failed, read, value};

const ID: &str = "AKIDWINDLASS";
const SECRET: &str = "wr1tten/down+n0where";
const PATH: &str = "/workspaces/ws-1";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether the request is signed by the key.
fn is_signed(path: &str, query: &str, headers: &HeaderMap) -> Option<bool> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let given = text("authorization")?.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let field = |name: &str| given.split(", ").find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    let (credential, names, signature) = (field("Credential")?, field("SignedHeaders")?, field("Signature")?);
    let scope = credential.strip_prefix(ID)?.strip_prefix('/')?;
    let time = text("x-amz-date")?;
    if scope != format!("{}/eu-west-1/aps/aws4_request", time.get(..8)?) || !names.contains("host;x-amz-date") {
        return Some(false);
    }
    if headers.contains_key("x-amz-security-token") && !names.contains("x-amz-security-token") {
        return Some(false);
    }
    let mut pairs: Vec<_> = query.split('&').collect();
    pairs.sort_unstable();
    let mut signed = format!("GET\n{path}\n{}\n", pairs.join("&"));
    for name in names.split(';') {
        signed += &format!("{name}:{}\n", text(name)?.trim());
    }
    signed += &format!("\n{names}\n{}", hex(digest(&SHA256, b"").as_ref()));
    let signed = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(digest(&SHA256, signed.as_bytes()).as_ref()));
    let key = scope.split('/').fold(format!("AWS4{SECRET}").into_bytes(), |key, part| {
        sign(&Key::new(HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec()
    });
    Some(hex(sign(&Key::new(HMAC_SHA256, &key), signed.as_bytes()).as_ref()) == signature)
}

async fn guard(State(server): State<Arc<str>>, request: Request) -> Response {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    if is_signed(path, query, request.headers()) != Some(true) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let url = format!("{server}{}?{query}", path.strip_prefix(PATH).expect("the workspace's path"));
    let answer = reqwest::get(url).await.expect("the server answers");
    let status = StatusCode::from_u16(answer.status().as_u16()).expect("a status");
    (status, answer.bytes().await.expect("a body")).into_response()
}

async fn serve(server: &str) -> SocketAddr {
    let router = Router::new().fallback(guard).with_state(Arc::from(server));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

pub async fn a_managed_server_is_asked_with_a_signature(server: &str) {
    let address = format!("http://{}{PATH}", serve(server).await);
    let region = ("awsRegion", "eu-west-1");
    let key = [region, ("awsAccessKeyID", ID), ("awsSecretAccessKey", SECRET)];
    // What is encoded in several ways: spaces, +, =, quotes, /, ~ and letters of all the world.
    let query = "vector(3) + vector(4) * (absent(up{job=~\"a b/c+d=e&f~é*'\"}) or vector(1))";
    assert_eq!(value(&read(&address, query, &key).await), 7.0);
    let more =
        [&key[..], &[("awsSessionToken", "a/session+token=="), ("queryParameters", "dedup=a b,timeout=2s")]].concat();
    assert_eq!(value(&read(&address, "vector(6)", &more).await), 6.0);

    for wrong in [[key[1], ("awsSecretAccessKey", "wr0ng-secret")], [("awsAccessKeyID", "wr0ng-id"), key[2]]] {
        let outcome = read(&address, "vector(6)", &[&[region][..], &wrong].concat()).await;
        let (kind, _, message) = failed(&outcome);
        assert_eq!(kind, FailureKind::Unauthorised, "{message}");
        assert!(!message.contains("wr0ng"), "{message}");
    }
    let outcome = read(&address, "vector(6)", &[]).await;
    assert_eq!(failed(&outcome).0, FailureKind::Unauthorised, "{outcome:?}");
}
