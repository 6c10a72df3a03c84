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
    /// Sends framed hub messages to one client; does nothing if the client has disconnected.
    async fn reply(&self, client: &ClientConnection, framed: Bytes);

    /// Sends framed messages of a stream to the client that started it; the last one may end the stream. Waits up to `patience`
    /// while the client's send buffer is full. Returns whether the stream can continue.
    async fn send_in_stream(
        &self,
        client: &ClientConnection,
        stream: &str,
        framed: Vec<Bytes>,
        is_end: bool,
        patience: Duration,
    ) -> bool;

    /// Resumes reading from a client that was paused at a limit of queued invocations.
    async fn resume(&self, connection: ConnectionId);

    /// Completes the handshake of a client that waits for its response, or rejects it with a text.
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
        // If the engine has ended, there is no client left.
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
