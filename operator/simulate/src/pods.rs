//! The replicas of the workload: some ready, some starting. Creation and end are instant, start-up takes its time; never
//! decides how many there should be.

use std::collections::VecDeque;

/// The replicas. All of them start equally fast, so those created first are ready first.
#[derive(Debug, Clone)]
pub(crate) struct Pods {
    ready: u32,
    /// When how many become ready, ascending, in milliseconds.
    starting: VecDeque<(u64, u32)>,
    unready: u32,
    startup: u64,
}

impl Pods {
    pub(crate) fn new(ready: u32, startup: u64) -> Self {
        Self { ready, starting: VecDeque::new(), unready: 0, startup }
    }

    pub(crate) fn ready(&self) -> u32 {
        self.ready
    }

    /// All that exist and are paid for.
    pub(crate) fn all(&self) -> u32 {
        self.ready.saturating_add(self.unready)
    }

    pub(crate) fn next_ready(&self) -> Option<u64> {
        self.starting.front().map(|(at, _)| *at)
    }

    pub(crate) fn start_up(&mut self, now: u64) {
        while let Some((_, count)) = self.starting.pop_front_if(|(at, _)| *at <= now) {
            self.unready -= count;
            self.ready = self.ready.saturating_add(count);
        }
    }

    /// Those that are not ready go first, the youngest of them before the others, as the ReplicaSet controller does.
    pub(crate) fn scale_to(&mut self, replicas: u32, now: u64) {
        let all = self.all();
        if replicas > all {
            self.starting.push_back((now + self.startup, replicas - all));
            self.unready += replicas - all;
        }
        let mut surplus = all.saturating_sub(replicas);
        while surplus > 0 {
            let Some((_, count)) = self.starting.back_mut() else { break };
            let gone = surplus.min(*count);
            *count -= gone;
            self.unready -= gone;
            surplus -= gone;
            if *count == 0 {
                self.starting.pop_back();
            }
        }
        self.ready -= surplus.min(self.ready);
        self.start_up(now);
    }
}
