//! What waits to be written. [`Run`]: frames that many connections wait for alike. [`Backlog`]: what one socket did not take.

use std::cell::OnceCell;
use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;
use std::rc::Rc;

use bytes::{Buf, Bytes};

/// One hub message or WebSocket control frame, encoded, with what may happen to it on its way out.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The whole WebSocket frame.
    bytes: Bytes,
    /// Where its payload begins; the transports over HTTP send only that.
    head_bytes: u8,
    class: Class,
    /// How many messages it holds that stateful reconnect counts.
    counted: u32,
    /// It comes from whoever answers for the client, and must not overtake what that sent before.
    keeps_order: bool,
    /// Whether it is for one client, from its own hub.
    is_own: bool,
}

/// What may happen to a frame that waits for a client that does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// It must arrive.
    Kept,
    /// It may be left out; the number says for which later one: a call of the same method with the same first argument.
    Call(u64),
    /// It speaks to the WebSocket, not to the hub: transports over HTTP do not have it.
    Control,
}

/// A sequence of frames, as a list that is shared by its tails: connections that wait for the same frames hold the same
/// run, so that the buffer to write is built once for all of them.
#[derive(Debug)]
pub(crate) struct Run {
    before: Option<Rc<Run>>,
    frame: Frame,
    bytes: usize,
    frames: u32,
    /// Whether a hub message is among them.
    is_heard: bool,
    joined: OnceCell<Bytes>,
}

/// One frame about to be appended to many runs; remembers which run became which, so that equal runs stay one.
#[derive(Debug)]
pub(crate) struct Step {
    frame: Frame,
    /// The answer to the last question: after a broadcast, nearly all connections wait for the same.
    last: Option<(Option<Rc<Run>>, Rc<Run>)>,
    /// The other answers, by the address of the run before, which the value keeps alive.
    others: HashMap<*const Run, (Option<Rc<Run>>, Rc<Run>)>,
}

/// Bytes that wait until a socket is writable again.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// Those among them that are from the client's own hub.
    own_bytes: usize,
    /// A part of the first piece is written.
    is_begun: bool,
}

/// A part of a backlog: a frame, what is left of one, or many frames at once.
#[derive(Debug)]
pub(crate) struct Piece {
    bytes: Bytes,
    frames: u32,
    class: Class,
    is_own: bool,
}

