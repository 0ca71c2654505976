//! A replica that takes part in an election, and can be frozen, killed, restarted and stopped; and a guard that sees
//! when two lead at once.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use super::fake::Network;
use super::*;
use crate::leadership::{Leadership, leadership};

/// A wall clock that goes with virtual time, or stands still.
#[derive(Debug, Clone, Copy)]
pub(super) struct TestClock {
    pub(super) at_start: i64,
    pub(super) start: Instant,
    pub(super) runs: bool,
}

impl TestClock {
    pub(super) fn from(at_start: i64) -> Self {
        Self { at_start, start: Instant::now(), runs: true }
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let passed = if self.runs { self.start.elapsed() } else { Duration::ZERO };
        let base = Timestamp::from_second(self.at_start).expect("in range");
        base + SignedDuration::try_from(passed).expect("in range")
    }
}

/// How a replica is set up.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) name: &'static str,
    pub(super) timing: Timing,
    pub(super) network: Network,
    pub(super) clock: TestClock,
}

impl Setup {
    pub(super) fn new(name: &'static str, network: &Network) -> Self {
        Self { name, timing: Timing::default(), network: network.clone(), clock: TestClock::from(1_700_000_000) }
    }

    pub(super) fn elector(&self, grant: Grant) -> Elector<Network> {
        let seed = self.name.bytes().map(u64::from).sum();
        let telemetry = Telemetry::new("test", false);
        let clock = Arc::new(self.clock);
        let network = self.network.clone();
        Elector::new(network, self.name.to_owned(), self.timing, grant, clock, telemetry, seed).expect("valid")
    }

    pub(super) fn start(&self) -> Replica {
        let (grant, right) = leadership();
        let mut elector = self.elector(grant.clone());
        let (stop, frozen_until) = (CancellationToken::new(), Arc::new(Mutex::new(None)));
        let stopped = stop.clone();
        let run = async move {
            elector.run(&stopped).await;
            elector
        };
        let task = tokio::spawn(freezable(run, Arc::clone(&frozen_until)));
        Replica { grant, leadership: right, stop, frozen_until, task }
    }
}

/// A running replica.
#[derive(Debug)]
pub(super) struct Replica {
    /// Kept so that the handle outlives a kill, as the watcher's view of a dead process.
    grant: Grant,
    pub(super) leadership: Leadership,
    stop: CancellationToken,
    frozen_until: Arc<Mutex<Option<Instant>>>,
    task: JoinHandle<Elector<Network>>,
}

impl Replica {
    pub(super) fn leads(&self) -> bool {
        self.leadership.holds()
    }

    /// The process does not run for `time`, while the world goes on (SIGSTOP and SIGCONT).
    pub(super) fn freeze(&self, time: Duration) {
        *self.frozen_until.lock().expect("no panic") = Some(Instant::now() + time);
    }

    /// The process is gone at once (SIGKILL); requests on their way are not.
    pub(super) fn kill(&self) {
        self.task.abort();
        self.grant.end();
    }

    /// Stops the election and gives it back for a release.
    pub(super) async fn stop(self) -> Elector<Network> {
        self.stop.cancel();
        self.task.await.expect("no panic")
    }
}

/// Does not poll the future while it is frozen.
async fn freezable<F: Future>(future: F, frozen_until: Arc<Mutex<Option<Instant>>>) -> F::Output {
    let mut future = Box::pin(future);
    let mut thaw: Option<Pin<Box<Sleep>>> = None;
    std::future::poll_fn(move |context| {
        let until = frozen_until.lock().expect("no panic").filter(|until| *until > Instant::now());
        if let Some(until) = until {
            let sleep = thaw.insert(Box::pin(tokio::time::sleep_until(until)));
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        future.as_mut().poll(context)
    })
    .await
}

/// Sees each moment at which a replica begins to lead, and whether another one leads then.
#[derive(Debug, Clone, Default)]
pub(super) struct Guard {
    watched: Arc<Mutex<Vec<(&'static str, Leadership)>>>,
    overlaps: Arc<Mutex<Vec<String>>>,
}

impl Guard {
    pub(super) fn watch(&self, name: &'static str, replica: &Replica) {
        let leadership = replica.leadership.clone();
        self.watched.lock().expect("no panic").push((name, leadership.clone()));
        let guard = self.clone();
        let begin = Instant::now();
        tokio::spawn(async move {
            loop {
                leadership.gained().await;
                guard.look(name, begin.elapsed());
                leadership.lost().await;
            }
        });
    }

    fn look(&self, name: &str, after: Duration) {
        let watched = self.watched.lock().expect("no panic");
        let holders: Vec<_> = watched.iter().filter(|(_, it)| it.holds()).map(|(name, _)| *name).collect();
        if holders.len() > 1 {
            let overlap = format!("{holders:?} lead at once, {after:?} after {name} was started");
            self.overlaps.lock().expect("no panic").push(overlap);
        }
    }

    pub(super) fn overlaps(&self) -> Vec<String> {
        self.overlaps.lock().expect("no panic").clone()
    }
}

/// Lets virtual time pass in small steps until `condition` holds; says how long it took.
pub(super) async fn until(what: &str, limit: Duration, condition: impl Fn() -> bool) -> Duration {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() <= limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    begin.elapsed()
}
