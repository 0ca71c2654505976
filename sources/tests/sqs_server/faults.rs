//! What real servers on loopback never do: throttle, answer late or never, with errors of AWS, with garbage, without an end.

use std::time::{Duration, Instant};

use windlass_decision::{FailureKind, Outcome};

use super::fake::{Answer, Fake};
use super::{absent, failed, read, trigger, trigger_within, value};

const URL: &str = "http://sqs/123456789012/orders";

async fn answered(answer: Answer) -> Outcome {
    let fake = Fake::start(move |_| answer.clone()).await;
    let outcome = read(&fake.address(), URL, &[]).await;
    let actions = fake.actions();
    assert_eq!(actions, ["GetQueueAttributes"], "one attempt, whatever the answer is");
    outcome
}

#[tokio::test]
async fn errors_of_aws_say_what_to_do_and_are_not_repeated() {
    use FailureKind::{BadAnswer, Unauthorised};
    let key = "metadata.awsAccessKeyID";
    let table = [
        (400, "ExpiredTokenException", Unauthorised, key, "has expired"),
        (403, "ExpiredToken", Unauthorised, key, "awsSessionToken"),
        (403, "InvalidClientTokenId", Unauthorised, key, "does not know the access key"),
        (403, "SignatureDoesNotMatch", Unauthorised, key, "check awsSecretAccessKey"),
        (400, "RequestExpired", Unauthorised, key, "clock"),
        (400, "AccessDeniedException", Unauthorised, key, "allow sqs:GetQueueAttributes"),
        (400, "ThrottlingException", BadAnswer, "metadata.queueURL", "raise pollingInterval"),
        (403, "RequestThrottled", BadAnswer, "metadata.queueURL", "raise pollingInterval"),
        (401, "Odd", Unauthorised, key, "refuses the access key"),
        (429, "Odd", BadAnswer, "metadata.queueURL", "raise pollingInterval"),
        (404, "InvalidAddress", BadAnswer, "metadata.queueURL", "correct queueURL or awsRegion"),
        (500, "InternalFailure", BadAnswer, "metadata.awsEndpoint", "status 500"),
        (503, "ServiceUnavailable", BadAnswer, "metadata.awsEndpoint", "status 503"),
        (400, "S3CR3T", BadAnswer, "metadata.awsEndpoint", "an error with status 400"),
    ];
    for (status, code, kind, field, words) in table {
        let outcome = answered(Answer::error(status, code)).await;
        let (found, of, message) = failed(&outcome);
        assert_eq!((found, of), (kind, field), "{code}: {message}");
        assert!(message.contains(words), "{code}: {message}");
    }
    for code in ["QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"] {
        let outcome = answered(Answer::error(400, code)).await;
        let message = absent(&outcome);
        assert!(message.contains("no queue \"orders\"") && !message.contains("S3CR3T"), "{message}");
    }
}

