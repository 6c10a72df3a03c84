//! [`EndReason`]: why a connection ended.

use prometheus_client::encoding::EncodeLabelValue;

/// Why a connection ended; a label of the metric `realtime_connection_ends`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum EndReason {
    /// The client said goodbye with a WebSocket close or a hub Close message.
    ClientClosed,
    /// The socket ended without a goodbye.
    ConnectionLost,
    /// The first message was no acceptable handshake.
    HandshakeRefused,
    /// No handshake came in time.
    HandshakeTimeout,
    /// Nothing came from the client for too long.
    ClientTimeout,
    /// The client did not read what was sent to it.
    SlowConsumer,
    /// The client broke the rules of WebSocket.
    WebSocketViolation,
    /// The client sent a hub message that cannot be read.
    MalformedMessage,
    /// Somebody asked the engine to close it.
    Closed,
    /// Its token ended.
    TokenExpired,
    /// The engine was drained.
    Drained,
}
