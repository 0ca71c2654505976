//! Creating, reading, updating and patching: versions, names, generations and parts.

use serde_json::{Value, json};

use super::lab::{APPLY, CONFIG_MAPS, DEPLOYMENTS, JSON_PATCH, MERGE, config_map, deployment, lab, version};

#[tokio::test(start_paused = true)]
async fn an_object_gets_its_identity_when_it_is_created() {
    let lab = lab();
    let made = lab.made(CONFIG_MAPS, config_map("one", &json!({"a": "1"}))).await;
    let metadata = &made["metadata"];
    assert_eq!((&metadata["namespace"], &metadata["name"]), (&json!("shop"), &json!("one")));
    assert_eq!(metadata["creationTimestamp"], "2026-01-01T00:00:00Z");
    assert!(metadata["uid"].as_str().unwrap().len() == 36 && version(&made) > 1);
    assert_eq!(metadata.get("generation"), None, "it has no status, so it counts no generations");
    let (code, read) = lab.get(&format!("{CONFIG_MAPS}/one")).await;
    assert_eq!((code, &read), (200, &made));
    let other = lab.made(CONFIG_MAPS, config_map("two", &json!({}))).await;
    assert_ne!(other["metadata"]["uid"], made["metadata"]["uid"]);
    assert!(version(&other) > version(&made));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_created_is_refused_in_kubernetes_words() {
    let lab = lab();
    lab.made(CONFIG_MAPS, config_map("there", &json!({}))).await;
    let named = |name: &str| json!({"metadata": {"name": name}});
    let elsewhere = "/api/v1/namespaces/nowhere/configmaps";
    let of = |kind: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}});
    for (path, body, code, reason, said) in [
        (CONFIG_MAPS, named("there"), 409, "AlreadyExists", "configmaps \"there\" already exists"),
        (CONFIG_MAPS, named("Bad_Name"), 422, "Invalid", "ConfigMap \"Bad_Name\" is invalid: metadata.name"),
        (CONFIG_MAPS, json!({"metadata": {}}), 422, "Invalid", "name or generateName is required"),
        (CONFIG_MAPS, of("Secret"), 400, "BadRequest", "Secret"),
        (CONFIG_MAPS, json!({"metadata": {"name": "x", "namespace": "y"}}), 400, "BadRequest", "does not match"),
        (
            CONFIG_MAPS,
            json!({"metadata": {"name": "x", "resourceVersion": "7"}}),
            500,
            "",
            "resourceVersion should not be set",
        ),
        (elsewhere, named("x"), 404, "NotFound", "namespaces \"nowhere\" not found"),
        ("/api/v1/namespaces/shop/things", named("x"), 404, "NotFound", "could not find the requested resource"),
        ("/api/v1/configmaps", named("x"), 405, "MethodNotAllowed", "does not allow this method"),
    ] {
        let (status, answer) = lab.post(path, body.clone()).await;
        let said_reason = answer["reason"].as_str().unwrap_or_default();
        assert_eq!((status, said_reason), (code, reason), "{path} {body}: {answer}");
        assert_eq!(
            (&answer["kind"], &answer["status"], &answer["code"]),
            (&json!("Status"), &json!("Failure"), &json!(code))
        );
        assert!(answer["message"].as_str().unwrap().contains(said), "{path} {body}: {answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn generated_names_differ_and_come_from_the_seed() {
    let mut names = Vec::new();
    for _ in 0..2 {
        let lab = lab();
        for _ in 0..20 {
            let made = lab.made(CONFIG_MAPS, json!({"metadata": {"generateName": "job-"}})).await;
            names.push(made["metadata"]["name"].as_str().unwrap().to_owned());
        }
    }
    let (first, second) = names.split_at(20);
    assert_eq!(first, second);
    assert!(names.iter().all(|name| name.len() == 9 && name.starts_with("job-")), "{names:?}");
    let mut different = first.to_vec();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn an_update_that_names_another_version_or_uid_is_a_conflict() {
    let lab = lab();
    let first = lab.made(CONFIG_MAPS, config_map("one", &json!({"a": "1"}))).await;
    let path = format!("{CONFIG_MAPS}/one");
    let mut changed = first.clone();
    changed["data"]["a"] = json!("2");
    let (code, second) = lab.put(&path, changed.clone()).await;
    assert_eq!((code, &second["data"]["a"]), (200, &json!("2")));
    assert!(version(&second) > version(&first));

    let (code, refused) = lab.put(&path, changed).await;
    assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")));
    assert_eq!(
        refused["message"],
        "Operation cannot be fulfilled on configmaps \"one\": the object has been modified; please apply your changes to \
         the latest version and try again"
    );
    let foreign = json!({"metadata": {"name": "one", "uid": "11111111-1111-4111-8111-111111111111"}});
    let (code, refused) = lab.put(&path, foreign).await;
    assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")), "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("UID in precondition"), "{refused}");

    let (code, refused) = lab.merge(&path, json!({"metadata": {"resourceVersion": "1"}, "data": {"a": "3"}})).await;
    assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")), "{refused}");
    let (code, third) = lab.put(&path, config_map("one", &json!({"a": "3"}))).await;
    assert_eq!((code, &third["data"]["a"]), (200, &json!("3")), "whoever names no version overwrites");
    let (code, _) = lab.put(&format!("{CONFIG_MAPS}/none"), config_map("none", &json!({}))).await;
    assert_eq!(code, 404);
    let (code, _) = lab.put(&path, config_map("other", &json!({}))).await;
    assert_eq!(code, 400);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_changes_nothing_makes_no_version() {
    let lab = lab();
    let made = lab.made(DEPLOYMENTS, deployment("web")).await;
    let path = format!("{DEPLOYMENTS}/web");
    for (body, kind) in [
        (json!({"spec": {"replicas": 1}}), MERGE),
        (json!([{"op": "replace", "path": "/spec/replicas", "value": 1}]), JSON_PATCH),
        (json!({"metadata": {"annotations": {}}}), MERGE),
    ] {
        let (code, same) = lab.send("PATCH", &path, kind, &body).await;
        assert_eq!((code, version(&same)), (200, version(&made)), "{body}: {same}");
    }
    let (code, same) = lab.put(&path, made.clone()).await;
    assert_eq!((code, version(&same)), (200, version(&made)));
    let (_, scale) = lab.get(&format!("{path}/scale")).await;
    let (code, same) = lab.put(&format!("{path}/scale"), scale).await;
    assert_eq!((code, version(&same)), (200, version(&made)));
}

#[tokio::test(start_paused = true)]
async fn the_generation_counts_changes_of_the_spec_alone() {
    let lab = lab();
    lab.made(DEPLOYMENTS, deployment("web")).await;
    let path = format!("{DEPLOYMENTS}/web");
    let status = format!("{path}/status");
    for (place, body, generation) in [
        (&path, json!({"metadata": {"labels": {"a": "b"}}}), 1),
        (&path, json!({"spec": {"replicas": 3}}), 2),
        (&status, json!({"status": {"replicas": 3}}), 2),
        (&path, json!({"metadata": {"generation": 99}}), 2),
        (&path, json!({"spec": {"paused": true}}), 3),
    ] {
        let (code, after) = lab.merge(place, body.clone()).await;
        assert_eq!((code, &after["metadata"]["generation"]), (200, &json!(generation)), "{body}: {after}");
    }
}

#[tokio::test(start_paused = true)]
async fn spec_and_status_are_written_by_doors_of_their_own() {
    let lab = lab();
    let mut first = deployment("web");
    first["status"] = json!({"replicas": 7});
    let made = lab.made(DEPLOYMENTS, first).await;
    assert!(made["status"].get("replicas").is_none(), "a status that is sent along is dropped: {made}");
    let path = format!("{DEPLOYMENTS}/web");
    let both = json!({"spec": {"replicas": 5}, "status": {"replicas": 5}});
    let (_, after) = lab.merge(&format!("{path}/status"), both.clone()).await;
    assert_eq!((&after["spec"]["replicas"], &after["status"]["replicas"]), (&json!(1), &json!(5)));
    let (_, after) = lab.merge(&path, json!({"spec": {"replicas": 2}, "status": {"replicas": 9}})).await;
    assert_eq!((&after["spec"]["replicas"], &after["status"]["replicas"]), (&json!(2), &json!(5)));
    let (code, _) = lab.get(&format!("{CONFIG_MAPS}/one/status")).await;
    assert_eq!(code, 404, "a ConfigMap has no status");
}

#[tokio::test(start_paused = true)]
async fn the_scale_of_a_deployment_is_read_and_set() {
    let lab = lab();
    let made = lab.made(DEPLOYMENTS, deployment("web")).await;
    let path = format!("{DEPLOYMENTS}/web/scale");
    let (code, scale) = lab.get(&path).await;
    assert_eq!((code, &scale["kind"], &scale["apiVersion"]), (200, &json!("Scale"), &json!("autoscaling/v1")));
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(1), &json!("app=web")));
    assert_eq!(scale["metadata"]["uid"], made["metadata"]["uid"]);

    let mut wanted = scale.clone();
    wanted["spec"]["replicas"] = json!(4);
    let (code, set) = lab.put(&path, wanted.clone()).await;
    assert_eq!((code, &set["kind"], &set["spec"]["replicas"]), (200, &json!("Scale"), &json!(4)));
    let (_, deployment) = lab.get(&format!("{DEPLOYMENTS}/web")).await;
    assert_eq!((&deployment["spec"]["replicas"], &deployment["metadata"]["generation"]), (&json!(4), &json!(2)));

    let (code, late) = lab.put(&path, wanted.clone()).await;
    assert_eq!((code, &late["reason"]), (409, &json!("Conflict")), "that version is over: {late}");
    wanted["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    wanted["metadata"]["uid"] = json!("11111111-1111-4111-8111-111111111111");
    let (code, _) = lab.put(&path, wanted).await;
    assert_eq!(code, 409, "it is another object");
    let (code, set) = lab.merge(&path, json!({"spec": {"replicas": 0}})).await;
    assert_eq!((code, &set["spec"]), (200, &json!({})), "as the real one: 0 is left out");
    let (code, refused) = lab.merge(&path, json!({"spec": {"replicas": -1}})).await;
    assert_eq!((code, &refused["reason"]), (422, &json!("Invalid")), "{refused}");
    let (code, _) = lab.get(&format!("{DEPLOYMENTS}/none/scale")).await;
    assert_eq!(code, 404);
    let (code, _) = lab.get(&format!("{CONFIG_MAPS}/one/scale")).await;
    assert_eq!(code, 404);
}

#[tokio::test(start_paused = true)]
async fn json_patches_do_what_rfc_6902_says() {
    let lab = lab();
    lab.made(CONFIG_MAPS, config_map("one", &json!({"a": "1", "b/c": "2"}))).await;
    let path = format!("{CONFIG_MAPS}/one");
    let (code, after) = lab
        .send(
            "PATCH",
            &path,
            JSON_PATCH,
            &json!([
                {"op": "test", "path": "/data/a", "value": "1"},
                {"op": "add", "path": "/metadata/finalizers", "value": ["x.example/one"]},
                {"op": "add", "path": "/metadata/finalizers/0", "value": "x.example/zero"},
                {"op": "add", "path": "/metadata/finalizers/-", "value": "x.example/two"},
                {"op": "replace", "path": "/data/b~1c", "value": "3"},
                {"op": "copy", "from": "/data/a", "path": "/data/copied"},
                {"op": "move", "from": "/data/a", "path": "/data/moved"},
                {"op": "remove", "path": "/metadata/finalizers/1"},
            ]),
        )
        .await;
    assert_eq!((code, &after["data"]), (200, &json!({"b/c": "3", "copied": "1", "moved": "1"})), "{after}");
    assert_eq!(after["metadata"]["finalizers"], json!(["x.example/zero", "x.example/two"]));
    for wrong in [
        json!([{"op": "test", "path": "/data/copied", "value": "2"}]),
        json!([{"op": "replace", "path": "/data/none", "value": "2"}]),
        json!([{"op": "remove", "path": "/data/none"}]),
        json!([{"op": "add", "path": "/data/none/deep", "value": "2"}]),
        json!([{"op": "add", "path": "/metadata/finalizers/9", "value": "x"}]),
    ] {
        let (code, refused) = lab.send("PATCH", &path, JSON_PATCH, &wrong).await;
        assert_eq!((code, &refused["reason"]), (422, &json!("Invalid")), "{wrong}: {refused}");
    }
    // Nothing of a patch that fails half way is kept.
    let half = json!([{"op": "add", "path": "/data/half", "value": "1"}, {"op": "remove", "path": "/data/none"}]);
    lab.send("PATCH", &path, JSON_PATCH, &half).await;
    let (_, now) = lab.get(&path).await;
    assert_eq!(version(&now), version(&after));
}

#[tokio::test(start_paused = true)]
async fn merge_patches_set_and_remove() {
    let lab = lab();
    lab.made(CONFIG_MAPS, config_map("one", &json!({"a": "1", "b": "2"}))).await;
    let path = format!("{CONFIG_MAPS}/one");
    let (_, after) = lab.merge(&path, json!({"data": {"a": null, "c": "3"}, "metadata": {"labels": {"l": "m"}}})).await;
    assert_eq!((&after["data"], &after["metadata"]["labels"]), (&json!({"b": "2", "c": "3"}), &json!({"l": "m"})));
    let (code, _) = lab.merge(&format!("{CONFIG_MAPS}/none"), json!({})).await;
    assert_eq!(code, 404);
    for kind in ["text/plain", ""] {
        let (code, refused) = lab.send("PATCH", &path, kind, &json!({})).await;
        assert_eq!((code, &refused["reason"]), (415, &json!("UnsupportedMediaType")), "{kind:?}: {refused}");
    }
    let (code, refused) = lab.send("PATCH", &path, APPLY, &json!({})).await;
    assert_eq!(code, 422, "apply needs a field manager: {refused}");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_answers_and_keeps_nothing() {
    let lab = lab();
    let (code, dry) = lab.post(&format!("{CONFIG_MAPS}?dryRun=All"), config_map("dry", &json!({"a": "1"}))).await;
    assert_eq!((code, &dry["data"]["a"]), (201, &json!("1")));
    assert_eq!(lab.get(&format!("{CONFIG_MAPS}/dry")).await.0, 404);
    let made = lab.made(CONFIG_MAPS, config_map("one", &json!({"a": "1"}))).await;
    let path = format!("{CONFIG_MAPS}/one?dryRun=All");
    assert_eq!(lab.merge(&path, json!({"data": {"a": "2"}})).await.1["data"]["a"], "2");
    assert_eq!(lab.apply(&path, "me", config_map("one", &json!({"b": "2"}))).await.0, 200);
    assert_eq!(lab.delete(&path, Value::Null).await.0, 200);
    let finalized = json!({"metadata": {"finalizers": ["x.example/y"]}});
    let (_, held) = lab.merge(&format!("{CONFIG_MAPS}/one"), finalized).await;
    assert_eq!(version(&held), version(&made) + 1, "one write, and no more");
}
