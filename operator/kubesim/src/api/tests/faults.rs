//! Each thing that can be made to go wrong, and that it goes wrong in that way only.

use std::time::Duration;

use futures::FutureExt;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::lab::{CONFIG_MAPS, JSON, Lab, config_map, lab, request, version};
use crate::api::{RequestFault, WatchFault};

impl Lab {
    fn fails(&self, fault: RequestFault) {
        *self.script.request.lock().unwrap() = Some(fault);
    }

    fn spoils(&self, fault: WatchFault) {
        *self.script.watch.lock().unwrap() = Some(fault);
    }

    fn has(&self, name: &str) -> bool {
        self.cluster.get(("", "configmaps"), "shop", name).is_some()
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_meets_its_fault() {
    let (hours, at_once) = (Duration::from_secs(7200), Duration::ZERO);
    let refusal = |code| RequestFault::Refuse { code, retry_after: Some(Duration::from_secs(3)) };
    // The answer: its code, that the connection closed, or that nothing came.
    for (fault, answer, is_done, after) in [
        (RequestFault::Pass, "201", true, at_once),
        (RequestFault::Delay(Duration::from_secs(5)), "201", true, Duration::from_secs(5)),
        (refusal(429), "429", false, at_once),
        (refusal(500), "500", false, at_once),
        (refusal(503), "503", false, at_once),
        (refusal(504), "504", false, at_once),
        (refusal(409), "409", false, at_once),
        (RequestFault::CloseBefore, "closed", false, at_once),
        (RequestFault::CloseAfter, "closed", true, at_once),
        (RequestFault::HangBefore, "nothing", false, hours),
        (RequestFault::HangAfter, "nothing", true, hours),
        (RequestFault::Truncate, "201 cut", true, at_once),
    ] {
        let lab = lab();
        lab.fails(fault);
        let start = Instant::now();
        let user = "t".into();
        let asked = lab.cluster.handle(&user, request("POST", CONFIG_MAPS, JSON, &config_map("one", &json!({}))));
        let said = match timeout(hours, asked).await {
            Err(_) => "nothing".to_owned(),
            Ok(Err(_)) => "closed".to_owned(),
            Ok(Ok(response)) => {
                let code = response.status().as_u16();
                let waits = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
                assert_eq!(waits.as_deref(), if code < 400 { None } else { Some("3") }, "{fault:?}");
                let body = response.into_body().collect().await.unwrap().to_bytes();
                let is_whole = serde_json::from_slice::<Value>(&body).is_ok();
                format!("{code}{}", if is_whole { "" } else { " cut" })
            }
        };
        assert_eq!((said.as_str(), lab.has("one"), start.elapsed()), (answer, is_done, after), "{fault:?}");
        assert_eq!(lab.post(CONFIG_MAPS, config_map("next", &json!({}))).await.0, 201, "{fault:?} is over");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_refused_is_noted_and_one_that_was_lost_is_not() {
    let lab = lab();
    for fault in
        [RequestFault::Refuse { code: 503, retry_after: None }, RequestFault::CloseBefore, RequestFault::CloseAfter]
    {
        lab.fails(fault);
        let asked = request("POST", CONFIG_MAPS, JSON, &config_map("one", &json!({})));
        let _ = lab.cluster.handle(&"t".into(), asked).await;
    }
    let codes: Vec<_> =
        lab.cluster.take_audit().iter().filter(|entry| entry.user == "t").map(|entry| entry.code).collect();
    assert_eq!(codes, [503, 201]);
}

#[tokio::test(start_paused = true)]
async fn a_stale_list_shows_what_was_and_a_stale_watch_is_late() {
    let lab = lab();
    lab.made(CONFIG_MAPS, config_map("one", &json!({"a": "1"}))).await;
    sleep(Duration::from_secs(60)).await;
    lab.merge(&format!("{CONFIG_MAPS}/one"), json!({"data": {"a": "2"}})).await;
    lab.made(CONFIG_MAPS, config_map("two", &json!({}))).await;
    lab.fails(RequestFault::Stale(Duration::from_secs(10)));
    let (_, old) = lab.get(CONFIG_MAPS).await;
    assert_eq!((old["items"].as_array().unwrap().len(), &old["items"][0]["data"]["a"]), (1, &json!("1")));
    let (_, new) = lab.get(CONFIG_MAPS).await;
    assert!(version(&new) > version(&old));

    // The watch that goes on from there hears what happened since, as late as its server is.
    lab.fails(RequestFault::Stale(Duration::from_secs(10)));
    let start = Instant::now();
    let mut events = lab.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={}", version(&old))).await;
    let first = events.next().await.unwrap();
    assert_eq!((&first["type"], start.elapsed()), (&json!("MODIFIED"), Duration::from_secs(10)));
    assert_eq!(events.next().await.unwrap()["type"], "ADDED");
    sleep(Duration::from_secs(5)).await;
    lab.delete(&format!("{CONFIG_MAPS}/two"), Value::Null).await;
    let start = Instant::now();
    assert_eq!(events.next().await.unwrap()["type"], "DELETED");
    assert_eq!(start.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn an_event_meets_its_fault() {
    for (fault, heard) in [
        (WatchFault::Pass, vec!["ADDED a", "ADDED b", "ADDED c"]),
        (WatchFault::Duplicate, vec!["ADDED a", "ADDED a", "ADDED b", "ADDED c"]),
        (WatchFault::HoldUntilNext, vec!["ADDED b", "ADDED a", "ADDED c"]),
        (WatchFault::Cut, vec!["end"]),
        (WatchFault::Gone, vec!["ERROR 410 Expired", "end"]),
        (WatchFault::Delay(Duration::from_millis(900)), vec!["ADDED a", "ADDED b", "ADDED c"]),
    ] {
        let lab = lab();
        let start = lab.get(CONFIG_MAPS).await.1;
        let mut events = lab.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={}", version(&start))).await;
        lab.spoils(fault);
        for name in ["a", "b", "c"] {
            lab.made(CONFIG_MAPS, config_map(name, &json!({}))).await;
        }
        let start = Instant::now();
        assert_eq!(events.all().await, heard, "{fault:?}");
        let late = if matches!(fault, WatchFault::Delay(_)) { 900 } else { 0 };
        assert!(start.elapsed() >= Duration::from_millis(late), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_waits_for_the_next_is_not_lost_when_none_comes() {
    let lab = lab();
    let start = lab.get(CONFIG_MAPS).await.1;
    let query = format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=30&resourceVersion={}", version(&start));
    let mut events = lab.watch(&query).await;
    lab.spoils(WatchFault::HoldUntilNext);
    lab.made(CONFIG_MAPS, config_map("a", &json!({}))).await;
    assert!(events.next().now_or_never().is_none(), "it waits");
    assert_eq!(
        events.next().await.unwrap()["object"]["metadata"]["name"],
        "a",
        "it comes when the watch ends at the latest"
    );
    assert_eq!(events.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn controllers_of_the_same_process_are_spared() {
    let lab = lab();
    lab.fails(RequestFault::CloseBefore);
    lab.cluster.create("controller", ("", "configmaps"), "shop", json!({"metadata": {"name": "one"}})).unwrap();
    assert!(lab.has("one") && lab.script.request.lock().unwrap().is_some(), "it was not even asked for");
}
