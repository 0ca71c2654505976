//! The Kafka source against real brokers. One broker serves most scenarios, one after the other, since it takes seconds to
//! start; the last ones freeze and kill it. Another cluster has three brokers (`moves`).

mod broker;
mod client;
mod kerberos;
mod moves;
#[path = "../common/token_server.rs"]
mod token_server;
mod tokens;

use std::collections::BTreeMap;
use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::producer::Producer as _;
use windlass_decision::{Activity, Clock, FailureKind, Outcome, Sample};
use windlass_sources::{Dependencies, Given, NetworkPolicy, Query, TriggerInput, Upstream, connect, parse};

use broker::Broker;
use client::Client;

const DEADLINE: Duration = Duration::from_secs(5);

/// A clock that stands until it is moved.
#[derive(Debug, Default)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::Relaxed)).expect("a time")
    }
}

type Pairs<'a> = &'a [(&'a str, &'a str)];

/// A trigger's upstream and query.
fn trigger_by(clock: Arc<dyn Clock>, servers: &str, group: &str, more: Pairs<'_>) -> (Arc<dyn Upstream>, Query) {
    let given = [("bootstrapServers", servers), ("consumerGroup", group)];
    let metadata: BTreeMap<String, String> =
        given.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let parsed = parse(TriggerInput::new("kafka", &metadata, &Given::default())).expect("good metadata").0;
    let network = Arc::new(NetworkPolicy::default().allow_loopback(true));
    (
        connect(&parsed.connection, &Dependencies { clock, deadline: DEADLINE, network, hub: Arc::default() }),
        parsed.query,
    )
}

fn trigger(servers: &str, group: &str, more: Pairs<'_>) -> (Arc<dyn Upstream>, Query) {
    trigger_by(Arc::<Hand>::default(), servers, group, more)
}

fn query(group: &str, more: Pairs<'_>) -> Query {
    trigger("localhost", group, more).1
}

fn good(outcome: &Outcome) -> Sample {
    match outcome {
        Outcome::Ok(sample) => *sample,
        other => panic!("not a figure: {other:?}"),
    }
}

fn value(outcome: &Outcome) -> f64 {
    good(outcome).value
}

fn failed(outcome: &Outcome) -> (FailureKind, &str) {
    match outcome {
        Outcome::Failed(failure) => (failure.kind, &failure.message),
        other => panic!("not a failure: {other:?}"),
    }
}

fn absent(outcome: &Outcome) -> (&str, &str) {
    match outcome {
        Outcome::Absent(failure) => {
            assert_eq!(failure.kind, FailureKind::NotFound);
            (failure.field.expect("a field"), &failure.message)
        }
        other => panic!("not absent: {other:?}"),
    }
}

