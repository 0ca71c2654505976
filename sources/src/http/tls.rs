//! Certificates of a trigger. This module verifies nothing but that they are PEM, and repeats none.

use crate::{Metadata, Secret};

/// Certificates as PEM. They are credentials of the object, so none is ever printed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tls {
    /// Authorities to trust besides the system's.
    pub ca: Option<Secret>,
    /// The client's certificate chain.
    pub cert: Option<Secret>,
    /// The client's private key, not encrypted.
    pub key: Option<Secret>,
    /// Whether the server's certificate is taken unverified (HTTP only).
    pub unsafe_ssl: bool,
}

/// Reads `ca`, `cert`, `key` and `unsafeSsl`; records what is wrong.
pub(crate) fn certificates(metadata: &mut Metadata<'_>) -> Tls {
    let ca = pem(metadata, "ca", "CERTIFICATE");
    let cert = pem(metadata, "cert", "CERTIFICATE");
    let key = pem(metadata, "key", "PRIVATE KEY");
    let unsafe_ssl = metadata.flag("unsafeSsl");
    if key.as_ref().is_some_and(|key| key.expose().contains("ENCRYPTED")) {
        metadata.error("key", "is encrypted, which is not supported yet", "give the private key without a password");
    }
    for (given, key, other) in [(&cert, "key", "cert"), (&key, "cert", "key")] {
        if given.is_some() && metadata.optional(key).is_none() {
            metadata.error(key, format!("is required with {other}"), "give both, or neither");
        }
    }
    Tls { ca, cert, key, unsafe_ssl }
}

/// Reads the PEM that `key` gives; `kind` is how the label of its first block must end.
pub(crate) fn pem(metadata: &mut Metadata<'_>, key: &'static str, kind: &str) -> Option<Secret> {
    let value = metadata.optional(key)?;
    let begins =
        value.split("-----BEGIN ").nth(1).is_some_and(|rest| rest.split("-----").next().unwrap_or("").ends_with(kind));
    if !begins {
        metadata.error(key, "is not PEM", format!("give the text that begins with -----BEGIN {kind}-----"));
    }
    Some(Secret::new(value))
}
