//! Faults one at a time, with the default times: 15 s lease, 10 s renew deadline, 2 s retry period.

use super::fake::{FakeApi, Fate, Network, Passage};
use super::replica::{Guard, Replica, Setup, TestClock, until};
use super::*;
use crate::leadership::leadership;

const SECOND: Duration = Duration::from_secs(1);

/// Two replicas, `one` leading.
struct Pair {
    api: FakeApi,
    one: Replica,
    two: Replica,
    way_of_one: Network,
    way_of_two: Network,
    guard: Guard,
}

async fn pair() -> Pair {
    let api = FakeApi::installed();
    let (way_of_one, way_of_two) = (Network::to(&api), Network::to(&api));
    let guard = Guard::default();
    let one = Setup::new("one", &way_of_one).start();
    guard.watch("one", &one);
    until("one leads", SECOND, || one.leads()).await;
    let two = Setup::new("two", &way_of_two).start();
    guard.watch("two", &two);
    tokio::time::sleep(7 * SECOND).await;
    assert!(one.leads() && !two.leads());
    Pair { api, one, two, way_of_one, way_of_two, guard }
}

impl Pair {
    fn end(&self) {
        assert_eq!(self.guard.overlaps(), [] as [String; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_installed_lease_is_taken_at_once_and_says_who_holds_it() {
    let api = FakeApi::installed();
    let one = Setup::new("one", &Network::to(&api)).start();
    until("one leads", SECOND / 10, || one.leads()).await;
    let spec = api.spec();
    assert_eq!(spec.holder_identity.as_deref(), Some("one"));
    assert_eq!((spec.lease_duration_seconds, spec.lease_transitions), (Some(15), Some(0)));
    assert_eq!(spec.acquire_time, spec.renew_time);

    tokio::time::sleep(30 * SECOND).await;
    let later = api.spec();
    assert!(one.leads());
    assert_eq!((later.acquire_time, later.lease_transitions), (spec.acquire_time, Some(0)));
    assert!(later.renew_time > spec.renew_time);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_not_there_is_made_only_after_a_lease_duration() {
    let api = FakeApi::default();
    let one = Setup::new("one", &Network::to(&api)).start();
    let took = until("one leads", 16 * SECOND, || one.leads()).await;
    assert!(took >= 15 * SECOND, "somebody who leads may have had it deleted a moment ago; waited {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stand_by_leads_soon_after_a_killed_leaders_lease_has_run_out() {
    let pair = pair().await;
    let renewed = pair.api.spec();
    pair.one.kill();
    let took = until("two leads", 17 * SECOND, || pair.two.leads()).await;
    assert!(took > 12 * SECOND, "the lease was at most 2 s old: {took:?}");
    let spec = pair.api.spec();
    assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("two"), Some(1)));
    assert!(spec.acquire_time > renewed.renew_time);
    pair.end();
}

#[tokio::test(start_paused = true)]
async fn a_frozen_leader_does_not_believe_that_it_leads() {
    let pair = pair().await;
    pair.one.freeze(60 * SECOND);
    tokio::time::sleep(11 * SECOND).await;
    assert!(!pair.one.leads(), "its right ran out while it was frozen");
    until("two leads", 6 * SECOND, || pair.two.leads()).await;
    tokio::time::sleep(50 * SECOND).await;
    assert!(!pair.one.leads() && pair.two.leads(), "thawed, it is a stand-by");
    pair.end();

    // And it takes over again when its turn comes.
    pair.two.kill();
    until("one leads again", 17 * SECOND, || pair.one.leads()).await;
    pair.one.leadership.gained().await;
    pair.end();
}

#[tokio::test(start_paused = true)]
async fn a_frozen_stand_by_does_not_take_a_lease_that_was_renewed_meanwhile() {
    let pair = pair().await;
    pair.two.freeze(60 * SECOND);
    tokio::time::sleep(70 * SECOND).await;
    assert!(pair.one.leads() && !pair.two.leads());
    assert_eq!(pair.api.spec().lease_transitions, Some(0));
    pair.end();
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_is_made_again_by_its_leader() {
    let pair = pair().await;
    pair.api.delete();
    let took = until("the lease is there", 3 * SECOND, || pair.api.read().is_some()).await;
    assert!(took <= 3 * SECOND);
    tokio::time::sleep(30 * SECOND).await;
    assert!(pair.one.leads() && !pair.two.leads());
    pair.end();
}

#[tokio::test(start_paused = true)]
async fn a_lease_deleted_under_a_dead_leader_is_made_by_the_stand_by_after_a_lease_duration() {
    let pair = pair().await;
    pair.one.kill();
    pair.api.delete();
    let took = until("two leads", 17 * SECOND, || pair.two.leads()).await;
    assert!(took >= 15 * SECOND, "{took:?}");
    pair.end();
}

#[tokio::test(start_paused = true)]
async fn a_strangers_name_in_the_lease_ends_the_leadership_and_is_waited_out() {
    let pair = pair().await;
    pair.api.set_holder("mallory");
    until("one has stopped", 3 * SECOND, || !pair.one.leads()).await;
    let took = until("one of them leads", 17 * SECOND, || pair.one.leads() || pair.two.leads()).await;
    assert!(took > 11 * SECOND, "a name is believed for a lease duration: {took:?}");
    pair.end();
}

#[tokio::test(start_paused = true)]
async fn a_stand_by_does_not_lead_because_a_stranger_wrote_its_name() {
    let pair = pair().await;
    pair.api.set_holder("two");
    tokio::time::sleep(11 * SECOND).await;
    assert!(!pair.two.leads());
    until("two leads", 6 * SECOND, || pair.two.leads()).await;
    pair.end();
}

#[tokio::test(start_paused = true)]
async fn an_emptied_lease_is_not_a_released_one() {
    let pair = pair().await;
    pair.api.set_holder("");
    tokio::time::sleep(30 * SECOND).await;
    assert!(pair.one.leads() && !pair.two.leads());
    assert_eq!(pair.api.spec().holder_identity.as_deref(), Some("one"));

    pair.api.edit(|lease| lease.spec = None);
    tokio::time::sleep(30 * SECOND).await;
    assert!(pair.one.leads() && !pair.two.leads(), "an emptied spec is not a new lease to one who saw it held");
    pair.end();
}

#[tokio::test(start_paused = true)]
async fn an_edit_beside_the_spec_changes_nothing_and_survives() {
    let pair = pair().await;
    pair.api.edit(|lease| {
        lease.metadata.labels.get_or_insert_default().insert("team".to_owned(), "harbour".to_owned());
    });
    tokio::time::sleep(30 * SECOND).await;
    assert!(pair.one.leads());
    let labels = pair.api.read().expect("a lease").metadata.labels.expect("labels");
    assert_eq!(labels.get("team").map(String::as_str), Some("harbour"));
    pair.end();
}

#[tokio::test(start_paused = true)]
async fn a_duration_edited_to_years_does_not_end_the_election() {
    let pair = pair().await;
    pair.one.kill();
    pair.api.edit(|lease| {
        lease.spec.get_or_insert_default().lease_duration_seconds = Some(i32::MAX);
    });
    until("two leads", LONGEST_LEASE + 2 * SECOND, || pair.two.leads()).await;
    assert_eq!(pair.api.spec().lease_duration_seconds, Some(15));
    pair.end();
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_writes_fail_stops_before_its_lease_can_be_taken() {
    let failures = [Fate::Refused, Fate::AnswerLost].map(|fate| Passage { before: SECOND / 2, ..Passage::with(fate) });
    for failure in failures {
        let pair = pair().await;
        pair.way_of_one.writes(failure);
        pair.way_of_two.writes(Passage::with(Fate::Refused));
        until("one has stopped", 11 * SECOND, || !pair.one.leads()).await;
        // Reads go on, and show one's own name, perhaps renewed by a write without an answer: that is no renewal.
        tokio::time::sleep(60 * SECOND).await;
        assert!(!pair.one.leads() && !pair.two.leads(), "{failure:?}");

        pair.way_of_one.writes(Passage::with(Fate::Refused));
        pair.way_of_two.writes(Passage::GOOD);
        until("two leads", 17 * SECOND, || pair.two.leads()).await;
        pair.end();
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_slower_than_the_call_deadline_ends_the_leadership() {
    let pair = pair().await;
    let slow = Passage { before: 9 * SECOND, ..Passage::GOOD };
    pair.way_of_one.writes(slow);
    pair.way_of_one.reads(slow);
    until("one has stopped", 11 * SECOND, || !pair.one.leads()).await;
    pair.way_of_one.writes(Passage::GOOD);
    pair.way_of_one.reads(Passage::GOOD);
    until("somebody leads", 20 * SECOND, || pair.one.leads() || pair.two.leads()).await;
    pair.end();
}

#[tokio::test(start_paused = true)]
async fn an_api_that_takes_three_seconds_keeps_its_leader() {
    let pair = pair().await;
    pair.way_of_one.writes(Passage { before: 3 * SECOND, ..Passage::GOOD });
    for _ in 0..600 {
        tokio::time::sleep(SECOND / 10).await;
        assert!(pair.one.leads());
    }
    pair.end();
}

#[tokio::test(start_paused = true)]
async fn a_restarted_container_continues_its_own_lease_at_once() {
    let pair = pair().await;
    let before = pair.api.spec();
    pair.one.kill();
    let again = Setup::new("one", &pair.way_of_one).start();
    pair.guard.watch("one again", &again);
    until("it leads again", SECOND / 10, || again.leads()).await;
    let after = pair.api.spec();
    assert_eq!(after.acquire_time, before.acquire_time);
    assert_eq!(after.lease_transitions, before.lease_transitions);
    tokio::time::sleep(30 * SECOND).await;
    assert!(again.leads() && !pair.two.leads());
    pair.end();
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_taken_by_the_stand_by_without_waiting_for_its_end() {
    let Pair { api, one, two, guard, .. } = pair().await;
    let leadership = one.leadership.clone();
    let elector = one.stop().await;
    assert!(!leadership.holds(), "the right ends with the election");
    assert!(!two.leads(), "and nobody has it before the release");
    assert!(elector.release().await.expect("released"));
    let spec = api.spec();
    assert_eq!((spec.holder_identity.as_deref(), spec.lease_duration_seconds), (Some(""), Some(1)));
    until("two leads", 2 * SECOND, || two.leads()).await;
    assert_eq!(api.spec().lease_transitions, Some(1));
    assert_eq!(guard.overlaps(), [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_stand_by_has_nothing_to_release() {
    let pair = pair().await;
    let before = pair.api.read();
    let (grant, _) = leadership();
    let stand_by = Setup::new("three", &pair.way_of_two).elector(grant);
    assert!(!stand_by.release().await.expect("nothing to do"));
    assert_eq!(pair.api.read(), before);
    let Pair { api, two, one, .. } = pair;
    assert!(!two.stop().await.release().await.expect("nothing to do"));
    assert!(one.leads());
    assert_eq!(api.spec().holder_identity.as_deref(), Some("one"));
}

#[tokio::test(start_paused = true)]
async fn wall_clocks_that_are_wrong_or_stand_still_do_not_matter() {
    let clocks = [
        (TestClock { runs: false, ..TestClock::from(1_700_000_000) }, TestClock::from(1_700_000_000)),
        (TestClock::from(4_000_000_000), TestClock::from(0)),
        (TestClock::from(0), TestClock::from(4_000_000_000)),
    ];
    for (clock_of_one, clock_of_two) in clocks {
        let api = FakeApi::installed();
        let guard = Guard::default();
        let one = Setup { clock: clock_of_one, ..Setup::new("one", &Network::to(&api)) }.start();
        guard.watch("one", &one);
        until("one leads", SECOND, || one.leads()).await;
        let two = Setup { clock: clock_of_two, ..Setup::new("two", &Network::to(&api)) }.start();
        guard.watch("two", &two);
        for _ in 0..60 {
            tokio::time::sleep(SECOND).await;
            assert!(one.leads() && !two.leads(), "{clock_of_one:?} {clock_of_two:?}");
        }
        one.kill();
        until("two leads", 17 * SECOND, || two.leads()).await;
        assert_eq!(guard.overlaps(), [] as [String; 0]);
    }
}
