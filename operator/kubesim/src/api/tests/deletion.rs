//! Deletion: preconditions, finalizers, owners, namespaces.

use serde_json::{Value, json};

use super::lab::{CONFIG_MAPS, DEPLOYMENTS, Lab, config_map, deployment, lab, version};

const SECRETS: &str = "/api/v1/namespaces/shop/secrets";

async fn owned_by(lab: &Lab, name: &str, owners: &[&Value], more: Value) -> Value {
    let references: Vec<_> = owners
        .iter()
        .map(|owner| {
            json!({
                "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true,
            })
        })
        .collect();
    let mut object = json!({"metadata": {"name": name, "ownerReferences": references}});
    for (field, value) in more.as_object().unwrap() {
        object["metadata"][field] = value.clone();
    }
    lab.made(SECRETS, object).await
}

async fn is_there(lab: &Lab, path: &str) -> bool {
    lab.get(path).await.0 == 200
}

#[tokio::test(start_paused = true)]
async fn a_deletion_can_be_bound_to_a_uid_and_a_version() {
    let lab = lab();
    let path = format!("{CONFIG_MAPS}/one");
    let made = lab.made(CONFIG_MAPS, config_map("one", &json!({}))).await;
    let uid = "11111111-1111-4111-8111-111111111111";
    for (precondition, said) in [
        (json!({"uid": uid}), "the UID in the precondition"),
        (json!({"resourceVersion": "1"}), "the ResourceVersion in the precondition"),
    ] {
        let (code, refused) = lab.delete(&path, json!({"preconditions": precondition})).await;
        assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")), "{refused}");
        assert!(refused["message"].as_str().unwrap().contains(said), "{refused}");
    }
    let exact = json!({"preconditions": {"uid": made["metadata"]["uid"], "resourceVersion": made["metadata"]["resourceVersion"]}});
    let (code, gone) = lab.delete(&path, exact).await;
    assert_eq!((code, &gone["status"], &gone["details"]["uid"]), (200, &json!("Success"), &made["metadata"]["uid"]));
    assert_eq!(lab.delete(&path, Value::Null).await.0, 404);
    lab.made(CONFIG_MAPS, config_map("one", &json!({}))).await;
    let (code, refused) = lab.delete(&path, json!({"propagationPolicy": "Sideways"})).await;
    assert_eq!(code, 422, "{refused}");
}

#[tokio::test(start_paused = true)]
async fn an_object_with_finalizers_is_marked_and_goes_with_the_last_of_them() {
    let lab = lab();
    let path = format!("{DEPLOYMENTS}/web");
    let mut object = deployment("web");
    object["metadata"]["finalizers"] = json!(["x.example/a", "x.example/b"]);
    let made = lab.made(DEPLOYMENTS, object).await;
    let mut events = lab.watch(&format!("{DEPLOYMENTS}?watch=1&resourceVersion={}", version(&made))).await;
    let (code, marked) = lab.delete(&path, Value::Null).await;
    assert_eq!((code, &marked["metadata"]["generation"]), (200, &json!(2)), "the mark is a new generation: {marked}");
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    let (_, again) = lab.delete(&path, Value::Null).await;
    assert_eq!(version(&again), version(&marked), "it is marked once");
    let (_, after) =
        lab.merge(&path, json!({"metadata": {"finalizers": ["x.example/b"], "deletionTimestamp": null}})).await;
    assert!(after["metadata"]["deletionTimestamp"].is_string(), "nobody takes the mark away");
    let (code, refused) = lab.merge(&path, json!({"metadata": {"finalizers": ["x.example/b", "x.example/c"]}})).await;
    assert_eq!((code, &refused["reason"]), (422, &json!("Invalid")), "{refused}");
    let (code, last) = lab.merge(&path, json!({"metadata": {"finalizers": null}})).await;
    assert_eq!((code, last["metadata"].get("finalizers")), (200, None));
    assert!(!is_there(&lab, &path).await);
    assert_eq!(events.all().await, ["MODIFIED web", "MODIFIED web", "DELETED web"]);
}

