//! Commits that were there and are gone. Right after a coordinator has failed, its successor may not know the last commits yet and
//! answers that there are none, which would make a small figure of a large lag. Pure bookkeeping over given times.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::messages::{Commits, Places};

/// How long a group's commits must be gone to be believed to be: they may have expired or been deleted.
pub(super) const BELIEVED_AFTER: Duration = Duration::from_secs(10);

/// The partitions that each group has commits for.
#[derive(Debug, Default)]
pub(super) struct Remembered(HashMap<String, Group>);

#[derive(Debug, Default)]
struct Group {
    places: BTreeMap<String, BTreeSet<i32>>,
    gone_since: Option<Instant>,
}

impl Remembered {
    /// Forgets all groups.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether an answer about a group may be used: asked were these partitions, or all that it has commits for.
    pub(super) fn believes(&mut self, group: &str, asked: Option<&Places>, commits: &Commits, now: Instant) -> bool {
        if !self.0.contains_key(group) {
            self.0.insert(group.to_owned(), Group::default());
        }
        let Some(group) = self.0.get_mut(group) else { return true };
        let gone = |topic: &String, partition: &i32| {
            let was_asked = asked.is_none_or(|asked| asked.get(topic).is_some_and(|asked| asked.contains(partition)));
            let commit = commits.get(topic).and_then(|commits| commits.get(partition));
            was_asked && matches!(commit, None | Some(Ok(None)))
        };
        let any_gone = group.places.iter().any(|(topic, all)| all.iter().any(|partition| gone(topic, partition)));
        if any_gone {
            if now.duration_since(*group.gone_since.get_or_insert(now)) < BELIEVED_AFTER {
                return false;
            }
            for (topic, partitions) in &mut group.places {
                partitions.retain(|partition| !gone(topic, partition));
            }
            group.places.retain(|_, partitions| !partitions.is_empty());
        }
        group.gone_since = None;
        for (topic, commits) in commits {
            let there =
                commits.iter().filter(|(_, commit)| matches!(commit, Ok(Some(_)))).map(|(partition, _)| *partition);
            match group.places.get_mut(topic) {
                Some(known) => known.extend(there),
                None => _ = group.places.insert(topic.clone(), there.collect()),
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::messages::Code;
    use super::*;

    type Answer<'a> = &'a [(i32, Result<Option<i64>, Code>)];

    #[test]
    fn what_was_there_is_believed_to_be_gone_after_a_while_only() {
        let (mut remembered, start) = (Remembered::default(), Instant::now());
        let some: Answer<'_> = &[(0, Ok(Some(5))), (1, Ok(None))];
        let none: Answer<'_> = &[(0, Ok(None)), (1, Ok(None))];
        let error: Answer<'_> = &[(0, Err(Code(29))), (1, Ok(None))];
        let other: Answer<'_> = &[(1, Ok(None))];
        // the second, the partitions asked for (all without), the answer, whether it is believed
        let timeline: &[(u64, Option<&[i32]>, Answer<'_>, bool)] = &[
            (0, None, none, true),
            (1, None, some, true),
            (2, None, none, false),
            (11, None, none, false),
            // it was a coordinator that did not know yet
            (12, None, some, true),
            (13, Some(&[0, 1]), none, false),
            (14, Some(&[1]), other, true),
            (15, Some(&[0, 1]), error, true),
            (16, None, &[], false),
            (25, None, none, false),
            (26, None, none, true),
            (27, None, none, true),
            (28, None, some, true),
            (29, None, none, false),
        ];
        for (second, asked, answer, believed) in timeline {
            let asked = asked.map(|asked| Places::from([("t".to_owned(), asked.to_vec())]));
            let commits = Commits::from([("t".to_owned(), answer.iter().copied().collect())]);
            let now = start + Duration::from_secs(*second);
            assert_eq!(remembered.believes("g", asked.as_ref(), &commits, now), *believed, "{second}");
            assert!(remembered.believes("h", asked.as_ref(), &Commits::new(), now));
        }
    }
}