impl Frame {
    /// A frame whose payload begins behind its head, as a server writes it.
    pub(crate) fn new(bytes: Bytes, class: Class, counted: u32) -> Self {
        let head_bytes = match bytes.get(1).map_or(0, |length| length & 0x7f) {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        Self { bytes, head_bytes, class, counted, keeps_order: false, is_own: false }
    }

    /// The same, where it must not overtake messages that wait for a stateful client's first word.
    pub(crate) fn in_order(self) -> Self {
        Self { keeps_order: true, ..self }
    }

    /// The frame as one that is for one client, from its own hub.
    pub(crate) fn own(self) -> Self {
        Self { is_own: true, ..self }
    }

    pub(crate) fn is_own(&self) -> bool {
        self.is_own
    }

    /// A control frame of the WebSocket.
    pub(crate) fn control(bytes: Bytes) -> Self {
        Self::new(bytes, Class::Control, 0)
    }

    /// A frame that is not counted and must arrive.
    pub(crate) fn kept(bytes: Bytes) -> Self {
        Self::new(bytes, Class::Kept, 0)
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(crate) fn counted(&self) -> u32 {
        self.counted
    }

    pub(crate) fn keeps_order(&self) -> bool {
        self.keeps_order
    }

    pub(crate) fn class(&self) -> Class {
        self.class
    }

    /// The frame as it waits for a socket.
    pub(crate) fn piece(&self) -> Piece {
        Piece { bytes: self.bytes.clone(), frames: 1, class: self.class, is_own: self.is_own }
    }

    /// Its payload as it waits for a request; `None` where only WebSockets have it.
    pub(crate) fn payload(&self) -> Option<Piece> {
        let bytes = self.bytes.slice(usize::from(self.head_bytes)..);
        (self.class != Class::Control).then_some(Piece {
            bytes,
            frames: 1,
            class: self.class,
            is_own: self.is_own,
        })
    }
}

impl Piece {
    /// Bytes that must arrive.
    pub(crate) fn kept(bytes: Bytes) -> Self {
        Self { bytes, frames: 1, class: Class::Kept, is_own: false }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl Run {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn frames(&self) -> u32 {
        self.frames
    }

    /// Whether a hub message is among the frames: only such ones tell a client that its service is there.
    pub(crate) fn is_heard(&self) -> bool {
        self.is_heard
    }

    /// All frames in one buffer, built when it is first asked for.
    pub(crate) fn joined(&self) -> &Bytes {
        self.joined.get_or_init(|| {
            if self.frames == 1 {
                return self.frame.bytes.clone();
            }
            let mut joined = Vec::with_capacity(self.bytes);
            for frame in self.list() {
                joined.extend_from_slice(&frame.bytes);
            }
            joined.into()
        })
    }

    /// The frames, first one first.
    pub(crate) fn list(&self) -> Vec<Frame> {
        let mut list = Vec::with_capacity(self.frames as usize);
        let mut run = Some(self);
        while let Some(this) = run {
            list.push(this.frame.clone());
            run = this.before.as_deref();
        }
        list.reverse();
        list
    }
}

impl Drop for Run {
    // One after the other: a list of a hundred thousand small frames must not become as many nested calls.
    fn drop(&mut self) {
        let mut before = self.before.take();
        while let Some(run) = before {
            match Rc::try_unwrap(run) {
                Ok(mut run) => before = run.before.take(),
                Err(_shared) => break,
            }
        }
    }
}

impl Step {
    pub(crate) fn new(frame: Frame) -> Self {
        Self { frame, last: None, others: HashMap::new() }
    }

    pub(crate) fn frame(&self) -> &Frame {
        &self.frame
    }

    /// The run that `before` becomes.
    pub(crate) fn after(&mut self, before: Option<&Rc<Run>>) -> Rc<Run> {
        let address = before.map_or(std::ptr::null(), Rc::as_ptr);
        if let Some((last, after)) = &self.last {
            if last.as_ref().map_or(std::ptr::null(), Rc::as_ptr) == address {
                return Rc::clone(after);
            }
            if let Some((_, after)) = self.others.get(&address) {
                return Rc::clone(after);
            }
        }
        let after = Rc::new(Run {
            before: before.cloned(),
            frame: self.frame.clone(),
            bytes: before.map_or(0, |run| run.bytes) + self.frame.len(),
            frames: before.map_or(0, |run| run.frames) + 1,
            is_heard: self.frame.class != Class::Control || before.is_some_and(|run| run.is_heard),
            joined: OnceCell::new(),
        });
        if let Some((last, after)) = self.last.replace((before.cloned(), Rc::clone(&after))) {
            let address = last.as_ref().map_or(std::ptr::null(), Rc::as_ptr);
            self.others.insert(address, (last, after));
        }
        after
    }
}

impl Backlog {
    /// Slices given to the socket in one call.
    const SLICES_MAX: usize = 64;

    /// What is left of a run of which `written` bytes were written: frame by frame, so that each can still be left out.
    pub(crate) fn rest_of(run: &Run, written: usize) -> Self {
        let mut backlog = Self::default();
        for frame in run.list() {
            backlog.push(frame.piece());
        }
        backlog.advance(written);
        backlog
    }

    pub(crate) fn push(&mut self, piece: Piece) {
        self.bytes += piece.len();
        if piece.is_own {
            self.own_bytes += piece.len();
        }
        self.pieces.push_back(piece);
    }

    /// Leaves out the calls that the client would get instead of this one; says how many bytes that frees, and how many
    /// calls it were.
    pub(crate) fn replace(&mut self, class: Class) -> (usize, u64) {
        let Class::Call(_) = class else { return (0, 0) };
        self.leave_out(|piece| piece == class)
    }

    /// Leaves out the oldest calls until `bytes` more fit into `bytes_max`, or none is left.
    pub(crate) fn drop_oldest(&mut self, bytes: usize, bytes_max: usize) -> (usize, u64) {
        let mut missing = (self.policed_bytes() + bytes).saturating_sub(bytes_max);
        let mut freed = (0, 0);
        while missing > 0 {
            let mut first = true;
            let (left_out, count) =
                self.leave_out(|class| matches!(class, Class::Call(_)) && std::mem::take(&mut first));
            if count == 0 {
                break;
            }
            freed = (freed.0 + left_out, freed.1 + count);
            missing = missing.saturating_sub(left_out);
        }
        freed
    }

    fn leave_out(&mut self, mut chosen: impl FnMut(Class) -> bool) -> (usize, u64) {
        let (before, mut count) = (self.bytes, 0);
        let mut bytes = 0;
        self.pieces.retain(|piece| {
            // What a client's own hub sent is not what is left out for a broadcast.
            let stays = piece.is_own || !chosen(piece.class);
            if stays {
                bytes += piece.len();
            } else {
                count += 1;
            }
            stays
        });
        self.bytes = bytes;
        (before - bytes, count)
    }

    /// Leaves out everything but the rest of a frame that is written in part, which must be ended; says how many bytes that frees.
    pub(crate) fn drop_unbegun(&mut self) -> usize {
        let before = self.bytes;
        self.pieces.truncate(usize::from(self.is_begun));
        self.bytes = self.pieces.iter().map(Piece::len).sum();
        self.own_bytes = self.pieces.iter().filter(|piece| piece.is_own).map(Piece::len).sum();
        before - self.bytes
    }

    /// Everything that waits, for somebody else to write.
    pub(crate) fn into_bytes(self) -> Vec<Bytes> {
        self.pieces.into_iter().map(|piece| piece.bytes).collect()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that count where the policy for slow clients is applied: not those of the client's own hub, which has a bound of its own.
    pub(crate) fn policed_bytes(&self) -> usize {
        self.bytes - self.own_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether a hub message is among what waits, or a part of one.
    pub(crate) fn is_heard(&self) -> bool {
        self.pieces.iter().any(|piece| piece.class != Class::Control)
    }

    /// What to write next.
    pub(crate) fn slices(&self) -> Vec<IoSlice<'_>> {
        self.pieces.iter().take(Self::SLICES_MAX).map(|piece| IoSlice::new(&piece.bytes)).collect()
    }

    /// Lets go of what was written; says how many frames that completed.
    pub(crate) fn advance(&mut self, mut written: usize) -> u64 {
        self.bytes -= written;
        let mut frames = 0;
        while let Some(piece) = self.pieces.front_mut() {
            let taken = written.min(piece.bytes.len());
            if piece.is_own {
                self.own_bytes -= taken;
            }
            if piece.bytes.len() > written {
                if written > 0 {
                    // A frame that was begun must be ended.
                    piece.bytes.advance(written);
                    piece.class = Class::Kept;
                    self.is_begun = true;
                }
                break;
            }
            written -= piece.bytes.len();
            self.is_begun = false;
            frames += u64::from(piece.frames);
            self.pieces.pop_front();
        }
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(payload: &'static [u8]) -> Step {
        Step::new(frame(payload, Class::Kept))
    }

    fn frame(payload: &'static [u8], class: Class) -> Frame {
        Frame::new(websocket::frame(websocket::Opcode::Text, payload), class, 0)
    }

    #[test]
    fn equal_runs_stay_one_and_different_ones_do_not() {
        let (mut a, mut b) = (step(b"a"), step(b"b"));
        let (first, second) = (a.after(None), a.after(None));
        assert!(Rc::ptr_eq(&first, &second));
        // One connection did not get a; its run differs for ever.
        let (ab, only_b, again) = (b.after(Some(&first)), b.after(None), b.after(Some(&second)));
        assert!(Rc::ptr_eq(&ab, &again) && !Rc::ptr_eq(&ab, &only_b));
        assert_eq!(
            (ab.joined().as_ref(), only_b.joined().as_ref()),
            (&b"\x81\x01a\x81\x01b"[..], &b"\x81\x01b"[..])
        );
        assert_eq!((ab.bytes(), ab.frames()), (6, 2));
    }

    #[test]
    fn a_long_run_is_dropped_without_a_deep_stack() {
        let mut run = None;
        for _ in 0..1_000_000 {
            run = Some(step(b"x").after(run.as_ref()));
        }
        assert_eq!(run.map(|run| run.frames()), Some(1_000_000));
    }

    #[test]
    fn a_backlog_counts_frames_when_their_last_byte_is_written() {
        let run = step(b"a").after(None);
        let mut backlog = Backlog::rest_of(&run, 1);
        backlog.push(frame(b"bc", Class::Kept).piece());
        assert_eq!(backlog.bytes(), 6);
        assert_eq!(backlog.advance(1), 0);
        assert_eq!(backlog.advance(2), 1);
        assert_eq!(backlog.slices().iter().map(|slice| slice.len()).collect::<Vec<_>>(), [3]);
        assert_eq!((backlog.advance(3), backlog.is_empty(), backlog.bytes()), (1, true, 0));
    }

    #[test]
    fn calls_are_left_out_but_never_one_that_was_begun() {
        let backlog = || {
            let mut backlog = Backlog::default();
            for (payload, class) in [
                (b"0", Class::Call(1)),
                (b"1", Class::Call(1)),
                (b"2", Class::Kept),
                (b"3", Class::Call(2)),
                (b"4", Class::Call(1)),
            ] {
                backlog.push(frame(payload, class).piece());
            }
            backlog.advance(1);
            backlog
        };
        let left = |backlog: Backlog| {
            backlog.into_bytes().iter().map(|bytes| bytes[bytes.len() - 1]).collect::<Vec<_>>()
        };
        let mut latest = backlog();
        assert_eq!(latest.replace(Class::Call(1)), (6, 2));
        assert_eq!(latest.replace(Class::Kept), (0, 0));
        assert_eq!(left(latest), b"023");
        let mut oldest = backlog();
        assert_eq!(oldest.drop_oldest(3, 12), (6, 2));
        assert_eq!(left(oldest), b"024");
        let mut all = backlog();
        assert_eq!(all.drop_oldest(100, 12), (9, 3));
        assert_eq!(left(all), b"02");
    }

    #[test]
    fn only_payloads_go_to_the_transports_over_http() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let payload = vec![7; length];
            let frame = Frame::kept(websocket::frame(websocket::Opcode::Binary, &payload));
            assert_eq!(frame.payload().map(|piece| piece.bytes), Some(Bytes::from(payload)));
        }
        assert!(Frame::control(websocket::frame(websocket::Opcode::Pong, b"x")).payload().is_none());
    }
}
