//! The faults of a disaster as values, and how each is told to a person.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use windlass_rehearsal::Mood;

/// One fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// When it begins, milliseconds since the start.
    pub at_ms: u64,
    /// How long it lasts, milliseconds.
    pub lasts_ms: u64,
    /// What it is.
    pub kind: FaultKind,
}

/// What can go wrong. The families are those of section 3 of the reliability plan: the API (1), a crash at a write (2), the
/// leader (4), brokers (5), clocks (6).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FaultKind {
    /// Requests to the API server go wrong.
    Api {
        /// Whose; `None` for everybody's.
        replica: Option<u8>,
        /// About what.
        on: Resource,
        /// Whether reading goes on well.
        writes_only: bool,
        /// Every so many-th of them.
        every: u32,
        /// How.
        action: ApiAction,
    },
    /// Watches go wrong.
    Watch {
        /// Of what.
        on: Resource,
        /// At every so many-th event.
        every: u32,
        /// How.
        action: WatchAction,
    },
    /// A replica ends as by `kill -9` and is started again.
    Kill {
        /// Which.
        replica: u8,
        /// How long it is away, milliseconds.
        down_ms: u64,
    },
    /// A replica is stopped as by SIGTERM and is started again.
    Restart {
        /// Which.
        replica: u8,
        /// How long it is away, milliseconds.
        down_ms: u64,
    },
    /// A replica ends as by `kill -9` at one of its writes (not of the Lease) and is started again.
    KillAtWrite {
        /// Which.
        replica: u8,
        /// At which write after the fault has begun.
        nth: u32,
        /// Before or after it.
        moment: Moment,
        /// How long it is away, milliseconds.
        down_ms: u64,
    },
    /// A replica stands still and goes on, as by SIGSTOP and SIGCONT.
    Freeze {
        /// Which.
        replica: u8,
    },
    /// Somebody deletes the Lease.
    LeaseDeleted,
    /// A stranger writes its own name into the Lease.
    LeaseStolen,
    /// The wall clock of a replica is wrong.
    Clock {
        /// Which.
        replica: u8,
        /// By how much, milliseconds.
        error_ms: i64,
    },
    /// A broker goes wrong.
    Broker {
        /// Its host name.
        broker: String,
        /// How.
        mood: BrokerMood,
    },
}

/// What requests are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resource {
    /// Everything.
    Any,
    /// The Lease.
    Leases,
    /// Scaled objects and their status.
    ScaledObjects,
    /// HPAs.
    Hpas,
    /// Deployments and their replicas.
    Deployments,
    /// Events.
    Events,
    /// The EndpointSlice of the metrics Service.
    EndpointSlices,
}

impl Resource {
    pub(super) const ALL: [Self; 7] = [
        Self::Any,
        Self::Leases,
        Self::ScaledObjects,
        Self::Hpas,
        Self::Deployments,
        Self::Events,
        Self::EndpointSlices,
    ];
    pub(super) const WATCHED: [Self; 4] = [Self::Any, Self::ScaledObjects, Self::Hpas, Self::Deployments];

    /// Whether a request about this plural is meant.
    #[must_use]
    pub fn covers(self, plural: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Leases => plural == "leases",
            Self::ScaledObjects => plural == "scaledobjects",
            Self::Hpas => plural == "horizontalpodautoscalers",
            Self::Deployments => plural == "deployments",
            Self::Events => plural == "events",
            Self::EndpointSlices => plural == "endpointslices",
        }
    }
}

/// How a request goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiAction {
    /// 409.
    Conflict,
    /// 429 with Retry-After.
    TooMany,
    /// 500.
    Internal,
    /// 503.
    Unavailable,
    /// 504, and nothing was done.
    GatewayTimeout,
    /// It takes 1 s.
    Delay1,
    /// It takes 10 s.
    Delay10,
    /// It takes 60 s.
    Delay60,
    /// The connection closes before anything is done.
    CloseBefore,
    /// It is done, and the connection closes: nobody knows.
    CloseAfter,
    /// It is never answered, and nothing is done.
    HangBefore,
    /// It is done and never answered.
    HangAfter,
    /// The answer is cut off.
    Truncate,
    /// Lists are answered from a state 30 s old.
    Stale,
}

