//! The leader's loop: observe, decide, plan, apply. It lives as long as this process leads and forgets everything then.
//!
//! Deciding is synchronous and done here, one object after the other; writes run beside it, at most one plan for each
//! object at a time, and what they brought about is believed until the watches have caught up.
//!
//! What happens to an object is told once, in one event and one line of the log, when it happens. What goes on being wrong is
//! told of all objects together, in one line a minute.

mod farewell;
mod look;
mod memory;
mod moves;
mod subscribe;
mod told;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use windlass_crd::Settings;
use windlass_decision::Clock;
use windlass_sources::poller::Poller;

use crate::apply::{Applied, ApplyError, Ctx, apply, log, tell};
use crate::engine::memory::Memory;
use crate::engine::trouble::Troubles;
use crate::external_metrics::ServedTable;
use crate::givens::Givens;
use crate::key::ObjectKey;
#[cfg(feature = "mutants")]
use crate::mutant::{self, Mutant};
use crate::plan::{Effect, Note};
use crate::queue::Queue;
use crate::readings::Readings;
use crate::telemetry::Telemetry;
use crate::world::World;

/// How many plans may be carried out at once.
const PARALLEL: usize = 64;
/// How many of them may be past what they scale: many objects that wake at once are all scaled before the API server is
/// busy with what is said about it.
const PARALLEL_LATER: usize = 32;
/// How many plans may wait to be told of in events; what comes beyond is in the log only.
const UNTOLD: usize = 10_000;
/// How long to wait after a failed write, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// What the engine works with.
#[derive(Debug)]
pub struct Engine {
    /// What is seen of the cluster.
    pub world: Arc<World>,
    /// Who wants a look.
    pub queue: Arc<Queue>,
    /// What triggers are given from elsewhere.
    pub givens: Arc<Givens>,
    /// The newest readings.
    pub readings: Arc<Readings>,
    /// Reads the sources.
    pub poller: Arc<Poller>,
    /// The namespaces whose sources have rules of their own about what they may connect to.
    pub source_zones: BTreeSet<String>,
    /// What the HPA is told.
    pub table: Arc<ServedTable>,
    /// What effects need.
    pub ctx: Ctx,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Counts.
    pub telemetry: Telemetry,
    /// What is added to every object.
    pub settings: Settings,
}

/// The end of a plan.
struct Done {
    key: ObjectKey,
    uid: String,
    applied: Vec<Applied>,
    error: Option<ApplyError>,
    /// Trouble with the HPA holds up the status, which would say that all is well, and nothing else.
    hpa_error: Option<ApplyError>,
    /// Trouble with the object's own metadata holds up nothing.
    mark_error: Option<ApplyError>,
    /// What is to be told of it. That holds up nothing, not even the object's next plan.
    notes: Vec<Note>,
    /// What is to be told of a scaling that failed, unless the one before it did too.
    unscaled: Option<Note>,
}

/// The places of plans that are being carried out, given in the order in which they are asked for.
#[derive(Debug)]
struct Places {
    all: Semaphore,
    later: Semaphore,
}

impl Places {
    /// For work that scales. The semaphores are never closed; were they, the work would simply be done.
    async fn urgent(&self) -> Place<'_> {
        (None, self.all.acquire().await.ok())
    }

    /// For work that does not: few of it stand in line with what scales, so that this never waits long.
    async fn later(&self) -> Place<'_> {
        let later = self.later.acquire().await.ok();
        (later, self.all.acquire().await.ok())
    }
}

type Place<'a> = (Option<SemaphorePermit<'a>>, Option<SemaphorePermit<'a>>);

