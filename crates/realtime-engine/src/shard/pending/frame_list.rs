//! [`FrameList`]: pending frames that many connections share; [`FrameAppender`]: appends one frame to frame lists.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;

use super::frame::{Class, Frame};

/// A sequence of frames, as a list that shares its beginning with shorter lists: connections with the same pending frames have
/// the same list, so that the buffer to write is built once for all of them.
#[derive(Debug)]
pub(crate) struct FrameList {
    before: Option<Rc<FrameList>>,
    frame: Frame,
    bytes: usize,
    frames: u32,
    /// Whether it contains a hub message, not only control frames.
    has_hub_message: bool,
    joined: OnceCell<Bytes>,
}

/// One frame that is appended to many frame lists. It caches the results, so that equal lists stay shared.
#[derive(Debug)]
pub(crate) struct FrameAppender {
    frame: Frame,
    /// The last result: after a broadcast, nearly all connections have the same pending frames.
    last: Option<(Option<Rc<FrameList>>, Rc<FrameList>)>,
    /// The earlier results, by the address of the list before, which the value keeps alive.
    others: HashMap<*const FrameList, (Option<Rc<FrameList>>, Rc<FrameList>)>,
}

impl FrameList {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn frames(&self) -> u32 {
        self.frames
    }

    /// Whether the frames contain a hub message: only those show a client that its service is alive.
    pub(crate) fn has_hub_message(&self) -> bool {
        self.has_hub_message
    }

    /// All frames in one buffer, built at the first call.
    pub(crate) fn joined(&self) -> &Bytes {
        self.joined.get_or_init(|| {
            if self.frames == 1 {
                return self.frame.bytes().clone();
            }
            let mut joined = Vec::with_capacity(self.bytes);
            for frame in self.list() {
                joined.extend_from_slice(frame.bytes());
            }
            joined.into()
        })
    }

    /// The frames, the first one first.
    pub(crate) fn list(&self) -> Vec<Frame> {
        let mut list = Vec::with_capacity(self.frames as usize);
        let mut frame_list = Some(self);
        while let Some(this) = frame_list {
            list.push(this.frame.clone());
            frame_list = this.before.as_deref();
        }
        list.reverse();
        list
    }
}

impl Drop for FrameList {
    // Iterative: a list of a hundred thousand small frames must not cause as many nested calls.
    fn drop(&mut self) {
        let mut before = self.before.take();
        while let Some(frame_list) = before {
            match Rc::try_unwrap(frame_list) {
                Ok(mut frame_list) => before = frame_list.before.take(),
                Err(_shared) => break,
            }
        }
    }
}

impl FrameAppender {
    pub(crate) fn new(frame: Frame) -> Self {
        Self { frame, last: None, others: HashMap::new() }
    }

    pub(crate) fn frame(&self) -> &Frame {
        &self.frame
    }

    /// The list that `before` becomes.
    pub(crate) fn after(&mut self, before: Option<&Rc<FrameList>>) -> Rc<FrameList> {
        let address = before.map_or(std::ptr::null(), Rc::as_ptr);
        if let Some((last, after)) = &self.last {
            if last.as_ref().map_or(std::ptr::null(), Rc::as_ptr) == address {
                return Rc::clone(after);
            }
            if let Some((_, after)) = self.others.get(&address) {
                return Rc::clone(after);
            }
        }
        let after = Rc::new(FrameList {
            before: before.cloned(),
            frame: self.frame.clone(),
            bytes: before.map_or(0, |frame_list| frame_list.bytes) + self.frame.len(),
            frames: before.map_or(0, |frame_list| frame_list.frames) + 1,
            has_hub_message: self.frame.class() != Class::Control
                || before.is_some_and(|frame_list| frame_list.has_hub_message),
            joined: OnceCell::new(),
        });
        if let Some((last, after)) = self.last.replace((before.cloned(), Rc::clone(&after))) {
            let address = last.as_ref().map_or(std::ptr::null(), Rc::as_ptr);
            self.others.insert(address, (last, after));
        }
        after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appender(payload: &'static [u8]) -> FrameAppender {
        FrameAppender::new(Frame::required(websocket::frame(websocket::Opcode::Text, payload)))
    }

    #[test]
    fn equal_frame_lists_stay_shared_and_different_ones_do_not() {
        let (mut a, mut b) = (appender(b"a"), appender(b"b"));
        let (first, second) = (a.after(None), a.after(None));
        assert!(Rc::ptr_eq(&first, &second));
        // One connection did not receive a; its list differs from then on.
        let (ab, only_b, again) = (b.after(Some(&first)), b.after(None), b.after(Some(&second)));
        assert!(Rc::ptr_eq(&ab, &again) && !Rc::ptr_eq(&ab, &only_b));
        assert_eq!(
            (ab.joined().as_ref(), only_b.joined().as_ref()),
            (&b"\x81\x01a\x81\x01b"[..], &b"\x81\x01b"[..])
        );
        assert_eq!((ab.bytes(), ab.frames()), (6, 2));
    }

    #[test]
    fn a_long_frame_list_is_dropped_without_a_deep_stack() {
        let mut frame_list = None;
        for _ in 0..1_000_000 {
            frame_list = Some(appender(b"x").after(frame_list.as_ref()));
        }
        assert_eq!(frame_list.map(|frame_list| frame_list.frames()), Some(1_000_000));
    }
}
