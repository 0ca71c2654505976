//! A credential of limited life that somebody hands out: asked for where none is known that is good, once for all who need it, and
//! not again and again where it is refused. It knows nothing of where credentials come from, and never prints one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::time::{Instant, timeout};

/// How long the answer to a request may take in all. It goes on where a reading ends: the next one finds it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// All who ask at once are told the same failure.
const FAILED: Duration = Duration::from_millis(500);
/// One that was good for so long was well.
const WELL: Duration = Duration::from_secs(60);
/// How old one must be to be replaced where it is refused, by how many before it were refused young: a broker that takes none of
/// them must not cost a new one at each reading.
const PATIENT: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(10), Duration::from_secs(30), Duration::from_secs(60)];

/// What an answer brings: the credential and how long it is to be used, or why there is none.
pub(crate) type Answer<T, E> = Result<(T, Duration), E>;

/// The credential of one upstream; `E` is why there is none.
#[derive(Debug)]
pub(crate) struct Token<T, E>(Mutex<State<T, E>>)
where
    T: Clone,
    E: Clone;

/// A request that is under way, and when its answer came.
type Asked<T, E> = Shared<BoxFuture<'static, Arc<(Answer<T, E>, Instant)>>>;

struct State<T: Clone, E: Clone> {
    known: Option<Known<T>>,
    asked: Option<Asked<T, E>>,
    failed: Option<(E, Instant)>,
    /// How many in a row were refused young.
    refused: usize,
}

impl<T: Clone, E: Clone> std::fmt::Debug for State<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("refused", &self.refused).finish_non_exhaustive()
    }
}

struct Known<T> {
    token: T,
    since: Instant,
    until: Instant,
    /// It was refused before it was old enough to be replaced.
    doubted: bool,
}

impl<T: Clone, E: Clone> Default for Token<T, E> {
    fn default() -> Self {
        Self(Mutex::new(State { known: None, asked: None, failed: None, refused: 0 }))
    }
}