#[tokio::test]
async fn garbage_is_never_a_figure() {
    let bodies = [
        "",
        "S3CR3T",
        "[]",
        "{}",
        "{\"Attributes\": null}",
        "{\"Attributes\": {}}",
        "{\"Attributes\": {\"ApproximateNumberOfMessages\": 3}}",
        "{\"Attributes\": {\"ApproximateNumberOfMessages\": \"3\"}}",
        "{\"Attributes\": {\"ApproximateNumberOfMessages\": \"3\", \"S3CR3T",
        "<html>S3CR3T</html>",
    ];
    let mut answers: Vec<_> = bodies.iter().map(|body| Answer::Says(200, (*body).to_owned())).collect();
    answers.extend(["-1", "3.5", "S3CR3T", "", "18446744073709551616"].map(|count| Answer::counts(count, "0", "0")));
    answers.extend([Answer::counts("1", "x", "0"), Answer::counts("18446744073709551615", "1", "0")]);
    answers.extend([Answer::Says(302, String::new()), Answer::Says(404, "<html>S3CR3T</html>".to_owned())]);
    answers.extend([Answer::Raw(b"S3CR3T S3CR3T\r\n\r\n".to_vec()), Answer::Endless]);
    for answer in answers {
        let outcome = answered(answer.clone()).await;
        let (kind, _, message) = failed(&outcome);
        assert_eq!(kind, FailureKind::BadAnswer, "{answer:?}: {message}");
    }
    // A count that nobody asked for may be anything.
    assert_eq!(value(&answered(Answer::counts("1", "2", "x")).await), 3.0);

    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"Attributes\"".to_vec();
    for answer in [Answer::Raw(cut), Answer::Raw(Vec::new()), Answer::Hangs] {
        let outcome = answered(answer.clone()).await;
        let (kind, _, message) = failed(&outcome);
        assert_eq!(kind, FailureKind::Unreachable, "{answer:?}: {message}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Fake::start(|_| Answer::counts("99", "0", "0")).await;
    let head = format!("HTTP/1.1 307 X\r\nLocation: {}/\r\nContent-Length: 0\r\n\r\n", elsewhere.address());
    let outcome = answered(Answer::Raw(head.into_bytes())).await;
    assert_eq!(failed(&outcome).0, FailureKind::BadAnswer, "{outcome:?}");
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_queue_that_hangs_costs_the_others_nothing() {
    let fake = Fake::start(|request| match request.body.as_str() {
        body if body.contains("slow") => Answer::Nothing,
        body if body.contains("late") => Answer::Late(Duration::from_millis(300), Answer::counts("7", "0", "0").into()),
        _ => Answer::counts("1", "1", "0"),
    })
    .await;
    let address = fake.address();
    let deadline = Duration::from_secs(1);
    let (upstream, slow) = trigger_within(deadline, &address, "http://sqs/1/slow", &[]);
    let [quick, late] = ["http://sqs/1/quick", "http://sqs/1/late"].map(|url| trigger(&address, url, &[]).1);
    let began = Instant::now();
    let outcomes = upstream.read(&[slow, quick, late]).await;
    assert!(began.elapsed() < deadline + Duration::from_millis(500), "{:?}", began.elapsed());
    assert_eq!(failed(&outcomes[0]).0, FailureKind::Timeout);
    assert_eq!((value(&outcomes[1]), value(&outcomes[2])), (2.0, 7.0));
}

#[tokio::test]
async fn sixteen_at_once_and_the_deadline_holds_for_all() {
    let fake = Fake::start(|_| Answer::Late(Duration::from_millis(200), Answer::counts("1", "0", "0").into())).await;
    let address = fake.address();
    let queries: Vec<_> = (0..200).map(|n| trigger(&address, &format!("http://sqs/1/q-{n}"), &[]).1).collect();
    let deadline = Duration::from_millis(1500);
    let (upstream, _) = trigger_within(deadline, &address, URL, &[]);
    let began = Instant::now();
    let outcomes = upstream.read(&queries).await;
    assert!(began.elapsed() < deadline + Duration::from_millis(500), "{:?}", began.elapsed());
    let good = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Ok(_))).count();
    assert!((16..=16 * 7).contains(&good), "{good} of 200");
    for outcome in &outcomes {
        if !matches!(outcome, Outcome::Ok(_)) {
            assert_eq!(failed(outcome).0, FailureKind::Timeout);
        }
    }
    assert!((2..=16).contains(&fake.most_in_flight()), "{} in flight", fake.most_in_flight());
}

#[tokio::test]
async fn connections_are_kept_between_readings_and_closed_at_the_end() {
    let fake = Fake::start(|request| match request.body.contains("hangs") {
        true => Answer::Nothing,
        false => Answer::Late(Duration::from_millis(20), Answer::counts("1", "0", "0").into()),
    })
    .await;
    let address = fake.address();
    let closed = async || {
        let until = Instant::now() + Duration::from_secs(5);
        while fake.open() > 0 {
            assert!(Instant::now() < until, "{} connections are open", fake.open());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    for closes in [true, false] {
        let (upstream, _) = trigger(&address, URL, &[]);
        let queries: Vec<_> = (0..40).map(|n| trigger(&address, &format!("http://sqs/1/q-{n}"), &[]).1).collect();
        for _ in 0..5 {
            assert!(upstream.read(&queries).await.iter().all(|outcome| value(outcome) == 1.0));
        }
        assert!((1..=16).contains(&fake.open()), "{} connections", fake.open());
        if closes {
            upstream.close().await;
        } else {
            drop(upstream);
        }
        closed().await;
    }
    let (upstream, hangs) = trigger_within(Duration::from_millis(300), &address, "http://sqs/1/hangs", &[]);
    assert_eq!(failed(&upstream.read(&[hangs]).await[0]).0, FailureKind::Timeout);
    closed().await;
}

#[tokio::test]
async fn a_refused_credential_is_not_tried_on_every_queue() {
    let fake = Fake::start(|_| Answer::error(403, "InvalidClientTokenId")).await;
    let address = fake.address();
    let (upstream, _) = trigger(&address, URL, &[]);
    let queries: Vec<_> = (0..200).map(|n| trigger(&address, &format!("http://sqs/1/q-{n}"), &[]).1).collect();
    let outcomes = upstream.read(&queries).await;
    assert!(outcomes.iter().all(|outcome| failed(outcome).0 == FailureKind::Unauthorised));
    let asked = fake.actions().len();
    assert!(asked <= 32, "{asked} requests");
    // A policy may allow one queue and not the next.
    let fake = Fake::start(|request| match request.body.contains("open") {
        true => Answer::counts("5", "0", "0"),
        false => Answer::error(400, "AccessDeniedException"),
    })
    .await;
    let address = fake.address();
    let (upstream, _) = trigger(&address, URL, &[]);
    let mut queries: Vec<_> = (0..40).map(|n| trigger(&address, &format!("http://sqs/1/closed-{n}"), &[]).1).collect();
    queries.push(trigger(&address, "http://sqs/1/open", &[]).1);
    let outcomes = upstream.read(&queries).await;
    assert_eq!(value(&outcomes[40]), 5.0);
    assert!(failed(&outcomes[39]).2.contains("\"closed-39\""));
}
