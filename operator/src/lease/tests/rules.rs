//! Single steps of the state machine, and what an election is refused for.

use k8s_openapi::api::coordination::v1::LeaseSpec;

use super::election::{Action, Election, Event};
use super::fake::{FakeApi, Network};
use super::*;
use crate::leadership::leadership;

const WALL: jiff::Timestamp = jiff::Timestamp::UNIX_EPOCH;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn lease(version: &str, spec: Option<LeaseSpec>) -> Lease {
    let mut lease = Lease { spec, ..Lease::default() };
    lease.metadata.resource_version = Some(version.to_owned());
    lease
}

fn held(version: &str, by: &str, seconds: i32) -> Option<Lease> {
    let spec = LeaseSpec {
        holder_identity: Some(by.to_owned()),
        lease_duration_seconds: Some(seconds),
        lease_transitions: Some(4),
        ..LeaseSpec::default()
    };
    Some(lease(version, Some(spec)))
}

/// What a fresh replica called `me` does with its first sight of the Lease.
fn first_sight(seen: Option<Lease>) -> Action {
    let mut election = Election::new("me".to_owned(), Timing::default(), 1);
    let now = Instant::now();
    assert_eq!(election.step(Event::Tick, now, WALL), Action::Read);
    election.step(Event::Read(seen), now, WALL)
}

#[test]
fn a_fresh_replica_takes_only_what_is_certainly_free() {
    let free = [
        ("never held", Some(lease("1", None))),
        ("never held, empty spec", Some(lease("1", Some(LeaseSpec::default())))),
        ("released", held("1", "", 1)),
        ("its own", held("1", "me", 15)),
    ];
    for (what, seen) in free {
        assert!(matches!(first_sight(seen), Action::Replace(_)), "{what}");
    }
    let taken = [
        ("not there", None),
        ("held", held("1", "other", 15)),
        ("held, with an absurd duration", held("1", "other", -5)),
        ("held, for a second", held("1", "other", 1)),
        ("emptied by somebody", held("1", "", 15)),
    ];
    for (what, seen) in taken {
        let action = first_sight(seen);
        // Half the retry period, and up to a fifth less.
        assert!(
            matches!(action, Action::Sleep(time) if time > seconds(1).mul_f64(0.79) && time <= seconds(1)),
            "{what}"
        );
    }
}

#[test]
fn a_lease_is_waited_out_from_its_last_change_and_to_the_moment() {
    let mut election = Election::new("me".to_owned(), Timing::default(), 1);
    let start = Instant::now();
    let mut read = |at: Duration, version: &str| {
        assert_eq!(election.step(Event::Tick, start + at, WALL), Action::Read);
        election.step(Event::Read(held(version, "other", 20)), start + at, WALL)
    };
    assert!(matches!(read(seconds(0), "1"), Action::Sleep(_)));
    assert!(matches!(read(seconds(19), "2"), Action::Sleep(_)), "renewed: the wait begins anew");
    assert!(
        matches!(read(seconds(38), "2"), Action::Sleep(_)),
        "the holder's duration counts, as it is the longer one"
    );
    let almost = seconds(39) - Duration::from_millis(300);
    assert_eq!(read(almost, "2"), Action::Sleep(Duration::from_millis(300)), "no longer than to its end");
    let Action::Replace(taken) = read(seconds(39), "2") else { panic!("it is free now") };
    let spec = taken.spec.expect("a spec");
    assert_eq!(taken.metadata.resource_version.as_deref(), Some("2"), "the write is conditional");
    assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("me"), Some(5)));
}

#[test]
fn a_right_counts_from_the_sending_and_an_answer_after_its_end_gives_none() {
    for (delay, leads) in [(seconds(9), true), (seconds(10), false), (seconds(60), false)] {
        let mut election = Election::new("me".to_owned(), Timing::default(), 1);
        let sent = Instant::now();
        election.step(Event::Read(held("1", "me", 15)), sent, WALL);
        let lease = held("2", "me", 15).expect("a lease");
        election.step(Event::Written { lease, sent }, sent + delay, WALL);
        assert_eq!(election.leading_until(), leads.then(|| sent + seconds(10)), "answered after {delay:?}");
    }
}

