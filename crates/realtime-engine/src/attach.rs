//! The ids of a new connection ([`ConnectionIds`]), and why it may be refused ([`AttachError`]).

use crate::{ConnectionId, ConnectionToken};

/// The ids of a new connection. Both contain the same node and shard.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionIds {
    /// The connection id.
    pub connection: ConnectionId,
    /// The connection token, a secret of its client.
    pub token: ConnectionToken,
}

/// Why a connection was not attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// [`Options::connections_max`](crate::Options::connections_max) is reached.
    #[error("too many connections; the limit is {connections_max} (realtime.engine.connections_max)")]
    Full {
        /// The limit.
        connections_max: u32,
    },
    /// The hub's own limit, or [`Options::hub_connections_max`](crate::Options::hub_connections_max), is reached.
    #[error("too many connections to this hub; the limit is {connections_max}")]
    HubFull {
        /// The limit.
        connections_max: u32,
    },
    /// The connection id was issued by another node, or for a shard that does not exist.
    #[error("connection {0} belongs to another node")]
    Foreign(ConnectionId),
    /// The engine is draining or has ended.
    #[error("the engine is shutting down")]
    Stopped,
}
