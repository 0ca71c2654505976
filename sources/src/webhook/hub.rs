//! Where receiver and readers meet: which endpoints there are, and what is remembered of their events. It does no IO: whoever
//! receives has an event counted only once it is kept.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use windlass_decision::{Activity, Failure, FailureKind, Outcome, Sample};

use super::config::{Connection, Query, Signature};
use super::stream::{Event, EventId, Stream, StreamKey, millis};

/// How long the numbers of an endpoint that nobody asks for are kept.
const UNASKED: Duration = Duration::from_secs(7 * 24 * 3600);
const NOWHERE: &str = "webhooks are not received here: start the operator with --webhook-address and --data-dir";

/// See the module. Shared by the receiver and by all readers of a process.
pub struct Hub(Mutex<State>);

struct State {
    /// Why nothing is known, if so.
    closed: Option<&'static str>,
    endpoints: BTreeMap<(String, String), Vec<Registered>>,
    streams: BTreeMap<StreamKey, Stream>,
    /// How many were ever registered.
    registered: u64,
}

struct Registered {
    number: u64,
    connection: Arc<Connection>,
    /// Told of each event that changes the answer.
    news: watch::Sender<()>,
}

/// An endpoint that a trigger asks for. It is known until this is dropped.
pub struct Registration {
    hub: Arc<Hub>,
    connection: Arc<Connection>,
    number: u64,
    pub(super) news: watch::Receiver<()>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Hub")
            .field("closed", &state.closed)
            .field("endpoints", &state.endpoints.len())
            .field("streams", &state.streams.len())
            .finish()
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl Default for Hub {
    /// One that never receives anything, and says so.
    fn default() -> Self {
        Self(Mutex::new(State {
            closed: Some(NOWHERE),
            endpoints: BTreeMap::new(),
            streams: BTreeMap::new(),
            registered: 0,
        }))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        let place = (self.connection.namespace.clone(), self.connection.name.clone());
        if let Some(registered) = state.endpoints.get_mut(&place) {
            registered.retain(|one| one.number != self.number);
            if registered.is_empty() {
                state.endpoints.remove(&place);
            }
        }
    }
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the endpoint of a trigger known, as long as what is given back lives.
    #[must_use]
    pub fn register(self: &Arc<Self>, connection: &Connection) -> Registration {
        let connection = Arc::new(connection.clone());
        let (sender, news) = watch::channel(());
        let mut state = self.lock();
        state.registered += 1;
        let number = state.registered;
        let place = (connection.namespace.clone(), connection.name.clone());
        let registered = Registered { number, connection: Arc::clone(&connection), news: sender };
        state.endpoints.entry(place).or_default().push(registered);
        drop(state);
        Registration { hub: Arc::clone(self), connection, number, news }
    }

    /// What the triggers want that share an endpoint; empty if there is none.
    #[must_use]
    pub fn endpoint(&self, namespace: &str, name: &str) -> Vec<Arc<Connection>> {
        let place = (namespace.to_owned(), name.to_owned());
        let state = self.lock();
        state.endpoints.get(&place).into_iter().flatten().map(|one| Arc::clone(&one.connection)).collect()
    }

    /// Begins anew with the events that were kept, as they are given, oldest first; readings are answered from now on.
    pub fn open(&self, kept: impl IntoIterator<Item = Event>, now: Timestamp) {
        let mut streams: BTreeMap<StreamKey, Stream> = BTreeMap::new();
        for event in kept {
            streams.entry(event.stream.clone()).or_default().apply(&event);
        }
        streams.values_mut().for_each(|stream| stream.forget_before(i64::MIN, now.as_millisecond()));
        let mut state = self.lock();
        state.streams = streams;
        state.closed = None;
        state.endpoints.values().flatten().for_each(|one| {
            one.news.send_replace(());
        });
    }

    /// Forgets all events; readings fail from now on, and say why.
    pub fn close(&self, why: &'static str) {
        let mut state = self.lock();
        state.streams.clear();
        state.closed = Some(why);
    }

    /// Whether an event with this id is remembered.
    #[must_use]
    pub fn has_seen(&self, stream: &StreamKey, id: &EventId) -> bool {
        self.lock().streams.get(stream).is_some_and(|stream| stream.has_seen(id))
    }

    /// Remembers events that are kept from now on, and has whoever asks for them told at once.
    pub fn apply(&self, events: &[Event]) {
        let mut state = self.lock();
        if state.closed.is_some() {
            return;
        }
        let State { streams, endpoints, .. } = &mut *state;
        for event in events {
            streams.entry(event.stream.clone()).or_default().apply(event);
            let place = (event.stream.namespace.clone(), event.stream.name.clone());
            let asking = endpoints.get(&place).into_iter().flatten();
            for one in asking.filter(|one| one.connection.signature == event.stream.signature) {
                one.news.send_replace(());
            }
        }
    }

    /// Forgets ids of events that came before `ids`, and whole endpoints that nobody has asked for in a long time.
    pub fn forget_before(&self, ids: Timestamp, now: Timestamp) {
        let now = now.as_millisecond();
        let mut state = self.lock();
        let State { streams, endpoints, .. } = &mut *state;
        let long_ago = now.saturating_sub(millis(UNASKED));
        streams.retain(|key, stream| {
            stream.forget_before(ids.as_millisecond(), now);
            stream.newest() > long_ago || is_asked(endpoints, key)
        });
    }

    /// The newest numbers of all endpoints, as events that do not count: what a journal must carry over.
    #[must_use]
    pub fn carried(&self) -> Vec<Event> {
        self.lock().streams.iter().filter_map(|(key, stream)| stream.carried(key)).collect()
    }

    /// How far back events must be kept for the triggers that there are: the longest window or tolerance.
    #[must_use]
    pub fn needed(&self) -> Duration {
        let state = self.lock();
        let needed = |one: &Registered| match one.connection.query {
            Query::Count(window) | Query::Rate(window) => window.max(one.connection.tolerance * 2),
            Query::Gauge(_) => one.connection.tolerance * 2,
        };
        state.endpoints.values().flatten().map(needed).max().unwrap_or_default()
    }

    pub(super) fn outcome(&self, connection: &Connection, query: &Query, now: Timestamp) -> Outcome {
        let mut state = self.lock();
        if let Some(why) = state.closed {
            let kind = FailureKind::Unreachable;
            return Outcome::Failed(Failure { kind, message: why.to_owned(), field: None, at: now });
        }
        let (namespace, name, signature) =
            (connection.namespace.clone(), connection.name.clone(), connection.signature);
        // Without an event there is a count of 0, and no number.
        let mut nothing = Stream::default();
        let stream = state.streams.get_mut(&StreamKey { namespace, name, signature }).unwrap_or(&mut nothing);
        match stream.answer(query, now.as_millisecond()) {
            Some(value) => Outcome::Ok(Sample { value, activity: Activity::Number(value), limit: None, at: now }),
            None => Outcome::Absent(Failure {
                kind: FailureKind::NotFound,
                message: "no event with a number at valueLocation has come yet; send one".to_owned(),
                field: Some("valueLocation"),
                at: now,
            }),
        }
    }
}

fn is_asked(endpoints: &BTreeMap<(String, String), Vec<Registered>>, key: &StreamKey) -> bool {
    let place = (key.namespace.clone(), key.name.clone());
    let same = |one: &Registered, signature: Signature| one.connection.signature == signature;
    endpoints.get(&place).into_iter().flatten().any(|one| same(one, key.signature))
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
