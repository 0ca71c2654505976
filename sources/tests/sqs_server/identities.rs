//! As whom AWS is asked: roles, and the identity of the operator's own pod. What a pod is given stands in its environment, so
//! each case reads in a process of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use windlass_decision::Outcome;
use windlass_sources::{Given, NetworkPolicy, PodIdentity};

use super::fake::{Answer, Fake, Request};
use super::server::Server;
use super::{KEYS, trigger_through};

const URL: &str = "http://sqs/123456789012/orders";
const ROLE: &str = "arn:aws:iam::123456789012:role/reader";
/// Tells the test below that it is such a process, and of which case.
const CASE: &str = "WINDLASS_TEST_SQS_CASE";
/// A port of loopback that triggers may not name.
const KEPT: &str = "WINDLASS_TEST_SQS_KEPT_PORT";

/// Reads twice and prints what came of it. Does nothing unless another test starts it.
#[tokio::test]
#[ignore = "started by the other tests of this module"]
async fn child() {
    let case = std::env::var(CASE).expect("started by another test");
    // Everything that any crate logs, so that the parent can look for secrets in it.
    tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(std::io::stderr).init();
    tracing::trace!("logging works");
    let address = std::env::var("WINDLASS_TEST_SQS_ADDRESS").expect("an address");
    let identity = |role_arn: Option<&str>, external_id: Option<&str>| Given {
        identity: PodIdentity::Aws {
            role_arn: role_arn.map(str::to_owned),
            external_id: external_id.map(str::to_owned),
        },
        ..Given::default()
    };
    let (given, more) = match case.as_str() {
        "pod" => (identity(None, None), vec![]),
        "pod with role" => (identity(Some(ROLE), None), vec![]),
        "pod with role and external id" => (identity(Some(ROLE), Some("external")), vec![]),
        "operator" => (Given::default(), vec![("identityOwner", "operator")]),
        "keys" => (Given::default(), KEYS.to_vec()),
        "keys at AWS" => (Given::default(), [&KEYS[..], &[("awsEndpoint", ""), ("queueURL", "orders")]].concat()),
        "role" => (Given::default(), vec![("awsRoleArn", ROLE)]),
        "keys with role" => (Given::default(), [&KEYS[..], &[("awsRoleArn", ROLE)]].concat()),
        other => panic!("no such case: {other}"),
    };
    let pairs = [&[("awsEndpoint", address.as_str()), ("queueURL", URL)][..], &more].concat();
    let mut network = NetworkPolicy::default().allow_loopback(true);
    if let Ok(port) = std::env::var(KEPT) {
        network = network.deny(SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port"))));
    }
    let (upstream, query) = trigger_through(network, &given, Duration::from_secs(5), &pairs);
    for _ in 0..2 {
        match upstream.read(std::slice::from_ref(&query)).await.remove(0) {
            Outcome::Ok(sample) => println!("\n> ok {}", sample.value),
            Outcome::Failed(failure) => {
                println!("\n> {} {:?} {}", failure.kind.as_str(), failure.field, failure.message)
            }
            other @ Outcome::Absent(_) => println!("\n> {other:?}"),
        }
    }
}

/// What the process of a case prints of its two readings.
async fn run(case: &str, address: &str, environment: &[(&str, &str)]) -> [String; 2] {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "identities::child", "--ignored", "--nocapture", "--test-threads", "1"]);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    let home = tempfile::tempdir().expect("a home without a profile");
    command.env("HOME", home.path()).env(CASE, case).env("WINDLASS_TEST_SQS_ADDRESS", address);
    command.env("AWS_EC2_METADATA_DISABLED", "true").envs(environment.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let shown = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{case}: {shown}");
    assert!(shown.contains("logging works"), "{case}: nothing was logged");
    for secret in ["S3CR3T", "token-of-", "a.web.token"] {
        let lines: Vec<_> = shown.lines().filter(|line| line.contains(secret)).collect();
        assert!(lines.is_empty(), "{case}: {secret} is shown: {lines:#?}");
    }
    let lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("> ")).map(str::to_owned).collect();
    lines.try_into().unwrap_or_else(|lines| panic!("{case}: {lines:?} {shown}"))
}

