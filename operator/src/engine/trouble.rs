//! The line a minute about all objects with which something is wrong: how many, and why, in groups. Each of them has had its
//! event and its line when it began; this says that it goes on. It only looks.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use windlass_decision::FailureKind;

use crate::engine::memory::Memory;
use crate::key::ObjectKey;

/// How often the line is written, while there is trouble.
pub(super) const EVERY: Duration = Duration::from_secs(60);

/// Why an object is not scaled at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Refusal {
    /// Its spec, or what its spec refers to.
    Spec,
    /// An annotation.
    Annotation,
    /// Its target is not there.
    NoTarget,
    /// Its target is another object's.
    AnothersTarget,
}

impl Refusal {
    const fn words(self) -> &'static str {
        match self {
            Self::Spec => "the spec is wrong",
            Self::Annotation => "an annotation is wrong",
            Self::NoTarget => "there is no target",
            Self::AnothersTarget => "another object has the target",
        }
    }
}

const fn words(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Unreachable => "cannot be reached",
        FailureKind::Timeout => "does not answer in time",
        FailureKind::Unauthorised => "refuses the credentials",
        FailureKind::Tls => "TLS fails",
        FailureKind::BadAnswer => "gives no figure",
        FailureKind::NotFound => "has not what is asked for",
    }
}

/// What goes on being wrong.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Troubles {
    /// How many objects something is wrong with.
    pub objects: usize,
    groups: [Group; 3],
}

/// Objects of one kind of trouble, and how many of them have which.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Group {
    objects: usize,
    why: BTreeMap<String, usize>,
}

impl Group {
    fn add(&mut self, why: impl IntoIterator<Item = String>) {
        let mut any = false;
        for why in why {
            *self.why.entry(why).or_default() += 1;
            any = true;
        }
        self.objects += usize::from(any);
    }
}

impl Troubles {
    /// Of all objects.
    pub fn of(objects: &BTreeMap<ObjectKey, Memory>) -> Self {
        let mut troubles = Self::default();
        let [unread, refused, unwritten] = &mut troubles.groups;
        for memory in objects.values() {
            unread.add(unreadable(memory));
            refused.add(memory.refusal.map(|refusal| refusal.words().to_owned()));
            let hpa = memory.hpa_trouble.is_some().then(|| "the HPA".to_owned());
            let plan = memory.retry.is_some().then(|| "replicas or status".to_owned());
            let mark = memory.mark_retry.is_some().then(|| "finalizers".to_owned());
            unwritten.add([hpa, plan, mark].into_iter().flatten());
        }
        troubles.objects = objects.values().filter(|memory| is_in_trouble(memory)).count();
        troubles
    }
}

/// The sources that cannot be read for an object, each named once.
fn unreadable(memory: &Memory) -> Vec<String> {
    let Some(Ok(valid)) = memory.valid.as_ref().filter(|_| memory.refusal.is_none()) else { return Vec::new() };
    let kind = |place: usize| valid.triggers.get(place).map_or("a trigger", |trigger| &trigger.kind);
    let mut why: Vec<_> =
        memory.unread.iter().map(|(place, failure)| format!("{}: {}", kind(*place), words(*failure))).collect();
    why.sort_unstable();
    why.dedup();
    why
}

fn is_in_trouble(memory: &Memory) -> bool {
    memory.refusal.is_some()
        || !memory.unread.is_empty()
        || memory.hpa_trouble.is_some()
        || memory.retry.is_some()
        || memory.mark_retry.is_some()
}

impl std::fmt::Display for Troubles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whose = ["that cannot be read", "that cannot be scaled", "for which something cannot be written"];
        let mut separator = "";
        for (group, whose) in self.groups.iter().zip(whose).filter(|(group, _)| group.objects > 0) {
            let mut why = String::new();
            for (nth, (reason, count)) in group.why.iter().enumerate() {
                let separator = if nth == 0 { "" } else { ", " };
                write!(why, "{separator}{reason}: {count}")?;
            }
            write!(f, "{separator}objects {whose}: {} ({why})", group.objects)?;
            separator = "; ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_counted_by_objects_and_by_reasons() {
        let mut troubles = Troubles { objects: 4, ..Troubles::default() };
        let both = ["kafka: cannot be reached", "rabbitmq: cannot be reached"].map(str::to_owned);
        troubles.groups[0].add(both);
        troubles.groups[0].add(["rabbitmq: cannot be reached".to_owned()]);
        troubles.groups[0].add([]);
        troubles.groups[1].add([Refusal::NoTarget.words().to_owned()]);
        let wanted = "objects that cannot be read: 2 (kafka: cannot be reached: 1, rabbitmq: cannot be reached: 2); \
                      objects that cannot be scaled: 1 (there is no target: 1)";
        assert_eq!(troubles.to_string(), wanted);
        assert_eq!(Troubles::default().to_string(), "");
    }
}
