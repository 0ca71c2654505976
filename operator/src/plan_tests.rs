//! Which effects follow from a decision, and in which order.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::GroupVersionKind;
use serde_json::json;
use windlass_crd::{Inputs, ScaledObjectSpec, validate};
use windlass_decision::{Activity, Hand, Observation, Outcome, Pause, Reading, Sample, State, decide};

use super::*;
use crate::seen::ScalingActive;
use crate::status;

/// One object with one queue, at a time of its own.
struct Stage {
    key: ObjectKey,
    object: SeenObject,
    valid: Validated,
    target: SeenTarget,
    resource: ApiResource,
    old_hpas: Vec<Arc<SeenHpa>>,
    now: Timestamp,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).expect("a time")
}

impl Stage {
    fn new(replicas: u32) -> Self {
        let spec: ScaledObjectSpec = serde_json::from_value(json!({
            "scaleTargetRef": {"name": "worker"}, "maxReplicaCount": 4, "cooldownPeriod": 30,
            "triggers": [{"type": "rabbitmq", "metadata": {
                "queueName": "orders", "host": "amqp://u:p@h/", "mode": "QueueLength", "value": "10"}}],
        }))
        .expect("the test's own spec");
        let valid = validate("orders", &spec, Inputs::default()).expect("valid");
        let object = SeenObject {
            uid: "uid-1".to_owned(),
            version: 7,
            generation: 1,
            created_at: at(0),
            deleting: false,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            finalizers: Vec::new(),
            hand: Ok(Hand::default()),
            spec: Ok(spec),
            status: ScaledObjectStatus::default(),
        };
        Self {
            key: ObjectKey::new("shop", "orders"),
            object,
            valid,
            target: SeenTarget {
                uid: "uid-2".to_owned(),
                version: 9,
                replicas,
                ready: replicas,
                containers: None,
                scaled_by: None,
            },
            resource: ApiResource::from_gvk_with_plural(
                &GroupVersionKind::gvk("apps", "v1", "Deployment"),
                "deployments",
            ),
            old_hpas: Vec::new(),
            now: at(10),
        }
    }

    /// What is planned when the queue holds `messages` (or cannot be read), and the status after it.
    fn plan(&self, messages: Option<f64>, hpa: Option<&SeenHpa>) -> (Vec<Effect>, ScaledObjectStatus) {
        let sample =
            messages.map(|value| Sample { value, activity: Activity::Number(value), limit: None, at: self.now });
        let failure = windlass_decision::Failure {
            kind: windlass_decision::FailureKind::Unreachable,
            message: "the broker refused".to_owned(),
            field: Some("metadata.host"),
            at: self.now,
        };
        let reading = Reading {
            latest: Some(sample.map_or(Outcome::Failed(failure), Outcome::Ok)),
            last_ok: sample,
            interval: Duration::from_millis(500),
            failures: u32::from(messages.is_none()),
        };
        let observation = Observation {
            triggers: vec![reading],
            replicas: self.target.replicas,
            ready: self.target.ready,
            created_at: self.object.created_at,
            last_active_time: self.object.status.last_active_time.as_ref().map(|time| time.0),
            hpa_answer: None,
            since_last: None,
            hand: self.object.hand.clone().expect("the test's own annotations"),
        };
        let decision = decide(&observation, &self.valid.config, &State::default(), self.now);
        let seen = status::Decided {
            valid: &self.valid,
            observation: &observation,
            decision: &decision,
            plural: "deployments",
            hpa_trouble: None,
            hpa,
            generation: self.object.generation,
        };
        let wanted = status::decided(&self.object.status, seen, true, self.now);
        let snapshot = Snapshot {
            key: &self.key,
            object: &self.object,
            valid: &self.valid,
            target: &self.target,
            resource: &self.resource,
            hpa,
            old_hpas: &self.old_hpas,
            check_hpa: true,
            rewrite_hpa: false,
            status: &self.object.status,
            wanted: Some(&wanted),
        };
        (plan(&decision, snapshot), wanted)
    }

    fn hpa(&self) -> SeenHpa {
        let body = hpa::desired(&self.key, &self.object, &self.valid);
        let hpa: k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler =
            serde_json::from_value(body).expect("an HPA");
        hpa.into()
    }
}

fn names(effects: &[Effect]) -> Vec<&'static str> {
    let name = |effect: &Effect| match effect {
        Effect::ApplyHpa { .. } => "hpa",
        Effect::DeleteHpa { .. } => "delete hpa",
        Effect::Scale(_) => "scale",
        Effect::Status { .. } => "status",
        Effect::Mark(_) => "mark",
        Effect::Event(_) | Effect::Tell(_) => "event",
    };
    effects.iter().map(name).collect()
}

