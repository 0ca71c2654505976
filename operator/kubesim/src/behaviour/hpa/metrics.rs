//! Asks for the figures of one metric, as the real controller does: external and custom ones through the aggregated APIs,
//! usage of pods through metrics.k8s.io where somebody serves it and else from the load model. What cannot be asked is an
//! error, never 0.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::timeout;
use windlass_decision::hpa::PodValue;

use super::USER;
use super::convert::{Query, quantity};
use super::sync::Context;
use crate::behaviour::json::{NsName, list, number, text, time};

/// The window of a custom metric that names none, as the real controller takes it.
const CUSTOM_WINDOW: Duration = Duration::from_secs(60);

/// What one metric answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The values under the name and selector, in thousandths.
    External(Vec<i64>),
    /// The value of an object, in thousandths.
    Object(i64),
    /// A figure for each pod.
    PerPod(Vec<Figure>),
    /// Why there is none.
    Failed(String),
}

/// The figure of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Figure {
    pod: String,
    milli: i64,
    at: Timestamp,
    window: Duration,
}

impl Answer {
    /// The figures as the algorithm takes them.
    pub(super) fn values(&self) -> Vec<PodValue<'_>> {
        let Self::PerPod(figures) = self else { return Vec::new() };
        figures
            .iter()
            .map(|figure| PodValue { pod: &figure.pod, milli: figure.milli, at: figure.at, window: figure.window })
            .collect()
    }
}

/// Asks for one metric; `selector` is that of the target's pods.
pub(super) async fn ask(context: &Context, key: &NsName, query: &Query, selector: &str) -> Answer {
    let answered = match query {
        Query::External { name, selector, .. } => external(context, key, name, selector.as_deref()).await,
        Query::Resource { resource, container } => {
            resources(context, key, resource, container.as_deref(), selector).await
        }
        Query::Object { .. } | Query::Pods { .. } => custom(context, key, query, selector).await,
        Query::Unknown(kind) => Err(format!("unknown metric source type {kind:?}")),
    };
    answered.unwrap_or_else(Answer::Failed)
}

async fn external(context: &Context, key: &NsName, metric: &str, selector: Option<&str>) -> Result<Answer, String> {
    let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{}/{}", key.0, encoded(metric));
    let body = get(context, "external", &with_query(path, &[("labelSelector", selector)])).await?;
    let values = list(&body, "/items").iter().map(|item| quantity(&item["value"]));
    let values: Vec<i64> = values.collect::<Option<_>>().ok_or("the external metrics API returned no quantity")?;
    if values.is_empty() { Err(none_from("external")) } else { Ok(Answer::External(values)) }
}

