//! A webhook trigger's metadata, understood once. This module receives nothing and never prints a credential.

use std::time::Duration;

use data_encoding::BASE64;

use crate::metrics_api::Path;
use crate::{Metadata, Parsed, Secret};

/// How long a window of time may be, and how long ids of events are kept where there is room: 24 h.
pub const LONGEST_WINDOW: Duration = Duration::from_secs(24 * 3600);
/// The largest body that an endpoint may take, in bytes.
pub const LARGEST_BODY: usize = 10 << 20;

/// What a secret of the Standard Webhooks specification begins with.
const STANDARD_PREFIX: &str = "whsec_";

/// One endpoint as one trigger wants it. All of it makes the upstream, so that an endpoint is known for as long as a trigger
/// asks for it, and a rotated secret is another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Connection {
    /// The namespace of the object: nobody can name an endpoint of another one.
    pub namespace: String,
    /// The name of the endpoint within it.
    pub name: String,
    /// How senders prove who they are.
    pub signature: Signature,
    /// Any of them will do, so that one can take the place of another; none only without a signature.
    pub secrets: Vec<Secret>,
    /// The header with the id of an event; `None` for the usual place.
    pub id_header: Option<String>,
    /// How far the time in a signature may be from now, either way.
    pub tolerance: Duration,
    /// The largest body, in bytes.
    pub max_body: usize,
    /// What the trigger asks for.
    pub query: Query,
}

/// How senders prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signature {
    /// `X-Hub-Signature-256`, as GitHub sends it: HMAC-SHA-256 of the body.
    Github,
    /// Standard Webhooks: HMAC-SHA-256 of id, time and body.
    Standard,
    /// Not at all.
    None,
}

/// What is asked of an endpoint's events.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Query {
    /// How many came within the last window.
    Count(Duration),
    /// How many came a second, over the last window.
    Rate(Duration),
    /// The number in the newest event that had one.
    Gauge(Location),
}

/// Where in the body of an event a number stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// As it is written, by which the number is remembered.
    pub written: String,
    /// The same, understood.
    pub path: Path,
}

