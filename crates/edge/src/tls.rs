//! [`TlsConfig`]: the certificate that a listener uses.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use http_messages::ErrorDescription;
use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error_table;

/// A certificate and its key, ready to serve TLS 1.2 and 1.3 with HTTP/2 and HTTP/1.1. Cheap to clone; all clones show the same
/// certificate, also after [`TlsConfig::replace`].
#[derive(Clone)]
pub struct TlsConfig {
    server: Arc<RwLock<Arc<ServerConfig>>>,
}

/// Why a certificate cannot be used. The text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum TlsConfigError {
    /// The certificate file cannot be read as PEM.
    #[error("cannot read certificates in PEM form from {}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: rustls_pki_types::pem::Error,
    },
    /// The certificate file contains no certificate.
    #[error("{} contains no certificate; name a file with a section that begins with BEGIN CERTIFICATE", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The key file cannot be read as PEM.
    #[error("cannot read a private key in PEM form (PKCS #8, PKCS #1 or SEC 1, not encrypted) from {}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: rustls_pki_types::pem::Error,
    },
    /// The two do not belong together, or their type is not supported.
    #[error("cannot use the certificate {} with the key {}", certificate.display(), key.display())]
    Pair {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What is wrong with them.
        #[source]
        cause: rustls::Error,
    },
}

impl TlsConfigError {
    /// Its code, and what to do.
    #[must_use]
    pub fn description(&self) -> &'static ErrorDescription {
        match self {
            Self::Certificate { .. } | Self::NoCertificate { .. } => &error_table::CERTIFICATE_UNREADABLE,
            Self::Key { .. } => &error_table::KEY_UNREADABLE,
            Self::Pair { .. } => &error_table::CERTIFICATE_WITHOUT_ITS_KEY,
        }
    }
}

impl TlsConfig {
    /// Reads a certificate chain (the server's own first) and its private key from PEM files.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or the two do not belong together.
    pub fn from_pem_files(certificate: &Path, key: &Path) -> Result<Self, TlsConfigError> {
        let unreadable = |cause| TlsConfigError::Certificate { path: certificate.to_owned(), cause };
        let chain = CertificateDer::pem_file_iter(certificate)
            .map_err(unreadable)?
            .collect::<Result<Vec<_>, _>>()
            .map_err(unreadable)?;
        if chain.is_empty() {
            return Err(TlsConfigError::NoCertificate { path: certificate.to_owned() });
        }
        let private = PrivateKeyDer::from_pem_file(key)
            .map_err(|cause| TlsConfigError::Key { path: key.to_owned(), cause })?;
        let server = builder().with_single_cert(chain, private).map_err(|cause| TlsConfigError::Pair {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            cause,
        })?;
        Ok(Self::new(server))
    }

    pub(crate) fn from_resolver(resolver: Arc<dyn ResolvesServerCert>) -> Self {
        Self::new(builder().with_cert_resolver(resolver))
    }

    fn new(mut server: ServerConfig) -> Self {
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self { server: Arc::new(RwLock::new(Arc::new(server))) }
    }

    /// Uses the certificate of `other` for new connections, on every listener that has a clone of this. Open connections are not
    /// affected.
    pub fn replace(&self, other: &Self) {
        let new = other.current();
        *self.server.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    pub(crate) fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        self.current().into()
    }

    fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsConfig").finish_non_exhaustive()
    }
}

fn builder() -> rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert> {
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of the default versions")
        .with_no_client_auth()
}
