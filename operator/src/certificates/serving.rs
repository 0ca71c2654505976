//! The certificate in use, exchanged while connections come in. It never decides which one is right.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Holds the certificate that new connections are served with. Share it by `Arc`.
#[derive(Debug, Default)]
pub struct ServingCertificate(RwLock<Option<Arc<CertifiedKey>>>);

impl ServingCertificate {
    /// Without a certificate: handshakes fail until one is set.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Whether there is a certificate.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.current().is_some()
    }

    /// Serves the PEM chain and key from now on. Returns whether that is a change.
    ///
    /// # Errors
    /// They cannot be used, or do not belong together; the certificate in use stays. The text holds nothing of the key.
    pub fn set_pem(&self, chain: &[u8], key: &[u8]) -> Result<bool, rustls::Error> {
        let key = certified_key(chain, key)?;
        let is_new = self.current().is_none_or(|current| current.cert != key.cert);
        if is_new {
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(key));
        }
        Ok(is_new)
    }

    /// The certificate in use, without its chain.
    #[must_use]
    pub fn leaf(&self) -> Option<CertificateDer<'static>> {
        self.current()?.cert.first().cloned()
    }

    fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current()
    }
}

/// A chain and the key that belongs to its first certificate.
///
/// # Errors
/// They cannot be read, or do not belong together.
pub(super) fn certified_key(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, rustls::Error> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|error| rustls::Error::General(format!("the certificate is not PEM: {error}")))?;
    if chain.is_empty() {
        return Err(rustls::Error::General("there is no PEM block of a certificate".to_owned()));
    }
    // The parser's own error is not passed on: it could quote the key.
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| rustls::Error::General("there is no PEM block of a private key".to_owned()))?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
}
