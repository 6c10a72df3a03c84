//! Client results: invocations of one client's method that return a result.

use bytes::Bytes;
use signalr_protocol::HubProtocol;

/// The result that a client returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientResult {
    /// The encoding of the result.
    pub protocol: HubProtocol,
    /// The result, if there is one, or the text of the client's error.
    pub outcome: Result<Option<Bytes>, String>,
}

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientInvokeError {
    /// There is no such connection in the hub.
    #[error("the connection does not exist")]
    NotFound,
    /// The message cannot be encoded in the client's protocol.
    #[error("the message cannot be encoded in the client's protocol")]
    Untranslatable,
    /// The connection ended first.
    #[error("the connection ended before the client returned a result")]
    Disconnected,
    /// The client did not respond within the time-out.
    #[error("the client did not return a result in time")]
    Timeout,
    /// [`Options::client_results_max`](crate::Options::client_results_max) is reached.
    #[error("too many invocations of this client wait for a result (realtime.engine.client_results_max)")]
    TooMany,
    /// The engine has ended.
    #[error("the engine has been shut down")]
    Stopped,
}
