//! Lets authentications of KEDA's group go: KEDA puts its finalizer on each, and where KEDA is gone nobody else would ever
//! take it away. It writes nothing else.

use std::sync::Arc;
use std::time::Duration;

use kube::Api;
use kube::api::DynamicObject;
use tokio::time::sleep;
use windlass_crd::Group;
use windlass_decision::Clock;

use super::{CLUSTERED, Givens, NAMESPACED, Waiting, resource};
use crate::apply::writer::Writer;
use crate::keda::Keda;
use crate::key::ObjectKey;

/// How often it is looked for those that wait.
const LOOK: Duration = Duration::from_secs(2);

impl Givens {
    /// Lets go those that wait, for ever, while KEDA itself does not run.
    pub async fn let_go(self: Arc<Self>, writer: Writer, keda: Arc<Keda>, clock: Arc<dyn Clock>) {
        loop {
            sleep(LOOK).await;
            if keda.sign(clock.now()).is_some() {
                continue;
            }
            for (kind, cache) in [(NAMESPACED, &self.authentications), (CLUSTERED, &self.cluster_authentications)] {
                for key in cache.keys().into_iter().filter(|key| key.group == Group::Keda) {
                    if let Some(waiting) = cache.get(&key).and_then(|seen| seen.waits.clone()) {
                        let_one_go(kind, &key, waiting, &writer).await;
                    }
                }
            }
        }
    }
}

async fn let_one_go(kind: &'static str, key: &ObjectKey, waiting: Waiting, writer: &Writer) {
    let (client, resource) = (writer.client().clone(), resource(key.group, kind));
    let api: Api<DynamicObject> = if kind == NAMESPACED {
        Api::namespaced_with(client, &key.namespace, &resource)
    } else {
        Api::all_with(client, &resource)
    };
    let Waiting { uid, version, finalizers } = waiting;
    let body = serde_json::json!({"metadata": {"uid": uid, "resourceVersion": version, "finalizers": finalizers}});
    match writer.merge(kind, &api, &key.name, &body).await {
        Ok(_) => tracing::info!(object = %key, kind, "authentication let go"),
        Err(error) if error.is_not_found() || error.is_conflict() => {}
        Err(error) => tracing::warn!(object = %key, kind, %error, "authentication not let go"),
    }
}
