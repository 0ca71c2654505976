//! Says in the status of each authentication which scaled objects use it, as KEDA does: their names, separated by commas. It
//! writes where that has changed and nothing else; what is said of scaled jobs there is left as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::Api;
use kube::api::DynamicObject;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use windlass_crd::Group;
use windlass_decision::Clock;

use super::{CLUSTERED, Givens, NAMESPACED, SeenAuthentication, resource};
use crate::apply::writer::Writer;
use crate::cache::{Cache, version};
use crate::key::ObjectKey;
use crate::seen::SeenObject;
use crate::world::World;

/// How often it is looked whether anything has changed: objects that come together are written together.
const LOOK: Duration = Duration::from_secs(1);
/// How long to wait after a status could not be written.
const RETRY: Duration = Duration::from_secs(30);

/// An authentication: its kind, and its key.
type At = (&'static str, ObjectKey);

/// What is remembered of a status that was written, or could not be.
enum Written {
    /// The watch shows it from this version on.
    At(u64),
    Failed(Instant),
}

impl Givens {
    /// Keeps the statuses right, for ever. Those of KEDA's own group only while KEDA itself does not run.
    pub async fn tell_users(self: Arc<Self>, writer: Writer, world: Arc<World>, clock: Arc<dyn Clock>) {
        world.objects.listed().await;
        let mut written: BTreeMap<At, Written> = BTreeMap::new();
        let (mut looked_at, mut is_done) = (None, false);
        loop {
            let serves_keda = world.keda.sign(clock.now()).is_none();
            let revisions = [&self.authentications, &self.cluster_authentications].map(|cache| cache.revision());
            let basis = (world.objects.revision(), revisions, serves_keda);
            if looked_at != Some(basis) || !is_done {
                looked_at = Some(basis);
                let objects = world.objects.keys().into_iter().filter(|key| serves_keda || key.group != Group::Keda);
                let seen = objects.filter_map(|key| world.objects.get(&key).map(|object| (key, object)));
                let users = users(seen);
                let serves = |group| serves_keda || group != Group::Keda;
                is_done = self.write_users(&users, serves, &writer, &mut written).await;
            }
            sleep(LOOK).await;
        }
    }

    /// Writes what is not right; says whether all of it is now, as far as anybody knows.
    async fn write_users(
        &self,
        users: &BTreeMap<At, BTreeSet<Arc<str>>>,
        serves: impl Fn(Group) -> bool,
        writer: &Writer,
        written: &mut BTreeMap<At, Written>,
    ) -> bool {
        let mut is_done = true;
        written.retain(|(kind, key), _| self.cache(kind).get(key).is_some());
        for kind in [NAMESPACED, CLUSTERED] {
            let cache = self.cache(kind);
            for key in cache.keys().into_iter().filter(|key| serves(key.group)) {
                let Some(seen) = cache.get(&key).filter(|seen| !seen.deleting) else { continue };
                let at = (kind, key);
                let wanted = users.get(&at).map(joined).unwrap_or_default();
                match written.get(&at) {
                    // What the watch shows is from before.
                    Some(Written::At(version)) if seen.version < *version => {
                        is_done = false;
                        continue;
                    }
                    Some(Written::Failed(when)) if when.elapsed() < RETRY => {
                        is_done = false;
                        continue;
                    }
                    _ => {}
                }
                if seen.users == wanted {
                    written.remove(&at);
                    continue;
                }
                let result = write(&at, &seen, wanted, writer).await;
                is_done &= matches!(result, Written::At(_));
                written.insert(at, result);
            }
        }
        is_done
    }

    fn cache(&self, kind: &str) -> &Cache<SeenAuthentication> {
        if kind == NAMESPACED { &self.authentications } else { &self.cluster_authentications }
    }
}

/// The names of those that use each authentication that anything refers to, whether it is there or not.
fn users(objects: impl Iterator<Item = (ObjectKey, Arc<SeenObject>)>) -> BTreeMap<At, BTreeSet<Arc<str>>> {
    let mut users: BTreeMap<At, BTreeSet<Arc<str>>> = BTreeMap::new();
    for (key, object) in objects.filter(|(_, object)| !object.deleting) {
        let triggers = object.spec.iter().flat_map(|spec| &spec.triggers);
        for reference in triggers.filter_map(|trigger| trigger.authentication_ref.as_ref()) {
            let (kind, namespace) = match reference.kind.as_deref() {
                None | Some("" | NAMESPACED) => (NAMESPACED, &*key.namespace),
                Some(CLUSTERED) => (CLUSTERED, ""),
                Some(_) => continue,
            };
            let at = (kind, ObjectKey::of(key.group, namespace, &reference.name));
            users.entry(at).or_default().insert(key.name.clone());
        }
    }
    users
}

fn joined(names: &BTreeSet<Arc<str>>) -> String {
    names.iter().map(|name| &**name).collect::<Vec<_>>().join(",")
}

async fn write((kind, key): &At, seen: &SeenAuthentication, wanted: String, writer: &Writer) -> Written {
    let (client, resource) = (writer.client().clone(), resource(key.group, kind));
    let api: Api<DynamicObject> = if *kind == NAMESPACED {
        Api::namespaced_with(client, &key.namespace, &resource)
    } else {
        Api::all_with(client, &resource)
    };
    let wanted = if wanted.is_empty() { Value::Null } else { wanted.into() };
    // Whoever is of this name now may be another one.
    let body = serde_json::json!({"metadata": {"uid": seen.uid}, "status": {"scaledobjects": wanted}});
    match writer.merge_status(kind, &api, &key.name, &body).await {
        Ok(object) => Written::At(version(&object.metadata)),
        // The watch tells.
        Err(error) if error.is_not_found() || error.is_conflict() => Written::Failed(Instant::now()),
        Err(error) => {
            tracing::warn!(object = %key, kind, %error, retry_in = ?RETRY, "users not written to the status of an authentication");
            Written::Failed(Instant::now())
        }
    }
}

#[cfg(test)]
#[path = "users_tests.rs"]
mod tests;
