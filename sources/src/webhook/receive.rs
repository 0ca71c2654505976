//! From a request to the events that are to be remembered: genuine, then understood, then counted for those triggers that can use
//! it. It does no IO, keeps nothing and never repeats what was sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use sha2::{Digest, Sha256};

use super::cloudevents::{self, Attributes, NotTaken};
use super::config::{Connection, Location, Query, Signature};
use super::stream::{Event, EventId, StreamKey};
use super::verify::{is_genuine, only};
use crate::metrics_api::{Answer, Missing};

/// Why an event is not taken. Never holds anything of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No secret of the endpoint fits.
    Signature,
    /// The body is larger than any trigger of the endpoint takes.
    TooLarge,
    /// A format or an encoding that is not understood; in words for a person.
    MediaType(&'static str),
    /// Something is missing; in words for a person.
    Bad(String),
}

/// The events that a request to an endpoint makes: one for each way of signing by which it is genuine. `connections` are the
/// endpoint's, as the [`super::Hub`] gives them.
///
/// # Errors
/// Why nobody can use it.
pub fn events(
    connections: &[Arc<Connection>],
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    let fitting: Vec<&Connection> = connections
        .iter()
        .map(|connection| &**connection)
        .filter(|connection| body.len() <= connection.max_body)
        .collect();
    if fitting.is_empty() {
        return Err(Refusal::TooLarge);
    }
    let mut genuine: BTreeMap<Signature, Vec<&Connection>> = BTreeMap::new();
    for connection in &fitting {
        if is_genuine(connection, headers, body, now.as_second()) {
            genuine.entry(connection.signature).or_default().push(connection);
        }
    }
    if genuine.is_empty() {
        return Err(Refusal::Signature);
    }
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Refusal::MediaType("a compressed body is not understood; send it as it is"));
    }
    let attributes = cloudevents::attributes(headers, body).map_err(|not_taken| match not_taken {
        NotTaken::Batch => Refusal::MediaType("batches of CloudEvents are not understood; send each event by itself"),
        NotTaken::Bad(why) => Refusal::Bad(why.to_owned()),
    })?;
    // What is genuine for one trigger is for all of the same way of signing: they share what is remembered.
    let event = |(&signature, verified): (&Signature, &Vec<&Connection>)| {
        let sharing: Vec<&Connection> = fitting.iter().copied().filter(|other| other.signature == signature).collect();
        let id = verified.first().map_or(Ok(None), |connection| id(connection, headers, attributes.as_ref()))?;
        let values = values(&sharing, body)?;
        let stream = {
            let (namespace, name) =
                sharing.first().map(|one| (one.namespace.clone(), one.name.clone())).unwrap_or_default();
            StreamKey { namespace, name, signature }
        };
        Ok(Event { stream, id, at: now.as_millisecond(), values, counts: true })
    };
    let (events, refused): (Vec<_>, Vec<_>) = genuine.iter().map(event).partition(Result::is_ok);
    if events.is_empty() { refused.into_iter().collect::<Result<Vec<_>, _>>() } else { events.into_iter().collect() }
}

/// The id of the event, hashed with where it stood.
fn id(
    connection: &Connection,
    headers: &HeaderMap,
    attributes: Option<&Attributes>,
) -> Result<Option<EventId>, Refusal> {
    let hashed = |kind: &str, parts: &[&str]| {
        let mut hash = Sha256::new();
        for part in [kind].iter().chain(parts) {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let mut id = EventId::default();
        id.copy_from_slice(&hash.finalize()[..16]);
        id
    };
    if let Some(header) = &connection.id_header {
        let missing =
            || Refusal::Bad(format!("the header {header} with the id of the event is missing, empty or there twice"));
        return only(headers, header).map(|id| Some(hashed("header", &[id]))).ok_or_else(missing);
    }
    let usual = match connection.signature {
        // It is signed, so it is there.
        Signature::Standard => only(headers, "webhook-id"),
        Signature::Github => only(headers, "x-github-delivery"),
        Signature::None => None,
    };
    Ok(match (usual, attributes) {
        (Some(id), _) => Some(hashed("header", &[id])),
        (None, Some(event)) => Some(hashed("cloudevent", &[&event.source, &event.id])),
        (None, None) => None,
    })
}

/// The number at each location that a trigger asks for.
fn values(sharing: &[&Connection], body: &[u8]) -> Result<Vec<(String, f64)>, Refusal> {
    let mut locations: BTreeMap<&str, &Location> = BTreeMap::new();
    let mut is_counted = false;
    for connection in sharing {
        match &connection.query {
            Query::Gauge(location) => drop(locations.insert(&location.written, location)),
            Query::Count(_) | Query::Rate(_) => is_counted = true,
        }
    }
    let mut answer = Answer::new(body);
    let mut values = Vec::new();
    let mut missing = None;
    for (written, location) in locations {
        match answer.json(&location.path) {
            Ok(number) if number.is_finite() && number >= 0.0 => values.push((written.to_owned(), number)),
            Ok(_) => missing = Some(format!("what stands at {written} (valueLocation) is no count: it is below 0")),
            Err(Missing::Nothing) => missing = Some(format!("there is no number at {written} (valueLocation)")),
            Err(Missing::Bad(why)) => {
                missing = Some(format!(
                    "there is no number at {written} (valueLocation): {}",
                    why.replace("its answer", "the body")
                ));
            }
        }
    }
    match missing {
        Some(why) if values.is_empty() && !is_counted => Err(Refusal::Bad(why)),
        _ => Ok(values),
    }
}

#[cfg(test)]
#[path = "receive_tests.rs"]
mod tests;
