//! The certificates as the Secret holds them: reading, judging and making them. It does no IO, and prints no key.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData,
};
use rustls::RootCertStore;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::aws_lc_rs;
use rustls::server::ParsedCertificate;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::plan::{CA_LIFE, Facts, LEAF_LIFE, Life};
use super::serving::certified_key;

const LEAF: &str = "tls.crt";
const LEAF_KEY: &str = "tls.key";
const CAS: &str = "ca.crt";
const CA_KEY: &str = "ca.key";

/// Why the data of a Secret is no bundle, or a new one cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A key of the Secret is missing, empty or no text.
    #[error("key {0} is missing or empty")]
    Missing(&'static str),
    /// A certificate cannot be read.
    #[error("key {0} holds no usable certificate")]
    BadCertificate(&'static str),
    /// The key of the CA is not the newest CA's.
    #[error("key {CA_KEY} does not belong to the first certificate of {CAS}")]
    ForeignCaKey,
    /// The serving certificate and its key cannot be used together.
    #[error("{LEAF} and {LEAF_KEY} cannot be served: {0}")]
    Leaf(rustls::Error),
    /// Making a key or a certificate failed.
    #[error("certificate cannot be made: {0}")]
    Make(rcgen::Error),
}

/// A serving certificate with its key, and the CAs to trust it by with the newest one's key. All PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    leaf: String,
    leaf_key: String,
    /// Newest first.
    cas: Vec<String>,
    ca_key: String,
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bundle").field("cas", &self.cas.len()).finish_non_exhaustive()
    }
}

/// The names the metrics `service` in `namespace` is asked by.
#[must_use]
pub fn serving_names(service: &str, namespace: &str) -> Vec<String> {
    let scoped = format!("{service}.{namespace}");
    vec![format!("{scoped}.svc"), service.to_owned(), scoped.clone(), format!("{scoped}.svc.cluster.local")]
}

impl Bundle {
    /// A new CA and a serving certificate for `names`, valid from `now`.
    ///
    /// # Errors
    /// See [`BundleError::Make`].
    pub fn create(names: &[String], now: Timestamp) -> Result<Self, BundleError> {
        let (ca, ca_key) = make_ca(now)?;
        let (leaf, leaf_key) = make_leaf(&ca, &ca_key, names, now)?;
        Ok(Self { leaf, leaf_key, cas: vec![ca], ca_key })
    }

    /// The same with a new CA in front; CAs that have expired are gone.
    ///
    /// # Errors
    /// See [`BundleError::Make`].
    pub fn add_ca(self, now: Timestamp) -> Result<Self, BundleError> {
        let (ca, ca_key) = make_ca(now)?;
        let old = self.cas.into_iter().filter(|pem| life_of(pem).is_ok_and(|life| now < life.not_after));
        Ok(Self { cas: std::iter::once(ca).chain(old).collect(), ca_key, ..self })
    }

    /// The same with a new serving certificate by the newest CA.
    ///
    /// # Errors
    /// See [`BundleError::Make`].
    pub fn issue_leaf(self, names: &[String], now: Timestamp) -> Result<Self, BundleError> {
        let ca = self.cas.first().ok_or(BundleError::Missing(CAS))?;
        let (leaf, leaf_key) = make_leaf(ca, &self.ca_key, names, now)?;
        Ok(Self { leaf, leaf_key, ..self })
    }

    /// The same with the newest CA only.
    #[must_use]
    pub fn drop_old_cas(mut self) -> Self {
        self.cas.truncate(1);
        self
    }

    /// Reads the data of a Secret.
    ///
    /// # Errors
    /// Anything that would keep it from being served or renewed.
    pub fn parse(data: &BTreeMap<String, ByteString>) -> Result<Self, BundleError> {
        let text = |key| {
            let text = data.get(key).and_then(|bytes| str::from_utf8(&bytes.0).ok());
            text.filter(|text| !text.trim().is_empty()).map(str::to_owned).ok_or(BundleError::Missing(key))
        };
        let cas = split_pem(&text(CAS)?);
        let bundle = Self { leaf: text(LEAF)?, leaf_key: text(LEAF_KEY)?, cas, ca_key: text(CA_KEY)? };
        bundle.check()?;
        Ok(bundle)
    }

