//! [`ClientConnection`] and [`ClientContext`]: which client a connection belongs to.

use std::net::IpAddr;
use std::sync::Arc;

use signalr_protocol::{HubProtocol, TransportType};

use crate::{ConnectionId, Hub, UserId};

/// Which client something is about.
#[derive(Clone, Debug)]
pub struct ClientConnection {
    /// The connection.
    pub id: ConnectionId,
    /// Its hub.
    pub hub: Hub,
    /// Its user, if its token named one.
    pub user: Option<UserId>,
    /// What it speaks.
    pub protocol: HubProtocol,
    /// What it brought along, where that was kept.
    pub client_context: Option<Arc<ClientContext>>,
}

/// What a client brought along, for those who answer its calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientContext {
    /// The payload of its token: a JSON object.
    pub claims: Box<str>,
    /// The query of its address, without its token and its id.
    pub query: Box<str>,
    /// How it came, where that is known.
    pub remote: Option<RemoteEndpoint>,
}

/// How a client reached the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteEndpoint {
    /// By which transport.
    pub transport: TransportType,
    /// The address of the other end of its connection: its own, or that of a proxy between.
    pub address: Option<IpAddr>,
}