impl Engine {
    /// Runs until it is dropped.
    pub async fn run(self) {
        let mut objects: BTreeMap<ObjectKey, Memory> = BTreeMap::new();
        let mut plans: FuturesUnordered<BoxFuture<'static, Done>> = FuturesUnordered::new();
        let mut tellings: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        let places = Arc::new(Places { all: Semaphore::new(PARALLEL), later: Semaphore::new(PARALLEL_LATER) });
        self.world.objects.keys().iter().for_each(|key| self.queue.mark(key));
        #[cfg(feature = "mutants")]
        if mutant::is(Mutant::HpaDeletedOnRestart) {
            self.delete_all_hpas().await;
        }
        let mut minute = interval_at(Instant::now() + trouble::EVERY, trouble::EVERY);
        minute.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut in_trouble = false;
        loop {
            let marked: BTreeSet<ObjectKey> = tokio::select! {
                biased;
                Some(mut done) = plans.next() => {
                    let mut notes = std::mem::take(&mut done.notes);
                    notes.extend(done.unscaled.take().filter(|_| is_first_failure(&done, &mut objects)));
                    // At once, whatever becomes of the events.
                    notes.iter().for_each(|note| log(note, &done.key));
                    if tellings.len() >= UNTOLD {
                        tracing::warn!(object = %done.key, untold = notes.len(), "too many events wait to be written");
                    } else if !notes.is_empty() {
                        let (key, uid, ctx) = (done.key.clone(), done.uid.clone(), self.ctx.clone());
                        tellings.push(Box::pin(tell_all(notes, key, uid, ctx, places.clone())));
                    }
                    self.settle(done, &mut objects);
                    continue;
                }
                _ = minute.tick() => {
                    in_trouble = sum_up(&objects, in_trouble);
                    continue;
                }
                Some(()) = tellings.next() => continue,
                marked = self.queue.take() => marked,
            };
            for key in marked {
                if let Some(effects) = self.look(&key, &mut objects)
                    && let Some(memory) = objects.get_mut(&key)
                {
                    memory.busy = true;
                    let (ctx, uid, places) = (self.ctx.clone(), memory.uid.clone(), places.clone());
                    plans.push(Box::pin(carry_out(effects, key, uid, ctx, places)));
                }
            }
            self.telemetry.scaled_objects(objects.len());
            self.telemetry.reconcile_queue_depth(self.queue.depth());
        }
    }

    #[cfg(feature = "mutants")]
    async fn delete_all_hpas(&self) {
        for at in self.world.hpas.keys() {
            let uid = self.world.hpas.get(&at).map(|hpa| hpa.uid.clone()).unwrap_or_default();
            let effect = Effect::DeleteHpa { name: at.name.to_string(), uid };
            // The bug is in the asking.
            let _ = apply(&effect, &at, "", &self.ctx).await;
        }
    }

    /// Takes in what a plan has brought about.
    fn settle(&self, done: Done, objects: &mut BTreeMap<ObjectKey, Memory>) {
        let Some(memory) = objects.get_mut(&done.key).filter(|memory| memory.uid == done.uid) else {
            self.queue.mark(&done.key);
            return;
        };
        memory.busy = false;
        for applied in done.applied {
            memory.remember(applied);
        }
        match done.error {
            None => memory.succeeded(),
            Some(error) if error.is_conflict() => self.queue.mark_in(&done.key, memory.conflicted()),
            Some(error) => {
                let wait = memory.retry.map_or(RETRY.0, |(wait, _)| (wait * 2).min(RETRY.1));
                // Of replicas that cannot be written an event tells already.
                if memory.retry.is_none() && !memory.told_unscaled {
                    tracing::warn!(object = %done.key, %error, label = error.label(), "plan not carried out, retrying");
                } else {
                    tracing::debug!(object = %done.key, %error, label = error.label(), retry_in = ?wait, "plan not carried out");
                }
                memory.retry = Some((wait, Instant::now() + wait));
                self.queue.mark_in(&done.key, wait);
            }
        }
        if let Some(error) = done.hpa_error {
            // The status says it, and the event of that.
            let wait = memory.hpa_failed(error.to_string());
            tracing::debug!(object = %done.key, %error, label = error.label(), retry_in = ?wait, "HPA not written");
            memory.again = true;
            self.queue.mark_in(&done.key, wait);
        }
        if let Some(error) = done.mark_error {
            if memory.mark_retry.is_none() {
                tracing::warn!(object = %done.key, %error, label = error.label(), "finalizers not written, retrying");
            }
            let wait = memory.mark_failed();
            memory.again = true;
            self.queue.mark_in(&done.key, wait);
        }
        if std::mem::take(&mut memory.again) {
            self.queue.mark(&done.key);
        }
    }
}

