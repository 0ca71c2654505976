//! What the engine remembers of one object. What was written by ourselves is believed until the watch shows it or
//! something newer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use windlass_crd::{ScaledObjectStatus, Target, Validated};
use windlass_decision::{FailureKind, State};
use windlass_sources::{ConfigError, Given};

use crate::apply::Applied;
use crate::engine::moves::Moves;
use crate::engine::trouble::Refusal;
use crate::environment::Containers;
use crate::mutant::{self, Mutant};
use crate::seen::{ScalingActive, SeenHpa, SeenObject, SeenTarget};
use crate::telemetry::ObjectSeries;

/// How long a written HPA is believed in although the watch does not show it: it may have been deleted meanwhile.
const BELIEF: Duration = Duration::from_secs(10);

/// How long to wait after the HPA could not be written, at first and at most.
const HPA_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long to wait after a write met a newer version, at first and at most. The first wait is client-go's; a watch that
/// shows the newer version ends any of them.
const CONFLICT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub uid: String,
    /// Where its figures are kept for whoever scrapes them.
    pub series: Option<Arc<ObjectSeries>>,
    pub generation: Option<i64>,
    pub valid: Option<Result<Arc<Validated>, Arc<[ConfigError]>>>,
    /// What the triggers are given from elsewhere, and what that was made from; `None` while they refer to nothing.
    pub given: Option<(GivenBasis, Resolved)>,
    /// What is being waited for, beside what the watches tell of.
    pub recheck: Option<Duration>,
    /// The target that is kept from others.
    pub held: Option<Target>,
    /// The labels and annotations of the object that its HPA was last given.
    pub copied: Option<(BTreeMap<String, String>, BTreeMap<String, String>)>,
    /// How long the last wait after a mark that could not be written was, and when it ends.
    pub mark_retry: Option<(Duration, Instant)>,
    /// How often the kind of the target was looked for in vain, while the object waits to go.
    pub lost_kinds: u32,
    /// It has been told that KEDA runs, and that the object is left to it.
    pub stood_back: bool,
    /// The remarks about this generation have been told.
    pub remarked: bool,
    pub state: State,
    /// When the last decision was made.
    pub decided_at: Option<Instant>,
    /// A plan is being carried out.
    pub busy: bool,
    /// A look was wanted meanwhile.
    pub again: bool,
    /// How long the last wait after a failed write was, and when it ends.
    pub retry: Option<(Duration, Instant)>,
    /// Why the HPA cannot be written, and when to try again.
    pub hpa_trouble: Option<(String, Instant)>,
    /// The versions of the HPA and of the object that were found to agree.
    pub hpa_right_at: Option<(u64, u64)>,
    /// The triggers that failed when the status was last made.
    pub failing: Vec<(usize, FailureKind)>,
    /// The triggers that fail.
    pub unread: Vec<(usize, FailureKind)>,
    /// Why it is not scaled at all.
    pub refusal: Option<Refusal>,
    /// It has been told that its target cannot be scaled.
    pub told_unscaled: bool,
    /// It has been told that it goes.
    pub told_goodbye: bool,
    /// The moves of its target.
    pub moves: Moves,
    /// What the status was made from when it was last found right.
    pub status_right_at: Option<Basis>,
    /// When the status was last written.
    pub status_at: Option<Instant>,
    hpa_wait: Duration,
    conflict_wait: Duration,
    status: Option<(u64, Arc<ScaledObjectStatus>)>,
    target: Option<SeenTarget>,
    hpa: Option<(Arc<SeenHpa>, Instant)>,
    /// The uids of HPAs that were deleted by ourselves, and when.
    deleted: Vec<(String, Instant)>,
}

/// All that a status is made from: while this stays the same, so does the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Basis {
    pub verdict: &'static str,
    pub failing: Vec<(usize, FailureKind)>,
    pub usable: u64,
    pub active: u64,
    pub generation: i64,
    pub version: u64,
    pub trouble: bool,
    pub fallback: u64,
    pub hpa_active: Option<Arc<ScalingActive>>,
}

/// What references came to.
pub(super) type Resolved = Result<Vec<Given>, Vec<ConfigError>>;

/// What a resolution of references was made from: while this stays the same, so does what they come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GivenBasis {
    pub revision: u64,
    pub containers: Option<Containers>,
}

impl Memory {
    /// Nothing but the uid of the object, and where its figures are kept.
    pub fn of(uid: &str, series: Option<Arc<ObjectSeries>>) -> Self {
        Self { uid: uid.to_owned(), series, ..Self::default() }
    }

    /// Drops what was written by ourselves once the watch shows it or something newer.
    pub fn believe(&mut self, object: &SeenObject) {
        if self.status.as_ref().is_some_and(|(version, _)| object.version >= *version) {
            self.status = None;
        }
    }

    /// Whether a failed write is being waited for.
    pub fn is_waiting(&self) -> bool {
        self.retry.is_some_and(|(_, at)| at > Instant::now())
    }

