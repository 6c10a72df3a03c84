//! [`ConnectionQueues`]: the order of events and invocations, and how many are sent at a time. Pure: the time is an argument,
//! jobs are the result.
//!
//! Each connection has a pair of serial queues for each listener; a serial queue runs one job at a time. One delivers
//! `connected`. The other sends invocations in order, and then delivers `disconnected`. Invocations wait until the first attempt
//! to deliver `connected` has ended, but no longer than [`QueueLimits::connected_wait_max`]: a failing upstream must not block
//! the client. Later attempts run in parallel with invocations. `disconnected` waits until `connected` is settled. Invocations
//! that this process handles itself do not wait for `connected`. Queues with work take turns, and the number of running jobs is
//! limited.

mod serial_queues;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::events::{DeliveryError, EventKind, Retries};
use realtime_engine::ConnectionId;

pub(crate) use self::serial_queues::{QueueJob, QueuedInvocation, SerialQueue};
use self::serial_queues::{QueuedEvent, RunningJob, SerialQueueState, SerialQueues};

/// A connection, and the number of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct QueueKey {
    pub(crate) connection: ConnectionId,
    pub(crate) listener: u8,
}

/// The serial queue that a job belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SerialQueueKey {
    pub(crate) queue: QueueKey,
    pub(crate) serial: SerialQueue,
}

/// The limits of the queues.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLimits {
    pub(crate) in_flight_max: usize,
    /// How long an invocation may wait.
    pub(crate) wait_max: Duration,
    /// How long invocations wait for the first attempt to deliver `connected`, from its start.
    pub(crate) connected_wait_max: Duration,
}

/// What the scheduler does next.
#[derive(Debug, PartialEq)]
pub(crate) enum QueueAction<E, C> {
    /// Run a job, and pass its result to [`ConnectionQueues::finished`].
    Start(SerialQueueKey, QueueJob<E, C>),
    /// An invocation waited too long: complete it with an error.
    Expired(C),
}

/// An event that was delivered or given up.
#[derive(Debug, PartialEq)]
pub(crate) struct SettledEvent<E> {
    pub(crate) event: E,
    pub(crate) kind: EventKind,
    pub(crate) outcome: EventOutcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EventOutcome {
    Delivered,
    DeadLettered,
    /// No dead letter could be written. Only for `connected`; a `disconnected` is retried until it is settled.
    Lost,
}

/// The queues of all connections that have work.
#[derive(Debug)]
pub(crate) struct ConnectionQueues<E, C> {
    limits: QueueLimits,
    retries: Retries,
    queues: HashMap<QueueKey, SerialQueues<E, C>>,
    /// Serial queues with a job that can start, in order.
    ready: VecDeque<SerialQueueKey>,
    /// Serial queues that wait for a time.
    timers: BTreeSet<(Instant, SerialQueueKey)>,
    in_flight: usize,
    events: usize,
}

impl EventOutcome {
    /// The value of the metric's label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::DeadLettered => "dead_letter",
            Self::Lost => "lost",
        }
    }
}

impl<E: Clone, C> ConnectionQueues<E, C> {
    pub(crate) fn new(limits: QueueLimits, retries: Retries) -> Self {
        Self {
            limits,
            retries,
            queues: HashMap::new(),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            in_flight: 0,
            events: 0,
        }
    }

    /// Events that are not settled.
    pub(crate) fn events(&self) -> usize {
        self.events
    }

