//! A cluster: which brokers there are, who leads and coordinates what, and one round of requests that answers many queries.
//! It reads offsets only: it never joins a group, commits, consumes or creates anything, and never judges a lag.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use windlass_decision::{Clock, FailureKind};

use super::brokers::{Brokers, half};
use super::config::{Connection, Query};
use super::link::{Answer, Request};
use super::messages::{Code, Commits, Leaders, Metadata, Places, Wanted};
use super::outcome::Problem;
use super::vanished::Remembered;
use crate::NetworkPolicy;

/// How long is believed who leads which partition, and how many there are, while nobody contradicts.
const METADATA_AGE: Duration = Duration::from_secs(2);
/// After how long a topic that nobody asks for is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// How often a coordinator that moves or starts is asked in one reading, and the pause between.
const SETTLING_TRIES: usize = 3;
const SETTLING_PAUSE: Duration = Duration::from_millis(150);
/// Coordinators of groups that nobody asks for any more are kept up to here.
const SPARE_COORDINATORS: usize = 1000;

/// See the module.
pub(super) struct Cluster {
    brokers: Brokers,
    /// Held for moments only, so that a reading which waits for a broker keeps no other from being answered.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    topics: BTreeMap<String, Topic>,
    /// The node that coordinates each group.
    coordinators: HashMap<String, i32>,
    commits: Remembered,
}

struct Topic {
    leaders: Result<Arc<Leaders>, Code>,
    learnt: Instant,
    /// Whether something was not as it was learnt.
    doubtful: bool,
}

/// A partition as read: its topic, its number, its end and the group's commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) end: i64,
    pub(super) committed: Option<i64>,
}

type AllCommits = HashMap<String, Result<Commits, Problem>>;
type AllEnds = BTreeMap<String, BTreeMap<i32, Result<i64, Problem>>>;

impl Cluster {
    pub(super) fn new(connection: Connection, network: Arc<NetworkPolicy>, clock: Arc<dyn Clock>) -> Self {
        Self { brokers: Brokers::new(connection, network, clock), known: Mutex::default() }
    }

    /// Closes all connections.
    pub(super) fn close(&self) {
        self.brokers.close();
    }

    /// Reads what the queries are about. One request a topic leader and one a coordinator, for all queries together. Each
    /// step leaves time for the next, so that a broker which hangs takes none from what the others answer.
    pub(super) async fn read(&self, queries: &[&Query], until: Instant) -> Vec<Result<Vec<Place>, Problem>> {
        let named = queries.iter().filter_map(|query| query.topic.clone()).collect();
        if let Err(problem) = self.learn(named, half(until)).await {
            return queries.iter().map(|_| Err(problem.clone())).collect();
        }
        // Commits first: what is produced meanwhile is lag, where the other order would hide as much.
        let commits = self.commits(self.groups(queries), half(until)).await;
        let found = queries.iter().filter(|query| query.topic.is_none());
        let found = found.filter_map(|query| commits.get(&query.group)?.as_ref().ok());
        let found = found.flat_map(|commits| commits.keys().cloned()).collect();
        let not_learnt = self.learn(found, half(until)).await.err();
        let mut places = BTreeMap::<String, BTreeSet<i32>>::new();
        for query in queries {
            for (topic, partitions) in self.scope(query, &commits).unwrap_or_default() {
                places.entry(topic).or_default().extend(partitions);
            }
        }
        let ends =
            self.ends(places.into_iter().map(|(topic, all)| (topic, all.into_iter().collect())).collect(), until).await;
        let answer = |query: &&Query| match &not_learnt {
            Some(problem) if query.topic.is_none() => Err(problem.clone()),
            _ => self.answer(query, &commits, &ends),
        };
        queries.iter().map(answer).collect()
    }

