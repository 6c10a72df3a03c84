//! [`ClientConnection`] and [`ClientContext`]: which client a connection belongs to.

use std::net::IpAddr;
use std::sync::Arc;

use signalr_protocol::{HubProtocol, TransportType};

use crate::{ConnectionId, Hub, UserId};

/// Identifies the client of a connection.
#[derive(Clone, Debug)]
pub struct ClientConnection {
    /// The connection.
    pub id: ConnectionId,
    /// Its hub.
    pub hub: Hub,
    /// Its user, if its token named one.
    pub user: Option<UserId>,
    /// Its hub protocol.
    pub protocol: HubProtocol,
    /// Data from its token and request, if the upstream or app server needs it.
    pub client_context: Option<Arc<ClientContext>>,
}

/// Data of a client from its token and its request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientContext {
    /// The payload of its token: a JSON object.
    pub claims: Box<str>,
    /// The query of its request, without its token and its id.
    pub query: Box<str>,
    /// Its transport and address, if they are known.
    pub remote: Option<RemoteEndpoint>,
}

/// The remote end of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteEndpoint {
    /// The transport.
    pub transport: TransportType,
    /// The address of the client, or of a proxy between it and us.
    pub address: Option<IpAddr>,
}
