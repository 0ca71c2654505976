//! How many requests a reading costs, and what it says when brokers move, hang, hang up or are none.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::super::config::Endpoint;
use super::super::fake::Fake;
use super::super::rules::{Cap, Reset, Rules};
use super::*;

const DEADLINE: Duration = Duration::from_secs(3);

/// Nothing here asks for the time.
#[derive(Debug)]
struct Midnight;

impl Clock for Midnight {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }
}

fn at(port: u16) -> Endpoint {
    Endpoint { host: "127.0.0.1".to_owned(), port }
}

fn cluster_at(ports: &[u16]) -> Cluster {
    let connection = Connection { bootstrap: ports.iter().copied().map(at).collect(), tls: None, login: None };
    Cluster::new(connection, Arc::new(NetworkPolicy::default().allow_loopback(true)), Arc::new(Midnight))
}

fn cluster(fake: &Fake) -> Cluster {
    let port = fake.state().nodes[&1];
    cluster_at(&[port])
}

fn query(group: &str, topic: Option<&str>) -> Query {
    let rules = Rules { reset: Reset::Latest, zero_without_commit: false, exclude_persistent: false, cap: Cap::None };
    Query { group: group.to_owned(), topic: topic.map(str::to_owned), partitions: None, rules }
}

/// The lag of each partition with a commit, by query.
async fn lags(cluster: &Cluster, queries: &[Query]) -> Vec<Result<Vec<i64>, Problem>> {
    let queries: Vec<&Query> = queries.iter().collect();
    let answers = cluster.read(&queries, Instant::now() + DEADLINE).await;
    let lag = |place: Place| Some(place.end - place.committed?);
    answers.into_iter().map(|answer| Ok(answer?.into_iter().filter_map(lag).collect())).collect()
}

fn kind(answer: &Result<Vec<i64>, Problem>) -> FailureKind {
    answer.as_ref().expect_err("a failure").kind
}

/// Commits of `group`: those of `topic`, from partition 0.
fn commit(fake: &Fake, group: &str, topic: &str, offsets: &[i64]) {
    let commits = (0..).zip(offsets.iter().copied()).collect();
    fake.state().commits.entry(group.to_owned()).or_default().insert(topic.to_owned(), commits);
}

fn topic(fake: &Fake, name: &str, partitions: &[(i32, i64)]) {
    fake.state().partitions.insert(name.to_owned(), partitions.to_vec());
}

#[tokio::test]
async fn a_thousand_groups_are_a_handful_of_requests() {
    let fake = Fake::start(1).await;
    topic(&fake, "t", &[(1, 10), (1, 20)]);
    let queries: Vec<_> = (0..1200).map(|n| query(&format!("g{n}"), Some("t"))).collect();
    for n in 0..1200 {
        commit(&fake, &format!("g{n}"), "t", &[n % 10, 0]);
    }
    let cluster = cluster(&fake);
    // Metadata, ends, coordinators (500 groups each), commits.
    for counts in [[1, 1, 3, 3], [0, 1, 0, 3]] {
        for (n, lag) in lags(&cluster, &queries).await.into_iter().enumerate() {
            assert_eq!(lag, Ok(vec![10 - n as i64 % 10, 20]));
        }
        assert_eq!(fake.counts(), counts);
    }
}

#[tokio::test]
async fn queries_of_one_group_and_one_topic_share_their_requests() {
    let fake = Fake::start(1).await;
    topic(&fake, "t", &[(1, 10)]);
    topic(&fake, "u", &[(1, 20)]);
    commit(&fake, "g", "t", &[1]);
    commit(&fake, "g", "u", &[2]);
    commit(&fake, "h", "t", &[3]);
    let queries = [query("g", Some("t")), query("g", None), query("g", Some("u")), query("h", Some("t"))];
    let answers = lags(&cluster(&fake), &queries).await;
    assert_eq!(answers, [vec![9], vec![9, 18], vec![18], vec![7]].map(Ok));
    assert_eq!(fake.counts(), [1, 1, 1, 1]);
}

