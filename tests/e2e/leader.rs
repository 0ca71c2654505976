//! Who leads, and what a caller of the metrics API and the replicas see when that changes: the leader killed, frozen,
//! restarted and stopped. All on one control plane, one after the other: two operators, four objects at rest at fixed
//! counts, and questions through the API server all the time.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use windlass_tests::objects::rabbit_spec;
use windlass_tests::{
    Broker, Manifests, Namespace, Operator, OperatorOptions, Prober, Rabbit, RabbitOptions, ReplicaLog, Rig,
    RigOptions, Sample, eventually, now, run_within,
};

const SOON: Duration = Duration::from_secs(60);
/// The lease of the product's defaults, and what a take-over may add: one look of the stand-by, and the write.
const LEASE: Duration = Duration::from_secs(15);
const MARGIN: Duration = Duration::from_secs(2);
/// From the taking of the Lease until the metrics API answers again, and the longest that a question may hang.
const AT_ONCE: Duration = Duration::from_secs(2);
/// The API server's own check of an aggregated API waits as long for a frozen leader (`Timeout: 5 * time.Second` in
/// kube-aggregator's `remote_available_controller.go`). One that is under way when the Lease is taken must end before
/// it looks again; until then every question is answered "service unavailable" at once.
const AGGREGATOR_CHECK: Duration = Duration::from_secs(5);
/// From kill -9 until the same identity serves every object again.
const RESTART: Duration = Duration::from_secs(2);
/// From SIGTERM until the other leads.
const HANDOVER: Duration = Duration::from_secs(3);
/// Few enough that what hangs does not fill the HTTP/2 connection (256 streams), which would be given up then.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How long the leader is frozen.
const FREEZE: Duration = Duration::from_secs(60);
/// Several syncs of the HPA (2 s here).
const CALM: Duration = Duration::from_secs(6);

/// The objects and the replicas at which their queues hold them.
const OBJECTS: [(&str, i32); 4] = [("two", 2), ("three", 3), ("four", 4), ("five", 5)];
/// An object at 0, to which work comes while the leader is frozen.
const TEMPTED: &str = "tempted";

#[test]
fn a_stand_by_takes_over_in_time_and_nothing_moves() {
    run_within(Duration::from_secs(280), async {
        let mut stage = Stage::set().await?;
        stage.killed().await.context("the leader killed")?;
        stage.frozen().await.context("the leader frozen")?;
        stage.restarted().await.context("the leader restarted")?;
        stage.stopped().await.context("the leader stopped")?;
        Ok(())
    });
}

struct Stage {
    // Dropped first: probers and records, then operators, then what they speak to.
    metric: Prober,
    discovery: Prober,
    log: ReplicaLog,
    /// The one that leads, and the one that stands by.
    leader: Replica,
    stand_by: Replica,
    ns: Namespace,
    rabbit: Rabbit,
    rig: Rig,
}

struct Replica {
    operator: Operator,
    /// By which the audit log knows it.
    credential: String,
    ready: Prober,
}

impl Replica {
    async fn start(rig: &Rig, name: &str) -> anyhow::Result<Self> {
        let kubeconfig = rig.own_operator_kubeconfig(name).await?;
        let credential = rig.credential_of(&kubeconfig).await?;
        let options = OperatorOptions { kubeconfig: Some(kubeconfig), ..OperatorOptions::named(name) };
        let operator = Operator::start(rig, options).await?;
        operator.wait_ready(SOON).await?;
        let url = format!("{}/readyz", operator.health_url());
        let ready = Prober::start(&format!("/readyz of {name}"), Duration::from_millis(250), move || {
            let request = reqwest::Client::new().get(&url).timeout(AT_ONCE);
            async { Ok(request.send().await?.error_for_status()?.text().await?) }
        });
        Ok(Self { operator, credential, ready })
    }

    fn name(&self) -> &str {
        self.operator.identity()
    }
}

