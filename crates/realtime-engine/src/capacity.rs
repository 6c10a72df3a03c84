//! [`Capacity`]: whether more data of a client can be accepted.

/// Whether an app server or upstream can accept more data of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// It can.
    Available,
    /// It cannot: read nothing from this client until [`EngineHandle::resume`](crate::EngineHandle::resume).
    Exhausted,
}
