//! A token that is asked for where none is known that is good: one asks, all others wait for what it is given. It knows nothing of
//! where tokens come from, and never prints one.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::Secret;

/// All who ask at once are told the same failure.
const FAILED: Duration = Duration::from_millis(500);

/// The token of one upstream; `E` is why there is none.
#[derive(Debug)]
pub(crate) struct Token<E>(Mutex<State<E>>);

#[derive(Debug)]
struct State<E> {
    /// The token, and until when it is used.
    known: Option<(Secret, Instant)>,
    failed: Option<(E, Instant)>,
}

impl<E> Default for Token<E> {
    fn default() -> Self {
        Self(Mutex::new(State { known: None, failed: None }))
    }
}

impl<E: Clone> Token<E> {
    /// A token that is good, and whether it was asked for just now. `ask` says how long a new one is to be used.
    pub(crate) async fn get(
        &self,
        ask: impl AsyncFnOnce() -> Result<(Secret, Duration), E>,
    ) -> Result<(Secret, bool), E> {
        let mut state = self.0.lock().await;
        let now = Instant::now();
        match (&state.known, &state.failed) {
            (Some((token, until)), _) if *until > now => return Ok((token.clone(), false)),
            (_, Some((error, at))) if now.duration_since(*at) < FAILED => return Err(error.clone()),
            _ => {}
        }
        state.known = None;
        match ask().await {
            Ok((token, life)) => {
                state.failed = None;
                state.known = Some((token.clone(), now + life));
                Ok((token, true))
            }
            Err(error) => {
                state.failed = Some((error.clone(), Instant::now()));
                Err(error)
            }
        }
    }

    /// Whoever it was shown to does not take it: it is not used again.
    pub(crate) async fn refused(&self, token: &Secret) {
        let mut state = self.0.lock().await;
        state.known.take_if(|(known, _)| known == token);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_token_is_asked_for_once_as_long_as_it_is_good() {
        let (token, asked) = (Token::<&str>::default(), AtomicU32::new(0));
        let get = async |answer: Result<u64, &'static str>| {
            let ask = async || {
                let nth = asked.fetch_add(1, Ordering::Relaxed);
                answer.map(|life| (Secret::new(format!("t{nth}")), Duration::from_secs(life)))
            };
            token.get(ask).await.map(|(token, is_new)| (token.expose().to_owned(), is_new))
        };
        let known = |nth: u32, is_new| Ok((format!("t{nth}"), is_new));
        assert_eq!(get(Ok(60)).await, known(0, true));
        assert_eq!(get(Ok(60)).await, known(0, false));
        advance(Duration::from_secs(60)).await;
        assert_eq!(get(Ok(60)).await, known(1, true));

        token.refused(&Secret::new("t0")).await;
        assert_eq!(get(Ok(60)).await, known(1, false), "another one was refused");
        token.refused(&Secret::new("t1")).await;
        assert_eq!(get(Err("no")).await, Err("no"));
        assert_eq!(get(Ok(60)).await, Err("no"), "asked again at once");
        advance(FAILED).await;
        assert_eq!(get(Ok(60)).await, known(3, true));
    }
}