#[tokio::test]
async fn a_broker_of_version_1_is_asked_group_by_group() {
    let fake = Fake::start(1).await;
    fake.state().old = true;
    topic(&fake, "t", &[(1, 10)]);
    let queries: Vec<_> = (0..150).map(|n| query(&format!("g{n}"), Some("t"))).collect();
    for n in 0..150 {
        commit(&fake, &format!("g{n}"), "t", &[n % 10]);
    }
    let answers = lags(&cluster(&fake), &queries).await;
    assert_eq!(answers, (0..150).map(|n| Ok(vec![10 - n % 10])).collect::<Vec<_>>());
    assert_eq!(fake.counts(), [1, 1, 150, 150]);
}

#[tokio::test]
async fn a_moved_leader_is_found_within_the_reading() {
    let fake = Fake::start(2).await;
    topic(&fake, "t", &[(1, 10), (2, 20)]);
    commit(&fake, "g", "t", &[0, 0]);
    let (cluster, queries) = (cluster(&fake), [query("g", Some("t"))]);
    assert_eq!(lags(&cluster, &queries).await, [Ok(vec![10, 20])]);
    topic(&fake, "t", &[(2, 11), (1, 21)]);
    assert_eq!(lags(&cluster, &queries).await, [Ok(vec![11, 21])]);
    // A leader that is none, and one that nobody knows.
    for leader in [-1, 9] {
        topic(&fake, "t", &[(leader, 12), (1, 22)]);
        fake.counts();
        cluster.doubt("t");
        let answers = lags(&cluster, &queries).await;
        assert!(matches!(kind(&answers[0]), FailureKind::BadAnswer | FailureKind::Unreachable), "{answers:?}");
        topic(&fake, "t", &[(2, 12), (1, 22)]);
        assert_eq!(lags(&cluster, &queries).await, [Ok(vec![12, 22])], "{leader}");
    }
}

#[tokio::test]
async fn a_coordinator_that_moves_or_starts_is_asked_again() {
    let fake = Fake::start(2).await;
    topic(&fake, "t", &[(1, 10)]);
    for group in ["g", "h"] {
        commit(&fake, group, "t", &[4]);
    }
    let (cluster, queries) = (cluster(&fake), [query("g", Some("t")), query("h", Some("t"))]);
    assert_eq!(lags(&cluster, &queries).await, [Ok(vec![6]), Ok(vec![6])]);
    fake.state().coordinator = 2;
    assert_eq!(lags(&cluster, &queries).await, [Ok(vec![6]), Ok(vec![6])]);
    fake.state().refused.insert("g".to_owned(), (14, 2));
    assert_eq!(lags(&cluster, &queries).await, [Ok(vec![6]), Ok(vec![6])]);
    // One that never gets ready, and a permission that is missing: the neighbour is read.
    for (code, wanted) in [(14, FailureKind::BadAnswer), (30, FailureKind::Unauthorised), (-1, FailureKind::BadAnswer)]
    {
        fake.state().refused.insert("g".to_owned(), (code, 100));
        let answers = lags(&cluster, &queries).await;
        assert_eq!((kind(&answers[0]), &answers[1]), (wanted, &Ok(vec![6])));
    }
}

#[tokio::test]
async fn commits_that_are_gone_at_once_are_no_figure() {
    let fake = Fake::start(1).await;
    topic(&fake, "t", &[(1, 10), (1, 10)]);
    for group in ["g", "h"] {
        commit(&fake, group, "t", &[4, 5]);
    }
    let (cluster, queries) = (cluster(&fake), [query("g", Some("t")), query("g", None), query("h", Some("t"))]);
    let right = [Ok(vec![6, 5]), Ok(vec![6, 5]), Ok(vec![6, 5])];
    assert_eq!(lags(&cluster, &queries).await, right);
    fake.state().commits.remove("g");
    let answers = lags(&cluster, &queries).await;
    assert_eq!((kind(&answers[0]), kind(&answers[1])), (FailureKind::BadAnswer, FailureKind::BadAnswer));
    assert_eq!(answers[2], right[2]);
    commit(&fake, "g", "t", &[4, 5]);
    assert_eq!(lags(&cluster, &queries).await, right);
}

