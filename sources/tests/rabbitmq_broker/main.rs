//! The RabbitMQ source against Debian's real broker. One broker serves all scenarios, one after the other, since it takes
//! seconds to start; the last ones freeze and kill it.

mod broker;
mod logins;
#[path = "../common/token_server.rs"]
mod token_server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lapin::options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, ConnectionProperties};
use reqwest::Method;
use serde_json::json;
use windlass_decision::{Activity, Clock, FailureKind, Outcome};
use windlass_sources::{Dependencies, Given, NetworkPolicy, Query, TriggerInput, Upstream, connect, parse};

use broker::Broker;

const DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
}

/// A trigger's upstream and query.
fn trigger_with(deadline: Duration, pairs: &[(&str, &str)]) -> (Arc<dyn Upstream>, Query) {
    let metadata: BTreeMap<String, String> =
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let parsed = parse(TriggerInput::new("rabbitmq", &metadata, &Given::default())).expect("good metadata").0;
    let network = Arc::new(NetworkPolicy::default().allow_loopback(true));
    (
        connect(&parsed.connection, &Dependencies { clock: Arc::new(Still), deadline, network, hub: Arc::default() }),
        parsed.query,
    )
}

fn trigger(pairs: &[(&str, &str)]) -> (Arc<dyn Upstream>, Query) {
    trigger_with(DEADLINE, pairs)
}

fn queue(name: &str) -> Query {
    trigger(&[("host", "amqp://localhost"), ("queueName", name)]).1
}

fn value(outcome: &Outcome) -> f64 {
    match outcome {
        Outcome::Ok(sample) => sample.value,
        other => panic!("not a value: {other:?}"),
    }
}

fn failed(outcome: &Outcome) -> (FailureKind, &str) {
    match outcome {
        Outcome::Failed(failure) => (failure.kind, &failure.message),
        other => panic!("not a failure: {other:?}"),
    }
}

