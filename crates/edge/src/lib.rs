//! Converts sockets into requests and duplex streams.
//!
//! A [`Listener`] accepts connections, distinguishes TLS from plain text by the first byte, speaks HTTP/1.1 and HTTP/2, and passes
//! each request to one `tower::Service`. Requests have an absolute URI (the origin by which the client reached us), [`Peer`] in
//! their extensions and, if the client asks to switch protocols, [`Upgrade`]. A service that responds with 101 receives the
//! connection as a [`Socket`]: non-blocking, outside the async runtime, for a poll of its own; or as a [`Duplex`], which stays in
//! the runtime.
//!
//! Not its concern: paths, hosts, callers, bodies, WebSocket frames. It knows no product.
//!
//! [`Quotas`] limits what the clients of one address, or of one port, may use of the resources that all ports share.
//!
//! Start with [`Listener`], [`Upgrade`], [`Socket`]. Start reading at `listener.rs`, then `connection.rs`.

mod activity;
mod bind;
mod body_rate;
mod connection;
mod connection_io;
mod connection_service;
mod connections;
mod descriptors;
mod dev_authority;
mod duplex;
mod error_table;
mod head;
mod http2_streams;
mod listener;
mod live_options;
mod metrics;
mod options;
mod origin;
mod platform;
mod port_owner;
mod quotas;
mod response_body;
#[cfg(feature = "simulation")]
pub mod simulation;
mod socket;
mod tls;
mod unread_body;
mod upgrade;

use std::net::SocketAddr;

pub use bind::BindError;
pub use connections::Drained;
pub use dev_authority::{AuthorityError, DevAuthority};
pub use duplex::Duplex;
pub use error_table::{BIND_ERRORS, CERTIFICATE_ERRORS, CONNECTION_ERRORS, RESPONSE_ERRORS};
pub use listener::Listener;
pub use live_options::LiveOptions;
pub use metrics::Metrics;
pub use options::Options;
pub use port_owner::PortOwner;
pub use quotas::Quotas;
pub use socket::Socket;
pub use tls::{TlsConfig, TlsConfigError};
pub use upgrade::{Upgrade, UpgradeError};

/// Raises the process's limit of open files as far as the system allows, because every connection uses one. Returns the new limit;
/// `None` if there is none. Call it once, at the start of the program.
///
/// # Errors
///
/// If the system refuses; the limit stays unchanged.
pub fn raise_open_files() -> std::io::Result<Option<u64>> {
    platform::raise_open_files()
}

/// The two ends of the connection; in the extensions of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The address of the client, or of the last proxy before us.
    pub remote: SocketAddr,
    /// Our own address on this connection.
    pub local: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
}