    fn check(&self) -> Result<(), BundleError> {
        certified_key(self.leaf.as_bytes(), self.leaf_key.as_bytes()).map_err(BundleError::Leaf)?;
        life_of(&self.leaf).map_err(|()| BundleError::BadCertificate(LEAF))?;
        for ca in &self.cas {
            life_of(ca).map_err(|()| BundleError::BadCertificate(CAS))?;
        }
        let newest = self.cas.first().ok_or(BundleError::BadCertificate(CAS))?;
        let key = KeyPair::from_pem(&self.ca_key).map_err(|_| BundleError::ForeignCaKey)?;
        let der = CertificateDer::from_pem_slice(newest.as_bytes()).map_err(|_| BundleError::BadCertificate(CAS))?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| BundleError::BadCertificate(CAS))?;
        if parsed.public_key().raw == key.subject_public_key_info() { Ok(()) } else { Err(BundleError::ForeignCaKey) }
    }

    /// The data of the Secret.
    #[must_use]
    pub fn data(&self) -> BTreeMap<String, ByteString> {
        let entries = [
            (LEAF, self.leaf.clone()),
            (LEAF_KEY, self.leaf_key.clone()),
            (CAS, self.ca_bundle()),
            (CA_KEY, self.ca_key.clone()),
        ];
        entries.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).collect()
    }

    /// All CAs to trust, PEM, newest first.
    #[must_use]
    pub fn ca_bundle(&self) -> String {
        self.cas.concat()
    }

    /// What counts for the plan, given the names the certificate must have.
    ///
    /// # Errors
    /// A certificate cannot be read.
    pub fn facts(&self, names: &[String]) -> Result<Facts, BundleError> {
        let leaf = life_of(&self.leaf).map_err(|()| BundleError::BadCertificate(LEAF))?;
        let cas: Result<Vec<_>, _> = self.cas.iter().map(|ca| life_of(ca)).collect();
        let cas = cas.map_err(|()| BundleError::BadCertificate(CAS))?;
        let der =
            CertificateDer::from_pem_slice(self.leaf.as_bytes()).map_err(|_| BundleError::BadCertificate(LEAF))?;
        let parsed = ParsedCertificate::try_from(&der).map_err(BundleError::Leaf)?;
        let issuer = self.cas.iter().position(|ca| signed_by(&parsed, ca, leaf));
        let covers = |name: &String| {
            ServerName::try_from(name.as_str()).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
        };
        Ok(Facts { cas, leaf, issuer, names_cover: names.iter().all(covers) })
    }
}

/// Whether `leaf` is a serving certificate signed by `ca`, judged at the beginning of the leaf's `life`.
fn signed_by(leaf: &ParsedCertificate<'_>, ca: &str, life: Life) -> bool {
    let mut roots = RootCertStore::empty();
    let Ok(ca) = CertificateDer::from_pem_slice(ca.as_bytes()) else { return false };
    let Ok(second) = u64::try_from(life.not_before.as_second()) else { return false };
    let then = UnixTime::since_unix_epoch(Duration::from_secs(second));
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    roots.add(ca).is_ok() && verify_server_cert_signed_by_trust_anchor(leaf, &roots, &[], then, algorithms).is_ok()
}

fn life_of(pem: &str) -> Result<Life, ()> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| ())?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| ())?;
    let validity = parsed.validity();
    let time = |second: i64| Timestamp::from_second(second).map_err(|_| ());
    Ok(Life { not_before: time(validity.not_before.timestamp())?, not_after: time(validity.not_after.timestamp())? })
}

fn make_ca(now: Timestamp) -> Result<(String, String), BundleError> {
    let key = KeyPair::generate().map_err(BundleError::Make)?;
    let mut params =
        params(Vec::new(), &format!("windlass-serving-ca@{}", now.as_second()), Life::starting(now, CA_LIFE))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let certificate = params.self_signed(&key).map_err(BundleError::Make)?;
    Ok((certificate.pem().replace('\r', ""), key.serialize_pem()))
}

fn make_leaf(ca: &str, ca_key: &str, names: &[String], now: Timestamp) -> Result<(String, String), BundleError> {
    let ca_life = life_of(ca).map_err(|()| BundleError::BadCertificate(CAS))?;
    let ca_key = KeyPair::from_pem(ca_key).map_err(BundleError::Make)?;
    let issuer = Issuer::from_ca_cert_pem(ca, ca_key).map_err(BundleError::Make)?;
    let mut life = Life::starting(now, LEAF_LIFE);
    life.not_after = life.not_after.min(ca_life.not_after);
    let key = KeyPair::generate().map_err(BundleError::Make)?;
    let mut params = params(names.to_vec(), names.first().map_or("windlass", String::as_str), life)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer).map_err(BundleError::Make)?;
    Ok((certificate.pem().replace('\r', ""), key.serialize_pem()))
}

fn params(names: Vec<String>, common_name: &str, life: Life) -> Result<CertificateParams, BundleError> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since_epoch = |time: Timestamp| Duration::from_secs(u64::try_from(time.as_second()).unwrap_or(0));
    let mut params = CertificateParams::new(names).map_err(BundleError::Make)?;
    params.not_before = epoch + since_epoch(life.not_before);
    params.not_after = epoch + since_epoch(life.not_after);
    // Taking out the default name first keeps the one in the certificate the only one.
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

/// The certificates of a PEM text, each on its own.
fn split_pem(text: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let blocks = text.split_inclusive(END).map(str::trim).filter(|block| block.ends_with(END));
    blocks.map(|block| format!("{block}\n")).collect()
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;
