//! [`Activity`]: what a connection is doing, so that its clocks run only when they should.
//!
//! hyper has one time-out for "the head is late" and "nobody asks anything"; a browser keeps idle connections for minutes,
//! while a head that trickles in is an attack. So we note the phase ourselves: the transport says when bytes arrive, the front
//! when a request begins and ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What one connection is doing; shared by its transport, its front and its driver.
#[derive(Debug)]
pub(crate) struct Activity {
    phase: Mutex<Phase>,
    /// On HTTP/2 arriving bytes may be a ping, and say nothing about a head.
    multiplexed: bool,
    /// Whether the newest request was answered before its body was read to its end.
    unread: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// A head is expected or arriving since then.
    Head(Instant),
    /// Nothing is asked since then.
    Idle(Instant),
    /// So many requests are running.
    Running(usize),
}

/// When the driver has to act next, if nothing happens until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// The head must be complete.
    Head(Instant),
    /// The connection may be closed.
    Idle(Instant),
    /// Requests are running: none.
    None,
}

/// A request that is running until this is dropped.
#[derive(Debug)]
pub(crate) struct Running(Arc<Activity>);

impl Activity {
    /// An HTTP/1 connection, just accepted: its first head is expected.
    pub(crate) fn one_by_one(accepted: Instant) -> Self {
        Self { phase: Mutex::new(Phase::Head(accepted)), multiplexed: false, unread: AtomicBool::new(false) }
    }

    /// An HTTP/2 connection.
    pub(crate) fn multiplexed(accepted: Instant) -> Self {
        Self { phase: Mutex::new(Phase::Idle(accepted)), multiplexed: true, unread: AtomicBool::new(false) }
    }

    /// Bytes arrived from the peer.
    pub(crate) fn bytes_arrived(&self) {
        if self.multiplexed {
            return;
        }
        let mut phase = self.phase();
        if matches!(*phase, Phase::Idle(_)) {
            *phase = Phase::Head(Instant::now());
        }
    }

    /// A head is complete.
    pub(crate) fn request_began(self: &Arc<Self>) -> Running {
        self.unread.store(false, Ordering::Release);
        let mut phase = self.phase();
        *phase = match *phase {
            Phase::Running(count) => Phase::Running(count + 1),
            Phase::Head(_) | Phase::Idle(_) => Phase::Running(1),
        };
        Running(Arc::clone(self))
    }

    /// Nobody reads the rest of the running request's body.
    pub(crate) fn body_left_unread(&self) {
        // An HTTP/2 stream is ended by itself, and its connection goes on.
        if !self.multiplexed {
            self.unread.store(true, Ordering::Release);
        }
    }

    /// Whether the peer may still be sending a body that nobody reads.
    pub(crate) fn has_unread_body(&self) -> bool {
        self.unread.load(Ordering::Acquire)
    }

    pub(crate) fn deadline(&self, head_timeout: Duration, idle_timeout: Duration) -> Deadline {
        match *self.phase() {
            Phase::Head(since) => Deadline::Head(since + head_timeout),
            Phase::Idle(since) => Deadline::Idle(since + idle_timeout),
            Phase::Running(_) => Deadline::None,
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut phase = self.0.phase();
        *phase = match *phase {
            Phase::Running(count) if count > 1 => Phase::Running(count - 1),
            Phase::Running(_) | Phase::Head(_) | Phase::Idle(_) => Phase::Idle(Instant::now()),
        };
    }
}
