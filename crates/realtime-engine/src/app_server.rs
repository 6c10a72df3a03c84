//! [`AppServer`]: who answers for a client in Default mode, as the engine sees it.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Capacity, ClientConnection, ClientContext, ConnectionId};

/// The app server that a client's bytes go to. It is called on a shard's thread: it must hand the work on and return at once,
/// never block.
///
/// What it sends back goes through [`EngineHandle::from_server`](super::EngineHandle::from_server). The first bytes are the
/// answer to the handshake; with them the connection becomes a member of its hub.
pub trait AppServer: Debug + Send + Sync + 'static {
    /// A client has come and said in its handshake what it speaks. The handshake record itself follows as data.
    fn open(&self, client: &ClientConnection);

    /// Whether it takes a long message in pieces, so that none needs to be collected before it is handed on.
    fn takes_pieces(&self) -> bool;

    /// Whether there is room for what a client sends, before it is read. On [`Capacity::Exhausted`] the client is resumed as one whose bytes found no
    /// room.
    fn capacity(&self, connection: ConnectionId) -> Capacity;

    /// Bytes of a client, as they came. They are always taken. `is_partial` where a message does not end with them, which is only so
    /// where [`AppServer::takes_pieces`].
    fn data(&self, connection: ConnectionId, payload: Bytes, is_partial: bool) -> Capacity;

    /// The client is gone, and why if that was a mistake. Called once for each client that was opened here and not bound to
    /// another server since.
    fn closed(&self, connection: ConnectionId, error: Option<&str>);

    /// The client takes what its server sends to it alone faster, or more slowly, than before.
    fn send_rate(&self, connection: ConnectionId, rate: SendRate);

    /// The client is about to be ended because too much of what its server sent to it alone waits, or for too long.
    fn overflowed(&self, connection: ConnectionId, why: &str);

    /// A new socket has taken the place of the client's lost one: the rest of a message that has begun will not come, but that
    /// message anew.
    fn reconnected(&self, connection: ConnectionId);

    /// The client has logged in again. `claims_changed` says whether its claims are others than before.
    fn refreshed(&self, connection: ConnectionId, client_context: &Arc<ClientContext>, claims_changed: bool);
}

/// How fast the server of a client may send to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SendRate {
    /// As fast as it can.
    #[default]
    Full,
    /// A message now and then.
    Reduced,
    /// Nothing, until the client has taken what waits.
    Paused,
}
