//! [`RetireReason`]: why a worker that still works is ended.

/// Why a worker that still works is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetireReason {
    /// The app has no invocations.
    Idle,
    /// The load is lower than it was.
    Excess,
    /// It has more memory than it may have.
    Memory,
    /// It is old.
    Age,
}
