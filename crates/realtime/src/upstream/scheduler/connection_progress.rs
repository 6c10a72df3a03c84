//! [`ConnectionProgress`]: how far a connection has got.

/// A connection whose end somebody wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionProgress {
    /// Its record is being written; perhaps it is gone already.
    Opening { is_gone: bool },
    /// Its record is there, and its handshake may be answered.
    Recorded,
    /// Its handshake was answered.
    Connected,
}
