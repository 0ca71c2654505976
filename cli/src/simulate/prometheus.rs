//! A range of a Prometheus server as rows: `GET /api/v1/query_range`, in as many requests as the server's limit of points
//! demands. It asks and waits no longer than its deadline; never retries.

use std::time::Duration;

use anyhow::{Context, bail};
use jiff::{SignedDuration, Timestamp};
use reqwest::Client;
use url::Url;
use windlass_decision::Clock;
use windlass_operator::clock::SystemClock;
use windlass_simulate::{Row, SeriesError};

use super::args::{Moment, Prometheus};

/// A server refuses more than 11 000 points in one answer.
const POINTS: u32 = 10_000;
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(60);
/// 11 000 points of text are less than a megabyte; whatever sends more is not Prometheus.
const LARGEST: usize = 16 << 20;

pub(super) fn rows(range: &Prometheus) -> anyhow::Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(ask(range))
}

async fn ask(range: &Prometheus) -> anyhow::Result<Vec<Row>> {
    let (Some(server), Some(query), Some(start)) = (&range.prometheus, &range.query, range.start) else {
        bail!("--prometheus: needs --query and --start");
    };
    let now = SystemClock.now();
    let (start, end) = (resolve(start, now), resolve(range.end, now));
    if start >= end {
        bail!("--start: {start} is not before --end {end}; correct one of them");
    }
    let step = SignedDuration::try_from(range.step).ok().filter(|step| *step >= SignedDuration::from_secs(1));
    let Some(step) = step else { bail!("--step: must be at least 1s") };
    let client = Client::builder()
        .connect_timeout(CONNECT)
        .timeout(ANSWER)
        .user_agent(concat!("windlass/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("make an HTTP client")?;

    let mut rows = Vec::new();
    let mut from = start;
    while from <= end {
        let last = from.saturating_add(step * (POINTS - 1).cast_signed()).unwrap_or(end).min(end);
        let url = address(server, query, from, last, step)?;
        rows.extend(part(&client, url).await?);
        from = last.saturating_add(step).unwrap_or(Timestamp::MAX);
    }
    if rows.is_empty() {
        bail!("--query: has no data between {start} and {end}; correct it, --start or --end");
    }
    Ok(rows)
}

fn resolve(moment: Moment, now: Timestamp) -> Timestamp {
    match moment {
        Moment::At(at) => at,
        Moment::Ago(ago) => now.checked_sub(ago).unwrap_or(Timestamp::MIN),
    }
}

fn address(server: &Url, query: &str, from: Timestamp, to: Timestamp, step: SignedDuration) -> anyhow::Result<Url> {
    let mut url = server.clone();
    if url.cannot_be_a_base() || !matches!(url.scheme(), "http" | "https") {
        bail!("--prometheus: must begin with http:// or https://");
    }
    let path = format!("{}/api/v1/query_range", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url.query_pairs_mut()
        .append_pair("query", query)
        .append_pair("start", &from.to_string())
        .append_pair("end", &to.to_string())
        .append_pair("step", &format!("{}", step.as_secs_f64()));
    Ok(url)
}

async fn part(client: &Client, url: Url) -> anyhow::Result<Vec<Row>> {
    const WHAT: &str = "ask Prometheus (--prometheus)";
    // Without its address: it may hold a password.
    let mut response = client.get(url).send().await.map_err(reqwest::Error::without_url).context(WHAT)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url).context(WHAT)? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST {
            bail!("--prometheus: the answer is longer than {LARGEST} bytes; check the address");
        }
    }
    match windlass_simulate::prometheus(&String::from_utf8_lossy(&body)) {
        Ok(rows) => Ok(rows),
        // An error of Prometheus is JSON too and says more than its status; a proxy's page does not.
        Err(SeriesError::Prometheus { problem, .. })
            if !status.is_success() && problem.starts_with("cannot be read") =>
        {
            bail!("--prometheus: the server answered {status}; check the address and the credentials in it")
        }
        Err(error) => Err(anyhow::Error::new(error).context(WHAT)),
    }
}
