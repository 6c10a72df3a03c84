//! The certificate authorities that a client trusts, and the TLS configuration with them.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::sync::OnceCell;

use crate::error::OptionsError;
use crate::options::{HttpVersion, Options};

/// The TLS configuration, created at its first use: reading the operating system's authorities takes tens of milliseconds, which a
/// process that never uses TLS should not spend.
#[derive(Debug)]
pub(crate) struct Roots {
    extra: RootCertStore,
    native: bool,
    protocols: Vec<Vec<u8>>,
    config: OnceCell<Arc<ClientConfig>>,
}

impl Roots {
    /// Reads the extra files now, so that a wrong file is reported at the start.
    pub(crate) fn new(options: &Options) -> Result<Self, OptionsError> {
        let mut extra = RootCertStore::empty();
        for path in &options.extra_root_files {
            let (trusted, _ignored) = extra.add_parsable_certificates(read(path)?);
            if trusted == 0 {
                return Err(OptionsError::NoRoot { path: path.clone() });
            }
        }
        let protocols: &[&[u8]] = match options.http_version {
            HttpVersion::Auto => &[b"h2", b"http/1.1"],
            HttpVersion::Http1 => &[b"http/1.1"],
            HttpVersion::Http2 => &[b"h2"],
        };
        let protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Self { extra, native: options.native_roots, protocols, config: OnceCell::new() })
    }

    pub(crate) async fn config(&self) -> Arc<ClientConfig> {
        let config = self.config.get_or_init(|| async {
            let mut roots = self.extra.clone();
            if self.native {
                let native = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs)
                    .await
                    .expect("reading certificates does not panic");
                for error in &native.errors {
                    tracing::warn!(%error, "some of the system's certificate authorities cannot be read");
                }
                roots.add_parsable_certificates(native.certs);
            }
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let mut config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("ring has the cipher suites of the default versions")
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.alpn_protocols.clone_from(&self.protocols);
            Arc::new(config)
        });
        Arc::clone(config.await)
    }
}

fn read(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, OptionsError> {
    let unreadable = |cause| OptionsError::RootFile { path: path.clone(), cause };
    CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect::<Result<_, _>>().map_err(unreadable)
}
