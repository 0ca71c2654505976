//! What must be done now about the self-made certificates. Pure: it knows lives and times, not keys.
//!
//! Trust comes before use: a new CA is published beside the old one and signs nothing until everybody has had time to
//! learn of it; the old one goes only after nothing signed by it is served any more.
//!
//! ```text
//!  CA 1      ├──────────────────── 2/3 ─┬────────────┤
//!  CA 2                                 ├── overlap ──┬── ...
//!  leaf      ├─── 2/3 ─┬─── 2/3 ─┬─ by CA 1 ──────────┴─ by CA 2 ─ overlap ─▶ CA 1 dropped
//! ```

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// How long a CA is valid.
pub const CA_LIFE: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// How long a serving certificate is valid.
pub const LEAF_LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);
/// How far certificates reach into the past, for clocks that are behind.
pub const BACKDATE: SignedDuration = SignedDuration::from_mins(5);
/// How long a CA is published before it is used, and after it was.
pub const OVERLAP: SignedDuration = SignedDuration::from_mins(15);

/// From when until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// The first moment.
    pub not_before: Timestamp,
    /// The last moment.
    pub not_after: Timestamp,
}

/// What counts of the certificates that exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The CAs, newest first; the key that is kept belongs to the first.
    pub cas: Vec<Life>,
    /// The serving certificate.
    pub leaf: Life,
    /// Which of the CAs signed it, if any of them did.
    pub issuer: Option<usize>,
    /// Whether it names every name it is asked by.
    pub names_cover: bool,
}

/// One step. After it, the question is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Nothing to do until then.
    Keep {
        /// When to ask again at the latest.
        until: Timestamp,
    },
    /// There is nothing to build on: make a CA and a serving certificate.
    Create,
    /// Publish a new CA beside those that are still valid.
    AddCa,
    /// Issue a serving certificate by the newest CA.
    IssueLeaf,
    /// Drop all CAs but the newest.
    DropOldCas,
}

impl Life {
    /// A life of `length` that begins a little before `now`.
    #[must_use]
    pub fn starting(now: Timestamp, length: SignedDuration) -> Self {
        Self { not_before: shift(now, -BACKDATE), not_after: shift(now, length) }
    }

    /// Whether a certificate of this life is valid at `now`.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// When two thirds of the life are over and a successor is due.
    #[must_use]
    pub fn renewal(&self) -> Timestamp {
        let length = self.not_after.duration_since(self.not_before);
        shift(self.not_before, SignedDuration::from_secs(length.as_secs() / 3 * 2))
    }

    /// When a certificate made at the beginning of this life is known everywhere.
    #[must_use]
    fn known_everywhere(&self) -> Timestamp {
        shift(self.not_before, BACKDATE + OVERLAP)
    }
}

/// The next step for what `exists`.
#[must_use]
pub fn plan(exists: Option<&Facts>, now: Timestamp) -> Plan {
    let Some((facts, newest)) = exists.and_then(|facts| Some((facts, facts.cas.first()?))) else {
        return Plan::Create;
    };
    // A CA that is not valid yet was made by a clock that was ahead; whoever verifies would refuse it.
    if !newest.is_valid(now) || now >= newest.renewal() {
        return Plan::AddCa;
    }
    if facts.issuer.is_none() || !facts.names_cover || !facts.leaf.is_valid(now) {
        return Plan::IssueLeaf;
    }
    let issued_by_newest = facts.issuer == Some(0);
    if !issued_by_newest || now >= facts.leaf.renewal() {
        let known = newest.known_everywhere();
        return if now >= known { Plan::IssueLeaf } else { Plan::Keep { until: known } };
    }
    if facts.cas.len() > 1 {
        let served_everywhere = facts.leaf.known_everywhere();
        return if now >= served_everywhere { Plan::DropOldCas } else { Plan::Keep { until: served_everywhere } };
    }
    Plan::Keep { until: facts.leaf.renewal().min(newest.renewal()) }
}

/// `time + by`, at the edge of time if that is beyond it.
fn shift(time: Timestamp, by: SignedDuration) -> Timestamp {
    let edge = if by.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
    time.checked_add(by).unwrap_or(edge)
}