impl Stage {
    async fn set() -> anyhow::Result<Self> {
        let begun = tokio::time::Instant::now();
        let (rig, rabbit) =
            tokio::try_join!(Rig::start(RigOptions::default()), Rabbit::start(RabbitOptions::default()))?;
        rig.install(&Manifests::repository()?).await?;
        let leader = Replica::start(&rig, "first").await?;
        leader.operator.wait_leading(&rig, SOON).await?;
        let stand_by = Replica::start(&rig, "second").await?;
        ensure!(leader.credential != stand_by.credential, "the audit log could not tell the two");

        let ns = rig.namespace("leader").await?;
        let log = ns.replica_log().await?;
        for (name, replicas) in OBJECTS.into_iter().chain([(TEMPTED, 0)]) {
            rabbit.declare(name).await?;
            rabbit.publish(name, 10 * u64::try_from(replicas)?).await?;
            ns.deployment(name, 0, &[]).await?;
            ns.scaled_object(name, &rabbit_spec(name, &rabbit.amqp_url(), name, 10, 10)).await?;
        }
        for (name, replicas) in OBJECTS {
            log.wait_for(name, replicas, SOON).await?;
        }
        ns.wait_condition(TEMPTED, "Ready", "True", SOON).await?;
        report(&format!("objects up after {:?}", begun.elapsed()));
        // The HPAs have taken over from the operator's first writes: from here on nothing has a reason to move.
        try_join_all(OBJECTS.map(|(name, replicas)| taken_over(&ns, name, replicas))).await?;

        let asked = ns.clone();
        let metric = Prober::start("the external metric", ASK_EVERY, move || {
            let ns = asked.clone();
            async move { value(&ns, "three").await }
        });
        let client = rig.client();
        let discovery = Prober::start("discovery", ASK_EVERY, move || {
            let client = client.clone();
            async move { Ok(client.list_api_group_resources("external.metrics.k8s.io/v1beta1").await?.group_version) }
        });
        Ok(Self { metric, discovery, log, leader, stand_by, ns, rabbit, rig })
    }

    /// kill -9: the kernel closes what the leader had open.
    async fn killed(&mut self) -> anyhow::Result<()> {
        let start = self.calm().await?;
        self.leader.operator.kill9()?;
        let killed = now();
        let taken = self.taken_over_after(killed).await?;
        self.judge(start, killed, &taken, "killed -9", AT_ONCE).await?;
        // A dead leader's port refuses: whoever asks meanwhile is told so at once.
        self.metric.ensure_no_hang(start, now(), AT_ONCE)?;
        self.discovery.ensure_no_hang(start, now(), AT_ONCE)?;
        self.leader.operator.restart()?;
        self.leader.operator.wait_ready(SOON).await?;
        std::mem::swap(&mut self.leader, &mut self.stand_by);
        Ok(())
    }

    /// SIGSTOP for a minute: its connections stay open, and it does not know that it has lost.
    async fn frozen(&mut self) -> anyhow::Result<()> {
        let start = self.calm().await?;
        self.leader.operator.sigstop()?;
        let frozen = now();
        let thaw_at = tokio::time::Instant::now() + FREEZE;
        // The leader will find this in its socket when it thaws.
        self.rabbit.publish(TEMPTED, 30).await?;
        let taken = self.taken_over_after(frozen).await?;
        self.log.wait_for(TEMPTED, 3, SOON).await.context("the new leader did not act on new work")?;
        self.judge(start, frozen, &taken, "frozen", AGGREGATOR_CHECK + AT_ONCE).await?;

        let left = thaw_at.saturating_duration_since(tokio::time::Instant::now());
        self.unmoved(left).await?;
        self.leader.operator.sigcont()?;
        let thawed = now();
        let old = &self.leader.credential;
        eventually(SOON, "the old leader, thawed, looks at the Lease", async || {
            let entries = self.rig.audit().entries()?;
            let looks = |e: &&windlass_tests::Entry| {
                e.credential == *old && e.resource == "leases" && e.received > thawed && !e.is_write()
            };
            entries.iter().find(looks).map(drop).context("it has not")
        })
        .await?;
        self.unmoved(CALM).await?;
        let entries = self.rig.audit().since(start).await?;
        let (mut wrote_before, mut read_after) = (0, 0);
        for entry in entries.iter().filter(|entry| entry.credential == *old) {
            ensure!(!entry.is_write() || entry.received < frozen, "the frozen leader wrote: {entry:?}");
            wrote_before += usize::from(entry.is_write() && entry.resource == "leases");
            read_after += usize::from(entry.received > thawed);
        }
        ensure!(wrote_before > 0, "the leader's renewals are not in the log: {old} is not its credential");
        self.metric.ensure_good(thawed, now(), AT_ONCE).context("after the thaw")?;
        self.discovery.ensure_good(thawed, now(), AT_ONCE).context("after the thaw")?;
        let ready = self.leader.ready.wait_good(thawed, SOON).await?;
        self.leader.ready.ensure_good(ready.asked, now(), AT_ONCE)?;
        let holder = self.rig.lease_holder().await?;
        ensure!(holder.as_deref() == Some(self.stand_by.name()), "the lease is held by {holder:?}");
        report(&format!("thawed: 0 writes, {read_after} reads by the old leader in {CALM:?} and more"));
        self.rabbit.purge(TEMPTED).await?;
        std::mem::swap(&mut self.leader, &mut self.stand_by);
        Ok(())
    }

