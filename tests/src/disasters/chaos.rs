//! Carries faults of the API out: says of each request and each watch event whether it goes wrong now. It knows time and
//! the plan, and draws nothing: what is drawn stands in the plan.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;
use windlass_kubesim::api::{Faults, RequestFault, RequestInfo, WatchFault, WatchInfo};
use windlass_rehearsal::Process;

use super::fault::{ApiAction, Fault, FaultKind, Moment, WatchAction};

const RETRY_AFTER: Duration = Duration::from_secs(1);
const STALE: Duration = Duration::from_secs(30);
/// Between a reply and the death that follows it.
const AFTER_REPLY: Duration = Duration::from_millis(1);

/// A replica that has to die, and for how long it is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// Which replica.
    pub replica: u8,
    /// How long until.
    pub after: Duration,
    /// How long it is away.
    pub down: Duration,
}

/// See the module.
pub struct Chaos {
    start: Instant,
    faults: Vec<Fault>,
    users: Vec<String>,
    state: Mutex<State>,
    deaths: UnboundedSender<Death>,
}

#[derive(Default)]
struct State {
    /// How many requests or events each fault was asked about.
    counts: BTreeMap<usize, u32>,
    processes: BTreeMap<u8, Process>,
}

impl fmt::Debug for Chaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chaos").field("faults", &self.faults).finish_non_exhaustive()
    }
}

impl Chaos {
    /// The faults of a plan from now on; `users` are the replicas' names at the API server. The receiver hears of replicas
    /// that have to die.
    #[must_use]
    pub fn new(faults: Vec<Fault>, users: Vec<String>) -> (Self, UnboundedReceiver<Death>) {
        let (deaths, dying) = unbounded_channel();
        (Self { start: Instant::now(), faults, users, state: Mutex::default(), deaths }, dying)
    }

    /// Tells which process a replica has now.
    pub fn born(&self, replica: u8, process: Process) {
        self.lock().processes.insert(replica, process);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn active(&self) -> impl Iterator<Item = (usize, &Fault)> {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let is_now = move |fault: &Fault| fault.at_ms <= now && now < fault.at_ms + fault.lasts_ms;
        self.faults.iter().enumerate().filter(move |(_, fault)| is_now(fault))
    }

    /// Counts one more case of a fault.
    fn count(&self, nth: usize) -> u32 {
        let mut state = self.lock();
        let count = state.counts.entry(nth).or_default();
        *count += 1;
        *count
    }

    fn dies(&self, replica: u8, moment: Moment, down: Duration) -> RequestFault {
        let after = if moment == Moment::AfterReply { AFTER_REPLY } else { Duration::ZERO };
        if after.is_zero()
            && let Some(process) = self.lock().processes.get(&replica)
        {
            process.kill();
        }
        // A run that is over restarts nobody.
        let _ = self.deaths.send(Death { replica, after, down });
        if moment == Moment::Before { RequestFault::CloseBefore } else { RequestFault::Pass }
    }
}

impl Faults for Chaos {
    fn request(&self, request: &RequestInfo<'_>) -> RequestFault {
        let replica = self.users.iter().position(|user| *user == *request.user);
        let Some(replica) = replica.and_then(|replica| u8::try_from(replica).ok()) else { return RequestFault::Pass };
        let is_write = !matches!(request.verb, "get" | "list" | "watch");
        for (nth, fault) in self.active() {
            match &fault.kind {
                FaultKind::Api { replica: whose, on, writes_only, every, action } => {
                    let meant = whose.is_none_or(|whose| whose == replica)
                        && on.covers(request.resource)
                        && (is_write || !writes_only);
                    if meant && self.count(nth).is_multiple_of(*every) {
                        return act(*action, request);
                    }
                }
                FaultKind::KillAtWrite { replica: whose, nth: which, moment, down_ms } => {
                    let meant = *whose == replica && is_write && request.resource != "leases";
                    if meant && self.count(nth) == *which {
                        return self.dies(replica, *moment, Duration::from_millis(*down_ms));
                    }
                }
                _ => {}
            }
        }
        RequestFault::Pass
    }

    fn watch(&self, watch: &WatchInfo<'_>) -> WatchFault {
        if !self.users.iter().any(|user| *user == *watch.user) {
            return WatchFault::Pass;
        }
        for (nth, fault) in self.active() {
            if let FaultKind::Watch { on, every, action } = &fault.kind
                && on.covers(watch.resource)
                && self.count(nth).is_multiple_of(*every)
            {
                return match action {
                    WatchAction::Cut => WatchFault::Cut,
                    WatchAction::Gone => WatchFault::Gone,
                    WatchAction::Duplicate => WatchFault::Duplicate,
                    WatchAction::Reorder => WatchFault::HoldUntilNext,
                    WatchAction::Delay5 => WatchFault::Delay(Duration::from_secs(5)),
                };
            }
        }
        WatchFault::Pass
    }
}

fn act(action: ApiAction, request: &RequestInfo<'_>) -> RequestFault {
    let refuse = |code| RequestFault::Refuse { code, retry_after: None };
    match action {
        ApiAction::Conflict => refuse(409),
        ApiAction::TooMany => RequestFault::Refuse { code: 429, retry_after: Some(RETRY_AFTER) },
        ApiAction::Internal => refuse(500),
        ApiAction::Unavailable => refuse(503),
        ApiAction::GatewayTimeout => refuse(504),
        ApiAction::Delay1 => RequestFault::Delay(Duration::from_secs(1)),
        ApiAction::Delay10 => RequestFault::Delay(Duration::from_secs(10)),
        ApiAction::Delay60 => RequestFault::Delay(Duration::from_secs(60)),
        ApiAction::CloseBefore => RequestFault::CloseBefore,
        ApiAction::CloseAfter => RequestFault::CloseAfter,
        ApiAction::HangBefore => RequestFault::HangBefore,
        ApiAction::HangAfter => RequestFault::HangAfter,
        ApiAction::Truncate => RequestFault::Truncate,
        // An API server that answers reads of one object from an old state does not exist: they come from etcd.
        ApiAction::Stale if request.verb == "list" || request.verb == "watch" => RequestFault::Stale(STALE),
        ApiAction::Stale => RequestFault::Pass,
    }
}
