//! [`Backlog`]: what one socket has not accepted, or the requests of one client have not read.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use super::frame::{Class, PendingFrame};
use super::frame_list::FrameList;

/// Frames that are pending until a socket is writable, or until a request reads them.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    pending_frames: VecDeque<PendingFrame>,
    bytes: usize,
    /// Bytes that the client's own app server sent.
    own_bytes: usize,
    /// A part of the first frame is written.
    is_started: bool,
}

impl Backlog {
    /// Slices given to the socket in one call.
    const SLICES_MAX: usize = 64;

    /// The rest of a frame list of which `written` bytes were written: frame by frame, so that each can still be dropped.
    pub(crate) fn rest_of(frame_list: &FrameList, written: usize) -> Self {
        let mut backlog = Self::default();
        for frame in frame_list.list() {
            backlog.push(frame.pending_frame());
        }
        backlog.advance(written);
        backlog
    }

    pub(crate) fn push(&mut self, pending_frame: PendingFrame) {
        self.bytes += pending_frame.len();
        if pending_frame.is_own {
            self.own_bytes += pending_frame.len();
        }
        self.pending_frames.push_back(pending_frame);
    }

    /// Drops the invocations that one with this class replaces. Returns the number of bytes and of invocations that were dropped.
    pub(crate) fn replace(&mut self, class: Class) -> (usize, u64) {
        let Class::Droppable(_) = class else { return (0, 0) };
        self.drop_where(|pending_frame| pending_frame == class)
    }

    /// Drops the oldest invocations until `bytes` more fit into `bytes_max`, or none is left. Returns the same as [`Backlog::replace`].
    pub(crate) fn drop_oldest(&mut self, bytes: usize, bytes_max: usize) -> (usize, u64) {
        let mut missing = (self.policed_bytes() + bytes).saturating_sub(bytes_max);
        let mut freed = (0, 0);
        while missing > 0 {
            let mut first = true;
            let (dropped, count) =
                self.drop_where(|class| matches!(class, Class::Droppable(_)) && std::mem::take(&mut first));
            if count == 0 {
                break;
            }
            freed = (freed.0 + dropped, freed.1 + count);
            missing = missing.saturating_sub(dropped);
        }
        freed
    }

    fn drop_where(&mut self, mut selected: impl FnMut(Class) -> bool) -> (usize, u64) {
        let (before, mut count) = (self.bytes, 0);
        let mut bytes = 0;
        self.pending_frames.retain(|pending_frame| {
            // Messages of the client's own app server are not dropped for a broadcast.
            let stays = pending_frame.is_own || !selected(pending_frame.class);
            if stays {
                bytes += pending_frame.len();
            } else {
                count += 1;
            }
            stays
        });
        self.bytes = bytes;
        (before - bytes, count)
    }

    /// Drops everything except the rest of a frame that is partly written, which must be completed. Returns the number of bytes
    /// that were dropped.
    pub(crate) fn drop_unstarted(&mut self) -> usize {
        let before = self.bytes;
        self.pending_frames.truncate(usize::from(self.is_started));
        self.bytes = self.pending_frames.iter().map(PendingFrame::len).sum();
        self.own_bytes = self
            .pending_frames
            .iter()
            .filter(|pending_frame| pending_frame.is_own)
            .map(PendingFrame::len)
            .sum();
        before - self.bytes
    }

    /// All pending bytes, for the caller to write.
    pub(crate) fn into_bytes(self) -> Vec<Bytes> {
        self.pending_frames.into_iter().map(|pending_frame| pending_frame.bytes).collect()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes to which the policy for slow clients applies: not those from the client's own app server, which have a limit of their own.
    pub(crate) fn policed_bytes(&self) -> usize {
        self.bytes - self.own_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending_frames.is_empty()
    }

    /// Whether a hub message is pending, or a part of one.
    pub(crate) fn has_hub_message(&self) -> bool {
        self.pending_frames.iter().any(|pending_frame| pending_frame.class != Class::Control)
    }

    /// The bytes to write next.
    pub(crate) fn slices(&self) -> Vec<IoSlice<'_>> {
        self.pending_frames
            .iter()
            .take(Self::SLICES_MAX)
            .map(|pending_frame| IoSlice::new(&pending_frame.bytes))
            .collect()
    }

    /// Removes written bytes. Returns the number of frames that were completed.
    pub(crate) fn advance(&mut self, mut written: usize) -> u64 {
        self.bytes -= written;
        let mut frames = 0;
        while let Some(pending_frame) = self.pending_frames.front_mut() {
            let taken = written.min(pending_frame.bytes.len());
            if pending_frame.is_own {
                self.own_bytes -= taken;
            }
            if pending_frame.bytes.len() > written {
                if written > 0 {
                    // A frame that was started must be completed.
                    pending_frame.bytes.advance(written);
                    pending_frame.class = Class::Required;
                    self.is_started = true;
                }
                break;
            }
            written -= pending_frame.bytes.len();
            self.is_started = false;
            frames += u64::from(pending_frame.frames);
            self.pending_frames.pop_front();
        }
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::pending::{Frame, FrameAppender};

    fn frame(payload: &'static [u8], class: Class) -> Frame {
        Frame::new(websocket::frame(websocket::Opcode::Text, payload), class, 0)
    }

    #[test]
    fn a_backlog_counts_frames_when_their_last_byte_is_written() {
        let frame_list = FrameAppender::new(frame(b"a", Class::Required)).after(None);
        let mut backlog = Backlog::rest_of(&frame_list, 1);
        backlog.push(frame(b"bc", Class::Required).pending_frame());
        assert_eq!(backlog.bytes(), 6);
        assert_eq!(backlog.advance(1), 0);
        assert_eq!(backlog.advance(2), 1);
        assert_eq!(backlog.slices().iter().map(|slice| slice.len()).collect::<Vec<_>>(), [3]);
        assert_eq!((backlog.advance(3), backlog.is_empty(), backlog.bytes()), (1, true, 0));
    }

    #[test]
    fn droppable_frames_are_dropped_unless_they_are_partly_written() {
        let backlog = || {
            let mut backlog = Backlog::default();
            for (payload, class) in [
                (b"0", Class::Droppable(1)),
                (b"1", Class::Droppable(1)),
                (b"2", Class::Required),
                (b"3", Class::Droppable(2)),
                (b"4", Class::Droppable(1)),
            ] {
                backlog.push(frame(payload, class).pending_frame());
            }
            backlog.advance(1);
            backlog
        };
        let left = |backlog: Backlog| {
            backlog.into_bytes().iter().map(|bytes| bytes[bytes.len() - 1]).collect::<Vec<_>>()
        };
        let mut latest = backlog();
        assert_eq!(latest.replace(Class::Droppable(1)), (6, 2));
        assert_eq!(latest.replace(Class::Required), (0, 0));
        assert_eq!(left(latest), b"023");
        let mut oldest = backlog();
        assert_eq!(oldest.drop_oldest(3, 12), (6, 2));
        assert_eq!(left(oldest), b"024");
        let mut all = backlog();
        assert_eq!(all.drop_oldest(100, 12), (9, 3));
        assert_eq!(left(all), b"02");
    }
}
