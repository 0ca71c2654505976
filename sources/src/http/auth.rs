//! As whom a trigger asks: `authModes` and the keys that belong to each. This module sends nothing and repeats no credential.

use super::oauth::{self, OAuth};
use super::pairs::header_problem;
use super::tls::{Tls, certificates, refuse_encrypted};
use crate::{Metadata, Secret};

/// What is sent with each request, besides a client certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Auth {
    /// User and password.
    pub basic: Option<(String, Secret)>,
    /// Headers by name.
    pub headers: Vec<(String, Secret)>,
    /// A parameter of the query string.
    pub parameter: Option<(String, Secret)>,
    /// A token, and where it comes from.
    pub oauth: Option<OAuth>,
}

/// A way to say who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `apiKey` in a header or in the query string.
    ApiKey,
    /// `username` and `password`.
    Basic,
    /// `bearerToken` or `token`.
    Bearer,
    /// `customAuthHeader` and `customAuthValue`.
    Custom,
    /// A token that `oauthTokenURI` gives.
    OAuth,
    /// `cert` and `key`.
    Tls,
}

const MODES: &[(&str, Mode)] = &[
    ("apiKey", Mode::ApiKey),
    ("basic", Mode::Basic),
    ("bearer", Mode::Bearer),
    ("custom", Mode::Custom),
    ("oauth", Mode::OAuth),
    ("tls", Mode::Tls),
];

/// Reads `authModes` (or `authMode`), the keys of the `allowed` modes, and the certificates; records what is wrong. An
/// authentication may give more than the modes need; in the trigger itself that is a mistake. `encrypted`: whether the server is
/// asked over TLS; where it is not, certificates are left unused.
pub(crate) fn authentication(metadata: &mut Metadata<'_>, allowed: &[Mode], encrypted: bool) -> (Auth, Tls) {
    let modes = modes(metadata, allowed);
    let mut auth = Auth::default();
    for mode in allowed {
        let wanted = modes.contains(mode);
        match mode {
            Mode::ApiKey => api_key(metadata, wanted, &mut auth),
            Mode::Basic => {
                if let Some([user, password]) = keys(metadata, wanted, "basic", ["username", "password"], 1) {
                    auth.basic = Some((user.to_owned(), Secret::new(password)));
                }
            }
            Mode::Bearer => bearer(metadata, wanted, &mut auth),
            Mode::Custom => {
                let names = ["customAuthHeader", "customAuthValue"];
                if let Some([name, value]) = keys(metadata, wanted, "custom", names, 2) {
                    header(metadata, &mut auth, "customAuthHeader", name, value);
                }
            }
            Mode::OAuth | Mode::Tls => {}
        }
    }
    let mut tls = certificates(metadata);
    refuse_encrypted(metadata, &tls);
    if modes.contains(&Mode::OAuth) {
        auth.oauth = oauth::parse(metadata, &tls);
    } else {
        unused(metadata, "oauth", &oauth::KEYS);
    }
    if modes.contains(&Mode::Tls) {
        keys(metadata, true, "tls", ["cert", "key"], 2);
    } else {
        unused(metadata, "tls", &["cert", "key"]);
        (tls.cert, tls.key) = (None, None);
    }
    if encrypted {
        return (auth, tls);
    }
    if modes.contains(&Mode::Tls) {
        let key = if metadata.optional("authModes").is_some() { "authModes" } else { "authMode" };
        metadata.error(key, "tls needs an encrypted address", "write https:// and the port of that listener");
    }
    let serves_token = auth.oauth.as_ref().is_some_and(|oauth| oauth.endpoint.tls);
    for key in ["ca", "unsafeSsl"] {
        if metadata.is_public(key) && !serves_token {
            metadata.no_effect(key, "the address is not encrypted");
        }
    }
    (auth, Tls::default())
}

