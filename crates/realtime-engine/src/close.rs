//! How connections are closed on request: by an app ([`CloseRequest`]) or by their app server ([`ServerClose`]).

/// What clients are told whose connections an app closes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloseRequest {
    /// Why; their clients see it as an error.
    pub reason: Option<Box<str>>,
    /// Whether a client with automatic reconnect may come back.
    pub allow_reconnect: bool,
}

/// How an app server ends a client's connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerClose {
    /// Why, when it is a mistake.
    pub error: Option<Box<str>>,
    /// Whether the client may come back at once; goes into the Close message.
    pub allow_reconnect: bool,
    /// Whether the engine says Close itself; an app server that closes properly has said it already.
    pub say_close: bool,
}
