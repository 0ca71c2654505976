//! Server-side apply: who owns which field, and what becomes of fields that nobody applies any more.

use serde_json::{Value, json};

use super::lab::{CONFIG_MAPS, DEPLOYMENTS, HPAS, Lab, config_map, deployment, lab, version};

/// `manager operation subresource` of each entry.
fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let said = |entry: &Value| {
        format!("{} {} {}", text(&entry["manager"]), text(&entry["operation"]), text(&entry["subresource"]))
    };
    entries.map(|entry| said(entry).trim_end().to_owned()).collect()
}

fn fields_of<'a>(object: &'a Value, manager: &str) -> &'a Value {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    &entries.iter().find(|entry| entry["manager"] == manager).unwrap()["fieldsV1"]
}

async fn one(lab: &Lab, manager: &str, data: Value) -> (u16, Value) {
    lab.apply(&format!("{CONFIG_MAPS}/one"), manager, config_map("one", &data)).await
}

#[tokio::test(start_paused = true)]
async fn applying_what_is_not_there_creates_it() {
    let lab = lab();
    let (code, made) = one(&lab, "me", json!({"a": "1"})).await;
    assert_eq!((code, &made["data"], managers(&made)), (201, &json!({"a": "1"}), vec!["me Apply".to_owned()]));
    assert_eq!(fields_of(&made, "me"), &json!({"f:data": {"f:a": {}}}));
    let entry = &made["metadata"]["managedFields"][0];
    assert_eq!((&entry["fieldsType"], &entry["apiVersion"]), (&json!("FieldsV1"), &json!("v1")));
    assert_eq!(entry["time"], "2026-01-01T00:00:00Z");
    let (code, second) = one(&lab, "me", json!({"a": "2"})).await;
    assert_eq!((code, &second["data"]["a"], version(&second)), (200, &json!("2"), version(&made) + 1));
}

#[tokio::test(start_paused = true)]
async fn applying_the_same_again_makes_no_version() {
    let lab = lab();
    let (_, made) = one(&lab, "me", json!({"a": "1"})).await;
    tokio::time::sleep(std::time::Duration::from_secs(90)).await;
    let (code, same) = one(&lab, "me", json!({"a": "1"})).await;
    assert_eq!((code, &same), (200, &made), "not even its time");
    // With the defaults of the API server in between, too.
    let path = format!("{DEPLOYMENTS}/web");
    let (_, first) = lab.apply(&path, "me", deployment("web")).await;
    let (_, second) = lab.apply(&path, "me", deployment("web")).await;
    assert_eq!(first, second);
}

#[tokio::test(start_paused = true)]
async fn a_field_that_is_applied_no_more_goes() {
    let lab = lab();
    let full = json!({"metadata": {"name": "one", "labels": {"x": "1"}}, "data": {"a": "1", "b": "2"}});
    lab.apply(&format!("{CONFIG_MAPS}/one"), "me", full).await;
    let (_, after) = one(&lab, "me", json!({"a": "1"})).await;
    assert_eq!((&after["data"], after["metadata"].get("labels")), (&json!({"a": "1"}), None), "{after}");
    // Not so where somebody else has it too,
    one(&lab, "you", json!({"a": "1", "c": "3"})).await;
    let nothing = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}});
    let (_, after) = lab.apply(&format!("{CONFIG_MAPS}/one"), "me", nothing).await;
    assert_eq!(after["data"], json!({"a": "1", "c": "3"}));
    assert_eq!(managers(&after), ["you Apply"], "who applies nothing owns nothing");
    // nor what somebody wrote without applying.
    lab.merge(&format!("{CONFIG_MAPS}/one"), json!({"data": {"d": "4"}})).await;
    let (_, after) = one(&lab, "you", json!({"a": "1"})).await;
    assert_eq!(after["data"], json!({"a": "1", "d": "4"}));
}

