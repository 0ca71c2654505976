//! Never two holders at once, for random delays, refusals, lost answers, freezes, restarts and edits; and when all that
//! has ended, exactly one.

use proptest::prelude::*;

use super::fake::{FakeApi, Fate, Network, Passage};
use super::replica::{Guard, Replica, Setup};
use super::*;

const NAMES: [&str; 3] = ["one", "two", "three"];
/// How long faults go on, in virtual milliseconds.
const TROUBLE: u64 = 150_000;

#[derive(Debug, Clone)]
enum Incident {
    Freeze { replica: usize, time: Duration },
    Restart { replica: usize },
    Stranger { holder: &'static str },
    Touch,
    Delete,
}

#[derive(Debug, Clone)]
struct Story {
    timings: Vec<Timing>,
    passages: Vec<Vec<Passage>>,
    incidents: Vec<(u64, Incident)>,
}

fn passage() -> impl Strategy<Value = Passage> {
    let delay = || prop_oneof![6 => 0_u64..300, 2 => 300_u64..6_000, 1 => 6_000_u64..40_000];
    let fate = prop_oneof![6 => Just(Fate::Answered), 1 => Just(Fate::Refused), 1 => Just(Fate::AnswerLost)];
    (delay(), delay(), fate).prop_map(|(before, after, fate)| {
        let millis = Duration::from_millis;
        Passage { before: millis(before), after: millis(after), fate }
    })
}

fn incident() -> impl Strategy<Value = Incident> {
    let replica = 0..NAMES.len();
    prop_oneof![
        3 => (replica.clone(), 0_u64..60_000)
            .prop_map(|(replica, time)| Incident::Freeze { replica, time: Duration::from_millis(time) }),
        2 => replica.prop_map(|replica| Incident::Restart { replica }),
        1 => prop::sample::select(vec!["mallory", ""]).prop_map(|holder| Incident::Stranger { holder }),
        1 => Just(Incident::Touch),
    ]
}

fn story() -> impl Strategy<Value = Story> {
    let timing = prop::sample::select(vec![(15, 10, 2), (6, 4, 1), (30, 20, 5)]).prop_map(|(lease, renew, retry)| {
        let seconds = Duration::from_secs;
        Timing::try_new(seconds(lease), seconds(renew), seconds(retry)).expect("valid")
    });
    // Replicas of different configurations respect each other by the duration in the Lease; a deleted Lease says none.
    let timings = prop_oneof![
        (prop::collection::vec(timing.clone(), NAMES.len()), Just(None)),
        (timing.prop_map(|timing| vec![timing; NAMES.len()]), prop::option::of(0..TROUBLE)),
    ];
    let passages = prop::collection::vec(prop::collection::vec(passage(), 0..40), NAMES.len());
    let incidents = prop::collection::vec((0..TROUBLE, incident()), 0..8);
    (timings, passages, incidents).prop_map(|((timings, deleted), passages, mut incidents)| {
        incidents.extend(deleted.map(|at| (at, Incident::Delete)));
        incidents.sort_by_key(|(at, _)| *at);
        Story { timings, passages, incidents }
    })
}

async fn play(story: Story) -> Result<(), TestCaseError> {
    let api = FakeApi::installed();
    let guard = Guard::default();
    let begin = Instant::now();
    let start = |setup: &Setup| {
        let replica = setup.start();
        guard.watch(setup.name, &replica);
        replica
    };
    let setups: Vec<Setup> = std::iter::zip(NAMES, std::iter::zip(&story.timings, &story.passages))
        .map(|(name, (timing, passages))| {
            let network = Network::to(&api);
            network.schedule(passages.iter().copied());
            Setup { timing: *timing, ..Setup::new(name, &network) }
        })
        .collect();
    let mut replicas: Vec<Replica> = setups.iter().map(start).collect();
    for (at, incident) in story.incidents {
        tokio::time::sleep_until(begin + Duration::from_millis(at)).await;
        match incident {
            Incident::Freeze { replica, time } => replicas[replica].freeze(time),
            Incident::Restart { replica } => {
                replicas[replica].kill();
                replicas[replica] = start(&setups[replica]);
            }
            Incident::Stranger { holder } => api.set_holder(holder),
            Incident::Touch => api.edit(|lease| lease.metadata.generation = Some(at.cast_signed())),
            Incident::Delete => api.delete(),
        }
    }
    tokio::time::sleep_until(begin + Duration::from_millis(TROUBLE)).await;
    for setup in &setups {
        setup.network.schedule([]);
    }
    // The longest freeze (60 s), the latest request (80 s) and two leases.
    tokio::time::sleep(Duration::from_secs(240)).await;
    prop_assert_eq!(guard.overlaps(), Vec::<String>::new());
    let leading: Vec<&str> =
        std::iter::zip(NAMES, &replicas).filter(|(_, replica)| replica.leads()).map(|(name, _)| name).collect();
    prop_assert_eq!(leading.len(), 1, "leading at the end: {:?}", leading);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn never_two_at_once_and_in_the_end_one(story in story()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(play(story))?;
    }
}
