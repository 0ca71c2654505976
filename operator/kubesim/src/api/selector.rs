//! Label and field selectors as the API takes them in queries. It matches; it never lists.

use serde_json::Value;

use super::kind::Kind;
use super::query::Query;
use super::status::Status;

/// What a list or a watch is limited to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

impl Selector {
    /// Reads `labelSelector` and `fieldSelector`.
    ///
    /// # Errors
    /// 400 where one of them cannot be understood.
    pub fn parse(labels: &str, fields: &str) -> Result<Self, Status> {
        Ok(Self { labels: requirements(labels)?, fields: requirements(fields)? })
    }

    /// Reads the selectors of a query.
    ///
    /// # Errors
    /// 400 where one of them cannot be understood, or a field selects nothing in that kind.
    pub(super) fn of(kind: &Kind, query: &Query) -> Result<Self, Status> {
        let selector = Self::parse(query.text("labelSelector"), query.text("fieldSelector"))?;
        let own = selectable(kind);
        for requirement in &selector.fields {
            let key = requirement.key.as_str();
            if matches!(key, "metadata.name" | "metadata.namespace") || own.contains(&key) {
                continue;
            }
            return Err(Status::bad_request(if own.is_empty() && kind.schema.is_none() {
                format!("{key:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
            } else {
                format!("field label not supported: {key}")
            }));
        }
        Ok(selector)
    }

    /// Whether everything matches.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object is meant.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|requirement| requirement.holds(labels[&requirement.key].as_str()))
            && self.fields.iter().all(|requirement| {
                let found = requirement.key.split('.').try_fold(object, |value, part| value.get(part));
                requirement.holds(Some(found.and_then(Value::as_str).unwrap_or_default()))
            })
    }
}

/// The fields that select objects of a kind, besides those that select any.
fn selectable(kind: &Kind) -> &'static [&'static str] {
    match kind.kind.as_str() {
        _ if kind.schema.is_some() => &[],
        "Pod" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "Event" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        "Node" => &["spec.unschedulable"],
        "Namespace" => &["status.phase"],
        "Secret" => &["type"],
        "Job" => &["status.successful"],
        "ReplicaSet" | "ReplicationController" => &["status.replicas"],
        "Service" => &["spec.clusterIP", "spec.type"],
        _ => &[],
    }
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        match &self.test {
            Test::In(values) => value.is_some_and(|value| values.iter().any(|wanted| wanted == value)),
            Test::NotIn(values) => !value.is_some_and(|value| values.iter().any(|wanted| wanted == value)),
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
        }
    }
}

/// Commas part requirements, except within brackets.
fn requirements(text: &str) -> Result<Vec<Requirement>, Status> {
    let mut depth = 0_u32;
    let parts = text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).map(requirement).collect()
}

fn requirement(text: &str) -> Result<Requirement, Status> {
    let made = |key: &str, test| Ok(Requirement { key: key.trim().to_owned(), test });
    let one = |value: &str| vec![value.trim().to_owned()];
    for (operator, is_in) in [("!=", false), ("==", true), ("=", true)] {
        if let Some((key, value)) = text.split_once(operator) {
            return made(key, if is_in { Test::In(one(value)) } else { Test::NotIn(one(value)) });
        }
    }
    if let Some((head, list)) = text.split_once('(') {
        let values = list.trim_end_matches(')').split(',').map(|value| value.trim().to_owned()).collect();
        let mut words = head.split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => made(key, Test::In(values)),
            (Some(key), Some("notin"), None) => made(key, Test::NotIn(values)),
            _ => Err(Status::bad_request(format!("unable to parse requirement: {text}"))),
        };
    }
    match text.strip_prefix('!') {
        Some(key) => made(key, Test::Absent),
        None if text.contains(char::is_whitespace) => {
            Err(Status::bad_request(format!("unable to parse requirement: {text}")))
        }
        None => made(text, Test::Exists),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_are_understood_as_kubectl_writes_them() {
        let object = json!({"metadata": {"name": "a", "labels": {"app": "web", "tier": "front"}}, "status": {"phase": "Running"}});
        for (labels, fields, wanted) in [
            ("", "", true),
            ("app=web", "", true),
            ("app==web,tier=front", "", true),
            ("app!=web", "", false),
            ("zone!=a", "", true),
            ("app in (api, web),tier", "", true),
            ("app notin (web)", "", false),
            ("!zone", "", true),
            ("!app", "", false),
            ("zone", "", false),
            ("", "metadata.name=a", true),
            ("", "metadata.name=b", false),
            ("", "status.phase!=Failed", true),
        ] {
            let selector = Selector::parse(labels, fields).expect("it is well formed");
            assert_eq!(selector.matches(&object), wanted, "{labels:?} {fields:?}");
        }
        assert_eq!(Selector::parse("a b c", "").expect_err("it is malformed").code, 400);
    }
}