#[tokio::test(start_paused = true)]
async fn another_value_for_a_field_of_somebody_else_is_a_conflict() {
    let lab = lab();
    let (_, made) = one(&lab, "me", json!({"a": "1", "b": "1"})).await;
    let (code, refused) = one(&lab, "you", json!({"a": "2", "b": "2", "c": "3"})).await;
    assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")));
    assert_eq!(refused["message"], "Apply failed with 2 conflicts: conflicts with \"me\":\n- .data.a\n- .data.b");
    let causes = &refused["details"]["causes"];
    assert_eq!(
        causes[0],
        json!({"reason": "FieldManagerConflict", "message": "conflict with \"me\"", "field": ".data.a"})
    );
    assert_eq!(causes.as_array().unwrap().len(), 2);
    assert_eq!(version(&lab.get(&format!("{CONFIG_MAPS}/one")).await.1), version(&made), "nothing was written");
    // The same value is shared,
    let (code, shared) = one(&lab, "you", json!({"a": "1"})).await;
    assert_eq!((code, managers(&shared)), (200, vec!["me Apply".to_owned(), "you Apply".to_owned()]));
    // and force takes what is in the way, and that only.
    let (code, forced) =
        lab.apply(&format!("{CONFIG_MAPS}/one?force=true"), "you", config_map("one", &json!({"a": "2"}))).await;
    assert_eq!((code, &forced["data"]), (200, &json!({"a": "2", "b": "1"})));
    assert_eq!(fields_of(&forced, "me"), &json!({"f:data": {"f:b": {}}}));
    assert_eq!(fields_of(&forced, "you"), &json!({"f:data": {"f:a": {}}}));
    let (code, refused) = one(&lab, "me", json!({"a": "1", "b": "1"})).await;
    assert_eq!(
        (code, &refused["message"]),
        (409, &json!("Apply failed with 1 conflict: conflict with \"you\": .data.a"))
    );
}

#[tokio::test(start_paused = true)]
async fn writers_that_do_not_apply_own_what_they_change() {
    let lab = lab();
    let made = lab.made(CONFIG_MAPS, config_map("one", &json!({"a": "1", "b": "1"}))).await;
    assert_eq!(managers(&made), ["tester Update"], "it is named after its user agent");
    let (code, refused) = one(&lab, "me", json!({"a": "2"})).await;
    assert_eq!(code, 409, "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("\"tester\" using v1"), "{refused}");
    lab.apply(&format!("{CONFIG_MAPS}/one?force=true"), "me", config_map("one", &json!({"a": "2"}))).await;
    let (_, after) = lab.merge(&format!("{CONFIG_MAPS}/one?fieldManager=hand"), json!({"data": {"a": "3"}})).await;
    assert_eq!(fields_of(&after, "hand"), &json!({"f:data": {"f:a": {}}}));
    assert_eq!(managers(&after), ["hand Update", "tester Update"], "its only field was taken from it");
}

#[tokio::test(start_paused = true)]
async fn the_replicas_that_somebody_scales_conflict_with_who_applies_them() {
    let lab = lab();
    let path = format!("{DEPLOYMENTS}/web");
    let mut mine = deployment("web");
    mine["spec"]["replicas"] = json!(2);
    lab.apply(&path, "me", mine.clone()).await;
    lab.merge(&format!("{path}/scale?fieldManager=scaler"), json!({"spec": {"replicas": 5}})).await;
    let (_, now) = lab.get(&path).await;
    assert_eq!(now["spec"]["replicas"], 5);
    assert!(managers(&now).contains(&"scaler Update scale".to_owned()), "{:?}", managers(&now));
    let (code, refused) = lab.apply(&path, "me", mine).await;
    assert_eq!(code, 409, "{refused}");
    let causes = refused["details"]["causes"].as_array().unwrap();
    assert_eq!((causes.len(), &causes[0]["field"]), (1, &json!(".spec.replicas")));
    let (code, after) = lab.apply(&path, "me", deployment("web")).await;
    assert_eq!((code, &after["spec"]["replicas"]), (200, &json!(5)), "who leaves them out leaves them alone");
}

#[tokio::test(start_paused = true)]
async fn lists_are_merged_by_their_keys() {
    let lab = lab();
    let path = format!("{DEPLOYMENTS}/web");
    lab.apply(&path, "me", deployment("web")).await;
    let side = |containers: Value| {
        let mut object = deployment("web");
        object["spec"]["template"]["spec"]["containers"] = containers;
        object
    };
    let (code, both) = lab.apply(&path, "mesh", side(json!([{"name": "side", "image": "proxy:1"}]))).await;
    let names = |object: &Value| -> Vec<String> {
        let containers = object["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        containers.iter().map(|container| container["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((code, names(&both)), (200, vec!["main".to_owned(), "side".to_owned()]));
    let (code, refused) = lab.apply(&path, "mesh", side(json!([{"name": "main", "image": "proxy:2"}]))).await;
    assert_eq!(code, 409, "{refused}");
    assert_eq!(refused["details"]["causes"][0]["field"], ".spec.template.spec.containers[name=\"main\"].image");
    let (_, after) = lab.apply(&path, "me", side(json!([{"name": "other", "image": "worker:2"}]))).await;
    assert_eq!(names(&after), ["side", "other"], "each container goes with its owner");
}

#[tokio::test(start_paused = true)]
async fn a_list_without_keys_is_one_value() {
    let lab = lab();
    let hpa = |metrics: &Value| {
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "maxReplicas": 5, "metrics": metrics,
            },
        })
    };
    let external = |name: &str| {
        let target = json!({"type": "AverageValue", "averageValue": "5"});
        json!({"type": "External", "external": {"metric": {"name": name}, "target": target}})
    };
    let path = format!("{HPAS}/web");
    let (code, made) = lab.apply(&path, "me", hpa(&json!([external("a"), external("b")]))).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(fields_of(&made, "me")["f:spec"]["f:metrics"], json!({}));
    let (_, after) = lab.apply(&path, "me", hpa(&json!([external("b")]))).await;
    assert_eq!(after["spec"]["metrics"], json!([external("b")]));
}

