//! Who may ask: the aggregator of the cluster, which proves itself by a client certificate of the request-header CA and
//! then vouches for the user in a header. What to trust is read from the ConfigMap every cluster has for this purpose
//! and followed while it changes. No header is believed before the certificate is.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::certificates::follow::follow;

/// Where kube-apiserver publishes how its aggregator proves itself.
pub const CONFIG_MAP_NAMESPACE: &str = "kube-system";
/// See [`CONFIG_MAP_NAMESPACE`].
pub const CONFIG_MAP: &str = "extension-apiserver-authentication";

const CA_KEY: &str = "requestheader-client-ca-file";
const NAMES_KEY: &str = "requestheader-allowed-names";
const USERS_KEY: &str = "requestheader-username-headers";

/// Why the ConfigMap does not say whom to trust.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// There is no request-header CA.
    #[error("{CA_KEY} is missing: start kube-apiserver with --requestheader-client-ca-file")]
    NoCa,
    /// The request-header CA cannot be used.
    #[error("{CA_KEY} holds no usable certificate: {0}")]
    BadCa(String),
    /// A list is not a JSON list of strings.
    #[error("{key} is not a JSON list of strings: {source}")]
    BadList {
        /// The key in the ConfigMap.
        key: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A header name is none.
    #[error("{USERS_KEY} names {0:?}, which cannot be an HTTP header")]
    BadHeader(String),
}

/// How the front proxy proves itself, and where it names the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    ca: Vec<CertificateDer<'static>>,
    allowed_names: Vec<String>,
    user_headers: Vec<HeaderName>,
}

impl Trust {
    /// Reads the data of the ConfigMap.
    ///
    /// # Errors
    /// See [`TrustError`].
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Self, TrustError> {
        let pem = data.get(CA_KEY).filter(|pem| !pem.trim().is_empty()).ok_or(TrustError::NoCa)?;
        let ca: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let ca = ca.map_err(|error| TrustError::BadCa(error.to_string()))?;
        let list = |key: &'static str| match data.get(key) {
            Some(text) => serde_json::from_str(text).map_err(|source| TrustError::BadList { key, source }),
            None => Ok(Vec::<String>::new()),
        };
        let user_headers = list(USERS_KEY)?
            .into_iter()
            .map(|name| HeaderName::try_from(&name).map_err(|_| TrustError::BadHeader(name)))
            .collect::<Result<_, _>>()?;
        let trust = Self { ca, allowed_names: list(NAMES_KEY)?, user_headers };
        trust.roots()?;
        Ok(trust)
    }

    /// The CA as roots for the verification of client certificates; never empty.
    ///
    /// # Errors
    /// A certificate that cannot be a root.
    pub fn roots(&self) -> Result<RootCertStore, TrustError> {
        let mut roots = RootCertStore::empty();
        for certificate in &self.ca {
            roots.add(certificate.clone()).map_err(|error| TrustError::BadCa(error.to_string()))?;
        }
        if roots.is_empty() { Err(TrustError::BadCa("no PEM block of a certificate".to_owned())) } else { Ok(roots) }
    }
}

/// Why somebody is not the front proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing is known yet of the front proxy.
    #[error("the request-header CA of the cluster is not known yet")]
    TrustUnknown,
    /// The connection came without a client certificate.
    #[error("no client certificate of the request-header CA was presented")]
    NoCertificate,
    /// The certificate is good, but not the front proxy's.
    #[error("the client certificate's common name is not in {NAMES_KEY}")]
    WrongName,
}

/// The other end of a connection. Cheap to clone; set on each request as an extension.
#[derive(Debug, Clone)]
pub struct Peer(Result<Arc<Trust>, Refusal>);