    /// The same identity again, as a container that is restarted in its pod: it continues its own Lease.
    async fn restarted(&mut self) -> anyhow::Result<()> {
        self.log.wait_for(TEMPTED, 0, SOON).await?;
        let start = self.calm().await?;
        self.leader.operator.kill9()?;
        let killed = now();
        self.leader.operator.restart()?;
        let renewed = eventually(SOON, "it renews its Lease", async || {
            let lease = self.lease().await?;
            let at = renew_time(&lease).filter(|at| *at > killed).context("not renewed")?;
            ensure!(lease.holder_identity.as_deref() == Some(self.leader.name()), "another holds it: {lease:?}");
            Ok(at)
        })
        .await?;
        let served = self.all_served(killed).await?;
        let took = between(killed, served);
        report(&format!(
            "same identity after kill -9: leads after {:?}, every object served after {took:?} (bar {RESTART:?})",
            between(killed, renewed)
        ));
        ensure!(took <= RESTART, "it took {took:?} until every object was served again, not {RESTART:?}");
        self.unmoved(CALM).await?;
        self.nobody_scaled(start).await?;
        let served = served.saturating_add(Duration::from_millis(500))?;
        self.metric.ensure_good(served, now(), AT_ONCE)?;
        self.metric.ensure_no_hang(start, now(), AT_ONCE)?;
        self.stand_by.ready.ensure_good(start, now(), AT_ONCE)
    }

    /// SIGTERM: the Lease is given up, and nobody has to wait for it.
    async fn stopped(&mut self) -> anyhow::Result<()> {
        let start = self.calm().await?;
        let stopped = now();
        let (ended, taken) = tokio::join!(
            self.leader.operator.sigterm_and_wait(Duration::from_secs(10)),
            self.taken_over_after(stopped)
        );
        let (ended, taken) = (ended?, taken?);
        ensure!(ended.success(), "an orderly end is {ended}");
        let took = between(stopped, taken.acquired);
        report(&format!("SIGTERM: the other leads after {took:?} (bar {HANDOVER:?})"));
        ensure!(took <= HANDOVER, "the other leads after {took:?}, not {HANDOVER:?}");
        self.judge(start, stopped, &taken, "stopped", AT_ONCE).await?;
        self.metric.ensure_no_hang(start, now(), AT_ONCE)
    }

    /// Waits until all is well, and sees that nothing moves; from the time returned on it has to stay so.
    async fn calm(&self) -> anyhow::Result<Timestamp> {
        let start = now();
        self.metric.wait_good(start, SOON).await?;
        self.discovery.wait_good(start, SOON).await?;
        let calm = now();
        self.unmoved(AT_ONCE).await?;
        self.metric.ensure_good(calm, now(), AT_ONCE)?;
        self.discovery.ensure_good(calm, now(), AT_ONCE)?;
        Ok(calm)
    }

    async fn unmoved(&self, window: Duration) -> anyhow::Result<()> {
        let watched = OBJECTS.map(|(name, replicas)| {
            self.log.never(name, window, "another count", move |row| row.spec != replicas || row.ready != replicas)
        });
        try_join_all(watched).await.map(drop)
    }

    async fn lease(&self) -> anyhow::Result<LeaseSpec> {
        self.rig.lease().await?.and_then(|lease| lease.spec).context("no Lease")
    }

    /// Waits until the stand-by has the Lease and the metric is served again.
    async fn taken_over_after(&self, gone: Timestamp) -> anyhow::Result<TakeOver> {
        let renewed = renew_time(&self.lease().await?).context("a Lease that was never renewed")?;
        self.stand_by.operator.wait_leading(&self.rig, LEASE + Duration::from_secs(15)).await?;
        let acquired = self.lease().await?.acquire_time.context("no acquireTime")?.0;
        let first = self.metric.wait_good(acquired.max(gone), SOON).await?;
        Ok(TakeOver { renewed, acquired, first })
    }