impl<T, E> Token<T, E>
where
    T: Clone + PartialEq + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// A credential that is good. `ask` asks for one, and `late` is the error where that takes longer than `time`; the request goes
    /// on then.
    pub(crate) async fn get(
        &self,
        time: Duration,
        ask: impl FnOnce() -> BoxFuture<'static, Answer<T, E>>,
        late: impl Fn() -> E + Send + 'static,
    ) -> Result<T, E> {
        let answer = match self.find(ask, &late) {
            Ok(found) => return found,
            Err(asked) => timeout(time, asked).await.map_err(|_| late())?,
        };
        self.lock().settle();
        answer.0.clone().map(|(token, _)| token)
    }

    /// What is known, or else the request for it.
    fn find(
        &self,
        ask: impl FnOnce() -> BoxFuture<'static, Answer<T, E>>,
        late: &(impl Fn() -> E + Send + 'static),
    ) -> Result<Result<T, E>, Asked<T, E>> {
        let mut state = self.lock();
        state.settle();
        let now = Instant::now();
        match (&state.known, &state.failed) {
            (Some(known), _) if known.until > now => return Ok(Ok(known.token.clone())),
            (_, Some((error, at))) if now.duration_since(*at) < FAILED => return Ok(Err(error.clone())),
            _ => {}
        }
        let asked = match state.asked.take() {
            Some(asked) => asked,
            None => {
                let (answer, late) = (ask(), late());
                let whole = async move {
                    let answer = timeout(PATIENCE, answer).await.unwrap_or(Err(late));
                    Arc::new((answer, Instant::now()))
                };
                let asked = whole.boxed().shared();
                tokio::spawn(asked.clone());
                asked
            }
        };
        state.asked = Some(asked.clone());
        Err(asked)
    }

    /// Whoever `token` was shown to does not take it. Says whether another one may be had now.
    pub(crate) fn refused(&self, token: &T) -> bool {
        let mut state = self.lock();
        state.settle();
        let State { known, refused, .. } = &mut *state;
        let Some(own) = known.as_mut().filter(|known| known.token == *token) else { return true };
        let age = own.since.elapsed();
        if age < PATIENT.get(*refused).copied().unwrap_or(WELL) {
            own.doubted = true;
            return false;
        }
        *refused = if own.doubted || age < WELL { (*refused + 1).min(PATIENT.len() - 1) } else { 0 };
        *known = None;
        true
    }

    fn lock(&self) -> MutexGuard<'_, State<T, E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone, E: Clone> State<T, E> {
    /// Takes over the answer that has come, whoever has waited for it.
    fn settle(&mut self) {
        let Some(asked) = self.asked.take_if(|asked| asked.peek().is_some()) else { return };
        match asked.peek().map(|done| &**done) {
            Some((Ok((token, life)), came)) => {
                self.failed = None;
                self.known = Some(Known { token: token.clone(), since: *came, until: *came + *life, doubted: false });
            }
            Some((Err(error), came)) => self.failed = Some((error.clone(), *came)),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::time::{advance, sleep};

    use super::*;

    /// Somebody who hands out "1", "2" and so on, good for 100 s, each after a while.
    #[derive(Clone, Default)]
    struct Server(Arc<AtomicU64>);

    impl Server {
        async fn get(&self, token: &Token<u64, &'static str>, takes: u64, time: u64) -> Result<u64, &'static str> {
            let own = Arc::clone(&self.0);
            let ask = move || {
                let answer = async move {
                    sleep(Duration::from_secs(takes)).await;
                    match own.fetch_add(1, Ordering::Relaxed) + 1 {
                        13 => Err("unlucky"),
                        nth => Ok((nth, Duration::from_secs(100))),
                    }
                };
                answer.boxed()
            };
            token.get(Duration::from_secs(time), ask, || "late").await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_asked_for_once_as_long_as_it_is_good() {
        let (token, server) = (Token::default(), Server::default());
        let all = (0..5).map(|_| server.get(&token, 1, 2));
        assert_eq!(futures::future::join_all(all).await, [Ok(1); 5]);
        advance(Duration::from_secs(99)).await;
        assert_eq!(server.get(&token, 1, 2).await, Ok(1));
        advance(Duration::from_secs(2)).await;
        assert_eq!(server.get(&token, 1, 2).await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_answer_is_waited_for_by_one_reading_after_the_other() {
        let (token, server) = (Token::default(), Server::default());
        assert_eq!(server.get(&token, 5, 2).await, Err("late"));
        assert_eq!(server.get(&token, 5, 2).await, Err("late"));
        assert_eq!(server.get(&token, 5, 2).await, Ok(1), "it was asked for once");
        // Nobody waits when it comes.
        let (token, server) = (Token::default(), Server::default());
        assert_eq!(server.get(&token, 5, 2).await, Err("late"));
        sleep(Duration::from_secs(4)).await;
        assert_eq!(server.get(&token, 5, 2).await, Ok(1));
        // Not for ever.
        let (token, server) = (Token::default(), Server::default());
        for _ in 0..5 {
            assert_eq!(server.get(&token, 100, 2).await, Err("late"));
        }
        assert_eq!(server.0.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_told_to_all_and_then_forgotten() {
        let (token, server) = (Token::default(), Server::default());
        server.0.store(12, Ordering::Relaxed);
        let all = (0..5).map(|_| server.get(&token, 1, 2));
        assert_eq!(futures::future::join_all(all).await, [Err("unlucky"); 5]);
        assert_eq!(server.get(&token, 1, 2).await, Err("unlucky"));
        advance(FAILED).await;
        assert_eq!(server.get(&token, 1, 2).await, Ok(14));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_is_replaced_ever_more_slowly() {
        let (token, server) = (Token::default(), Server::default());
        assert!(token.refused(&0), "another one was refused");
        let mut replaced = Vec::new();
        for second in 0..300 {
            let held = server.get(&token, 0, 1).await.expect("one");
            if token.refused(&held) {
                replaced.push(second);
                server.get(&token, 0, 1).await.expect("another");
            }
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(replaced, [0, 10, 40, 100, 160, 220, 280]);
        // One that was well for a while is replaced at once.
        for _ in 0..2 {
            let held = server.get(&token, 0, 1).await.expect("one");
            advance(WELL).await;
            assert!(token.refused(&held));
        }
        let held = server.get(&token, 0, 1).await.expect("one");
        assert!(token.refused(&held));
        let held = server.get(&token, 0, 1).await.expect("one");
        assert!(!token.refused(&held));
    }
}
