//! [`RetireReason`]: why a worker is ended that could go on.

/// Why a worker is ended that could go on.
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
