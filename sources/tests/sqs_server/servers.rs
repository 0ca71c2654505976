//! Figures of real queues, and real servers that are frozen, killed, or refuse.

use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;
use windlass_decision::{FailureKind, Outcome};
use windlass_sources::{Given, Query};

use super::fake::{Answer, Fake};
use super::server::{Server, free_port};
use super::{KEYS, absent, failed, read, read_until, trigger, trigger_with, trigger_within, value};

/// A queue's URL.
async fn create(client: &Client, name: &str) -> String {
    let mut request = client.create_queue().queue_name(name);
    if name.ends_with(".fifo") {
        request = request.attributes(QueueAttributeName::FifoQueue, "true");
    }
    request.send().await.expect("a queue").queue_url.expect("a URL")
}

async fn send(client: &Client, url: &str, count: usize, delay: Option<i32>) {
    for n in 0..count {
        let mut message = client.send_message().queue_url(url).message_body(format!("message {n}"));
        if url.ends_with(".fifo") {
            message = message.message_group_id("g").message_deduplication_id(n.to_string());
        }
        message.set_delay_seconds(delay).send().await.expect("sent");
    }
}

/// Receives one message and keeps it.
async fn receive(client: &Client, url: &str) {
    let answer = client.receive_message().queue_url(url).max_number_of_messages(1).visibility_timeout(600).send().await;
    assert_eq!(answer.expect("an answer").messages().len(), 1);
}

/// Everything that a server in good health is asked.
async fn figures(server: &Server) {
    let (client, address) = (server.client(), server.address());
    let url = create(&client, "orders").await;
    for queue in [url.as_str(), "orders"] {
        assert_eq!(value(&read(&address, queue, &[]).await), 0.0);
    }
    send(&client, &url, 4, None).await;
    send(&client, &url, 2, Some(600)).await;
    receive(&client, &url).await;
    // scaleOnInFlight, scaleOnDelayed, then: 3 are visible, 1 is in flight, 2 are delayed
    let table = [("", "", 4.0), ("false", "", 3.0), ("true", "true", 6.0), ("false", "true", 5.0)];
    for queue in [url.as_str(), "orders"] {
        for (in_flight, delayed, wanted) in table {
            let more = [("scaleOnInFlight", in_flight), ("scaleOnDelayed", delayed)];
            assert_eq!(value(&read(&address, queue, &more).await), wanted, "{queue} {more:?}");
        }
    }
    let (upstream, everything) = trigger(&address, "orders", &[("scaleOnDelayed", "true")]);
    let (_, little) = trigger(&address, &url, &[("scaleOnInFlight", "false")]);

    let fifo = create(&client, "bills.fifo").await;
    send(&client, &fifo, 3, None).await;
    receive(&client, &fifo).await;
    let (_, fifo) = trigger(&address, &fifo, &[]);
    let (_, fifo_by_name) = trigger(&address, "bills.fifo", &[("scaleOnInFlight", "false")]);

    let (_, gone) = trigger(&address, &url.replace("orders", "gone"), &[]);
    let (_, gone_by_name) = trigger(&address, "gone", &[]);
    let outcomes = upstream.read(&[gone, everything, gone_by_name, little, fifo, fifo_by_name]).await;
    for index in [0, 2] {
        assert!(absent(&outcomes[index]).contains("no queue \"gone\""), "{outcomes:?}");
    }
    let values: Vec<_> = [1, 3, 4, 5].map(|index| value(&outcomes[index])).to_vec();
    assert_eq!(values, [6.0, 3.0, 3.0, 2.0]);
    assert_eq!(upstream.read(&[]).await, []);

    // A queue that comes, goes and comes again is found by its name each time.
    let (upstream, late) = trigger(&address, "late", &[]);
    let late = [late];
    for _ in 0..2 {
        assert!(matches!(&upstream.read(&late).await[0], Outcome::Absent(_)));
        let url = create(&client, "late").await;
        send(&client, &url, 1, None).await;
        assert_eq!(value(&upstream.read(&late).await[0]), 1.0);
        client.delete_queue().queue_url(url).send().await.expect("deleted");
    }
}

#[tokio::test]
async fn elasticmq() {
    let mut server = Server::elasticmq().await;
    figures(&server).await;
    many_queues_in_one_batch(&server).await;
    requests_per_reading(&server).await;
    frozen_and_thawed(&server).await;
    killed_and_back(&mut server).await;
}