impl Peer {
    /// Judges the verified client certificates of a connection; `certificates` must come from a handshake that has
    /// checked them against the roots of `trust`.
    #[must_use]
    pub fn judge(trust: Option<&Arc<Trust>>, certificates: Option<&[CertificateDer<'_>]>) -> Self {
        let Some(trust) = trust else { return Self(Err(Refusal::TrustUnknown)) };
        let Some(leaf) = certificates.and_then(<[_]>::first) else { return Self(Err(Refusal::NoCertificate)) };
        if !trust.allowed_names.is_empty() && !common_name(leaf).is_some_and(|name| trust.allowed_names.contains(&name))
        {
            return Self(Err(Refusal::WrongName));
        }
        Self(Ok(Arc::clone(trust)))
    }

    /// The front proxy of a simulated cluster. It reaches the router without TLS, so that nothing is verified here: never
    /// for what comes over a network.
    #[must_use]
    pub fn simulated() -> Self {
        let user_headers = vec![HeaderName::from_static("x-remote-user")];
        Self(Ok(Arc::new(Trust { ca: Vec::new(), allowed_names: Vec::new(), user_headers })))
    }

    /// Whether this is the front proxy.
    #[must_use]
    pub const fn is_front_proxy(&self) -> bool {
        self.0.is_ok()
    }

    /// The user the front proxy vouches for, if it names one.
    ///
    /// # Errors
    /// The peer is not the front proxy.
    pub fn user<'a>(&self, headers: &'a HeaderMap) -> Result<Option<&'a str>, &Refusal> {
        let trust = self.0.as_ref()?;
        let named = trust.user_headers.iter().find_map(|name| headers.get(name));
        Ok(named.and_then(|user| user.to_str().ok()))
    }
}

/// The common name of a certificate that has exactly one; of several, nobody can say which is meant.
fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let mut names = parsed.subject().iter_common_name();
    match (names.next(), names.next()) {
        (Some(name), None) => name.as_str().ok().map(str::to_owned),
        _ => None,
    }
}

/// Reads the ConfigMap and follows it until `shutdown`. What was understood last stays in force while the ConfigMap
/// cannot be read or understood.
pub async fn follow_trust(client: Client, trust: watch::Sender<Option<Arc<Trust>>>, shutdown: CancellationToken) {
    let api: Api<ConfigMap> = Api::namespaced(client, CONFIG_MAP_NAMESPACE);
    follow(&api, CONFIG_MAP, &shutdown, |config_map| take(&trust, config_map)).await;
}

fn take(trust: &watch::Sender<Option<Arc<Trust>>>, config_map: Option<ConfigMap>) {
    let found = Trust::parse(&config_map.and_then(|config_map| config_map.data).unwrap_or_default());
    match found {
        Ok(new) => {
            trust.send_if_modified(|current| {
                let changed = current.as_deref() != Some(&new);
                if changed {
                    tracing::info!(names = ?new.allowed_names, "front proxy trust read");
                    *current = Some(Arc::new(new));
                }
                changed
            });
        }
        Err(error) => tracing::warn!(
            config_map = CONFIG_MAP,
            namespace = CONFIG_MAP_NAMESPACE,
            error = %error,
            "front proxy trust cannot be read"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{CA_KEY, NAMES_KEY, Trust, TrustError, USERS_KEY};

    fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_config_map_that_trusts_nobody_is_an_error_that_names_the_key() {
        let key = rcgen::KeyPair::generate().unwrap();
        let ca = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap().pem();
        let good = data(&[(CA_KEY, &ca), (NAMES_KEY, r#"["front"]"#), (USERS_KEY, r#"["X-Remote-User"]"#)]);
        let trust = Trust::parse(&good).unwrap();
        assert_eq!(
            (trust.allowed_names, trust.user_headers),
            (vec!["front".to_owned()], vec!["x-remote-user".parse().unwrap()])
        );
        assert!(Trust::parse(&data(&[(CA_KEY, &ca)])).unwrap().allowed_names.is_empty());

        assert!(matches!(Trust::parse(&data(&[])), Err(TrustError::NoCa)));
        assert!(matches!(Trust::parse(&data(&[(CA_KEY, " ")])), Err(TrustError::NoCa)));
        assert!(matches!(Trust::parse(&data(&[(CA_KEY, "nothing")])), Err(TrustError::BadCa(_))));
        let list = Trust::parse(&data(&[(CA_KEY, &ca), (NAMES_KEY, "front")])).unwrap_err();
        assert!(list.to_string().starts_with("requestheader-allowed-names is not a JSON list"), "{list}");
        let header = Trust::parse(&data(&[(CA_KEY, &ca), (USERS_KEY, r#"["a b"]"#)])).unwrap_err();
        assert!(matches!(header, TrustError::BadHeader(_)));
    }
}
