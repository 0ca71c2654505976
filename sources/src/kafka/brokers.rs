//! The brokers of a cluster and the connections to them. It gives one broker's trouble as that broker's; it never
//! interprets an answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use rustls::ClientConfig;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};
use windlass_decision::Clock;

use super::bearer::Wallet;
use super::config::{Connection, Endpoint};
use super::link::{Answer, Broken, Link, Request};
use super::messages::Broker;
use super::outcome::Problem;
use super::tls;
use crate::NetworkPolicy;

/// How long a broker is waited for that let the last reading wait in vain, while others answer.
const SHORT_PATIENCE: Duration = Duration::from_millis(500);
/// Each so many times it is waited for as long as any other: it may only be slow.
const FULL_PATIENCE_EVERY: u32 = 8;

/// Two readings may be under way at once: that of queries which are well, and that of those which are not.
const SPARE_LINKS: usize = 2;
/// No cluster has more brokers; whoever claims to would have us connect to all the world.
const MAX_BROKERS: usize = 1000;

/// See the module.
pub(super) struct Brokers {
    connection: Connection,
    network: Arc<NetworkPolicy>,
    tls: OnceCell<Arc<ClientConfig>>,
    wallet: Wallet,
    /// Held for moments only.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<i32, Endpoint>,
    /// Connections that nobody uses at the moment.
    links: HashMap<Endpoint, Vec<Link>>,
    /// The brokers that did not answer in time, and how often in a row.
    silent: BTreeMap<Endpoint, u32>,
}

/// The moment halfway from now to `until`.
pub(super) fn half(until: Instant) -> Instant {
    let now = Instant::now();
    now + until.saturating_duration_since(now) / 2
}

impl Brokers {
    pub(super) fn new(connection: Connection, network: Arc<NetworkPolicy>, clock: Arc<dyn Clock>) -> Self {
        let wallet = Wallet::new(Arc::clone(&network), clock);
        Self { connection, network, tls: OnceCell::new(), wallet, state: Mutex::default() }
    }