#[tokio::test]
async fn moto() {
    let mut server = Server::moto(&[]).await;
    figures(&server).await;
    frozen_and_thawed(&server).await;
    killed_and_back(&mut server).await;
}

async fn many_queues_in_one_batch(server: &Server) {
    let (client, address) = (server.client(), server.address());
    let mut queries: Vec<Query> = Vec::new();
    for n in 0..120_usize {
        let name = format!("many-{n}");
        let url = create(&client, &name).await;
        send(&client, &url, n % 4, None).await;
        queries.push(trigger(&address, if n % 2 == 0 { &url } else { &name }, &[]).1);
    }
    let (upstream, _) = trigger(&address, "many-0", &[]);
    for round in 0..2 {
        let began = Instant::now();
        let outcomes = upstream.read(&queries).await;
        println!("120 queues, round {round}: {:?}", began.elapsed());
        let values: Vec<_> = outcomes.iter().map(value).collect();
        assert_eq!(values, (0..120).map(|n| f64::from(n % 4)).collect::<Vec<_>>());
    }
}

/// Each request is billed: what a reading costs is counted between the source and a real server.
async fn requests_per_reading(server: &Server) {
    let (client, real) = (server.client(), server.address());
    let url = create(&client, "billed").await;
    create(&client, "other").await;
    let between = Fake::start(move |_| Answer::Forward(real.clone())).await;
    let address = between.address();
    let (upstream, by_url) = trigger(&address, &url, &[]);
    let visible_only = trigger(&address, &url, &[("scaleOnInFlight", "false"), ("queueLength", "9")]).1;
    let by_name = trigger(&address, "other", &[]).1;
    // Three triggers of two queues: one request per queue, and one more in the first reading for the name.
    let queries = [by_url.clone(), visible_only, by_name];
    let billed = async || {
        assert!(upstream.read(&queries).await.iter().all(|outcome| value(outcome) == 0.0));
        let mut actions = between.actions();
        actions.sort();
        actions
    };
    assert_eq!(billed().await, ["GetQueueAttributes", "GetQueueAttributes", "GetQueueUrl"]);
    for _ in 0..3 {
        assert_eq!(billed().await, ["GetQueueAttributes", "GetQueueAttributes"]);
    }
    let month = 30 * 24 * 3600 / 10;
    assert_eq!(month, 259_200, "requests per queue and month, as the README says");
}

async fn frozen_and_thawed(server: &Server) {
    let address = server.address();
    create(&server.client(), "frozen").await;
    let deadline = Duration::from_millis(1500);
    let (upstream, query) = trigger_within(deadline, &address, "frozen", &[]);
    let queries = vec![query; 3];
    assert_eq!(value(&upstream.read(&queries).await[2]), 0.0);
    server.freeze().await;
    for _ in 0..2 {
        let began = Instant::now();
        let outcomes = upstream.read(&queries).await;
        assert!(began.elapsed() < deadline + Duration::from_millis(500), "{:?}", began.elapsed());
        assert_eq!(outcomes.len(), 3);
        for outcome in &outcomes {
            let (kind, field, message) = failed(outcome);
            assert_eq!((kind, field), (FailureKind::Timeout, "metadata.awsEndpoint"), "{message}");
            assert!(message.contains("did not answer in time"), "{message}");
        }
    }
    server.thaw();
    read_until(&*upstream, &queries, Duration::from_secs(10), |outcomes| matches!(outcomes[0], Outcome::Ok(_))).await;
}

async fn killed_and_back(server: &mut Server) {
    let address = server.address();
    let url = create(&server.client(), "restart").await;
    let (upstream, by_url) = trigger(&address, &url, &[]);
    let queries = [by_url, trigger(&address, "restart", &[]).1];
    assert!(upstream.read(&queries).await.iter().all(|outcome| value(outcome) == 0.0));
    server.kill();
    for _ in 0..2 {
        for outcome in upstream.read(&queries).await {
            let (kind, _, message) = failed(&outcome);
            assert_eq!(kind, FailureKind::Unreachable, "{message}");
            assert!(message.contains(&address) && message.contains("network policies"), "{message}");
        }
    }
    server.restart().await;
    // Its queues went with it.
    assert!(upstream.read(&queries).await.iter().all(|outcome| matches!(outcome, Outcome::Absent(_))));
    let url = create(&server.client(), "restart").await;
    send(&server.client(), &url, 2, None).await;
    assert!(upstream.read(&queries).await.iter().all(|outcome| value(outcome) == 2.0));
    upstream.close().await;
}