/// Reads until `wanted`, for at most `patience`.
async fn read_until(
    upstream: &dyn Upstream,
    queries: &[Query],
    patience: Duration,
    wanted: impl Fn(&[Outcome]) -> bool,
) {
    let until = Instant::now() + patience;
    loop {
        let outcomes = upstream.read(queries).await;
        if wanted(&outcomes) {
            return;
        }
        assert!(Instant::now() < until, "still {outcomes:?} after {patience:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn client(broker: &Broker) -> lapin::Connection {
    let uri = format!("amqp://guest:guest@127.0.0.1:{}/%2f", broker.amqp());
    lapin::Connection::connect(&uri, ConnectionProperties::default()).await.expect("a client")
}

async fn declare(channel: &Channel, name: &str, kind: &str) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
    channel.queue_declare(name.into(), QueueDeclareOptions::durable(), arguments).await.expect("declared");
}

async fn publish(channel: &Channel, name: &str, count: usize) {
    for _ in 0..count {
        let properties = BasicProperties::default().with_delivery_mode(2);
        let options = BasicPublishOptions::default();
        let sent = channel.basic_publish("".into(), name.into(), options, b"message", properties).await.expect("sent");
        sent.await.expect("confirmed");
    }
}

/// How many threads of the AMQP client live in this process.
fn client_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs");
    tasks
        .filter_map(Result::ok)
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .filter(|name| name.starts_with("lapin"))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_broker_is_read_right_whatever_happens_to_it() {
    let mut broker = Broker::start().await;
    let setup = client(&broker).await;
    let channel = setup.create_channel().await.expect("a channel");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");

    ready_messages_are_counted_exactly(&broker, &channel).await;
    a_private_authority_is_trusted_where_it_is_given(&broker).await;
    refusals_say_what_is_wrong(&broker).await;
    a_missing_queue_leaves_its_neighbours_alone(&broker).await;
    many_queues_share_one_connection(&broker, &channel).await;
    the_management_api_gives_the_same(&broker, &channel).await;
    logins::the_management_api_takes_tokens(&broker).await;
    logins::an_encrypted_key_is_opened(&broker).await;
    drop(channel);
    drop(setup);
    a_frozen_broker_is_a_timeout_and_heals(&broker).await;
    a_killed_broker_heals_without_a_new_reader(&mut broker).await;
}

async fn ready_messages_are_counted_exactly(broker: &Broker, channel: &Channel) {
    declare(channel, "classic", "classic").await;
    declare(channel, "quorum", "quorum").await;
    declare(channel, "empty", "classic").await;
    publish(channel, "classic", 7).await;
    publish(channel, "quorum", 3).await;
    let (upstream, classic) = trigger(&[("host", &amqp(broker)), ("queueName", "classic")]);
    let queries = [classic, queue("quorum"), queue("empty")];
    let outcomes = upstream.read(&queries).await;
    assert_eq!(outcomes.iter().map(value).collect::<Vec<_>>(), [7.0, 3.0, 0.0]);
    let Outcome::Ok(sample) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!((sample.activity, sample.limit), (Activity::Number(7.0), None));

    // A message that a consumer holds is not ready. When its channel closes, it is again.
    let holder = client(broker).await;
    let held = holder.create_channel().await.expect("a channel");
    held.basic_get("classic".into(), BasicGetOptions::default()).await.expect("fetched").expect("a message");
    assert_eq!(value(&upstream.read(&queries).await[0]), 6.0);
    holder.close(200, ShortString::from("done")).await.expect("closed");
    read_until(&*upstream, &queries, DEADLINE, |outcomes| value(&outcomes[0]) == 7.0).await;
    upstream.close().await;
}

async fn a_private_authority_is_trusted_where_it_is_given(broker: &Broker) {
    for host in ["localhost", "127.0.0.1"] {
        let host = format!("amqps://guest:guest@{host}:{}", broker.amqps());
        let (upstream, query) =
            trigger(&[("host", &host), ("queueName", "classic"), ("tls", "enable"), ("ca", &broker.ca())]);
        assert_eq!(value(&upstream.read(&[query]).await[0]), 7.0);
        upstream.close().await;
    }
    let host = format!("amqps://guest:guest@localhost:{}", broker.amqps());
    let (upstream, query) = trigger(&[("host", &host), ("queueName", "classic")]);
    let outcomes = upstream.read(&[query]).await;
    let (kind, message) = failed(&outcomes[0]);
    assert_eq!(kind, FailureKind::Tls, "{message}");
    assert!(message.contains("as ca"), "{message}");

    // TLS spoken to a port that does not speak it.
    let host = format!("amqps://guest:guest@localhost:{}", broker.amqp());
    let (upstream, query) = trigger(&[("host", &host), ("queueName", "classic"), ("ca", &broker.ca())]);
    let outcomes = upstream.read(&[query]).await;
    assert_eq!(failed(&outcomes[0]).0, FailureKind::Tls, "{outcomes:?}");
}

async fn refusals_say_what_is_wrong(broker: &Broker) {
    let port = broker.amqp();
    let wrong = format!("amqp://guest:wr0ng-secret@127.0.0.1:{port}");
    let (upstream, query) = trigger(&[("host", &wrong), ("queueName", "classic")]);
    for _ in 0..2 {
        let outcomes = upstream.read(&[query.clone(), queue("empty")]).await;
        assert_eq!(outcomes.len(), 2);
        for outcome in &outcomes {
            let Outcome::Failed(failure) = outcome else { panic!("{outcomes:?}") };
            assert_eq!((failure.kind, failure.field), (FailureKind::Unauthorised, Some("metadata.host")));
            assert!(failure.message.contains("check user and password"), "{}", failure.message);
            assert!(!failure.message.contains("wr0ng"), "{}", failure.message);
        }
    }

    let (upstream, query) = trigger(&[("host", &amqp(broker)), ("queueName", "classic"), ("vhostName", "nowhere")]);
    let outcomes = upstream.read(&[query]).await;
    let (kind, message) = failed(&outcomes[0]);
    assert_eq!(kind, FailureKind::NotFound, "{message}");
    assert!(message.contains("nowhere"), "{message}");

    let user = json!({ "password": "stranger", "tags": "" });
    broker.management_call(Method::PUT, "/users/stranger", Some(user)).await;
    let stranger = format!("amqp://stranger:stranger@127.0.0.1:{port}");
    let (upstream, query) = trigger(&[("host", &stranger), ("queueName", "classic")]);
    let outcomes = upstream.read(&[query]).await;
    let (kind, message) = failed(&outcomes[0]);
    assert_eq!(kind, FailureKind::Unauthorised, "{message}");
    assert!(message.contains("no access to the virtual host"), "{message}");

    // The management API refuses a user without its tag, whatever the password.
    let host = format!("http://stranger:stranger@127.0.0.1:{}", broker.management());
    let (upstream, query) = trigger(&[("host", &host), ("queueName", "classic")]);
    let outcomes = upstream.read(&[query]).await;
    let (kind, message) = failed(&outcomes[0]);
    assert!(kind == FailureKind::Unauthorised && message.contains("tag management"), "{message}");
    // Access to the virtual host is all that AMQP needs.
    let nothing = json!({ "configure": "^$", "write": "^$", "read": "^$" });
    broker.management_call(Method::PUT, "/permissions/%2F/stranger", Some(nothing)).await;
    let (upstream, query) = trigger(&[("host", &stranger), ("queueName", "classic")]);
    assert_eq!(value(&upstream.read(&[query]).await[0]), 7.0);
    upstream.close().await;

    let (upstream, query) = trigger(&[("host", "amqp://guest:guest@127.0.0.1:1"), ("queueName", "classic")]);
    let outcomes = upstream.read(&[query]).await;
    assert_eq!(failed(&outcomes[0]).0, FailureKind::Unreachable, "{outcomes:?}");

    // The management API's port, which answers, but not in AMQP.
    let host = format!("amqp://guest:guest@127.0.0.1:{}", broker.management());
    let (upstream, query) = trigger_with(Duration::from_secs(2), &[("host", &host), ("queueName", "classic")]);
    let outcomes = upstream.read(&[query]).await;
    assert!(matches!(&outcomes[0], Outcome::Failed(_)), "{outcomes:?}");
}

async fn a_missing_queue_leaves_its_neighbours_alone(broker: &Broker) {
    let (upstream, classic) = trigger(&[("host", &amqp(broker)), ("queueName", "classic")]);
    let queries = [classic, queue("not-there"), queue("quorum"), queue("nor-this"), queue("empty")];
    for _ in 0..3 {
        let outcomes = upstream.read(&queries).await;
        assert_eq!([0, 2, 4].map(|place| value(&outcomes[place])), [7.0, 3.0, 0.0]);
        for place in [1, 3] {
            let Outcome::Absent(failure) = &outcomes[place] else { panic!("{outcomes:?}") };
            assert_eq!((failure.kind, failure.field), (FailureKind::NotFound, Some("metadata.queueName")));
            let name = ["", "not-there", "", "nor-this"][place];
            assert!(failure.message.contains(name) && failure.message.contains("\"/\""), "{}", failure.message);
        }
    }
    upstream.close().await;
}

async fn many_queues_share_one_connection(broker: &Broker, channel: &Channel) {
    const COUNT: usize = 2500;
    let declared = (0..COUNT).map(|n| {
        let name = ShortString::from(format!("many-{n}"));
        channel.queue_declare(name, QueueDeclareOptions::default(), FieldTable::default())
    });
    for queue in futures::future::join_all(declared).await {
        queue.expect("declared");
    }
    publish(channel, "many-1234", 2).await;
    let (upstream, first) = trigger(&[("host", &amqp(broker)), ("queueName", "many-0")]);
    let mut queries = vec![first];
    queries.extend((1..COUNT).map(|n| queue(&format!("many-{n}"))));
    for round in ["connecting", "connected"] {
        let began = Instant::now();
        let outcomes = upstream.read(&queries).await;
        println!("{COUNT} queues in {:?} ({round})", began.elapsed());
        let values: Vec<f64> = outcomes.iter().map(value).collect();
        assert_eq!(values.iter().sum::<f64>(), 2.0);
        assert_eq!(values[1234], 2.0);
    }
    // The statistics of connections come some seconds late.
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let connections = broker.management_call(Method::GET, "/connections", None).await;
        let ours: Vec<_> = connections
            .as_array()
            .expect("a list")
            .iter()
            .filter(|connection| connection["client_properties"]["connection_name"] == "windlass")
            .filter_map(|connection| connection["channels"].as_u64())
            .collect();
        if ours.len() == 1 && ours[0] > 0 {
            println!("{} channels on one connection", ours[0]);
            assert!(ours[0] <= 32, "{ours:?}");
            break;
        }
        assert!(Instant::now() < until, "connections: {ours:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    upstream.close().await;
}

async fn the_management_api_gives_the_same(broker: &Broker, channel: &Channel) {
    let host = format!("http://guest:guest@127.0.0.1:{}", broker.management());
    let patience = Duration::from_secs(40);
    let holder = client(broker).await;
    let held = holder.create_channel().await.expect("a channel");
    held.basic_get("classic".into(), BasicGetOptions::default()).await.expect("fetched").expect("a message");

    let (upstream, all) = trigger(&[("host", &host), ("queueName", "classic")]);
    let (_, ready) = trigger(&[("host", &host), ("queueName", "classic"), ("excludeUnacknowledged", "true")]);
    let (_, missing) = trigger(&[("host", &host), ("queueName", "not-there")]);
    let (_, quorum) = trigger(&[("host", &host), ("queueName", "quorum")]);
    let is = |outcome: &Outcome, wanted: f64| matches!(outcome, Outcome::Ok(sample) if sample.value == wanted);
    read_until(&*upstream, &[all, ready, missing, quorum], patience, |outcomes| {
        assert!(
            matches!(&outcomes[2], Outcome::Absent(failure) if failure.kind == FailureKind::NotFound),
            "{outcomes:?}"
        );
        is(&outcomes[0], 7.0) && is(&outcomes[1], 6.0) && is(&outcomes[3], 3.0)
    })
    .await;
    holder.close(200, ShortString::from("done")).await.expect("closed");

    // A queue that has just been declared has no figure yet: it is absent or empty, and never anything else.
    declare(channel, "odd name/%é", "classic").await;
    publish(channel, "odd name/%é", 4).await;
    let (_, odd) = trigger(&[("host", &host), ("queueName", "odd name/%é")]);
    read_until(&*upstream, &[odd], patience, |outcomes| match &outcomes[0] {
        Outcome::Absent(_) => false,
        Outcome::Ok(sample) => sample.value == 4.0,
        // RabbitMQ 3.10 says so now and then while it puts a new queue's figures together.
        Outcome::Failed(failure) if failure.message.contains("status 500") => false,
        Outcome::Failed(failure) => panic!("{failure:?}"),
    })
    .await;

    let regex = |operation| {
        let pairs =
            [("host", &*host), ("queueName", "^(classic|quorum)$"), ("useRegex", "true"), ("operation", operation)];
        trigger(&pairs).1
    };
    let (_, wide) = trigger(&[("host", &host), ("queueName", "^many-"), ("useRegex", "true")]);
    let (_, none) = trigger(&[("host", &host), ("queueName", "^nothing-like-this$"), ("useRegex", "true")]);
    let (_, broken) = trigger(&[("host", &host), ("queueName", "(["), ("useRegex", "true")]);
    let queries = [regex("sum"), regex("avg"), regex("max"), wide, none, broken];
    read_until(&*upstream, &queries, patience, |outcomes| {
        let (kind, message) = failed(&outcomes[3]);
        assert!(kind == FailureKind::BadAnswer && message.contains("pageSize"), "{message}");
        assert_eq!(value(&outcomes[4]), 0.0);
        assert_eq!(failed(&outcomes[5]).0, FailureKind::BadAnswer);
        is(&outcomes[0], 10.0) && is(&outcomes[1], 5.0) && is(&outcomes[2], 7.0)
    })
    .await;

    let wrong = format!("http://guest:wr0ng-secret@127.0.0.1:{}", broker.management());
    let (refused, query) = trigger(&[("host", &wrong), ("queueName", "classic")]);
    let outcomes = refused.read(&[query]).await;
    assert_eq!(failed(&outcomes[0]).0, FailureKind::Unauthorised, "{outcomes:?}");

    let https = format!("https://guest:guest@localhost:{}", broker.management() + 1);
    let (encrypted, query) = trigger(&[("host", &https), ("queueName", "classic"), ("ca", &broker.ca())]);
    assert_eq!(value(&encrypted.read(&[query]).await[0]), 7.0);
    let (distrusted, query) = trigger(&[("host", &https), ("queueName", "classic")]);
    let outcomes = distrusted.read(&[query]).await;
    assert_eq!(failed(&outcomes[0]).0, FailureKind::Tls, "{outcomes:?}");
    let (careless, query) = trigger(&[("host", &https), ("queueName", "classic"), ("unsafeSsl", "true")]);
    assert_eq!(value(&careless.read(&[query]).await[0]), 7.0);
}

async fn a_frozen_broker_is_a_timeout_and_heals(broker: &Broker) {
    let deadline = Duration::from_secs(1);
    let slack = Duration::from_millis(700);
    let (amqp, query) = trigger_with(deadline, &[("host", &amqp(broker)), ("queueName", "classic")]);
    let host = format!("http://guest:guest@127.0.0.1:{}", broker.management());
    let (http, query_http) = trigger_with(deadline, &[("host", &host), ("queueName", "classic")]);
    let queries = [query, queue("quorum")];
    read_until(&*amqp, &queries, Duration::from_secs(20), |outcomes| matches!(outcomes[0], Outcome::Ok(_))).await;

    broker.freeze().await;
    // The first reading loses the open connection, the others never get one.
    for round in 0..4 {
        let began = Instant::now();
        let (over_amqp, over_http) = tokio::join!(amqp.read(&queries), http.read(std::slice::from_ref(&query_http)));
        assert!(began.elapsed() < deadline + slack, "round {round} took {:?}", began.elapsed());
        for outcome in over_amqp.iter().chain(&over_http) {
            assert_eq!(failed(outcome).0, FailureKind::Timeout, "round {round}: {outcome:?}");
        }
    }
    let began = Instant::now();
    let (frozen, other) = trigger_with(deadline, &[("host", &self::amqp(broker)), ("queueName", "empty")]);
    frozen.read(&[other]).await;
    frozen.close().await;
    assert!(began.elapsed() < deadline + slack, "closing took {:?}", began.elapsed() - deadline);
    // Connections that were given up do not stay behind as threads, frozen or not.
    let until = Instant::now() + Duration::from_secs(5);
    while client_threads() > 1 {
        assert!(Instant::now() < until, "{} threads of the client are left", client_threads());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    broker.thaw();
    let began = Instant::now();
    read_until(&*amqp, &queries, Duration::from_secs(20), |outcomes| {
        outcomes.iter().all(|outcome| matches!(outcome, Outcome::Ok(_)))
    })
    .await;
    println!("read again {:?} after the thaw", began.elapsed());
    read_until(&*http, &[query_http], Duration::from_secs(20), |outcomes| matches!(outcomes[0], Outcome::Ok(_))).await;
    amqp.close().await;
}

async fn a_killed_broker_heals_without_a_new_reader(broker: &mut Broker) {
    let (upstream, query) = trigger(&[("host", &amqp(broker)), ("queueName", "classic")]);
    let queries = [query, queue("quorum")];
    assert_eq!(value(&upstream.read(&queries).await[0]), 7.0);
    broker.kill();
    for _ in 0..3 {
        for outcome in upstream.read(&queries).await {
            assert_eq!(failed(&outcome).0, FailureKind::Unreachable, "{outcome:?}");
        }
    }
    broker.restart().await;
    read_until(&*upstream, &queries, Duration::from_secs(30), |outcomes| {
        matches!(&outcomes[0], Outcome::Ok(sample) if sample.value == 7.0)
            && matches!(&outcomes[1], Outcome::Ok(sample) if sample.value == 3.0)
    })
    .await;
    upstream.close().await;
}

fn amqp(broker: &Broker) -> String {
    format!("amqp://guest:guest@127.0.0.1:{}", broker.amqp())
}
