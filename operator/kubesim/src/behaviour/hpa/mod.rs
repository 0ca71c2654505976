//! The HPA controller: when each autoscaler is synced, what it is shown, and what is written of the outcome. The algorithm
//! is [`windlass_decision::hpa`]; nothing is calculated here.

mod convert;
mod metrics;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use windlass_decision::hpa::{
    Observed, Outcome, Phase, Pod as SeenPod, PodValue, Pods, Reading, Ready, Request, Selector, State, sync,
};

use self::convert::{Query, autoscaler};
use self::metrics::{Answer, ask};
use super::json::{NsName, number, text, uid};
use super::pods::{Phase as PodPhase, Pod, PodCache};
use super::settings::Settings;
use super::store::{ChangeKind, Feed, Kind};
use crate::api::{Cluster, Gr, Part};
use crate::load::Loads;

/// As whom the controller asks and writes.
const USER: &str = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";
/// `retry.DefaultRetry` of client-go: how often and how soon a conflict is tried again.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(10);

/// See the module.
#[derive(Debug)]
pub(super) struct Controller {
    context: Arc<Context>,
    known: BTreeMap<NsName, Known>,
    due: BTreeSet<(Instant, NsName)>,
}

/// What every sync uses.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) cluster: Cluster,
    pub(super) settings: Settings,
    pub(super) loads: Option<Loads>,
    pods: PodCache,
}

#[derive(Debug)]
struct Known {
    uid: String,
    state: State,
}

/// The end of a sync.
struct Done {
    key: NsName,
    uid: String,
    state: State,
}

impl Controller {
    pub(super) fn new(cluster: Cluster, settings: Settings, loads: Option<Loads>, pods: PodCache) -> Self {
        let context = Arc::new(Context { cluster, settings, loads, pods });
        Self { context, known: BTreeMap::new(), due: BTreeSet::new() }
    }

    /// Works until it is cancelled or the cluster is gone.
    pub(super) async fn run(mut self, mut feed: Feed, stop: CancellationToken) {
        let mut syncs: FuturesUnordered<BoxFuture<'static, Done>> = FuturesUnordered::new();
        loop {
            let free = syncs.len() < self.context.settings.hpa_workers.max(1);
            let next = self.due.first().map(|(at, _)| *at).filter(|_| free);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                change = feed.next() => match change {
                    Some(change) if change.kind == Kind::Hpa => self.see(&change.object, change.what),
                    Some(_) => {}
                    None => return,
                },
                Some(done) = syncs.next() => self.settle(done),
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    if let Some((_, key)) = self.due.pop_first()
                        && let Some(known) = self.known.get(&key)
                    {
                        let (context, state, uid) = (self.context.clone(), known.state.clone(), known.uid.clone());
                        syncs.push(Box::pin(async move { context.sync(key, uid, state).await }));
                    }
                }
            }
        }
    }

    fn see(&mut self, object: &Arc<Value>, what: ChangeKind) {
        let key = super::json::key(object);
        if what == ChangeKind::Deleted {
            self.known.remove(&key);
            self.due.retain(|(_, waiting)| *waiting != key);
            return;
        }
        let is_new = self.known.get(&key).is_none_or(|known| known.uid != uid(object));
        if is_new {
            self.known.insert(key.clone(), Known { uid: uid(object).to_owned(), state: State::default() });
            self.due.retain(|(_, waiting)| *waiting != key);
            self.schedule(key);
        }
    }

    fn settle(&mut self, done: Done) {
        if let Some(known) = self.known.get_mut(&done.key).filter(|known| known.uid == done.uid) {
            known.state = done.state;
            self.schedule(done.key);
        }
    }

    fn schedule(&mut self, key: NsName) {
        self.due.insert((Instant::now() + self.context.settings.hpa.sync_period, key));
    }
}

impl Context {
    /// One sync of one autoscaler.
    async fn sync(&self, key: NsName, uid: String, state: State) -> Done {
        let next = self.reconcile(&key, &state).await;
        Done { key, uid, state: next.unwrap_or(state) }
    }

