//! One sync of one autoscaler: read the target's scale, ask for the metrics, call the algorithm, write what it says. It keeps
//! nothing from one sync to the next but the selectors and the events it has told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;
use windlass_decision::hpa::{
    Observed, Outcome, Phase, Pod as SeenPod, PodValue, Pods, Reading, Ready, Request, Selector as Worth, State, sync,
};

use super::USER;
use super::convert::{Autoscaler, Query, autoscaler};
use super::events::Teller;
use super::metrics::{Answer, ask};
use crate::api::{Cluster, Gr, Part, Selector};
use crate::behaviour::json::{NsName, list, name, number, text, time};
use crate::behaviour::pod_metrics::{PodMetrics, requested};
use crate::behaviour::pods::{Phase as PodPhase, Pod, PodCache};
use crate::behaviour::settings::Settings;

/// `retry.DefaultRetry` of client-go: how often and how soon a conflict is tried again.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(10);

/// What every sync uses.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) cluster: Cluster,
    pub(super) settings: Settings,
    pub(super) pod_metrics: PodMetrics,
    pub(super) teller: Teller,
    pods: PodCache,
    /// The pods that each autoscaler was last seen to control, by its name.
    selectors: Mutex<BTreeMap<NsName, Selector>>,
}

/// The target of an autoscaler as it was read.
struct Scaled {
    group: String,
    plural: String,
    scale: Value,
}

impl Context {
    pub(super) fn new(cluster: Cluster, settings: Settings, pods: PodCache, pod_metrics: PodMetrics) -> Self {
        let teller = Teller::new(settings.events);
        Self { cluster, settings, pod_metrics, teller, pods, selectors: Mutex::default() }
    }

    pub(super) fn workers(&self) -> usize {
        self.settings.hpa_workers.max(1)
    }

    /// The pods of an autoscaler that is gone belong to nobody.
    pub(super) fn forget_selector(&self, key: &NsName) {
        self.selectors().remove(key);
    }

    /// One sync. `None`: nothing was learnt that the next one must know.
    pub(super) async fn reconcile(&self, key: &NsName, object: &Arc<Value>, state: &State) -> Option<State> {
        let autoscaler = autoscaler(object);
        let scaled = match self.read_scale(key, &autoscaler) {
            Ok(scaled) => scaled,
            Err(why) => {
                self.tell(object, true, "FailedGetScale", &why);
                self.write_status(object, &autoscaler, &Outcome::scale_unknown(&why), None, 0);
                return None;
            }
        };
        let mut outcome = self.decide(key, &autoscaler, &scaled.scale, state).await;
        self.tell_failures(object, &autoscaler, &outcome);
        let replicas = clamp(number(&scaled.scale, "/spec/replicas").unwrap_or(0));
        if let Some(rescale) = outcome.rescale {
            let reason = rescale.describe(&autoscaler.spec);
            let size = outcome.desired;
            match self.write_scale(key, &autoscaler.target.name, scaled, size).await {
                Ok(()) => {
                    outcome.written(&autoscaler.spec, replicas, self.cluster.now());
                    self.tell(object, false, "SuccessfulRescale", &format!("New size: {size}; reason: {reason}"));
                }
                Err(why) => {
                    outcome.refused(&why);
                    let message = format!("New size: {size}; reason: {reason}; error: {why}");
                    self.tell(object, true, "FailedRescale", &message);
                }
            }
        }
        self.write_status(object, &autoscaler, &outcome.conditions, Some(&outcome), replicas);
        Some(outcome.next)
    }

    fn read_scale(&self, key: &NsName, autoscaler: &Autoscaler) -> Result<Scaled, String> {
        let target = &autoscaler.target;
        let kind = self
            .cluster
            .kind_named(&target.group, &target.kind)
            .ok_or_else(|| format!("no matches for kind {:?} in group {:?}", target.kind, target.group))?;
        let scale = self
            .cluster
            .scale((&kind.group, &kind.plural), &key.0, &target.name)
            .ok_or_else(|| format!("{} {:?} not found", kind.qualified(), target.name))?;
        Ok(Scaled { group: kind.group.clone(), plural: kind.plural.clone(), scale })
    }