impl Query {
    /// The query, if it is one of this source.
    #[cfg(feature = "connect")]
    pub(super) fn of(query: &crate::Query) -> Option<&Self> {
        if let crate::Query::Webhook(query) = query { Some(query) } else { None }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Count,
    Gauge,
    Rate,
}

const MODES: &[(&str, Mode)] = &[("count", Mode::Count), ("gauge", Mode::Gauge), ("rate", Mode::Rate)];
const SIGNATURES: &[(&str, Signature)] =
    &[("github", Signature::Github), ("standard", Signature::Standard), ("none", Signature::None)];

/// Understands the metadata of a `webhook` trigger.
pub fn parse(metadata: &mut Metadata<'_>) -> Option<Parsed> {
    let name = name(metadata);
    let mode = metadata.choice("mode", MODES).unwrap_or(Mode::Count);
    let query = query(metadata, mode);
    metadata.required("value", "write how much one replica is for");
    let target = metadata.number("value", true);
    let activation = metadata.number("activationValue", false).unwrap_or(0.0);
    metadata.required("signature", "write github or standard, or none for senders that cannot sign");
    let signature = metadata.choice("signature", SIGNATURES);
    let allowed = metadata.flag("allowUnsigned");
    if signature == Some(Signature::None) && !allowed {
        let fix =
            "choose github or standard, or write allowUnsigned: \"true\" if anybody who reaches the address may scale";
        metadata.error("signature", "none lets anybody send events", fix);
    }
    if signature.is_some_and(|signature| signature != Signature::None) {
        metadata.no_effect("allowUnsigned", "events are signed");
    }
    let secrets = secrets(metadata, signature);
    let id_header = id_header(metadata);
    let tolerance = seconds(metadata, "tolerance", Duration::from_secs(300));
    if signature.is_some_and(|signature| signature != Signature::Standard) {
        metadata.no_effect("tolerance", "only the signatures of standard hold a time");
    }
    let max_body = metadata.parsed("maxBodyBytes", 1 << 20, "a whole number of bytes");
    if max_body == 0 || max_body > LARGEST_BODY {
        let fix = format!("write a number of bytes from 1 to {LARGEST_BODY}");
        metadata.error("maxBodyBytes", format!("{max_body} is not a size for a body"), fix);
    }

    let (name, query) = (name?, query?);
    let connection = Connection {
        namespace: metadata.input().namespace.to_owned(),
        name: name.clone(),
        signature: signature?,
        secrets: secrets?,
        id_header: id_header?,
        tolerance: tolerance?,
        max_body,
        query: query.clone(),
    };
    Some(Parsed {
        connection: crate::Connection::Webhook(connection),
        query: crate::Query::Webhook(query),
        target: target?,
        activation,
        metric_name: format!("webhook-{name}"),
        default_interval: Duration::from_millis(500),
    })
}

fn name(metadata: &mut Metadata<'_>) -> Option<String> {
    const FIX: &str = "write 1 to 63 of a-z, 0-9 and -, for example orders; events go to /webhooks/<namespace>/<name>";
    let name = metadata.required("name", FIX)?;
    let good = name.len() <= 63 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !good {
        metadata.error("name", "cannot be part of an address as it is", FIX);
    }
    good.then(|| name.to_owned())
}

fn query(metadata: &mut Metadata<'_>, mode: Mode) -> Option<Query> {
    const FIX: &str = "write where in the JSON body the number stands, for example queue.length";
    let window = seconds(metadata, "window", Duration::from_secs(60));
    if mode != Mode::Gauge {
        metadata.no_effect("valueLocation", "only mode gauge reads a number from the body");
        let window = window?;
        if window.is_zero() || window > LONGEST_WINDOW {
            let fix = format!("write a number of seconds from 1 to {}", LONGEST_WINDOW.as_secs());
            metadata.error("window", format!("{} seconds is not a window", window.as_secs()), fix);
            return None;
        }
        return Some(if mode == Mode::Rate { Query::Rate(window) } else { Query::Count(window) });
    }
    metadata.no_effect("window", "mode gauge takes the number of the newest event, however old it is");
    let written = metadata.required("valueLocation", FIX)?;
    match Path::gjson(written) {
        Ok(path) => Some(Query::Gauge(Location { written: written.to_owned(), path })),
        Err(problem) => {
            metadata.error("valueLocation", problem, FIX);
            None
        }
    }
}

fn secrets(metadata: &mut Metadata<'_>, signature: Option<Signature>) -> Option<Vec<Secret>> {
    let written = metadata.optional("secret");
    if signature == Some(Signature::None) {
        if written.is_some() {
            metadata.error("secret", "is given, and signature none does not ask for it", "choose github or standard");
        }
        return Some(Vec::new());
    }
    let Some(written) = written else {
        // Which signature it is may be what is missing.
        if signature.is_some() {
            let fix =
                "name a TriggerAuthentication by authenticationRef, with a secretTargetRef whose parameter is secret";
            metadata.error("secret", "is required", fix);
        }
        return None;
    };
    if metadata.is_public("secret") {
        let fix = "put it into a Secret and name that by a TriggerAuthentication";
        metadata.error("secret", "stands in the trigger, where many may read it", fix);
    }
    let secrets: Vec<Secret> =
        written.lines().map(str::trim).filter(|line| !line.is_empty()).map(Secret::new).collect();
    if signature == Some(Signature::Standard) && secrets.iter().any(|secret| standard_key(secret).is_none()) {
        let fix = "give whsec_ and the key in base64, each secret on a line of its own";
        metadata.error("secret", "is not a secret of Standard Webhooks", fix);
    }
    Some(secrets)
}

/// The key in a secret of Standard Webhooks; what it begins with may be left out.
pub(super) fn standard_key(secret: &Secret) -> Option<Vec<u8>> {
    let text = secret.expose();
    let key = BASE64.decode(text.strip_prefix(STANDARD_PREFIX).unwrap_or(text).as_bytes()).ok()?;
    (!key.is_empty()).then_some(key)
}

/// `None` after an error; the inner one for the usual place.
fn id_header(metadata: &mut Metadata<'_>) -> Option<Option<String>> {
    let Some(header) = metadata.optional("idHeader") else { return Some(None) };
    // RFC 9110, token.
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if header.len() > 128 || !header.bytes().all(token) {
        metadata.error("idHeader", "is not the name of a header", "write a name such as X-Request-Id");
        return None;
    }
    Some(Some(header.to_ascii_lowercase()))
}

fn seconds(metadata: &mut Metadata<'_>, key: &'static str, default: Duration) -> Option<Duration> {
    let value: u64 = metadata.parsed(key, default.as_secs(), "a whole number of seconds");
    if value > LONGEST_WINDOW.as_secs() {
        let fix = format!("write at most {}", LONGEST_WINDOW.as_secs());
        metadata.error(key, format!("{value} seconds is too long"), fix);
        return None;
    }
    Some(Duration::from_secs(value))
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
