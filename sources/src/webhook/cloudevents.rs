//! CloudEvents 1.0 over HTTP: the attributes id, source and type, in binary and in structured mode. Batches are refused; data is
//! never looked at.

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde::Deserialize;

/// The attributes that identify an event. Source and id together are unique (CloudEvents 1.0, "id").
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Attributes {
    pub id: String,
    pub source: String,
    #[serde(rename = "type")]
    pub kind: String,
}

/// Why a body or its headers are no event that can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotTaken {
    Batch,
    Bad(&'static str),
}

/// The attributes, or `None` where it is no CloudEvent at all.
pub(super) fn attributes(headers: &HeaderMap, body: &[u8]) -> Result<Option<Attributes>, NotTaken> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media.starts_with("application/cloudevents-batch") {
        return Err(NotTaken::Batch);
    }
    let attributes = if media == "application/cloudevents+json" {
        serde_json::from_slice(body)
            .map_err(|_| NotTaken::Bad("the body is not a CloudEvent in JSON with the texts id, source and type"))?
    } else if media.starts_with("application/cloudevents") {
        return Err(NotTaken::Bad("only the JSON format of structured CloudEvents is understood"));
    } else if headers.contains_key("ce-specversion") || headers.contains_key("ce-id") {
        let attribute = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let all = (attribute("ce-id"), attribute("ce-source"), attribute("ce-type"));
        let (Some(id), Some(source), Some(kind)) = all else {
            return Err(NotTaken::Bad("a CloudEvent needs the headers ce-id, ce-source and ce-type"));
        };
        Attributes { id, source, kind }
    } else {
        return Ok(None);
    };
    if [&attributes.id, &attributes.source, &attributes.kind].iter().any(|text| text.is_empty()) {
        return Err(NotTaken::Bad("id, source and type of a CloudEvent cannot be empty"));
    }
    Ok(Some(attributes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn found(id: &str, source: &str, kind: &str) -> Result<Option<Attributes>, NotTaken> {
        Ok(Some(Attributes { id: id.into(), source: source.into(), kind: kind.into() }))
    }

    #[test]
    fn both_modes_are_understood() {
        let binary = headers(&[
            ("content-type", "application/json"),
            ("ce-specversion", "1.0"),
            ("ce-id", "A234-1234-1234"),
            ("ce-source", "/mycontext"),
            ("ce-type", "com.example.someevent"),
        ]);
        assert_eq!(attributes(&binary, b"no JSON"), found("A234-1234-1234", "/mycontext", "com.example.someevent"));
        for media in ["application/cloudevents+json", "Application/CloudEvents+JSON; charset=utf-8"] {
            let body = br#"{"specversion":"1.0","type":"t","source":"/s","id":"7","data":{"id":"other"}}"#;
            assert_eq!(attributes(&headers(&[("content-type", media)]), body), found("7", "/s", "t"), "{media}");
        }
        assert_eq!(attributes(&headers(&[("content-type", "application/json")]), br#"{"id":"7"}"#), Ok(None));
        assert_eq!(attributes(&headers(&[]), b""), Ok(None));
    }

    #[test]
    fn what_cannot_be_taken_is_refused() {
        let structured = headers(&[("content-type", "application/cloudevents+json")]);
        for body in ["", "[]", "{}", r#"{"id":7,"source":"/s","type":"t"}"#, r#"{"id":"","source":"/s","type":"t"}"#] {
            assert!(matches!(attributes(&structured, body.as_bytes()), Err(NotTaken::Bad(_))), "{body}");
        }
        let batch = headers(&[("content-type", "application/cloudevents-batch+json")]);
        assert_eq!(attributes(&batch, b"[]"), Err(NotTaken::Batch));
        for lacking in [&[("ce-id", "7")][..], &[("ce-specversion", "1.0")], &[("ce-id", ""), ("ce-source", "s")]] {
            assert!(matches!(attributes(&headers(lacking), b""), Err(NotTaken::Bad(_))), "{lacking:?}");
        }
        let avro = headers(&[("content-type", "application/cloudevents+avro")]);
        assert!(matches!(attributes(&avro, b""), Err(NotTaken::Bad(_))));
    }
}