/// STS's answer to `action`, with keys that tell how they were had.
fn assumed(action: &str, id: &str) -> Answer {
    Answer::Says(
        200,
        format!(
            "<{action}Response><{action}Result><Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>S3CR3T</SecretAccessKey>\
             <SessionToken>token-of-{id}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
             <AssumedRoleUser><Arn>{ROLE}</Arn><AssumedRoleId>x:y</AssumedRoleId></AssumedRoleUser></{action}Result></{action}Response>"
        ),
    )
}

/// AWS in one: SQS, STS and the agent of EKS Pod Identity. A pod's token is enough for a role unless `token_refused`.
async fn aws(token_refused: bool) -> Fake {
    Fake::start(move |request| match request.action.as_str() {
        "AssumeRoleWithWebIdentity" if token_refused && request.body.contains("reader") => {
            Answer::Says(403, "<ErrorResponse><Error><Code>AccessDenied</Code><Message>S3CR3T</Message></Error></ErrorResponse>".to_owned())
        }
        "AssumeRoleWithWebIdentity" => assumed("AssumeRoleWithWebIdentity", "AKIDWEB"),
        "AssumeRole" => assumed("AssumeRole", "AKIDROLE"),
        "GetQueueAttributes" => Answer::counts("4", "0", "0"),
        _ => Answer::Says(
            200,
            r#"{"AccessKeyId":"AKIDPOD","SecretAccessKey":"S3CR3T","Token":"token-of-AKIDPOD","Expiration":"2099-01-01T00:00:00Z"}"#.to_owned(),
        ),
    })
    .await
}

/// Who signed, and what was asked: `GetQueueAttributes as AKIDPOD`.
fn signed(requests: &[Request]) -> Vec<String> {
    let by = |request: &Request| {
        let authorization = request.header("authorization");
        let id = authorization.split("Credential=").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or("nobody");
        let token = request.header("x-amz-security-token");
        assert!(token.is_empty() || token == format!("token-of-{id}"), "{token} of {id}");
        format!("{} as {id}", request.action)
    };
    requests.iter().map(by).collect()
}

#[tokio::test]
async fn the_pod_s_own_identity_and_the_roles_it_takes_on() {
    let files = tempfile::tempdir().expect("a directory");
    let token = files.path().join("token");
    std::fs::write(&token, "a.web.token").expect("written");
    let token = token.to_str().expect("a path");
    const OWN: &str = "arn:aws:iam::123456789012:role/operator";
    let irsa: &[(&str, &str)] =
        &[("AWS_WEB_IDENTITY_TOKEN_FILE", token), ("AWS_ROLE_ARN", OWN), ("AWS_ROLE_SESSION_NAME", "s")];
    const ATTRIBUTES: &str = "GetQueueAttributes as";
    const WEB: &str = "AssumeRoleWithWebIdentity as nobody";
    // case, whether the role refuses the pod's token, EKS Pod Identity in place of IRSA, then what is asked in two readings
    type Case = (&'static str, bool, bool, &'static [&'static str], &'static str);
    let table: &[Case] = &[
        ("pod", false, false, &[WEB], "AKIDWEB"),
        ("operator", false, false, &[WEB], "AKIDWEB"),
        ("pod with role", false, false, &[WEB], "AKIDWEB"),
        ("pod with role", true, false, &[WEB, WEB, "AssumeRole as AKIDWEB"], "AKIDROLE"),
        ("pod with role and external id", false, false, &[WEB, "AssumeRole as AKIDWEB"], "AKIDROLE"),
        ("role", true, false, &[WEB, WEB, "AssumeRole as AKIDWEB"], "AKIDROLE"),
        ("pod", false, true, &["GET / HTTP/1.1 as nobody"], "AKIDPOD"),
        ("pod with role", false, true, &["GET / HTTP/1.1 as nobody", "AssumeRole as AKIDPOD"], "AKIDROLE"),
        ("keys with role", false, false, &["AssumeRole as AKIDEXAMPLE"], "AKIDROLE"),
    ];
    for (case, token_refused, agent, before, id) in table {
        let fake = aws(*token_refused).await;
        let address = fake.address();
        let agent_uri = format!("{address}/");
        let sts = [("AWS_ENDPOINT_URL_STS", address.as_str())];
        let pod: &[(&str, &str)] =
            &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent_uri), ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token)];
        let environment = [&sts[..], if *agent { pod } else { irsa }].concat();
        let lines = run(case, &address, &environment).await;
        let requests = fake.requests();
        assert_eq!(lines, ["ok 4", "ok 4"], "{case} {requests:?}");
        let asked = signed(&requests);
        let reading = format!("{ATTRIBUTES} {id}");
        let wanted: Vec<_> = before.iter().copied().chain([reading.as_str(), reading.as_str()]).collect();
        assert_eq!(asked, wanted, "{case}, {token_refused}, {agent}: the identity is had once");
        for request in requests.iter().filter(|request| request.action == "AssumeRole") {
            assert_eq!(request.body.contains("ExternalId=external"), case.contains("external"), "{}", request.body);
        }
    }
}

