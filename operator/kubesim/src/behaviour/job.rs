//! The Job controller: pods until enough have succeeded or too many have failed. A pod is counted once, by the finalizer
//! that is taken off when it has been. Never deletes a finished Job (`ttlSecondsAfterFinished` is not read), and knows no
//! indexes and no failure policies.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::json::{NsName, count, deleting, list, name, omit_zero, seconds, set_condition, status_patch, text, time};
use super::pods::{Phase, Pod};
use super::store::Kind;
use super::world::{Timer, Work, World, uid_of};

const TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// The longest time before a failed pod is replaced.
const LONGEST_BACKOFF: Duration = Duration::from_secs(600);

impl World {
    pub(super) fn sync_job(&mut self, work: &Work, key: &NsName) {
        let job = self.object(Kind::Job, key);
        self.release_orphans(work, key, job.as_deref());
        let Some(job) = job else { return };
        if over(&job) {
            self.job_failures.remove(&uid_of(&job));
        }
        if deleting(&job) {
            return;
        }
        let now = self.now();
        let pods = self.pods_of(&uid_of(&job));
        let fresh: Vec<_> = pods.iter().filter(|pod| pod.finished() && tracked(pod)).cloned().collect();
        let count_of = |phase| u32::try_from(fresh.iter().filter(|pod| pod.phase == phase).count()).unwrap_or(u32::MAX);
        let new_failures = count_of(Phase::Failed);
        let succeeded = count(&job, "/status/succeeded").unwrap_or(0) + count_of(Phase::Succeeded);
        let failed = count(&job, "/status/failed").unwrap_or(0) + new_failures;

        let mut conditions = list(&job, "/status/conditions").to_vec();
        let mut active: Vec<_> = pods.iter().filter(|pod| pod.active()).cloned().collect();
        let started = time(&job, "/status/startTime");
        let mut start_time = started;
        let mut completion = text(&job, "/status/completionTime").to_owned();

        if !over(&job) {
            let suspended = job.pointer("/spec/suspend").and_then(Value::as_bool) == Some(true);
            let verdict = verdict(&job, succeeded, failed, active.len(), self.past_deadline(work, &job, started, now));
            match verdict {
                Some(verdict) => {
                    let holds = set_verdict(&mut conditions, verdict, now);
                    if holds == "Complete" {
                        completion = seconds(now);
                    }
                    self.delete_pods(work, &active, false);
                    active.clear();
                }
                None if suspended => {
                    set_condition(&mut conditions, "Suspended", true, "JobSuspended", "the job is suspended", now);
                    self.delete_pods(work, &active, true);
                    active.clear();
                    start_time = None;
                }
                None => {
                    if conditions.iter().any(|condition| text(condition, "/type") == "Suspended") {
                        set_condition(&mut conditions, "Suspended", false, "JobResumed", "the job goes on", now);
                    }
                    start_time = Some(started.unwrap_or(now));
                    if new_failures > 0 {
                        self.job_failures.insert(uid_of(&job), Instant::now());
                    }
                    self.fill(work, key, &job, &mut active, succeeded, failed);
                }
            }
        }

        let ready = u32::try_from(active.iter().filter(|pod| pod.ready.is_some()).count()).unwrap_or(u32::MAX);
        let active_count = u32::try_from(active.len()).unwrap_or(u32::MAX);
        let status = json!({
            "active": omit_zero(active_count),
            "ready": ready,
            "terminating": 0,
            "succeeded": omit_zero(succeeded),
            "failed": omit_zero(failed),
            "startTime": start_time.map(seconds),
            "completionTime": if completion.is_empty() { Value::Null } else { completion.into() },
            "conditions": if conditions.is_empty() { Value::Null } else { conditions.into() },
            "uncountedTerminatedPods": {},
        });
        let written = match status_patch(&job, status) {
            None => Some(()),
            Some(patch) => {
                let answer = self.store.patch_status(Kind::Job, key, patch);
                self.settle(work, answer).map(|_| ())
            }
        };
        // Counted first, released then. Nothing can come in between, so `uncountedTerminatedPods` always stays empty.
        if written.is_some() {
            for pod in &fresh {
                self.release(work, pod);
            }
        }
    }

    /// Creates what is missing: one pod for each piece of work left, no more than `parallelism` at a time.
    fn fill(
        &mut self,
        work: &Work,
        key: &NsName,
        job: &Value,
        active: &mut Vec<Arc<Pod>>,
        succeeded: u32,
        failed: u32,
    ) {
        let parallelism = count(job, "/spec/parallelism").unwrap_or(1);
        let wanted = match count(job, "/spec/completions") {
            Some(completions) => parallelism.min(completions.saturating_sub(succeeded)),
            // A queue of work: after the first success no new pods.
            None if succeeded > 0 => u32::try_from(active.len()).unwrap_or(u32::MAX).min(parallelism),
            None => parallelism,
        };
        let present = u32::try_from(active.len()).unwrap_or(u32::MAX);
        if present > wanted {
            active.sort_by_key(|pod| (pod.ready.is_some(), std::cmp::Reverse(pod.created())));
            let excess: Vec<_> = active.drain(..(present - wanted) as usize).collect();
            self.delete_pods(work, &excess, true);
            return;
        }
        if present < wanted && failed > 0 && self.waits_for_backoff(work, job, failed) {
            return;
        }
        for _ in present..wanted {
            let mut pod = self.pod_from(job, "batch/v1", "Job", None);
            pod["metadata"]["finalizers"] = json!([TRACKING]);
            let labels = &mut pod["metadata"]["labels"];
            if !labels.is_object() {
                *labels = json!({});
            }
            labels["batch.kubernetes.io/job-name"] = name(job).into();
            labels["batch.kubernetes.io/controller-uid"] = uid_of(job).into();
            labels["job-name"] = name(job).into();
            labels["controller-uid"] = uid_of(job).into();
            let created = self.store.create(Kind::Pod, &key.0, pod);
            match self.settle(work, created) {
                Some(created) => active.push(Arc::new(Pod::read(&created))),
                None => break,
            }
        }
    }

