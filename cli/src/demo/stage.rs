//! Plays the day: sets the simulated world up, lets virtual time pass no faster than was asked, and passes on what happens.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use windlass_kubesim::behaviour::Settings;
use windlass_kubesim::load::{Loads, QueueKey};
use windlass_rehearsal::{Mood, Replica, ReplicaOptions, World, WorldOptions};

use super::doors::Behind;
use super::lives::{LIVES, NAMESPACE};
use super::story::Story;
use super::table::Table;
use crate::stdout::put;

/// How often the table is drawn, in real time.
const FRAME: Duration = Duration::from_millis(100);
/// How much virtual time passes between two looks at the real one, at most.
const TICK: f64 = 1.0;

/// How the day is played.
pub(super) struct Stage {
    pub(super) speed: f64,
    pub(super) seed: u64,
    /// In real time.
    pub(super) lasts: Duration,
    pub(super) shows_table: bool,
    pub(super) stop: CancellationToken,
}

impl Stage {
    pub(super) async fn play(self, doors: Sender<Behind>) -> anyhow::Result<()> {
        let loads = Loads::new(self.seed);
        let world = world(&loads, self.seed)?;
        let mut changes = world.cluster.subscribe();
        let mut story = Story::new();
        for object in LIVES.iter().flat_map(|life| life.manifests()) {
            world.create(object)?;
        }
        for life in &LIVES {
            loads.add(life.queue(), Some(life.workers()), life.service(), &life.arrivals()).context("make a queue")?;
        }
        let options = ReplicaOptions::new("windlass-0", ([10, 0, 0, 1], 6443).into(), self.seed);
        let replica = Replica::start(&world.cluster, &world.brokers, &world.clock, &options);
        let mut table = self.shows_table.then(Table::new);
        let began = Instant::now();
        let (mut opened, mut drawn, mut ticks) = (false, None::<Instant>, 0_u64);
        let tick = (self.speed * 0.005).clamp(0.01, TICK);
        // Whole nanoseconds, so that the end can be reached.
        let lasts = self.lasts.mul_f64(self.speed);
        while !self.stop.is_cancelled() {
            ticks += 1;
            let next = Duration::from_secs_f64(ticks as f64 * tick).min(lasts);
            sleep(next.saturating_sub(world.elapsed())).await;
            if !opened && let Some(health) = replica.health() {
                // Whoever serves may have failed, and has said so.
                let _ = doors.send(Behind { cluster: world.cluster.clone(), health });
                opened = true;
            }
            set_moods(&world);
            while let Ok(change) = changes.try_recv() {
                story.see(&change, world.elapsed());
            }
            let lines = story.tell(world.elapsed());
            match &mut table {
                None => lines.iter().try_for_each(|line| say(line))?,
                Some(table) => {
                    table.note(lines);
                    if drawn.is_none_or(|at| at.elapsed() >= FRAME) {
                        table.draw(&story, &loads, world.elapsed())?;
                        drawn = Some(Instant::now());
                    }
                }
            }
            if next >= lasts {
                break;
            }
            self.wait(began, next);
        }
        if let Some(table) = table {
            table.end(&story, &loads, world.elapsed())?;
        }
        story.summary(&loads, world.elapsed()).iter().try_for_each(|line| say(line))?;
        replica.stop().await.map_err(anyhow::Error::msg).context("stop the operator")?;
        self.stop.cancel();
        Ok(())
    }

    /// Holds the simulation until real time has caught up, or until it is to end.
    fn wait(&self, began: Instant, virtual_time: Duration) {
        let due = began + virtual_time.div_f64(self.speed);
        while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if self.stop.is_cancelled() {
                return;
            }
            std::thread::sleep(left.min(FRAME));
        }
    }
}

fn world(loads: &Loads, seed: u64) -> anyhow::Result<World> {
    let held = loads.clone();
    let world = World::new(WorldOptions {
        seed,
        figure: Box::new(move |queue| {
            let key = QueueKey::new(&queue.broker, &queue.vhost, &queue.queue);
            held.backlog(&key).map(|waiting| waiting as f64)
        }),
        faults: None,
        behaviour: Settings::default(),
        loads: Some(loads.clone()),
        audit: 0,
    })?;
    world.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}))?;
    Ok(world)
}

/// Brokers have their mishaps at their hours, every day.
fn set_moods(world: &World) {
    let hour = world.elapsed().as_secs_f64() / 3600.0 % 24.0;
    for life in &LIVES {
        if let Some((from, until, mood)) = life.mishap {
            let mood = if (from..until).contains(&hour) { mood } else { Mood::Well };
            world.brokers.set_mood(life.broker, mood);
        }
    }
}

/// One line. A reader that went away is an error, which ends the demo.
fn say(line: &str) -> anyhow::Result<()> {
    put(&format!("{line}\n"), "print")
}
