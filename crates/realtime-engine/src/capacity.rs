//! [`Capacity`]: whether more of a client can be received.

/// Whether whoever answers for a client can take more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// Go on.
    Available,
    /// Read nothing of this client until [`EngineHandle::resume`](crate::EngineHandle::resume).
    Exhausted,
}
