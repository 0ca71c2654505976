//! The trigger's `host`: one URL that says protocol, address, virtual host and often the credentials. No error of this
//! module repeats any part of it.

use percent_encoding::percent_decode_str;
use url::Url;

use super::config::{Endpoint, Protocol};
use crate::{Metadata, Secret};

const EXAMPLE: &str = "write amqp://user:password@rabbitmq.example:5672/vhost, or http:// with port 15672 for the management API; \
                       percent-encode special characters of user, password and vhost, or use the keys username, password and vhostName";
/// Query parameters of other AMQP clients that change nothing of what is read.
const IGNORED_PARAMETERS: &[&str] = &["heartbeat", "connection_timeout", "channel_max", "frame_max"];

/// What a `host` says.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) protocol: Protocol,
    pub(super) endpoint: Endpoint,
    pub(super) vhost: String,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
}

/// Reads `host` and `protocol`; records what is wrong.
pub(super) fn parse(metadata: &mut Metadata<'_>) -> Option<Host> {
    let wanted = metadata
        .choice("protocol", &[("auto", None), ("amqp", Some(Protocol::Amqp)), ("http", Some(Protocol::Http))])
        .flatten();
    let written = metadata.required("host", EXAMPLE)?;
    let host = match understand(written) {
        Ok(host) => host,
        Err(problem) => {
            metadata.error("host", problem, EXAMPLE);
            return None;
        }
    };
    metadata.check_host("host", &host.endpoint.host);
    if wanted.is_some_and(|wanted| wanted != host.protocol) {
        metadata.error("protocol", "is not that of the host", "remove it, or change the scheme of host");
    }
    Some(host)
}

fn understand(written: &str) -> Result<Host, &'static str> {
    let url = Url::parse(written).map_err(|_| "is not a URL")?;
    let (protocol, tls, default_port) = match url.scheme() {
        "amqp" => (Protocol::Amqp, false, 5672),
        "amqps" => (Protocol::Amqp, true, 5671),
        "http" => (Protocol::Http, false, 80),
        "https" => (Protocol::Http, true, 443),
        _ => return Err("has a scheme other than amqp, amqps, http and https"),
    };
    let address = match url.host() {
        Some(url::Host::Ipv6(address)) => address.to_string(),
        Some(url::Host::Domain(name)) if !name.is_empty() => decode(name)?.to_ascii_lowercase(),
        Some(url::Host::Ipv4(address)) => address.to_string(),
        _ => return Err("names no host"),
    };
    // A password with a bare / or # ends the address early; what follows must never be taken for a virtual host.
    if url.fragment().is_some() || url.path().contains('@') {
        return Err("has a bare # or @ where a virtual host should be");
    }
    if url.query_pairs().any(|(key, _)| !IGNORED_PARAMETERS.contains(&key.as_ref())) {
        return Err(
            "has query parameters, of which only heartbeat, connection_timeout, channel_max and frame_max are allowed",
        );
    }
    let (path, vhost) = match protocol {
        Protocol::Amqp => (String::new(), url.path().strip_prefix('/').unwrap_or_default()),
        Protocol::Http => {
            let (path, vhost) = url.path().rsplit_once('/').unwrap_or_default();
            (path.trim_end_matches('/').to_owned(), vhost)
        }
    };
    let vhost = if vhost.is_empty() { "/".to_owned() } else { decode(vhost)? };
    if vhost.len() > 255 {
        return Err("names a virtual host of more than 255 bytes");
    }
    let username = if url.username().is_empty() { None } else { Some(decode(url.username())?) };
    let password = match (url.password(), &username) {
        (Some(password), _) => Some(Secret::new(decode(password)?)),
        // A user without a password has an empty one.
        (None, Some(_)) => Some(Secret::new("")),
        (None, None) => None,
    };
    let port = url.port().unwrap_or(default_port);
    Ok(Host { protocol, endpoint: Endpoint { tls, host: address, port, path }, vhost, username, password })
}

fn decode(part: &str) -> Result<String, &'static str> {
    let decoded = percent_decode_str(part).decode_utf8().map_err(|_| "has percent-encoded bytes that are not UTF-8")?;
    if decoded.contains('\0') {
        return Err("has a NUL character");
    }
    Ok(decoded.into_owned())
}
