//! [`Capacity`]: whether more data of a client can be accepted.

/// Whether an app server or upstream can accept more data of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// It can.
    Available,
    /// It cannot: reading from this client is paused until [`EngineHandle::resume`](crate::EngineHandle::resume).
    Exhausted,
}
