//! Who uses an authentication, and that it is written once.

use serde_json::json;
use tokio_util::sync::CancellationToken;
use windlass_sources::Process;

use super::*;
use crate::certificates::fake::FakeApi;
use crate::options::Options;
use crate::queue::Queue;

fn object(key: &ObjectKey, references: &[Value], deleting: bool) -> Arc<SeenObject> {
    let triggers: Vec<_> = references
        .iter()
        .map(|reference| json!({"type": "metrics-api", "metadata": {}, "authenticationRef": reference}))
        .chain([json!({"type": "cpu", "metadata": {}})])
        .collect();
    let object: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "windlass.dev/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": &*key.name, "namespace": &*key.namespace, "creationTimestamp": "2026-11-26T00:00:00Z",
            "deletionTimestamp": deleting.then_some("2026-11-26T00:00:00Z")},
        "spec": {"scaleTargetRef": {"name": "web"}, "triggers": triggers},
    }))
    .expect("an object");
    Arc::new(object.into())
}

fn authentication(version: u64, users: &str) -> SeenAuthentication {
    let object: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "windlass.dev/v1alpha1", "kind": "TriggerAuthentication",
        "metadata": {"name": "a", "namespace": "shop", "uid": "uid-1", "resourceVersion": version.to_string()},
        "spec": {}, "status": {"scaledobjects": users},
    }))
    .expect("an object");
    object.into()
}

#[test]
fn the_users_of_an_authentication_are_named_once_each() {
    let (own, cluster) = (json!({"name": "a"}), json!({"name": "c", "kind": "ClusterTriggerAuthentication"}));
    let explicit = json!({"name": "a", "kind": "TriggerAuthentication"});
    let all = [
        (ObjectKey::new("shop", "web"), vec![own.clone(), explicit, cluster.clone()], false),
        (ObjectKey::new("shop", "api"), vec![own.clone()], false),
        (ObjectKey::new("shop", "gone"), vec![own.clone()], true),
        (ObjectKey::new("lab", "web"), vec![cluster.clone(), own.clone()], false),
        (ObjectKey::of(Group::Keda, "shop", "old"), vec![own, cluster], false),
        (ObjectKey::new("lab", "bare"), vec![json!({"name": "a", "kind": "Nothing"})], false),
    ];
    let found = users(all.iter().map(|(key, refs, deleting)| (key.clone(), object(key, refs, *deleting))));
    let named = |kind, key: ObjectKey| found.get(&(kind, key)).map(joined).unwrap_or_default();
    assert_eq!(named(NAMESPACED, ObjectKey::new("shop", "a")), "api,web");
    assert_eq!(named(NAMESPACED, ObjectKey::new("lab", "a")), "web");
    assert_eq!(named(CLUSTERED, ObjectKey::new("", "c")), "web", "of two namespaces");
    assert_eq!(named(NAMESPACED, ObjectKey::of(Group::Keda, "shop", "a")), "old");
    assert_eq!(named(CLUSTERED, ObjectKey::of(Group::Keda, "", "c")), "old");
    assert_eq!(found.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_status_is_written_once_and_again_only_when_something_changes() {
    const PATH: &str = "/apis/windlass.dev/v1alpha1/namespaces/shop/triggerauthentications/a/status";
    let (api, client) = FakeApi::new();
    let writer = Writer::unfenced(client.clone(), Duration::from_secs(5));
    let (stop, queue) = (CancellationToken::new(), Arc::new(Queue::default()));
    let groups = [Group::Windlass];
    let givens = Givens::start(client, &groups, &Options::default(), queue, stop, &Process::default(), 1);
    let key = ObjectKey::new("shop", "a");
    let at = (NAMESPACED, key.clone());
    let of = |names: &[&str]| BTreeMap::from([(at.clone(), names.iter().map(|name| Arc::from(*name)).collect())]);
    let mut written = BTreeMap::new();
    let mut round = async |users: &BTreeMap<At, BTreeSet<Arc<str>>>, serves: bool| {
        let done = givens.write_users(users, |_| serves, &writer, &mut written).await;
        (done, api.lock().unwrap().writes.len())
    };
    let shown = |seen| givens.authentications.tell(&key, Ok(seen));

    // It is not there, or not ours; nothing is written.
    assert_eq!(round(&of(&["web"]), true).await, (true, 0));
    shown(authentication(1, ""));
    assert_eq!(round(&of(&["web"]), false).await, (true, 0));
    // Written once, though the watch does not show it yet.
    assert_eq!(round(&of(&["web", "api"]), true).await, (true, 1));
    let status = api.lock().unwrap().get(PATH).map(|object| object["status"].clone());
    assert_eq!(status, Some(json!({"scaledobjects": "api,web"})));
    shown(authentication(0, ""));
    assert_eq!(round(&of(&["web", "api"]), true).await, (false, 1));
    shown(authentication(7, "api,web"));
    assert_eq!(round(&of(&["web", "api"]), true).await, (true, 1));
    // Somebody else's hand is put right, and the last one that goes takes the field along.
    shown(authentication(8, "else"));
    assert_eq!(round(&of(&["web", "api"]), true).await, (true, 2));
    shown(authentication(9, "api,web"));
    assert_eq!(round(&BTreeMap::new(), true).await, (true, 3));
    let status = api.lock().unwrap().get(PATH).map(|object| object["status"].clone());
    assert_eq!(status, Some(json!({"scaledobjects": null})));
    shown(authentication(10, ""));

    // One that fails is left alone for a while.
    api.lock().unwrap().conflicts = 1;
    assert_eq!(round(&of(&["web"]), true).await, (false, 3));
    assert_eq!(round(&of(&["web"]), true).await, (false, 3));
    tokio::time::advance(RETRY).await;
    assert_eq!(round(&of(&["web"]), true).await, (true, 4));
}
