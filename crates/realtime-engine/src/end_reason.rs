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
    /// No hub message came from the client for longer than its hub allows.
    IdleTimeout,
    /// The client did not read what was sent to it.
    SlowConsumer,
    /// The client sent more than it may.
    RateLimited,
    /// The client broke the rules of WebSocket.
    WebSocketViolation,
    /// The client sent a hub message that cannot be read.
    MalformedMessage,
    /// Somebody asked the engine to close it.
    Closed,
    /// Its app server closed it.
    ServerClosed,
    /// Its app server has gone, and no other could take it over.
    ServerOffline,
    /// Its token ended.
    TokenExpired,
    /// The engine was drained.
    Drained,
}

impl EndReason {
    /// Its name, as in metrics and traces.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientClosed => "ClientClosed",
            Self::ConnectionLost => "ConnectionLost",
            Self::HandshakeRefused => "HandshakeRefused",
            Self::HandshakeTimeout => "HandshakeTimeout",
            Self::ClientTimeout => "ClientTimeout",
            Self::IdleTimeout => "IdleTimeout",
            Self::SlowConsumer => "SlowConsumer",
            Self::RateLimited => "RateLimited",
            Self::WebSocketViolation => "WebSocketViolation",
            Self::MalformedMessage => "MalformedMessage",
            Self::Closed => "Closed",
            Self::ServerClosed => "ServerClosed",
            Self::ServerOffline => "ServerOffline",
            Self::TokenExpired => "TokenExpired",
            Self::Drained => "Drained",
        }
    }
}