    /// What holds for every take-over. `gone` is when the leader went; `bar`: when, after the Lease was taken, every
    /// question is answered well.
    async fn judge(
        &self,
        start: Timestamp,
        gone: Timestamp,
        taken: &TakeOver,
        what: &str,
        bar: Duration,
    ) -> anyhow::Result<()> {
        let took = between(taken.renewed, taken.acquired);
        let served = between(taken.acquired, taken.first.answered);
        let longest = |p: &Prober| p.between(start, now()).into_iter().map(|s| s.took).max().unwrap_or_default();
        let last_bad = |p: &Prober| {
            let bad = p.between(start, now()).into_iter().filter(|sample| !sample.is_good() || sample.took > AT_ONCE);
            bad.map(|sample| between(taken.acquired, sample.asked)).max().unwrap_or_default()
        };
        report(&format!(
            "{what}: {} led {took:?} after the last renewal and {:?} after the loss; metric served {served:?} later; \
             longest question: metric {:?}, discovery {:?}; last bad one asked after the take-over: metric {:?}, \
             discovery {:?}",
            self.stand_by.name(),
            between(gone, taken.acquired),
            longest(&self.metric),
            longest(&self.discovery),
            last_bad(&self.metric),
            last_bad(&self.discovery),
        ));
        ensure!(took <= LEASE + MARGIN, "the stand-by led {took:?} after the last renewal");
        ensure!(served <= bar, "the metric was served {served:?} after the Lease was taken");
        self.unmoved(bar.max(CALM)).await?;
        self.nobody_scaled(start).await?;
        for prober in [&self.metric, &self.discovery] {
            // Who asked before the loss and was not answered by then asked in the gap.
            let mut before = prober.between(start, gone).into_iter().filter(|sample| sample.answered < gone);
            let wrong = before.find(|sample| !sample.is_good());
            ensure!(wrong.is_none(), "an error before the loss: {wrong:?}");
            prober.ensure_good(taken.acquired.saturating_add(bar)?, now(), AT_ONCE).context("after the take-over")?;
            // Questions that the frozen one had taken are lost; those asked from then on are not.
            prober.ensure_no_hang(taken.acquired.saturating_add(AT_ONCE)?, now(), AT_ONCE)?;
        }
        let wrong = |sample: &Sample| matches!(&sample.answer, Some(Ok(value)) if value != "30");
        let wrong: Vec<Sample> = self.metric.between(start, now()).into_iter().filter(wrong).collect();
        ensure!(wrong.is_empty(), "another figure than 30 was served: {}", wrong[0]);
        // A stand-by is ready all the time, before and after.
        self.stand_by.ready.ensure_good(start, now(), AT_ONCE)
    }

    /// No write of replicas to the objects at rest by anybody, granted or not.
    async fn nobody_scaled(&self, start: Timestamp) -> anyhow::Result<()> {
        let entries = self.rig.audit().since(start).await?;
        let moved = entries.iter().find(|entry| {
            entry.is_write()
                && entry.group == "apps"
                && entry.resource == "deployments"
                && entry.subresource != "status"
                && OBJECTS.iter().any(|(name, _)| entry.name == *name)
        });
        ensure!(moved.is_none(), "somebody wrote replicas: {moved:?}");
        Ok(())
    }

    /// When the metrics of all objects had been served after `gone`.
    async fn all_served(&self, gone: Timestamp) -> anyhow::Result<Timestamp> {
        let each = OBJECTS.map(|(name, replicas)| async move {
            eventually(SOON, &format!("the metric of {name} is served"), async || {
                let value = value(&self.ns, name).await?;
                ensure!(value == (10 * replicas).to_string(), "it is {value}");
                Ok(now())
            })
            .await
        });
        let all = try_join_all(each).await?;
        Ok(all.into_iter().max().unwrap_or(gone))
    }
}

struct TakeOver {
    /// The last renewal of the old leader.
    renewed: Timestamp,
    /// When the new one took the Lease.
    acquired: Timestamp,
    /// The first answer after it.
    first: Sample,
}

/// The metric of an object whose queue has its name, through the API server.
async fn value(ns: &Namespace, name: &str) -> anyhow::Result<String> {
    let list = ns.external_metric(&format!("s0-rabbitmq-{name}"), name).await?;
    Ok(list["items"][0]["value"].as_str().context("no value")?.to_owned())
}

/// Waits until the HPA has had an answer and agrees with the replicas.
async fn taken_over(ns: &Namespace, name: &str, replicas: i32) -> anyhow::Result<()> {
    eventually(SOON, &format!("the HPA of {name} has taken over"), async || {
        let status = ns.hpa(name).await?.and_then(|hpa| hpa.status).context("no status")?;
        let conditions = status.conditions.unwrap_or_default();
        let active = conditions.iter().any(|c| c.type_ == "ScalingActive" && c.status == "True");
        ensure!(active && status.desired_replicas == replicas, "it wants {}: {conditions:?}", status.desired_replicas);
        Ok(())
    })
    .await
}

fn renew_time(lease: &LeaseSpec) -> Option<Timestamp> {
    lease.renew_time.as_ref().map(|time| time.0)
}

/// Zero if `to` was earlier.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// Said whether the test passes or not: the harness hides only what is printed by macros.
fn report(line: &str) {
    let _nobody_reads = writeln!(std::io::stderr(), "leader: {line}");
}