#[tokio::test(start_paused = true)]
async fn a_status_is_applied_at_its_own_door() {
    let lab = lab();
    let path = format!("{DEPLOYMENTS}/web");
    let made = lab.made(DEPLOYMENTS, deployment("web")).await;
    let status = |conditions: Value| json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "status": {"conditions": conditions}});
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status});
    let door = format!("{path}/status");
    let (code, after) = lab.apply(&door, "one", status(json!([condition("Available", "True")]))).await;
    assert_eq!((code, &after["status"]["conditions"]), (200, &json!([condition("Available", "True")])));
    assert_eq!((&after["spec"], &after["metadata"]["generation"]), (&made["spec"], &json!(1)));
    assert!(managers(&after).contains(&"one Apply status".to_owned()), "{:?}", managers(&after));
    lab.apply(&door, "two", status(json!([condition("Progressing", "True")]))).await;
    let (_, after) = lab.apply(&door, "one", status(json!([condition("Available", "False")]))).await;
    assert_eq!(
        after["status"]["conditions"],
        json!([condition("Available", "False"), condition("Progressing", "True")])
    );
    let (_, same) = lab.apply(&door, "one", status(json!([condition("Available", "False")]))).await;
    assert_eq!(version(&same), version(&after));
    let none = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "none"}, "status": {}});
    let (code, _) = lab.apply(&format!("{DEPLOYMENTS}/none/status"), "one", none).await;
    assert_eq!(code, 404, "a status creates nothing");
}

#[tokio::test(start_paused = true)]
async fn an_apply_that_means_another_object_is_refused() {
    let lab = lab();
    let uid = "11111111-1111-4111-8111-111111111111";
    let mut object = config_map("one", &json!({"a": "1"}));
    object["metadata"]["uid"] = json!(uid);
    let path = format!("{CONFIG_MAPS}/one");
    let (code, refused) = lab.apply(&path, "me", object.clone()).await;
    assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")), "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("uid mismatch"), "{refused}");
    let made = lab.made(CONFIG_MAPS, config_map("one", &json!({"a": "1"}))).await;
    let (code, refused) = lab.apply(&path, "me", object.clone()).await;
    assert_eq!((code, &refused["reason"]), (422, &json!("Invalid")), "{refused}");
    assert!(refused["message"].as_str().unwrap().ends_with("field is immutable"), "{refused}");
    object["metadata"]["uid"] = made["metadata"]["uid"].clone();
    let (code, after) = lab.apply(&path, "me", object).await;
    assert_eq!((code, &after["metadata"]["uid"]), (200, &made["metadata"]["uid"]));
    for (path, body, code) in [
        (format!("{path}?fieldManager="), config_map("one", &json!({})), 422),
        (format!("{path}?fieldManager=me"), json!({"metadata": {"name": "one"}}), 400),
        (
            format!("{path}?fieldManager=me"),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "managedFields": [{}]}}),
            400,
        ),
        (format!("{path}?fieldManager=me"), config_map("two", &json!({})), 400),
    ] {
        let (status, refused) = lab.send("PATCH", &path, super::lab::APPLY, &body).await;
        assert_eq!(status, code, "{path} {body}: {refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn finalizers_and_owners_are_applied_with_the_rest() {
    let lab = lab();
    let owner = lab.made(CONFIG_MAPS, config_map("owner", &json!({}))).await;
    let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]});
    let mut object = config_map("one", &json!({}));
    object["metadata"]["ownerReferences"] = json!([reference]);
    object["metadata"]["finalizers"] = json!(["x.example/me"]);
    let (code, made) = lab.apply(&format!("{CONFIG_MAPS}/one"), "me", object.clone()).await;
    assert_eq!((code, &made["metadata"]["ownerReferences"]), (201, &json!([reference])));
    lab.merge(&format!("{CONFIG_MAPS}/one"), json!({"metadata": {"finalizers": ["x.example/me", "x.example/you"]}}))
        .await;
    object["metadata"].as_object_mut().unwrap().remove("finalizers");
    let (_, after) = lab.apply(&format!("{CONFIG_MAPS}/one"), "me", object).await;
    assert_eq!(after["metadata"]["finalizers"], json!(["x.example/you"]), "finalizers are a set: {after}");
}
