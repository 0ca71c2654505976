//! What becomes of a pod once it is there: it starts, becomes ready, and, where it belongs to a Job, ends. It ends at once
//! when it is deleted. Never creates or deletes pods.
//!
//! Annotations of a pod: `kubesim/ready-ms` (a [`Spread`], or `never`), `kubesim/run-ms` (a [`Spread`], or `never`: how long
//! it works before it ends), `kubesim/fail-percent` (how often its work fails, 0 to 100).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::duration::Spread;
use super::json::{NsName, annotation, fields, list, seconds, set_condition, text};
use super::pods::{Phase, Pod};
use super::store::Kind;
use super::world::{Timer, World};
use crate::load::mix_text;

impl World {
    /// A pod that was not known before, or has changed.
    pub(super) fn see_kubelet(&mut self, key: &NsName, pod: &Arc<Pod>, replaced: bool) {
        if pod.deleting {
            if !pod.finished() {
                // It has a finalizer, or it would be gone: its containers end all the same.
                self.end_pod(key, pod, false, "Terminated");
            }
            return;
        }
        if !replaced || pod.finished() {
            return;
        }
        // The first time it is seen: also pods that were there before the controllers started.
        match pod.phase {
            Phase::Pending => {
                let total = self.draw(pod, "ready-ms", Some(self.settings.ready));
                // Never ready still means that it runs.
                let pending = total.unwrap_or(Duration::ZERO).mul_f64(self.settings.pending_share.clamp(0.0, 1.0));
                let rest = total.map(|total| total.saturating_sub(pending));
                self.after(pending, Timer::Start(key.clone(), pod.uid.clone(), rest));
            }
            Phase::Running if pod.ready.is_none() => {
                if let Some(total) = self.draw(pod, "ready-ms", Some(self.settings.ready)) {
                    self.after(total, Timer::Ready(key.clone(), pod.uid.clone()));
                }
            }
            _ => self.plan_end(key, pod),
        }
    }

    /// The containers start; with nothing left to wait for they are ready at once.
    pub(super) fn start_pod(&mut self, key: &NsName, uid: &str, ready_after: Option<Duration>) {
        let Some(pod) = self.living(key, uid).filter(|pod| pod.phase == Phase::Pending) else { return };
        let ready = ready_after == Some(Duration::ZERO);
        self.write_running(key, &pod, ready);
        match ready_after {
            Some(Duration::ZERO) => self.plan_end(key, &pod),
            Some(rest) => self.after(rest, Timer::Ready(key.clone(), uid.to_owned())),
            None => {}
        }
    }

    /// The readiness probe succeeds.
    pub(super) fn ready_pod(&mut self, key: &NsName, uid: &str) {
        let Some(pod) = self.living(key, uid).filter(|pod| pod.ready.is_none()) else { return };
        self.write_running(key, &pod, true);
        self.plan_end(key, &pod);
    }

    /// The work is done, well or not.
    pub(super) fn finish_pod(&mut self, key: &NsName, uid: &str) {
        let Some(pod) = self.living(key, uid) else { return };
        let percent: u64 =
            annotation(&pod.object, "kubesim/fail-percent").and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let fails = mix_text(self.seed, &format!("fails {}/{}", key.0, key.1)) % 100 < percent;
        self.end_pod(key, &pod, !fails, if fails { "Error" } else { "Completed" });
    }

    /// The pod as last seen, if it is still the same one and nothing has ended it.
    fn living(&self, key: &NsName, uid: &str) -> Option<Arc<Pod>> {
        self.pods.get(key).filter(|pod| pod.uid == uid && pod.active())
    }

    fn plan_end(&mut self, key: &NsName, pod: &Pod) {
        let of_a_job = pod.owner.as_ref().is_some_and(|owner| owner.kind == "Job");
        if let Some(run) = self.draw(pod, "run-ms", of_a_job.then_some(self.settings.run)) {
            self.after(run, Timer::Done(key.clone(), pod.uid.clone()));
        }
    }

    /// A length of time from an annotation or else from the settings; `None` is never.
    fn draw(&self, pod: &Pod, what: &str, default: Option<Spread>) -> Option<Duration> {
        let name = format!("kubesim/{what}");
        let spread = match annotation(&pod.object, &name).map(str::trim) {
            Some("never") => return None,
            Some(text) => match text.parse() {
                Ok(spread) => spread,
                Err(error) => {
                    tracing::warn!(annotation = name, %error, "an annotation is ignored");
                    default?
                }
            },
            None => default?,
        };
        let pod_name =
            format!("{what} {}/{}", text(&pod.object, "/metadata/namespace"), text(&pod.object, "/metadata/name"));
        Some(spread.draw(mix_text(self.seed, &pod_name)))
    }

    fn write_running(&mut self, key: &NsName, pod: &Pod, ready: bool) {
        let now = self.now();
        let mut conditions = list(&pod.object, "/status/conditions").to_vec();
        for (kind, holds) in [
            ("PodScheduled", true),
            ("Initialized", true),
            ("PodReadyToStartContainers", true),
            ("ContainersReady", ready),
            ("Ready", ready),
        ] {
            let (reason, message) =
                if holds { ("", "") } else { ("ContainersNotReady", "containers are not ready yet") };
            set_condition(&mut conditions, kind, holds, reason, message, now);
        }
        let started = match text(&pod.object, "/status/startTime") {
            "" => seconds(now),
            before => before.to_owned(),
        };
        let state = json!({ "running": { "startedAt": started } });
        let status = fields([
            ("phase", "Running".into()),
            ("startTime", started.into()),
            ("conditions", conditions.into()),
            ("containerStatuses", containers(&pod.object, ready, &state).into()),
        ]);
        self.write_pod(key, status);
    }

    fn end_pod(&mut self, key: &NsName, pod: &Pod, well: bool, why: &str) {
        let now = self.now();
        let mut conditions = list(&pod.object, "/status/conditions").to_vec();
        let reason = if well { "PodCompleted" } else { "PodFailed" };
        for kind in ["ContainersReady", "Ready"] {
            set_condition(&mut conditions, kind, false, reason, "", now);
        }
        let exit = json!({ "terminated": { "exitCode": i32::from(!well), "reason": why, "finishedAt": seconds(now) } });
        let status = fields([
            ("phase", if well { "Succeeded" } else { "Failed" }.into()),
            ("conditions", conditions.into()),
            ("containerStatuses", containers(&pod.object, false, &exit).into()),
        ]);
        self.write_pod(key, status);
    }

    fn write_pod(&mut self, key: &NsName, status: Value) {
        if let Err(refused) = self.store.patch_status(Kind::Pod, key, fields([("status", status)])) {
            tracing::debug!(pod = %key.1, code = refused.code, error = %refused.message, "a pod's status was refused");
        }
    }
}

fn containers(pod: &Value, ready: bool, state: &Value) -> Vec<Value> {
    list(pod, "/spec/containers")
        .iter()
        .map(|container| {
            fields([
                ("name", text(container, "/name").into()),
                ("image", text(container, "/image").into()),
                ("imageID", "".into()),
                ("ready", ready.into()),
                ("restartCount", 0.into()),
                ("state", state.clone()),
            ])
        })
        .collect()
}
