//! An upstream in memory that can be slow, fail, hang or break, and a sink that remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use windlass_decision::{Activity, Failure, FailureKind, Outcome, Sample};

use crate::poller::{Asked, Connect, Interval, Poller, Sink, Subscription, SubscriptionKey, Timing, lock};
use crate::{Connection, Given, Push, Query, TriggerInput, Upstream, Zone, parse};

/// What the upstream says of a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Answer {
    Value(f64),
    Fails(FailureKind),
    Absent,
}

#[derive(Debug, Default)]
pub struct State {
    /// When each read began, and for which queries.
    pub reads: Vec<(Duration, Vec<String>)>,
    /// Where the queries of each read lay in memory.
    pub addresses: Vec<usize>,
    pub answers: BTreeMap<String, Answer>,
    /// The answer where the query has none of its own.
    pub otherwise: Option<Answer>,
    pub delay: Duration,
    pub delays: BTreeMap<String, Duration>,
    pub panics: BTreeSet<String>,
    pub connected: usize,
    pub closed: usize,
    pub close_takes: Duration,
    pub pushes: Option<UnboundedReceiver<Push>>,
}

#[derive(Debug)]
pub struct Fake {
    began: Instant,
    state: Arc<Mutex<State>>,
}

impl Upstream for Fake {
    fn read<'a>(&'a self, queries: &'a [Query]) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            let names: Vec<_> = queries.iter().map(name).collect();
            let wait = {
                let mut state = lock(&self.state);
                state.reads.push((self.began.elapsed(), names.clone()));
                state.addresses.push(queries.as_ptr() as usize);
                assert!(names.iter().all(|name| !state.panics.contains(name)), "told to break");
                names.iter().filter_map(|name| state.delays.get(name)).max().copied().unwrap_or(state.delay)
            };
            sleep(wait).await;
            let state = lock(&self.state);
            let answer = |name| state.answers.get(name).copied().or(state.otherwise).unwrap_or(Answer::Value(1.0));
            names.iter().map(|name| outcome(answer(name))).collect()
        })
    }

    fn watch(&self) -> Option<BoxStream<'static, Push>> {
        lock(&self.state).pushes.take().map(StreamExt::boxed)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let wait = lock(&self.state).close_takes;
            lock(&self.state).closed += 1;
            sleep(wait).await;
        })
    }
}

pub fn outcome(answer: Answer) -> Outcome {
    let failure = |kind| Failure { kind, message: "told to".to_owned(), field: None, at: Timestamp::UNIX_EPOCH };
    match answer {
        Answer::Value(value) => {
            Outcome::Ok(Sample { value, activity: Activity::Number(value), limit: None, at: Timestamp::UNIX_EPOCH })
        }
        Answer::Fails(kind) => Outcome::Failed(failure(kind)),
        Answer::Absent => Outcome::Absent(failure(FailureKind::NotFound)),
    }
}

fn name(query: &Query) -> String {
    let Query::Rabbitmq(query) = query else { panic!("another source") };
    query.name().to_owned()
}

/// One delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivered {
    pub at: Duration,
    pub to: String,
    pub index: usize,
    pub outcome: Outcome,
    pub interval: Duration,
    pub asked: Option<Asked>,
}

pub struct Recorder {
    began: Instant,
    pub delivered: Mutex<Vec<Delivered>>,
}

impl Sink for Recorder {
    fn reading(&self, subscriber: &SubscriptionKey, trigger_index: usize, outcome: Outcome, timing: Timing) {
        let to = subscriber.as_str().to_owned();
        let Timing { interval, asked } = timing;
        let at = self.began.elapsed();
        lock(&self.delivered).push(Delivered { at, to, index: trigger_index, outcome, interval, asked });
    }
}

/// A poller over fake upstreams, one per virtual host.
pub struct World {
    pub poller: Poller,
    pub sink: Arc<Recorder>,
    upstreams: Arc<Mutex<BTreeMap<String, Arc<Mutex<State>>>>>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let began = Instant::now();
        let sink = Arc::new(Recorder { began, delivered: Mutex::default() });
        let upstreams: Arc<Mutex<BTreeMap<String, Arc<Mutex<State>>>>> = Arc::default();
        let known = Arc::clone(&upstreams);
        let connect: Arc<Connect> = Arc::new(move |connection: &Connection, zone: &Zone| {
            let Connection::Rabbitmq(connection) = connection else { panic!("another source") };
            let place = if *zone == Zone::default() { connection.vhost.clone() } else { format!("{zone:?}") };
            let state = Arc::clone(lock(&known).entry(place).or_default());
            lock(&state).connected += 1;
            Arc::new(Fake { began, state }) as Arc<dyn Upstream>
        });
        let poller = Poller::with_connect(connect, seed, Arc::clone(&sink) as Arc<dyn Sink>);
        Self { poller, sink, upstreams }
    }

    /// The upstream of the virtual host `v`, which most tests use alone.
    pub fn state(&self) -> Arc<Mutex<State>> {
        self.state_of("v")
    }

    pub fn state_of(&self, vhost: &str) -> Arc<Mutex<State>> {
        Arc::clone(lock(&self.upstreams).entry(vhost.to_owned()).or_default())
    }

    /// How often the upstream of `vhost` was made, and closed.
    pub fn opened_and_closed(&self, vhost: &str) -> (usize, usize) {
        let state = self.state_of(vhost);
        let state = lock(&state);
        (state.connected, state.closed)
    }

    pub fn set(&self, key: &str, subscriptions: &[(&str, Interval)]) {
        let all = subscriptions.iter().map(|(queue, interval)| subscription("v", queue, *interval)).collect();
        self.poller.set(key.into(), all);
    }

    /// When the reads of `queue` began.
    pub fn times(&self, queue: &str) -> Vec<Duration> {
        let state = self.state();
        let state = lock(&state);
        state.reads.iter().filter(|(_, names)| names.iter().any(|name| name == queue)).map(|(at, _)| *at).collect()
    }

    pub fn gaps(&self, queue: &str) -> Vec<f64> {
        self.times(queue).windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect()
    }

    pub fn delivered(&self) -> MutexGuard<'_, Vec<Delivered>> {
        lock(&self.sink.delivered)
    }
}

pub fn subscription(vhost: &str, queue: &str, interval: Interval) -> Subscription {
    let pairs = [("host", format!("amqp://localhost/{vhost}")), ("queueName", queue.to_owned())];
    let metadata = pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let parsed = parse(TriggerInput::new("rabbitmq", &metadata, &Given::default())).expect("good metadata").0;
    Subscription { zone: Zone::default(), connection: parsed.connection, query: parsed.query, interval }
}

pub fn push_channel(state: &Mutex<State>) -> UnboundedSender<Push> {
    let (sender, receiver) = unbounded();
    lock(state).pushes = Some(receiver);
    sender
}
