//! Keys that hold several pairs: `name=value,name=value`. Values may be credentials; none is repeated.

use crate::{Metadata, Secret};

/// Headers that say how a message is framed and where it goes: never a trigger's to set.
const FRAMING: &[&str] =
    &["connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

/// Pairs as a form has them: `name=value&name=value`, each part encoded.
#[must_use]
pub fn form<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(pairs);
    form.finish()
}

/// The pairs of `key` as headers.
pub(crate) fn headers(metadata: &mut Metadata<'_>, key: &'static str) -> Vec<(String, Secret)> {
    let pairs = pairs(metadata, key, "write name=value, several of them with commas");
    if let Some(problem) = pairs.iter().find_map(|(name, value)| header_problem(name, value.expose())) {
        metadata.error(key, problem, "write name=value, several of them with commas");
    }
    pairs
}

/// The pairs of `key` as parameters of a query string.
pub(crate) fn parameters(metadata: &mut Metadata<'_>, key: &'static str) -> Vec<(String, Secret)> {
    pairs(metadata, key, "write name=value, several of them with commas")
}

fn pairs(metadata: &mut Metadata<'_>, key: &'static str, fix: &str) -> Vec<(String, Secret)> {
    let Some(written) = metadata.optional(key) else { return Vec::new() };
    let pairs: Option<Vec<_>> = written
        .split(',')
        .map(|pair| pair.split_once('='))
        .map(|pair| pair.map(|(name, value)| (name.trim().to_owned(), Secret::new(value.trim()))))
        .map(|pair| pair.filter(|(name, _)| !name.is_empty()))
        .collect();
    if pairs.is_none() {
        metadata.error(key, "has a part that is not name=value", fix);
    }
    pairs.unwrap_or_default()
}

/// Why this cannot be a header of a request, in words that follow the field's name.
pub(super) fn header_problem(name: &str, value: &str) -> Option<&'static str> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Some("has a name that no header can have");
    }
    if FRAMING.iter().any(|framing| framing.eq_ignore_ascii_case(name)) {
        return Some("sets a header that the connection itself needs");
    }
    if !value.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return Some("has characters that no header can hold");
    }
    None
}
