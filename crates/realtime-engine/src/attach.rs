//! What a new connection gets ([`ConnectionIds`]), and why it may be refused ([`AttachError`]).

use crate::{ConnectionId, ConnectionToken};

/// Names for a connection that is about to be: both lead to the same shard.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionIds {
    /// The public name.
    pub connection: ConnectionId,
    /// The secret of its client.
    pub token: ConnectionToken,
}

/// Why a socket was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// [`Options::connections_max`](crate::Options::connections_max) is reached.
    #[error("the engine holds as many connections as it may: {connections_max}")]
    Full {
        /// The bound.
        connections_max: u32,
    },
    /// The hub has as many connections as it may.
    #[error("the hub holds as many connections as it may: {connections_max}")]
    HubFull {
        /// The bound.
        connections_max: u32,
    },
    /// The connection id was issued by another node, or for a shard that does not exist.
    #[error("connection {0} belongs to another node")]
    Foreign(ConnectionId),
    /// The engine is draining or has ended.
    #[error("the engine is shutting down")]
    Stopped,
}