#[tokio::test]
async fn without_an_identity_the_message_says_whose_is_missing() {
    let refusing = Fake::start(|request| match request.action.as_str() {
        "GetQueueAttributes" => Answer::counts("4", "0", "0"),
        _ => Answer::Says(
            403,
            "<ErrorResponse><Error><Code>AccessDenied</Code><Message>S3CR3T</Message></Error></ErrorResponse>"
                .to_owned(),
        ),
    })
    .await;
    let hanging = Fake::start(|_| Answer::Nothing).await;
    let address = refusing.address();
    let sts = |fake: &Fake| [("AWS_ENDPOINT_URL_STS", fake.address())];
    let nowhere = [("AWS_ENDPOINT_URL_STS", format!("http://127.0.0.1:{}", super::server::free_port()))];
    let table = [
        (
            "pod",
            sts(&refusing),
            "unauthorised Some(\"metadata.identityOwner\") the operator has no AWS identity of its own",
        ),
        (
            "role",
            sts(&refusing),
            "unauthorised Some(\"metadata.awsRoleArn\") the operator has no AWS identity of its own",
        ),
        (
            "keys with role",
            sts(&refusing),
            "unauthorised Some(\"metadata.awsRoleArn\") AWS does not hand out the role arn:aws:iam::123456789012:role/reader",
        ),
        (
            "keys with role",
            sts(&hanging),
            "timeout Some(\"metadata.awsRoleArn\") the role arn:aws:iam::123456789012:role/reader was not had in time",
        ),
        (
            "keys with role",
            nowhere,
            "unreachable Some(\"metadata.awsRoleArn\") the role arn:aws:iam::123456789012:role/reader was not had: its issuer cannot be reached: Connection refused",
        ),
    ];
    for (case, environment, wanted) in table {
        let environment: Vec<_> = environment.iter().map(|(key, value)| (*key, value.as_str())).collect();
        for line in run(case, &address, &environment).await {
            assert!(line.starts_with(wanted), "{case}: {line}");
        }
        let asked: Vec<_> = refusing.actions().into_iter().filter(|action| action == "GetQueueAttributes").collect();
        assert!(asked.is_empty(), "{case}: asked without an identity");
    }
}

/// What is kept from triggers is not kept from the operator: its environment names STS and the agent of its own pod.
#[tokio::test]
async fn an_issuer_may_be_where_no_trigger_may() {
    let (issuer, sqs) = (aws(false).await, aws(false).await);
    let (issuer_address, port) = (issuer.address(), issuer.port().to_string());
    let files = tempfile::tempdir().expect("a directory");
    let token = files.path().join("token");
    std::fs::write(&token, "a.web.token").expect("written");
    let agent = format!("{issuer_address}/");
    let environment = [
        (KEPT, port.as_str()),
        ("AWS_ENDPOINT_URL_STS", &issuer_address),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.to_str().expect("a path")),
    ];
    for (case, asked) in [("keys with role", 1), ("pod", 1), ("pod with role", 2)] {
        assert_eq!(run(case, &sqs.address(), &environment).await, ["ok 4", "ok 4"], "{case}");
        assert_eq!((issuer.requests().len(), sqs.requests().len()), (asked, 2), "{case}");
        for line in run(case, &issuer_address, &environment).await {
            assert!(
                line.contains("an address that the operator keeps to itself; correct awsEndpoint"),
                "{case}: {line}"
            );
        }
        let read = issuer.actions().into_iter().filter(|action| action == "GetQueueAttributes").count();
        assert_eq!(read, 0, "{case}");
    }
}

