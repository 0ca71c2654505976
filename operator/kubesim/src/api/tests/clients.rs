//! The API server through `kube::Client`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch as KubePatch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use windlass_decision::Clock;

use crate::api::{Cluster, Faults, Gr, Options, Part, RequestFault, RequestInfo, Selector, WatchFault, WatchInfo};

const CONFIG_MAPS: Gr<'static> = ("", "configmaps");

#[derive(Debug)]
struct Midnight;

impl Clock for Midnight {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
}

fn cluster_with(faults: Option<Arc<dyn Faults>>) -> Cluster {
    let cluster = Cluster::new(Options { faults, audit: 100, ..Options::new(Arc::new(Midnight)) });
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    cluster.apply_manifest("admin", namespace).expect("a namespace");
    cluster
}

fn maps(cluster: &Cluster) -> Api<ConfigMap> {
    Api::namespaced(cluster.client("tester"), "shop")
}

fn map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"key": value}})).expect("the test's own")
}

fn code(error: kube::Error) -> (u16, String) {
    match error {
        kube::Error::Api(status) => (status.code, status.reason.clone()),
        other => panic!("not an answer: {other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn objects_are_made_read_changed_and_deleted_with_optimistic_concurrency() {
    let cluster = cluster_with(None);
    let api = maps(&cluster);
    let made = api.create(&PostParams::default(), &map("a", "1")).await.expect("made");
    assert!(made.metadata.uid.is_some() && made.metadata.resource_version.is_some());
    let again = api.create(&PostParams::default(), &map("a", "2")).await.expect_err("it is there");
    assert_eq!(code(again), (409, "AlreadyExists".to_owned()));
    let mut changed = made.clone();
    changed.data = Some([("key".to_owned(), "2".to_owned())].into());
    let changed = api.replace("a", &PostParams::default(), &changed).await.expect("replaced");
    let late = api.replace("a", &PostParams::default(), &made).await.expect_err("it has changed");
    assert_eq!(code(late), (409, "Conflict".to_owned()));
    let same = api.replace("a", &PostParams::default(), &changed).await.expect("no change");
    assert_eq!(same.metadata.resource_version, changed.metadata.resource_version);
    api.delete("a", &DeleteParams::default()).await.expect("deleted");
    assert_eq!(code(api.get("a").await.expect_err("gone")), (404, "NotFound".to_owned()));
    let nowhere: Api<ConfigMap> = Api::namespaced(cluster.client("tester"), "nowhere");
    assert_eq!(code(nowhere.create(&PostParams::default(), &map("a", "1")).await.expect_err("no namespace")).0, 404);
    let verbs: Vec<_> = cluster.take_audit().into_iter().map(|entry| (entry.verb, entry.code)).collect();
    assert_eq!(verbs.iter().filter(|(verb, _)| *verb == "create").count(), 4, "{verbs:?}");
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_pages_of_one_version_and_watches_go_on_from_there() {
    let cluster = cluster_with(None);
    let api = maps(&cluster);
    for name in ["a", "b", "c"] {
        api.create(&PostParams::default(), &map(name, "1")).await.expect("made");
    }
    let first = api.list(&ListParams::default().limit(2)).await.expect("a page");
    assert_eq!((first.items.len(), first.metadata.remaining_item_count), (2, Some(1)));
    api.create(&PostParams::default(), &map("d", "1")).await.expect("made");
    let token = first.metadata.continue_.clone().expect("there is more");
    let rest = api.list(&ListParams::default().limit(2).continue_token(&token)).await.expect("the rest");
    assert_eq!(rest.items.len(), 1, "d came later");
    let version = first.metadata.resource_version.expect("a version");
    let stream = api.watch(&WatchParams::default().timeout(5), &version).await.expect("a watch");
    let events: Vec<_> = stream.try_collect().await.expect("it ends by itself");
    assert!(matches!(&events[..], [WatchEvent::Added(map)] if map.metadata.name.as_deref() == Some("d")), "{events:?}");
    cluster.compact();
    let old = match api.watch(&WatchParams::default(), "2").await {
        Err(error) => code(error).0,
        Ok(_) => panic!("its version is forgotten"),
    };
    assert_eq!(old, 410);
}

#[tokio::test(start_paused = true)]
async fn a_watch_sees_through_its_selector_only() {
    let cluster = cluster_with(None);
    let api = maps(&cluster);
    let params = WatchParams::default().labels("app=web").timeout(5);
    let watch = api.watch(&params, "0").await.expect("a watch");
    let labelled = |label: Value| KubePatch::Merge(json!({"metadata": {"labels": {"app": label}}}));
    api.create(&PostParams::default(), &map("a", "1")).await.expect("made");
    for label in [json!("web"), json!("web2"), json!("web"), Value::Null] {
        api.patch("a", &PatchParams::default(), &labelled(label)).await.expect("labelled");
    }
    let kinds: Vec<_> = watch
        .map_ok(|event| match event {
            WatchEvent::Added(_) => "added",
            WatchEvent::Modified(_) => "modified",
            WatchEvent::Deleted(_) => "deleted",
            _ => "other",
        })
        .try_collect()
        .await
        .expect("it ends");
    assert_eq!(kinds, ["added", "deleted", "added", "deleted"]);
}

#[tokio::test(start_paused = true)]
async fn apply_owns_fields_and_takes_back_what_is_not_applied_any_more() {
    let cluster = cluster_with(None);
    let api = maps(&cluster);
    let apply = |manager: &'static str, data: Value, force: bool| {
        let api = api.clone();
        let params = if force { PatchParams::apply(manager).force() } else { PatchParams::apply(manager) };
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
        async move { api.patch("a", &params, &KubePatch::Apply(body)).await }
    };
    let first = apply("one", json!({"x": "1", "y": "1"}), false).await.expect("made by apply");
    let same = apply("one", json!({"x": "1", "y": "1"}), false).await.expect("no change");
    assert_eq!(first.metadata.resource_version, same.metadata.resource_version);
    let refused = apply("two", json!({"x": "2"}), false).await.expect_err("x is another's");
    assert_eq!(code(refused), (409, "Conflict".to_owned()));
    apply("two", json!({"x": "2"}), true).await.expect("by force");
    let left = apply("one", json!({}), false).await.expect("applied");
    assert_eq!(json!(left.data), json!({"x": "2"}), "y goes with its owner, x has another");
}

#[tokio::test(start_paused = true)]
async fn a_deployment_has_a_generation_a_status_and_a_scale() {
    let cluster = cluster_with(None);
    let api: Api<Deployment> = Api::namespaced(cluster.client("tester"), "shop");
    let made: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}},
    }))
    .expect("the test's own");
    let made = api.create(&PostParams::default(), &made).await.expect("made");
    assert_eq!((made.metadata.generation, made.spec.expect("a spec").replicas), (Some(1), Some(1)));
    let mut scale = api.get_scale("web").await.expect("a scale");
    let stale = scale.clone();
    scale.spec.as_mut().expect("a spec").replicas = Some(4);
    api.replace_scale("web", &PostParams::default(), &scale).await.expect("scaled");
    let conflict = api.replace_scale("web", &PostParams::default(), &stale).await.expect_err("it has changed");
    assert_eq!(code(conflict), (409, "Conflict".to_owned()));
    let status = KubePatch::Merge(json!({"status": {"readyReplicas": 2}, "spec": {"replicas": 9}}));
    let told = api.patch_status("web", &PatchParams::default(), &status).await.expect("told");
    assert_eq!(told.metadata.generation, Some(2), "a status makes no generation");
    assert_eq!(told.spec.expect("a spec").replicas, Some(4), "a status writes no spec");
}

