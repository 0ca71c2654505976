//! Three brokers, of which one is lost: who leads what moves to the others.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use windlass_decision::Outcome;

use super::broker::Broker;
use super::client::Client;
use super::{DEADLINE, query, trigger};

/// Where a cluster keeps the commits of groups.
const COMMITS: &str = "__consumer_offsets";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_move_and_the_figure_stays_right() {
    let mut brokers = Broker::start_cluster(3).await;
    let servers = brokers.iter().map(Broker::plain).collect::<Vec<_>>().join(",");
    let client = Client::new(&servers, brokers[0].plain_port());
    client.create("spread", 6).await;
    let ends: Vec<_> = (0..6).map(|partition| ("spread", partition, 0)).collect();
    for (_, partition, _) in &ends {
        client.produce("spread", *partition, 5);
    }
    client.commit("spread", &ends);
    let (upstream, spread) = trigger(&servers, "spread", &[("topic", "spread")]);
    let queries = [spread, query("spread", &[])];
    let good = |outcomes: &[Outcome]| outcomes.iter().all(|outcome| matches!(outcome, Outcome::Ok(_)));
    let told = RefCell::new(BTreeSet::new());
    // There may be no figure meanwhile, but there is never a wrong one, and never a late one.
    let heals = async |what: &str| {
        let (began, patience) = (Instant::now(), Duration::from_secs(60));
        loop {
            let asked = Instant::now();
            let outcomes = upstream.read(&queries).await;
            assert!(asked.elapsed() < DEADLINE, "{what}: {:?}", asked.elapsed());
            for outcome in &outcomes {
                match outcome {
                    Outcome::Ok(sample) => assert_eq!(sample.value, 30.0, "{what}"),
                    Outcome::Failed(failure) => _ = told.borrow_mut().insert(failure.message.clone()),
                    Outcome::Absent(failure) => panic!("{what}: {failure:?}"),
                }
            }
            if good(&outcomes) {
                return began.elapsed();
            }
            assert!(began.elapsed() < patience, "{what}: still {outcomes:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    println!("a new cluster: read in {:?}", heals("a new cluster").await);
    let index = |node: i32| usize::try_from(node - 1).expect("a node");
    client.wait_until_whole(3, &["spread", COMMITS]).await;
    let coordinator = index(client.leader(COMMITS, 0));
    brokers[coordinator].kill();
    println!("the coordinator killed: read again in {:?}", heals("killed").await);
    brokers[coordinator].restart().await;
    println!("it is back: read in {:?}", heals("back").await);
    client.wait_until_whole(3, &["spread", COMMITS]).await;
    let leader = index(client.leader("spread", 0));
    brokers[leader].freeze().await;
    println!("a leader frozen: read again in {:?}", heals("frozen").await);
    brokers[leader].thaw();
    println!("it is thawed: read in {:?}", heals("thawed").await);
    println!("meanwhile: {:#?}", told.borrow());
    upstream.close().await;
}