    /// What the algorithm says to what is seen now. The metrics are asked for one after the other, and only where the
    /// algorithm looks at them: not at 0 replicas, nor where a bound decides.
    async fn decide(&self, key: &NsName, autoscaler: &Autoscaler, scale: &Value, state: &State) -> Outcome {
        let replicas = clamp(number(scale, "/spec/replicas").unwrap_or(0));
        let selector = text(scale, "/status/selector");
        let spec = &autoscaler.spec;
        let looks = replicas != 0 && replicas <= spec.max && replicas >= spec.min;
        let parsed = Selector::parse(selector, "").ok().filter(|parsed| !parsed.is_everything());
        let pods = match &parsed {
            Some(parsed) if looks => self.pods.select(&key.0, |pod| parsed.matches(pod)),
            _ => Vec::new(),
        };
        let worth = match &parsed {
            None => Worth::Invalid,
            Some(parsed) if looks && self.is_shared(key, parsed, &pods) => Worth::Ambiguous,
            Some(_) => Worth::Good,
        };
        let mut answers = Vec::new();
        if looks && worth == Worth::Good {
            for query in &autoscaler.queries {
                answers.push(ask(self, key, query, selector).await);
            }
        }
        let values: Vec<Vec<PodValue<'_>>> = answers.iter().map(Answer::values).collect();
        let readings: Vec<Result<Reading<'_>, &str>> = answers
            .iter()
            .zip(&values)
            .map(|(answer, values)| match answer {
                Answer::External(values) => Ok(Reading::External(values)),
                Answer::Object(value) => Ok(Reading::Object(*value)),
                Answer::PerPod(_) => Ok(Reading::PerPod(values)),
                Answer::Failed(why) => Err(why.as_str()),
            })
            .collect();
        // The answers took time: the pods are looked at as they are now.
        let pods = match &parsed {
            Some(parsed) if !answers.is_empty() => self.pods.select(&key.0, |pod| parsed.matches(pod)),
            _ => pods,
        };
        let requests: Vec<Vec<Request<'_>>> = pods.iter().map(|pod| requests(pod, &autoscaler.queries)).collect();
        let listed: Vec<SeenPod<'_>>;
        let pods = if autoscaler.queries.iter().any(Query::per_pod) {
            listed = pods.iter().zip(&requests).map(|(pod, requests)| seen(pod, requests)).collect();
            Pods::Listed(&listed)
        } else {
            Pods::Counted { all: count(pods.len()), ready: count(pods.iter().filter(|pod| pod.serves()).count()) }
        };
        let observed = Observed {
            spec_replicas: replicas,
            status_replicas: clamp(number(scale, "/status/replicas").unwrap_or(0)),
            selector: worth,
            pods,
            metrics: &readings,
        };
        sync(spec, &self.settings.hpa, &observed, state, self.cluster.now())
    }

    /// Whether another autoscaler controls one of the pods. Notes what this one controls.
    fn is_shared(&self, key: &NsName, selector: &Selector, pods: &[Arc<Pod>]) -> bool {
        let mut selectors = self.selectors();
        selectors.insert(key.clone(), selector.clone());
        let beside = selectors.range((key.0.clone(), String::new())..).take_while(|(other, _)| other.0 == key.0);
        let mut others = beside.filter(|(other, _)| *other != key);
        others.any(|(_, other)| pods.iter().any(|pod| other.matches(&pod.object)))
    }

    /// Writes the replicas; after a conflict again, with the scale read anew and the same number.
    async fn write_scale(&self, key: &NsName, target: &str, scaled: Scaled, to: i32) -> Result<(), String> {
        let gr: Gr<'_> = (&scaled.group, &scaled.plural);
        let mut scale = scaled.scale;
        let mut tries = 0;
        loop {
            scale["spec"]["replicas"] = json!(to);
            let refused = match self.cluster.update(USER, gr, Part::Scale, (&key.0, target), scale.clone()) {
                Ok(_) => return Ok(()),
                Err(refused) => refused,
            };
            if let Some(latest) = self.cluster.scale(gr, &key.0, target) {
                scale = latest;
            }
            tries += 1;
            if !refused.is_conflict() || tries >= TRIES {
                return Err(refused.message);
            }
            sleep(PAUSE).await;
        }
    }

    fn selectors(&self) -> MutexGuard<'_, BTreeMap<NsName, Selector>> {
        self.selectors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn clamp(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn seen<'a>(pod: &'a Pod, requests: &'a [Request<'a>]) -> SeenPod<'a> {
    let ready = list(&pod.object, "/status/conditions").iter().find(|one| text(one, "/type") == "Ready");
    SeenPod {
        name: name(&pod.object),
        phase: match pod.phase {
            PodPhase::Pending => Phase::Pending,
            PodPhase::Running => Phase::Running,
            PodPhase::Succeeded => Phase::Succeeded,
            PodPhase::Failed => Phase::Failed,
            PodPhase::Unknown => Phase::Unknown,
        },
        ready: ready.map(|condition| Ready {
            status: match text(condition, "/status") {
                "True" => Some(true),
                "False" => Some(false),
                _ => None,
            },
            since: time(condition, "/lastTransitionTime").unwrap_or_default(),
        }),
        started: time(&pod.object, "/status/startTime"),
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
            let milli = requested(&pod.object, resource, container)?;
            Some(Request { resource, container, milli })
        })
        .collect()
}