#[tokio::test(start_paused = true)]
async fn our_resource_type_is_checked_as_a_cluster_checks_it() {
    let cluster = cluster_with(None);
    cluster.apply_manifest("admin", super::lab::scaled_object_definition()).expect("installed");
    let object = |spec: Value| {
        json!({"apiVersion": "windlass.dev/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": "web", "namespace": "shop"}, "spec": spec})
    };
    let spec = |more: Value| {
        let mut spec = json!({"scaleTargetRef": {"name": "web"}, "triggers": [{"type": "rabbitmq"}]});
        spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        object(spec)
    };
    for (wrong, words) in [
        (object(json!({"triggers": [{"type": "x"}]})), "spec.scaleTargetRef: Required value"),
        (object(json!({"scaleTargetRef": {"name": "web"}, "triggers": []})), "should have at least 1 items"),
        (spec(json!({"maxReplicaCount": 0})), "spec.maxReplicaCount"),
        (spec(json!({"maxReplicaCount": "many"})), "must be of type integer"),
        (spec(json!({"minReplicaCount": 5, "maxReplicaCount": 3})), "minReplicaCount must be less than or equal"),
        (spec(json!({"minReplicaCount": 101})), "minReplicaCount must be less than or equal"),
        (spec(json!({"idleReplicaCount": 0})), "idleReplicaCount must be less than minReplicaCount"),
    ] {
        let refused = cluster.apply_manifest("tester", wrong.clone()).expect_err(words);
        assert!(refused.code == 422 && refused.message.contains(words), "{wrong}: {refused}");
    }
    let mut long = spec(json!({}));
    long["metadata"]["name"] = json!("x".repeat(64));
    let refused = cluster.apply_manifest("tester", long).expect_err("its name is too long for a label");
    assert!(refused.message.contains("at most 63"), "{refused}");
    let made = cluster.apply_manifest("tester", spec(json!({"unknown": 1}))).expect("made");
    assert_eq!(made["spec"].get("unknown"), None, "what the type does not know is pruned");
    let table = cluster.list(("windlass.dev", "scaledobjects"), Some("shop"), &Selector::default());
    assert_eq!(table.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_owned_goes_with_its_owner_and_finalizers_are_waited_for() {
    let cluster = cluster_with(None);
    let owner = cluster.create("t", CONFIG_MAPS, "shop", json!({"metadata": {"name": "owner"}})).expect("made");
    let owned = json!({"metadata": {"name": "owned", "finalizers": ["t/wait"], "ownerReferences": [{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}]}});
    cluster.create("t", CONFIG_MAPS, "shop", owned).expect("made");
    cluster.delete("t", CONFIG_MAPS, ("shop", "owner"), &crate::api::Deletion::default()).expect("deleted");
    let waits = cluster.get(CONFIG_MAPS, "shop", "owned").expect("it has a finalizer");
    assert!(waits["metadata"].get("deletionTimestamp").is_some());
    let free = crate::api::Patch::Merge(json!({"metadata": {"finalizers": null}}));
    cluster.patch("t", CONFIG_MAPS, Part::Main, ("shop", "owned"), &free).expect("freed");
    assert_eq!(cluster.get(CONFIG_MAPS, "shop", "owned"), None);
}

/// Does the same to every request and every event.
struct Always(Mutex<(RequestFault, WatchFault)>);

impl Faults for Always {
    fn request(&self, request: &RequestInfo<'_>) -> RequestFault {
        if request.resource == "configmaps" { self.0.lock().expect("no panic").0 } else { RequestFault::Pass }
    }

    fn watch(&self, _: &WatchInfo<'_>) -> WatchFault {
        self.0.lock().expect("no panic").1
    }
}

#[tokio::test(start_paused = true)]
async fn each_fault_does_what_it_says_and_no_more() {
    let faults = Arc::new(Always(Mutex::new((RequestFault::Pass, WatchFault::Pass))));
    let cluster = cluster_with(Some(faults.clone()));
    let api = maps(&cluster);
    let refuse = RequestFault::Refuse { code: 503, retry_after: Some(Duration::from_secs(1)) };
    for (nth, (fault, done, answered)) in [
        (RequestFault::Pass, true, true),
        (RequestFault::Delay(Duration::from_secs(2)), true, true),
        (refuse, false, true),
        (RequestFault::CloseBefore, false, true),
        (RequestFault::CloseAfter, true, true),
        (RequestFault::HangBefore, false, false),
        (RequestFault::HangAfter, true, false),
        (RequestFault::Truncate, true, true),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("m{nth}");
        faults.0.lock().expect("no panic").0 = fault;
        let (post, object) = (PostParams::default(), map(&name, "1"));
        let asked = tokio::time::timeout(Duration::from_secs(30), api.create(&post, &object)).await;
        assert_eq!(asked.is_ok(), answered, "{fault:?}");
        let good = matches!(fault, RequestFault::Pass | RequestFault::Delay(_));
        assert_eq!(asked.is_ok_and(|answer| answer.is_ok()), good, "{fault:?}");
        assert_eq!(cluster.get(CONFIG_MAPS, "shop", &name).is_some(), done, "{fault:?}");
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    faults.0.lock().expect("no panic").0 = RequestFault::Stale(Duration::from_secs(30));
    cluster.create("t", CONFIG_MAPS, "shop", json!({"metadata": {"name": "young"}})).expect("made");
    let stale = api.list(&ListParams::default()).await.expect("an old list");
    assert!(!stale.items.iter().any(|map| map.metadata.name.as_deref() == Some("young")));
    faults.0.lock().expect("no panic").0 = RequestFault::Pass;

    for (fault, wanted) in [
        (WatchFault::Pass, vec!["x", "y"]),
        (WatchFault::Duplicate, vec!["x", "x", "y", "y"]),
        (WatchFault::HoldUntilNext, vec!["y", "x"]),
        (WatchFault::Cut, vec![]),
    ] {
        faults.0.lock().expect("no panic").1 = fault;
        let version = api.list(&ListParams::default()).await.expect("a list").metadata.resource_version.expect("one");
        for name in ["x", "y"] {
            cluster.create("t", CONFIG_MAPS, "shop", json!({"metadata": {"name": name}})).expect("made");
        }
        let watch = api.watch(&WatchParams::default().timeout(5), &version).await.expect("a watch");
        let seen: Vec<_> = watch
            .filter_map(async |event| match event {
                Ok(WatchEvent::Added(map)) => map.metadata.name,
                _ => None,
            })
            .collect()
            .await;
        assert_eq!(seen, wanted, "{fault:?}");
        for name in ["x", "y"] {
            cluster.delete("t", CONFIG_MAPS, ("shop", name), &crate::api::Deletion::default()).expect("deleted");
        }
    }
}
