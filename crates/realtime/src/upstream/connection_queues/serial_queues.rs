//! [`SerialQueues`]: the queued event and invocations of one connection for one listener, and which of them may start. Pure.

use std::collections::VecDeque;
use std::time::Instant;

use crate::events::EventKind;

/// One of the two serial queues of a [`SerialQueues`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum SerialQueue {
    /// Attempts to deliver `connected`.
    Connected,
    /// Invocations, then `disconnected`.
    Invocations,
}

/// An invocation that is queued.
#[derive(Debug, PartialEq)]
pub(crate) struct QueuedInvocation<C> {
    pub(crate) invocation: C,
    /// Whether this process handles it.
    pub(crate) is_local: bool,
}

/// A job of the scheduler.
#[derive(Debug, PartialEq)]
pub(crate) enum QueueJob<E, C> {
    Deliver(E),
    WriteDeadLetter { event: E, attempts: u32, cause: String },
    Invoke(C),
}

/// The two serial queues of a connection for a listener.
#[derive(Debug)]
pub(super) struct SerialQueues<E, C> {
    pub(super) connected: Option<QueuedEvent<E>>,
    pub(super) invocations: VecDeque<(Instant, QueuedInvocation<C>)>,
    pub(super) disconnected: Option<QueuedEvent<E>>,
    /// Until when invocations wait for the first attempt to deliver `connected`; `None` until that attempt starts.
    pub(super) connected_wait_until: Option<Instant>,
    /// State of [`SerialQueue::Connected`].
    connected_state: SerialQueueState,
    /// State of [`SerialQueue::Invocations`].
    invocations_state: SerialQueueState,
}

/// The state of a serial queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SerialQueueState {
    Idle,
    Ready,
    WaitingUntil(Instant),
    Running(RunningJob),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunningJob {
    Event(EventKind),
    Invocation,
}

/// An event that is not settled.
#[derive(Debug)]
pub(super) struct QueuedEvent<E> {
    pub(super) event: E,
    pub(super) attempts: u32,
    pub(super) since: Instant,
    pub(super) due: Instant,
    /// Why it was given up; `None` while it is attempted.
    pub(super) cause: Option<String>,
}

impl<E: Clone, C> SerialQueues<E, C> {
    pub(super) fn event_mut(&mut self, kind: EventKind) -> &mut Option<QueuedEvent<E>> {
        match kind {
            EventKind::Connected => &mut self.connected,
            EventKind::Disconnected => &mut self.disconnected,
        }
    }

    pub(super) fn state_mut(&mut self, serial: SerialQueue) -> &mut SerialQueueState {
        match serial {
            SerialQueue::Connected => &mut self.connected_state,
            SerialQueue::Invocations => &mut self.invocations_state,
        }
    }

    /// Whether nothing waits and nothing runs.
    pub(super) fn is_empty(&self) -> bool {
        let is_idle = (self.connected_state, self.invocations_state)
            == (SerialQueueState::Idle, SerialQueueState::Idle);
        is_idle && self.connected.is_none() && self.invocations.is_empty() && self.disconnected.is_none()
    }

    /// Whether invocations wait for `connected`: its first attempt has not ended, and the time limit has not passed.
    fn invocations_wait(&self, now: Instant) -> bool {
        let is_first = |connected: &QueuedEvent<E>| connected.attempts == 0 && connected.cause.is_none();
        self.connected.as_ref().is_some_and(is_first)
            && self.connected_wait_until.is_none_or(|until| now < until)
    }

    /// The state of a serial queue in which nothing runs.
    pub(super) fn next(&self, serial: SerialQueue, now: Instant) -> SerialQueueState {
        let timed = |due: Instant| {
            if due <= now { SerialQueueState::Ready } else { SerialQueueState::WaitingUntil(due) }
        };
        match serial {
            SerialQueue::Connected => {
                self.connected.as_ref().map_or(SerialQueueState::Idle, |event| timed(event.due))
            }
            SerialQueue::Invocations => match (self.invocations.front(), &self.disconnected) {
                (Some((deadline, waiting)), _) if !waiting.is_local && self.invocations_wait(now) => {
                    timed(self.connected_wait_until.map_or(*deadline, |until| until.min(*deadline)))
                }
                (Some(_), _) => SerialQueueState::Ready,
                (None, Some(disconnected)) if self.connected.is_none() => timed(disconnected.due),
                (None, _) => SerialQueueState::Idle,
            },
        }
    }

    /// Removes the next job of a serial queue, if one is due.
    pub(super) fn pop_job(
        &mut self,
        serial: SerialQueue,
        now: Instant,
    ) -> Option<(RunningJob, QueueJob<E, C>)> {
        if self.next(serial, now) != SerialQueueState::Ready {
            return None;
        }
        if serial == SerialQueue::Connected {
            return self
                .connected
                .as_ref()
                .map(|event| (RunningJob::Event(EventKind::Connected), event.job()));
        }
        if let Some((_, waiting)) = self.invocations.pop_front() {
            return Some((RunningJob::Invocation, QueueJob::Invoke(waiting.invocation)));
        }
        self.disconnected.as_ref().map(|event| (RunningJob::Event(EventKind::Disconnected), event.job()))
    }
}

impl<E: Clone> QueuedEvent<E> {
    fn job<C>(&self) -> QueueJob<E, C> {
        let event = self.event.clone();
        match &self.cause {
            None => QueueJob::Deliver(event),
            Some(cause) => QueueJob::WriteDeadLetter { event, attempts: self.attempts, cause: cause.clone() },
        }
    }
}

impl<E, C> Default for SerialQueues<E, C> {
    fn default() -> Self {
        Self {
            connected: None,
            invocations: VecDeque::new(),
            disconnected: None,
            connected_wait_until: None,
            connected_state: SerialQueueState::Idle,
            invocations_state: SerialQueueState::Idle,
        }
    }
}
