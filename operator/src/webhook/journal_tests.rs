//! Journals that are cut anywhere, filled, tidied, locked and broken.

use proptest::prelude::*;
use windlass_sources::webhook::{Signature, StreamKey};

use super::*;

const SECOND: i64 = 1_000_000;

fn event(nth: u32, at: i64) -> Event {
    let signature = [Signature::Github, Signature::Standard, Signature::None][nth as usize % 3];
    let stream = StreamKey { namespace: "shop".into(), name: format!("orders-{}", nth % 5), signature };
    let mut id = [0; 16];
    id[..4].copy_from_slice(&nth.to_le_bytes());
    let values = (0..nth % 3).map(|place| (format!("a.{place}"), f64::from(nth))).collect();
    Event { stream, id: (!nth.is_multiple_of(4)).then_some(id), at, values, counts: true }
}

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).expect("a time")
}

fn opened(dir: &Path, room: Room) -> (Vec<Event>, Journal) {
    let mut replay = Replay::open(dir, room).expect("opened");
    let events = replay.by_ref().collect();
    (events, replay.finish(&[], at(SECOND)).expect("begun"))
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).expect("listed").map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    paths
}

#[test]
fn what_was_appended_is_there_after_each_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut all = Vec::new();
    for round in 0..4 {
        let (found, mut journal) = opened(dir.path(), Room::default());
        assert_eq!(found, all);
        for batch in 0..5 {
            let events: Vec<_> = (0..batch).map(|nth| event(round * 100 + nth, SECOND)).collect();
            journal.append(&events).expect("appended");
            all.extend(events);
        }
    }
}

#[test]
fn one_process_at_a_time_has_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_, journal) = opened(dir.path(), Room::default());
    assert!(matches!(Replay::open(dir.path(), Room::default()), Err(JournalError::Locked(_))));
    drop(journal);
    opened(dir.path(), Room::default());
}

#[test]
fn a_full_journal_forgets_what_nobody_needs_and_then_refuses() {
    let dir = tempfile::tempdir().expect("a directory");
    let room = Room { total: 16 << 10, segment: 2 << 10 };
    let (_, mut journal) = opened(dir.path(), room);
    let minute = Duration::from_secs(60);
    let (mut now, mut forgotten) = (SECOND, None);
    // An event a second: what is older than a minute makes room.
    for nth in 0..2000 {
        now += 1000;
        journal.append(&[event(nth, now)]).expect("there is room");
        forgotten = journal.tidy(at(now), minute, Vec::new).expect("tidied").max(forgotten);
        assert!(journal.size() <= room.total);
    }
    assert!(forgotten.is_some_and(|newest| newest < now - 60_000 && newest > now - 600_000), "{forgotten:?} at {now}");
    // All at once: nothing may be forgotten.
    let mut refused = 0;
    for nth in 0..1000 {
        match journal.append(&[event(nth, now)]) {
            Ok(()) => {}
            Err(JournalError::Full) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        journal.tidy(at(now), minute, Vec::new).expect("tidied");
        assert!(journal.size() <= room.total + room.segment);
    }
    assert!(refused > 500, "{refused}");
    let size: u64 = segments(dir.path()).iter().map(|path| fs::metadata(path).expect("there").len()).sum();
    assert_eq!(size, journal.size());
    // And a minute later there is room again.
    journal.tidy(at(now + 61_000), minute, Vec::new).expect("tidied");
    journal.append(&[event(1, now)]).expect("there is room");
}

#[test]
fn the_newest_numbers_outlive_the_segment_they_came_in() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_, mut journal) = opened(dir.path(), Room::default());
    let number = Event { counts: false, ..event(2, SECOND) };
    journal.append(&[event(2, SECOND)]).expect("appended");
    let day = SECOND + 25 * 3_600_000;
    assert_eq!(journal.tidy(at(day), Duration::ZERO, || vec![number.clone()]).expect("tidied"), Some(SECOND));
    assert_eq!(segments(dir.path()).len(), 1);
    drop(journal);
    assert_eq!(opened(dir.path(), Room::default()).0, [number]);
}