#[tokio::test]
async fn a_broker_that_hangs_takes_nothing_from_the_others() {
    let fake = Fake::start(2).await;
    topic(&fake, "here", &[(1, 10)]);
    topic(&fake, "there", &[(2, 20)]);
    for topic in ["here", "there"] {
        commit(&fake, "g", topic, &[0]);
    }
    let (cluster, queries) = (cluster(&fake), [query("g", Some("here")), query("g", Some("there"))]);
    assert_eq!(lags(&cluster, &queries).await, [Ok(vec![10]), Ok(vec![20])]);
    fake.state().silent.insert(2);
    for patience in [DEADLINE, Duration::from_millis(1500)] {
        let began = Instant::now();
        let answers = lags(&cluster, &queries).await;
        assert_eq!((&answers[0], kind(&answers[1])), (&Ok(vec![10]), FailureKind::Timeout));
        // Once it is known to be silent, it is waited for less.
        assert!(began.elapsed() < patience + Duration::from_millis(200), "{:?}", began.elapsed());
    }
    fake.state().silent.clear();
    assert_eq!(lags(&cluster, &queries).await, [Ok(vec![10]), Ok(vec![20])]);

    // The coordinator hangs: no group can be read, and in time.
    fake.state().silent.insert(1);
    let began = Instant::now();
    let answers = lags(&cluster, &queries).await;
    assert!(answers.iter().all(|answer| kind(answer) == FailureKind::Timeout), "{answers:?}");
    assert!(began.elapsed() < DEADLINE + Duration::from_millis(200), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_reading_that_waits_keeps_no_other_from_being_answered() {
    let fake = Fake::start(2).await;
    topic(&fake, "here", &[(1, 10)]);
    topic(&fake, "there", &[(2, 20)]);
    let (here, there) = ([query("g", Some("here"))], [query("g", Some("there"))]);
    let cluster = cluster(&fake);
    commit(&fake, "g", "here", &[0]);
    assert_eq!(lags(&cluster, &here).await, [Ok(vec![10])]);
    fake.state().silent.insert(2);
    let well = async {
        let began = Instant::now();
        for _ in 0..20 {
            assert_eq!(lags(&cluster, &here).await, [Ok(vec![10])]);
        }
        began.elapsed()
    };
    let (waiting, took) = tokio::join!(lags(&cluster, &there), well);
    assert_eq!(kind(&waiting[0]), FailureKind::Timeout);
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_no_failure() {
    let fake = Fake::start(1).await;
    topic(&fake, "t", &[(1, 10)]);
    commit(&fake, "g", "t", &[4]);
    // Versions, and four answers of the first reading.
    fake.state().hangs_up_after = Some(5);
    let (cluster, queries) = (cluster(&fake), [query("g", Some("t"))]);
    for _ in 0..5 {
        assert_eq!(lags(&cluster, &queries).await, [Ok(vec![6])]);
    }
    // One that never gets so far.
    fake.state().hangs_up_after = Some(1);
    let answers = lags(&cluster, &queries).await;
    assert_eq!(kind(&answers[0]), FailureKind::Unreachable);
}

#[tokio::test]
async fn an_answer_to_a_reading_that_was_given_up_is_never_taken_for_another() {
    let fake = Fake::start(1).await;
    topic(&fake, "t", &[(1, 10)]);
    commit(&fake, "g", "t", &[4]);
    let (cluster, queries) = (cluster(&fake), [query("g", Some("t"))]);
    assert_eq!(lags(&cluster, &queries).await, [Ok(vec![6])]);
    fake.state().takes = Duration::from_millis(200);
    for wait in [10, 100, 210, 300] {
        let given_up = timeout(Duration::from_millis(wait), lags(&cluster, &queries)).await;
        assert!(given_up.is_err());
    }
    fake.state().takes = Duration::ZERO;
    topic(&fake, "t", &[(1, 13)]);
    assert_eq!(lags(&cluster, &queries).await, [Ok(vec![9])]);
}

#[tokio::test]
async fn one_bootstrap_server_that_answers_is_enough() {
    let fake = Fake::start(1).await;
    topic(&fake, "t", &[(1, 10)]);
    commit(&fake, "g", "t", &[4]);
    let alive = fake.state().nodes[&1];
    let hanging = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let hanging = (hanging.local_addr().expect("an address").port(), hanging);
    let queries = [query("g", Some("t"))];
    for ports in [[1, hanging.0, alive], [alive, 1, hanging.0], [hanging.0, alive, 1]] {
        assert_eq!(lags(&cluster_at(&ports), &queries).await, [Ok(vec![6])]);
    }
    let answers = lags(&cluster_at(&[1, 2]), &queries).await;
    assert_eq!(kind(&answers[0]), FailureKind::Unreachable);
}

/// Something that answers each connection with the same bytes, one by one where `slowly`.
async fn stranger(answer: &'static [u8], slowly: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if slowly {
                for byte in answer {
                    sleep(Duration::from_secs(1)).await;
                    let _ = stream.write_all(&[*byte]).await;
                }
            } else {
                let _ = stream.write_all(answer).await;
            }
            if !answer.is_empty() {
                open.push(stream);
            }
        }
    });
    port
}

