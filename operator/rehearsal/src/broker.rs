//! Brokers of a simulation: what a queue holds comes from outside, how the broker behaves is set by hand. A broker of any
//! mood keeps the promises of [`Upstream`]: one outcome for each query, in order, within the deadline.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use windlass_decision::{Activity, Clock, Failure, FailureKind, Outcome, Sample};
use windlass_operator::Process;
use windlass_sources::poller::Connect;
use windlass_sources::rabbitmq::{self, Selection};
use windlass_sources::{Connection, Query, Secret, Upstream};

/// How long an answer of a healthy broker takes.
const ROUND_TRIP: Duration = Duration::from_millis(2);

/// A queue, wherever it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueName {
    /// Host name of the broker.
    pub broker: String,
    /// Virtual host.
    pub vhost: String,
    /// Name of the queue.
    pub queue: String,
}

/// How a broker behaves.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Mood {
    /// It answers.
    #[default]
    Well,
    /// It answers late.
    Slow(Duration),
    /// It refuses connections.
    Refuses,
    /// It accepts and says nothing.
    Silent,
    /// It answers an error.
    Errors,
    /// It refuses the credentials.
    Unauthorised,
    /// It says that it knows no such queue.
    Forgetful,
    /// It answers this figure, whatever the queue holds.
    Says(f64),
}

/// One good reading as the operator was given it.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// When the answer was given, in virtual time since the start.
    pub at: Duration,
    /// Who was given it.
    pub by: String,
    /// The queue.
    pub queue: QueueName,
    /// What the queue held.
    pub value: f64,
    /// The password that was given.
    pub password: Option<Secret>,
}

/// What a queue holds: `None` where there is no such queue.
pub type Figure = dyn Fn(&QueueName) -> Option<f64> + Send + Sync;

/// All brokers of a simulation. Cheap to clone.
#[derive(Clone)]
pub struct Brokers(Arc<Inner>);

struct Inner {
    figure: Box<Figure>,
    start: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    moods: BTreeMap<String, Mood>,
    reads: Vec<Read>,
    records: bool,
}

impl fmt::Debug for Brokers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Brokers").field("moods", &self.lock().moods).finish_non_exhaustive()
    }
}

impl Brokers {
    /// Brokers whose queues hold what `figure` says. Make them within the runtime of the simulation.
    #[must_use]
    pub fn new(figure: Box<Figure>) -> Self {
        Self(Arc::new(Inner { figure, start: Instant::now(), state: Mutex::default() }))
    }

    /// Sets how the broker of this host name behaves from now on.
    pub fn set_mood(&self, broker: &str, mood: Mood) {
        self.lock().moods.insert(broker.to_owned(), mood);
    }

    /// Notes every good reading from now on, for [`Self::reads`].
    pub fn record(&self) {
        self.lock().records = true;
    }

    /// The good readings that were noted since the last call.
    #[must_use]
    pub fn reads(&self) -> Vec<Read> {
        std::mem::take(&mut self.lock().reads)
    }

    /// Makes the readers of one process, named `by` in the notes.
    #[must_use]
    pub fn connect(&self, by: &str, clock: Arc<dyn Clock>, deadline: Duration, process: &Process) -> Arc<Connect> {
        let (brokers, by, process) = (self.clone(), by.to_owned(), process.clone());
        Arc::new(move |connection, _| {
            let Connection::Rabbitmq(connection) = connection else {
                panic!("the rehearsal has brokers of RabbitMQ only");
            };
            let (brokers, clock, process) = (brokers.clone(), clock.clone(), process.clone());
            Arc::new(Reader { brokers, by: by.clone(), clock, deadline, process, connection: connection.clone() })
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Reader {
    brokers: Brokers,
    by: String,
    clock: Arc<dyn Clock>,
    deadline: Duration,
    process: Process,
    connection: rabbitmq::Connection,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("broker", &self.connection.endpoint.host).finish_non_exhaustive()
    }
}

impl Upstream for Reader {
    fn read<'a>(&'a self, queries: &'a [Query]) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            let host = &self.connection.endpoint.host;
            // Judged when the request arrives: a mood that changes meanwhile is the next request's.
            let mood = self.brokers.lock().moods.get(host).copied().unwrap_or_default();
            let takes = match mood {
                Mood::Slow(time) => time,
                Mood::Silent => Duration::MAX,
                _ => ROUND_TRIP,
            };
            if takes >= self.deadline {
                sleep(self.deadline).await;
                return queries.iter().map(|_| self.failed(FailureKind::Timeout, "did not answer in time")).collect();
            }
            sleep(takes).await;
            let answer = |query: &Query| match query {
                Query::Rabbitmq(query) => self.answer(mood, query),
                _ => self.failed(FailureKind::BadAnswer, "knows queues of RabbitMQ only"),
            };
            queries.iter().map(answer).collect()
        })
    }
}

impl Reader {
    fn answer(&self, mood: Mood, query: &rabbitmq::Query) -> Outcome {
        match mood {
            Mood::Refuses => return self.failed(FailureKind::Unreachable, "refuses connections"),
            Mood::Errors => return self.failed(FailureKind::BadAnswer, "answered 500"),
            Mood::Unauthorised => return self.failed(FailureKind::Unauthorised, "refused the credentials"),
            Mood::Well | Mood::Slow(_) | Mood::Silent | Mood::Forgetful | Mood::Says(_) => {}
        }
        let Selection::Queue(queue) = &query.selection else {
            return self.failed(FailureKind::BadAnswer, "knows no regular expressions");
        };
        let queue = QueueName {
            broker: self.connection.endpoint.host.clone(),
            vhost: self.connection.vhost.clone(),
            queue: queue.clone(),
        };
        let held = if mood == Mood::Forgetful { None } else { (self.brokers.0.figure)(&queue) };
        let Some(value) = held else {
            return Outcome::Absent(self.failure(FailureKind::NotFound, &format!("has no queue {:?}", queue.queue)));
        };
        if let Mood::Says(value) = mood {
            return self.ok(value);
        }
        let mut state = self.brokers.lock();
        if state.records && self.process.is_running() {
            let at = self.brokers.0.start.elapsed();
            let password = self.connection.password.clone();
            state.reads.push(Read { at, by: self.by.clone(), queue, value, password });
        }
        drop(state);
        self.ok(value)
    }

    fn ok(&self, value: f64) -> Outcome {
        Outcome::Ok(Sample { value, activity: Activity::Number(value), limit: None, at: self.now() })
    }

    fn failed(&self, kind: FailureKind, what: &str) -> Outcome {
        Outcome::Failed(self.failure(kind, what))
    }

    fn failure(&self, kind: FailureKind, what: &str) -> Failure {
        let message = format!("the broker {} {what}", self.connection.endpoint.host);
        Failure { kind, message, field: Some("metadata.host"), at: self.now() }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
