//! Asks the same question again and again, each time anew, and keeps every answer with its times: how a caller sees a
//! take-over. A question that hangs does not hold up the next one.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{bail, ensure};
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// A question that has hung for as long is given up.
const GIVE_UP: Duration = Duration::from_secs(30);

/// One question and its answer.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When it was asked.
    pub asked: Timestamp,
    /// When it was answered; now, while it is not.
    pub answered: Timestamp,
    /// How long that took, or takes already.
    pub took: Duration,
    /// The answer; `Err` has the words of the error, `None` is none yet.
    pub answer: Option<Result<String, String>>,
}

impl Sample {
    /// Whether it was answered without an error.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        matches!(self.answer, Some(Ok(_)))
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "asked {} took {:?}: ", self.asked, self.took)?;
        match &self.answer {
            Some(Ok(answer)) => f.write_str(answer),
            Some(Err(error)) => write!(f, "error: {error}"),
            None => f.write_str("no answer yet"),
        }
    }
}

/// A running prober; ends when dropped.
#[derive(Debug)]
pub struct Prober {
    name: String,
    questions: Arc<Mutex<Vec<Question>>>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Question {
    asked: Timestamp,
    start: Instant,
    took: Option<Duration>,
    answer: Option<Result<String, String>>,
}

impl Prober {
    /// Asks `every` so often.
    pub fn start<F>(name: &str, every: Duration, ask: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = anyhow::Result<String>> + Send + 'static,
    {
        let questions = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let kept = Arc::clone(&questions);
        tasks.spawn(async move {
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // Ends with this task.
            let mut asked = JoinSet::new();
            loop {
                ticks.tick().await;
                while asked.try_join_next().is_some() {}
                let start = Instant::now();
                let index = {
                    let mut questions = locked(&kept);
                    questions.push(Question { asked: crate::now(), start, took: None, answer: None });
                    questions.len() - 1
                };
                let (asking, kept) = (ask(), Arc::clone(&kept));
                asked.spawn(async move {
                    let answer = match timeout(GIVE_UP, asking).await {
                        Ok(answer) => answer.map_err(|error| format!("{error:#}")),
                        Err(_) => Err(format!("no answer within {GIVE_UP:?}")),
                    };
                    let question = &mut locked(&kept)[index];
                    question.took = Some(start.elapsed());
                    question.answer = Some(answer);
                });
            }
        });
        Self { name: name.to_owned(), questions, _tasks: tasks }
    }

    /// All questions asked so far, oldest first.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        let sample = |question: &Question| {
            let took = question.took.unwrap_or_else(|| question.start.elapsed());
            let answered = question.asked.saturating_add(took).unwrap_or(Timestamp::MAX);
            Sample { asked: question.asked, answered, took, answer: question.answer.clone() }
        };
        locked(&self.questions).iter().map(sample).collect()
    }

    /// Those asked at `from` or later and before `until`.
    #[must_use]
    pub fn between(&self, from: Timestamp, until: Timestamp) -> Vec<Sample> {
        let mut samples = self.samples();
        samples.retain(|sample| sample.asked >= from && sample.asked < until);
        samples
    }

    /// Waits for a question, asked at `from` or later, that is answered without an error; returns it.
    ///
    /// # Errors
    /// With the last sample, when there is none within `deadline`.
    pub async fn wait_good(&self, from: Timestamp, deadline: Duration) -> anyhow::Result<Sample> {
        crate::eventually(deadline, &format!("{} is answered", self.name), async || {
            let samples = self.between(from, Timestamp::MAX);
            match samples.iter().find(|sample| sample.is_good()) {
                Some(sample) => Ok(sample.clone()),
                None => {
                    bail!("the last one: {}", samples.last().map_or_else(|| "none".to_owned(), ToString::to_string))
                }
            }
        })
        .await
    }

    /// Fails unless every question asked between the two was answered without an error, each within `longest`, and
    /// there were some.
    ///
    /// # Errors
    /// With the samples that are wrong.
    pub fn ensure_good(&self, from: Timestamp, until: Timestamp, longest: Duration) -> anyhow::Result<()> {
        let samples = self.between(from, until);
        ensure!(!samples.is_empty(), "{}: nothing was asked between {from} and {until}", self.name);
        // One that was asked just now may still be answered.
        let wrong = |sample: &&Sample| matches!(sample.answer, Some(Err(_))) || sample.took > longest;
        self.ensure_none(samples.iter().filter(wrong), "error, or too slow")
    }

    /// Fails if any question asked between the two hung for longer than `longest`, whatever the answer.
    ///
    /// # Errors
    /// With the samples that are wrong.
    pub fn ensure_no_hang(&self, from: Timestamp, until: Timestamp, longest: Duration) -> anyhow::Result<()> {
        let samples = self.between(from, until);
        self.ensure_none(samples.iter().filter(|sample| sample.took > longest), &format!("hung above {longest:?}"))
    }

    fn ensure_none<'a>(&self, wrong: impl Iterator<Item = &'a Sample>, what: &str) -> anyhow::Result<()> {
        let wrong: Vec<String> = wrong.map(ToString::to_string).collect();
        ensure!(
            wrong.is_empty(),
            "{}: {} times {what}:\n  {}",
            self.name,
            wrong.len(),
            wrong.iter().take(12).cloned().collect::<Vec<_>>().join("\n  ")
        );
        Ok(())
    }
}

fn locked(questions: &Mutex<Vec<Question>>) -> std::sync::MutexGuard<'_, Vec<Question>> {
    questions.lock().unwrap_or_else(PoisonError::into_inner)
}
