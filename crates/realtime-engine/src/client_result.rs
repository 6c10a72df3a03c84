//! Client results: a call of one client's method whose answer comes back.

use bytes::Bytes;
use signalr_protocol::HubProtocol;

/// What a client answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientResult {
    /// In which encoding the result is.
    pub protocol: HubProtocol,
    /// The result, if there is one, or the text of the client's error.
    pub outcome: Result<Option<Bytes>, String>,
}

/// Why a client's answer did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientInvokeError {
    /// There is no such connection in the hub.
    #[error("the connection does not exist")]
    NotFound,
    /// The message cannot be said in the client's protocol.
    #[error("the message cannot be said in the client's protocol")]
    Untranslatable,
    /// It ended before it answered.
    #[error("the connection ended before it answered")]
    Disconnected,
    /// It took too long.
    #[error("the client did not answer in time")]
    Timeout,
    /// It has as many unanswered calls as it may have.
    #[error("the client has as many unanswered calls as it may have")]
    TooMany,
    /// The engine has ended.
    #[error("the engine has been shut down")]
    Stopped,
}
