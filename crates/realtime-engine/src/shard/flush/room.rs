//! Whether there is room for one more frame, and what is left out to make some.

use crate::SlowConsumer;
use crate::shard::index::HubPolicy;
use crate::shard::pending::{Backlog, Frame};

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// It waits to be written.
    Waits,
    /// There is no room before what waits has been written.
    FlushFirst,
    /// There is no room, and the transport takes no more.
    NoRoom,
}

/// What appending a frame changes outside of its connection.
#[derive(Debug)]
pub(super) struct Account<'a> {
    /// Bytes in the backlogs of the shard's sockets.
    pub(super) pending_bytes: &'a mut u64,
    /// Calls that slow clients did not get.
    pub(super) left_out: &'a mut u64,
}

/// Leaves out of a backlog what the hub's policy drops for a new frame: how many bytes, and how many calls.
pub(super) fn make_room(backlog: &mut Backlog, frame: &Frame, policy: HubPolicy) -> (usize, u64) {
    match policy.slow_consumer {
        SlowConsumer::Disconnect => (0, 0),
        SlowConsumer::DropOldest => backlog.drop_oldest(frame.len(), policy.pending_bytes_max),
        SlowConsumer::LatestByKey => backlog.replace(frame.class()),
    }
}
