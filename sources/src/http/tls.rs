//! Certificates of a trigger. This module verifies nothing but that they are PEM, and repeats none.

use crate::{Metadata, Secret};

/// Certificates as PEM. They are credentials of the object, so none is ever printed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tls {
    /// Authorities to trust besides the system's.
    pub ca: Option<Secret>,
    /// The client's certificate chain.
    pub cert: Option<Secret>,
    /// The client's private key.
    pub key: Option<Secret>,
    /// What it is encrypted with (RabbitMQ and Kafka only).
    pub key_password: Option<Secret>,
    /// Whether the server's certificate is taken unverified (HTTP and Kafka only).
    pub unsafe_ssl: bool,
}

/// Reads `ca`, `cert`, `key` and `unsafeSsl`; records what is wrong.
pub(crate) fn certificates(metadata: &mut Metadata<'_>) -> Tls {
    let ca = pem(metadata, "ca", "CERTIFICATE");
    let cert = pem(metadata, "cert", "CERTIFICATE");
    let key = pem(metadata, "key", "PRIVATE KEY");
    let unsafe_ssl = metadata.flag("unsafeSsl");
    for (given, key, other) in [(&cert, "key", "cert"), (&key, "cert", "key")] {
        if given.is_some() && metadata.optional(key).is_none() {
            metadata.error(key, format!("is required with {other}"), "give both, or neither");
        }
    }
    Tls { ca, cert, key, key_password: None, unsafe_ssl }
}

/// Records that the key of `tls` must not be encrypted.
pub(crate) fn refuse_encrypted(metadata: &mut Metadata<'_>, tls: &Tls) {
    if tls.key.as_ref().is_some_and(|key| key.expose().contains("ENCRYPTED")) {
        metadata.error("key", "is encrypted, which is not supported yet", "give the private key without a password");
    }
}

/// Reads `keyPassword`, which opens the key of `tls`; records what is wrong.
pub(crate) fn key_password(metadata: &mut Metadata<'_>, tls: &Tls) -> Option<Secret> {
    let password = metadata.optional("keyPassword").map(Secret::new);
    match tls.key.as_ref().map(Secret::expose) {
        Some(pem) if pem.contains("Proc-Type:") => {
            let fix = "convert it: openssl pkcs8 -topk8 -in old.pem -out new.pem";
            metadata.error("key", "is encrypted in the old way of OpenSSL, which is not supported", fix);
        }
        Some(pem) if pem.contains("BEGIN ENCRYPTED") && password.is_none() => {
            metadata.error("keyPassword", "is required, since key is encrypted", "give its password");
        }
        _ => {}
    }
    password
}

#[cfg(feature = "connect")]
impl Tls {
    /// The same with its key opened, which takes long enough to be done aside.
    pub(crate) async fn opened(&self) -> Result<Self, crate::private_key::Unusable> {
        let encrypted = self.key.clone().filter(|key| key.expose().contains("BEGIN ENCRYPTED"));
        let (Some(key), Some(password)) = (encrypted, self.key_password.clone()) else {
            return Ok(self.clone());
        };
        let open = move || {
            let der = crate::private_key::read(&key, Some(&password))?;
            let unreadable = ("metadata.key", "the private key cannot be read; give it as PKCS#8");
            let document = pkcs8::SecretDocument::try_from(der.secret_der()).map_err(|_| unreadable)?;
            let pem = document.to_pem("PRIVATE KEY", pkcs8::LineEnding::LF).map_err(|_| unreadable)?;
            Ok(Secret::new(pem.as_str()))
        };
        let cut_short = |_| Err(("metadata.key", "the private key was not read, it is tried again"));
        let key = tokio::task::spawn_blocking(open).await.unwrap_or_else(cut_short)?;
        Ok(Self { key: Some(key), key_password: None, ..self.clone() })
    }
}

/// Reads the PEM that `key` gives; `kind` is how the label of its first block must end.
fn pem(metadata: &mut Metadata<'_>, key: &'static str, kind: &str) -> Option<Secret> {
    let value = metadata.optional(key)?;
    let begins =
        value.split("-----BEGIN ").nth(1).is_some_and(|rest| rest.split("-----").next().unwrap_or("").ends_with(kind));
    if !begins {
        metadata.error(key, "is not PEM", format!("give the text that begins with -----BEGIN {kind}-----"));
    }
    Some(Secret::new(value))
}