#[tokio::test(start_paused = true)]
async fn what_only_it_owned_goes_with_an_owner_and_what_others_own_stays() {
    let lab = lab();
    let one = lab.made(CONFIG_MAPS, config_map("one", &json!({}))).await;
    let two = lab.made(CONFIG_MAPS, config_map("two", &json!({}))).await;
    let child = owned_by(&lab, "child", &[&one], json!({})).await;
    owned_by(&lab, "grandchild", &[&child], json!({})).await;
    owned_by(&lab, "shared", &[&one, &two], json!({})).await;
    owned_by(&lab, "held", &[&one], json!({"finalizers": ["x.example/a"]})).await;
    lab.delete(&format!("{CONFIG_MAPS}/one"), Value::Null).await;
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap();
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let (_, left) = lab.get(SECRETS).await;
    assert_eq!(names(&left), ["held", "shared"]);
    assert!(left["items"][0]["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(left["items"][1]["metadata"]["ownerReferences"].as_array().unwrap().len(), 1);
    lab.delete(&format!("{CONFIG_MAPS}/two"), Value::Null).await;
    lab.merge(&format!("{SECRETS}/held"), json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(names(&lab.get(SECRETS).await.1), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_deleted_in_the_foreground_goes_last() {
    let lab = lab();
    let owner = lab.made(DEPLOYMENTS, deployment("web")).await;
    let child = owned_by(&lab, "child", &[&owner], json!({})).await;
    owned_by(&lab, "grandchild", &[&child], json!({"finalizers": ["x.example/a"]})).await;
    let path = format!("{DEPLOYMENTS}/web");
    let (code, marked) = lab.delete(&path, json!({"propagationPolicy": "Foreground"})).await;
    assert_eq!((code, &marked["metadata"]["finalizers"]), (200, &json!(["foregroundDeletion"])));
    assert!(is_there(&lab, &path).await && is_there(&lab, &format!("{SECRETS}/child")).await, "the grandchild is held");
    let mut events = lab
        .watch(&format!(
            "{SECRETS}?watch=1&resourceVersion={}",
            lab.get(SECRETS).await.1["metadata"]["resourceVersion"].as_str().unwrap()
        ))
        .await;
    lab.merge(&format!("{SECRETS}/grandchild"), json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(events.all().await, ["DELETED grandchild", "DELETED child"]);
    assert!(!is_there(&lab, &path).await);
}

#[tokio::test(start_paused = true)]
async fn orphans_stay_without_their_owner() {
    let lab = lab();
    let owner = lab.made(CONFIG_MAPS, config_map("one", &json!({}))).await;
    owned_by(&lab, "child", &[&owner], json!({})).await;
    let (code, _) = lab.delete(&format!("{CONFIG_MAPS}/one?propagationPolicy=Orphan"), Value::Null).await;
    assert_eq!(code, 200);
    assert!(!is_there(&lab, &format!("{CONFIG_MAPS}/one")).await);
    let (code, child) = lab.get(&format!("{SECRETS}/child")).await;
    assert_eq!((code, child["metadata"].get("ownerReferences")), (200, None));
}

#[tokio::test(start_paused = true)]
async fn what_is_made_for_an_owner_that_is_gone_is_collected() {
    let lab = lab();
    let owner = lab.made(CONFIG_MAPS, config_map("one", &json!({}))).await;
    lab.delete(&format!("{CONFIG_MAPS}/one"), Value::Null).await;
    // Its successor of the same name is another object.
    lab.made(CONFIG_MAPS, config_map("one", &json!({}))).await;
    owned_by(&lab, "late", &[&owner], json!({})).await;
    assert!(!is_there(&lab, &format!("{SECRETS}/late")).await);
    let unknown = json!({"apiVersion": "x.example/v1", "kind": "X", "metadata": {"name": "x", "uid": "u"}});
    owned_by(&lab, "foreign", &[&unknown], json!({})).await;
    assert!(is_there(&lab, &format!("{SECRETS}/foreign")).await, "of a kind that is not served nothing is known");
}

#[tokio::test(start_paused = true)]
async fn many_dependents_go_at_once_in_the_foreground() {
    let lab = lab();
    let owner = lab.made(CONFIG_MAPS, config_map("one", &json!({}))).await;
    for nth in 0..3000 {
        owned_by(&lab, &format!("s{nth}"), &[&owner], json!({})).await;
    }
    lab.delete(&format!("{CONFIG_MAPS}/one"), json!({"propagationPolicy": "Foreground"})).await;
    assert_eq!(lab.get(SECRETS).await.1["items"], json!([]));
    assert!(!is_there(&lab, &format!("{CONFIG_MAPS}/one")).await);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_takes_along_what_it_holds() {
    let lab = lab();
    lab.made(CONFIG_MAPS, config_map("one", &json!({}))).await;
    owned_by(&lab, "held", &[], json!({"finalizers": ["x.example/a"]})).await;
    let (code, going) = lab.delete("/api/v1/namespaces/shop", Value::Null).await;
    assert_eq!((code, &going["status"]["phase"]), (200, &json!("Terminating")));
    assert!(!is_there(&lab, &format!("{CONFIG_MAPS}/one")).await);
    assert!(is_there(&lab, "/api/v1/namespaces/shop").await);
    let (code, refused) = lab.post(CONFIG_MAPS, config_map("late", &json!({}))).await;
    assert_eq!((code, &refused["reason"]), (403, &json!("Forbidden")));
    assert_eq!(refused["details"]["causes"][0]["reason"], "NamespaceTerminating");
    lab.merge(&format!("{SECRETS}/held"), json!({"metadata": {"finalizers": null}})).await;
    assert!(!is_there(&lab, "/api/v1/namespaces/shop").await);
    let (code, refused) = lab.post(CONFIG_MAPS, config_map("late", &json!({}))).await;
    assert_eq!((code, &refused["reason"]), (404, &json!("NotFound")));
}

#[tokio::test(start_paused = true)]
async fn a_collection_is_deleted_as_far_as_it_matches() {
    let lab = lab();
    for (name, app) in [("a", "web"), ("b", "api"), ("c", "web")] {
        let mut object = config_map(name, &json!({}));
        object["metadata"]["labels"] = json!({"app": app});
        lab.made(CONFIG_MAPS, object).await;
    }
    let (code, _) = lab.delete(&format!("{CONFIG_MAPS}?labelSelector=app%3Dweb"), Value::Null).await;
    assert_eq!(code, 200);
    let (_, left) = lab.get(CONFIG_MAPS).await;
    assert_eq!((left["items"].as_array().unwrap().len(), &left["items"][0]["metadata"]["name"]), (1, &json!("b")));
}