#[test]
fn a_lapsed_leader_is_a_candidate_like_any_other() {
    for (what, found) in [("deleted", None), ("emptied", held("3", "", 15)), ("taken", held("3", "other", 15))] {
        let mut election = Election::new("me".to_owned(), Timing::default(), 1);
        let sent = Instant::now();
        election.step(Event::Read(held("1", "me", 15)), sent, WALL);
        election.step(Event::Written { lease: held("2", "me", 15).expect("a lease"), sent }, sent, WALL);
        let still = election.step(Event::Tick, sent + seconds(9), WALL);
        assert!(matches!(still, Action::Replace(_)), "a leader renews without reading first: {still:?}");
        election.step(Event::Failed, sent + seconds(9), WALL);

        let lapsed = sent + seconds(10);
        assert_eq!(election.step(Event::Tick, lapsed, WALL), Action::Read);
        assert_eq!(election.leading_until(), None);
        assert!(matches!(election.step(Event::Read(found), lapsed, WALL), Action::Sleep(_)), "{what}");
    }
}

#[test]
fn a_write_that_others_cannot_see_is_no_renewal() {
    let answers = [("same version", held("1", "me", 15)), ("another holder", held("2", "other", 15))];
    for (what, answer) in answers {
        let mut election = Election::new("me".to_owned(), Timing::default(), 1);
        let now = Instant::now();
        election.step(Event::Read(held("1", "me", 15)), now, WALL);
        election.step(Event::Written { lease: answer.expect("a lease"), sent: now }, now, WALL);
        assert_eq!(election.leading_until(), None, "{what}");
    }
}

#[test]
fn conflicts_do_not_make_a_storm_of_requests() {
    let mut election = Election::new("me".to_owned(), Timing::default(), 1);
    let now = Instant::now();
    let mut action = election.step(Event::Tick, now, WALL);
    let mut requests = 0;
    while !matches!(action, Action::Sleep(_)) {
        requests += 1;
        assert!(requests < 10, "it never sleeps");
        let event = if action == Action::Read { Event::Read(held("1", "me", 15)) } else { Event::Conflict };
        action = election.step(event, now, WALL);
    }
    assert_eq!(requests, 5, "read, write, read, write, read");
}

#[test]
fn times_that_do_not_fit_together_are_refused() {
    let order = |lease, renew, retry| Err(InvalidElection::Order { lease, renew, retry });
    let millis = Duration::from_millis;
    let table = [
        (seconds(15), seconds(10), seconds(2), Ok(())),
        (seconds(10), seconds(10), seconds(2), order(seconds(10), seconds(10), seconds(2))),
        (seconds(15), seconds(2), seconds(2), order(seconds(15), seconds(2), seconds(2))),
        (seconds(15), seconds(10), Duration::ZERO, order(seconds(15), seconds(10), Duration::ZERO)),
        (millis(900), millis(500), millis(100), Err(InvalidElection::Duration(millis(900)))),
        (seconds(301), seconds(10), seconds(2), Err(InvalidElection::Duration(seconds(301)))),
    ];
    for (lease, renew, retry, expected) in table {
        assert_eq!(Timing::try_new(lease, renew, retry).map(|_| ()), expected);
    }
    let default = Timing::default();
    assert_eq!(Timing::try_new(seconds(15), seconds(10), seconds(2)), Ok(default));
    assert_eq!(default.call_deadline(), seconds(5));
    let short = Timing::try_new(seconds(3), seconds(2), millis(500)).expect("valid");
    assert_eq!(short.call_deadline(), seconds(1));
}

#[tokio::test(start_paused = true)]
async fn an_empty_identity_is_refused() {
    let (grant, _) = leadership();
    let clock = Arc::new(replica::TestClock::from(0));
    let network = Network::to(&FakeApi::default());
    let telemetry = Telemetry::new("test", false);
    let refused = Elector::new(network, String::new(), Timing::default(), grant, clock, telemetry, 0);
    assert_eq!(refused.err(), Some(InvalidElection::Identity));
}
