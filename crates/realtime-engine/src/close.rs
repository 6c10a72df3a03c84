//! How connections are closed on request: by an app ([`CloseRequest`]) or by their app server ([`ServerClose`]).

/// The Close message for clients whose connections an app closes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloseRequest {
    /// The reason; clients report it as an error.
    pub reason: Option<Box<str>>,
    /// Whether a client with automatic reconnect may reconnect.
    pub allow_reconnect: bool,
}

/// How an app server closes a client's connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerClose {
    /// The error, if it closes the connection because of one.
    pub error: Option<Box<str>>,
    /// Whether the client may reconnect at once; goes into the Close message.
    pub allow_reconnect: bool,
    /// Whether the engine sends the Close message; an app server that closes in order has sent it already.
    pub send_close: bool,
}
