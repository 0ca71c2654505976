//! Logging in otherwise than by a password: with a token, which the broker's own plugin holds against a public key, and with a client
//! certificate whose key is encrypted.

use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;
use windlass_decision::FailureKind;

use super::broker::Broker;
use super::token_server::{CLIENT, Issuer, SECRET, Server};
use super::{failed, trigger, value};

pub async fn the_management_api_takes_tokens(broker: &Broker) {
    let claims = json!({
        "aud": ["rabbitmq"],
        "sub": CLIENT,
        "scope": ["rabbitmq.tag:monitoring", "rabbitmq.read:*/*", "rabbitmq.configure:*/*"],
    });
    let (server, uri) = Server::start(broker.issuer.clone(), claims).await;
    let host = format!("http://127.0.0.1:{}", broker.management());
    let client = [
        ("host", host.as_str()),
        ("queueName", "quorum"),
        ("oauthTokenURI", uri.as_str()),
        ("clientID", CLIENT),
        ("scopes", "lag, metrics"),
    ];
    let right = [&client[..], &[("clientSecret", SECRET)]].concat();
    server.seconds.store(3, Ordering::SeqCst);
    let (upstream, query) = trigger(&right);
    let queries = [query];
    let until = Instant::now() + Duration::from_secs(60);
    // The counts are some seconds old; the token is not asked for again meanwhile, until the broker takes it no more.
    while server.asked() < 2 {
        assert!(Instant::now() < until, "the broker takes a token for good");
        value(&upstream.read(&queries).await[0]);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(value(&upstream.read(&queries).await[0]), 3.0);
    assert_eq!(server.asked(), 2);

    let (upstream, query) = trigger(&[&client[..], &[("clientSecret", "wr0ng-secret")]].concat());
    let outcomes = upstream.read(&[query]).await;
    let (kind, message) = failed(&outcomes[0]);
    assert!(kind == FailureKind::Unauthorised && message.contains("token server"), "{message}");
    assert!(!message.contains("wr0ng"), "{message}");

    *server.issuer.lock().expect("a lock") = Issuer::new();
    let (upstream, query) = trigger(&right);
    let outcomes = upstream.read(&[query]).await;
    let (kind, message) = failed(&outcomes[0]);
    assert!(kind == FailureKind::Unauthorised && message.contains("no token of the client \"reader\""), "{message}");
}

pub async fn an_encrypted_key_is_opened(broker: &Broker) {
    let (ca, cert, key) = (broker.ca(), broker.pem("adapter.crt"), encrypted(broker));
    let amqps = format!("amqps://guest:guest@localhost:{}", broker.amqps());
    let https = format!("https://guest:guest@localhost:{}", broker.amqps() + 3);
    for host in [amqps.as_str(), https.as_str()] {
        let most = [("host", host), ("queueName", "quorum"), ("ca", ca.as_str()), ("cert", cert.as_str())];
        let all = [&most[..], &[("key", key.as_str()), ("keyPassword", "open sesame")]].concat();
        let (upstream, query) = trigger(&all);
        assert_eq!(value(&upstream.read(&[query]).await[0]), 3.0, "{host}");
        upstream.close().await;
        let (upstream, query) = trigger(&[&all[..5], &[("keyPassword", "wr0ng-secret")]].concat());
        let outcomes = upstream.read(&[query]).await;
        let (kind, message) = failed(&outcomes[0]);
        assert!(kind == FailureKind::Tls && message.contains("keyPassword does not open"), "{message}");
        assert!(!message.contains("wr0ng"), "{message}");
    }
}

fn encrypted(broker: &Broker) -> String {
    let output = Command::new("openssl")
        .args(["pkcs8", "-topk8", "-passout", "pass:open sesame", "-in"])
        .arg(broker.path("adapter.key"))
        .output()
        .expect("openssl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("PEM")
}
