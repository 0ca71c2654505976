//! The rules of the election as a state machine: it is told what happened and says what to do next. It never reads a
//! clock and never does IO, so every rule can be tested with made-up instants.

use std::time::Duration;

use jiff::{Timestamp, Unit};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::{LEASE_NAME, LONGEST_LEASE, Timing};

/// What a release writes as `leaseDurationSeconds`, as client-go does. With no holder it says "free at once".
const RELEASED_SECONDS: i32 = 1;
/// How many writes are tried in one round. Each conflict means that somebody else got through, but two are enough for
/// an edit by a stranger; more would be a race at the API server's expense.
const WRITES_A_ROUND: u32 = 2;

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// The time to sleep is over, or the election begins.
    Tick,
    /// The Lease as it is now; `None` where there is none.
    Read(Option<Lease>),
    /// A write succeeded: the Lease as it was stored, and when the request was sent.
    Written { lease: Lease, sent: Instant },
    /// A write had no effect because the Lease had been changed, made or removed meanwhile.
    Conflict,
    /// A call failed. A write may or may not have had its effect.
    Failed,
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// Read the Lease.
    Read,
    /// Make the Lease.
    Create(Lease),
    /// Replace the Lease if it still is at the version inside.
    Replace(Lease),
    /// Wait, then tick.
    Sleep(Duration),
}

/// The Lease as this process sees it, and what it may conclude.
#[derive(Debug)]
pub(super) struct Election {
    identity: String,
    timing: Timing,
    jitter: SmallRng,
    /// The Lease as last seen; `None` before the first answer.
    seen: Option<Seen>,
    /// Whether `seen` is the newest this process can know: nothing failed or conflicted since.
    current: bool,
    /// Whether our name in the Lease is our own doing: true until the Lease was seen without our name, and again after
    /// each write. A name that a stranger wrote is none of ours and is waited out like anyone's.
    ours: bool,
    /// Whether anybody was ever seen to hold the Lease.
    held_before: bool,
    /// How long the Lease last seen keeps others out; kept after it was deleted.
    hold: Duration,
    leading_until: Option<Instant>,
    writes: u32,
}

#[derive(Debug)]
struct Seen {
    lease: Option<Lease>,
    /// When this process first saw it like this.
    since: Instant,
}

impl Election {
    pub(super) fn new(identity: String, timing: Timing, seed: u64) -> Self {
        Self {
            identity,
            timing,
            jitter: SmallRng::seed_from_u64(seed),
            seen: None,
            current: false,
            ours: true,
            held_before: false,
            hold: timing.lease,
            leading_until: None,
            writes: 0,
        }
    }

    /// Until when this process may write, counted from its last successful renewal; `None` when it does not lead.
    pub(super) const fn leading_until(&self) -> Option<Instant> {
        self.leading_until
    }

    /// Takes in what happened by `now` and says what to do. `wall` is only ever written into the Lease.
    pub(super) fn step(&mut self, event: Event, now: Instant, wall: Timestamp) -> Action {
        if self.leading_until.is_some_and(|until| until <= now) {
            self.lose("not renewed in time");
        }
        match event {
            Event::Tick => {
                self.writes = 0;
                if self.leads() && self.current { self.write(wall) } else { Action::Read }
            }
            Event::Read(lease) => {
                self.observe(lease, now);
                self.after_read(now, wall)
            }
            Event::Written { lease, sent } => self.written(lease, sent, now),
            Event::Conflict => {
                self.current = false;
                Action::Read
            }
            Event::Failed => {
                self.current = false;
                Action::Sleep(self.pause(now))
            }
        }
    }

