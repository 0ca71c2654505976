//! Private keys as PEM, opened where they are encrypted. It never prints one.

use pkcs8::EncryptedPrivateKeyInfo;
use pkcs8::pkcs5::EncryptionScheme;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::Secret;

/// A key that is stretched more often than this would keep a processor busy for seconds.
const MAX_ITERATIONS: u32 = 10_000_000;

/// Why a key cannot be used: the field, and a sentence.
pub(crate) type Unusable = (&'static str, &'static str);

/// Reads a key. Takes long where it is encrypted: not for a task that others wait for.
pub(crate) fn read(pem: &Secret, password: Option<&Secret>) -> Result<PrivateKeyDer<'static>, Unusable> {
    const BAD: Unusable = ("metadata.key", "the private key cannot be read; give it as PEM (PKCS#8, PKCS#1 or SEC1)");
    if !pem.expose().contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).map_err(|_| BAD);
    }
    let from = pem.expose().find("-----BEGIN ENCRYPTED").unwrap_or(0);
    let (_, document) =
        pkcs8::SecretDocument::from_pem(pem.expose().get(from..).unwrap_or("").trim()).map_err(|_| BAD)?;
    let encrypted = EncryptedPrivateKeyInfo::try_from(document.as_bytes()).map_err(|_| BAD)?;
    let modest = match &encrypted.encryption_algorithm {
        EncryptionScheme::Pbes2(parameters) => {
            parameters.kdf.pbkdf2().is_some_and(|kdf| kdf.iteration_count <= MAX_ITERATIONS)
        }
        _ => false,
    };
    if !modest {
        let message = "the private key is encrypted in a way that is not supported; \
                       convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -in old.pem -out new.pem";
        return Err(("metadata.key", message));
    }
    let wrong = |_| ("metadata.keyPassword", "keyPassword does not open the private key; correct it");
    let plain = encrypted.decrypt(password.map_or("", Secret::expose)).map_err(wrong)?;
    Ok(PrivatePkcs8KeyDer::from(plain.as_bytes().to_vec()).into())
}
