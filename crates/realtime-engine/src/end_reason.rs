//! [`EndReason`]: why a connection ended.

use prometheus_client::encoding::EncodeLabelValue;

/// Why a connection ended; a label of the metric `realtime_connection_ends`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum EndReason {
    /// The client closed the connection with a WebSocket close frame or a hub Close message.
    ClientClosed,
    /// The socket ended without a close.
    ConnectionLost,
    /// The handshake request was refused.
    HandshakeRefused,
    /// No handshake request was received in time.
    HandshakeTimeout,
    /// Nothing was received from the client for too long.
    ClientTimeout,
    /// No hub message was received from the client for longer than its hub allows.
    IdleTimeout,
    /// The client did not read what was sent to it.
    SlowConsumer,
    /// The client exceeded a rate limit.
    RateLimited,
    /// The client violated the WebSocket protocol.
    WebSocketViolation,
    /// The client sent a hub message that cannot be read.
    MalformedMessage,
    /// An app closed it.
    Closed,
    /// Its app server closed it.
    ServerClosed,
    /// Its app server was lost, and no other could take over.
    ServerOffline,
    /// Its token expired.
    TokenExpired,
    /// The engine was drained.
    Drained,
}

impl EndReason {
    /// The name of the reason in metrics and traces.
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
