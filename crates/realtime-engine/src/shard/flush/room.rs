//! Whether there is room for one more frame, and what is dropped to make room.

use crate::SlowConsumer;
use crate::shard::index::HubPolicy;
use crate::shard::pending::{Backlog, Frame};

/// The result of appending a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// It is pending.
    Waits,
    /// There is no room before pending frames were written.
    FlushFirst,
    /// There is no room, and the transport is blocked.
    NoRoom,
}

/// Counters outside of the connection that appending a frame changes.
#[derive(Debug)]
pub(super) struct Account<'a> {
    /// Bytes in the backlogs of the shard's sockets.
    pub(super) pending_bytes: &'a mut u64,
    /// Invocations that were dropped for slow clients.
    pub(super) left_out: &'a mut u64,
}

/// Drops from a backlog what the hub's policy drops for a new frame: returns how many bytes, and how many invocations.
pub(super) fn make_room(backlog: &mut Backlog, frame: &Frame, policy: HubPolicy) -> (usize, u64) {
    match policy.slow_consumer {
        SlowConsumer::Disconnect => (0, 0),
        SlowConsumer::DropOldest => backlog.drop_oldest(frame.len(), policy.pending_bytes_max),
        SlowConsumer::LatestByKey => backlog.replace(frame.class()),
    }
}
