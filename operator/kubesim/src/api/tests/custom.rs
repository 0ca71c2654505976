//! Custom resources: definitions, defaults, pruning, validation and rules.

use serde_json::{Value, json};

use super::lab::{CRDS, Lab, lab, scaled_object_definition, version};

const THINGS: &str = "/apis/x.example/v1/namespaces/shop/things";
const SCALED: &str = "/apis/windlass.dev/v1alpha1/namespaces/shop/scaledobjects";

fn definition(spec: &Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.x.example"},
        "spec": {
            "group": "x.example", "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size", "labelSelectorPath": ".status.selector"},
                },
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": spec,
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                }}},
            }],
        },
    })
}

async fn with(spec: Value) -> Lab {
    let lab = lab();
    lab.made(CRDS, definition(&spec)).await;
    lab
}

fn thing(spec: &Value) -> Value {
    json!({"apiVersion": "x.example/v1", "kind": "Thing", "metadata": {"name": "one"}, "spec": spec})
}

#[tokio::test(start_paused = true)]
async fn a_definition_makes_its_kind_known_until_it_is_deleted() {
    let lab = lab();
    assert_eq!(lab.get(THINGS).await.0, 404);
    let made = lab.made(CRDS, definition(&json!({"type": "object"}))).await;
    assert_eq!(made["spec"]["names"]["listKind"], "ThingList");
    let (_, established) = lab.get(&format!("{CRDS}/things.x.example")).await;
    let conditions = established["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|condition| condition["type"] == "Established" && condition["status"] == "True"));
    assert_eq!(lab.get(THINGS).await.1["kind"], "ThingList");
    let mut held = thing(&json!({}));
    held["metadata"]["finalizers"] = json!(["x.example/a"]);
    let one = lab.made(THINGS, held).await;
    let mut events = lab.watch(&format!("{THINGS}?watch=1&resourceVersion={}", version(&one))).await;
    lab.delete(&format!("{CRDS}/things.x.example"), Value::Null).await;
    let (code, refused) = lab.post(THINGS, thing(&json!({}))).await;
    assert_eq!(code, 405, "no new ones: {refused}");
    assert_eq!(lab.get(&format!("{THINGS}/one")).await.0, 200, "its finalizer is waited for");
    lab.merge(&format!("{THINGS}/one"), json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(lab.get(&format!("{CRDS}/things.x.example")).await.0, 404);
    assert_eq!(lab.get(THINGS).await.0, 404);
    assert_eq!(events.all().await, ["MODIFIED one", "DELETED one", "end"], "a watch hears of it before it ends");
    lab.made(CRDS, definition(&json!({"type": "object"}))).await;
    assert_eq!(lab.get(THINGS).await.1["items"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn defaults_are_filled_in_and_what_is_not_known_is_pruned() {
    let lab = with(json!({"type": "object", "properties": {
        "size": {"type": "integer", "default": 3},
        "text": {"type": "string"},
        "maybe": {"type": "string", "nullable": true},
        "deep": {"type": "object", "default": {}, "properties": {"mode": {"type": "string", "default": "slow"}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "bare": {"type": "object"},
        "port": {"x-kubernetes-int-or-string": true},
    }}))
    .await;
    let spec = json!({
        "unknown": 1, "text": null, "maybe": null, "list": [{}, {"n": 5, "m": 6}], "map": {"a": "b"},
        "free": {"a": {"b": 1}}, "bare": {"a": 1}, "size": null, "port": "http",
    });
    let made = lab.made(THINGS, thing(&spec)).await;
    assert_eq!(
        made["spec"],
        json!({
            "size": 3, "maybe": null, "deep": {"mode": "slow"}, "list": [{"n": 1}, {"n": 5}], "map": {"a": "b"},
            "free": {"a": {"b": 1}}, "bare": {}, "port": "http",
        })
    );
    let (_, again) = lab.merge(&format!("{THINGS}/one"), json!({"spec": {"deep": {"other": 1}, "size": 4}})).await;
    assert_eq!((&again["spec"]["deep"], &again["metadata"]["generation"]), (&json!({"mode": "slow"}), &json!(2)));
}

#[tokio::test(start_paused = true)]
async fn what_a_schema_forbids_is_refused_with_its_field_and_reason() {
    let lab = with(json!({"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string", "minLength": 2, "maxLength": 4},
        "size": {"type": "integer", "minimum": 1, "maximum": 9},
        "ratio": {"type": "number", "minimum": 0, "exclusiveMinimum": true},
        "mode": {"type": "string", "enum": ["fast", "slow"]},
        "list": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string"}},
        "port": {"x-kubernetes-int-or-string": true},
        "flag": {"type": "boolean"},
    }}))
    .await;
    for (spec, field, reason, said) in [
        (json!({}), "spec.name", "FieldValueRequired", "Required value"),
        (json!({"name": 5}), "spec.name", "FieldValueTypeInvalid", "must be of type string: \"integer\""),
        (json!({"name": "a"}), "spec.name", "FieldValueInvalid", "should be at least 2 chars long"),
        (json!({"name": "abcde"}), "spec.name", "FieldValueTooLong", "may not be more than 4 bytes"),
        (json!({"name": "ab", "size": 0}), "spec.size", "FieldValueInvalid", "should be greater than or equal to 1"),
        (json!({"name": "ab", "size": 10}), "spec.size", "FieldValueInvalid", "should be less than or equal to 9"),
        (
            json!({"name": "ab", "size": 1.5}),
            "spec.size",
            "FieldValueTypeInvalid",
            "must be of type integer: \"number\"",
        ),
        (json!({"name": "ab", "ratio": 0}), "spec.ratio", "FieldValueInvalid", "should be greater than 0"),
        (
            json!({"name": "ab", "mode": "odd"}),
            "spec.mode",
            "FieldValueNotSupported",
            "supported values: \"fast\", \"slow\"",
        ),
        (json!({"name": "ab", "list": []}), "spec.list", "FieldValueInvalid", "should have at least 1 items"),
        (json!({"name": "ab", "list": ["a", "b", "c"]}), "spec.list", "FieldValueTooMany", "must have at most 2 items"),
        (json!({"name": "ab", "list": [1]}), "spec.list[0]", "FieldValueTypeInvalid", "must be of type string"),
        (json!({"name": "ab", "port": true}), "spec.port", "FieldValueTypeInvalid", "must be of type"),
        (json!({"name": "ab", "flag": "yes"}), "spec.flag", "FieldValueTypeInvalid", "must be of type boolean"),
    ] {
        let (code, refused) = lab.post(THINGS, thing(&spec)).await;
        assert_eq!((code, &refused["reason"]), (422, &json!("Invalid")), "{spec}: {refused}");
        let cause = &refused["details"]["causes"][0];
        assert_eq!((&cause["field"], &cause["reason"]), (&json!(field), &json!(reason)), "{spec}: {refused}");
        assert!(refused["message"].as_str().unwrap().contains(said), "{spec}: {refused}");
        assert!(refused["message"].as_str().unwrap().starts_with("Thing.x.example \"one\" is invalid: "), "{refused}");
    }
    let fine = json!({"name": "ab", "size": 9, "ratio": 0.5, "mode": "fast", "list": ["a"], "port": 80, "flag": true});
    lab.made(THINGS, thing(&fine)).await;
    let (code, _) = lab.merge(&format!("{THINGS}/one"), json!({"spec": {"size": 0}})).await;
    assert_eq!(code, 422, "an update is checked too");
}

#[tokio::test(start_paused = true)]
async fn rules_hold_at_creation_and_over_time() {
    let lab = with(json!({"type": "object", "properties": {
        "least": {"type": "integer"},
        "most": {"type": "integer"},
        "fixed": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "fixed cannot change"}]},
        "items": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "self.n > 0", "message": "n must be positive"}]}},
    }, "x-kubernetes-validations": [{"rule": "!has(self.least) || !has(self.most) || self.least <= self.most"}]}))
    .await;
    for (spec, field, said) in [
        (json!({"least": 3, "most": 2}), "spec", "failed rule: !has(self.least)"),
        (json!({"items": [{"n": 1}, {"n": 0}]}), "spec.items[1]", "n must be positive"),
    ] {
        let (code, refused) = lab.post(THINGS, thing(&spec)).await;
        assert_eq!((code, &refused["details"]["causes"][0]["field"]), (422, &json!(field)), "{refused}");
        assert!(refused["message"].as_str().unwrap().contains(said), "{refused}");
    }
    lab.made(THINGS, thing(&json!({"least": 2, "most": 2, "fixed": "a", "items": [{"n": 1}]}))).await;
    let path = format!("{THINGS}/one");
    let (code, refused) = lab.merge(&path, json!({"spec": {"fixed": "b"}})).await;
    assert_eq!((code, &refused["details"]["causes"][0]["field"]), (422, &json!("spec.fixed")), "{refused}");
    assert_eq!(lab.merge(&path, json!({"spec": {"fixed": "a", "most": 5}})).await.0, 200);
    assert_eq!(lab.merge(&path, json!({"spec": {"fixed": null}})).await.0, 200, "what is gone is not compared");
}