    /// Makes sure that it is known who leads the partitions of `topics`, and which brokers there are.
    async fn learn(&self, topics: BTreeSet<String>, until: Instant) -> Result<(), Problem> {
        let now = Instant::now();
        let fresh = |topic: &Topic| !topic.doubtful && now.duration_since(topic.learnt) < METADATA_AGE;
        let unknown: Vec<String> = {
            let known = self.lock();
            topics.into_iter().filter(|name| !known.topics.get(name).is_some_and(fresh)).collect()
        };
        if unknown.is_empty() && self.brokers.are_known() {
            return Ok(());
        }
        let Answer::Metadata(Metadata { brokers, topics }) =
            self.brokers.ask_any(&Request::Metadata(unknown.clone()), until).await?
        else {
            return Err(self.brokers.nonsense());
        };
        self.brokers.replace(brokers);
        let learnt = Instant::now();
        let mut known = self.lock();
        known.topics.retain(|_, topic| learnt.duration_since(topic.learnt) < FORGET_AFTER);
        for (name, leaders) in topics {
            let doubtful = leaders.as_ref().map_or(true, |leaders| leaders.values().any(Result::is_err));
            known.topics.insert(name, Topic { leaders: leaders.map(Arc::new), learnt, doubtful });
        }
        for name in unknown {
            // An answer that leaves a topic out says no more than that it cannot be told about at present.
            let silent = || Topic { leaders: Err(Code::LEADER_NOT_AVAILABLE), learnt, doubtful: true };
            known.topics.entry(name).or_insert_with(silent);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leaders(&self, topic: &str) -> Result<Arc<Leaders>, Code> {
        self.lock().topics.get(topic).map_or(Err(Code::LEADER_NOT_AVAILABLE), |topic| topic.leaders.clone())
    }

    /// What is asked of each group: all queries of a group in one.
    fn groups(&self, queries: &[&Query]) -> Vec<Wanted> {
        let mut groups = BTreeMap::<&str, Option<BTreeMap<&str, BTreeSet<i32>>>>::new();
        for query in queries {
            match &query.topic {
                None => _ = groups.insert(&query.group, None),
                Some(topic) => {
                    let Ok(leaders) = self.leaders(topic) else { continue };
                    // Whoever asks for all of the group's commits gets these too.
                    if let Some(places) = groups.entry(&query.group).or_insert_with(|| Some(BTreeMap::new())) {
                        places.entry(topic).or_default().extend(partitions(query, &leaders));
                    }
                }
            }
        }
        let owned = |(topic, all): (&str, BTreeSet<i32>)| (topic.to_owned(), all.into_iter().collect());
        groups
            .into_iter()
            .map(|(group, places)| (group.to_owned(), places.map(|places| places.into_iter().map(owned).collect())))
            .collect()
    }

    /// The commits of groups, from their coordinators.
    async fn commits(&self, groups: Vec<Wanted>, until: Instant) -> AllCommits {
        {
            let mut known = self.lock();
            if known.coordinators.len() > groups.len() + SPARE_COORDINATORS {
                known.coordinators.clear();
                known.commits.clear();
            }
        }
        let mut results = AllCommits::new();
        let mut open: BTreeMap<String, Option<Places>> = groups.into_iter().collect();
        for attempt in 0..SETTLING_TRIES {
            if open.is_empty() || (attempt > 0 && timeout_at(until, sleep(SETTLING_PAUSE)).await.is_err()) {
                break;
            }
            self.find_coordinators(&mut open, &mut results, until).await;
            let mut requests = BTreeMap::<i32, Vec<Wanted>>::new();
            for (group, places) in &open {
                if let Some(node) = self.lock().coordinators.get(group) {
                    requests.entry(*node).or_default().push((group.clone(), places.clone()));
                }
            }
            let asked: Vec<_> =
                requests.iter().map(|(node, groups)| (*node, Request::Commits(groups.clone()))).collect();
            for (node, answer) in self.brokers.ask_each(asked, until).await {
                let groups = requests.remove(&node).unwrap_or_default();
                self.take_commits(groups, answer, &mut open, &mut results);
            }
        }
        results
    }

    /// Finds who coordinates the open groups. A group that cannot be coordinated at all is open no more.
    async fn find_coordinators(
        &self,
        open: &mut BTreeMap<String, Option<Places>>,
        results: &mut AllCommits,
        until: Instant,
    ) {
        let unknown: Vec<String> = {
            let known = self.lock();
            open.keys().filter(|group| !known.coordinators.contains_key(*group)).cloned().collect()
        };
        if unknown.is_empty() {
            return;
        }
        let found = match self.brokers.ask_any(&Request::Coordinators(unknown.clone()), half(until)).await {
            Ok(Answer::Coordinators(found)) => found,
            Ok(_) => Vec::new(),
            Err(problem) => {
                for group in unknown {
                    open.remove(&group);
                    results.insert(group, Err(problem.clone()));
                }
                return;
            }
        };
        for (group, coordinator) in found {
            match coordinator {
                Ok(broker) => {
                    self.lock().coordinators.insert(group, broker.0);
                    self.brokers.add(broker);
                }
                Err(code) => {
                    if !code.is_settling() {
                        open.remove(&group);
                    }
                    let problem = Problem::group(self.brokers.connection(), &group, code);
                    results.insert(group, Err(problem));
                }
            }
        }
    }

    fn take_commits(
        &self,
        groups: Vec<Wanted>,
        answer: Result<Answer, Problem>,
        open: &mut BTreeMap<String, Option<Places>>,
        results: &mut AllCommits,
    ) {
        let answers = match answer {
            Ok(Answer::Commits(answers)) => answers,
            Ok(_) => Vec::new(),
            Err(problem) => {
                for (group, _) in groups {
                    // It may have moved from a broker that is gone: whoever coordinates it now is looked for again.
                    self.lock().coordinators.remove(&group);
                    if problem.kind != FailureKind::Unreachable {
                        open.remove(&group);
                    }
                    results.insert(group, Err(problem.clone()));
                }
                return;
            }
        };
        let now = Instant::now();
        let mut asked: HashMap<String, Option<Places>> = groups.into_iter().collect();
        for (group, commits) in answers {
            let mut known = self.lock();
            let settling = commits.as_ref().is_err_and(|code| code.is_settling());
            let asked = asked.remove(&group).flatten();
            let result = match commits {
                Ok(commits) if !known.commits.believes(&group, asked.as_ref(), &commits, now) => {
                    Err(Problem::vanished(&group))
                }
                Ok(commits) => Ok(commits),
                Err(code) => {
                    if settling {
                        known.coordinators.remove(&group);
                    }
                    Err(Problem::group(self.brokers.connection(), &group, code))
                }
            };
            if !settling {
                open.remove(&group);
            }
            results.insert(group, result);
        }
    }

    /// The ends of partitions, from their leaders.
    async fn ends(&self, places: Places, until: Instant) -> AllEnds {
        let mut results = AllEnds::new();
        let mut open = places;
        for last in [false, true] {
            let mut requests = BTreeMap::<i32, Places>::new();
            for (topic, partitions) in &open {
                for &partition in partitions {
                    let leader = self
                        .leaders(topic)
                        .and_then(|leaders| leaders.get(&partition).copied().unwrap_or(Err(Code::UNKNOWN_TOPIC)));
                    match leader {
                        Ok(node) => requests.entry(node).or_default().entry(topic.clone()).or_default().push(partition),
                        Err(code) => self.put_end(&mut results, topic, partition, Err(code)),
                    }
                }
            }
            let asked = requests.iter().map(|(node, places)| (*node, Request::Ends(places.clone()))).collect();
            for (node, answer) in self.brokers.ask_each(asked, if last { until } else { half(until) }).await {
                let mut answer =
                    answer.map(|answer| if let Answer::Ends(ends) = answer { ends } else { BTreeMap::new() });
                for (topic, partitions) in requests.remove(&node).unwrap_or_default() {
                    for partition in partitions {
                        let end = match &mut answer {
                            Ok(ends) => ends.get_mut(&topic).and_then(|ends| ends.remove(&partition)),
                            Err(problem) => {
                                results.entry(topic.clone()).or_default().insert(partition, Err(problem.clone()));
                                self.doubt(&topic);
                                continue;
                            }
                        };
                        self.put_end(&mut results, &topic, partition, end.unwrap_or(Err(Code::LEADER_NOT_AVAILABLE)));
                    }
                }
            }
            open = if last { Places::new() } else { self.moved(&results, until).await };
            if open.is_empty() {
                break;
            }
        }
        results
    }

    fn put_end(&self, results: &mut AllEnds, topic: &str, partition: i32, end: Result<i64, Code>) {
        if end.is_err_and(Code::is_moved) {
            self.doubt(topic);
        }
        let end = end.map_err(|code| Problem::partition(self.brokers.connection(), topic, partition, code));
        results.entry(topic.to_owned()).or_default().insert(partition, end);
    }

    fn doubt(&self, topic: &str) {
        if let Some(topic) = self.lock().topics.get_mut(topic) {
            topic.doubtful = true;
        }
    }

    /// The partitions without an end that have another leader by now.
    async fn moved(&self, results: &AllEnds, until: Instant) -> Places {
        let doubtful = |name: &String| self.lock().topics.get(name).is_some_and(|topic| topic.doubtful);
        let topics: BTreeSet<String> = results.keys().filter(|name| doubtful(name)).cloned().collect();
        let before: BTreeMap<_, _> =
            topics.iter().filter_map(|name| Some((name.clone(), self.leaders(name).ok()?))).collect();
        let mut moved = Places::new();
        if topics.is_empty() || self.learn(topics, half(until)).await.is_err() {
            return moved;
        }
        for (topic, before) in before {
            let Ok(now) = self.leaders(&topic) else { continue };
            let failed = results.get(&topic).into_iter().flatten().filter(|(_, end)| end.is_err());
            let elsewhere = |partition: &i32| {
                now.get(partition).is_some_and(|leader| leader.is_ok() && before.get(partition) != Some(leader))
            };
            let partitions: Vec<i32> = failed.map(|(partition, _)| *partition).filter(elsewhere).collect();
            if !partitions.is_empty() {
                moved.insert(topic, partitions);
            }
        }
        moved
    }

    /// The partitions that count for a query, by topic.
    fn scope(&self, query: &Query, commits: &AllCommits) -> Result<Places, Problem> {
        let connection = self.brokers.connection();
        let Some(topic) = &query.topic else {
            let each = self.commits_of(query, commits)?.keys().map(|topic| match self.leaders(topic) {
                Ok(leaders) => Ok((topic.clone(), leaders.keys().copied().collect())),
                Err(code) => Err(Problem::topic_of_group(connection, &query.group, topic, code)),
            });
            let places = each.collect::<Result<Places, _>>()?;
            if places.is_empty() {
                return Err(Problem::group_without_commits(&query.group));
            }
            return Ok(places);
        };
        let leaders = self.leaders(topic).map_err(|code| Problem::topic(connection, topic, code))?;
        let chosen: Vec<i32> = partitions(query, &leaders).collect();
        if chosen.is_empty() {
            return Err(Problem::no_such_partition(topic, leaders.len()));
        }
        Ok(Places::from([(topic.clone(), chosen)]))
    }

    fn commits_of<'c>(&self, query: &Query, commits: &'c AllCommits) -> Result<&'c Commits, Problem> {
        match commits.get(&query.group) {
            Some(Ok(commits)) => Ok(commits),
            Some(Err(problem)) => Err(problem.clone()),
            None => Err(Problem::too_late(self.brokers.connection())),
        }
    }

    fn answer(&self, query: &Query, commits: &AllCommits, ends: &AllEnds) -> Result<Vec<Place>, Problem> {
        let connection = self.brokers.connection();
        let places = self.scope(query, commits)?;
        let missing = || Err(Problem::too_late(connection));
        let committed = self.commits_of(query, commits)?;
        let mut read = Vec::new();
        for (topic, partitions) in places {
            let committed = committed.get(&topic);
            for partition in partitions {
                let end = ends.get(&topic).and_then(|ends| ends.get(&partition)).cloned().unwrap_or_else(missing)?;
                let refused = |code| Problem::partition(connection, &topic, partition, code);
                let commit = committed.and_then(|commits| commits.get(&partition)).copied().unwrap_or(Ok(None));
                read.push(Place { topic: topic.clone(), partition, end, committed: commit.map_err(refused)? });
            }
        }
        Ok(read)
    }
}

fn partitions(query: &Query, leaders: &Leaders) -> impl Iterator<Item = i32> {
    let counts = |partition: &i32| query.partitions.as_ref().is_none_or(|chosen| chosen.contains(*partition));
    leaders.keys().copied().filter(counts)
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