#[test]
fn restarts_leave_no_heap_of_empty_segments() {
    let dir = tempfile::tempdir().expect("a directory");
    for _ in 0..20 {
        let (_, mut journal) = opened(dir.path(), Room::default());
        journal.tidy(at(SECOND), Duration::ZERO, Vec::new).expect("tidied");
    }
    assert_eq!(segments(dir.path()).len(), 1);
}

#[test]
fn after_a_failed_write_another_segment_is_begun() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_, mut journal) = opened(dir.path(), Room::default());
    journal.append(&[event(1, SECOND)]).expect("appended");
    // A file that cannot be written to stands for a disk that cannot.
    journal.file = File::open(&journal.active.path).expect("opened");
    assert!(matches!(journal.append(&[event(2, SECOND)]), Err(JournalError::Io { .. })));
    assert!(matches!(journal.append(&[event(3, SECOND)]), Err(JournalError::Io { .. })));
    journal.tidy(at(SECOND), Duration::ZERO, Vec::new).expect("tidied");
    journal.append(&[event(4, SECOND)]).expect("appended");
    drop(journal);
    assert_eq!(opened(dir.path(), Room::default()).0, [event(1, SECOND), event(4, SECOND)]);
}

#[test]
fn a_journal_cut_at_each_byte_gives_what_came_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_, mut journal) = opened(dir.path(), Room::default());
    let (mut all, mut ends) = (Vec::new(), vec![MAGIC.len()]);
    for nth in 0..8 {
        journal.append(&[event(nth, SECOND)]).expect("appended");
        all.push(event(nth, SECOND));
        ends.push(usize::try_from(journal.active.bytes).expect("small"));
    }
    let whole = fs::read(&journal.active.path).expect("read");
    drop(journal);
    for length in 0..=whole.len() {
        let wanted = ends.iter().filter(|end| **end <= length).count().saturating_sub(1);
        let records = whole[..length].get(MAGIC.len()..).unwrap_or_default();
        assert_eq!(decode(records).0, all[..wanted], "cut at {length}");
        // On disk not for each byte: every time costs several fsyncs.
        if !length.is_multiple_of(11) && !ends.contains(&length) {
            continue;
        }
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("webhooks-00000000000000000001.log"), &whole[..length]).expect("written");
        let (found, mut journal) = opened(dir.path(), Room::default());
        assert_eq!(found, all[..wanted], "cut at {length}");
        journal.append(&[event(99, SECOND)]).expect("appended");
        drop(journal);
        let found = opened(dir.path(), Room::default()).0;
        assert_eq!(found.len(), wanted + 1, "and goes on after that");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Several segments, the last of which is torn: a prefix of all, and at least what the segments before hold.
    #[test]
    fn a_torn_journal_gives_a_prefix_of_what_was_acknowledged(
        batches in prop::collection::vec(1_u32..20, 1..12),
        cut in 0_usize..4000,
        junk in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let (_, mut journal) = opened(dir.path(), Room { total: 1 << 20, segment: 1 << 10 });
        let (mut all, mut nth) = (Vec::new(), 0);
        for batch in batches {
            let events: Vec<_> = (nth..nth + batch).map(|nth| event(nth, SECOND)).collect();
            nth += batch;
            journal.append(&events).expect("appended");
            all.extend(events);
            journal.tidy(at(SECOND), Duration::from_secs(60), Vec::new).expect("tidied");
        }
        drop(journal);
        let last = segments(dir.path()).pop().expect("a segment");
        let mut bytes = fs::read(&last).expect("read");
        let before = bytes.len();
        bytes.truncate(before.saturating_sub(cut));
        let is_cut = bytes.len() < before;
        bytes.extend(junk);
        fs::write(&last, bytes).expect("written");
        let found = opened(dir.path(), Room::default()).0;
        prop_assert!(all.starts_with(&found), "no prefix");
        prop_assert!(is_cut || found == all, "lost {}", all.len() - found.len());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let (events, taken) = decode(&bytes);
        prop_assert!(events.is_empty() && taken == 0, "a checksum by chance");
    }
}
