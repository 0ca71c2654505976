//! What a TLS connection to a broker trusts and shows. Never opens one.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use windlass_decision::FailureKind;

use super::config::Tls;
use super::outcome::Problem;
use crate::{Secret, private_key};

/// Reads the certificates. Takes some milliseconds, and longer with an encrypted key: not for a task that others wait for.
pub(super) fn client(tls: &Tls) -> Result<Arc<ClientConfig>, Problem> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|_| problem("metadata.tls", "this build knows no version of TLS"))?;
    let builder = if tls.unsafe_ssl {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
    } else {
        builder.with_root_certificates(roots(tls)?)
    };
    let config = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            let chain = certificates(cert, "metadata.cert")?;
            let key = private_key::read(key, tls.key_password.as_ref());
            let key = key.map_err(|(field, message)| problem(field, message))?;
            let refused =
                |_| problem("metadata.key", "cert and key cannot be used together; give the key of that certificate");
            builder.with_client_auth_cert(chain, key).map_err(refused)?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn problem(field: &'static str, message: &str) -> Problem {
    Problem::new(FailureKind::Tls, field, message)
}

/// The system's authorities, and the trigger's own.
fn roots(tls: &Tls) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(ca) = &tls.ca {
        let (added, _) = roots.add_parsable_certificates(certificates(ca, "metadata.ca")?);
        if added == 0 {
            return Err(problem("metadata.ca", "ca holds no certificate that can be used; give the authority as PEM"));
        }
    }
    Ok(roots)
}

fn certificates(pem: &Secret, field: &'static str) -> Result<Vec<CertificateDer<'static>>, Problem> {
    CertificateDer::pem_slice_iter(pem.expose().as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| problem(field, "the certificate cannot be read; give it as PEM"))
}

/// Takes any certificate, as `unsafeSsl` asks; the handshake's signatures are still checked.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
