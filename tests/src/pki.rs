//! A throw-away certificate authority for brokers that run without a rig: the same file names as the rig's.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// Writes `ca.crt`, `ca.key`, `adapter.crt` and `adapter.key` (server and client, for `localhost` and 127.0.0.1).
///
/// # Errors
/// When a file cannot be written.
pub fn make(dir: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "windlass-tests-ca");
    let ca_key = KeyPair::generate()?;
    fs::write(dir.join("ca.crt"), ca.self_signed(&ca_key)?.pem())?;
    fs::write(dir.join("ca.key"), ca_key.serialize_pem())?;
    let issuer = Issuer::new(ca, ca_key);

    let mut leaf = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    leaf.distinguished_name.push(DnType::CommonName, "windlass-tests");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    fs::write(dir.join("adapter.crt"), leaf.signed_by(&key, &issuer)?.pem())?;
    fs::write(dir.join("adapter.key"), key.serialize_pem())?;
    Ok(dir.to_owned())
}