    pub(super) const fn connection(&self) -> &Connection {
        &self.connection
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the cluster has said who belongs to it.
    pub(super) fn are_known(&self) -> bool {
        !self.lock().nodes.is_empty()
    }

    pub(super) fn close(&self) {
        self.lock().links.clear();
    }

    /// Takes over who belongs to the cluster; connections to others are closed.
    pub(super) fn replace(&self, brokers: Vec<Broker>) {
        self.lock().nodes.clear();
        brokers.into_iter().for_each(|broker| self.add(broker));
        let State { nodes, links, silent } = &mut *self.lock();
        let stays = |at: &Endpoint| self.connection.bootstrap.contains(at) || nodes.values().any(|node| node == at);
        links.retain(|at, _| stays(at));
        silent.retain(|at, _| stays(at));
    }

    pub(super) fn add(&self, (node, host, port): Broker) {
        let nodes = &mut self.lock().nodes;
        if nodes.len() < MAX_BROKERS || nodes.contains_key(&node) {
            nodes.insert(node, Endpoint { host, port });
        }
    }

    /// An answer to something that was not asked.
    pub(super) fn nonsense(&self) -> Problem {
        let at = self.connection.bootstrap.first().cloned();
        at.map_or_else(|| Problem::too_late(&self.connection), |at| Problem::stranger(&self.connection, &at))
    }

    fn candidates(&self) -> Vec<Endpoint> {
        let state = self.lock();
        let mut candidates: Vec<Endpoint> = Vec::new();
        for at in state.nodes.values().chain(&self.connection.bootstrap) {
            if !candidates.contains(at) {
                candidates.push(at.clone());
            }
        }
        candidates.sort_by_key(|at| (state.silent.contains_key(at), !state.links.contains_key(at)));
        candidates
    }

    /// Asks brokers one after the other until one answers: those first that are connected, those last that were silent.
    pub(super) async fn ask_any(&self, request: &Request, until: Instant) -> Result<Answer, Problem> {
        let candidates = self.candidates();
        let mut worst: Option<Problem> = None;
        let count = candidates.len();
        for (nth, at) in candidates.into_iter().enumerate() {
            // The last one may use all the time that is left.
            let limit = if nth + 1 < count { half(until) } else { until };
            let Some((_, answer)) = self.visit(vec![(at, request.clone())], limit).await.pop() else { continue };
            match answer {
                Ok(answer) => return Ok(answer),
                Err(problem) => {
                    let refused = problem.is_of_login();
                    worst = Some(match worst {
                        Some(before) => before.or_worse(problem),
                        None => problem,
                    });
                    // Wrong credentials are wrong everywhere, and a broker may lock a user out who tries too often.
                    if refused || Instant::now() >= until {
                        break;
                    }
                }
            }
        }
        Err(worst.unwrap_or_else(|| Problem::too_late(&self.connection)))
    }

    /// Asks several brokers at once, and gives each one's answer with its node.
    pub(super) async fn ask_each(
        &self,
        requests: Vec<(i32, Request)>,
        until: Instant,
    ) -> Vec<(i32, Result<Answer, Problem>)> {
        let (mut asked, mut visits) = (Vec::new(), Vec::new());
        let mut answers = Vec::new();
        for (node, request) in requests {
            match self.lock().nodes.get(&node) {
                Some(at) => {
                    asked.push(node);
                    visits.push((at.clone(), request));
                }
                None => answers.push((node, Err(Problem::unknown_node(&self.connection, node)))),
            }
        }
        let visited = self.visit(visits, until).await;
        answers.extend(asked.into_iter().zip(visited.into_iter().map(|(_, answer)| answer)));
        answers
    }

    /// Asks each broker one thing, all at once. A connection is out of its place meanwhile: if this is dropped half way, so
    /// is the connection, whose next answer would be to an old question.
    async fn visit(
        &self,
        requests: Vec<(Endpoint, Request)>,
        until: Instant,
    ) -> Vec<(Endpoint, Result<Answer, Problem>)> {
        let tls = match self.prepare_tls().await {
            Ok(tls) => tls,
            Err(problem) => return requests.into_iter().map(|(at, _)| (at, Err(problem.clone()))).collect(),
        };
        let visits: Vec<_> = requests
            .into_iter()
            .map(|(at, request)| {
                let (link, limit) = self.take(&at, until);
                let tls = tls.clone();
                async move {
                    let answer = timeout_at(limit, self.converse(&at, link, (tls, limit), &request)).await;
                    let answer = self.settle(&at, answer.unwrap_or_else(|_| Err(Problem::timeout(&at))));
                    (at, answer)
                }
            })
            .collect();
        join_all(visits).await
    }

    /// A connection to a broker, if one is free, and how long the broker is waited for.
    fn take(&self, at: &Endpoint, until: Instant) -> (Option<Link>, Instant) {
        let mut state = self.lock();
        let silent = state.silent.get(at).copied().unwrap_or(0);
        let others_answer = state.nodes.values().any(|at| !state.silent.contains_key(at));
        let impatient = others_answer && !silent.is_multiple_of(FULL_PATIENCE_EVERY);
        let limit = if impatient { until.min(Instant::now() + SHORT_PATIENCE) } else { until };
        (state.links.get_mut(at).and_then(Vec::pop), limit)
    }

    fn settle(&self, at: &Endpoint, answer: Result<(Link, Answer), Problem>) -> Result<Answer, Problem> {
        let mut state = self.lock();
        match answer {
            Ok((link, answer)) => {
                state.silent.remove(at);
                let links = state.links.entry(at.clone()).or_default();
                if links.len() < SPARE_LINKS {
                    links.push(link);
                }
                Ok(answer)
            }
            Err(problem) => {
                if problem.is_silence() {
                    let silent = state.silent.entry(at.clone()).or_default();
                    *silent = silent.saturating_add(1);
                }
                Err(problem)
            }
        }
    }

    /// One request over the connection there is, or, if that turns out to have been closed since, over a new one.
    async fn converse(
        &self,
        at: &Endpoint,
        link: Option<Link>,
        (tls, limit): (Option<Arc<ClientConfig>>, Instant),
        request: &Request,
    ) -> Result<(Link, Answer), Problem> {
        let problem = |broken: Broken| broken.problem(&self.connection, at);
        if let Some(mut link) = link {
            match link.ask(request).await {
                Ok(answer) => return Ok((link, answer)),
                Err(Broken::Malformed) => return Err(problem(Broken::Malformed)),
                Err(Broken::Io(_)) => {}
            }
        }
        // Who hands out tokens must not take all the time, or the broker would be blamed.
        let open = async || {
            let time = half(limit).saturating_duration_since(Instant::now());
            Link::open(&self.connection, at, tls.clone(), &self.network, (&self.wallet, time)).await
        };
        let mut link = match open().await {
            Err(problem) if problem.worth_another => open().await?,
            opened => opened?,
        };
        let answer = match (link.ask(request).await, link.shown.take()) {
            // A broker ends the connections of a token that has ended, without a word, however long it takes it for a login.
            (Err(Broken::Io(_)), Some(shown)) if self.wallet.refused(&shown) => {
                link = open().await?;
                link.ask(request).await
            }
            (answer, _) => answer,
        };
        Ok((link, answer.map_err(problem)?))
    }

    async fn prepare_tls(&self) -> Result<Option<Arc<ClientConfig>>, Problem> {
        let Some(settings) = &self.connection.tls else { return Ok(None) };
        let prepare = || async {
            let settings = settings.clone();
            let prepared = tokio::task::spawn_blocking(move || tls::client(&settings)).await;
            prepared.unwrap_or_else(|_| Err(Problem::too_late(&self.connection)))
        };
        self.tls.get_or_try_init(prepare).await.cloned().map(Some)
    }
}
