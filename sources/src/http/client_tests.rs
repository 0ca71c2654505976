//! What is asked, and above all what is not: every way to write an address, names that lead home, redirects, endless answers.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode as Status, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use super::*;

/// A server on loopback that counts who comes.
struct Server {
    port: u16,
    asked: Arc<AtomicUsize>,
}

impl Server {
    async fn start() -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let count = Arc::clone(&asked);
        let endless = || async { Body::from_stream(stream::repeat_with(|| Ok::<_, io::Error>(vec![b' '; 65_536]))) };
        let stalled = || async { Body::from_stream(stream::pending::<io::Result<Vec<u8>>>()) };
        let echo = |headers: HeaderMap| async move {
            let all: Vec<_> =
                headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?"))).collect();
            all.join("\n")
        };
        let refused = || async { (Status::BAD_REQUEST, "S3CR3T").into_response() };
        let redirect = || async { (Status::FOUND, [(header::LOCATION, "/")]).into_response() };
        let app = Router::new()
            .route("/", get(|| async { "here" }))
            .route("/redirect", get(redirect))
            .route("/endless", get(endless))
            .route("/stalled", get(stalled))
            .route("/echo", get(echo))
            .route("/refused", get(refused))
            .layer(axum::middleware::from_fn(move |request, next: axum::middleware::Next| {
                count.fetch_add(1, Ordering::Relaxed);
                next.run(request)
            }));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { port, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    async fn get(&self, policy: &NetworkPolicy, host: &str, path: &str) -> Result<(StatusCode, Vec<u8>), Trouble> {
        ask(policy, &format!("http://{host}:{}{path}", self.port)).await
    }
}

fn request(url: &str) -> Request<'static> {
    let url = Url::parse(url).expect("a URL");
    Request { url, basic: None, headers: Vec::new(), time: Duration::from_secs(5), limit: 1 << 20 }
}

fn client(policy: &NetworkPolicy, url: &Url) -> Arc<Client> {
    let tls = url.scheme() == "https";
    let port = url.port_or_known_default().expect("a port");
    let endpoint = Endpoint { tls, host: url.host_str().expect("a host").to_owned(), port, path: String::new() };
    policy.client(&endpoint, &Tls::default()).expect("a client")
}

async fn ask(policy: &NetworkPolicy, url: &str) -> Result<(StatusCode, Vec<u8>), Trouble> {
    let request = request(url);
    client(policy, &request.url).get(request).await
}

#[tokio::test]
async fn no_way_of_writing_an_address_leads_home() {
    let server = Server::start().await;
    let closed = NetworkPolicy::default();
    let open = NetworkPolicy::default().allow_loopback(true);
    let own: SocketAddr = ([0, 0, 0, 0], server.port).into();
    let own = open.clone().deny(own);
    let hosts = [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "017700000001",
        "2130706433",
        "%31%32%37.0.0.1",
        "１２７.０.０.１",
        "127。0。0。1",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:7f00:0001]",
        "prometheus.example@127.0.0.1",
        "prometheus.example:80@127.1",
        "localhost",
        "LOCALHOST",
    ];
    for host in hosts {
        for policy in [&closed, &own] {
            let answer = server.get(policy, host, "/").await;
            assert!(matches!(answer, Err(Trouble::Denied(_))), "{host}: {answer:?}");
        }
    }
    assert_eq!(server.asked(), 0);
    // The very same hosts are the server's own: each denial above was needed.
    for (count, host) in hosts.iter().enumerate() {
        let answer = server.get(&open, host, "/").await.unwrap_or_else(|trouble| panic!("{host}: {trouble:?}"));
        assert_eq!(answer, (StatusCode::OK, b"here".to_vec()), "{host}");
        assert_eq!(server.asked(), count + 1, "{host}");
    }
}

