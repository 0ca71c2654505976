//! The reconcile queue: a set of keys that want a look, now or at a later time. A key is in it once, however often it is
//! marked. It knows nothing of what a look is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::key::ObjectKey;

/// See the module.
#[derive(Debug, Default)]
pub struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    now: BTreeSet<ObjectKey>,
    timers: BTreeSet<(Instant, ObjectKey)>,
    due: BTreeMap<ObjectKey, Instant>,
}

impl Queue {
    /// Wants a look at `key` now.
    pub fn mark(&self, key: &ObjectKey) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !inner.now.contains(key) {
            inner.now.insert(key.clone());
            drop(inner);
            self.changed.notify_one();
        }
    }

    /// Wants a look at `key` in `delay` from now, instead of at any other later time it was to be looked at.
    pub fn mark_in(&self, key: &ObjectKey, delay: Duration) {
        let Some(at) = Instant::now().checked_add(delay) else { return };
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.unschedule(key);
        inner.due.insert(key.clone(), at);
        inner.timers.insert((at, key.clone()));
        drop(inner);
        self.changed.notify_one();
    }

    /// Wants a look at `key` in `delay` from now, unless it is to be looked at before that anyway.
    pub fn mark_within(&self, key: &ObjectKey, delay: Duration) {
        let Some(at) = Instant::now().checked_add(delay) else { return };
        let sooner = |due: &Instant| *due <= at;
        if !self.inner.lock().unwrap_or_else(PoisonError::into_inner).due.get(key).is_some_and(sooner) {
            self.mark_in(key, delay);
        }
    }

    /// Forgets the later look at `key`.
    pub fn cancel_timer(&self, key: &ObjectKey) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).unschedule(key);
    }

    /// Waits for keys that want a look now, and takes them all.
    pub async fn take(&self) -> BTreeSet<ObjectKey> {
        loop {
            let changed = self.changed.notified();
            let next = {
                let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
                inner.ripen(Instant::now());
                if !inner.now.is_empty() {
                    return std::mem::take(&mut inner.now);
                }
                inner.timers.first().map(|(at, _)| *at)
            };
            match next {
                Some(at) => tokio::select! {
                    biased;
                    () = changed => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => changed.await,
            }
        }
    }

    /// How many keys want a look now.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).now.len()
    }
}

impl Inner {
    fn unschedule(&mut self, key: &ObjectKey) {
        if let Some(at) = self.due.remove(key) {
            self.timers.remove(&(at, key.clone()));
        }
    }

    fn ripen(&mut self, now: Instant) {
        while let Some((at, _)) = self.timers.first()
            && *at <= now
        {
            let Some((_, key)) = self.timers.pop_first() else { return };
            self.due.remove(&key);
            self.now.insert(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("ns", name)
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_taken_once_however_often_it_is_marked() {
        let queue = Queue::default();
        queue.mark(&key("a"));
        queue.mark(&key("a"));
        queue.mark(&key("b"));
        assert_eq!(queue.take().await.len(), 2);
        assert_eq!(queue.depth(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_look_replaces_the_one_before() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.mark_in(&key("a"), Duration::from_secs(1));
        queue.mark_in(&key("a"), Duration::from_secs(5));
        assert_eq!(queue.take().await, BTreeSet::from([key("a")]));
        assert_eq!(start.elapsed().as_secs(), 5);
        queue.mark_in(&key("a"), Duration::from_secs(1));
        queue.cancel_timer(&key("a"));
        tokio::time::timeout(Duration::from_secs(60), queue.take()).await.expect_err("nothing is due");
    }

    #[tokio::test(start_paused = true)]
    async fn a_mark_wakes_a_waiter() {
        let queue = std::sync::Arc::new(Queue::default());
        let waiter = tokio::spawn({
            let queue = queue.clone();
            async move { queue.take().await }
        });
        tokio::task::yield_now().await;
        queue.mark(&key("a"));
        assert_eq!(waiter.await.expect("no panic"), BTreeSet::from([key("a")]));
    }
}
