//! [`Clients`]: the operations on client connections that the scheduler needs. Tests replace the engine.

use std::time::Duration;

use bytes::Bytes;
use signalr_protocol::count_sequenced;

use realtime_engine::{
    ClientConnection, ConnectionId, EngineHandle, OutgoingMessage, Publish, StreamOf, StreamState, Target,
};

/// The connected clients: the engine, or a list in tests.
#[async_trait::async_trait]
pub(crate) trait Clients: Send + Sync + 'static {
    /// Sends framed hub messages to one client; a client that is gone gets nothing.
    async fn reply(&self, client: &ClientConnection, framed: Bytes);

    /// Sends framed messages of a stream that a client asked for, of which the last one may end it. Waits while the client takes less
    /// than it is sent, but no longer than `patience`. Says whether the stream can go on.
    async fn send_in_stream(
        &self,
        client: &ClientConnection,
        stream: &str,
        framed: Vec<Bytes>,
        is_end: bool,
        patience: Duration,
    ) -> bool;

    /// Reads a client again whose calls were too many.
    async fn resume(&self, connection: ConnectionId);

    /// Lets a client in that waits for the answer to its handshake, or refuses it with a text.
    async fn opened(&self, connection: ConnectionId, result: Result<(), String>);
}

#[async_trait::async_trait]
impl Clients for EngineHandle {
    async fn reply(&self, client: &ClientConnection, framed: Bytes) {
        let messages = count_sequenced(client.protocol, &framed);
        let publish = Publish {
            hub: client.hub.clone(),
            target: Target::Connection(client.id),
            excluded: Vec::new(),
            excluded_users: Vec::new(),
            message: OutgoingMessage::raw(framed, messages),
            trace: None,
        };
        // Where the engine has ended there is no client any more.
        let _ = self.publish(publish).await;
    }

    async fn send_in_stream(
        &self,
        client: &ClientConnection,
        stream: &str,
        framed: Vec<Bytes>,
        is_end: bool,
        patience: Duration,
    ) -> bool {
        let of = StreamOf { hub: &client.hub, connection: client.id, stream };
        let messages = framed.into_iter().map(|framed| OutgoingMessage::raw(framed, 1)).collect();
        let state = Self::send_in_stream(self, of, messages, is_end, None, patience).await;
        matches!(state, Ok(StreamState::Sent { .. })) && !is_end
    }

    async fn resume(&self, connection: ConnectionId) {
        Self::resume(self, connection).await;
    }

    async fn opened(&self, connection: ConnectionId, result: Result<(), String>) {
        Self::complete_handshake(self, connection, result).await;
    }
}
