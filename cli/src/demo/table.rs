//! The live table on a terminal: one line for each workload and the newest events below, drawn in place. It shows; nothing
//! is decided here.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use windlass_kubesim::load::Loads;

use super::lives::LIVES;
use super::story::{Story, clock};
use crate::stdout::put;

/// How many events are shown.
const EVENTS: usize = 8;
/// The widths that are used where the terminal says none, and at least.
const WIDTH: (usize, usize) = (100, 60);

/// See the module.
pub(super) struct Table {
    events: VecDeque<String>,
    height: usize,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { events: VecDeque::new(), height: 0 }
    }

    /// Keeps lines to be shown below.
    pub(super) fn note(&mut self, lines: Vec<String>) {
        self.events.extend(lines);
        while self.events.len() > EVENTS {
            self.events.pop_front();
        }
    }

    /// Draws in place of what was drawn before.
    pub(super) fn draw(&mut self, story: &Story, loads: &Loads, now: Duration) -> anyhow::Result<()> {
        let lines = self.lines(story, loads, now, width());
        // The cursor is hidden while the table is drawn, line by line over the old ones.
        let mut frame = String::from("\x1b[?25l");
        if self.height > 0 {
            let _ = write!(frame, "\x1b[{}A", self.height);
        }
        for line in &lines {
            let _ = writeln!(frame, "\r\x1b[2K{line}");
        }
        self.height = lines.len();
        put(&frame, "draw the table")
    }

    /// Draws for the last time and gives the cursor back.
    pub(super) fn end(mut self, story: &Story, loads: &Loads, now: Duration) -> anyhow::Result<()> {
        self.draw(story, loads, now)?;
        put("\x1b[?25h", "give the cursor back")
    }

    fn lines(&self, story: &Story, loads: &Loads, now: Duration, width: usize) -> Vec<String> {
        let mut lines = vec![
            String::new(),
            format!("{}   Ctrl-C ends it", clock(now)),
            String::new(),
            format!("{:<11} {:<20} {:>5} {:>7} {:>7}  WHY", "WORKLOAD", "REPLICAS", "READY", "WAITING", "OLDEST"),
        ];
        for life in &LIVES {
            let Some(workload) = story.workloads.get(life.name) else { continue };
            let figures = loads.figures(&life.queue());
            let waiting = figures.as_ref().map_or(0, |figures| figures.ready);
            let oldest = figures.map_or(0, |figures| figures.oldest.as_secs());
            let bar = "■".repeat(workload.replicas as usize)
                + &"·".repeat(life.max.saturating_sub(workload.replicas) as usize);
            let mark = if workload.failing { "! " } else { "" };
            let why = if workload.why.is_empty() { life.about } else { &workload.why };
            lines.push(format!(
                "{:<11} {:>2} {bar:<17} {:>5} {waiting:>7} {oldest:>5} s  {mark}{why}",
                life.name, workload.replicas, workload.ready
            ));
        }
        lines.push(String::new());
        lines.extend(self.events.iter().cloned());
        lines.extend(std::iter::repeat_n(String::new(), EVENTS - self.events.len()));
        lines.into_iter().map(|line| fitted(&line, width)).collect()
    }
}

/// What fits into a line of the terminal.
fn fitted(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn width() -> usize {
    let told = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    told.unwrap_or(WIDTH.0).max(WIDTH.1)
}