impl ApiAction {
    pub(super) const ALL: [Self; 14] = [
        Self::Conflict,
        Self::TooMany,
        Self::Internal,
        Self::Unavailable,
        Self::GatewayTimeout,
        Self::Delay1,
        Self::Delay10,
        Self::Delay60,
        Self::CloseBefore,
        Self::CloseAfter,
        Self::HangBefore,
        Self::HangAfter,
        Self::Truncate,
        Self::Stale,
    ];
}

/// How a watch goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatchAction {
    /// It ends.
    Cut,
    /// It says 410: too old.
    Gone,
    /// It says an event twice.
    Duplicate,
    /// It says an event after the next one.
    Reorder,
    /// It says an event 5 s late.
    Delay5,
}

impl WatchAction {
    pub(super) const ALL: [Self; 5] = [Self::Cut, Self::Gone, Self::Duplicate, Self::Reorder, Self::Delay5];
}

/// When a process dies at a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moment {
    /// Before the write is done.
    Before,
    /// After it is done, before the answer.
    AfterCommit,
    /// 1 ms after the answer.
    AfterReply,
}

impl Moment {
    pub(super) const ALL: [Self; 3] = [Self::Before, Self::AfterCommit, Self::AfterReply];
}

/// How a broker goes wrong; a serialisable [`Mood`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BrokerMood {
    /// 2.5 s for an answer.
    Slow,
    /// Connection refused.
    Refuses,
    /// No answer.
    Silent,
    /// An error.
    Errors,
    /// Wrong credentials.
    Unauthorised,
    /// No such queue.
    Forgetful,
    /// Not a number.
    SaysNan,
    /// Less than nothing.
    SaysNegative,
    /// More than can be.
    SaysHuge,
}

impl BrokerMood {
    pub(super) const ALL: [Self; 9] = [
        Self::Slow,
        Self::Refuses,
        Self::Silent,
        Self::Errors,
        Self::Unauthorised,
        Self::Forgetful,
        Self::SaysNan,
        Self::SaysNegative,
        Self::SaysHuge,
    ];
}

impl From<BrokerMood> for Mood {
    fn from(mood: BrokerMood) -> Self {
        match mood {
            BrokerMood::Slow => Self::Slow(Duration::from_millis(2500)),
            BrokerMood::Refuses => Self::Refuses,
            BrokerMood::Silent => Self::Silent,
            BrokerMood::Errors => Self::Errors,
            BrokerMood::Unauthorised => Self::Unauthorised,
            BrokerMood::Forgetful => Self::Forgetful,
            BrokerMood::SaysNan => Self::Says(f64::NAN),
            BrokerMood::SaysNegative => Self::Says(-1.0),
            BrokerMood::SaysHuge => Self::Says(1e300),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, until) = (seconds(self.at_ms), seconds(self.at_ms + self.lasts_ms));
        match &self.kind {
            FaultKind::Api { replica, on, writes_only, every, action } => {
                let whose = replica.map_or_else(|| "everybody".to_owned(), |replica| format!("replica {replica}"));
                let what = if *writes_only { "writes" } else { "requests" };
                write!(f, "{at} to {until}: {action:?} for each {every}. of the {what} of {whose} about {on:?}")
            }
            FaultKind::Watch { on, every, action } => {
                write!(f, "{at} to {until}: {action:?} at each {every}. event of watches of {on:?}")
            }
            FaultKind::Kill { replica, .. } => write!(f, "{at}: kill -9 of replica {replica}, back at {until}"),
            FaultKind::Restart { replica, .. } => write!(f, "{at}: SIGTERM to replica {replica}, back at {until}"),
            FaultKind::KillAtWrite { replica, nth, moment, down_ms } => write!(
                f,
                "from {at}: kill -9 of replica {replica} at its {nth}. write ({moment:?}), back after {}",
                seconds(*down_ms)
            ),
            FaultKind::Freeze { replica } => write!(f, "{at} to {until}: replica {replica} is frozen"),
            FaultKind::LeaseDeleted => write!(f, "{at}: the Lease is deleted"),
            FaultKind::LeaseStolen => write!(f, "{at}: a stranger writes its name into the Lease"),
            FaultKind::Clock { replica, error_ms } => {
                write!(f, "{at} to {until}: the clock of replica {replica} is wrong by {} s", error_ms / 1000)
            }
            FaultKind::Broker { broker, mood } => write!(f, "{at} to {until}: {broker} {mood:?}"),
        }
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}
