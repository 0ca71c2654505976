//! Logging in by a token: of a server that hands them out, or signed by a key of AWS as MSK takes it. The broker holds both against
//! its own idea of them (jose4j, and `IamTokens.java`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::json;
use windlass_decision::{Clock, FailureKind, Outcome};

use super::broker::{Broker, IAM_KEY};
use super::token_server::{CLIENT, Issuer, SECRET, Server, since_epoch};
use super::{DEADLINE, Pairs, failed, read_until, trigger_by, value};

/// The time that brokers and tokens go by.
#[derive(Debug)]
pub struct Now;

impl Clock for Now {
    fn now(&self) -> Timestamp {
        Timestamp::try_from(std::time::SystemTime::UNIX_EPOCH + since_epoch()).expect("a time")
    }
}

/// The public key as a JWK set (RFC 7517).
pub fn jwks(issuer: &Issuer) -> String {
    let point = &issuer.point()[1..];
    let [x, y] = [&point[..32], &point[32..]].map(|half| URL_SAFE_NO_PAD.encode(half));
    json!({"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "1", "x": x, "y": y}]})
        .to_string()
}

async fn read(servers: &str, more: Pairs<'_>) -> Outcome {
    let (upstream, query) = trigger_by(Arc::new(Now), servers, "workers", more);
    let outcome = upstream.read(&[query]).await.pop().expect("an outcome");
    upstream.close().await;
    outcome
}

pub async fn a_token_is_asked_for_shown_and_renewed(broker: &Broker) {
    let claims = json!({"sub": "rig", "scope": "lag"});
    let (server, uri) = Server::start(broker.issuer.clone(), claims).await;
    let client = [
        ("topic", "orders"),
        ("sasl", "oauthbearer"),
        ("oauthTokenEndpointUri", uri.as_str()),
        ("scopes", "lag, metrics"),
        ("username", CLIENT),
        ("oauthExtensions", "logicalCluster=lkc-1,identityPoolId=pool-1"),
    ];
    let right = [&client[..], &[("password", SECRET)]].concat();

    // The broker ends what a token was for when that ends, whatever its server said of it: another is asked for within the same
    // reading. A new connection is shown the token there is.
    server.seconds.store(2, Ordering::SeqCst);
    let (upstream, query) = trigger_by(Arc::new(Now), &broker.login(), "workers", &right);
    let queries = [query];
    assert_eq!(value(&upstream.read(&queries).await[0]), 4.0);
    upstream.close().await;
    let until = Instant::now() + Duration::from_secs(60);
    while server.asked() == 1 {
        assert!(Instant::now() < until, "the broker takes a token for good");
        assert_eq!(value(&upstream.read(&queries).await[0]), 4.0);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(server.asked(), 2);
    upstream.close().await;
    // So it is with one that a login is refused with.
    server.seconds.store(3, Ordering::SeqCst);
    let (upstream, _) = trigger_by(Arc::new(Now), &broker.login(), "workers", &right);
    assert_eq!(value(&upstream.read(&queries).await[0]), 4.0);
    while server.asked() == 3 {
        assert!(Instant::now() < until, "the broker takes a token for good");
        upstream.close().await;
        // Longer than the token lasts and is tolerated: it is refused where it is shown again.
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(value(&upstream.read(&queries).await[0]), 4.0);
    }
    assert_eq!(server.asked(), 4);
    upstream.close().await;
    // One that is slower than the time of a reading is waited for by the next one.
    *server.delay.lock().expect("a lock") = DEADLINE / 2;
    let (upstream, _) = trigger_by(Arc::new(Now), &broker.login(), "workers", &right);
    let outcomes = upstream.read(&queries).await;
    let (kind, message) = failed(&outcomes[0]);
    assert!(kind == FailureKind::Timeout && message.contains("token server"), "{message}");
    read_until(&*upstream, &queries, DEADLINE * 4, |outcomes| matches!(outcomes[0], Outcome::Ok(_))).await;
    assert_eq!(server.asked(), 5);
    upstream.close().await;
    *server.delay.lock().expect("a lock") = Duration::ZERO;

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