#[tokio::test]
async fn a_wrong_endpoint_is_told_apart() {
    let nobody = format!("127.0.0.1:{}", free_port());
    let silent = Fake::start(|_| Answer::Says(200, String::new())).await;
    let plain = silent.address().replace("http://", "https://");
    let table = [
        (format!("http://{nobody}"), FailureKind::Unreachable, "refused"),
        (format!("https://{nobody}"), FailureKind::Unreachable, "refused"),
        ("http://no-such-host.invalid".to_owned(), FailureKind::Unreachable, "cannot reach"),
        (plain, FailureKind::Tls, "no TLS"),
        (silent.address(), FailureKind::BadAnswer, "ApproximateNumberOfMessages"),
    ];
    for (address, wanted, words) in table {
        let outcome = read(&address, "http://any/000000000000/orders", &[]).await;
        let (kind, field, message) = failed(&outcome);
        assert_eq!((kind, field), (wanted, "metadata.awsEndpoint"), "{address}: {message}");
        assert!(message.contains(words), "{address}: {message}");
    }
}

/// moto with its checks of keys and policies on, after the few calls that make a user.
#[tokio::test]
async fn keys_and_policies_are_real() {
    let server = Server::moto(&[("INITIAL_NO_AUTH_ACTION_COUNT", "6")]).await;
    let address = server.address();
    let url = create(&server.client(), "guarded").await; // 2, after the one that asks whether it is up
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let iam = async |form: &[(&str, &str)]| {
        let body: String = form.iter().map(|(key, value)| format!("{key}={value}&")).collect();
        let answer = http
            .post(&address)
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=test/20261126/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0",
            )
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("{body}Version=2010-05-08"))
            .send()
            .await
            .expect("an answer");
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        assert!(status.is_success(), "{status} {text}");
        text
    };
    iam(&[("Action", "CreateUser"), ("UserName", "reader")]).await; // 3
    let keys = iam(&[("Action", "CreateAccessKey"), ("UserName", "reader")]).await; // 4
    let policy = percent_encoding::utf8_percent_encode(
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sqs:GetQueueAttributes","Resource":"*"}]}"#,
        percent_encoding::NON_ALPHANUMERIC,
    )
    .to_string();
    let put = [("Action", "PutUserPolicy"), ("UserName", "reader"), ("PolicyName", "p"), ("PolicyDocument", &policy)];
    iam(&put).await; // 5
    iam(&[("Action", "GetUser"), ("UserName", "reader")]).await; // 6: from here on, nobody is taken at their word
    let between = |from: &str, to: &str| {
        let rest = keys.split(from).nth(1).expect("a key");
        rest.split(to).next().expect("an end").to_owned()
    };
    let id = between("<AccessKeyId>", "</AccessKeyId>");
    let secret = between("<SecretAccessKey>", "</SecretAccessKey>");
    let ask = async |queue: &str, id: &str, secret: &str| {
        let pairs = [
            ("awsEndpoint", address.as_str()),
            ("queueURL", queue),
            ("awsAccessKeyID", id),
            ("awsSecretAccessKey", secret),
        ];
        let (upstream, query) = trigger_with(&Given::default(), super::DEADLINE, &pairs);
        upstream.read(&[query]).await.remove(0)
    };
    assert_eq!(value(&ask(&url, &id, &secret).await), 0.0);
    let table = [
        (url.as_str(), KEYS[0].1, secret.as_str(), "sqs:GetQueueAttributes"),
        (url.as_str(), id.as_str(), "S3CR3T", "check the credentials"),
        ("guarded", id.as_str(), secret.as_str(), "sqs:GetQueueUrl"),
    ];
    for (queue, id, secret, words) in table {
        let outcome = ask(queue, id, secret).await;
        let (kind, field, message) = failed(&outcome);
        assert_eq!((kind, field), (FailureKind::Unauthorised, "metadata.awsAccessKeyID"), "{message}");
        assert!(message.contains(words), "{message}");
        assert!(!message.contains(id) && !message.contains(secret), "{message}");
    }
}
