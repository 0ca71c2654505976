//! Lists, their pages, and watches.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::lab::{CONFIG_MAPS, Lab, config_map, lab, lab_with, version};
use crate::api::Options;

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

async fn five(lab: &Lab) {
    for (nth, name) in ["e", "d", "c", "b", "a"].into_iter().enumerate() {
        let mut object = config_map(name, &json!({}));
        object["metadata"]["labels"] = json!({"odd": (nth % 2 == 0).to_string()});
        lab.made(CONFIG_MAPS, object).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_is_in_order_and_at_the_newest_version() {
    let lab = lab();
    five(&lab).await;
    let (code, list) = lab.get(CONFIG_MAPS).await;
    assert_eq!((code, &list["kind"], names(&list)), (200, &json!("ConfigMapList"), vec!["a", "b", "c", "d", "e"]));
    let newest = list["items"].as_array().unwrap().iter().map(version).max().unwrap();
    assert_eq!(version(&list), newest);
    let (_, list) = lab.get(&format!("{CONFIG_MAPS}?labelSelector=odd%3Dtrue")).await;
    assert_eq!(names(&list), ["a", "c", "e"]);
    let (_, list) = lab.get("/api/v1/configmaps?fieldSelector=metadata.name%3Db").await;
    assert_eq!(names(&list), ["b"]);
    let (_, list) = lab.get("/api/v1/namespaces/nowhere/configmaps").await;
    assert_eq!(names(&list), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn pages_show_the_state_of_the_first_page() {
    let lab = lab();
    five(&lab).await;
    let (_, first) = lab.get(&format!("{CONFIG_MAPS}?limit=2")).await;
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["a", "b"], &json!(3)));
    lab.made(CONFIG_MAPS, config_map("bb", &json!({}))).await;
    lab.delete(&format!("{CONFIG_MAPS}/e"), Value::Null).await;
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    let (_, second) = lab.get(&format!("{CONFIG_MAPS}?limit=2&continue={}", token.replace(' ', "%20"))).await;
    assert_eq!((names(&second), version(&second)), (vec!["c", "d"], version(&first)));
    let token = second["metadata"]["continue"].as_str().unwrap().to_owned();
    let (_, third) = lab.get(&format!("{CONFIG_MAPS}?limit=2&continue={}", token.replace(' ', "%20"))).await;
    assert_eq!((names(&third), third["metadata"].get("continue")), (vec!["e"], None));
    lab.cluster.compact();
    let (code, late) = lab.get(&format!("{CONFIG_MAPS}?limit=2&continue={}", token.replace(' ', "%20"))).await;
    assert_eq!((code, &late["reason"]), (410, &json!("Expired")), "{late}");
    let (code, wrong) = lab.get(&format!("{CONFIG_MAPS}?limit=2&continue=nonsense")).await;
    assert_eq!((code, &wrong["reason"]), (400, &json!("BadRequest")), "{wrong}");
}

#[tokio::test(start_paused = true)]
async fn a_list_of_an_exact_version_is_as_it_was() {
    let lab = lab();
    let one = lab.made(CONFIG_MAPS, config_map("one", &json!({"a": "1"}))).await;
    lab.merge(&format!("{CONFIG_MAPS}/one"), json!({"data": {"a": "2"}})).await;
    let two = lab.made(CONFIG_MAPS, config_map("two", &json!({}))).await;
    lab.delete(&format!("{CONFIG_MAPS}/one"), Value::Null).await;
    let exact = |version: u64| format!("{CONFIG_MAPS}?resourceVersion={version}&resourceVersionMatch=Exact");
    for (at, wanted) in [
        (version(&one), vec![("one", "1")]),
        (version(&one) + 1, vec![("one", "2")]),
        (version(&two), vec![("one", "2"), ("two", "")]),
        (version(&two) + 1, vec![("two", "")]),
    ] {
        let (code, list) = lab.get(&exact(at)).await;
        let items = list["items"].as_array().unwrap();
        let found: Vec<_> = names(&list)
            .into_iter()
            .zip(items)
            .map(|(name, item)| (name, item["data"]["a"].as_str().unwrap_or_default()))
            .collect();
        assert_eq!((code, version(&list), found), (200, at, wanted));
    }
    let (code, early) = lab.get(&exact(999_999)).await;
    assert_eq!((code, &early["reason"]), (504, &json!("Timeout")), "{early}");
    lab.cluster.compact();
    let (code, late) = lab.get(&exact(version(&one))).await;
    assert_eq!((code, &late["reason"]), (410, &json!("Expired")), "{late}");
    // A cache may answer a question for "not older than" with what is newest.
    let (code, list) = lab.get(&format!("{CONFIG_MAPS}?resourceVersion={}", version(&one))).await;
    assert_eq!((code, names(&list)), (200, vec!["two"]));
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_every_change_after_its_version_once_and_in_order() {
    let lab = lab();
    let one = lab.made(CONFIG_MAPS, config_map("one", &json!({}))).await;
    lab.made(CONFIG_MAPS, config_map("two", &json!({}))).await;
    let mut events = lab.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={}", version(&one))).await;
    assert_eq!(events.said().await, "ADDED two");
    assert_eq!(events.said().await, "silence");
    lab.merge(&format!("{CONFIG_MAPS}/one"), json!({"data": {"a": "1"}})).await;
    lab.delete(&format!("{CONFIG_MAPS}/two"), Value::Null).await;
    lab.made(CONFIG_MAPS, config_map("two", &json!({}))).await;
    assert_eq!(events.all().await, ["MODIFIED one", "DELETED two", "ADDED two"]);
    // Of another namespace or kind it hears nothing.
    lab.cluster.create("test", ("", "namespaces"), "", json!({"metadata": {"name": "other"}})).unwrap();
    lab.made("/api/v1/namespaces/other/configmaps", config_map("three", &json!({}))).await;
    assert_eq!(events.said().await, "silence");
}

#[tokio::test(start_paused = true)]
async fn a_deletion_is_told_under_a_new_version() {
    let lab = lab();
    let one = lab.made(CONFIG_MAPS, config_map("one", &json!({"a": "1"}))).await;
    let mut events = lab.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={}", version(&one))).await;
    lab.delete(&format!("{CONFIG_MAPS}/one"), Value::Null).await;
    let deleted = events.next().await.unwrap();
    assert_eq!((&deleted["type"], &deleted["object"]["data"]["a"]), (&json!("DELETED"), &json!("1")));
    assert!(version(&deleted["object"]) > version(&one));
}

#[tokio::test(start_paused = true)]
async fn a_watch_without_a_version_begins_with_what_is_there() {
    for query in ["watch=1", "watch=true&resourceVersion=0"] {
        let lab = lab();
        five(&lab).await;
        let mut events = lab.watch(&format!("{CONFIG_MAPS}?{query}&labelSelector=odd%3Dtrue")).await;
        assert_eq!(events.all().await, ["ADDED a", "ADDED c", "ADDED e"], "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_says_where_it_ends() {
    let lab = lab();
    five(&lab).await;
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut events = lab.watch(&format!("{CONFIG_MAPS}?{query}&labelSelector=odd%3Dfalse")).await;
    assert_eq!((events.said().await, events.said().await), ("ADDED b".to_owned(), "ADDED d".to_owned()));
    let mark = events.next().await.unwrap();
    assert_eq!(mark["type"], "BOOKMARK");
    assert_eq!(mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(version(&mark["object"]), version(&lab.get(CONFIG_MAPS).await.1));
}

#[tokio::test(start_paused = true)]
async fn an_object_that_comes_to_match_is_new_to_a_watch_and_gone_when_it_stops() {
    let lab = lab();
    let start = lab.made(CONFIG_MAPS, config_map("one", &json!({}))).await;
    let query = format!("watch=1&resourceVersion={}&labelSelector=team%3Da", version(&start));
    let mut events = lab.watch(&format!("{CONFIG_MAPS}?{query}")).await;
    let path = format!("{CONFIG_MAPS}/one");
    for (labels, said) in [
        (json!({"team": "b"}), "silence"),
        (json!({"team": "a"}), "ADDED one"),
        (json!({"team": "a", "more": "x"}), "MODIFIED one"),
        (json!({"team": "b"}), "DELETED one"),
        (json!({"team": null}), "silence"),
        (json!({"team": "a"}), "ADDED one"),
    ] {
        lab.merge(&path, json!({"metadata": {"labels": labels}})).await;
        assert_eq!(events.said().await, said, "{labels}");
    }
    lab.delete(&path, Value::Null).await;
    assert_eq!(events.said().await, "DELETED one");
}

#[tokio::test(start_paused = true)]
async fn one_object_is_watched_by_its_path_or_its_name() {
    for query in [format!("{CONFIG_MAPS}/b?watch=1"), format!("{CONFIG_MAPS}?watch=1&fieldSelector=metadata.name%3Db")]
    {
        let lab = lab();
        five(&lab).await;
        let mut events = lab.watch(&query).await;
        assert_eq!(events.said().await, "ADDED b");
        lab.merge(&format!("{CONFIG_MAPS}/a"), json!({"data": {"x": "y"}})).await;
        lab.merge(&format!("{CONFIG_MAPS}/b"), json!({"data": {"x": "y"}})).await;
        assert_eq!(events.all().await, ["MODIFIED b"], "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_when_its_time_is_over() {
    let lab = lab();
    let start = Instant::now();
    let mut events = lab.watch(&format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=7")).await;
    assert_eq!(events.next().await, None);
    assert_eq!(start.elapsed(), Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn bookmarks_say_how_far_a_quiet_watch_is() {
    let lab = lab();
    let one = lab.made(CONFIG_MAPS, config_map("one", &json!({}))).await;
    let from = format!("watch=1&resourceVersion={}", version(&one));
    let mut quiet = lab.watch(&format!("{CONFIG_MAPS}?{from}&timeoutSeconds=200")).await;
    let mut marked = lab.watch(&format!("{CONFIG_MAPS}?{from}&allowWatchBookmarks=true")).await;
    let elsewhere = lab.made("/api/v1/namespaces/shop/secrets", json!({"metadata": {"name": "s"}})).await;
    let mark = marked.next().await.unwrap();
    assert_eq!((&mark["type"], &mark["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
    assert_eq!(version(&mark["object"]), version(&elsewhere), "whoever comes back from there misses nothing");
    assert_eq!(quiet.next().await, None, "nobody asked for bookmarks");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_forgotten_is_gone() {
    let lab = lab();
    let one = lab.made(CONFIG_MAPS, config_map("one", &json!({}))).await;
    lab.made(CONFIG_MAPS, config_map("two", &json!({}))).await;
    let query = format!("{CONFIG_MAPS}?watch=1&resourceVersion={}", version(&one));
    // A watch that has its events already is not hurt.
    let mut open = lab.watch(&query).await;
    assert_eq!(open.said().await, "ADDED two");
    lab.cluster.compact();
    let (code, gone) = lab.get(&query).await;
    assert_eq!((code, &gone["reason"]), (410, &json!("Expired")), "{gone}");
    assert!(gone["message"].as_str().unwrap().starts_with("too old resource version: "), "{gone}");
    lab.merge(&format!("{CONFIG_MAPS}/one"), json!({"data": {"a": "1"}})).await;
    assert_eq!(open.said().await, "MODIFIED one");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_falls_behind_the_history_is_told_so_in_the_stream() {
    let lab = lab_with(|options| Options { history: 3, ..options });
    let one = lab.made(CONFIG_MAPS, config_map("one", &json!({}))).await;
    let mut slow = lab.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={}", version(&one))).await;
    for nth in 0..10 {
        lab.merge(&format!("{CONFIG_MAPS}/one"), json!({"data": {"a": nth.to_string()}})).await;
    }
    assert_eq!(slow.all().await, ["ERROR 410 Expired", "end"]);
    let (_, list) = lab.get(CONFIG_MAPS).await;
    let mut again = lab.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={}", version(&list))).await;
    assert_eq!(again.said().await, "silence");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_still_to_come_is_refused() {
    let lab = lab();
    let (code, early) = lab.get(&format!("{CONFIG_MAPS}?watch=1&resourceVersion=999999")).await;
    assert_eq!((code, &early["reason"]), (504, &json!("Timeout")), "{early}");
}

#[tokio::test(start_paused = true)]
async fn events_are_kept_for_an_hour() {
    let lab = lab();
    let path = "/api/v1/namespaces/shop/events";
    let event = |nth: usize| json!({"metadata": {"name": format!("e{nth}")}, "involvedObject": {"namespace": "shop", "name": "x"}, "reason": "R"});
    for nth in 0..300 {
        lab.made(path, event(nth)).await;
    }
    assert_eq!(names(&lab.get(path).await.1).len(), 300);
    sleep(Duration::from_secs(3700)).await;
    for nth in 300..600 {
        lab.made(path, event(nth)).await;
    }
    let left = names(&lab.get(path).await.1).len();
    assert!((300..430).contains(&left), "{left}");
}