    /// The Lease that gives `lease` up, if this process holds it.
    pub(super) fn released(&self, lease: Lease, wall: Timestamp) -> Option<Lease> {
        if holder(Some(&lease)) != Some(&self.identity) || !self.ours {
            return None;
        }
        let previous = lease.spec.clone().unwrap_or_default();
        let time = Some(after(previous.renew_time.as_ref(), wall));
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(RELEASED_SECONDS),
            renew_time: time.clone(),
            acquire_time: time,
            ..previous
        };
        Some(Lease { spec: Some(spec), ..lease })
    }

    const fn leads(&self) -> bool {
        self.leading_until.is_some()
    }

    fn lose(&mut self, why: &'static str) {
        if self.leading_until.take().is_some() {
            tracing::warn!(lease = LEASE_NAME, identity = self.identity, why, "leadership lost");
        }
    }

    fn observe(&mut self, lease: Option<Lease>, now: Instant) {
        self.current = true;
        let held_by = holder(lease.as_ref());
        if held_by.is_some_and(|name| *name != self.identity) {
            self.lose("the lease has another holder");
        }
        // A leader whose Lease was emptied or deleted still leads: nobody else may take it before its time is over.
        self.ours = self.ours && held_by == Some(&self.identity);
        self.held_before |= held_by.is_some();
        let seconds = lease.as_ref().and_then(|lease| lease.spec.as_ref()?.lease_duration_seconds);
        let said = seconds.filter(|seconds| held_by.is_some() || *seconds != RELEASED_SECONDS);
        if let Some(said) = said.and_then(|seconds| u64::try_from(seconds).ok()) {
            self.hold = Duration::from_secs(said).min(LONGEST_LEASE).max(self.timing.lease);
        }
        // The version, not the text: a renewal is a change even where it writes the same as before.
        let unchanged = self.seen.as_ref().filter(|seen| version(seen.lease.as_ref()) == version(lease.as_ref()));
        let since = unchanged.map_or(now, |seen| seen.since);
        self.seen = Some(Seen { lease, since });
    }

    fn after_read(&mut self, now: Instant, wall: Timestamp) -> Action {
        let free_at = self.free_at(now);
        if self.leads() || free_at <= now {
            if self.writes < WRITES_A_ROUND { self.write(wall) } else { Action::Sleep(self.pause(now)) }
        } else {
            Action::Sleep(self.pause(now).min(free_at.duration_since(now)))
        }
    }

    /// When the Lease may be taken by this process.
    fn free_at(&self, now: Instant) -> Instant {
        let Some(seen) = &self.seen else { return now + self.hold };
        let at_once = match (&seen.lease, holder(seen.lease.as_ref())) {
            // Deleted, perhaps, while its holder goes on until its own deadline. Who installs the Lease beforehand,
            // without a holder, is spared this wait.
            (None, _) => false,
            (Some(_), Some(name)) => *name == self.identity && self.ours,
            (Some(lease), None) => match lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds) {
                Some(seconds) => seconds == RELEASED_SECONDS,
                None => !self.held_before,
            },
        };
        if at_once { now } else { seen.since + self.hold }
    }

    fn written(&mut self, lease: Lease, sent: Instant, now: Instant) -> Action {
        let unchanged = self.seen.as_ref().is_some_and(|seen| version(seen.lease.as_ref()) == version(Some(&lease)));
        if unchanged || holder(Some(&lease)) != Some(&self.identity) {
            // Nobody else could see this renewal, so it is none.
            self.current = false;
            return Action::Sleep(self.pause(now));
        }
        let led = self.leads();
        self.observe(Some(lease), now);
        let until = sent + self.timing.renew;
        if until > now {
            if !led {
                tracing::info!(lease = LEASE_NAME, identity = self.identity, "leadership gained");
            }
            self.leading_until = Some(until);
        } else {
            self.lose("the answer to a renewal came too late");
        }
        Action::Sleep(self.pause(now))
    }

    /// Writes our name over what was last seen.
    fn write(&mut self, wall: Timestamp) -> Action {
        self.writes += 1;
        self.ours = true;
        match self.seen.as_ref().and_then(|seen| seen.lease.clone()) {
            Some(mut lease) => {
                lease.spec = Some(self.record(lease.spec.take().unwrap_or_default(), wall));
                Action::Replace(lease)
            }
            None => {
                let mut lease = Lease::default();
                lease.metadata.name = Some(LEASE_NAME.to_owned());
                lease.spec = Some(self.record(LeaseSpec::default(), wall));
                Action::Create(lease)
            }
        }
    }

    fn record(&self, previous: LeaseSpec, wall: Timestamp) -> LeaseSpec {
        let time = after(previous.renew_time.as_ref(), wall);
        let goes_on = previous.holder_identity.as_ref() == Some(&self.identity);
        let transitions = match previous.lease_transitions {
            Some(count) if !goes_on => count.saturating_add(1),
            Some(count) => count,
            None => 0,
        };
        let acquired = previous.acquire_time.filter(|_| goes_on);
        let whole_seconds = self.timing.lease.as_secs() + u64::from(self.timing.lease.subsec_nanos() > 0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(whole_seconds).unwrap_or(i32::MAX)),
            acquire_time: Some(acquired.unwrap_or_else(|| time.clone())),
            renew_time: Some(time),
            lease_transitions: Some(transitions),
            ..previous
        }
    }

    /// The retry period for a leader, if it leads as long; half of it for the others, up to a fifth less so that they do
    /// not move in step.
    fn pause(&mut self, now: Instant) -> Duration {
        if let Some(until) = self.leading_until {
            return self.timing.retry.min(until.saturating_duration_since(now));
        }
        (self.timing.retry / 2).mul_f64(1.0 - 0.2 * self.jitter.random::<f64>())
    }
}

/// The time to write: `wall` in whole microseconds, but always later than the one before. A write that changes nothing
/// would leave the Lease at its old version, and stand-bys would not see that it was renewed.
fn after(previous: Option<&MicroTime>, wall: Timestamp) -> MicroTime {
    let wall = wall.round(Unit::Microsecond).unwrap_or(wall);
    let next = previous.and_then(|time| time.0.checked_add(jiff::SignedDuration::from_micros(1)).ok());
    MicroTime(next.map_or(wall, |next| next.max(wall)))
}

/// Who holds the Lease; `None` where nobody does.
fn holder(lease: Option<&Lease>) -> Option<&String> {
    lease?.spec.as_ref()?.holder_identity.as_ref().filter(|name| !name.is_empty())
}

fn version(lease: Option<&Lease>) -> Option<&str> {
    lease.map(|lease| lease.metadata.resource_version.as_deref().unwrap_or_default())
}