#[tokio::test]
async fn a_name_that_resolves_to_loopback_is_denied_where_it_is_resolved() {
    let server = Server::start().await;
    let open = NetworkPolicy::default().allow_loopback(true);
    assert!(open.resolve("localhost", server.port).await.expect("resolved").is_ok_and(|found| !found.is_empty()));
    let own = open.deny(SocketAddr::from(([127, 0, 0, 1], server.port)));
    assert!(own.resolve("localhost", server.port).await.expect("resolved").is_err());
    assert!(own.resolve("localhost", server.port + 1).await.expect("resolved").is_ok());
    // Not every resolver knows the name with its dot, or below it.
    for host in ["localhost.", "shop.localhost", "shop.localhost."] {
        let answer = server.get(&NetworkPolicy::default(), host, "/").await;
        assert!(matches!(answer, Err(Trouble::Denied(_))), "{host}: {answer:?}");
    }
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn other_places_are_denied_before_anything_is_sent() {
    let policy = NetworkPolicy::default().allow_loopback(true);
    let urls = [
        "http://169.254.169.254/latest/meta-data/",
        "http://0xa9fea9fe/",
        "http://2852039166/",
        "http://[::ffff:169.254.169.254]/",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/",
        "http://0/",
        "http://0.0.0.0:8080/",
        "http://[::]/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://Metadata.Google.Internal./",
        "http://metadata/",
        "https://169.254.169.254/",
    ];
    for url in urls {
        let began = Instant::now();
        let answer = ask(&policy, url).await;
        assert!(matches!(answer, Err(Trouble::Denied(_))), "{url}: {answer:?}");
        assert!(began.elapsed() < Duration::from_secs(2), "{url}");
    }
}

#[tokio::test]
async fn a_redirect_is_answered_by_its_status_and_never_followed() {
    let server = Server::start().await;
    let open = NetworkPolicy::default().allow_loopback(true);
    assert_eq!(server.get(&open, "127.0.0.1", "/redirect").await, Ok((StatusCode::FOUND, Vec::new())));
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn a_client_asks_no_other_port_than_its_own() {
    let server = Server::start().await;
    let open = NetworkPolicy::default().allow_loopback(true);
    let other = client(&open, &Url::parse("http://127.0.0.1:1").expect("a URL"));
    assert_eq!(other.get(request(&format!("http://127.0.0.1:{}/", server.port))).await, Err(Trouble::Unusable));
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn answers_end_at_their_limit_and_at_their_time() {
    let server = Server::start().await;
    let open = NetworkPolicy::default().allow_loopback(true);
    assert_eq!(server.get(&open, "127.0.0.1", "/endless").await, Err(Trouble::TooLarge(1 << 20)));
    let began = Instant::now();
    let mut asked = request(&format!("http://127.0.0.1:{}/stalled", server.port));
    asked.time = Duration::from_millis(200);
    assert_eq!(client(&open, &asked.url).get(asked).await, Err(Trouble::Timeout));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_error_brings_its_status_and_not_its_content() {
    let server = Server::start().await;
    let open = NetworkPolicy::default().allow_loopback(true);
    assert_eq!(server.get(&open, "127.0.0.1", "/refused").await, Ok((StatusCode::BAD_REQUEST, Vec::new())));
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    for url in [
        format!("http://{free}/?key=S3CR3T"),
        format!("https://{free}/?key=S3CR3T"),
        "http://no-such-host.invalid/?key=S3CR3T".to_owned(),
    ] {
        let trouble = ask(&open, &url).await.expect_err("nobody listens");
        assert!(matches!(trouble, Trouble::Unreachable(_)), "{trouble:?}");
        assert!(!format!("{trouble:?}").contains("S3CR3T"), "{trouble:?}");
    }
    let trouble = server.get(&open, "127.0.0.1", "/").await;
    assert!(trouble.is_ok());
    let https = ask(&open, &format!("https://127.0.0.1:{}/", server.port)).await;
    assert!(matches!(https, Err(Trouble::Tls(_))), "{https:?}");
}

#[tokio::test]
async fn credentials_and_headers_arrive() {
    let server = Server::start().await;
    let open = NetworkPolicy::default().allow_loopback(true);
    let mut asked = request(&format!("http://127.0.0.1:{}/echo?key=sesame", server.port));
    let (password, value) = (Secret::new("open sesame"), Secret::new("orders"));
    asked.basic = Some(("aladdin", Some(&password)));
    asked.headers = vec![("X-Scope-OrgID", &value)];
    let shown = format!("{asked:?}");
    let (_, body) = client(&open, &asked.url).get(asked).await.expect("an answer");
    let body = String::from_utf8(body).expect("text");
    assert!(body.contains("authorization: Basic YWxhZGRpbjpvcGVuIHNlc2FtZQ=="), "{body}");
    assert!(body.contains("x-scope-orgid: orders") && body.contains("user-agent: windlass/"), "{body}");
    assert!(!shown.contains("sesame"), "{shown}");
}

#[tokio::test]
async fn whoever_trusts_the_same_shares_a_client_while_somebody_holds_it() {
    let policy = NetworkPolicy::default();
    let url = |text: &str| Url::parse(text).expect("a URL");
    let first = client(&policy, &url("https://a.example"));
    assert!(Arc::ptr_eq(&first, &client(&policy, &url("https://b.example"))));
    assert!(!Arc::ptr_eq(&first, &client(&policy, &url("https://a.example:8443"))));
    assert!(!Arc::ptr_eq(&first, &client(&policy, &url("http://a.example:443"))));
    // Another policy never uses a client of this one.
    assert!(!Arc::ptr_eq(&first, &client(&policy.clone().allow_loopback(true), &url("https://a.example"))));
    drop(first);
    drop(client(&policy, &url("http://a.example")));
    assert!(policy.clients.0.lock().expect("no panic").len() <= 1, "{:?}", policy.clients);
    let broken = Tls {
        ca: Some(Secret::new("-----BEGIN CERTIFICATE-----\nS3CR3T\n-----END CERTIFICATE-----")),
        ..Tls::default()
    };
    let endpoint = Endpoint { tls: true, host: "a.example".to_owned(), port: 443, path: String::new() };
    let trouble = policy.client(&endpoint, &broken).expect_err("no certificate");
    assert!(matches!(&trouble, Trouble::Tls(why) if !why.contains("S3CR3T")), "{trouble:?}");
}
