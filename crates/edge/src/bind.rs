//! Binds ports; the errors say why a port cannot be bound.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use http_messages::ErrorDescription;
use socket2::{Domain, Protocol, Type};

use crate::error_table;
use crate::platform;
use crate::port_owner::PortOwner;

/// Connections that the operating system queues until we accept them.
const BACKLOG: i32 = 1024;

/// How often another free port is tried if both families of localhost must have the same one.
const PORT_ATTEMPTS_MAX: usize = 16;

/// Why a listener could not be bound. The text is for the operator: what happened, why, what to do.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another socket uses the port.
    #[error(
        "cannot listen on {address}: {} already listens there; stop it, or choose another port (0 takes any free one)",
        owner_text(holder.as_ref())
    )]
    Taken {
        /// The requested address.
        address: SocketAddr,
        /// The process that uses it; `None` if that is not visible.
        holder: Option<PortOwner>,
    },
    /// This user may not bind the port.
    #[error(
        "cannot listen on {address}: the operating system forbids it; ports below 1024 need a privilege (on Linux CAP_NET_BIND_SERVICE), so choose a higher port or grant it"
    )]
    Forbidden {
        /// The requested address.
        address: SocketAddr,
    },
    /// No network interface has the address.
    #[error(
        "cannot listen on {address}: this machine has no such address; use 127.0.0.1 for this machine only, 0.0.0.0 for all, or another address of this machine"
    )]
    NoSuchAddress {
        /// The requested address.
        address: SocketAddr,
    },
    /// Any other error.
    #[error("cannot listen on {address}")]
    Other {
        /// The requested address.
        address: SocketAddr,
        /// The operating system's error.
        #[source]
        cause: io::Error,
    },
}

impl BindError {
    /// Its code, and what to do.
    #[must_use]
    pub fn description(&self) -> &'static ErrorDescription {
        match self {
            Self::Taken { .. } => &error_table::PORT_TAKEN,
            Self::Forbidden { .. } => &error_table::PORT_FORBIDDEN,
            Self::NoSuchAddress { .. } => &error_table::NO_SUCH_ADDRESS,
            Self::Other { .. } => &error_table::BIND_FAILED,
        }
    }
}

/// The process that uses a port, for the message.
fn owner_text(holder: Option<&PortOwner>) -> String {
    holder.map_or_else(|| "another program (this user may not see which)".to_owned(), PortOwner::to_string)
}

/// Binds one address; port 0 selects any free one. `[::]` accepts IPv4 as well.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    bind_socket(address).map_err(|cause| match cause.kind() {
        io::ErrorKind::AddrInUse => {
            // Any free port was requested: no particular process has it.
            let holder = if address.port() == 0 { None } else { PortOwner::find(address.port()) };
            BindError::Taken { address, holder }
        }
        io::ErrorKind::PermissionDenied => BindError::Forbidden { address },
        io::ErrorKind::AddrNotAvailable => BindError::NoSuchAddress { address },
        _ => BindError::Other { address, cause },
    })
}

/// Binds 127.0.0.1 and, if the machine has it, `[::1]`, both on the same port: browsers and Node.js try the second first.
pub(crate) fn bind_localhost(port: u16) -> Result<Vec<TcpListener>, BindError> {
    let mut attempt = 1;
    loop {
        let ipv4 = bind((Ipv4Addr::LOCALHOST, port).into())?;
        let taken = ipv4.local_addr().expect("a bound listener has an address").port();
        match bind((Ipv6Addr::LOCALHOST, taken).into()) {
            Ok(ipv6) => return Ok(vec![ipv4, ipv6]),
            // Any port was requested, and this one is free for one family only.
            Err(BindError::Taken { .. }) if port == 0 && attempt < PORT_ATTEMPTS_MAX => attempt += 1,
            Err(error @ BindError::Taken { .. }) => return Err(error),
            // Containers often have no IPv6.
            Err(error) => {
                tracing::debug!(%error, "localhost is IPv4 only");
                return Ok(vec![ipv4]);
            }
        }
    }
}

fn bind_socket(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if let SocketAddr::V6(address) = address {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    platform::reuse_address(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