/// How long to wait from `now` until `until`, at most `longest`.
#[must_use]
pub fn wait(now: Timestamp, until: Timestamp, longest: Duration) -> Duration {
    Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// Carries out a plan on the facts alone.
    fn act(facts: Option<Facts>, plan: Plan, now: Timestamp) -> Facts {
        let leaf = Life::starting(now, LEAF_LIFE);
        let ca = Life::starting(now, CA_LIFE);
        match (plan, facts) {
            (Plan::Create, _) => Facts { cas: vec![ca], leaf, issuer: Some(0), names_cover: true },
            (Plan::AddCa, Some(mut facts)) => {
                facts.cas.insert(0, ca);
                facts.issuer = facts.issuer.map(|issuer| issuer + 1);
                facts
            }
            (Plan::IssueLeaf, Some(facts)) => Facts { leaf, issuer: Some(0), names_cover: true, ..facts },
            (Plan::DropOldCas, Some(mut facts)) => {
                facts.cas.truncate(1);
                facts
            }
            (plan, facts) => panic!("{plan:?} on {facts:?}"),
        }
    }

    #[test]
    fn thirty_years_go_by_and_what_is_served_is_always_trusted() {
        let mut now = at(0);
        let mut facts = None;
        let mut steps = Vec::new();
        while now < at(30 * 365 * DAY) {
            match plan(facts.as_ref(), now) {
                Plan::Keep { until } => {
                    assert!(until > now, "a wait ends in the future");
                    let kept: &Facts = facts.as_ref().unwrap();
                    let issuer = kept.cas[kept.issuer.unwrap()];
                    // Until the next step everything in use stays valid, and by a margin.
                    let margin = SignedDuration::from_hours(24);
                    assert!(kept.leaf.is_valid(now) && kept.leaf.is_valid(until + margin));
                    assert!(issuer.is_valid(now) && issuer.is_valid(until + margin));
                    now = until;
                }
                step => {
                    if step == Plan::IssueLeaf {
                        let newest = facts.as_ref().unwrap().cas[0];
                        assert!(now.duration_since(newest.not_before) >= OVERLAP, "trust comes before use");
                    }
                    facts = Some(act(facts, step, now));
                    steps.push(step);
                }
            }
        }
        let count = |step| steps.iter().filter(|other| **other == step).count();
        assert_eq!((count(Plan::Create), count(Plan::AddCa), count(Plan::DropOldCas)), (1, 4, 4), "{steps:?}");
        assert!((40..=55).contains(&count(Plan::IssueLeaf)), "{steps:?}");
    }

    #[test]
    fn a_ca_is_rotated_in_four_steps_with_both_trusted_between() {
        let made = Facts {
            cas: vec![Life::starting(at(0), CA_LIFE)],
            leaf: Life::starting(at(0), LEAF_LIFE),
            issuer: Some(0),
            names_cover: true,
        };
        assert_eq!(plan(Some(&made), at(0)), Plan::Keep { until: made.leaf.renewal() });
        let due = made.cas[0].renewal();
        let fresh_leaf = Facts { leaf: Life::starting(due, LEAF_LIFE), ..made };
        assert_eq!(plan(Some(&fresh_leaf), due - SignedDuration::from_secs(1)), Plan::Keep { until: due });
        assert_eq!(plan(Some(&fresh_leaf), due), Plan::AddCa);
        let both = act(Some(fresh_leaf), Plan::AddCa, due);
        let known = due + OVERLAP;
        assert_eq!(plan(Some(&both), due), Plan::Keep { until: known });
        assert_eq!(plan(Some(&both), known), Plan::IssueLeaf);
        let signed_anew = act(Some(both), Plan::IssueLeaf, known);
        let served = known + OVERLAP;
        assert_eq!(plan(Some(&signed_anew), known), Plan::Keep { until: served });
        assert_eq!(plan(Some(&signed_anew), served), Plan::DropOldCas);
        let done = act(Some(signed_anew), Plan::DropOldCas, served);
        assert_eq!(plan(Some(&done), served), Plan::Keep { until: done.leaf.renewal() });
    }

    #[test]
    fn what_cannot_be_served_is_replaced_at_once() {
        let good = Facts {
            cas: vec![Life::starting(at(0), CA_LIFE)],
            leaf: Life::starting(at(0), LEAF_LIFE),
            issuer: Some(0),
            names_cover: true,
        };
        assert_eq!(plan(None, at(0)), Plan::Create);
        assert_eq!(plan(Some(&Facts { cas: vec![], ..good }), at(0)), Plan::Create);
        assert_eq!(plan(Some(&Facts { issuer: None, ..good.clone() }), at(0)), Plan::IssueLeaf);
        assert_eq!(plan(Some(&Facts { names_cover: false, ..good.clone() }), at(0)), Plan::IssueLeaf);
        assert_eq!(plan(Some(&good), good.leaf.not_after), Plan::IssueLeaf, "expired");
        assert_eq!(plan(Some(&good), good.cas[0].not_after), Plan::AddCa, "expired");
        assert_eq!(plan(Some(&good), at(-DAY)), Plan::AddCa, "made by a clock that was a day ahead");
    }
}