    /// Whether the pause after the last failure is still on; looks again when it ends. Remembered in memory, as the real
    /// controller does: after a restart there is no pause.
    fn waits_for_backoff(&mut self, work: &Work, job: &Value, failed: u32) -> bool {
        let Some(last_failure) = self.job_failures.get(&uid_of(job)) else { return false };
        match self.backoff(failed).checked_sub(last_failure.elapsed()) {
            Some(left) if !left.is_zero() => {
                self.after(left, Timer::Look(work.clone()));
                true
            }
            _ => false,
        }
    }

    fn backoff(&self, failed: u32) -> Duration {
        let doubled = 1_u32.checked_shl(failed.saturating_sub(1).min(20)).unwrap_or(u32::MAX);
        self.settings.job_backoff.saturating_mul(doubled).min(LONGEST_BACKOFF)
    }

    /// Whether `activeDeadlineSeconds` is over; looks again when it will be.
    fn past_deadline(&mut self, work: &Work, job: &Value, started: Option<Timestamp>, now: Timestamp) -> bool {
        let Some(limit) = count(job, "/spec/activeDeadlineSeconds") else { return false };
        let age = started
            .map_or(Duration::ZERO, |started| Duration::try_from(now.duration_since(started)).unwrap_or_default());
        match Duration::from_secs(limit.into()).checked_sub(age) {
            Some(left) if !left.is_zero() => {
                self.after(left, Timer::Look(work.clone()));
                false
            }
            _ => true,
        }
    }

    /// Deletes pods: uncounted ones lose the finalizer first (a pause or a smaller `parallelism`), the others count as
    /// failed when they have ended (the job is over), as the real controller does both.
    fn delete_pods(&mut self, work: &Work, pods: &[Arc<Pod>], uncounted: bool) {
        for pod in pods {
            if uncounted && tracked(pod) {
                self.release(work, pod);
            }
            let deleted = self.store.delete(Kind::Pod, &super::json::key(&pod.object), &pod.uid);
            self.settle(work, deleted);
        }
    }

    /// Takes the finalizer off pods whose job is gone or is another one of the same name.
    fn release_orphans(&mut self, work: &Work, key: &NsName, job: Option<&Value>) {
        let pods = self.pods_of(&job_index(key)).into_iter().filter(|pod| pod.deleting && tracked(pod));
        let pods: Vec<_> = pods.collect();
        for pod in pods {
            let alive = job
                .is_some_and(|job| !deleting(job) && pod.owner.as_ref().is_some_and(|owner| owner.uid == uid_of(job)));
            if !alive {
                self.release(work, &pod);
            }
        }
    }

    fn release(&mut self, work: &Work, pod: &Pod) {
        let rest: Vec<_> =
            list(&pod.object, "/metadata/finalizers").iter().filter(|one| *one != TRACKING).cloned().collect();
        let finalizers = if rest.is_empty() { Value::Null } else { rest.into() };
        let pod_key = super::json::key(&pod.object);
        let released = self.store.patch(Kind::Pod, &pod_key, json!({ "metadata": { "finalizers": finalizers } }));
        self.settle(work, released);
    }
}

/// Where the pods of all jobs of one name are filed: after a job is gone its uid is not known any more.
pub(super) fn job_index(job: &NsName) -> String {
    format!("job {}/{}", job.0, job.1)
}

/// Whether a job has ended, well or not.
fn over(job: &Value) -> bool {
    list(job, "/status/conditions").iter().any(|condition| {
        matches!(text(condition, "/type"), "Complete" | "Failed") && text(condition, "/status") == "True"
    })
}

fn tracked(pod: &Pod) -> bool {
    list(&pod.object, "/metadata/finalizers").iter().any(|finalizer| finalizer == TRACKING)
}

/// How a job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Complete,
    TooManyFailures,
    DeadlineExceeded,
}

fn verdict(job: &Value, succeeded: u32, failed: u32, active: usize, past_deadline: bool) -> Option<Verdict> {
    if failed > count(job, "/spec/backoffLimit").unwrap_or(6) {
        return Some(Verdict::TooManyFailures);
    }
    if past_deadline {
        return Some(Verdict::DeadlineExceeded);
    }
    let complete = match count(job, "/spec/completions") {
        Some(completions) => succeeded >= completions,
        // Without a number of completions one success and nobody left at work is enough; 1 is also the API's default.
        None => succeeded > 0 && active == 0,
    };
    complete.then_some(Verdict::Complete)
}

/// Sets the interim and the final condition, as both are there from 1.31 on, and says which the final one is.
fn set_verdict(conditions: &mut Vec<Value>, verdict: Verdict, now: Timestamp) -> &'static str {
    let (interim, last, reason, message) = match verdict {
        Verdict::Complete => ("SuccessCriteriaMet", "Complete", "CompletionsReached", "enough pods have succeeded"),
        Verdict::TooManyFailures => {
            ("FailureTarget", "Failed", "BackoffLimitExceeded", "more pods failed than backoffLimit allows")
        }
        Verdict::DeadlineExceeded => {
            ("FailureTarget", "Failed", "DeadlineExceeded", "the job was active longer than its deadline")
        }
    };
    set_condition(conditions, interim, true, reason, message, now);
    set_condition(conditions, last, true, reason, message, now);
    last
}
