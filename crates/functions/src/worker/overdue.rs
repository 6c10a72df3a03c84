//! Invocations that ran into their limit: they were told to stop, and their worker is given up if they go on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use worker_protocol::InvocationId;

/// The overdue invocations of one worker.
#[derive(Debug, Default)]
pub(super) struct Overdue {
    state: Mutex<State>,
    /// Whether there are some: most workers never have any, and are asked at each answer.
    are_some: AtomicBool,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Until when each of them may go on.
    deadlines: HashMap<InvocationId, Instant>,
    /// Whether the worker said that it is there since the newest one became overdue.
    answers: bool,
}

impl Overdue {
    /// Notes an invocation that may go on until `deadline`.
    pub(super) fn add(&self, id: InvocationId, deadline: Instant) {
        let mut state = self.lock();
        state.deadlines.insert(id, deadline);
        state.answers = false;
        self.are_some.store(true, Ordering::Release);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Notes that an invocation ended.
    pub(super) fn ended(&self, id: &InvocationId) {
        if !self.are_some() {
            return;
        }
        let mut state = self.lock();
        state.deadlines.remove(id);
        self.are_some.store(!state.deadlines.is_empty(), Ordering::Release);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Notes that the worker said that it is there.
    pub(super) fn answered(&self) {
        self.lock().answers = true;
    }

    /// Whether the worker said so since the newest invocation became overdue.
    pub(super) fn answers(&self) -> bool {
        self.lock().answers
    }

    /// Whether there are overdue invocations now.
    pub(super) fn are_some(&self) -> bool {
        self.are_some.load(Ordering::Acquire)
    }

    /// Waits until one of them has gone on beyond its deadline. Cancel-safe.
    pub(super) async fn elapsed(&self) {
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
    async fn only_an_invocation_that_goes_on_beyond_its_deadline_elapses() {
        let overdue = Overdue::default();
        let (a, b) = (InvocationId::new("a"), InvocationId::new("b"));
        let now = Instant::now();
        overdue.add(a.clone(), now + Duration::from_millis(10));
        overdue.add(b, now + Duration::from_millis(50));
        overdue.answered();
        assert!(overdue.are_some() && overdue.answers());
        overdue.ended(&a);
        overdue.elapsed().await;
        assert!(now.elapsed() >= Duration::from_millis(50));
        overdue.add(a.clone(), now);
        assert!(!overdue.answers(), "what it said before says nothing of now");
    }
}
