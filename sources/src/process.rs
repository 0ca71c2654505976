//! The process that tasks belong to. In production it is nothing at all; in a simulation it can be frozen as by SIGSTOP
//! and killed as by `kill -9`, with every task of it at once. It never ends a task in any other way.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// A handle to the process; cheap to clone. [`Process::default`] is the real process, which nobody can freeze.
#[derive(Debug, Clone, Default)]
pub struct Process(Option<Arc<Mutex<State>>>);

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// Tasks that were to run while the process was frozen.
    waiting: Vec<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Running,
    Frozen,
    Killed,
}

impl Process {
    /// A process that can be frozen and killed.
    #[must_use]
    pub fn simulated() -> Self {
        Self(Some(Arc::default()))
    }

    /// Stops every task where it stands. Time goes on meanwhile: timers that end are seen to have ended afterwards.
    pub fn freeze(&self) {
        self.to(Phase::Frozen);
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        self.to(Phase::Running);
    }

    /// Ends every task where it stands; none of them ever runs again.
    pub fn kill(&self) {
        self.to(Phase::Killed);
    }

    /// Whether its tasks run.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.phase(None) == Phase::Running
    }

    /// Makes a task one of this process.
    pub fn own<F: Future>(&self, task: F) -> Owned<F> {
        Owned { process: self.clone(), task: Some(Box::pin(task)) }
    }

    fn to(&self, phase: Phase) {
        let Some(state) = &self.0 else { return };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.phase == Phase::Killed {
            return;
        }
        state.phase = phase;
        let waiting = if phase == Phase::Frozen { Vec::new() } else { std::mem::take(&mut state.waiting) };
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The phase; who asks with a waker is woken when a frozen process goes on or ends.
    fn phase(&self, waker: Option<&Waker>) -> Phase {
        let Some(state) = &self.0 else { return Phase::Running };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.phase == Phase::Frozen
            && let Some(waker) = waker
            && !state.waiting.iter().any(|known| known.will_wake(waker))
        {
            state.waiting.push(waker.clone());
        }
        state.phase
    }
}

/// A task of a [`Process`]: it runs while the process does. When the process is killed it is dropped the next time it
/// would have run, and never ends.
#[derive(Debug)]
pub struct Owned<F> {
    process: Process,
    task: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for Owned<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        match (this.process.phase(Some(cx.waker())), &mut this.task) {
            (Phase::Running, Some(task)) => task.as_mut().poll(cx),
            (Phase::Killed, task) => {
                drop(task.take());
                Poll::Pending
            }
            (Phase::Running | Phase::Frozen, _) => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_frozen_task_goes_on_late_and_sees_that_time_has_passed() {
        let process = Process::simulated();
        let began = Instant::now();
        let task = tokio::spawn(process.own(async move {
            sleep(Duration::from_secs(1)).await;
            began.elapsed()
        }));
        tokio::task::yield_now().await;
        process.freeze();
        sleep(Duration::from_secs(60)).await;
        assert!(!task.is_finished() && !process.is_running());
        process.thaw();
        assert_eq!(task.await.expect("no panic"), Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_killed_task_is_dropped_and_never_ends() {
        let process = Process::simulated();
        let held = Arc::new(());
        let task = tokio::spawn(process.own({
            let held = held.clone();
            async move {
                sleep(Duration::from_secs(1)).await;
                drop(held);
            }
        }));
        tokio::task::yield_now().await;
        process.freeze();
        sleep(Duration::from_secs(2)).await;
        assert_eq!(Arc::strong_count(&held), 2);
        process.kill();
        process.thaw();
        sleep(Duration::from_secs(2)).await;
        assert_eq!(Arc::strong_count(&held), 1);
        assert!(!task.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn the_real_process_cannot_be_frozen() {
        let process = Process::default();
        process.freeze();
        process.kill();
        assert!(process.is_running());
        assert_eq!(process.own(async { 7 }).await, 7);
    }
}
