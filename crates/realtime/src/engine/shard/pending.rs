//! What waits to be written. [`Run`]: frames that many connections wait for alike. [`Backlog`]: what one socket did not take.

use std::cell::OnceCell;
use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;
use std::rc::Rc;

use bytes::{Buf, Bytes};

/// A sequence of frames, as a list that is shared by its tails: connections that wait for the same frames hold the same
/// run, so that the buffer to write is built once for all of them.
#[derive(Debug)]
pub(crate) struct Run {
    before: Option<Rc<Run>>,
    frame: Bytes,
    bytes: usize,
    frames: u32,
    joined: OnceCell<Bytes>,
}

/// One frame about to be appended to many runs; remembers which run became which, so that equal runs stay one.
#[derive(Debug)]
pub(crate) struct Step {
    frame: Bytes,
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
}

#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    frames: u32,
}

impl Run {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn frames(&self) -> u32 {
        self.frames
    }

    /// All frames in one buffer, built when it is first asked for.
    pub(crate) fn joined(&self) -> &Bytes {
        self.joined.get_or_init(|| {
            if self.frames == 1 {
                return self.frame.clone();
            }
            let mut joined = Vec::with_capacity(self.bytes);
            for frame in self.list() {
                joined.extend_from_slice(&frame);
            }
            joined.into()
        })
    }

    /// The frames, first one first.
    fn list(&self) -> Vec<Bytes> {
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
    pub(crate) fn new(frame: Bytes) -> Self {
        Self { frame, last: None, others: HashMap::new() }
    }

    pub(crate) fn frame(&self) -> &Bytes {
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

    /// What is left of a run of which `written` bytes were written.
    pub(crate) fn rest_of(run: &Run, written: usize) -> Self {
        let mut backlog = Self::default();
        backlog.push(run.joined().slice(written..), run.frames);
        backlog
    }

    /// A run too large to be joined.
    pub(crate) fn of(run: &Run) -> Self {
        let mut backlog = Self::default();
        for frame in run.list() {
            backlog.push(frame, 1);
        }
        backlog
    }

    pub(crate) fn push(&mut self, bytes: Bytes, frames: u32) {
        self.bytes += bytes.len();
        self.pieces.push_back(Piece { bytes, frames });
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
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
            if piece.bytes.len() > written {
                piece.bytes.advance(written);
                break;
            }
            written -= piece.bytes.len();
            frames += u64::from(piece.frames);
            self.pieces.pop_front();
        }
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_runs_stay_one_and_different_ones_do_not() {
        let (mut a, mut b) = (Step::new(Bytes::from_static(b"a")), Step::new(Bytes::from_static(b"b")));
        let (first, second) = (a.after(None), a.after(None));
        assert!(Rc::ptr_eq(&first, &second));
        // One connection did not get a; its run differs for ever.
        let (ab, only_b, again) = (b.after(Some(&first)), b.after(None), b.after(Some(&second)));
        assert!(Rc::ptr_eq(&ab, &again) && !Rc::ptr_eq(&ab, &only_b));
        assert_eq!((ab.joined().as_ref(), only_b.joined().as_ref()), (&b"ab"[..], &b"b"[..]));
        assert_eq!((ab.bytes(), ab.frames()), (2, 2));
    }

    #[test]
    fn a_long_run_is_dropped_without_a_deep_stack() {
        let mut run = None;
        for _ in 0..1_000_000 {
            run = Some(Step::new(Bytes::from_static(b"x")).after(run.as_ref()));
        }
        assert_eq!(run.map(|run| run.frames()), Some(1_000_000));
    }

    #[test]
    fn a_backlog_counts_frames_when_their_last_byte_is_written() {
        let run = Step::new(Bytes::from_static(b"abc")).after(None);
        let mut backlog = Backlog::rest_of(&run, 1);
        backlog.push(Bytes::from_static(b"defg"), 1);
        assert_eq!(backlog.bytes(), 6);
        assert_eq!(backlog.advance(1), 0);
        assert_eq!(backlog.advance(2), 1);
        assert_eq!(backlog.slices().iter().map(|slice| slice.len()).collect::<Vec<_>>(), [3]);
        assert_eq!((backlog.advance(3), backlog.is_empty(), backlog.bytes()), (1, true, 0));
    }
}