#[test]
fn the_first_activation_is_written_down_before_it_is_made() {
    let stage = Stage::new(0);
    let (effects, _) = stage.plan(Some(100.0), None);
    assert_eq!(names(&effects), ["status", "scale", "hpa", "event"]);
    let Some(Effect::Scale(scale)) = effects.get(1) else { panic!("no scale in {effects:?}") };
    assert_eq!((scale.to, scale.seen.version, scale.seen.uid.as_str()), (4, 9, "uid-2"));
}

#[test]
fn an_object_taken_on_without_replicas_scales_first_since_its_replicas_tell_of_the_activation() {
    let mut stage = Stage::new(0);
    let hpa = stage.hpa();
    stage.object.status = stage.plan(Some(0.0), Some(&hpa)).1;
    assert_eq!(names(&stage.plan(Some(100.0), Some(&hpa)).0), ["scale", "status"]);
    stage.object.status.original_replica_count = Some(1);
    assert_eq!(names(&stage.plan(Some(100.0), Some(&hpa)).0), ["status", "scale"]);
}

#[test]
fn a_pause_deletes_the_hpa_first_then_scales_and_says_so_once() {
    let mut stage = Stage::new(2);
    let hpa = stage.hpa();
    stage.object.status = stage.plan(Some(20.0), Some(&hpa)).1;
    stage.object.hand = Ok(Hand { pause: Some(Pause::At(5)), ..Hand::default() });
    let (effects, status) = stage.plan(Some(20.0), Some(&hpa));
    assert_eq!(names(&effects), ["delete hpa", "scale", "status", "event"]);
    let Some(Effect::Event(note)) = effects.last() else { panic!("no event in {effects:?}") };
    assert_eq!((note.reason, note.message.as_str()), ("ScaledObjectPaused", "scaling is paused by hand at 5 replicas"));
    assert_eq!(status.paused_replica_count, Some(5));
    // Carried out: nothing is left to do, and with the pause over the HPA comes back.
    stage.object.status = status;
    stage.target.replicas = 5;
    assert!(stage.plan(Some(20.0), None).0.is_empty());
    stage.object.hand = Ok(Hand::default());
    let (effects, status) = stage.plan(Some(20.0), None);
    assert_eq!(names(&effects), ["hpa", "status", "event"]);
    assert_eq!(status.paused_replica_count, None);
}

#[test]
fn a_pause_in_one_direction_disables_it_in_the_hpa_and_gives_it_back() {
    let mut stage = Stage::new(2);
    let before = stage.hpa();
    stage.object.status = stage.plan(Some(20.0), Some(&before)).1;
    stage.object.hand = Ok(Hand { scale_in_paused: true, ..Hand::default() });
    let paused = stage.hpa();
    let down = paused.spec.behavior.as_ref().and_then(|behavior| behavior.scale_down.as_ref()).expect("rules");
    assert_eq!(down.select_policy.as_deref(), Some("Disabled"));
    assert_eq!(names(&stage.plan(Some(20.0), Some(&before)).0), ["hpa", "status", "event"]);
    stage.object.status = stage.plan(Some(20.0), Some(&paused)).1;
    stage.object.hand = Ok(Hand::default());
    assert_eq!(names(&stage.plan(Some(20.0), Some(&paused)).0), ["hpa", "status", "event"]);
}

#[test]
fn what_the_hpa_says_of_itself_is_told_in_kedas_words_and_its_message_is_no_reason_to_write() {
    let mut stage = Stage::new(2);
    let said = |active: Option<(bool, &str, &str)>| SeenHpa {
        scaling_active: active.map(|(is_true, reason, message)| {
            Arc::new(ScalingActive { is_true, reason: reason.to_owned(), message: message.to_owned() })
        }),
        ..stage_hpa()
    };
    let told = |status: &ScaledObjectStatus| {
        let condition = status.conditions.iter().flatten().find(|condition| condition.type_ == types::HPA_ACTIVE);
        condition.map(|condition| (condition.status.clone(), condition.reason.clone(), condition.message.clone()))
    };
    let words = |status: &str, reason: &str, message: &str| Some((status.into(), reason.into(), message.into()));
    let look = |stage: &mut Stage, hpa: &SeenHpa| {
        let (effects, status) = stage.plan(Some(20.0), Some(hpa));
        stage.object.status = status;
        (names(&effects).contains(&"status"), told(&stage.object.status))
    };
    assert_eq!(look(&mut stage, &said(None)), (true, None), "before the first sync nothing is said");
    let valid = said(Some((true, "ValidMetricFound", "20 of 10")));
    assert_eq!(look(&mut stage, &valid), (true, words("True", "ValidMetricFound", "20 of 10")));
    let moved = said(Some((true, "ValidMetricFound", "21 of 10")));
    assert_eq!(look(&mut stage, &moved), (false, words("True", "ValidMetricFound", "20 of 10")));
    let broken = said(Some((false, "FailedGetExternalMetric", "no answer")));
    let unavailable = words("False", "HPAMetricsUnavailable", "FailedGetExternalMetric: no answer");
    assert_eq!(look(&mut stage, &broken), (true, unavailable.clone()));
    assert_eq!(look(&mut stage, &said(None)), (false, unavailable), "nothing new is known");
    let off = said(Some((false, "ScalingDisabled", "zero replicas")));
    assert_eq!(look(&mut stage, &off), (true, words("True", "ScalingDisabled", "zero replicas")));
}