/// What one new reader says.
async fn read(servers: &str, group: &str, more: Pairs<'_>) -> Outcome {
    let (upstream, query) = trigger(servers, group, more);
    let outcome = upstream.read(&[query]).await.pop().expect("an outcome");
    upstream.close().await;
    outcome
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_cluster_is_read_right_whatever_happens_to_it() {
    let mut broker = Broker::start().await;
    let client = Client::new(&broker.plain(), broker.plain_port());
    client.create("orders", 3).await;
    client.produce("orders", 0, 7);
    client.produce("orders", 1, 3);

    lag_is_the_end_less_the_commit(&broker, &client).await;
    without_a_commit_the_policy_says(&broker).await;
    what_is_missing_is_absent_and_leaves_its_neighbours_alone(&broker, &client).await;
    a_group_says_which_topics_it_reads(&broker, &client).await;
    a_commit_that_stands_still_is_persistent_lag(&broker, &client).await;
    an_open_transaction_counts(&broker, &client).await;
    a_login_is_right_or_told(&broker).await;
    a_missing_permission_is_named(&broker, &client).await;
    certificates_are_verified(&broker).await;
    more_partitions_are_noticed(&broker, &client).await;
    // It counts sockets: nobody else in this process may open or close any meanwhile, as the servers of the next ones do.
    many_groups_and_partitions_cost_little(&broker, &client).await;
    tokens::a_token_is_asked_for_shown_and_renewed(&broker).await;
    tokens::an_identity_of_aws_signs_its_own(&broker).await;
    kerberos::a_ticket_is_asked_for_shown_and_kept(&mut broker).await;
    a_frozen_broker_is_a_timeout_and_heals(&broker).await;
    a_killed_broker_heals_without_a_new_reader(&mut broker).await;
}

async fn lag_is_the_end_less_the_commit(broker: &Broker, client: &Client) {
    client.commit("workers", &[("orders", 0, 2), ("orders", 1, 3), ("orders", 2, 0)]);
    let (upstream, all) = trigger(&broker.plain(), "workers", &[("topic", "orders")]);
    let first = query("workers", &[("topic", "orders"), ("partitionLimitation", "0")]);
    let others = query("workers", &[("topic", "orders"), ("partitionLimitation", "1-9")]);
    let even =
        query("workers", &[("topic", "orders"), ("ensureEvenDistributionOfPartitions", "true"), ("lagThreshold", "2")]);
    let with_lag =
        query("workers", &[("topic", "orders"), ("limitToPartitionsWithLag", "true"), ("lagThreshold", "2")]);
    let none = query("workers", &[("topic", "orders"), ("partitionLimitation", "7")]);
    let outcomes = upstream.read(&[all.clone(), first, others, even, with_lag, none]).await;
    let figures: Vec<_> = outcomes[..5].iter().map(|outcome| (value(outcome), good(outcome).limit)).collect();
    assert_eq!(figures, [(5.0, Some(3)), (5.0, Some(1)), (0.0, Some(2)), (6.0, Some(3)), (5.0, Some(1))]);
    assert!(
        outcomes[..5].iter().all(
            |outcome| matches!(good(outcome).activity, Activity::Number(n) if n == value(&outcomes[0]) || n == 0.0)
        )
    );
    let (field, message) = absent(&outcomes[5]);
    assert!(field == "metadata.partitionLimitation" && message.contains("3 partitions"), "{message}");

    client.commit("workers", &[("orders", 0, 7)]);
    assert_eq!(value(&upstream.read(from_ref(&all)).await[0]), 0.0);
    client.produce("orders", 2, 4);
    assert_eq!(value(&upstream.read(&[all]).await[0]), 4.0);
    upstream.close().await;
}

async fn without_a_commit_the_policy_says(broker: &Broker) {
    let orders = ("topic", "orders");
    let table: [(Pairs<'_>, f64); 4] = [
        (&[orders], 3.0),
        (&[orders, ("offsetResetPolicy", "earliest")], 14.0),
        (&[orders, ("scaleToZeroOnInvalidOffset", "true")], 0.0),
        (&[orders, ("scaleToZeroOnInvalidOffset", "true"), ("offsetResetPolicy", "earliest")], 0.0),
    ];
    let (upstream, _) = trigger(&broker.plain(), "unheard-of", &[orders]);
    let queries: Vec<_> = table.iter().map(|(more, _)| query("unheard-of", more)).collect();
    let outcomes = upstream.read(&queries).await;
    assert_eq!(outcomes.iter().map(value).collect::<Vec<_>>(), table.map(|(_, wanted)| wanted));
    upstream.close().await;
}

async fn what_is_missing_is_absent_and_leaves_its_neighbours_alone(broker: &Broker, client: &Client) {
    let (upstream, orders) = trigger(&broker.plain(), "workers", &[("topic", "orders")]);
    let missing = query("workers", &[("topic", "not-there")]);
    let queries = [orders.clone(), missing.clone(), query("unheard-of", &[("topic", "orders")])];
    for _ in 0..3 {
        let outcomes = upstream.read(&queries).await;
        assert_eq!([0, 2].map(|place| value(&outcomes[place])), [4.0, 3.0]);
        let (field, message) = absent(&outcomes[1]);
        assert!(field == "metadata.topic" && message.contains("not-there"), "{message}");
    }
    // It was not made by asking for it; once it is there, it is read.
    client.create("not-there", 1).await;
    client.produce("not-there", 0, 2);
    let patience = Duration::from_secs(5);
    read_until(
        &*upstream,
        &queries,
        patience,
        |outcomes| matches!(&outcomes[1], Outcome::Ok(sample) if sample.value == 1.0),
    )
    .await;
    client.delete("not-there").await;
    read_until(&*upstream, &queries, patience, |outcomes| matches!(&outcomes[1], Outcome::Absent(_))).await;
    assert_eq!(value(&upstream.read(&[orders]).await[0]), 4.0);
    upstream.close().await;
}

async fn a_group_says_which_topics_it_reads(broker: &Broker, client: &Client) {
    client.create("returns", 2).await;
    client.produce("returns", 1, 9);
    client.commit("roamers", &[("orders", 0, 0), ("returns", 1, 4)]);
    let (upstream, all) = trigger(&broker.plain(), "roamers", &[]);
    let one = query("roamers", &[("topic", "returns")]);
    let nobody = query("unheard-of", &[]);
    let outcomes = upstream.read(&[all, one, nobody]).await;
    // orders: 7, and 1 for each of two partitions without a commit; returns: 1 and 5
    assert_eq!((value(&outcomes[0]), good(&outcomes[0]).limit), (15.0, Some(5)));
    assert_eq!((value(&outcomes[1]), good(&outcomes[1]).limit), (6.0, Some(2)));
    let (field, message) = absent(&outcomes[2]);
    assert!(field == "metadata.consumerGroup" && message.contains("name the topic"), "{message}");
    upstream.close().await;
}

async fn a_commit_that_stands_still_is_persistent_lag(broker: &Broker, client: &Client) {
    client.create("stuck", 2).await;
    client.produce("stuck", 0, 5);
    client.produce("stuck", 1, 6);
    client.commit("stuck", &[("stuck", 0, 1), ("stuck", 1, 1)]);
    let clock = Arc::new(Hand::default());
    let more = [("topic", "stuck"), ("excludePersistentLag", "true")];
    let (upstream, query) = trigger_by(clock.clone(), &broker.plain(), "stuck", &more);
    let queries = [query];
    for (second, wanted) in [(0, 9.0), (1, 9.0), (29, 9.0)] {
        clock.0.store(second, Ordering::Relaxed);
        assert_eq!(value(&upstream.read(&queries).await[0]), wanted, "{second}");
    }
    client.commit("stuck", &[("stuck", 1, 2)]);
    for (second, wanted) in [(30, 4.0), (59, 4.0), (60, 0.0)] {
        clock.0.store(second, Ordering::Relaxed);
        let outcomes = upstream.read(&queries).await;
        assert_eq!(value(&outcomes[0]), wanted, "{second}");
        assert_eq!(good(&outcomes[0]).activity, Activity::Number(8.0), "{second}");
    }
    upstream.close().await;
}

async fn an_open_transaction_counts(broker: &Broker, client: &Client) {
    client.create("ledger", 1).await;
    client.commit("ledger", &[("ledger", 0, 0)]);
    let transaction = client.open_transaction("ledger", 10);
    assert_eq!(value(&read(&broker.plain(), "ledger", &[("topic", "ledger")]).await), 10.0);
    transaction.commit_transaction(Duration::from_secs(30)).expect("committed");
    // The marker of the end takes an offset too, as KEDA counts it. It is written a moment later.
    let (upstream, ledger) = trigger(&broker.plain(), "ledger", &[("topic", "ledger")]);
    read_until(&*upstream, &[ledger], DEADLINE, |outcomes| value(&outcomes[0]) == 11.0).await;
    upstream.close().await;
}

async fn a_login_is_right_or_told(broker: &Broker) {
    let orders = ("topic", "orders");
    let scram = ("sasl", "scram_sha512");
    let rig = ("username", "rig");
    let right = [orders, scram, rig, ("password", "rig-secret")];
    assert_eq!(value(&read(&broker.login(), "workers", &right).await), 4.0);
    let ca = broker.pem("ca.crt");
    let encrypted = [&right[..], &[("tls", "enable"), ("ca", &ca)]].concat();
    assert_eq!(value(&read(&broker.login_tls(), "workers", &encrypted).await), 4.0);

    for (user, password) in [("rig", "wr0ng-secret"), ("nobody", "wr0ng-secret")] {
        let outcome =
            read(&broker.login(), "workers", &[orders, scram, ("username", user), ("password", password)]).await;
        let (kind, message) = failed(&outcome);
        assert_eq!(kind, FailureKind::Unauthorised, "{message}");
        assert!(message.contains("refused the credentials") && message.contains(user), "{message}");
        assert!(!message.contains("wr0ng"), "{message}");
    }
    // Mechanisms that the broker does not know, and a port without a login.
    for sasl in ["plaintext", "scram_sha256"] {
        let outcome =
            read(&broker.login(), "workers", &[orders, ("sasl", sasl), rig, ("password", "rig-secret")]).await;
        let (kind, message) = failed(&outcome);
        assert!(kind == FailureKind::Unauthorised && message.contains("SCRAM-SHA-512"), "{message}");
    }
    let outcome = read(&broker.plain(), "workers", &right).await;
    let (kind, message) = failed(&outcome);
    assert!(kind == FailureKind::Unauthorised && message.contains("sasl: none"), "{message}");
    // A login is asked for, and none is given.
    let outcome = read(&broker.login(), "workers", &[orders]).await;
    let (kind, message) = failed(&outcome);
    assert!(kind == FailureKind::Unreachable && message.contains("needs sasl"), "{message}");
}

async fn a_missing_permission_is_named(broker: &Broker, client: &Client) {
    let viewer = |more: Pairs<'static>| {
        let user = [("sasl", "scram_sha512"), ("username", "viewer"), ("password", "viewer-secret")];
        [&user[..], more].concat()
    };
    let patience = Duration::from_secs(5);
    let (upstream, orders) = trigger(&broker.login(), "workers", &viewer(&[("topic", "orders")]));
    let returns = query("workers", &[("topic", "returns")]);
    let whole = query("workers", &[]);
    let queries = [orders, returns, whole];
    let told = |outcome: &Outcome, what: &str| {
        let (kind, message) = failed(outcome);
        kind == FailureKind::Unauthorised && message.contains("viewer") && message.contains(what)
    };
    let outcomes = upstream.read(&queries).await;
    assert!(told(&outcomes[0], "topic \"orders\"") && told(&outcomes[1], "topic \"returns\""), "{outcomes:?}");
    assert!(told(&outcomes[2], "group \"workers\""), "{outcomes:?}");

    client.allow_describe("viewer", 2, "orders");
    read_until(&*upstream, &queries, patience, |outcomes| told(&outcomes[0], "group \"workers\"")).await;
    client.allow_describe("viewer", 3, "workers");
    // Describe on both is enough, and what may not be seen harms nothing else.
    read_until(
        &*upstream,
        &queries,
        patience,
        |outcomes| matches!(&outcomes[0], Outcome::Ok(sample) if sample.value == 4.0),
    )
    .await;
    let outcomes = upstream.read(&queries).await;
    assert!(told(&outcomes[1], "topic \"returns\""), "{outcomes:?}");
    assert_eq!(value(&outcomes[2]), 4.0);
    upstream.close().await;
}

async fn certificates_are_verified(broker: &Broker) {
    let ca = broker.pem("ca.crt");
    let (enable, orders) = (("tls", "enable"), ("topic", "orders"));
    let trusting = [enable, orders, ("ca", &*ca)];
    assert_eq!(value(&read(&broker.tls(), "workers", &trusting).await), 4.0);
    assert_eq!(value(&read(&broker.tls(), "workers", &[enable, orders, ("unsafeSsl", "true")]).await), 4.0);
    let outcome = read(&broker.tls(), "workers", &[enable, orders]).await;
    let (kind, message) = failed(&outcome);
    assert!(kind == FailureKind::Tls && message.contains("as ca"), "{message}");

    // A client certificate is a user, and its key may be encrypted.
    let (cert, key) = (broker.pem("adapter.crt"), broker.pem("adapter.key"));
    let shown = [&trusting[..], &[("cert", &cert), ("key", &key)]].concat();
    assert_eq!(value(&read(&broker.tls(), "workers", &shown).await), 4.0);
    let key = broker.encrypted("adapter.key", "0pen");
    let with = |password| [&trusting[..], &[("cert", &*cert), ("key", &*key), ("keyPassword", password)]].concat();
    assert_eq!(value(&read(&broker.tls(), "workers", &with("0pen")).await), 4.0);
    let outcome = read(&broker.tls(), "workers", &with("sh0t")).await;
    let (kind, message) = failed(&outcome);
    assert!(kind == FailureKind::Tls && message.contains("keyPassword") && !message.contains("sh0t"), "{message}");
    let (cert, key) = (broker.pem("stranger.crt"), broker.pem("stranger.key"));
    let stranger = [&trusting[..], &[("cert", &*cert), ("key", &*key)]].concat();
    let outcome = read(&broker.tls(), "workers", &stranger).await;
    let (kind, message) = failed(&outcome);
    assert!(kind == FailureKind::Unauthorised && message.contains("subject of cert"), "{message}");

    // Either kind of port, spoken to as if it were the other.
    let outcome = read(&broker.tls(), "workers", &[orders]).await;
    let (kind, message) = failed(&outcome);
    assert!(kind != FailureKind::Timeout && message.contains("tls: enable"), "{kind:?} {message}");
    let outcome = read(&broker.plain(), "workers", &trusting).await;
    assert_eq!(failed(&outcome).0, FailureKind::Tls, "{outcome:?}");
}

async fn more_partitions_are_noticed(broker: &Broker, client: &Client) {
    client.create("growing", 1).await;
    client.produce("growing", 0, 5);
    client.commit("growers", &[("growing", 0, 0)]);
    let (upstream, growing) = trigger(&broker.plain(), "growers", &[("topic", "growing")]);
    let outcomes = upstream.read(from_ref(&growing)).await;
    assert_eq!((value(&outcomes[0]), good(&outcomes[0]).limit), (5.0, Some(1)));
    client.grow("growing", 3).await;
    read_until(&*upstream, &[growing], Duration::from_secs(5), |outcomes| {
        (value(&outcomes[0]), good(&outcomes[0]).limit) == (7.0, Some(3))
    })
    .await;
    upstream.close().await;
}

async fn many_groups_and_partitions_cost_little(broker: &Broker, client: &Client) {
    const GROUPS: usize = 1000;
    client.create("wide", 1000).await;
    client.produce("wide", 999, 3);
    let before = sockets();
    let (upstream, first) = trigger(&broker.plain(), "many-0", &[("topic", "orders")]);
    let mut queries = vec![first];
    queries.extend((1..GROUPS).map(|n| query(&format!("many-{n}"), &[("topic", "orders")])));
    for round in ["connecting", "connected", "again"] {
        let began = Instant::now();
        let outcomes = upstream.read(&queries).await;
        println!("{GROUPS} groups in {:?} ({round})", began.elapsed());
        assert!(outcomes.iter().all(|outcome| value(outcome) == 3.0));
    }
    // All groups of a cluster share one connection to each broker, and no thread of their own.
    assert_eq!(sockets(), before + 1);
    upstream.close().await;

    let (upstream, wide) = trigger(&broker.plain(), "wide", &[("topic", "wide"), ("offsetResetPolicy", "earliest")]);
    // A broker takes a while until it leads a thousand new partitions.
    read_until(&*upstream, from_ref(&wide), Duration::from_secs(30), |outcomes| matches!(outcomes[0], Outcome::Ok(_)))
        .await;
    for round in ["connected", "again"] {
        let began = Instant::now();
        let outcomes = upstream.read(from_ref(&wide)).await;
        println!("1000 partitions in {:?} ({round})", began.elapsed());
        assert_eq!((value(&outcomes[0]), good(&outcomes[0]).limit), (3.0, Some(1000)));
    }
    upstream.close().await;
}

/// How many sockets this process has.
fn sockets() -> usize {
    let links = std::fs::read_dir("/proc/self/fd").expect("procfs").filter_map(Result::ok);
    links
        .filter_map(|fd| std::fs::read_link(fd.path()).ok())
        .filter(|to| to.to_string_lossy().starts_with("socket:"))
        .count()
}

async fn a_frozen_broker_is_a_timeout_and_heals(broker: &Broker) {
    let (upstream, orders) = trigger(&broker.plain(), "workers", &[("topic", "orders")]);
    let queries = [orders, query("roamers", &[])];
    assert_eq!(upstream.read(&queries).await.iter().map(value).collect::<Vec<_>>(), [4.0, 15.0]);
    broker.freeze().await;
    for _ in 0..2 {
        let began = Instant::now();
        let outcomes = upstream.read(&queries).await;
        assert!(began.elapsed() < DEADLINE, "{:?}", began.elapsed());
        for outcome in &outcomes {
            assert_eq!(failed(outcome).0, FailureKind::Timeout, "{outcome:?}");
        }
    }
    // A new reader finds the port open and nobody answering.
    let outcome = read(&broker.plain(), "workers", &[("topic", "orders")]).await;
    assert_eq!(failed(&outcome).0, FailureKind::Timeout, "{outcome:?}");
    broker.thaw();
    read_until(&*upstream, &queries, Duration::from_secs(30), |outcomes| {
        matches!(outcomes, [Outcome::Ok(one), Outcome::Ok(other)] if (one.value, other.value) == (4.0, 15.0))
    })
    .await;
    upstream.close().await;
}

async fn a_killed_broker_heals_without_a_new_reader(broker: &mut Broker) {
    let (upstream, orders) = trigger(&broker.plain(), "workers", &[("topic", "orders")]);
    let queries = [orders];
    assert_eq!(value(&upstream.read(&queries).await[0]), 4.0);
    broker.kill();
    for _ in 0..3 {
        let began = Instant::now();
        let outcomes = upstream.read(&queries).await;
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        let (kind, message) = failed(&outcomes[0]);
        assert!(kind == FailureKind::Unreachable && message.contains("check bootstrapServers"), "{message}");
    }
    broker.restart().await;
    // While the coordinator reads its commits there is no figure, and never a wrong one.
    read_until(&*upstream, &queries, Duration::from_secs(60), |outcomes| match &outcomes[0] {
        Outcome::Ok(sample) => {
            assert_eq!(sample.value, 4.0);
            true
        }
        Outcome::Failed(_) => false,
        Outcome::Absent(failure) => panic!("{failure:?}"),
    })
    .await;
    upstream.close().await;
}
