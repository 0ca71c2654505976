//! Asks for the figures of one metric: external ones through the aggregated API, as the real controller does; CPU of the
//! load model. What cannot be asked is an error, never 0.

use std::sync::Arc;

use serde_json::Value;
use tokio::time::timeout;

use super::convert::{Query, TargetRef, quantity};
use super::{Context, USER};
use crate::behaviour::json::{NsName, list, name, text};
use crate::behaviour::pods::Pod;
use crate::load::TargetKey;

/// What one metric answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The values under the name and selector, in thousandths.
    External(Vec<i64>),
    /// A figure for each pod, in thousandths.
    PerPod(Vec<(String, i64)>),
    /// Why there is none.
    Failed(String),
}

pub(super) async fn ask(
    context: &Context,
    key: &NsName,
    query: &Query,
    target: &TargetRef,
    pods: &[Arc<Pod>],
) -> Answer {
    let answered = match query {
        Query::External { name, selector } => {
            external(context, key, name, selector.as_deref().unwrap_or_default()).await
        }
        Query::Resource { resource, container } if resource == "cpu" => {
            cpu(context, key, target, container.as_deref(), pods)
        }
        Query::Resource { resource, .. } => {
            Err(format!("no metrics returned from resource metrics API for {resource}"))
        }
        Query::Object { name } | Query::Pods { name } => {
            Err(format!("the custom metrics API is not served here, so there is no metric {name}"))
        }
        Query::Unknown(kind) => Err(format!("unknown metric source type {kind:?}")),
    };
    answered.unwrap_or_else(Answer::Failed)
}

async fn external(context: &Context, key: &NsName, metric: &str, selector: &str) -> Result<Answer, String> {
    let path = format!(
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/{}/{}?labelSelector={}",
        key.0,
        encoded(metric),
        encoded(selector)
    );
    let asked = timeout(context.settings.metric_timeout, context.cluster.raw_get(USER, &path)).await;
    let (code, body) =
        asked.map_err(|_| "the server was unable to return a response in the time allotted".to_owned())?;
    if code != 200 {
        let said = text(&body, "/message");
        return Err(format!("unable to fetch metrics from external metrics API: {said} ({code})"));
    }
    let values: Vec<i64> = list(&body, "/items").iter().filter_map(|item| quantity(&item["value"])).collect();
    if values.is_empty() {
        Err("no metrics returned from external metrics API".to_owned())
    } else {
        Ok(Answer::External(values))
    }
}

/// What the pods of a target use: their share of what they could do, of what they request.
fn cpu(
    context: &Context,
    key: &NsName,
    target: &TargetRef,
    container: Option<&str>,
    pods: &[Arc<Pod>],
) -> Result<Answer, String> {
    let target = TargetKey::new(&key.0, &target.kind, &target.name);
    let busy = context.loads.as_ref().and_then(|loads| loads.utilisation(&target));
    let busy = busy.ok_or("no metrics returned from resource metrics API")?;
    let running = pods.iter().filter(|pod| pod.serves());
    let values: Vec<_> = running
        .filter_map(|pod| {
            let request = requested(&pod.object, "cpu", container)?;
            #[expect(clippy::cast_possible_truncation, reason = "a share of a request")]
            let used = (request as f64 * busy).round() as i64;
            Some((name(&pod.object).to_owned(), used))
        })
        .collect();
    Ok(Answer::PerPod(values))
}

/// The request of a pod (or of one container) in thousandths; `None` where a container that counts has none.
pub(super) fn requested(pod: &Value, resource: &str, container: Option<&str>) -> Option<i64> {
    let counts = |one: &&Value| container.is_none_or(|wanted| text(one, "/name") == wanted);
    let mut containers = list(pod, "/spec/containers").iter().filter(counts).peekable();
    containers.peek()?;
    containers.map(|one| one.pointer("/resources/requests")?.get(resource).and_then(quantity)).sum()
}

/// Percent-encoding of everything that is not plain.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