fn stage_hpa() -> SeenHpa {
    Stage::new(2).hpa()
}

#[test]
fn the_first_status_is_written_only_over_the_object_that_was_seen() {
    let mut stage = Stage::new(3);
    let only_at = |effects: &[Effect]| {
        effects.iter().find_map(|effect| match effect {
            Effect::Status { only_at, .. } => Some(*only_at),
            _ => None,
        })
    };
    let (effects, status) = stage.plan(Some(0.0), None);
    // To rest, for nothing tells that it was ever active: if that is not so, the write fails and nothing follows it.
    assert_eq!((only_at(&effects), names(&effects)[..2].to_vec()), (Some(Some(7)), vec!["status", "scale"]));
    stage.object.status = status;
    assert_eq!(only_at(&stage.plan(Some(30.0), None).0), Some(None));
}

#[test]
fn a_later_activation_scales_first() {
    let mut stage = Stage::new(0);
    let hpa = stage.hpa();
    stage.object.status = stage.plan(Some(100.0), Some(&hpa)).1;
    let resting = stage.plan(Some(0.0), Some(&hpa)).1;
    stage.object.status = resting;
    assert_eq!(names(&stage.plan(Some(100.0), Some(&hpa)).0), ["scale", "status"]);
}

#[test]
fn nothing_is_written_when_nothing_changed() {
    let mut stage = Stage::new(0);
    let hpa = stage.hpa();
    let (effects, wanted) = stage.plan(Some(0.0), Some(&hpa));
    assert_eq!(names(&effects), ["status", "event"]);
    stage.object.status = wanted;
    stage.now = at(500);
    assert_eq!(names(&stage.plan(Some(0.0), Some(&hpa)).0), [""; 0]);
}

#[test]
fn a_failing_source_changes_words_and_no_replicas() {
    let mut stage = Stage::new(4);
    let hpa = stage.hpa();
    stage.object.status = stage.plan(Some(50.0), Some(&hpa)).1;
    let (effects, wanted) = stage.plan(None, Some(&hpa));
    assert_eq!(names(&effects), ["status", "event"]);
    let Some(Effect::Event(note)) = effects.last() else { panic!("no event in {effects:?}") };
    assert!(note.warning && note.message.contains("metadata.host"), "{note:?}");
    let said = |kind: &str| {
        let found = wanted.conditions.iter().flatten().find(|condition| condition.type_ == kind).cloned();
        let found = found.expect("the condition is there");
        (found.status, found.reason)
    };
    assert_eq!(said(types::READY), ("False".to_owned(), "TriggerError".to_owned()));
    assert_eq!(said(types::ACTIVE), ("Unknown".to_owned(), "UnknownState".to_owned()));
}

#[test]
fn a_condition_keeps_its_transition_time_while_its_status_stays() {
    let mut stage = Stage::new(0);
    let hpa = stage.hpa();
    let first = stage.plan(Some(0.0), Some(&hpa)).1;
    stage.object.status = first.clone();
    stage.object.generation = 2;
    stage.now = at(90);
    let second = stage.plan(Some(0.0), Some(&hpa)).1;
    let ready = |status: &ScaledObjectStatus| status.conditions.iter().flatten().next().cloned().expect("Ready");
    assert_eq!(ready(&second).observed_generation, Some(2));
    assert_eq!(ready(&first).last_transition_time, ready(&second).last_transition_time);
}

#[test]
fn an_object_that_is_refused_says_so_once() {
    let stage = Stage::new(2);
    let wanted = status::refused(&stage.object, &stage.object.status, "spec.triggers: wrong; mend it", stage.now);
    let effects = refuse(&stage.object, &stage.object.status, &wanted);
    assert_eq!(names(&effects), ["status", "event"]);
    assert!(
        refuse(
            &stage.object,
            &wanted,
            &status::refused(&stage.object, &wanted, "spec.triggers: wrong; mend it", at(99))
        )
        .is_empty()
    );
}

#[test]
fn every_hpa_under_another_name_is_deleted_after_the_right_one_is_there() {
    let mut stage = Stage::new(4);
    for name in ["first", "second"] {
        let mut old = stage.hpa();
        old.meta.name = Some(name.to_owned());
        old.uid = format!("uid-{name}");
        stage.old_hpas.push(Arc::new(old));
    }
    let (effects, _) = stage.plan(Some(40.0), None);
    assert_eq!(names(&effects), ["hpa", "delete hpa", "delete hpa", "status", "event"]);
    let deleted = |effect: &Effect| matches!(effect, Effect::DeleteHpa { name, uid } if *uid == format!("uid-{name}"));
    assert!(effects[1..3].iter().all(deleted), "{effects:?}");
}
