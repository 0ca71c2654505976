//! Prometheus, and its API as one of any that `metrics-api` reads.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use windlass_tests::prometheus::{PASSWORD, USER};
use windlass_tests::{Answer, FakeHttp, FaultProxy, Mode, Prometheus, run_within, shared};

use super::cases::{Cases, LONG, OUTAGE, SOON, case};
use crate::workers::{BACKLOG, FULL, Workers};

/// What is scraped: how many jobs wait in each queue.
fn page(queues: &[(&str, u64)]) -> impl Fn(&windlass_tests::fake_http::Request) -> Answer + Send + Sync + 'static {
    let body = queues.iter().fold(String::new(), |mut body, (queue, jobs)| {
        let _never_fails = writeln!(body, "jobs{{queue=\"{queue}\"}} {jobs}");
        body
    });
    move |_| Answer { status: 200, body: body.clone(), after: Duration::ZERO }
}

fn trigger(address: SocketAddr, queue: &str, authentication: &str) -> Value {
    json!({"type": "prometheus", "authenticationRef": {"name": authentication}, "metadata": {
        "serverAddress": format!("http://{address}"), "query": format!("sum(jobs{{queue=\"{queue}\"}})"),
        "threshold": "10", "ignoreNullValues": "false", "authModes": "basic"}})
}

/// The same number, taken from the answer of the same server by `metrics-api`.
fn api_trigger(address: SocketAddr, queue: &str, authentication: &str) -> Value {
    let url = format!("http://{address}/api/v1/query?query=sum(jobs%7Bqueue%3D%22{queue}%22%7D)");
    json!({"type": "metrics-api", "authenticationRef": {"name": authentication}, "metadata": {
        "url": url, "valueLocation": "data.result.0.value.1", "targetValue": "10", "authModes": "basic"}})
}

#[test]
fn prometheus_and_its_api_are_followed_whatever_happens_to_them() {
    run_within(LONG, async {
        let (vanishing, proxied) = (["vanishes", "api-vanishes"], ["proxied", "api-proxied"]);
        let queues = [
            "plain",
            "api-plain",
            "login",
            "api-login",
            "proxied",
            "api-proxied",
            "vanishes",
            "api-vanishes",
            "empties",
        ];
        let mut jobs: Vec<(&str, u64)> = queues.map(|queue| (queue, BACKLOG)).to_vec();
        jobs.push(("idle", 0));
        let exporter = FakeHttp::start(page(&jobs)).await?;
        let (_, mut server) = tokio::try_join!(shared(), Prometheus::start(exporter.address()))?;
        let proxy = FaultProxy::start(server.address()).await?;
        let cases = Cases::start("prometheus").await?;
        for name in ["any", "login"] {
            cases.login(name, &[("username", USER), ("password", PASSWORD)]).await?;
        }
        let direct = server.address();
        cases.beside(&case("idle", &trigger(direct, "idle", "any"))).await?;
        cases.beside(&case("late", &trigger(direct, "late", "any"))).await?;
        let all = queues.iter().map(|name| {
            let at = if name.ends_with("proxied") { proxy.address() } else { direct };
            let authentication = if name.ends_with("login") { "login" } else { "any" };
            let trigger = if name.starts_with("api-") { api_trigger } else { trigger };
            case(name, &trigger(at, name, authentication))
        });
        let workers = Workers::start_in(cases.ns.clone(), all.collect()).await?;
        cases.is_idle("idle").await?;
        cases.is_absent("late", "no result").await?;
        jobs.push(("late", BACKLOG));
        exporter.set(page(&jobs));
        workers.log.wait_spec("late", FULL, SOON).await?;

        proxy.set(Mode::Garbage);
        cases.rotate("login", "password", "wr0ng-secret").await?;
        jobs.retain(|(queue, _)| !vanishing.contains(queue));
        exporter.set(page(&jobs));
        let says = [
            ("proxied", "cannot reach"),
            ("api-proxied", "cannot reach"),
            ("login", "refuses the credentials"),
            ("api-login", "refuses the credentials"),
            ("vanishes", "no result"),
            ("api-vanishes", "has nothing at valueLocation"),
        ];
        workers.endure_as(&says, OUTAGE).await?;
        anyhow::ensure!(!cases.shared.operator.log().contains("wr0ng"), "a credential is in the log");

        cases.rotate("login", "password", PASSWORD).await?;
        proxy.set(Mode::Delay(Duration::from_millis(700)));
        let with = |count| {
            let mut jobs = jobs.clone();
            jobs.iter_mut().filter(|(queue, _)| proxied.contains(queue)).for_each(|(_, jobs)| *jobs = count);
            exporter.set(page(&jobs));
            Ok(())
        };
        let (empty, fill) = (async || with(0), async || with(BACKLOG));
        cases.follows(&workers, proxied[0], empty, fill).await?;
        workers.log.wait_spec(proxied[1], FULL, SOON).await?;
        workers.log.ensure_went(proxied[1], &[0, FULL, 0, FULL])?;

        let empty = async |_: &Prometheus| {
            jobs.iter_mut().filter(|(queue, _)| *queue == "empties").for_each(|(_, jobs)| *jobs = 0);
            exporter.set(page(&jobs));
            Ok(())
        };
        let stay = ["plain", "api-plain", "login", "api-login"];
        cases.outages(&mut server, &workers, &stay, empty).await
    });
}
