//! A serving certificate that somebody else renews in files. The files are read again every few seconds, because a
//! mounted Secret is exchanged by a symbolic link that file notifications miss.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::serving::ServingCertificate;

/// How often the files are read.
const INTERVAL: Duration = Duration::from_secs(10);

/// Why the files cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The two do not make a certificate that can be served.
    #[error("{certificate} and {key} cannot be served: {source}", certificate = certificate.display(), key = key.display())]
    Unusable {
        /// The file of --tls-cert-file.
        certificate: PathBuf,
        /// The file of --tls-key-file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// A certificate chain and its key, PEM, in files.
#[derive(Debug)]
pub struct CertificateFiles {
    certificate: PathBuf,
    key: PathBuf,
    serving: Arc<ServingCertificate>,
    interval: Duration,
}

impl CertificateFiles {
    /// Loads the files of `--tls-cert-file` and `--tls-key-file` into `serving`.
    ///
    /// # Errors
    /// They cannot be read or served.
    pub async fn load(certificate: PathBuf, key: PathBuf, serving: Arc<ServingCertificate>) -> Result<Self, FileError> {
        let files = Self { certificate, key, serving, interval: INTERVAL };
        files.reload().await?;
        Ok(files)
    }

    /// The same, read every `interval`.
    #[must_use]
    pub const fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Reads the files again and again until `shutdown`, and serves what has changed. While they cannot be served, for
    /// example because only one of them has been exchanged yet, the last good certificate stays.
    pub async fn follow(self, shutdown: CancellationToken) {
        let mut said = String::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(self.interval) => {}
            }
            match self.reload().await {
                Ok(changed) => {
                    if changed {
                        tracing::info!(file = %self.certificate.display(), "serving certificate reloaded");
                    }
                    said.clear();
                }
                Err(error) => {
                    let text = error.to_string();
                    if text != said {
                        tracing::warn!(error = text, "serving certificate cannot be reloaded, the last one stays");
                        said = text;
                    }
                }
            }
        }
    }

    async fn reload(&self) -> Result<bool, FileError> {
        let chain = read(self.certificate.clone()).await?;
        let key = read(self.key.clone()).await?;
        self.serving.set_pem(&chain, &key).map_err(|source| FileError::Unusable {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        })
    }
}

/// Reads a file away from the tasks that serve, since a file system can hang.
async fn read(path: PathBuf) -> Result<Vec<u8>, FileError> {
    let file = path.clone();
    let read = tokio::task::spawn_blocking(move || std::fs::read(file)).await;
    read.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(|source| FileError::Read { path, source })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    use tokio::time::timeout;
    use tokio_util::sync::CancellationToken;

    use super::super::serving::ServingCertificate;
    use super::{CertificateFiles, FileError};

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    async fn served(serving: &ServingCertificate, pem: &str) {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let wait = async {
            while serving.leaf() != Some(der.clone()) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(Duration::from_secs(10), wait).await.unwrap();
    }

    #[tokio::test]
    async fn renewed_files_are_served_and_half_renewed_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        let serving = ServingCertificate::new();
        let load = || CertificateFiles::load(certificate.clone(), key.clone(), serving.clone());
        assert!(matches!(load().await, Err(FileError::Read { .. })));

        let ((first, first_key), (second, second_key)) = (pair(), pair());
        fs::write(&certificate, &first).unwrap();
        fs::write(&key, &second_key).unwrap();
        let error = load().await.unwrap_err();
        assert!(matches!(error, FileError::Unusable { .. }) && !error.to_string().contains("PRIVATE"));
        assert!(!serving.is_loaded());

        fs::write(&key, &first_key).unwrap();
        let files = load().await.unwrap().every(Duration::from_millis(5));
        served(&serving, &first).await;
        fs::write(&certificate, &second).unwrap();
        assert!(files.reload().await.is_err(), "the key is still the first one's");
        served(&serving, &first).await;

        let shutdown = CancellationToken::new();
        let following = tokio::spawn(files.follow(shutdown.clone()));
        fs::write(&key, &second_key).unwrap();
        served(&serving, &second).await;
        fs::remove_file(&key).unwrap();
        shutdown.cancel();
        timeout(Duration::from_secs(10), following).await.unwrap().unwrap();
        assert!(serving.is_loaded());
    }
}
