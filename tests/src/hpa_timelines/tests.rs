//! The comparison without Kubernetes: that it would find a difference, and that its inputs are what they claim to be.

use windlass_decision::hpa::Controller;

use super::format::{Change, Event, Row, SYNC_MS};
use super::replay::Replay;
use super::{EVERYTHING, Rows, Timeline, compare, generate, notices, wrong_settings};

/// What `controller` makes of a timeline at the times of the syncs, in the form the other side gives.
fn rows(timeline: &Timeline, controller: Controller) -> Rows {
    let mut world = Replay::new(controller);
    let mut events = timeline.events.iter().peekable();
    let mut rows = Vec::new();
    for sync in 1..=timeline.syncs as i64 {
        while let Some(event) = events.next_if(|event| event.at < sync * SYNC_MS) {
            world.apply(&event.change);
        }
        let at = sync * SYNC_MS * 1_000_000;
        let own = world.sync(at, None);
        let status = Some(own.status);
        rows.push(Row { at, before: own.before, replicas: own.replicas, wrote: own.wrote, status });
    }
    Rows { id: timeline.id, rows }
}

fn lived(timelines: &[Timeline], controller: Controller) -> Vec<Rows> {
    timelines.iter().map(|timeline| rows(timeline, controller)).collect()
}

#[test]
fn the_same_seed_gives_the_same_timelines_and_another_seed_others() {
    let text = |seed| serde_json::to_string(&generate(seed, 20)).unwrap();
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
    let few = generate(1, 5);
    assert_eq!(few, generate(1, 20)[..5], "a timeline does not depend on how many follow");
}

#[test]
fn a_timeline_survives_its_file() {
    for timeline in generate(3, 20) {
        let text = serde_json::to_string(&timeline).unwrap();
        assert_eq!(serde_json::from_str::<Timeline>(&text).unwrap(), timeline);
    }
}

#[test]
fn nothing_happens_close_to_a_sync() {
    for Event { at, .. } in generate(4, 50).into_iter().flat_map(|timeline| timeline.events).filter(|e| e.at > 0) {
        assert!((2_500..=12_500).contains(&(at % SYNC_MS)), "at {at} ms");
    }
}

#[test]
fn what_both_sides_do_alike_is_no_difference_and_every_wrong_setting_is_one() {
    let timelines = generate(5, 400);
    let theirs = lived(&timelines, Controller::default());
    let report = compare(&timelines, &theirs, Controller::default()).unwrap();
    assert!(report.differences.is_empty(), "{report}");
    assert!(!notices(&timelines, &theirs, Controller::default()).unwrap());
    for (setting, wrong) in wrong_settings() {
        assert!(notices(&timelines, &theirs, wrong).unwrap(), "{setting} goes unnoticed");
    }
}

#[test]
fn four_hundred_timelines_lead_everywhere() {
    let timelines = generate(5, 400);
    let report = compare(&timelines, &lived(&timelines, Controller::default()), Controller::default()).unwrap();
    let unseen: Vec<_> = EVERYTHING.iter().filter(|reason| !report.seen.contains_key(**reason)).collect();
    assert!(unseen.is_empty(), "{unseen:?}");
    let known: Vec<_> = report.seen.keys().filter(|seen| !EVERYTHING.contains(&seen.as_str())).collect();
    assert!(known.is_empty(), "not in the list: {known:?}");
}

#[test]
fn each_field_of_a_row_is_compared() {
    let timelines = generate(6, 30);
    let right = lived(&timelines, Controller::default());
    type Edit = fn(&mut Row);
    let changes: [(&str, Edit); 8] = [
        ("replicas before", |row| row.before += 1),
        ("replicas", |row| row.replicas += 1),
        ("currentReplicas", |row| row.status.as_mut().unwrap().current += 1),
        ("desiredReplicas", |row| row.status.as_mut().unwrap().desired += 1),
        ("lastScaleTime", |row| row.status.as_mut().unwrap().last_scale = Some(7)),
        ("conditions", |row| drop(row.status.as_mut().unwrap().conditions.pop_last())),
        ("currentMetrics", |row| row.status.as_mut().unwrap().metrics.push(None)),
        ("conditions", |row| {
            let conditions = &mut row.status.as_mut().unwrap().conditions;
            conditions.values_mut().for_each(|words| words.push('!'));
        }),
    ];
    for (field, change) in changes {
        let mut wrong = right.clone();
        change(&mut wrong[7].rows[9]);
        let report = compare(&timelines, &wrong, Controller::default()).unwrap();
        let found: Vec<_> =
            report.differences.iter().map(|found| (found.timeline, found.sync, found.fields[0].0.as_str())).collect();
        assert_eq!(found, [(7, 9, field)]);
    }
}

#[test]
fn rows_that_are_late_or_too_few_are_refused() {
    let timelines = generate(6, 3);
    let right = lived(&timelines, Controller::default());
    let mut late = right.clone();
    late[1].rows[4].at += 2_000_000_000;
    compare(&timelines, &late, Controller::default()).unwrap_err();
    let mut early = right.clone();
    early[1].rows[4].at -= 1;
    compare(&timelines, &early, Controller::default()).unwrap_err();
    let mut few = right;
    few[2].rows.pop();
    compare(&timelines, &few, Controller::default()).unwrap_err();
}

#[test]
fn timelines_hold_every_kind_of_event() {
    let all = generate(8, 200);
    let has =
        |kind: fn(&Change) -> bool| all.iter().flat_map(|timeline| &timeline.events).any(|event| kind(&event.change));
    assert!(has(|change| matches!(change, Change::Replicas(0))));
    assert!(has(|change| matches!(change, Change::StatusReplicas(_))));
    assert!(has(|change| matches!(change, Change::Pod(pod) if pod.deleting)));
    assert!(has(|change| matches!(change, Change::Gone(_))));
    assert!(has(|change| matches!(change, Change::Metric(_))));
    assert!(has(|change| matches!(change, Change::Selector(false))));
    assert!(has(|change| matches!(change, Change::ScaleReads(false))));
    assert!(has(|change| matches!(change, Change::Conflicts(5..))));
    assert!(has(|change| matches!(change, Change::Writes(false))));
    let edited =
        |timeline: &Timeline| timeline.events.iter().filter(|event| matches!(event.change, Change::Hpa(_))).count();
    assert!(all.iter().any(|timeline| edited(timeline) > 1));
}
