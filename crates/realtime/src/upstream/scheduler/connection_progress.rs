//! [`ConnectionProgress`]: the state of a connection's record and handshake.

/// The state of a connection for whose `disconnected` there is a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionProgress {
    /// Its record is being written. `is_gone`: the client has disconnected meanwhile.
    Opening { is_gone: bool },
    /// Its record is written; the handshake may complete.
    Recorded,
    /// Its handshake is complete.
    Connected,
}
