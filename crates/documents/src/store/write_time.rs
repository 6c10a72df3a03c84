//! [`WriteTime`]: the time of a transaction.

/// The time of a transaction, in seconds and in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriteTime {
    pub(super) ts: i64,
    pub(super) ns: u64,
}
