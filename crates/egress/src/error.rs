//! Why a request failed, and why a client cannot be created.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_messages::ErrorDescription;

use crate::error_table;

/// Why a request failed. Cheap to clone.
///
/// [`SendError::nothing_sent`] says whether the server cannot have received any part of it, so that a retry cannot repeat an
/// action.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SendError {
    /// The client cannot send to the request's URI.
    #[error("`{uri}` is not an absolute http or https address")]
    Address {
        /// The requested URI.
        uri: String,
    },
    /// The name of the host, or of its proxy, cannot be resolved.
    #[error("cannot resolve {host}")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's error.
        #[source]
        cause: Arc<io::Error>,
    },
    /// All addresses of the host are forbidden by the [`crate::AddressPolicy`].
    #[error("{host} is at {address}, which must not be reached from here")]
    Refused {
        /// The name, or the address itself.
        host: String,
        /// The first of its addresses.
        address: IpAddr,
    },
    /// The host, or its proxy, does not accept connections.
    #[error("cannot connect to {host}")]
    Connect {
        /// The name and the port.
        host: String,
        /// The operating system's error for the last address that was tried.
        #[source]
        cause: Arc<io::Error>,
    },
    /// No connection was ready in time.
    #[error("no connection to {host} within {after:?}")]
    ConnectTimeout {
        /// The name.
        host: String,
        /// The limit.
        after: Duration,
    },
    /// The proxy did not open a tunnel to the host.
    #[error("the proxy {proxy} refused a tunnel to {host}")]
    Proxy {
        /// The proxy's name and port.
        proxy: String,
        /// The host and port of the tunnel.
        host: String,
        /// Why.
        #[source]
        cause: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The host's certificate is not trusted, or no encryption was negotiated.
    #[error("the TLS handshake with {host} failed")]
    Tls {
        /// The name.
        host: String,
        /// What is wrong.
        #[source]
        cause: Arc<io::Error>,
    },
    /// The response did not arrive in time. The request may have been carried out.
    #[error("no response within {after:?}")]
    Timeout {
        /// The limit.
        after: Duration,
    },
    /// The body of the response is too large.
    #[error("the response has more than {bytes_max} bytes")]
    BodyTooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// The budget had no capacity for the body of the response. The request was carried out.
    #[error("cannot read the response")]
    OverBudget {
        /// The budget that is used up.
        #[source]
        cause: Arc<http_messages::ReadError>,
    },
    /// The connection was lost, or the server violates HTTP. The request may have been carried out.
    #[error("the HTTP exchange failed")]
    Protocol {
        /// What is wrong.
        #[source]
        cause: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl SendError {
    /// Whether no part of the request can have reached the server.
    pub fn nothing_sent(&self) -> bool {
        match self {
            Self::Address { .. }
            | Self::Resolve { .. }
            | Self::Refused { .. }
            | Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Proxy { .. }
            | Self::Tls { .. } => true,
            Self::Timeout { .. }
            | Self::BodyTooLarge { .. }
            | Self::OverBudget { .. }
            | Self::Protocol { .. } => false,
        }
    }

    /// What the error means, who caused it, and whether a retry helps.
    pub fn description(&self) -> &'static ErrorDescription {
        match self {
            Self::Address { .. } => &error_table::ADDRESS,
            Self::Resolve { .. } => &error_table::RESOLVE,
            Self::Refused { .. } => &error_table::FORBIDDEN_ADDRESS,
            Self::Connect { .. } => &error_table::CONNECT,
            Self::ConnectTimeout { .. } => &error_table::CONNECT_TIMEOUT,
            Self::Proxy { .. } => &error_table::PROXY,
            Self::Tls { .. } => &error_table::TLS,
            Self::Timeout { .. } => &error_table::TIMEOUT,
            Self::BodyTooLarge { .. } => &error_table::BODY_TOO_LARGE,
            Self::OverBudget { .. } => &error_table::OVER_BUDGET,
            Self::Protocol { .. } => &error_table::PROTOCOL,
        }
    }

    /// One word for metrics and logs: the code of the description.
    pub fn cause(&self) -> &'static str {
        self.description().code
    }
}

/// Why a client cannot be created. The text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// A proxy of a kind that is not supported.
    #[error("a proxy with `{scheme}://` is not supported; name one with http://")]
    ProxyScheme {
        /// The kind.
        scheme: String,
    },
    /// The address of a proxy cannot be read.
    #[error("the address of a proxy is malformed; write for example http://proxy.example.com:3128")]
    ProxyMalformed,
    /// A file with certificate authorities cannot be read.
    #[error("cannot read certificates in PEM form from {}", path.display())]
    RootFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: rustls_pki_types::pem::Error,
    },
    /// A file contains no certificate authority.
    #[error("{} holds no certificate that can be trusted", path.display())]
    NoRoot {
        /// The file.
        path: PathBuf,
    },
}
