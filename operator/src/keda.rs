//! What the operator has to know of KEDA itself where it serves KEDA's objects: whether KEDA lives (its Lease, and who serves
//! the external metrics API), and which fields the status of the installed resource type has. It looks; it never writes
//! anything of KEDA's.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::ListParams;
use kube::runtime::watcher;
use kube::{Api, Client};
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use windlass_crd::{Group, ScaledObjectStatus};

use crate::backoff::WatchBackoff;
use crate::cache::{Cache, Scope, keep};
use crate::certificates::{API_SERVICE, SERVICE};
use crate::key::ObjectKey;

/// The name of KEDA's Lease, in whatever namespace it runs.
const LEASE: &str = "operator.keda.sh";
/// The name of the resource type.
const CRD: &str = "scaledobjects.keda.sh";
/// How long after its Lease has run out or was given up KEDA is waited for: it may be restarted, and clocks differ.
const GRACE: SignedDuration = SignedDuration::from_secs(30);

/// How often the signs of KEDA are looked at. The Lease is listed and not watched: a watch that hangs would make KEDA look dead.
const LOOK: Duration = Duration::from_secs(5);
/// A look that is older than this says nothing any more.
const STALE: Duration = Duration::from_secs(20);

/// What was seen of KEDA, and when.
#[derive(Debug, Clone)]
struct Looked {
    at: Instant,
    /// Until when its Lease lasts; `None` if there is none.
    until: Option<Timestamp>,
    /// The Service that answers the external metrics API, if it is not ours.
    server: Option<Arc<str>>,
}

/// A sign that KEDA lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sign {
    /// Nobody knows whether it does.
    Unknown,
    /// Its Lease lasts.
    Lease,
    /// It answers the external metrics API, by this Service.
    Metrics(Arc<str>),
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => write!(
                f,
                "KEDA's Lease {LEASE} or the APIService {API_SERVICE} cannot be read, so that Windlass only watches the objects of \
                 keda.sh; check the operator's rights"
            ),
            Self::Lease => write!(
                f,
                "KEDA itself runs, or did so just now (its Lease {LEASE}), so that Windlass only watches the objects of keda.sh; it \
                 takes over once the Lease has run out"
            ),
            Self::Metrics(service) => write!(
                f,
                "the external metrics API is served by {service}, so that Windlass only watches the objects of keda.sh; stop KEDA \
                 and apply deploy/manifests/60-apiservice.yaml"
            ),
        }
    }
}

/// The Service that answers the external metrics API, if it is KEDA's by its name or by the label that KEDA's chart and
/// manifests set. One that does not answer is no sign of life, and another's is none of KEDA.
fn kedas_server(service: &APIService) -> Option<Arc<str>> {
    let owner = service.spec.as_ref()?.service.as_ref()?;
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let (name, place) = (part(&owner.name), part(&owner.namespace));
    let conditions = service.status.as_ref().and_then(|status| status.conditions.as_ref())?;
    let answers = conditions.iter().any(|condition| condition.type_ == "Available" && condition.status == "True");
    let labels = service.metadata.labels.as_ref();
    let part_of = labels.and_then(|labels| labels.get("app.kubernetes.io/part-of")).map_or("", String::as_str);
    // The label stays where our APIService was applied over KEDA's.
    let is_kedas = name != SERVICE && (name.contains("keda") || part_of.contains("keda"));
    (answers && is_kedas).then(|| format!("{place}/{name}").into())
}

/// Until when KEDA leads, by one Lease. One that was given up counts too: whoever gives it up may be on its way to come back.
fn held_until(lease: &Lease) -> Option<Timestamp> {
    let spec = lease.spec.as_ref()?;
    let duration = SignedDuration::from_secs(spec.lease_duration_seconds.unwrap_or(15).into());
    spec.renew_time.as_ref().and_then(|time| time.0.checked_add(duration + GRACE).ok())
}

/// The fields that the status of the installed type has: applying another is refused by the API server.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape(Value);

impl From<CustomResourceDefinition> for Shape {
    fn from(crd: CustomResourceDefinition) -> Self {
        let version = crd.spec.versions.into_iter().find(|version| version.name == windlass_crd::VERSION);
        let schema = version.and_then(|version| version.schema).and_then(|schema| schema.open_api_v3_schema);
        let schema = schema.and_then(|schema| serde_json::to_value(schema).ok()).unwrap_or_default();
        Self(schema.pointer("/properties/status").cloned().unwrap_or_default())
    }
}

