//! Invocations that timed out: they were cancelled, and if they continue to run, their worker is replaced.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use worker_protocol::InvocationId;

/// The invocations of one worker that timed out and still run.
#[derive(Debug)]
pub(super) struct TimedOutInvocations {
    state: Mutex<State>,
    /// Whether the set is empty, readable without the lock: it is checked at each response, and most workers never have any.
    is_empty: AtomicBool,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// When the grace period of each ends.
    deadlines: HashMap<InvocationId, Instant>,
    /// Whether the worker has responded to a probe since the newest timeout.
    worker_responds: bool,
}

impl Default for TimedOutInvocations {
    fn default() -> Self {
        Self { state: Mutex::default(), is_empty: AtomicBool::new(true), changed: Notify::new() }
    }
}

impl TimedOutInvocations {
    /// Adds an invocation whose grace period ends at `deadline`.
    pub(super) fn add(&self, id: InvocationId, deadline: Instant) {
        let mut state = self.lock();
        state.deadlines.insert(id, deadline);
        state.worker_responds = false;
        self.is_empty.store(false, Ordering::Release);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Removes an invocation that ended.
    pub(super) fn remove(&self, id: &InvocationId) {
        if self.is_empty() {
            return;
        }
        let mut state = self.lock();
        state.deadlines.remove(id);
        self.is_empty.store(state.deadlines.is_empty(), Ordering::Release);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Records that the worker responded to a probe.
    pub(super) fn worker_responded(&self) {
        self.lock().worker_responds = true;
    }

    /// Whether the worker has responded to a probe since the newest timeout.
    pub(super) fn worker_responds(&self) -> bool {
        self.lock().worker_responds
    }

    /// Whether no invocation that timed out still runs.
    pub(super) fn is_empty(&self) -> bool {
        self.is_empty.load(Ordering::Acquire)
    }

    /// Waits until the grace period of one of them is over. Cancel-safe.
    pub(super) async fn grace_elapsed(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let first = self.lock().deadlines.values().min().copied();
            match first {
                Some(deadline) if deadline <= Instant::now() => return,
                Some(deadline) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(deadline) => {}
                },
                None => changed.await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_grace_period_of_an_invocation_that_ended_does_not_count() {
        let timed_out = TimedOutInvocations::default();
        let (a, b) = (InvocationId::new("a"), InvocationId::new("b"));
        let now = Instant::now();
        timed_out.add(a.clone(), now + Duration::from_millis(10));
        timed_out.add(b, now + Duration::from_millis(50));
        timed_out.worker_responded();
        assert!(!timed_out.is_empty() && timed_out.worker_responds());
        timed_out.remove(&a);
        timed_out.grace_elapsed().await;
        assert!(now.elapsed() >= Duration::from_millis(50));
        timed_out.add(a.clone(), now);
        assert!(!timed_out.worker_responds(), "an earlier response does not count after a new timeout");
    }
}
