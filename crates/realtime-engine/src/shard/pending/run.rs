//! [`Run`]: frames that many connections wait for alike; [`Step`]: how a run becomes a longer one.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;

use super::frame::{Class, Frame};

/// A sequence of frames, as a list that is shared by its tails: connections that wait for the same frames hold the same
/// run, so that the buffer to write is built once for all of them.
#[derive(Debug)]
pub(crate) struct Run {
    before: Option<Rc<Run>>,
    frame: Frame,
    bytes: usize,
    frames: u32,
    /// Whether there is a hub message among them, and not only control frames.
    has_hub_message: bool,
    joined: OnceCell<Bytes>,
}

/// One frame that is appended to many runs. It remembers which run became which, so that equal runs stay one.
#[derive(Debug)]
pub(crate) struct Step {
    frame: Frame,
    /// The last result: after a broadcast, nearly all connections wait for the same frames.
    last: Option<(Option<Rc<Run>>, Rc<Run>)>,
    /// The earlier results, by the address of the run before, which the value keeps alive.
    others: HashMap<*const Run, (Option<Rc<Run>>, Rc<Run>)>,
}

impl Run {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn frames(&self) -> u32 {
        self.frames
    }

    /// Whether there is a hub message among the frames: only those tell a client that its service is alive.
    pub(crate) fn has_hub_message(&self) -> bool {
        self.has_hub_message
    }

    /// All frames in one buffer, built when it is first asked for.
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
            has_hub_message: self.frame.class() != Class::Control
                || before.is_some_and(|run| run.has_hub_message),
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

    fn step(payload: &'static [u8]) -> Step {
        Step::new(Frame::required(websocket::frame(websocket::Opcode::Text, payload)))
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
}