impl Shape {
    /// What every version of KEDA that is in use has: for as long as the installed type cannot be read.
    fn common() -> Self {
        let text = serde_json::json!({"type": "string"});
        let condition = serde_json::json!({"message": text, "reason": text, "status": text, "type": text});
        Self(serde_json::json!({"properties": {
            "conditions": {"items": {"properties": condition}},
            "externalMetricNames": {}, "hpaName": text, "lastActiveTime": text, "originalReplicaCount": {},
            "pausedReplicaCount": {}, "resourceMetricNames": {}, "scaleTargetKind": text,
            "scaleTargetGVKR": {"properties": {"group": text, "kind": text, "resource": text, "version": text}},
            "health": {"additionalProperties": {"properties": {"numberOfFailures": {}, "status": text}}},
        }}))
    }

    /// The same status without what the type does not have.
    #[must_use]
    pub fn fitted(&self, status: &ScaledObjectStatus) -> ScaledObjectStatus {
        let Ok(whole) = serde_json::to_value(status) else { return status.clone() };
        ScaledObjectStatus::read(pruned(whole, &self.0))
    }
}

/// `value` without the fields that `schema` does not declare.
fn pruned(value: Value, schema: &Value) -> Value {
    match value {
        Value::Object(fields) if schema["x-kubernetes-preserve-unknown-fields"] != true => {
            let more = schema.get("additionalProperties").filter(|more| more.is_object());
            let properties = schema.get("properties");
            if properties.is_none() && more.is_none() {
                return Value::Object(if schema.is_object() && schema["type"] != "object" {
                    fields
                } else {
                    Map::new()
                });
            }
            let kept = fields.into_iter().filter_map(|(name, value)| {
                let schema = properties.and_then(|properties| properties.get(&name)).or(more)?;
                Some((name, pruned(value, schema)))
            });
            Value::Object(kept.collect())
        }
        Value::Array(items) => match schema.get("items") {
            Some(schema) => items.into_iter().map(|item| pruned(item, schema)).collect(),
            None => Value::Array(items),
        },
        other => other,
    }
}

/// What is known of KEDA.
#[derive(Debug)]
pub struct Keda {
    looked: watch::Sender<Option<Looked>>,
    shapes: Arc<Cache<Shape>>,
}