async fn resources(
    context: &Context,
    key: &NsName,
    resource: &str,
    container: Option<&str>,
    selector: &str,
) -> Result<Answer, String> {
    let items = if has_api(context, "v1beta1.metrics.k8s.io") {
        let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods", key.0);
        let mut body = get(context, "resource", &with_query(path, &[("labelSelector", Some(selector))])).await?;
        match body["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        }
    } else {
        context.pod_metrics.items(Some(&key.0), selector)
    };
    if items.is_empty() {
        return Err(none_from("resource"));
    }
    let figures = items.iter().filter_map(|item| {
        let counted =
            list(item, "/containers").iter().filter(|one| container.is_none_or(|name| text(one, "/name") == name));
        let mut used = counted.map(|one| one.pointer("/usage")?.get(resource).and_then(quantity)).peekable();
        used.peek()?;
        // One container without a figure leaves the whole pod out.
        let milli = used.try_fold(0_i64, |sum, used| Some(sum.saturating_add(used?)))?;
        Some(Figure {
            pod: text(item, "/metadata/name").to_owned(),
            milli,
            at: time(item, "/timestamp").unwrap_or_default(),
            window: window(text(item, "/window")),
        })
    });
    Ok(Answer::PerPod(figures.collect()))
}

async fn custom(context: &Context, key: &NsName, query: &Query, pods: &str) -> Result<Answer, String> {
    let version = if has_api(context, "v1beta2.custom.metrics.k8s.io") { "v1beta2" } else { "v1beta1" };
    let base = format!("/apis/custom.metrics.k8s.io/{version}/namespaces/{}", key.0);
    match query {
        Query::Pods { name, selector, .. } => {
            let path = format!("{base}/pods/*/{}", encoded(name));
            let asked = [("labelSelector", Some(pods)), ("metricLabelSelector", selector.as_deref())];
            let body = get(context, "custom", &with_query(path, &asked)).await?;
            let figures: Vec<_> = list(&body, "/items").iter().filter_map(custom_figure).collect();
            if figures.is_empty() { Err(none_from("custom")) } else { Ok(Answer::PerPod(figures)) }
        }
        Query::Object { name, selector, group, kind, object, .. } => {
            let of = if group.is_empty() && kind == "Namespace" {
                "metrics".to_owned()
            } else {
                let known = context.cluster.kind_named(group, kind);
                let known = known.ok_or_else(|| format!("no matches for kind {kind:?} in group {group:?}"))?;
                format!("{}/{}", known.qualified(), encoded(object))
            };
            let path = format!("{base}/{of}/{}", encoded(name));
            let body =
                get(context, "custom", &with_query(path, &[("metricLabelSelector", selector.as_deref())])).await?;
            let value = body.pointer("/items/0/value").and_then(quantity).ok_or_else(|| none_from("custom"))?;
            Ok(Answer::Object(value))
        }
        Query::External { .. } | Query::Resource { .. } | Query::Unknown(_) => Err(none_from("custom")),
    }
}

fn custom_figure(item: &Value) -> Option<Figure> {
    let seconds = number(item, "/windowSeconds").and_then(|seconds| u64::try_from(seconds).ok());
    Some(Figure {
        pod: text(item, "/describedObject/name").to_owned(),
        milli: quantity(item.get("value")?)?,
        at: time(item, "/timestamp").unwrap_or_default(),
        window: seconds.map_or(CUSTOM_WINDOW, Duration::from_secs),
    })
}

/// One request, which may hang only so long.
async fn get(context: &Context, api: &str, path: &str) -> Result<Value, String> {
    let asked = timeout(context.settings.metric_timeout, context.cluster.raw_get(USER, path)).await;
    let failed = |why: &str| format!("unable to fetch metrics from {api} metrics API: {why}");
    match asked {
        Err(_) => Err(failed("the server was unable to return a response in the time allotted")),
        Ok((200, body)) => Ok(body),
        Ok((0, _)) => Err(failed("the connection was closed")),
        Ok((code, body)) => match text(&body, "/message") {
            "" => Err(failed(&format!("the server answered {code}"))),
            message => Err(failed(message)),
        },
    }
}

fn has_api(context: &Context, name: &str) -> bool {
    context.cluster.get(("apiregistration.k8s.io", "apiservices"), "", name).is_some()
}

fn none_from(api: &str) -> String {
    format!("no metrics returned from {api} metrics API")
}

/// A Go duration of whole or fractional seconds, as metrics-server writes it; zero if it is none.
fn window(text: &str) -> Duration {
    let seconds = match text.strip_suffix('s').map(|rest| rest.split_once('m').unwrap_or(("0", rest))) {
        Some((minutes, seconds)) => {
            minutes.parse().ok().zip(seconds.parse().ok()).map(|(m, s): (f64, f64)| m * 60.0 + s)
        }
        None => None,
    };
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or_default()
}

/// Appends what is asked for; what is empty is left out.
fn with_query(mut path: String, asked: &[(&str, Option<&str>)]) -> String {
    let mut separator = '?';
    for (name, value) in asked {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            path.push(separator);
            path.push_str(name);
            path.push('=');
            path.push_str(&encoded(value));
            separator = '&';
        }
    }
    path
}

/// Percent-encoding of everything that is not plain.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_read_as_metrics_server_writes_it() {
        for (text, millis) in
            [("15s", 15_000), ("14.5s", 14_500), ("1m0s", 60_000), ("1m2.5s", 62_500), ("", 0), ("x", 0)]
        {
            assert_eq!(window(text), Duration::from_millis(millis), "{text:?}");
        }
    }

    #[test]
    fn a_query_leaves_out_what_is_empty() {
        assert_eq!(with_query("/a".to_owned(), &[("b", None), ("c", Some(""))]), "/a");
        assert_eq!(with_query("/a".to_owned(), &[("b", Some("x=y")), ("c", Some("d e"))]), "/a?b=x%3Dy&c=d%20e");
    }
}