    /// The status as it is.
    pub fn current_status<'a>(&'a self, object: &'a SeenObject) -> &'a ScaledObjectStatus {
        self.status.as_ref().map_or(&object.status, |(_, status)| status)
    }

    /// The version of the object or of our own last write to it, whichever is newer.
    pub fn status_version(&self, object: &SeenObject) -> u64 {
        self.status.as_ref().map_or(object.version, |(version, _)| *version)
    }

    /// The target as it is.
    pub fn newest_target(&mut self, seen: &SeenTarget) -> SeenTarget {
        match &self.target {
            Some(written)
                if written.uid == seen.uid
                    && written.version > seen.version
                    && !mutant::is(Mutant::StaleCacheTrusted) =>
            {
                written.clone()
            }
            _ => {
                self.target = None;
                seen.clone()
            }
        }
    }

    /// Forgets what was written to a target that is not the target any more.
    pub fn forget_target(&mut self) {
        self.target = None;
    }

    /// Forgets the HPA that was written.
    pub fn forget_hpa(&mut self) {
        self.hpa = None;
    }

    /// The HPA as it is.
    pub fn newest_hpa(&mut self, seen: Option<Arc<SeenHpa>>) -> Option<Arc<SeenHpa>> {
        match (&self.hpa, seen) {
            (Some((written, at)), None) if at.elapsed() < BELIEF => Some(written.clone()),
            (Some((written, _)), Some(seen)) if written.version > seen.version => Some(written.clone()),
            (_, seen) => {
                self.hpa = None;
                seen
            }
        }
    }

    /// Whether an HPA that the watch still shows was deleted by ourselves.
    pub fn has_deleted(&self, hpa: &SeenHpa) -> bool {
        self.deleted.iter().any(|(uid, at)| *uid == hpa.uid && at.elapsed() < BELIEF)
    }

    /// Notes that the HPA could not be written, and says how long to wait before trying again.
    pub fn hpa_failed(&mut self, trouble: String) -> Duration {
        self.hpa_wait = (self.hpa_wait * 2).clamp(HPA_RETRY.0, HPA_RETRY.1);
        self.hpa_trouble = Some((trouble, Instant::now() + self.hpa_wait));
        self.hpa_wait
    }

    /// Notes that the HPA says what it should; whether that ends a trouble.
    pub fn hpa_is_right(&mut self) -> bool {
        self.hpa_wait = Duration::ZERO;
        self.hpa_trouble.take().is_some()
    }

    /// Notes that a write met a newer version, and says how long to wait before looking again: where the API server lags
    /// behind, asking at once would only ask more.
    pub fn conflicted(&mut self) -> Duration {
        self.conflict_wait = (self.conflict_wait * 2).clamp(CONFLICT.0, CONFLICT.1);
        self.conflict_wait
    }

    /// Notes that the object's own metadata could not be written, and says how long to wait before trying again. Nothing
    /// else waits for it.
    pub fn mark_failed(&mut self) -> Duration {
        let wait = self.mark_retry.map_or(HPA_RETRY.0, |(wait, _)| (wait * 2).min(HPA_RETRY.1));
        self.mark_retry = Some((wait, Instant::now() + wait));
        wait
    }

    /// Whether the object's own metadata may be written now.
    pub fn may_mark(&self) -> bool {
        self.mark_retry.is_none_or(|(_, at)| at <= Instant::now())
    }

    /// Notes that a plan was carried out to its end.
    pub fn succeeded(&mut self) {
        self.retry = None;
        self.told_unscaled = false;
        self.conflict_wait = Duration::ZERO;
    }

    /// Takes in what an effect has brought about.
    pub fn remember(&mut self, applied: Applied) {
        match applied {
            Applied::Hpa(hpa) => {
                self.hpa_trouble = None;
                self.hpa_wait = Duration::ZERO;
                self.hpa = Some(((*hpa).into(), Instant::now()));
            }
            Applied::Status { status, version } => {
                self.status_at = Some(Instant::now());
                self.status = Some((version, Arc::from(status)));
            }
            Applied::Scaled { scale, version } => {
                self.moves.wrote(&scale.seen.uid, scale.to);
                self.target = Some(SeenTarget { version, replicas: scale.to, ..scale.seen });
            }
            Applied::HpaDeleted(uid) => {
                self.deleted.retain(|(_, at)| at.elapsed() < BELIEF);
                self.deleted.push((uid, Instant::now()));
            }
            Applied::Nothing => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_in_a_row_are_waited_for_longer_and_longer_up_to_a_limit() {
        let mut memory = Memory::of("uid-1", None);
        let waits: Vec<_> = (0..9).map(|_| memory.conflicted().as_millis()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1_000, 1_000]);
        memory.succeeded();
        assert_eq!(memory.conflicted().as_millis(), 10);
    }
}