fn modes(metadata: &mut Metadata<'_>, allowed: &[Mode]) -> Vec<Mode> {
    let (several, one) = (metadata.optional("authModes"), metadata.optional("authMode"));
    if several.is_some() && one.is_some() {
        metadata.error("authMode", "is another name of authModes", "keep authModes alone");
    }
    let key = if several.is_some() { "authModes" } else { "authMode" };
    let names: Vec<_> = MODES.iter().filter(|(_, mode)| allowed.contains(mode)).map(|(name, _)| *name).collect();
    let fix = format!("write one of {}, or several with commas", names.join(", "));
    let mut modes = Vec::new();
    for written in several.or(one).unwrap_or_default().split(',').map(str::trim).filter(|written| !written.is_empty()) {
        let known = MODES.iter().find(|(name, _)| name.eq_ignore_ascii_case(written)).map(|(_, mode)| *mode);
        match known {
            Some(mode) if allowed.contains(&mode) => modes.push(mode),
            _ => metadata.error(key, "names a mode that is not known here", &*fix),
        }
    }
    let header = [Mode::Basic, Mode::Bearer, Mode::OAuth];
    if header.iter().filter(|mode| modes.contains(mode)).count() > 1 {
        metadata.error(key, "basic, bearer and oauth exclude each other", "keep one of them");
    }
    modes
}

/// The values of two keys that a mode needs, the first `required` of them; `None` if the mode is not wanted or one is missing.
fn keys<'a>(
    metadata: &mut Metadata<'a>,
    wanted: bool,
    mode: &str,
    names: [&'static str; 2],
    required: usize,
) -> Option<[&'a str; 2]> {
    if !wanted {
        unused(metadata, mode, &names);
        return None;
    }
    let mut values = [None; 2];
    for (place, (value, name)) in values.iter_mut().zip(names).enumerate() {
        *value = metadata.optional(name);
        if value.is_none() && place < required {
            metadata.error(name, format!("is required with authModes {mode}"), "give it, best by an authenticationRef");
        }
        *value = value.or((place >= required).then_some(""));
    }
    Some([values[0]?, values[1]?])
}

/// Keys of a mode that is not named: known, and a mistake if the trigger itself holds one.
fn unused(metadata: &mut Metadata<'_>, mode: &str, names: &[&'static str]) {
    metadata.unused(names, &format!("authModes does not name {mode}"));
}

fn header(metadata: &mut Metadata<'_>, auth: &mut Auth, key: &'static str, name: &str, value: &str) {
    match header_problem(name, value) {
        Some(problem) => metadata.error(key, problem, "correct it; a credential has no line breaks"),
        None => auth.headers.push((name.to_owned(), Secret::new(value))),
    }
}

fn bearer(metadata: &mut Metadata<'_>, wanted: bool, auth: &mut Auth) {
    if !wanted {
        return unused(metadata, "bearer", &["bearerToken", "token"]);
    }
    let (long, short) = (metadata.optional("bearerToken"), metadata.optional("token"));
    let key = if long.is_none() && short.is_some() { "token" } else { "bearerToken" };
    match long.or(short) {
        Some(token) => header(metadata, auth, key, "Authorization", &format!("Bearer {token}")),
        None => metadata.error(key, "is required with authModes bearer", "give it, best by an authenticationRef"),
    }
}

fn api_key(metadata: &mut Metadata<'_>, wanted: bool, auth: &mut Auth) {
    if !wanted {
        return unused(metadata, "apiKey", &["apiKey", "method", "keyParamName"]);
    }
    let in_query = metadata.choice("method", &[("header", false), ("query", true)]).unwrap_or(false);
    let name = metadata.optional("keyParamName");
    let Some(value) = metadata.required("apiKey", "give it, best by an authenticationRef") else { return };
    if in_query {
        auth.parameter = Some((name.unwrap_or("api_key").to_owned(), Secret::new(value)));
    } else {
        header(metadata, auth, "apiKey", name.unwrap_or("X-API-KEY"), value);
    }
}