/// A proxy would resolve names by itself, so only AWS's own address is asked through one.
#[tokio::test]
async fn a_proxy_of_the_environment_is_for_aws_itself() {
    let (proxy, sqs) = (aws(false).await, aws(false).await);
    let address = proxy.address();
    let environment = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        .map(|name| (name, address.as_str()));
    assert_eq!(run("keys", &sqs.address(), &environment).await, ["ok 4", "ok 4"]);
    assert!(proxy.requests().is_empty());
    // What the proxy says to that is no tunnel, so nothing is read.
    run("keys at AWS", "", &environment).await;
    let asked = proxy.actions();
    let tunnel = "CONNECT sqs.us-east-1.amazonaws.com:443 HTTP/1.1";
    assert!(!asked.is_empty() && asked.iter().all(|action| action == tunnel), "{asked:?}");
}

/// A node whose metadata service hangs delays nobody who has keys, and nobody for longer than a reading.
#[tokio::test]
async fn a_node_that_says_nothing_is_asked_only_where_there_is_nobody_else() {
    let (node, sqs) = (Fake::start(|_| Answer::Nothing).await, aws(false).await);
    let (address, node_address) = (sqs.address(), node.address());
    let environment = [
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", node_address.as_str()),
        ("AWS_ENDPOINT_URL_STS", address.as_str()),
    ];
    for case in ["keys", "keys with role"] {
        assert_eq!(run(case, &address, &environment).await, ["ok 4", "ok 4"], "{case}");
    }
    assert!(node.requests().is_empty(), "asked for no reason: {:?}", node.actions());
    let began = std::time::Instant::now();
    for line in run("pod", &address, &environment).await {
        assert!(line.contains("Some(\"metadata.identityOwner\")"), "{line}");
    }
    assert!(began.elapsed() < Duration::from_secs(20), "two readings of at most 5 s took {:?}", began.elapsed());
    assert!(!node.requests().is_empty());
}

/// A session that SQS no longer takes is not used again, whatever time it had left.
#[tokio::test]
async fn an_expired_role_is_taken_on_anew() {
    let ended = AtomicBool::new(false);
    let fake = Fake::start(move |request| match request.action.as_str() {
        "AssumeRole" => assumed("AssumeRole", "AKIDROLE"),
        _ if !ended.swap(true, Ordering::Relaxed) => Answer::error(400, "ExpiredTokenException"),
        _ => Answer::counts("4", "0", "0"),
    })
    .await;
    let address = fake.address();
    let [first, second] = run("keys with role", &address, &[("AWS_ENDPOINT_URL_STS", &address)]).await;
    assert!(first.starts_with("unauthorised") && first.contains("has expired"), "{first}");
    assert_eq!(second, "ok 4");
    assert_eq!(fake.actions(), ["AssumeRole", "GetQueueAttributes", "AssumeRole", "GetQueueAttributes"]);
}

/// The operator trusts the system's authorities, which `SSL_CERT_FILE` names.
#[tokio::test]
async fn tls_is_verified() {
    let server = Server::moto_with_tls().await;
    let (address, ca) = (server.address(), server.ca());
    let trusted = [("SSL_CERT_FILE", ca.to_str().expect("a path"))];
    let lines = run("keys", &address, &trusted).await;
    assert!(lines.iter().all(|line| line.starts_with("Absent") && line.contains("no queue")), "{lines:?}");
    for line in run("keys", &address, &[]).await {
        assert!(line.starts_with("tls Some(\"metadata.awsEndpoint\") no TLS with SQS at"), "{line}");
    }
}

/// moto's STS hands out the role's keys, and its SQS takes them.
#[tokio::test]
async fn a_role_of_a_real_sts() {
    let server = Server::moto(&[]).await;
    server.client().create_queue().queue_name("orders").send().await.expect("a queue");
    let address = server.address();
    let files = tempfile::tempdir().expect("a directory");
    let token = files.path().join("token");
    std::fs::write(&token, "a.web.token").expect("written");
    let environment = BTreeMap::from([
        ("AWS_ENDPOINT_URL_STS", address.as_str()),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().expect("a path")),
        ("AWS_ROLE_ARN", ROLE),
    ]);
    let environment: Vec<_> = environment.into_iter().collect();
    for case in ["pod", "pod with role and external id", "keys with role"] {
        assert_eq!(run(case, &address, &environment).await, ["ok 0", "ok 0"], "{case}");
    }
}
