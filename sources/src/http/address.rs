//! A trigger's URL, checked. No error of this module repeats any part of it: it may hold a credential.

use std::fmt;

use url::Url;

use crate::Metadata;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// What stands before the paths of the server's API, without a slash at the end.
    pub path: String,
}

impl Endpoint {
    /// `http://host:port/path`.
    #[cfg(feature = "connect")]
    pub(crate) fn base(&self) -> String {
        format!("{}://{self}", if self.tls { "https" } else { "http" })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}{}", self.host, self.port, self.path)
        } else {
            write!(f, "{}:{}{}", self.host, self.port, self.path)
        }
    }
}

/// The URL that `key` names and where it leads, without a path; records what is wrong.
pub(crate) fn url(metadata: &mut Metadata<'_>, key: &'static str, fix: &str) -> Option<(Url, Endpoint)> {
    let written = metadata.required(key, fix)?;
    match understand(written) {
        Ok((url, endpoint)) => {
            metadata.check_host(key, &endpoint.host);
            Some((url, endpoint))
        }
        Err(problem) => {
            metadata.error(key, problem, fix);
            None
        }
    }
}

fn understand(written: &str) -> Result<(Url, Endpoint), &'static str> {
    let url = Url::parse(written).map_err(|_| "is not a URL")?;
    let tls = match url.scheme() {
        "http" => false,
        "https" => true,
        _ => return Err("has a scheme other than http and https"),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds credentials, or an @ before the host; give them by authModes");
    }
    if url.fragment().is_some() {
        return Err("has a #, which is never sent");
    }
    let host = match url.host() {
        Some(url::Host::Domain(name)) if !name.is_empty() => name.to_owned(),
        Some(url::Host::Ipv4(address)) => address.to_string(),
        Some(url::Host::Ipv6(address)) => address.to_string(),
        _ => return Err("names no host"),
    };
    let port = url.port().unwrap_or(if tls { 443 } else { 80 });
    Ok((url, Endpoint { tls, host, port, path: String::new() }))
}
