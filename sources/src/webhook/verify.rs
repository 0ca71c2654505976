//! Signatures over the raw body, checked before anything in it is read. Digests are compared in constant time; no secret,
//! signature or body leaves this module.

use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::HeaderMap;
use sha2::Sha256;

use super::config::{Connection, Signature, standard_key};

/// How many signatures one request may carry; more are a waste of time.
const SIGNATURES: usize = 16;

/// Whether whoever sent this knows a secret of the endpoint. `now` is in seconds since 1970.
pub(super) fn is_genuine(connection: &Connection, headers: &HeaderMap, body: &[u8], now: i64) -> bool {
    match connection.signature {
        Signature::None => true,
        Signature::Github => github(connection, headers, body).is_some(),
        Signature::Standard => standard(connection, headers, body, now).is_some(),
    }
}

/// A header that stands there once.
pub(super) fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?.trim();
    (values.next().is_none() && !value.is_empty()).then_some(value)
}

fn github(connection: &Connection, headers: &HeaderMap, body: &[u8]) -> Option<()> {
    let written = only(headers, "x-hub-signature-256")?.strip_prefix("sha256=")?;
    let digest = HEXLOWER_PERMISSIVE.decode(written.as_bytes()).ok()?;
    let keys = connection.secrets.iter().map(|secret| secret.expose().as_bytes());
    matches(keys, &[body], &[digest])
}

/// Standard Webhooks 1.0, "Verifying signatures". Signatures of other versions (`v1a`) are passed over.
fn standard(connection: &Connection, headers: &HeaderMap, body: &[u8], now: i64) -> Option<()> {
    let id = only(headers, "webhook-id")?;
    let timestamp = only(headers, "webhook-timestamp")?;
    let sent: i64 = timestamp.parse().ok()?;
    if Duration::from_secs(sent.abs_diff(now)) > connection.tolerance {
        return None;
    }
    let written = only(headers, "webhook-signature")?;
    let digests: Vec<_> = written
        .split(' ')
        .filter_map(|signature| BASE64.decode(signature.strip_prefix("v1,")?.as_bytes()).ok())
        .take(SIGNATURES)
        .collect();
    let keys: Vec<_> = connection.secrets.iter().filter_map(standard_key).collect();
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    matches(keys.iter().map(Vec::as_slice), &signed, &digests)
}

/// Whether the HMAC-SHA-256 of `parts` under one of `keys` is one of `digests`.
fn matches<'k>(keys: impl Iterator<Item = &'k [u8]>, parts: &[&[u8]], digests: &[Vec<u8>]) -> Option<()> {
    let mut found = false;
    for key in keys {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
        parts.iter().for_each(|part| mac.update(part));
        for digest in digests {
            // In full, so that the time says nothing of which one it was.
            found |= mac.clone().verify_slice(digest).is_ok();
        }
    }
    found.then_some(())
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
