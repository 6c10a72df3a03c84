//! [`AppServer`]: the app server of a client in Default mode, as the engine sees it.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Capacity, ClientConnection, ClientContext, ConnectionId};

/// The app server that a client's bytes are forwarded to. It is called on a shard's thread, so it must queue the work and return;
/// it must never block.
/// Its responses go through [`EngineHandle::from_server`](super::EngineHandle::from_server). The first bytes are the handshake
/// response; with them the connection joins its hub.
/// handshake response; with them the connection joins its hub.
pub trait AppServer: Debug + Send + Sync + 'static {
    /// A client has sent its handshake request. The request itself follows as data.
    fn open(&self, client: &ClientConnection);

    /// Whether it accepts long messages in parts, so that the engine does not need to buffer them whole.
    fn accepts_parts(&self) -> bool;

    /// Whether it can accept more data of a client; called before each read. After [`Capacity::Exhausted`] reading is paused
    /// until [`EngineHandle::resume`](super::EngineHandle::resume) is called.
    fn capacity(&self, connection: ConnectionId) -> Capacity;

    /// Bytes of a client, as received. They are always accepted. `is_partial` if the message does not end with them, which
    /// happens only if [`AppServer::accepts_parts`].
    fn data(&self, connection: ConnectionId, payload: Bytes, is_partial: bool) -> Capacity;

    /// The client's connection has ended, with the error if it ended with one. Called once for each client that was opened here and has
    /// not been moved to another server.
    fn closed(&self, connection: ConnectionId, error: Option<&str>);

    /// The rate at which the client reads messages that its app server sends to it alone has changed.
    fn send_rate(&self, connection: ConnectionId, rate: SendRate);

    /// The client is about to be closed, because too many bytes that its app server sent to it alone are pending, or for too
    /// long.
    fn overflowed(&self, connection: ConnectionId, why: &str);

    /// The client has reconnected statefully. The rest of a message that was cut off will not follow; the client sends that message again.
    fn reconnected(&self, connection: ConnectionId);

    /// The client's authentication was refreshed. `claims_changed` if its claims differ from those before.
    fn refreshed(&self, connection: ConnectionId, client_context: &Arc<ClientContext>, claims_changed: bool);
}

/// How fast the app server of a client may send to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SendRate {
    /// Without a limit.
    #[default]
    Full,
    /// One message from time to time.
    Reduced,
    /// Nothing, until the client has read what is pending.
    Paused,
}