    async fn reconcile(&self, key: &NsName, state: &State) -> Option<State> {
        let object = self.cluster.get(Kind::Hpa.gr(), &key.0, &key.1)?;
        let autoscaler = autoscaler(&object);
        let target = &autoscaler.target;
        let kind = self.cluster.kind_named(&target.group, &target.kind);
        let gr = kind.as_ref().map(|kind| (kind.group.as_str(), kind.plural.as_str()));
        let Some((gr, scale)) = gr.and_then(|gr| Some((gr, self.cluster.scale(gr, &key.0, &target.name)?))) else {
            let why = format!("{} {:?} not found", target.kind, target.name);
            self.write_status(&object, &autoscaler, &Outcome::scale_unknown(&why), None, 0);
            return None;
        };
        let replicas = clamp(number(&scale, "/spec/replicas").unwrap_or(0));
        let selector = text(&scale, "/status/selector").to_owned();
        let pods = self.select(&key.0, &selector);
        // At 0 replicas nothing is asked: the sync would not look at it.
        let answers = if replicas == 0 {
            Vec::new()
        } else {
            let mut answers = Vec::with_capacity(autoscaler.queries.len());
            for query in &autoscaler.queries {
                answers.push(ask(self, key, query, target, &pods).await);
            }
            answers
        };
        let now = self.cluster.now();
        let readings: Vec<_> = answers.iter().map(reading).collect();
        let per_pod: Vec<Vec<PodValue<'_>>> = answers.iter().map(|answer| pod_values(answer, now)).collect();
        let readings: Vec<Result<Reading<'_>, &str>> = readings
            .into_iter()
            .zip(&per_pod)
            .map(|(reading, values)| if values.is_empty() { reading } else { Ok(Reading::PerPod(values)) })
            .collect();
        let requests: Vec<Vec<Request<'_>>> = pods.iter().map(|pod| requests(pod, &autoscaler.queries)).collect();
        let listed: Vec<SeenPod<'_>> =
            pods.iter().zip(&requests).map(|(pod, requests)| seen_pod(pod, requests)).collect();
        let observed = Observed {
            spec_replicas: replicas,
            status_replicas: clamp(number(&scale, "/status/replicas").unwrap_or(0)),
            selector: if selector.is_empty() { Selector::Invalid } else { Selector::Good },
            pods: if autoscaler.queries.iter().any(Query::per_pod) {
                Pods::Listed(&listed)
            } else {
                let ready = pods.iter().filter(|pod| pod.serves()).count();
                Pods::Counted { all: count(pods.len()), ready: count(ready) }
            },
            metrics: &readings,
        };
        let mut outcome = sync(&autoscaler.spec, &self.settings.hpa, &observed, state, now);
        if let Some(rescale) = outcome.rescale {
            let event = match self.write_scale(gr, key, &target.name, scale, outcome.desired).await {
                Ok(()) => {
                    outcome.written(&autoscaler.spec, replicas, self.cluster.now());
                    let reason = rescale.describe(&autoscaler.spec);
                    (false, "SuccessfulRescale", format!("New size: {}; reason: {reason}", outcome.desired))
                }
                Err(why) => {
                    outcome.refused(&why);
                    let text = format!("New size: {}; reason: ; error: {why}", outcome.desired);
                    (true, "FailedRescale", text)
                }
            };
            self.tell(&object, event);
        }
        self.write_status(&object, &autoscaler, &outcome.conditions, Some(&outcome), replicas);
        Some(outcome.next)
    }

    fn select(&self, namespace: &str, selector: &str) -> Vec<Arc<Pod>> {
        let Ok(selector) = crate::api::Selector::parse(selector, "") else { return Vec::new() };
        if selector.is_everything() {
            return Vec::new();
        }
        self.pods.select(namespace, |pod| selector.matches(pod))
    }

    /// Writes the replicas; after a conflict again, with the scale read anew and the same number.
    async fn write_scale(&self, gr: Gr<'_>, key: &NsName, name: &str, mut scale: Value, to: i32) -> Result<(), String> {
        let mut tries = 0;
        loop {
            scale["spec"]["replicas"] = json!(to);
            let refused = match self.cluster.update(USER, gr, Part::Scale, (&key.0, name), scale.clone()) {
                Ok(_) => return Ok(()),
                Err(refused) => refused,
            };
            tries += 1;
            if !refused.is_conflict() || tries >= TRIES {
                return Err(refused.message);
            }
            sleep(PAUSE).await;
            scale = self.cluster.scale(gr, &key.0, name).ok_or_else(|| format!("{name:?} not found"))?;
        }
    }
}

fn clamp(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn reading(answer: &Answer) -> Result<Reading<'_>, &str> {
    match answer {
        Answer::External(values) => Ok(Reading::External(values)),
        Answer::PerPod(_) => Ok(Reading::PerPod(&[])),
        Answer::Failed(why) => Err(why),
    }
}

fn pod_values(answer: &Answer, now: jiff::Timestamp) -> Vec<PodValue<'_>> {
    let Answer::PerPod(values) = answer else { return Vec::new() };
    let window = Duration::from_secs(15);
    values.iter().map(|(pod, milli)| PodValue { pod, milli: *milli, at: now, window }).collect()
}

fn seen_pod<'a>(pod: &'a Pod, requests: &'a [Request<'a>]) -> SeenPod<'a> {
    let ready = super::json::list(&pod.object, "/status/conditions").iter().find(|one| text(one, "/type") == "Ready");
    SeenPod {
        name: super::json::name(&pod.object),
        phase: match pod.phase {
            PodPhase::Pending => Phase::Pending,
            PodPhase::Running => Phase::Running,
            PodPhase::Succeeded => Phase::Succeeded,
            PodPhase::Failed => Phase::Failed,
            PodPhase::Unknown => Phase::Unknown,
        },
        ready: ready.map(|condition| Ready {
            status: Some(text(condition, "/status") == "True"),
            since: super::json::time(condition, "/lastTransitionTime").unwrap_or_default(),
        }),
        started: super::json::time(&pod.object, "/status/startTime"),
        deleting: pod.deleting,
        requests,
    }
}

/// What a pod requests of the resources that are asked about.
fn requests<'a>(pod: &Pod, queries: &'a [Query]) -> Vec<Request<'a>> {
    let wanted = queries.iter().filter_map(|query| match query {
        Query::Resource { resource, container } => Some((resource.as_str(), container.as_deref())),
        _ => None,
    });
    wanted
        .filter_map(|(resource, container)| {
            let milli = metrics::requested(&pod.object, resource, container)?;
            Some(Request { resource, container, milli })
        })
        .collect()
}