    /// Jobs that were started and have not finished.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// When [`ConnectionQueues::next_action`] must be called again, if nothing else happens.
    pub(crate) fn next_time(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Queues an invocation.
    pub(crate) fn push_invocation(&mut self, key: QueueKey, waiting: QueuedInvocation<C>, now: Instant) {
        let queue = self.queues.entry(key).or_default();
        queue.invocations.push_back((now + self.limits.wait_max, waiting));
        self.reschedule(SerialQueueKey { queue: key, serial: SerialQueue::Invocations }, now);
    }

    /// Queues an event.
    pub(crate) fn push_event(&mut self, key: QueueKey, kind: EventKind, event: E, now: Instant) {
        let pending = QueuedEvent { event, attempts: 0, since: now, due: now, cause: None };
        let queue = self.queues.entry(key).or_default();
        let before = queue.event_mut(kind).replace(pending);
        // The engine reports each event once.
        debug_assert!(before.is_none(), "the engine reports each event once");
        self.events += usize::from(before.is_none());
        self.reschedule_both(key, now);
    }

    /// The next action that is due; `None` if there is none, or if the limit of running jobs is reached.
    pub(crate) fn next_action(&mut self, now: Instant) -> Option<QueueAction<E, C>> {
        while let Some((at, key)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, key));
            *self.queues.get_mut(&key.queue).expect("a queue with a timer exists").state_mut(key.serial) =
                SerialQueueState::Idle;
            self.reschedule(key, now);
        }
        loop {
            if self.in_flight >= self.limits.in_flight_max {
                return None;
            }
            let key = self.ready.pop_front()?;
            let queue = self.queues.get_mut(&key.queue).expect("a queue in the ready list exists");
            *queue.state_mut(key.serial) = SerialQueueState::Idle;
            if key.serial == SerialQueue::Invocations
                && let Some((_, waiting)) = queue.invocations.pop_front_if(|(deadline, _)| *deadline <= now)
            {
                self.reschedule(key, now);
                return Some(QueueAction::Expired(waiting.invocation));
            }
            if let Some((running, job)) = queue.pop_job(key.serial, now) {
                *queue.state_mut(key.serial) = SerialQueueState::Running(running);
                self.in_flight += 1;
                if key.serial == SerialQueue::Connected {
                    queue.connected_wait_until.get_or_insert(now + self.limits.connected_wait_max);
                    self.reschedule(SerialQueueKey { serial: SerialQueue::Invocations, ..key }, now);
                }
                return Some(QueueAction::Start(key, job));
            }
            self.reschedule(key, now);
        }
    }

    /// Accepts the result of a job. `chance` is the random number that spreads retries.
    pub(crate) fn finished(
        &mut self,
        key: SerialQueueKey,
        result: Result<(), DeliveryError>,
        now: Instant,
        chance: u64,
    ) -> Option<SettledEvent<E>> {
        self.in_flight -= 1;
        let queue = self.queues.get_mut(&key.queue).expect("a queue with a running job exists");
        let SerialQueueState::Running(running) =
            std::mem::replace(queue.state_mut(key.serial), SerialQueueState::Idle)
        else {
            unreachable!("only a queue with a running job can finish one");
        };
        let settled = match running {
            RunningJob::Invocation => None,
            RunningJob::Event(kind) => {
                let outcome = Self::evaluate(&self.retries, queue.event_mut(kind), kind, result, now, chance);
                outcome.map(|outcome| {
                    let pending = queue.event_mut(kind).take().expect("an event stays queued while it runs");
                    self.events -= 1;
                    SettledEvent { event: pending.event, kind, outcome }
                })
            }
        };
        self.reschedule_both(key.queue, now);
        settled
    }

    /// What an attempt means for its event: settled with an outcome, or retried later.
    fn evaluate(
        retries: &Retries,
        pending: &mut Option<QueuedEvent<E>>,
        kind: EventKind,
        result: Result<(), DeliveryError>,
        now: Instant,
        chance: u64,
    ) -> Option<EventOutcome> {
        let pending = pending.as_mut().expect("an event stays queued while it runs");
        let is_given_up = pending.cause.is_some();
        let Err(failure) = result else {
            return Some(if is_given_up { EventOutcome::DeadLettered } else { EventOutcome::Delivered });
        };
        if is_given_up {
            if kind == EventKind::Connected {
                // `disconnected` waits until `connected` is settled.
                return Some(EventOutcome::Lost);
            }
            pending.due = now + retries.backoff(u32::MAX, chance);
            return None;
        }
        pending.attempts += 1;
        let age = now.saturating_duration_since(pending.since);
        match retries.pause(pending.attempts, age, failure.retry, chance) {
            Some(pause) => pending.due = now + pause,
            None => {
                pending.cause = Some(failure.cause);
                pending.due = now;
            }
        }
        None
    }

    /// Queues the dead letter of an event that was never attempted.
    pub(crate) fn push_dead_letter(
        &mut self,
        key: QueueKey,
        kind: EventKind,
        event: E,
        cause: String,
        now: Instant,
    ) {
        self.push_event(key, kind, event, now);
        let queue = self.queues.get_mut(&key).expect("the line above inserted it");
        if let Some(pending) = queue.event_mut(kind) {
            pending.cause = Some(cause);
        }
        self.reschedule_both(key, now);
    }

    fn reschedule_both(&mut self, queue: QueueKey, now: Instant) {
        for serial in [SerialQueue::Connected, SerialQueue::Invocations] {
            self.reschedule(SerialQueueKey { queue, serial }, now);
        }
    }

    /// Moves a serial queue to the ready list or to the timers, or to neither. Removes the pair when both are empty.
    fn reschedule(&mut self, key: SerialQueueKey, now: Instant) {
        let Some(queue) = self.queues.get_mut(&key.queue) else { return };
        let next = match *queue.state_mut(key.serial) {
            SerialQueueState::Running(_) | SerialQueueState::Ready => return,
            SerialQueueState::Idle | SerialQueueState::WaitingUntil(_) => queue.next(key.serial, now),
        };
        if let SerialQueueState::WaitingUntil(at) = std::mem::replace(queue.state_mut(key.serial), next) {
            self.timers.remove(&(at, key));
        }
        match next {
            SerialQueueState::Ready => self.ready.push_back(key),
            SerialQueueState::WaitingUntil(at) => drop(self.timers.insert((at, key))),
            SerialQueueState::Idle | SerialQueueState::Running(_) => {
                if queue.is_empty() {
                    self.queues.remove(&key.queue);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