impl Keda {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        let scope = [Scope { is_optional: true, ..Scope::default() }];
        Self { looked: watch::Sender::new(None), shapes: Arc::new(Cache::new(&scope)) }
    }

    /// The sign that KEDA lives at `now`, if there is one: so long its objects are its own. That nobody knows is one.
    #[must_use]
    pub fn sign(&self, now: Timestamp) -> Option<Sign> {
        match &*self.looked.borrow() {
            Some(Looked { at, until, server }) if at.elapsed() < STALE => {
                let leads = until.is_some_and(|until| until > now);
                leads.then_some(Sign::Lease).or_else(|| server.clone().map(Sign::Metrics))
            }
            _ => Some(Sign::Unknown),
        }
    }

    /// A status with the fields that objects of `group` have.
    #[must_use]
    pub fn fitted(&self, group: Group, status: ScaledObjectStatus) -> ScaledObjectStatus {
        if group == Group::Windlass {
            return status;
        }
        match self.shapes.get(&ObjectKey::new("", CRD)) {
            Some(shape) => shape.fitted(&status),
            None => Shape::common().fitted(&status),
        }
    }

    /// Waits until the resource type and the signs of life have been looked for.
    pub async fn listed(&self) {
        self.shapes.listed().await;
        // The sender lives in `self`, so this cannot fail.
        let _ = self.looked.subscribe().wait_for(Option::is_some).await;
    }

    /// Looks for signs of life for ever.
    pub(crate) async fn look_out(&self, client: Client) {
        let services: Api<APIService> = Api::all(client.clone());
        let api: Api<Lease> = Api::all(client);
        let named = ListParams::default().fields(&format!("metadata.name={LEASE}"));
        let mut failing = false;
        loop {
            let at = Instant::now();
            let both = async { tokio::try_join!(api.list(&named), services.get_opt(API_SERVICE)) };
            match tokio::time::timeout(LOOK, both).await {
                Ok(Ok((leases, service))) => {
                    failing = false;
                    let until = leases.items.iter().filter_map(held_until).max();
                    let server = service.and_then(|service| kedas_server(&service));
                    self.looked.send_replace(Some(Looked { at, until, server }));
                }
                failed if !std::mem::replace(&mut failing, true) => {
                    let why = failed.map_or_else(
                        |_| "no answer in time".to_owned(),
                        |result| result.err().map(|error| error.to_string()).unwrap_or_default(),
                    );
                    tracing::warn!(
                        why,
                        "KEDA's Lease {LEASE} or APIService {API_SERVICE} cannot be read; KEDA's objects are left alone until they can be"
                    );
                }
                _ => {}
            }
            sleep_until(at + LOOK).await;
        }
    }

    /// Watches the resource type for ever.
    pub(crate) async fn watch_type(&self, client: Client, backoff: WatchBackoff) {
        let scope = Scope { is_optional: true, ..Scope::default() };
        let api: Api<CustomResourceDefinition> = Api::all(client);
        let config = watcher::Config::default().timeout(240).fields(&format!("metadata.name={CRD}"));
        keep(CRD, (scope, api), (config, backoff), self.shapes.clone(), Shape::from, |_: &ObjectKey| {}).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status() -> ScaledObjectStatus {
        ScaledObjectStatus::read(json!({
            "observedGeneration": 3, "hpaName": "keda-hpa-x", "externalMetricNames": ["s0-x"],
            "conditions": [{"type": "Ready", "status": "True", "reason": "R", "message": "m", "observedGeneration": 3,
                "lastTransitionTime": "2026-11-26T00:00:00Z"}],
            "triggersActivity": {"s0-x": {"isActive": true}},
            "scaleTargetGVKR": {"group": "apps", "kind": "Deployment", "resource": "deployments", "version": "v1"},
            "lastActiveTime": "2026-11-26T00:00:00Z", "originalReplicaCount": 0,
        }))
    }

    #[test]
    fn a_status_has_the_fields_of_the_installed_type_and_no_other() {
        let fitted = serde_json::to_value(Shape::common().fitted(&status())).expect("JSON");
        assert_eq!(fitted["conditions"], json!([{"type": "Ready", "status": "True", "reason": "R", "message": "m"}]));
        assert!(fitted.get("observedGeneration").is_none() && fitted.get("triggersActivity").is_none(), "{fitted}");
        for field in ["hpaName", "externalMetricNames", "lastActiveTime", "originalReplicaCount", "scaleTargetGVKR"] {
            assert!(!fitted[field].is_null(), "{field} is gone: {fitted}");
        }

        let ours = windlass_crd::crds(Group::Keda).remove(0);
        assert_eq!(Shape::from(ours).fitted(&status()), status(), "our own type has all of them");
    }

    #[tokio::test(start_paused = true)]
    async fn keda_lives_while_its_lease_is_renewed_and_a_while_after_and_whenever_nobody_knows() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let lease = |holder: &str, seconds: i64| -> Lease {
            let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": seconds, "renewTime": "2026-11-26T00:00:00.000000Z"});
            serde_json::from_value(json!({"metadata": {}, "spec": spec})).expect("a lease")
        };
        assert_eq!(held_until(&lease("keda-1", 15)), Some(at("2026-11-26T00:00:45Z")));
        // As client-go gives one up.
        assert_eq!(held_until(&lease("", 1)), Some(at("2026-11-26T00:00:31Z")));

        let (keda, now) = (Keda::new(), at("2026-11-26T00:00:10Z"));
        assert_eq!(keda.sign(now), Some(Sign::Unknown));
        let knows = |until, server: Option<&str>| {
            keda.looked.send_replace(Some(Looked { at: Instant::now(), until, server: server.map(Arc::from) }));
        };
        knows(None, None);
        assert_eq!(keda.sign(now), None);
        let end = at("2026-11-26T00:00:45Z");
        knows(Some(end), None);
        assert_eq!((keda.sign(now), keda.sign(end)), (Some(Sign::Lease), None));
        let server = Some(Sign::Metrics("keda/keda-operator-metrics-apiserver".into()));
        knows(Some(end), Some("keda/keda-operator-metrics-apiserver"));
        assert_eq!((keda.sign(now), keda.sign(end)), (Some(Sign::Lease), server));
        knows(None, None);
        tokio::time::advance(STALE).await;
        assert_eq!(keda.sign(now), Some(Sign::Unknown), "nobody knows any more");
    }

    #[test]
    fn a_metrics_server_of_kedas_that_answers_is_a_sign_of_life() {
        let server = |namespace: &str, name: &str, available: &str| {
            let service: APIService = serde_json::from_value(json!({"metadata": {},
                "spec": {"groupPriorityMinimum": 100, "versionPriority": 100, "service": {"namespace": namespace, "name": name}},
                "status": {"conditions": [{"type": "Available", "status": available}]}}))
            .expect("an APIService");
            kedas_server(&service).map(|server| server.to_string())
        };
        assert_eq!(server("windlass-system", "windlass-metrics", "True"), None);
        assert_eq!(server("monitoring", "datadog-cluster-agent", "True"), None, "not KEDA");
        assert_eq!(server("keda", "keda-metrics-apiserver", "True").as_deref(), Some("keda/keda-metrics-apiserver"));
        assert_eq!(server("keda", "keda-metrics-apiserver", "False"), None, "it was stopped");
    }
}
