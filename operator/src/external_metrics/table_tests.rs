//! What the table answers, when it refuses, and what it notes.

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::*;

const SELECTOR: &str = "scaledobject.windlass.dev/name=orders";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn metric(name: &str, milli: i64) -> ServedMetric {
    let value = ServedValue { milli, at: at(0), fresh_until: at(10) };
    ServedMetric { metric_name: name.to_owned(), value: Some(value), trouble: None }
}

fn ask(table: &ServedTable, metric: &str, second: i64) -> Result<i64, LookupError> {
    table.lookup("shop", metric, SELECTOR, Asker::Hpa, at(second)).map(|value| value.milli)
}

#[test]
fn a_value_is_served_while_it_is_fresh_and_never_after() {
    let table = ServedTable::new(None);
    table.set(&ObjectKey::new("shop", "orders"), vec![metric("s0-rabbitmq-orders", 12_000), metric("s1-x", 0)]);
    assert_eq!(ask(&table, "s0-rabbitmq-orders", 0), Ok(12_000));
    assert_eq!(ask(&table, "S0-RabbitMQ-orders", 9), Ok(12_000));
    assert_eq!(ask(&table, "s1-x", 0), Ok(0));
    assert_eq!(ask(&table, "s1-x", -5), Ok(0), "the clock was set back");
    assert!(ask(&table, "s1-x", -11).is_err(), "so far back that the figure would be served for too long");
    let stale = ask(&table, "s0-rabbitmq-orders", 10).unwrap_err();
    assert!(matches!(stale, LookupError::NoFreshReading { .. }));
    let said = stale.to_string();
    assert!(
        said.starts_with("no fresh reading of trigger s0-rabbitmq-orders: the last good one is of 2027-"),
        "{said}"
    );
}

#[test]
fn what_is_not_there_is_an_error_that_says_what() {
    let table = ServedTable::new(None);
    assert!(table.is_empty());
    table.set(
        &ObjectKey::new("shop", "orders"),
        vec![
            metric("s0-a", -1),
            ServedMetric {
                metric_name: "s1-b".to_owned(),
                value: None,
                trouble: Some("queue orders is not there".to_owned()),
            },
        ],
    );
    let said = |metric| ask(&table, metric, 0).unwrap_err().to_string();
    assert_eq!(said("s0-a"), "no fresh reading of trigger s0-a: the figure is negative");
    assert_eq!(said("s1-b"), "no fresh reading of trigger s1-b: queue orders is not there");
    assert_eq!(said("s2-c"), "scaled object shop/orders has no metric s2-c");
    let elsewhere = table.lookup("attic", "s0-a", SELECTOR, Asker::Other, at(0));
    assert!(matches!(elsewhere, Err(LookupError::UnknownObject { .. })));
    let unknown = table.lookup("shop", "s0-a", "app=orders", Asker::Other, at(0));
    assert_eq!(unknown, Err(LookupError::Selector(SelectorError::SelectsNothing)));
    table.remove(&ObjectKey::new("shop", "orders"));
    assert!(table.is_empty());
    assert!(matches!(ask(&table, "s0-a", 0), Err(LookupError::UnknownObject { .. })));
}

#[test]
fn answers_are_remembered_by_who_asked_and_errors_are_not_answers() {
    let table = ServedTable::new(None);
    table.set(&ObjectKey::new("shop", "orders"), vec![metric("s0", 1)]);
    assert_eq!(table.answered(&ObjectKey::new("shop", "orders")), None);
    assert!(ask(&table, "s0", 60).is_err());
    assert_eq!(table.answered(&ObjectKey::new("shop", "orders")), None);
    table.lookup("shop", "s0", SELECTOR, Asker::Other, at(1)).unwrap();
    assert_eq!(table.answered(&ObjectKey::new("shop", "orders")), Some(HpaAnswer { any: at(1), by_hpa: None }));
    assert!(ask(&table, "s0", 2).is_ok());
    table.lookup("shop", "s0", SELECTOR, Asker::Other, at(3)).unwrap();
    table.set(&ObjectKey::new("shop", "orders"), vec![metric("s0", 2)]);
    assert_eq!(table.answered(&ObjectKey::new("shop", "orders")), Some(HpaAnswer { any: at(3), by_hpa: Some(at(2)) }));
    table.clear();
    assert_eq!(table.answered(&ObjectKey::new("shop", "orders")), None);
}

#[test]
fn only_an_awaited_answer_is_told() {
    let (sender, mut told) = mpsc::unbounded_channel();
    let table = ServedTable::new(Some(sender));
    assert!(!table.watch_answer(&ObjectKey::new("shop", "orders")), "not served yet");
    table.set(&ObjectKey::new("shop", "orders"), vec![metric("s0", 1)]);
    ask(&table, "s0", 0).unwrap();
    assert!(told.try_recv().is_err(), "nobody waited");

    assert!(table.watch_answer(&ObjectKey::new("shop", "orders")));
    ask(&table, "s0", 60).unwrap_err();
    assert!(told.try_recv().is_err(), "an error is no answer");
    for _ in 0..3 {
        ask(&table, "s0", 1).unwrap();
    }
    assert_eq!(told.try_recv(), Ok(ObjectKey::new("shop", "orders")));
    assert!(told.try_recv().is_err(), "told once");

    table.watch_answer(&ObjectKey::new("shop", "orders"));
    for _ in 0..3 {
        table.lookup("shop", "s0", SELECTOR, Asker::Other, at(1)).unwrap();
    }
    assert!(told.try_recv().is_ok());
    assert!(told.try_recv().is_err());
    ask(&table, "s0", 1).unwrap();
    assert!(told.try_recv().is_ok(), "the HPA's answer is told even if a person asked before");
    assert!(told.try_recv().is_err());
}

#[test]
fn a_snapshot_survives_json_and_restores_the_table() {
    let table = ServedTable::new(None);
    table.set(&ObjectKey::new("b", "two"), vec![metric("s0", 5)]);
    table.set(&ObjectKey::new("a", "one"), vec![]);
    table.set(&ObjectKey::of(Group::Keda, "a", "one"), vec![]);
    let json = serde_json::to_string(&table.snapshot()).unwrap();
    let copy = ServedTable::new(None);
    copy.restore(serde_json::from_str(&json).unwrap());
    assert_eq!(copy.snapshot(), table.snapshot());
    assert_eq!((copy.len(), copy.snapshot()[0].name.as_str()), (3, "one"));
}

#[test]
fn a_question_by_kedas_label_is_about_kedas_object_or_else_about_our_own() {
    let table = ServedTable::new(None);
    let ask = |label: Group| {
        let selector = format!("{}=orders", label.name_label());
        table.lookup("shop", "s0", &selector, Asker::Hpa, at(1)).map(|value| value.milli)
    };
    table.set(&ObjectKey::new("shop", "orders"), vec![metric("s0", 1)]);
    assert_eq!((ask(Group::Windlass).ok(), ask(Group::Keda).ok()), (Some(1), Some(1)));
    table.set(&ObjectKey::of(Group::Keda, "shop", "orders"), vec![metric("s0", 2)]);
    assert_eq!((ask(Group::Windlass).ok(), ask(Group::Keda).ok()), (Some(1), Some(2)));
    assert!(table.answered(&ObjectKey::of(Group::Keda, "shop", "orders")).is_some());
    table.remove(&ObjectKey::new("shop", "orders"));
    assert!(matches!(ask(Group::Windlass), Err(LookupError::UnknownObject { .. })), "KEDA's objects have KEDA's label");
    assert_eq!(ask(Group::Keda).ok(), Some(2));
}