/// Carries out a plan in order, up to the first failure; notes each scaling and what the status says anew, to be told.
async fn carry_out(effects: Vec<Effect>, key: ObjectKey, uid: String, ctx: Ctx, places: Arc<Places>) -> Done {
    let urgent = effects.iter().rposition(|effect| matches!(effect, Effect::Scale(_))).map_or(0, |last| last + 1);
    let mut is_urgent = urgent > 0;
    let mut place = if is_urgent { places.urgent().await } else { places.later().await };
    let applied = Vec::with_capacity(effects.len());
    let (hpa_error, mark_error, notes, unscaled) = (None, None, Vec::new(), None);
    let mut done = Done { key, uid, applied, error: None, hpa_error, mark_error, notes, unscaled };
    let (mut said, mut scaled) = (false, Vec::new());
    for (index, effect) in effects.into_iter().enumerate() {
        let held_up = match effect {
            // It tells of the status, and would not be told again once that is written, whatever became of the rest.
            Effect::Event(_) => !said,
            // It would not be told again either, and is true whatever becomes of the rest.
            Effect::Tell(_) => false,
            Effect::Status { .. } => done.error.is_some() || done.hpa_error.is_some(),
            _ => done.error.is_some(),
        };
        if held_up {
            continue;
        }
        let effect = match effect {
            Effect::Event(note) | Effect::Tell(note) => {
                done.notes.push(note);
                continue;
            }
            other => other,
        };
        if index >= urgent && std::mem::take(&mut is_urgent) {
            drop(place);
            place = places.later().await;
        }
        // In a box of its own, so that the thousands that wait for a place are small.
        match Box::pin(apply(&effect, &done.key, &done.uid, &ctx)).await {
            Ok(applied) => {
                said |= matches!(applied, Applied::Status { .. });
                if let Applied::Scaled { scale, .. } = &applied {
                    scaled.push(scale.done_note(&done.key, scale.seen.replicas));
                }
                done.applied.push(applied);
            }
            Err(error) if matches!(effect, Effect::ApplyHpa { .. } | Effect::DeleteHpa { .. }) => {
                done.hpa_error = Some(error);
            }
            Err(error) if matches!(effect, Effect::Mark(_)) && !error.is_conflict() => done.mark_error = Some(error),
            Err(error) => {
                if let Effect::Scale(scale) = &effect
                    && !error.is_conflict()
                {
                    done.unscaled = Some(scale.failed_note(&done.key, &error.to_string()));
                }
                done.error = Some(error);
            }
        }
    }
    drop(place);
    done.notes.append(&mut scaled);
    done
}

/// Whether a scaling that failed is the first to do so in a row.
fn is_first_failure(done: &Done, objects: &mut BTreeMap<ObjectKey, Memory>) -> bool {
    let memory = objects.get_mut(&done.key).filter(|memory| memory.uid == done.uid);
    memory.is_none_or(|memory| !std::mem::replace(&mut memory.told_unscaled, true))
}

/// Says what goes on being wrong, or once that nothing does any more; gives whether something does.
fn sum_up(objects: &BTreeMap<ObjectKey, Memory>, was_in_trouble: bool) -> bool {
    let troubles = Troubles::of(objects);
    if troubles.objects > 0 {
        tracing::warn!(objects = troubles.objects, of = objects.len(), "{troubles}");
    } else if was_in_trouble {
        tracing::info!(of = objects.len(), "no object is in trouble any more");
    }
    troubles.objects > 0
}

/// Writes events, one after the other.
async fn tell_all(notes: Vec<Note>, key: ObjectKey, uid: String, ctx: Ctx, places: Arc<Places>) {
    let _place = places.later().await;
    for note in &notes {
        Box::pin(tell(note, &key, &uid, &ctx)).await;
    }
}

#[cfg(test)]
mod tests;
