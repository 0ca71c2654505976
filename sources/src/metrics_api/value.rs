//! The number in an answer. It is taken as it stands, or there is none: nothing is ever taken for 0.

use serde_json::Value;

use super::config::Location;
use super::path::Path;
use super::selector::{Selector, identifier, quoted};
use super::walk::{Found, find};
use super::xml;
use crate::quantity;

/// YAML takes more memory and more time to read than the other formats.
const MAX_YAML: usize = 1 << 20;

/// Why an answer holds no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// There is nothing where the number should stand.
    Nothing,
    /// The answer is not in the format, or what stands there is no number; in words for a person.
    Bad(&'static str),
}

/// The answers to several locations in one body: what is parsed is parsed once per format.
#[derive(Debug)]
pub(crate) struct Answer<'b> {
    body: &'b [u8],
    json: Option<Result<Value, Missing>>,
    yaml: Option<Result<Value, Missing>>,
}

impl<'b> Answer<'b> {
    pub(crate) fn new(body: &'b [u8]) -> Self {
        Self { body, json: None, yaml: None }
    }

    /// The number at `location`.
    pub(super) fn number(&mut self, location: &Location) -> Result<f64, Missing> {
        let body = self.body;
        let (document, path) = match location {
            Location::Json(path) => (self.json.get_or_insert_with(|| parse_json(body)), path),
            Location::Yaml(path) => {
                if body.len() > MAX_YAML {
                    return Err(Missing::Bad("its answer is larger than 1 MiB, the most for YAML"));
                }
                let yaml = || serde_yaml_ng::from_slice(body).map_err(|_| Missing::Bad("its answer is not YAML"));
                (self.yaml.get_or_insert_with(yaml), path)
            }
            Location::Xml(path) => {
                let text = xml::find(text(body)?, path)?.ok_or(Missing::Nothing)?;
                return quantity(&text).ok_or(NOT_A_NUMBER);
            }
            Location::Prometheus(selector) => return sample(text(body)?, selector),
        };
        found(document.as_ref().map_err(|missing| *missing)?, path)
    }

    /// The number at a GJSON path in a body of JSON.
    pub(crate) fn json(&mut self, path: &Path) -> Result<f64, Missing> {
        let body = self.body;
        let document = self.json.get_or_insert_with(|| parse_json(body));
        found(document.as_ref().map_err(|missing| *missing)?, path)
    }
}

fn parse_json(body: &[u8]) -> Result<Value, Missing> {
    serde_json::from_slice(body).map_err(|_| Missing::Bad("its answer is not JSON"))
}

fn found(document: &Value, path: &Path) -> Result<f64, Missing> {
    match find(document, path).map_err(Missing::Bad)? {
        None | Some(Found::One(Value::Null)) => Err(Missing::Nothing),
        Some(Found::One(Value::Number(number))) => number.as_f64().ok_or(NOT_A_NUMBER),
        Some(Found::One(Value::String(text))) => quantity(text).ok_or(NOT_A_NUMBER),
        #[expect(clippy::cast_precision_loss, reason = "a list of 2^53 elements fits no answer")]
        Some(Found::Count(count)) => Ok(count as f64),
        Some(Found::Many(_)) => {
            Err(Missing::Bad("at valueLocation stands a list; take one of it, for example with |0"))
        }
        Some(Found::One(_)) => Err(NOT_A_NUMBER),
    }
}

const NOT_A_NUMBER: Missing = Missing::Bad("what stands at valueLocation is not a number");

fn text(body: &[u8]) -> Result<&str, Missing> {
    std::str::from_utf8(body).map_err(|_| Missing::Bad("its answer is not UTF-8"))
}

/// The first sample that `selector` matches, as KEDA takes it.
fn sample(text: &str, selector: &Selector) -> Result<f64, Missing> {
    let mut seen = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, rest) = identifier(line);
        if name.is_empty() {
            return Err(Missing::Bad("its answer is not in Prometheus' format"));
        }
        seen = true;
        if name != selector.name {
            continue;
        }
        let foreign = Missing::Bad("its answer is not in Prometheus' format");
        let (labels, rest) = labels(rest.trim_start()).ok_or(foreign)?;
        let value = |label: &str| labels.iter().find(|(name, _)| *name == label).map_or("", |(_, value)| value);
        if selector.matchers.iter().all(|matcher| (value(&matcher.label) == matcher.value) == matcher.equal) {
            return rest.split_whitespace().next().and_then(|value| value.parse().ok()).ok_or(foreign);
        }
    }
    // An empty page is a page without samples.
    if seen || text.trim().is_empty() || text.trim_start().starts_with('#') {
        Err(Missing::Nothing)
    } else {
        Err(Missing::Bad("its answer is not in Prometheus' format"))
    }
}

/// The labels at the beginning, and what follows.
fn labels(text: &str) -> Option<(Vec<(&str, String)>, &str)> {
    let Some(mut rest) = text.strip_prefix('{').map(str::trim_start) else { return Some((Vec::new(), text)) };
    let mut labels = Vec::new();
    while !rest.starts_with('}') {
        let (name, after) = identifier(rest);
        let (value, after) = quoted(after.trim_start().strip_prefix('=')?.trim_start())?;
        labels.push((name, value));
        let after = after.trim_start();
        rest = after.strip_prefix(',').unwrap_or(after).trim_start();
        if !after.starts_with([',', '}']) {
            return None;
        }
    }
    Some((labels, rest.get(1..)?))
}

#[cfg(test)]
#[path = "value_tests.rs"]
mod tests;
