//! Whether one more frame fits into the pending bytes, and which frames are dropped for it.

use crate::SlowConsumer;
use crate::shard::index::HubPolicy;
use crate::shard::pending::{Backlog, Frame};

/// The result of appending a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// It is pending.
    Waits,
    /// Pending frames must be written first.
    FlushFirst,
    /// It does not fit, and the transport is blocked.
    NoRoom,
}

/// Counters outside of the connection that appending a frame changes.
#[derive(Debug)]
pub(super) struct Account<'a> {
    /// Bytes in the backlogs of the shard's sockets.
    pub(super) pending_bytes: &'a mut u64,
    /// Invocations that were dropped for slow clients.
    pub(super) dropped: &'a mut u64,
}

/// Drops from a backlog what the hub's policy drops for a new frame. Returns the number of bytes and of invocations that were
/// dropped.
pub(super) fn make_room(backlog: &mut Backlog, frame: &Frame, policy: HubPolicy) -> (usize, u64) {
    match policy.slow_consumer {
        SlowConsumer::Disconnect => (0, 0),
        SlowConsumer::DropOldest => backlog.drop_oldest(frame.len(), policy.pending_bytes_max),
        SlowConsumer::LatestByKey => backlog.replace(frame.class()),
    }
}