#[tokio::test(start_paused = true)]
async fn a_custom_resource_has_a_scale_where_its_definition_says() {
    let lab = with(json!({"type": "object", "properties": {"size": {"type": "integer"}}})).await;
    lab.made(THINGS, thing(&json!({"size": 2}))).await;
    let path = format!("{THINGS}/one");
    lab.merge(&format!("{path}/status"), json!({"status": {"size": 1, "selector": "app=x"}})).await;
    let (code, scale) = lab.get(&format!("{path}/scale")).await;
    assert_eq!(
        (code, &scale["spec"]["replicas"], &scale["status"]),
        (200, &json!(2), &json!({"replicas": 1, "selector": "app=x"}))
    );
    let (code, _) = lab.merge(&format!("{path}/scale"), json!({"spec": {"replicas": 6}})).await;
    let (_, thing) = lab.get(&path).await;
    assert_eq!((code, &thing["spec"]["size"], &thing["metadata"]["generation"]), (200, &json!(6), &json!(2)));
}

#[tokio::test(start_paused = true)]
async fn an_update_of_a_custom_resource_names_its_version() {
    let lab = with(json!({"type": "object", "properties": {"size": {"type": "integer"}}})).await;
    lab.made(THINGS, thing(&json!({"size": 2}))).await;
    let (code, refused) = lab.put(&format!("{THINGS}/one"), thing(&json!({"size": 3}))).await;
    assert_eq!((code, &refused["reason"]), (422, &json!("Invalid")), "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("must be specified for an update"), "{refused}");
}

fn scaled(spec: Value) -> Value {
    let mut whole = json!({"scaleTargetRef": {"name": "web"}, "triggers": [{"type": "rabbitmq"}]});
    for (name, value) in spec.as_object().unwrap() {
        whole[name] = value.clone();
    }
    json!({"apiVersion": "windlass.dev/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "web"}, "spec": whole})
}

#[tokio::test(start_paused = true)]
async fn the_products_own_definition_is_enforced() {
    let lab = lab();
    lab.made(CRDS, scaled_object_definition()).await;
    for (spec, said) in [
        (
            json!({"minReplicaCount": 5, "maxReplicaCount": 3}),
            Some("minReplicaCount must be less than or equal to maxReplicaCount"),
        ),
        (json!({"minReplicaCount": 101}), Some("minReplicaCount must be less than or equal to maxReplicaCount")),
        (json!({"minReplicaCount": 100}), None),
        (json!({"maxReplicaCount": 0}), Some("should be greater than or equal to 1")),
        (json!({"idleReplicaCount": 0}), Some("idleReplicaCount must be less than minReplicaCount")),
        (
            json!({"idleReplicaCount": 2, "minReplicaCount": 2}),
            Some("idleReplicaCount must be less than minReplicaCount"),
        ),
        (json!({"idleReplicaCount": 0, "minReplicaCount": 2}), None),
        (json!({"idleReplicaCount": null, "minReplicaCount": null, "maxReplicaCount": null}), None),
        (json!({"triggers": []}), Some("should have at least 1 items")),
        (json!({"triggers": [{"metadata": {}}]}), Some("spec.triggers[0].type: Required value")),
        (json!({"triggers": [{"type": "cron", "metadata": {"a": 5}}]}), Some("spec.triggers[0].metadata.a")),
        (json!({"scaleTargetRef": {}}), Some("spec.scaleTargetRef.name: Required value")),
        (json!({"scaleTargetRef": {"name": ""}}), Some("should be at least 1 chars long")),
        (json!({"pollingInterval": "30"}), Some("must be of type integer: \"string\"")),
        (json!({"fallback": {"replicas": 2}}), Some("spec.fallback.failureThreshold: Required value")),
    ] {
        let (code, answer) = lab.post(&format!("{SCALED}?dryRun=All"), scaled(spec.clone())).await;
        match said {
            None => assert_eq!(code, 201, "{spec}: {answer}"),
            Some(said) => {
                assert_eq!((code, &answer["reason"]), (422, &json!("Invalid")), "{spec}: {answer}");
                assert!(answer["message"].as_str().unwrap().contains(said), "{spec}: {answer}");
            }
        }
    }
    let mut long = scaled(json!({}));
    long["metadata"]["name"] = json!("a".repeat(63));
    assert_eq!(lab.post(SCALED, long.clone()).await.0, 201);
    long["metadata"]["name"] = json!("a".repeat(64));
    let (code, refused) = lab.post(SCALED, long).await;
    assert_eq!((code, &refused["details"]["causes"][0]["field"]), (422, &json!("<nil>")), "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("at most 63 characters"), "{refused}");
    let made = lab.made(SCALED, scaled(json!({"unknown": true}))).await;
    assert_eq!(made["spec"]["triggers"][0]["metadata"], json!({}), "the default");
    assert_eq!(made["spec"].get("unknown"), None);
}
