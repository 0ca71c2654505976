//! The formulas, and what is no figure.

use windlass_decision::{Activity, Clock, FailureKind, Outcome};

use super::*;

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }
}

fn asked(mode: Mode, activation: f64) -> Query {
    Query { mode, stalled: activation.to_bits(), ..Query::queue_length("q") }
}

fn seen(messages: f64, published: f64, delivered: f64) -> Queue {
    Queue { messages: Some(messages), ready: Some(messages), published: Some(published), delivered: Some(delivered) }
}

#[test]
fn each_mode_has_its_formula() {
    use Activity::{Decided, Number};
    use Mode::{
        DeliverGetRate, ExpectedQueueConsumptionTime as Time, MessageRate, PublishedToDeliveredRatio as Ratio,
        QueueLength,
    };
    // mode, activation value, (messages, published/s, delivered/s), value, activity
    let table = [
        (QueueLength, 0.0, (5.0, 9.0, 1.0), 5.0, Number(5.0)),
        (MessageRate, 0.0, (5.0, 9.0, 1.0), 9.0, Number(9.0)),
        // Messages that nobody publishes any more are work all the same.
        (MessageRate, 0.0, (5.0, 0.0, 0.0), 0.0, Number(5.0)),
        (DeliverGetRate, 0.0, (5.0, 9.0, 1.5), 1.5, Number(1.5)),
        (Ratio, 2.0, (5.0, 9.0, 3.0), 3.0, Number(3.0)),
        (Ratio, 2.0, (5.0, 9.0, 0.0), 2.0, Decided(true)),
        (Ratio, 2.0, (5.0, 0.0, 3.0), 0.0, Number(0.0)),
        (Ratio, 2.0, (5.0, 0.0, 0.0), 0.0, Number(0.0)),
        (Time, 4.0, (30.0, 12.0, 10.0), 3.2, Number(3.2)),
        (Time, 4.0, (30.0, 12.0, 0.0), 4.0, Decided(true)),
        (Time, 4.0, (0.0, 12.0, 0.0), 0.0, Number(0.0)),
        // Nearly consumed: the formula falls below zero.
        (Time, 4.0, (1.0, 0.0, 10.0), 0.0, Number(0.0)),
    ];
    for (mode, activation, (messages, published, delivered), value, activity) in table {
        let Outcome::Ok(sample) = outcome(&asked(mode, activation), &seen(messages, published, delivered), &Still)
        else {
            panic!("{mode:?} has no figure");
        };
        assert!((sample.value - value).abs() < 1e-9, "{mode:?}: {}", sample.value);
        match (sample.activity, activity) {
            (Number(is), Number(wanted)) => assert!((is - wanted).abs() < 1e-9, "{mode:?}: {is}"),
            (is, wanted) => assert_eq!(is, wanted, "{mode:?}"),
        }
    }
}

#[test]
fn figures_that_are_no_counts_fail() {
    for messages in [-1.0, 1e300] {
        let outcome = outcome(&asked(Mode::QueueLength, 0.0), &seen(messages, 0.0, 0.0), &Still);
        assert!(matches!(&outcome, Outcome::Failed(failure) if failure.kind == FailureKind::BadAnswer), "{outcome:?}");
    }
}

#[test]
fn a_queue_without_a_count_is_absent_and_never_empty() {
    let body = br#"{"name": "q", "vhost": "/", "state": "running"}"#;
    let answer = queue(body).expect("a queue");
    for mode in [Mode::QueueLength, Mode::MessageRate, Mode::DeliverGetRate, Mode::ExpectedQueueConsumptionTime] {
        let outcome = outcome(&asked(mode, 0.0), &answer, &Still);
        assert!(matches!(&outcome, Outcome::Absent(failure) if failure.message.contains("yet")), "{outcome:?}");
    }
}

#[test]
fn an_answer_is_understood_or_refused() {
    let body = br#"{"name": "q", "messages": 7, "messages_ready": 5, "message_stats":
        {"publish": 9, "publish_details": {"rate": 2.5}, "deliver_get": 3, "deliver_get_details": {"rate": 1.0}}}"#;
    let wanted = Queue { messages: Some(7.0), ready: Some(5.0), published: Some(2.5), delivered: Some(1.0) };
    assert_eq!(queue(body), Some(wanted));
    let silent = queue(br#"{"name": "q", "messages": 0, "messages_ready": 0}"#).expect("a queue");
    assert_eq!((silent.published, silent.delivered), (Some(0.0), Some(0.0)));
    let garbage: [&[u8]; 9] = [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"<html>",
        b"{\"name\": \"q\", \"messages\": \"7\"}",
        b"{\"messages\": 7}",
        b"{\"name\": \"q\", \"message_stats\": {\"publish_details\": {}}}",
        b"\xff\xfe",
    ];
    for body in garbage {
        assert_eq!(queue(body), None, "{}", String::from_utf8_lossy(body));
        assert!(listing(body).is_none(), "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn a_broker_that_computes_no_rates_is_told_apart_from_one_without_traffic() {
    let body = br#"{"name": "q", "messages": 7, "message_stats": {"publish": 9}}"#;
    let answer = queue(body).expect("a queue");
    let rate = outcome(&asked(Mode::MessageRate, 0.0), &answer, &Still);
    assert!(matches!(&rate, Outcome::Failed(failure) if failure.message.contains("rates_mode")), "{rate:?}");
    assert!(matches!(outcome(&asked(Mode::QueueLength, 0.0), &answer, &Still), Outcome::Ok(_)));
}

#[test]
fn several_queues_become_one() {
    let queues = [seen(4.0, 1.0, 0.0), seen(1.0, 2.0, 6.0)];
    let table = [
        (Operation::Sum, seen(5.0, 3.0, 6.0)),
        (Operation::Avg, seen(2.5, 1.5, 3.0)),
        (Operation::Max, seen(4.0, 2.0, 6.0)),
    ];
    for (operation, wanted) in table {
        assert_eq!(composed(&queues, operation), wanted, "{operation:?}");
        assert_eq!(composed(&[], operation), seen(0.0, 0.0, 0.0), "{operation:?}");
    }
}

#[test]
fn a_queue_without_a_count_among_others_never_makes_them_empty() {
    let unknown = Queue { messages: None, ready: None, ..seen(0.0, 0.0, 0.0) };
    let with = |known: f64| composed(&[seen(known, 0.0, 0.0), unknown], Operation::Sum).messages;
    assert_eq!(with(3.0), Some(3.0));
    assert_eq!(with(0.0), None);
    assert_eq!(composed(&[unknown], Operation::Max).messages, None);
}