#[tokio::test]
async fn what_is_no_broker_is_told_and_never_waited_for_too_long() {
    let nothing: &[u8] = &[];
    let table = [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], false, FailureKind::BadAnswer),
        (&[0x15, 3, 3, 0, 2, 2, 70], false, FailureKind::BadAnswer),
        (&[0xff; 64], false, FailureKind::BadAnswer),
        (&[0; 64], false, FailureKind::BadAnswer),
        // the right length and correlation, and then no versions
        (&[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0x7f, 0xff], false, FailureKind::BadAnswer),
        (&[0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff], false, FailureKind::BadAnswer),
        // no versions at all, and an error
        (&[0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], false, FailureKind::BadAnswer),
        (&[0, 0, 0, 10, 0, 0, 0, 0, 0, 35, 0, 0, 0, 0], false, FailureKind::BadAnswer),
        // a length that promises much
        (&[3, 0, 0, 0, 0, 0, 0, 0, 1], false, FailureKind::Timeout),
        (&[0, 0, 0, 10, 0, 0, 0, 0], true, FailureKind::Timeout),
        (nothing, false, FailureKind::Unreachable),
    ];
    for (answer, slowly, wanted) in table {
        let port = stranger(answer, slowly).await;
        let began = Instant::now();
        let queries = [query("g", Some("t")), query("h", None)];
        let answers = lags(&cluster_at(&[port]), &queries).await;
        assert_eq!(answers.iter().map(kind).collect::<Vec<_>>(), [wanted; 2], "{answer:?} {answers:?}");
        assert!(began.elapsed() < DEADLINE + Duration::from_millis(200), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn no_address_is_connected_to_that_is_not_allowed() {
    let fake = Fake::start(1).await;
    topic(&fake, "t", &[(1, 10)]);
    commit(&fake, "g", "t", &[4]);
    let queries = [query("g", Some("t"))];
    let bootstrap = vec![at(fake.state().nodes[&1])];
    let strict = Cluster::new(Connection { bootstrap, tls: None, login: None }, Arc::default(), Arc::new(Midnight));
    let answers = lags(&strict, &queries).await;
    let problem = answers[0].as_ref().expect_err("a failure");
    assert!(problem.kind == FailureKind::Unreachable && problem.message.contains("not allowed"), "{problem:?}");
    assert_eq!(fake.counts(), [0; 4]);
    // A cluster that sends its clients to where credentials of clouds are.
    for host in ["169.254.169.254", "metadata.google.internal", "::ffff:169.254.169.254"] {
        fake.state().host = Some(host);
        let answers = lags(&cluster(&fake), &queries).await;
        let problem = answers[0].as_ref().expect_err("a failure");
        assert!(problem.message.contains("not allowed"), "{problem:?}");
    }
}

#[tokio::test]
async fn what_nobody_asks_for_is_forgotten() {
    let fake = Fake::start(1).await;
    topic(&fake, "t", &[(1, 10)]);
    let cluster = cluster(&fake);
    let queries: Vec<_> = (0..SPARE_COORDINATORS + 10).map(|n| query(&format!("g{n}"), Some("t"))).collect();
    lags(&cluster, &queries).await;
    lags(&cluster, &queries[..1]).await;
    assert_eq!(cluster.lock().coordinators.len(), 1);
    let old = Topic { leaders: Ok(Arc::default()), learnt: Instant::now() - FORGET_AFTER, doubtful: false };
    cluster.lock().topics.insert("old".to_owned(), old);
    cluster.doubt("t");
    lags(&cluster, &queries[..1]).await;
    assert_eq!(cluster.lock().topics.keys().collect::<Vec<_>>(), ["t"]);
}
