//! What the operator has to know of KEDA itself where it serves KEDA's objects: whether KEDA lives, and which fields the
//! status of the installed resource type has. It looks; it never writes anything of KEDA's.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ListParams;
use kube::runtime::watcher;
use kube::{Api, Client};
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use windlass_crd::{Group, ScaledObjectStatus};

use crate::backoff::WatchBackoff;
use crate::cache::{Cache, Scope, keep};
use crate::key::ObjectKey;

/// The name of KEDA's Lease, in whatever namespace it runs.
const LEASE: &str = "operator.keda.sh";
/// The name of the resource type.
const CRD: &str = "scaledobjects.keda.sh";
/// How long after its Lease has run out or was given up KEDA is waited for: it may be restarted, and clocks differ.
const GRACE: SignedDuration = SignedDuration::from_secs(30);

/// How often the Lease is looked at. It is listed and not watched: a watch that hangs would make KEDA look dead.
const LOOK: Duration = Duration::from_secs(5);
/// A look that is older than this says nothing any more.
const STALE: Duration = Duration::from_secs(20);

/// When the Lease of KEDA was last looked at, and until when it is KEDA's; `None` if there is none.
type Looked = (Instant, Option<Timestamp>);

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
    lease: watch::Sender<Option<Looked>>,
    shapes: Arc<Cache<Shape>>,
}

impl Keda {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        let scope = [Scope { is_optional: true, ..Scope::default() }];
        Self { lease: watch::Sender::new(None), shapes: Arc::new(Cache::new(&scope)) }
    }

    /// Until when KEDA leads at least, if it does at `now`: so long its objects are its own. As long as nobody knows, it does.
    #[must_use]
    pub fn lives_until(&self, now: Timestamp) -> Option<Timestamp> {
        match *self.lease.borrow() {
            Some((at, until)) if at.elapsed() < STALE => until.filter(|until| *until > now),
            _ => now.checked_add(SignedDuration::from_secs(1)).ok(),
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

    /// Waits until the resource type and the Lease have been looked for.
    pub async fn listed(&self) {
        self.shapes.listed().await;
        // The sender lives in `self`, so this cannot fail.
        let _ = self.lease.subscribe().wait_for(Option::is_some).await;
    }

    /// Looks at the Lease for ever.
    pub(crate) async fn follow_lease(&self, client: Client) {
        let api: Api<Lease> = Api::all(client);
        let named = ListParams::default().fields(&format!("metadata.name={LEASE}"));
        let mut failing = false;
        loop {
            let at = Instant::now();
            match tokio::time::timeout(LOOK, api.list(&named)).await {
                Ok(Ok(leases)) => {
                    failing = false;
                    let until = leases.items.iter().filter_map(held_until).max();
                    self.lease.send_replace(Some((at, until)));
                }
                failed if !std::mem::replace(&mut failing, true) => {
                    let why = failed.map_or_else(
                        |_| "no answer in time".to_owned(),
                        |result| result.err().map(|error| error.to_string()).unwrap_or_default(),
                    );
                    tracing::warn!(
                        why,
                        "KEDA's Lease {LEASE} cannot be read; KEDA's objects are left alone until it can be"
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
        assert!(keda.lives_until(now).is_some(), "nobody knows");
        let knows = |until| {
            keda.lease.send_replace(Some((Instant::now(), until)));
        };
        knows(None);
        assert_eq!(keda.lives_until(now), None);
        knows(Some(at("2026-11-26T00:00:45Z")));
        assert_eq!(keda.lives_until(now), Some(at("2026-11-26T00:00:45Z")));
        assert_eq!(keda.lives_until(at("2026-11-26T00:00:45Z")), None);
        knows(None);
        tokio::time::advance(STALE).await;
        assert!(keda.lives_until(now).is_some(), "nobody knows any more");
    }
}
